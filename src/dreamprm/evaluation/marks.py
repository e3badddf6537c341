"""Which accuracies of an evaluation differ significantly from which others, as marks for its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def baseline_letters(result: Mapping[str, Any]) -> dict[str, str]:
    """A letter for each baseline of the differences: a, b, ..., z, aa, bb, ...

    Args: result: what evaluation.json holds.
    """
    baselines = dict.fromkeys(row["baseline"] for row in result["differences"])
    return {name: _ALPHABET[k % 26] * (k // 26 + 1) for k, name in enumerate(baselines)}


def significant_against(result: Mapping[str, Any]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """By (method, suite) the ("+" or "-", baseline) of each significant difference: better or worse.

    Only pairs that were compared can be among them; a baseline carries no mark for losing.
    """
    marks: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in result["differences"]:
        if row["significant"]:
            sign = "+" if row["difference"] > 0 else "-"
            marks.setdefault((row["method"], row["suite"]), []).append((sign, row["baseline"]))
    return marks


def error_rate(result: Mapping[str, Any]) -> str:
    """1 - level as text: the bound of the adjusted p. Example: level 0.95 -> "0.05"."""
    return f"{1 - result['level']:.3g}"


def level_text(level: float) -> str:
    """A level in per cent. Example: 0.95 -> "95 %"."""
    return f"{100 * level:g} %"


def p_text(value: float) -> str:
    """A p value: three decimals, below 0.001 one digit and the power of ten."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}" if value > 0 else "0"


def how_tested(result: Mapping[str, Any]) -> str:
    """What better/worse, p, its mark ~ and Holm's adjusted p are, in sentences."""
    return (
        "better/worse: questions on which the method earns more or less. p: McNemar's exact test where every "
        "outcome is right or wrong and one suite is tested; else (ties earn their expected share; a mean "
        "weighs suites) the sign-flip test that it is a case of, marked ~, by 99,999 seeded draws. Holm: "
        f"adjusted for all {len(result['differences'])} differences of this evaluation; * where it is below "
        f"{error_rate(result)}."
    )
