"""What each method asks for, and which chain it chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import pytest
from scripted_search import run_plan, scored

from dreamprm.config.errors import UserError
from dreamprm.search.chains import ROOT, Chain
from dreamprm.search.methods import METHODS, Ask, SearchMethod, build_method, method_settings


def numbered(
    length: int, value: Callable[[int], float] = lambda number: float(number)
) -> Callable[[Ask], Sequence[Chain]]:
    """Continuations with a running number; chains are complete after `length` steps."""
    numbers = count()

    def answer(ask: Ask) -> Sequence[Chain]:
        found = []
        for _ in range(ask.count):
            number = next(numbers)
            text = f"{ask.prefix.text}/{number}"
            done = ask.whole or text.count("/") == length
            found.append(scored(text, value(number), vote="a" if done else None, complete=done))
        return found

    return answer


def counts(rounds: Sequence[Sequence[Ask]]) -> list[list[int]]:
    return [[ask.count for ask in asks] for asks in rounds]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_every_method_ends_with_an_answer(name: str, n: int) -> None:
    method = build_method(name)
    found: list[Chain] = []

    def answer(ask: Ask) -> Sequence[Chain]:
        chains = numbered(3, lambda number: (number * 7 % 5) / 2)(ask)
        found.extend(chain for chain in chains if chain.complete)
        return chains

    rounds = run_plan(method.plan(n), answer)
    assert rounds and found and method.chosen(found) is not None


@pytest.mark.parametrize("name", METHODS)
def test_every_method_ends_where_nothing_is_said(name: str) -> None:
    assert run_plan(build_method(name).plan(8), lambda ask: [])


@pytest.mark.parametrize("name", METHODS)
def test_sizes_are_checked(name: str) -> None:
    assert set(method_settings(name)) >= {"choose"}
    with pytest.raises(ValueError, match="n must be >= 1, got 0; it is the number of chains"):
        build_method(name).plan(0)
    with pytest.raises(UserError, match="choose"):
        build_method(name, choose="best")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("best_of_n", {"error": 1.0}, "error"),
        ("best_of_n", {"batch": 0}, "batch"),
        ("beam", {"expand": 0}, "expand"),
        ("dvts", {"expand": 0}, "expand"),
        ("mcts", {"exploration": -1.0}, "exploration"),
        ("mcts", {"expansions": 0}, "expansions"),
    ],
)
def test_settings_are_checked(name: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_method(name, **settings)


def test_best_of_n_draws_in_batches_until_the_vote_is_settled() -> None:
    agree = run_plan(build_method("best_of_n", choose="vote").plan(16), numbered(1))
    assert counts(agree) == [[4], [4]] and all(ask.whole for (ask,) in agree)
    every = run_plan(build_method("best_of_n", error=None).plan(16), numbered(1))
    assert counts(every) == [[16]]
    certain = run_plan(build_method("best_of_n", choose="vote", error=0.0, batch=1).plan(16), numbered(1))
    assert len(certain) == 9
    by_score = run_plan(build_method("best_of_n", choose="score", batch=1).plan(20), numbered(1))
    assert len(by_score) == 19


def test_best_of_n_counts_draws_that_said_nothing() -> None:
    """Ten draws in all: those without a chain are draws without a vote."""
    rounds = run_plan(
        build_method("best_of_n", choose="vote", batch=5).plan(10),
        lambda ask: numbered(1)(Ask(ROOT, 1, whole=True)),
    )
    assert counts(rounds) == [[5], [5]]


def test_beam_keeps_the_best_beginnings() -> None:
    rounds = run_plan(build_method("beam", expand=2).plan(6), numbered(3))
    # Numbers are scores: of six steps, the last three are the best, in the order of their scores.
    assert counts(rounds) == [[6], [2, 2, 2], [2, 2, 2]]
    assert [ask.prefix.text for ask in rounds[1]] == ["/5", "/4", "/3"]
    assert [ask.prefix.text for ask in rounds[2]] == ["/3/11", "/3/10", "/4/9"]


def test_beam_gives_equal_texts_one_place_and_complete_chains_keep_theirs() -> None:
    def answer(ask: Ask) -> Sequence[Chain]:
        if ask.prefix is ROOT:
            done = scored("done", 3.0, vote="a", complete=True)
            return [done, scored("x", 2.0), scored("x", 2.0), scored("y", 1.0)]
        return [scored(f"{ask.prefix.text}.", 0.0, vote="b", complete=True)] * ask.count

    rounds = run_plan(build_method("beam", expand=2).plan(4), answer)
    assert [[ask.prefix.text for ask in asks] for asks in rounds] == [[""], ["x"]]


def test_trees_do_not_compete() -> None:
    rounds = run_plan(build_method("dvts", expand=2).plan(6), numbered(2))
    assert counts(rounds) == [[2, 2, 2], [2, 2, 2]]
    assert [ask.prefix.text for ask in rounds[1]] == ["/1", "/3", "/5"]


def test_tree_search_returns_to_what_it_left() -> None:
    """The best first step leads only to bad second ones."""

    def answer(ask: Ask) -> Sequence[Chain]:
        path = ask.prefix.text
        if not path:
            return [scored("good", 2.0), scored("bad", -0.2)]
        if path == "good":
            return [scored("good.1", -4.0), scored("good.2", -4.0)]
        return [scored(f"{path}.{k}", 1.0, vote="a", complete=True) for k in range(2)]

    rounds = run_plan(build_method("mcts", expand=2, exploration=0.2).plan(2), answer)
    assert [asks[0].prefix.text for asks in rounds] == ["", "good", "bad"]


def test_tree_search_ends_when_everything_is_complete_or_its_expansions_are_spent() -> None:
    exhausted = run_plan(build_method("mcts", expand=2).plan(50), numbered(2))
    assert len(exhausted) == 3  # the question, and each of its two first steps
    deep = run_plan(build_method("mcts", expand=2, expansions=1).plan(2), numbered(9))
    assert len(deep) == 3 and [ask.whole for asks in deep for ask in asks] == [False, False, True]


def chosen(choose: str, *chains: Chain) -> int | None:
    method: SearchMethod = build_method("beam", choose=choose)
    return method.chosen(chains)


def test_the_answer_by_score_by_votes_and_by_weighted_votes() -> None:
    chains = [
        scored("1", 2.0, vote="a", complete=True),
        scored("2", -3.0, vote="b", complete=True),
        scored("3", -2.0, vote="b", complete=True),
        scored("4", 9.0, vote=None, complete=True),
    ]
    assert chosen("score", *chains) == 3
    assert chosen("vote", *chains) == 2  # the better of the two that agree
    assert chosen("weighted_vote", *chains) == 0
    assert chosen("vote", chains[3]) == 0  # without any vote, by score
    assert chosen("vote") is None
    assert chosen("score", chains[0], scored("5", 2.0)) == 0  # the first of equals
    cut = replace(scored("6", 9.0, complete=True), cut_off=True)
    assert chosen("score", cut, chains[1]) == 1 and chosen("score", cut) == 0
