"""Whether two selectors differ: McNemar's exact test, its form for fractional outcomes, Holm's correction.

And the marks by which tables show which differences of an evaluation are significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 99_999
"""Sign flips drawn if the exact test does not apply; the smallest p they can give is 1e-5."""

# Outcomes are shares with small denominators; sums of them in another order differ by rounding.
_EQUAL = 1e-9

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class PairedTest:
    """A two-sided test of whether two selectors are equally good on the same questions.

    Attributes:
        better, worse: questions on which the first one earns more, or less (the discordant ones).
        p: p value under the null hypothesis that exchanging the two selectors' outcomes on any question is
            equally likely.
        method: `mcnemar`, exact; or `sign_flip`, by random draws.
    """

    better: int
    worse: int
    p: float
    method: str


def mcnemar_p(better: int, worse: int) -> float:
    """Two-sided p of McNemar's exact test: min(1, 2 P(X <= min(b, c))), X binomial(b + c, 1/2).

    Use it if each selector is right or wrong on each question. b and c count the questions that only one
    of the two gets right; the others carry no information. Returns 1 if both are 0.

    Raises: ValueError for a negative count.
    Source: McNemar, Psychometrika 12 (1947) 153; in its exact form the sign test on discordant pairs.
    """
    if better < 0 or worse < 0:
        raise ValueError(f"counts of questions must be >= 0, got {better} and {worse}")
    tosses = better + worse
    # Exact integers up to the one division.
    ways, term = 0, 1
    for k in range(min(better, worse) + 1):
        ways += term
        term = term * (tosses - k) // (k + 1)
    return min(1.0, 2 * ways / 2**tosses)


def paired_test(gaps: Sequence[ArrayLike], *, seed: int, draws: int = DRAWS) -> PairedTest:
    """Test the mean over suites of each suite's mean outcome gap.

    If all nonzero gaps have the same size (0/1 outcomes of one suite), this is McNemar's exact test. Outcomes
    may also be fractions: a tie earns its expected share. McNemar's test is then undefined, and the sign-flip
    test, of which it is a special case, takes its place: under the null hypothesis, every gap keeps or flips
    its sign with equal probability, and p = (1 + #{|flipped mean| >= |mean|}) / (1 + draws) over seeded
    random flips.

    Args:
        gaps: one vector per suite, with one gap per question (first selector's outcome minus the second's).
        seed: of the flips.
        draws: number of flips, >= 1.
    Returns: the test.
    Raises: ValueError for no suite, an empty one, or a gap that is not finite.
    """
    vectors = [np.asarray(suite, dtype=np.float64) for suite in gaps]
    if not vectors or any(v.ndim != 1 or not v.size or not np.isfinite(v).all() for v in vectors):
        raise ValueError(
            "gaps must hold a non-empty vector of finite numbers for each suite, got shapes "
            f"{[v.shape for v in vectors]}"
        )
    # The mean over suites of means over questions: a question of a small suite counts for more.
    parts = np.concatenate([v / v.size for v in vectors]) / len(vectors)
    parts[np.abs(np.concatenate(vectors)) < _EQUAL] = 0.0
    better, worse = int((parts > 0).sum()), int((parts < 0).sum())
    sizes = np.abs(parts[parts != 0])
    if not sizes.size or np.ptp(sizes) <= _EQUAL * sizes.max():
        return PairedTest(better, worse, mcnemar_p(better, worse), "mcnemar")
    # Gaps of one size flip together as a binomial count: few sizes occur.
    values, counts = np.unique(np.round(sizes / sizes.max(), 9), return_counts=True)
    generator = np.random.default_rng(seed)
    flipped = np.zeros(draws)
    for value, count in zip(values, counts):
        flipped += value * (2.0 * generator.binomial(count, 0.5, size=draws) - count)
    observed = abs(parts.sum()) / sizes.max()
    # Values are rounded to 9 decimals, so a sum of them may lie this far below the observed one and tie.
    as_far = np.abs(flipped) >= observed - _EQUAL * sizes.size
    return PairedTest(better, worse, float((1 + as_far.sum()) / (1 + draws)), "sign_flip")


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values: rejecting all those below a level bounds the family-wise error rate by that level.

    In ascending order, p_(i) (i = 1..m) becomes max over k <= i of min(1, (m - k + 1) p_(k)). Valid under any
    dependence between the tests.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def baseline_letters(result: Mapping[str, Any]) -> dict[str, str]:
    """A letter for each baseline of the differences: a, b, ..., z, aa, bb, ...

    Args: result: the content of evaluation.json.
    """
    baselines = dict.fromkeys(row["baseline"] for row in result["differences"])
    return {name: _ALPHABET[k % 26] * (k // 26 + 1) for k, name in enumerate(baselines)}


def significant_against(result: Mapping[str, Any]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """By (method, suite) the ("+" or "-", baseline) of each significant difference: better or worse.

    Only compared pairs can have marks, and the mark is the method's: a baseline gets none for losing.
    """
    marks: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in result["differences"]:
        if row["significant"]:
            sign = "+" if row["difference"] > 0 else "-"
            marks.setdefault((row["method"], row["suite"]), []).append((sign, row["baseline"]))
    return marks


def error_rate(result: Mapping[str, Any]) -> str:
    """1 - level as text: the bound on the adjusted p. Example: level 0.95 -> "0.05"."""
    return f"{1 - result['level']:.3g}"


def how_tested(result: Mapping[str, Any]) -> str:
    """Sentences that explain better/worse, p, its mark ~ and Holm's adjusted p."""
    return (
        "better/worse: questions on which the method scores higher or lower. p: McNemar's exact test if "
        "every outcome is right or wrong and one suite is tested; otherwise (ties earn their expected "
        "share; a mean weights suites) the sign-flip test, of which it is a special case, marked ~, with "
        f"99,999 seeded draws. Holm: adjusted for all {len(result['differences'])} differences of this "
        "evaluation; *: below "
        f"{error_rate(result)}."
    )
