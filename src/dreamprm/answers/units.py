"""The spellings of common units, so that `12 square centimetres` and `12 cm^2` are one unit."""

from __future__ import annotations

import re

# Each unit with its spellings besides the first; plurals in -s are found by themselves.
_SPELLINGS = {
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "dm": "decimeter decimetre",
    "m": "meter metre",
    "km": "kilometer kilometre",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "mg": "milligram milligramme",
    "g": "gram gramme",
    "kg": "kilogram kilogramme",
    "t": "tonne",
    "lb": "lbs pound",
    "oz": "ounce",
    "ms": "millisecond",
    "s": "sec second",
    "min": "minute",
    "h": "hr hour",
    "d": "day",
    "week": "",
    "month": "",
    "year": "yr",
    "ml": "mL milliliter millilitre",
    "cl": "cL centiliter centilitre",
    "l": "L liter litre",
    "\u00b0": "degree deg",
    "rad": "radian",
    "\u00b0C": "celsius",
    "\u00b0F": "fahrenheit",
    "K": "kelvin",
    "N": "newton",
    "J": "joule",
    "kJ": "kilojoule",
    "W": "watt",
    "kW": "kilowatt",
    "V": "volt",
    "A": "ampere amp",
    "Hz": "hertz",
    "Pa": "pascal",
    "mol": "mole",
    "$": "USD US$ dollar",
    "\u20ac": "EUR euro",
    "\u00a3": "GBP",
    "cent": "",
    "km/h": "kmh kph km/hr",
    "m/s": "mps",
    "mph": "",
}
_UNITS = {
    spelling: unit
    for unit, others in _SPELLINGS.items()
    for first in (unit, *others.split())
    for spelling in (first, f"{first}s" if len(first) > 2 else first)
}
_DEGREES = re.compile(r"^\u00b0\s*[CF]\b")
_POWERS = {"square": "^2", "squared": "^2", "cubic": "^3", "cubed": "^3", "sq": "^2", "cu": "^3"}
_POWER = re.compile(r"^\^\s*\{?\s*([23])\s*\}?$")


def canonical_unit(text: str) -> str | None:
    """The one spelling of the unit that a text is.

    Args:
        text: what stands behind (or, of a currency, before) a number: "square centimetres", "cm^{2}",
            "km / h", "apples".

    Returns:
        The unit, "cm^2"; None where the text is empty or is no unit that is known here.
    """
    text = text.strip(" .,;()-")
    if _DEGREES.match(text):
        return text.replace(" ", "")[:2]
    per = re.fullmatch(r"(\S+)\s*(?:/|\bper\b)\s*(\S+)", text)
    if per is not None:
        over, under = canonical_unit(per[1]), canonical_unit(per[2])
        return _UNITS.get(f"{over}/{under}", f"{over}/{under}") if over and under else None
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
    # One letter is a unit only as it is written: `m` and `M` differ.
    unit = _UNITS.get(name) or (_UNITS.get(name.lower()) if len(name) > 1 else None)
    return unit + power if unit else None
