"""Units: their spellings, and what they are in units of the same dimension."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType


@dataclass(frozen=True)
class Unit:
    """What one unit is.

    Attributes:
        dimension: exponents by base unit; units are convertible if they have the same dimension.
        factor: how many base units it is.
        zero: the base units at its zero; other than 0 for temperatures.
    """

    dimension: Mapping[str, int]
    factor: Fraction
    zero: Fraction = Fraction(0)


def _unit(factor: int | str | Fraction, zero: int | str = 0, /, **dimension: int) -> Unit:
    return Unit(MappingProxyType(dimension), Fraction(factor), Fraction(zero))


_ENERGY = {"kg": 1, "m": 2, "s": -2}
_POWER_OF = {"kg": 1, "m": 2, "s": -3}
_VOLTAGE = {"kg": 1, "m": 2, "s": -3, "A": -1}
_PRESSURE = {"kg": 1, "m": -1, "s": -2}
_INCH = Fraction("0.0254")
_POUND = Fraction("0.45359237")

# Each unit: what it is, then its other spellings; plurals in -s are added automatically. A unit whose size is
# not certain (a month, a KB) is convertible to nothing else.
_TABLE: Mapping[str, tuple[Unit, str]] = {
    "nm": (_unit("1e-9", m=1), "nanometer nanometre"),
    "\u03bcm": (_unit("1e-6", m=1), "\u00b5m micrometer micrometre micron"),
    "mm": (_unit("1e-3", m=1), "millimeter millimetre"),
    "cm": (_unit("1e-2", m=1), "centimeter centimetre"),
    "dm": (_unit("1e-1", m=1), "decimeter decimetre"),
    "m": (_unit(1, m=1), "meter metre"),
    "km": (_unit(1000, m=1), "kilometer kilometre"),
    "in": (_unit(_INCH, m=1), "inch inches"),
    "ft": (_unit(12 * _INCH, m=1), "foot feet"),
    "yd": (_unit(36 * _INCH, m=1), "yard"),
    "mi": (_unit(63360 * _INCH, m=1), "mile"),
    "ha": (_unit(10_000, m=2), "hectare"),
    "mg": (_unit("1e-6", kg=1), "milligram milligramme"),
    "g": (_unit("1e-3", kg=1), "gram gramme"),
    "kg": (_unit(1, kg=1), "kilogram kilogramme"),
    "t": (_unit(1000, kg=1), "tonne"),
    "lb": (_unit(_POUND, kg=1), "lbs pound"),
    "oz": (_unit(_POUND / 16, kg=1), "ounce"),
    "ns": (_unit("1e-9", s=1), "nanosecond"),
    "\u03bcs": (_unit("1e-6", s=1), "\u00b5s microsecond"),
    "ms": (_unit("1e-3", s=1), "millisecond"),
    "s": (_unit(1, s=1), "sec second"),
    "min": (_unit(60, s=1), "mins minute"),
    "h": (_unit(3600, s=1), "hr hour"),
    "d": (_unit(86_400, s=1), "day"),
    "week": (_unit(604_800, s=1), ""),
    "month": (_unit(1, month=1), ""),
    "year": (_unit(12, month=1), "yr"),
    "ml": (_unit("1e-6", m=3), "mL milliliter millilitre cc"),
    "cl": (_unit("1e-5", m=3), "cL centiliter centilitre"),
    "dl": (_unit("1e-4", m=3), "dL deciliter decilitre"),
    "l": (_unit("1e-3", m=3), "L liter litre"),
    "\u00b0": (_unit(1, degree=1), "degree deg"),
    "rad": (_unit(1, rad=1), "radian"),
    "\u00b0C": (_unit(1, "273.15", K=1), "celsius"),
    "\u00b0F": (_unit(Fraction(5, 9), "459.67", K=1), "fahrenheit"),
    "K": (_unit(1, K=1), "kelvin"),
    "mN": (_unit("1e-3", kg=1, m=1, s=-2), "millinewton"),
    "N": (_unit(1, kg=1, m=1, s=-2), "newton"),
    "kN": (_unit(1000, kg=1, m=1, s=-2), "kilonewton"),
    "mJ": (_unit("1e-3", **_ENERGY), "millijoule"),
    "J": (_unit(1, **_ENERGY), "joule"),
    "kJ": (_unit(1000, **_ENERGY), "kilojoule"),
    "MJ": (_unit(1_000_000, **_ENERGY), "megajoule"),
    "Wh": (_unit(3600, **_ENERGY), "watt-hour"),
    "kWh": (_unit(3_600_000, **_ENERGY), "kilowatt-hour"),
    "mW": (_unit("1e-3", **_POWER_OF), "milliwatt"),
    "W": (_unit(1, **_POWER_OF), "watt"),
    "kW": (_unit(1000, **_POWER_OF), "kilowatt"),
    "MW": (_unit(1_000_000, **_POWER_OF), "megawatt"),
    "\u03bcV": (_unit("1e-6", **_VOLTAGE), "\u00b5V microvolt"),
    "mV": (_unit("1e-3", **_VOLTAGE), "millivolt"),
    "V": (_unit(1, **_VOLTAGE), "volt"),
    "kV": (_unit(1000, **_VOLTAGE), "kilovolt"),
    "\u03bcA": (_unit("1e-6", A=1), "\u00b5A microampere microamp"),
    "mA": (_unit("1e-3", A=1), "milliampere milliamp"),
    "A": (_unit(1, A=1), "ampere amp"),
    "\u03a9": (_unit(1, **_VOLTAGE | {"A": -2}), "ohm \u2126"),
    "k\u03a9": (_unit(1000, **_VOLTAGE | {"A": -2}), "kilohm kiloohm k\u2126"),
    "M\u03a9": (_unit(1_000_000, **_VOLTAGE | {"A": -2}), "megaohm megohm M\u2126"),
    "Hz": (_unit(1, s=-1), "hertz"),
    "kHz": (_unit(1000, s=-1), "kilohertz"),
    "MHz": (_unit(1_000_000, s=-1), "megahertz"),
    "GHz": (_unit(1_000_000_000, s=-1), "gigahertz"),
    "Pa": (_unit(1, **_PRESSURE), "pascal"),
    "hPa": (_unit(100, **_PRESSURE), "hectopascal"),
    "kPa": (_unit(1000, **_PRESSURE), "kilopascal"),
    "MPa": (_unit(1_000_000, **_PRESSURE), "megapascal"),
    "bar": (_unit(100_000, **_PRESSURE), ""),
    "atm": (_unit(101_325, **_PRESSURE), ""),
    "mmol": (_unit("1e-3", mol=1), "millimole"),
    "mol": (_unit(1, mol=1), "mole"),
    "bit": (_unit(1, bit=1), ""),
    "byte": (_unit(8, bit=1), ""),
    "KB": (_unit(1, KB=1), "kB kilobyte"),
    "MB": (_unit(1, MB=1), "megabyte"),
    "GB": (_unit(1, GB=1), "gigabyte"),
    "$": (_unit(1, dollar=1), "USD US$ dollar"),
    "\u20ac": (_unit(1, euro=1), "EUR euro"),
    "\u00a3": (_unit(1, pound=1), "GBP"),
    "\u00a5": (_unit(1, yen=1), "JPY yen yuan"),
    "cent": (_unit("1e-2", dollar=1), "\u00a2"),
    "penny": (_unit("1e-2", pound=1), "pence pennies"),
    "mph": (_unit(63360 * _INCH / 3600, m=1, s=-1), ""),
}
_SPELLINGS = {
    spelling: unit
    for unit, (_, others) in _TABLE.items()
    for first in (unit, *others.split())
    for spelling in (first, f"{first}s" if len(first) > 2 else first)
}
_FOLDED = {
    spelling.lower(): unit
    for spelling, unit in _SPELLINGS.items()
    if len({other for name, other in _SPELLINGS.items() if name.lower() == spelling.lower()}) == 1
}
_COMPOUND = {"kmh": "km/h", "kph": "km/h", "mps": "m/s"}
_DEGREES = re.compile(r"^\u00b0\s*[CF]\b")
_POWERS = {"square": "^2", "squared": "^2", "cubic": "^3", "cubed": "^3", "sq": "^2", "cu": "^3"}
_POWER = re.compile(r"^\^\s*+\{?\s*+([23])\s*\}?$")


def canonical_unit(text: str) -> str | None:
    """The canonical spelling of a unit.

    Args:
        text: the text after a number (or before it, for a currency): "square centimetres", "cm^{2}",
            "km / h", "apples".

    Returns:
        The unit, such as "cm^2"; None if the text is empty or not a known unit.
    """
    text = re.sub(r"\\(?:Omega|ohm)\b", "\u03a9", text)
    text = re.sub(r"\\mu\s*", "\u03bc", text).strip(" .,;()-{}")
    if _DEGREES.match(text):
        return text.replace(" ", "")[:2]
    text = re.sub(r"\bdegrees?\s+(?=celsius|fahrenheit|[CF]\b)", "\u00b0", text, flags=re.IGNORECASE)
    text = re.sub(r"^\u00b0(celsius|fahrenheit)$", r"\1", text, flags=re.IGNORECASE)
    if _DEGREES.match(text):
        return text[:2]
    per = re.fullmatch(r"([^/]+?)\s*(?:/|\bper\b)\s*([^/]+)", text)
    if per is not None:
        over, under = canonical_unit(per[1]), canonical_unit(per[2])
        return f"{over}/{under}" if over and under else None
    words = re.findall(r"\^\s*\{?\s*[23]\s*\}?|[^\s^]+", text)
    power = ""
    names = []
    for word in words:
        raised = _POWER.match(word)
        if raised is not None:
            power = f"^{raised[1]}"
        elif word.lower() in _POWERS:
            power = _POWERS[word.lower()]
        else:
            names.append(word)
    if len(names) != 1:
        return None
    name = names[0]
    if name.lower() in _COMPOUND:
        return _COMPOUND[name.lower()]
    # The case of one letter matters (`m` and `M`), and so does that of a prefix (`mW` and `MW`).
    unit = _SPELLINGS.get(name) or (_FOLDED.get(name.lower()) if len(name) > 1 else None)
    return unit + power if unit else None


def converted(value: Fraction, unit: str, to: str) -> Fraction | None:
    """A value in another unit, exactly; None if the two are not of one dimension.

    Args:
        value: how many of `unit`.
        unit, to: canonical spellings (`canonical_unit`), such as "cm^2" or "km/h".
    """
    if unit == to:
        return value
    here, there = _parsed(unit), _parsed(to)
    if here is None or there is None or dict(here.dimension) != dict(there.dimension):
        return None
    # zero is the value, in its own units, at which the base quantity is 0: x degrees C are x + 273.15 K.
    return (value + here.zero) * here.factor / there.factor - there.zero


def _parsed(unit: str) -> Unit | None:
    over, _, under = unit.partition("/")
    top = _raised(over)
    if not under or top is None:
        return top
    bottom = _raised(under)
    if bottom is None or top.zero or bottom.zero:
        return None
    dimension = dict(top.dimension)
    for base, exponent in bottom.dimension.items():
        dimension[base] = dimension.get(base, 0) - exponent
    return Unit({base: n for base, n in dimension.items() if n}, top.factor / bottom.factor)


def _raised(unit: str) -> Unit | None:
    name, _, power = unit.partition("^")
    if name not in _TABLE:
        return None
    known, exponent = _TABLE[name][0], int(power or 1)
    if exponent == 1:
        return known
    return Unit({base: n * exponent for base, n in known.dimension.items()}, known.factor**exponent)
