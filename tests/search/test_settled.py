"""The sequential test of early stopping: its error, over every order of the draws, and what it saves."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from dreamprm.search.settled import SettledVote, settled_by_score

Draw = tuple[str | None, float]


def orders(counts: Counter[Draw]) -> Iterator[tuple[list[Draw], float]]:
    """Every distinct order of the draws, with its probability."""
    total = counts.total()

    def go(left: Counter[Draw], done: list[Draw], chance: float) -> Iterator[tuple[list[Draw], float]]:
        rest = total - len(done)
        if not rest:
            yield list(done), chance
        for draw, count in left.items():
            if count:
                yield from go(left - Counter([draw]), [*done, draw], chance * count / rest)

    yield from go(counts, [], 1.0)


def stop(draws: list[Draw], error: float) -> tuple[str | None, int]:
    """The answer at the stop, and how many draws it took."""
    test = SettledVote(len(draws), error)
    for number, draw in enumerate(draws, start=1):
        test.draw(*draw)
        if test.settled():
            return test.leader, number
    raise AssertionError("the last draw settles it")


def winners(counts: Counter[Draw]) -> set[str | None]:
    totals: Counter[str | None] = Counter()
    for (answer, weight), count in counts.items():
        if answer is not None:
            totals[answer] += weight * count  # type: ignore[assignment]
    return {answer for answer in totals if totals[answer] == max(totals.values())}


POPULATIONS = [
    {("a", 1.0): 6, ("b", 1.0): 5},
    {("a", 1.0): 8, ("b", 1.0): 3},
    {("a", 1.0): 4, ("b", 1.0): 2, ("c", 1.0): 2},
    {("a", 1.0): 4, ("b", 1.0): 2, (None, 0.0): 2},
    {("a", 0.25): 4, ("b", 1.0): 2, ("c", 0.5): 2},
    {("a", 1.0): 2, ("b", 0.75): 2, ("a", 0.25): 2, ("b", 0.5): 1},
]


@pytest.mark.parametrize("error", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("population", POPULATIONS)
def test_the_error_over_all_orders_is_at_most_the_stated_one(
    population: dict[Draw, int], error: float
) -> None:
    """Exactly: each order is a possible sequence of exchangeable draws."""
    counts = Counter(population)
    right = winners(counts)
    wrong = sum(chance for draws, chance in orders(counts) if stop(draws, error)[0] not in right)
    assert wrong <= error


def test_some_orders_do_err_so_that_the_bound_is_not_met_by_never_stopping() -> None:
    counts: Counter[Draw] = Counter({("a", 1.0): 6, ("b", 1.0): 5})
    outcomes = [(stop(draws, 0.5), chance) for draws, chance in orders(counts)]
    assert sum(chance for (answer, _), chance in outcomes if answer != "a") > 0.01
    assert sum(chance for (_, drawn), chance in outcomes if drawn < 9) > 0.1


def test_draws_that_agree_stop_early() -> None:
    assert stop([("a", 1.0)] * 16, 0.05) == ("a", 6)
    assert stop([("a", 1.0)] * 64, 0.05) == ("a", 8)
    assert stop([("a", 0.9)] * 16, 0.05)[1] <= 8


def test_without_error_it_stops_where_nothing_can_change_the_answer() -> None:
    assert stop([("a", 1.0)] * 16, 0.0) == ("a", 9)
    assert stop([("b", 1.0), *[("a", 1.0)] * 15], 0.0) == ("a", 10)
    # 8 of 16 may still be tied with what has not been seen.
    test = SettledVote(16, 0.0)
    for _ in range(8):
        test.draw("a", 1.0)
    assert not test.settled()


def test_random_populations_err_at_most_as_stated() -> None:
    """Near ties of many answers with random weights; 4 standard errors of 300 trials above .2 are .292."""
    rng = random.Random(0)
    wrong = 0
    for _ in range(300):
        answers = rng.choice(["ab", "abc", "aabbc", "abcdefgh"])
        draws = [(rng.choice(answers), round(rng.random(), 2)) for _ in range(16)]
        wrong += stop(draws, 0.2)[0] not in winners(Counter(draws))
    assert wrong / 300 <= 0.292


def test_a_draw_without_an_answer_has_no_vote() -> None:
    test = SettledVote(3, 0.05)
    test.draw(None, 0.0)
    assert test.leader is None and not test.settled()
    test.draw("a", 0.0)
    assert test.leader == "a" and not test.settled()
    test.draw(None, 0.0)
    assert test.settled()


def test_by_score_only_the_last_draws_can_be_spared() -> None:
    assert [settled_by_score(t, 20, 0.05) for t in (18, 19, 20)] == [False, True, True]
    assert not settled_by_score(15, 16, 0.05) and settled_by_score(8, 16, 0.5)
    # The stated bound is met with equality by scores without ties: the best is the last with chance 1 / n.
    assert settled_by_score(16, 16, 0.0) and not settled_by_score(15, 16, 0.0)


@pytest.mark.parametrize(
    ("n", "error", "message"), [(0, 0.1, "n must be >= 1, got 0"), (3, 1.0, r"error must be in \[0, 1\)")]
)
def test_bad_settings(n: int, error: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SettledVote(n, error)


def test_bad_draws() -> None:
    test = SettledVote(1, 0.1)
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], got 1.5"):
        test.draw("a", 1.5)
    test.draw("a", 1.0)
    with pytest.raises(ValueError, match="there were n=1 draws already"):
        test.draw("a", 1.0)
