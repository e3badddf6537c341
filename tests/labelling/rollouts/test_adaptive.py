"""Where the adaptive method spends, when it stops, and what becomes the label."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_rollouts import carry_out, chances

from dreamprm.labelling.rollouts import Ask, StepLabel, Tally, run_plan
from dreamprm.labelling.rollouts.adaptive import Adaptive
from dreamprm.labelling.rollouts.martingale import ChainValues

SHARES = {"estimate": "share", "budget": 20.0, "maximum": 30, "least_gain": 0}


@pytest.mark.parametrize("end", [True, False])
def test_rollouts_that_agree_end_where_the_interval_is_narrow(end: bool) -> None:
    """Half the interval of n alike is z^2 / 2 (n + z^2): at z = 2 it is 2 / 9 for 5 and 2 / 10 for 6."""
    labels, answers = carry_out(
        Adaptive(half_width=0.21, z=2.0, **SHARES).plan(3, correct=end), lambda step, before: end
    )
    assert labels == [StepLabel(float(end), 6)] * 3
    assert answers.rounds == [[Ask(i, 2) for i in (1, 2, 3)]] + [[Ask(i, 1) for i in (1, 2, 3)]] * 4


def test_a_threshold_ends_it_where_the_side_is_known() -> None:
    """n alike exclude 1/2 when z^2 / (n + z^2) < 1/2, at z = 2 from n = 5 on."""
    labels, _ = carry_out(
        Adaptive(half_width=1e-9, z=2.0, threshold=0.5, **SHARES).plan(2, correct=None),
        lambda step, before: step == 1,
    )
    assert labels == [StepLabel(1.0, 5), StepLabel(0.0, 5)]


def test_an_undecided_prefix_goes_on_to_its_maximum() -> None:
    method = Adaptive(estimate="share", budget=20.0, maximum=11, least_gain=0)
    labels, _ = carry_out(method.plan(2, correct=None), lambda step, before: before % 2 == 0)
    assert labels == [StepLabel(6 / 11, 11)] * 2


def test_it_ends_where_one_more_rollout_is_not_worth_it() -> None:
    """Half right: s = 1 / 2 sqrt(n + 2), so that at n = 6 one more gains .0101. At 4 of 7, v = .02734 and
    p (1 - p) = .2461, it gains .0085."""
    labels, _ = carry_out(
        Adaptive(estimate="share", least_gain=0.01).plan(1, correct=None),
        lambda step, before: before % 2 == 0,
    )
    assert labels == [StepLabel(4 / 7, 7)]


@pytest.mark.parametrize("estimate", ["share", "martingale"])
@pytest.mark.parametrize(
    "budget, prefixes, most", [(4.8, 4, 19), (4.8, 5, 24), (5.1, 10, 51), (8.2, 15, 123)]
)
def test_the_budget_is_spent_and_not_more(estimate: str, budget: float, prefixes: int, most: int) -> None:
    method = Adaptive(budget=budget, estimate=estimate, least_gain=0)
    _, answers = carry_out(method.plan(prefixes, correct=None), lambda step, before: before % 2 == 0)
    assert sum(answers.asked.values()) == most
    # As many a round as there are prefixes, the rest in the last one.
    assert {sum(ask.count for ask in asks) for asks in answers.rounds[1:-1]} <= {prefixes}


@pytest.mark.parametrize(
    "estimate, asked",
    [
        # Jeffreys' p and v of the open ones stay 1/2 and 1/4 (n + 2); those that agree end at 6, as above.
        ("share", [10, 10, 6, 6]),
        # The chain is wrong, and so are all rollouts from step 4: two are enough there. Step 3 is not as
        # sure, as step 2 was right half the time.
        ("martingale", [11, 13, 6, 2]),
    ],
)
def test_more_goes_where_the_outcome_is_open(estimate: str, asked: list[int]) -> None:
    """Steps 1 and 2 end right every other time, steps 3 and 4 never."""
    labels, _ = carry_out(
        Adaptive(budget=8.0, estimate=estimate, least_gain=0).plan(4, correct=False),
        lambda step, before: step <= 2 and before % 2 == 0,
    )
    assert [label.rollouts for label in labels] == asked


def test_labels_are_the_posterior_means_of_the_whole_chain() -> None:
    labels, answers = carry_out(Adaptive().plan(4, correct=True), chances(0.4, 0.6, 0.6, 1.0))
    right = [0] * 4
    for asks, tallies in zip(answers.rounds, answers.tallies):
        for ask, tally in zip(asks, tallies):
            right[ask.step - 1] += tally.right
    means, _ = ChainValues().moments([Tally(r, x.rollouts) for r, x in zip(right, labels)], correct=True)
    assert [label.p for label in labels] == means.tolist()


def test_a_prefix_without_a_rollout_that_counts_is_not_labelled_from_its_neighbours() -> None:
    labels = run_plan(Adaptive(budget=2.0).plan(2, correct=True), lambda asks: [Tally(2, 2), Tally(0, 0)])
    assert labels[0].p is not None and labels[1] == StepLabel(None, 0)


def test_shares_of_an_unbiased_plan_have_the_chances_as_mean() -> None:
    """All in the first round: nothing decides what is seen, so that the mean of many labels is p."""
    method = Adaptive(initial=3, budget=3.0, estimate="share")
    draw = chances(0.3, 0.8)
    labels = [carry_out(method.plan(2, correct=None), draw)[0] for _ in range(3000)]
    for i, p in enumerate((0.3, 0.8)):
        mean = sum(x[i].p or 0.0 for x in labels) / 3000
        assert mean == pytest.approx(p, abs=4 * (p * (1 - p) / 9000) ** 0.5)  # four standard errors


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"initial": 0}, "initial must be >= 1, got 0"),
        ({"budget": 1.5}, "budget must be >= initial=2, the rollouts that every prefix gets; got 1.5"),
        ({"budget": "8"}, "budget must be a number > 0, got '8'"),
        ({"maximum": 1}, "maximum must be >= initial=2"),
        ({"half_width": 0.5}, "half_width must be > 0 and < 0.5, got 0.5"),
        ({"least_gain": -0.1}, "least_gain must be >= 0, got -0.1"),
        ({"z": 0}, "z must be > 0, got 0; 1.96 gives"),
        ({"threshold": 1.0}, "threshold must be > 0 and < 1, got 1.0"),
        ({"estimate": "mean"}, "estimate must be one of martingale, share, got 'mean'"),
        ({"stay": 1.0}, "stay must be"),
        ({"concentration": -1.0}, "concentration must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adaptive(**settings)
