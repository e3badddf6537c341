"""Marks of significance and the words beside them."""

import pytest

from dreamprm.evaluation.number_text import level_text, p_text
from dreamprm.evaluation.selector_names import SHORT, UNSCORED, is_scorer, meaning
from dreamprm.evaluation.significance import baseline_letters, error_rate, how_tested, significant_against
from dreamprm.training.baselines.registry import BASELINES


def result(*rows, level=0.95):
    keys = ("method", "baseline", "suite", "difference", "significant")
    return {"level": level, "differences": [dict(zip(keys, row)) for row in rows]}


def test_marks_have_a_sign_and_stand_at_the_method_alone():
    held = result(
        ("prm", "majority", "s", 0.1, True),
        ("prm", "majority", "mean", 0.1, False),
        ("orm", "majority", "s", -0.2, True),
        ("prm", "orm", "s", 0.3, True),
    )
    assert significant_against(held) == {
        ("prm", "s"): [("+", "majority"), ("+", "orm")],
        ("orm", "s"): [("-", "majority")],
    }
    assert baseline_letters(held) == {"majority": "a", "orm": "b"}


def test_letters_go_on_past_z():
    held = result(*(("prm", f"b{k}", "s", 0.0, False) for k in range(28)))
    letters = list(baseline_letters(held).values())
    assert letters[:2] + letters[25:] == ["a", "b", "z", "aa", "bb"]


def test_level_and_p_as_text():
    assert (level_text(0.95), level_text(0.999)) == ("95 %", "99.9 %")
    assert (error_rate(result(level=0.95)), error_rate(result(level=0.9))) == ("0.05", "0.1")
    assert [p_text(p) for p in (0.25, 0.0012, 0.00034, 0.0)] == ["0.250", "0.001", "3e-04", "0"]
    assert "adjusted for all 2 differences" in how_tested(
        result(("a", "b", "s", 0.0, False), ("a", "c", "s", 0.0, False))
    )


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("majority", "self-consistency: the most frequent final answer; ties are broken at random"),
        ("weighted_mine", "self-consistency, votes weighted by the probability that mine gives"),
        ("dreamprm", "PRM trained with learned weights; highest min of the steps (fixed)"),
        ("mine", "scores of mine; highest score, one value per response"),
    ],
)
def test_what_a_selector_picks(selector, words):
    aggregations = {
        "dreamprm": {"aggregation": "min", "chosen": "fixed"},
        "mine": {"aggregation": "sum_log_odds", "chosen": "one value a response"},
    }
    assert meaning(selector, aggregations) == words
    assert meaning("vanilla") == "PRM trained with equal weights"


def test_every_selector_and_baseline_has_a_meaning():
    assert set(SHORT) >= {*UNSCORED, *BASELINES, "vanilla", "dreamprm", "base_likelihood"} - {"none"}
    assert [name for name in SHORT if not is_scorer(name)] == [name for name in SHORT if name in UNSCORED]
    assert not is_scorer("weighted_dreamprm")
