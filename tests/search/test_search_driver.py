"""The driver: rounds, budgets, steps' ends, failures, and what an interruption leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_search import DigitGenerator, DigitScorer, question, reader

from dreamprm.config.errors import DataError
from dreamprm.files.content import FileDigests
from dreamprm.generators.base import Completion, GenerationError
from dreamprm.search.chains import ROOT, Chain, distinct
from dreamprm.search.driver import TOKENS, Driver, Found, Limits, SearchTask
from dreamprm.search.journal import SearchJournal
from dreamprm.search.methods import Ask, Plan, SearchMethod, build_method
from dreamprm.search.suppliers import Completions, Scores


class Stopped(Exception):
    """As a kill would."""


def tasks(number: int, **settings: Any) -> list[SearchTask]:
    return [
        SearchTask(one, f"prompt: {one.question}", one.question, reader(one, **settings))
        for one in map(question, range(number))
    ]


def search(
    journal: Path | SearchJournal,
    method: SearchMethod | str,
    given: Sequence[SearchTask],
    *,
    n: int = 8,
    generator: DigitGenerator | None = None,
    scorer: DigitScorer | None = None,
    limits: Limits | None = None,
    together: int = 3,
) -> dict[int, Found | Exception]:
    if isinstance(journal, Path):
        with SearchJournal(journal) as opened:
            return search(
                opened,
                method,
                given,
                n=n,
                generator=generator,
                scorer=scorer,
                limits=limits,
                together=together,
            )
    digests = FileDigests()
    driver = Driver(
        build_method(method) if isinstance(method, str) else method,
        Completions(generator or DigitGenerator(), journal, {"generator": "digits"}, digests),
        Scores(scorer or DigitScorer(), journal, digests),
        limits or Limits(n, None, 100, 100),
        temperature=1.0,
        seed=3,
        aggregation="mean_log_odds",
        together=together,
    )
    return dict(driver.run(given))


@pytest.mark.parametrize(
    ("method", "parallel", "together"),
    [("best_of_n", 4, 1), ("beam", 1, 1), ("dvts", 1, 8), ("mcts", 4, 1)],
)
def test_costs_are_counted_and_a_second_run_asks_nothing(
    method: str, parallel: int, together: int, tmp_path: Path
) -> None:
    generator, scorer = DigitGenerator(parallel=parallel, together=together), DigitScorer()
    found = search(tmp_path / "j.jsonl", method, tasks(4), generator=generator, scorer=scorer)
    assert sorted(found) == list(range(4))
    for one in found.values():
        assert isinstance(one, Found) and one.chosen is not None and one.limit is None
        assert all(chain.complete and len(chain.steps) == 3 for chain in one.chains)
        assert all(chain.vote == f"number {int(chain.final_answer or -1)}" for chain in one.chains)
        assert one.course[-1][2] == one.chosen and one.course[-1][:2] <= (one.cost.generated, one.cost.scored)
    texts = [
        c for r, s in generator.requests for c in [generator._one(r, r.first + k, s) for k in range(r.n)]
    ]
    assert sum(one.cost.generated for one in found.values()) == sum(text.tokens for text in texts)
    assert sum(one.cost.continuations for one in found.values()) == len(texts)
    assert sum(one.cost.scored for one in found.values()) > 0
    again, asked = DigitGenerator(parallel=parallel, together=together), DigitScorer()
    assert search(tmp_path / "j.jsonl", method, tasks(4), generator=again, scorer=asked) == found
    assert again.requests == [] and asked.calls == []


def test_the_search_is_led_by_the_scores(tmp_path: Path) -> None:
    """The best chain is one of 64: a step at a time, 16 tries each are enough."""
    found = search(tmp_path / "j.jsonl", build_method("beam", expand=16), tasks(4), n=64)
    assert [one.chains[one.chosen].final_answer for one in found.values()] == ["333"] * 4


@pytest.mark.parametrize("method", ["best_of_n", "beam", "mcts"])
@pytest.mark.parametrize("kill", [1, 4])
def test_a_run_that_was_killed_ends_with_the_same_bytes(method: str, kill: int, tmp_path: Path) -> None:
    whole = search(tmp_path / "whole.jsonl", method, tasks(4))
    for what in ("generator", "scorer"):
        calls = 0

        def stop() -> None:
            nonlocal calls
            calls += 1
            if calls == kill:
                raise Stopped

        path = tmp_path / f"{what}.jsonl"
        parts: dict[str, Any] = {"generator": DigitGenerator(), "scorer": DigitScorer()}
        parts[what].before = stop
        with pytest.raises(Stopped):
            search(path, method, tasks(4), **parts)
        assert search(path, method, tasks(4)) == whole
        assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_line_cut_short_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    whole = search(path, "beam", tasks(3))
    content = path.read_bytes()
    for place in range(40, len(content), len(content) // 4):
        path.write_bytes(content[:place])
        assert search(path, "beam", tasks(3)) == whole
        assert path.read_bytes() == content


def test_other_methods_use_what_was_asked_before(tmp_path: Path) -> None:
    search(tmp_path / "j.jsonl", build_method("best_of_n", error=None), tasks(2), n=8)
    generator, scorer = DigitGenerator(), DigitScorer()
    method = build_method("best_of_n", error=None, choose="score")
    search(tmp_path / "j.jsonl", method, tasks(2), n=8, generator=generator, scorer=scorer)
    assert generator.requests == [] and scorer.calls == []
    search(tmp_path / "j.jsonl", method, tasks(2), n=8, scorer=replace(scorer, name="another"))
    with SearchJournal(tmp_path / "j.jsonl") as journal:
        assert len(journal.replies) == 2 and len(journal.scores) > 16


@pytest.mark.parametrize("method", ["best_of_n", "beam", "dvts", "mcts"])
@pytest.mark.parametrize("budget", [1, 30, 61])
def test_a_budget_of_tokens_is_never_exceeded(method: str, budget: int, tmp_path: Path) -> None:
    limits = Limits(8, budget, 12, 9)
    free = search(tmp_path / "free.jsonl", method, tasks(2), limits=replace(limits, generated_tokens=None))
    found = search(tmp_path / "j.jsonl", method, tasks(2), limits=limits)
    for number, one in found.items():
        assert isinstance(one, Found) and isinstance(free[number], Found)
        assert one.cost.generated <= budget and one.cost.over == 0
        assert (one.limit == TOKENS) == (free[number].cost.generated > budget)
        assert one.chosen is None or one.chains[one.chosen].steps


def test_a_generator_that_ignores_its_limit_is_told_of(tmp_path: Path) -> None:
    generator = DigitGenerator(keeps_limit=False)
    limits = Limits(8, 5, 12, 12)
    (one,) = search(tmp_path / "j.jsonl", "best_of_n", tasks(1), generator=generator, limits=limits).values()
    assert isinstance(one, Found) and one.limit == TOKENS
    assert one.cost.over == one.cost.generated - 5 > 0


def test_waves_draw_at_once_what_the_budget_surely_allows(tmp_path: Path) -> None:
    generator = DigitGenerator()
    method = build_method("best_of_n", error=None)
    search(tmp_path / "j.jsonl", method, tasks(1), generator=generator, limits=Limits(8, 60, 20, 20))
    assert [request.n for request, _ in generator.requests][:2] == [3, 1]
    assert [sampling.max_tokens for _, sampling in generator.requests][0] == 20
    assert all(1 <= sampling.max_tokens <= 20 for _, sampling in generator.requests)


@pytest.mark.parametrize("says_stops", [True, False])
@pytest.mark.parametrize("split", ["headings", "auto"])
def test_a_step_ends_at_the_next_heading(says_stops: bool, split: str, tmp_path: Path) -> None:
    generator = DigitGenerator(says_stops=says_stops)
    found = search(tmp_path / "j.jsonl", "beam", tasks(2, split=split), generator=generator, n=4)
    stops = {sampling.stop[0] for _, sampling in generator.requests if sampling.stop}
    assert stops == {"\nStep 2", "\nStep 3", "\nStep 4"}
    for one in found.values():
        assert isinstance(one, Found) and one.cost.cut_away == 0
        assert all(chain.depth == 3 and chain.final_answer for chain in one.chains)


@pytest.mark.parametrize("split", ["headings", "sentences"])
def test_what_goes_past_a_step_is_cut_away_and_paid_for(split: str, tmp_path: Path) -> None:
    """Headings that no stop text catches, and steps that have none."""
    heading = "- STEP {}: " if split == "headings" else "Take the next, number {}: "
    generator = DigitGenerator(heading=heading, end="" if split == "headings" else ".")
    found = search(tmp_path / "j.jsonl", "beam", tasks(2, split=split), generator=generator, n=4)
    for one in found.values():
        assert isinstance(one, Found) and one.cost.cut_away > 0
        assert all(chain.complete for chain in one.chains)
        written = sum(len(chain.text.split()) for chain in one.chains)
        assert one.cost.generated > written


def test_a_heading_that_comes_too_early_is_asked_for_without_stop_texts(tmp_path: Path) -> None:
    class Skips(DigitGenerator):
        def _one(self, request: Any, number: int, sampling: Any) -> Completion:
            text = "\nStep 3: 2\nFinal answer: 2" if request.prefix else "Step 1: 2\nStep 3: 2"
            place = min((text.find(stop) for stop in sampling.stop if stop in text), default=len(text))
            by = next((stop for stop in sampling.stop if text.startswith(stop, place)), "")
            return Completion(text[:place], len(text[:place].split()), stopped_by=by)

    found = search(tmp_path / "j.jsonl", "dvts", tasks(1), generator=Skips(), n=4)
    (one,) = found.values()
    assert isinstance(one, Found) and one.chains[0].text == "Step 1: 2\nStep 3: 2\nFinal answer: 2"


def test_a_chain_of_many_steps_is_continued_to_its_end(tmp_path: Path) -> None:
    generator = DigitGenerator()
    (one,) = search(tmp_path / "j.jsonl", "dvts", tasks(1, most_steps=2), generator=generator, n=4).values()
    assert isinstance(one, Found) and {chain.depth for chain in one.chains} == {2}
    assert [bool(sampling.stop) for _, sampling in generator.requests] == [True, False]


def test_expected_steps_end_a_chain_without_stop_texts(tmp_path: Path) -> None:
    generator = DigitGenerator(says_stops=False)
    search(tmp_path / "j.jsonl", "dvts", tasks(1, expected=3), generator=generator, n=4)
    assert [len(sampling.stop) for _, sampling in generator.requests] == [4, 4, 0]


def test_the_user_s_stop_texts_end_a_chain() -> None:
    one = reader(stop=("END",))
    assert one.stops(ROOT) == ("END", "\nStep 2", "\n**Step 2", "\n### Step 2")
    chain, cut = one.read(ROOT, Completion("Step 1: 2", 3, stopped_by="END"), whole=False)
    assert chain is not None and chain.complete and not cut
    chain, _ = one.read(ROOT, Completion("Step 1: 2", 3, stopped_by="\nStep 2"), whole=False)
    assert chain is not None and not chain.complete


def test_an_empty_continuation_completes_its_chain_and_a_cut_off_one_says_so() -> None:
    one = reader()
    prefix = Chain("Step 1: 2\nFinal answer: 2", ("Step 1: 2\nFinal answer: 2",), 1)
    chain, _ = one.read(prefix, Completion("", 0, stopped_by=""), whole=False)
    assert chain is not None and chain.complete and chain.vote == "number 2" and not chain.cut_off
    chain, _ = one.read(prefix, Completion("\nStep 2: and", 3, False), whole=False)
    assert chain is not None and chain.complete and chain.cut_off
    assert one.read(ROOT, Completion(" \n", 1), whole=True) == (None, False)


def test_paragraphs_stop_at_blank_lines_and_go_on_after_them() -> None:
    one = reader(split="paragraphs")
    first, _ = one.read(ROOT, Completion("One is 1.", 3, stopped_by="\n\n"), whole=False)
    assert first is not None and one.stops(first) == ("\n\n",) and one.sent(first) == "One is 1.\n\n"
    second, _ = one.read(first, Completion("Two is 2.", 3, stopped_by="\n\n"), whole=False)
    assert second is not None and second.steps == ("One is 1.", "Two is 2.")


def test_one_question_s_failure_leaves_the_others(tmp_path: Path) -> None:
    generator = DigitGenerator(failing="number 1 ?")
    found = search(tmp_path / "j.jsonl", "beam", tasks(3), generator=generator)
    assert isinstance(found[1], GenerationError) and isinstance(found[0], Found)
    whole = search(tmp_path / "whole.jsonl", "beam", tasks(3))
    assert (found[0], found[2]) == (whole[0], whole[2])
    assert search(tmp_path / "j.jsonl", "beam", tasks(3)) == whole


def test_chains_that_cannot_be_scored_are_left_out(tmp_path: Path) -> None:
    found = search(tmp_path / "j.jsonl", "beam", tasks(2), scorer=DigitScorer(refused=": 3"))
    for one in found.values():
        assert isinstance(one, Found) and one.cost.unscored > 0
        assert not any(": 3" in chain.text for chain in one.chains)
    refused = search(tmp_path / "j2.jsonl", "beam", tasks(2), scorer=DigitScorer(refused="Step"))
    assert [str(one) for one in refused.values()] == ["too long to score"] * 2


def test_a_generator_that_says_nothing_leaves_no_chain(tmp_path: Path) -> None:
    class Silent(DigitGenerator):
        def _one(self, request: Any, number: int, sampling: Any) -> Completion:
            return Completion("", 2)

    (one,) = search(tmp_path / "j.jsonl", "best_of_n", tasks(1), generator=Silent()).values()
    assert isinstance(one, Found) and one.chosen is None and one.chains == ()
    assert one.cost.empty == one.cost.continuations == 8 and one.cost.generated == 16


def test_samples_of_a_prefix_are_numbered_across_rounds(tmp_path: Path) -> None:
    """The trees of dvts, and a prefix that is asked for again, never draw the same sample."""

    class Twice(SearchMethod):
        choose = "score"

        def plan(self, n: int) -> Plan:
            for _ in range(2):
                yield [Ask(ROOT, 2), Ask(ROOT, 2)]

    generator = DigitGenerator()
    search(tmp_path / "j.jsonl", Twice(), tasks(1), generator=generator)
    assert [(request.first, request.n) for request, _ in generator.requests] == [(0, 4), (4, 4)]
    assert len({request.sequence for request, _ in generator.requests}) == 1


def test_distinct_chains_keep_their_order() -> None:
    one, two = Chain("a", ("a",)), Chain("b", ("b",))
    assert distinct([one, two, replace(one, value=2.0)]) == [one, two]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"replies": {"a": []}}', "replies.a"),
        ('{"replies": {"a": [{"text": "x", "tokens": -1, "finished": true}]}}', "tokens"),
        ('{"scores": {"a": {"log_odds": [NaN], "tokens": 3}}}', "log_odds"),
        ('{"scores": {"a": {"log_odds": [], "tokens": 3}}}', "log_odds"),
        ('{"other": {}}', "scores"),
        ("[1]", "replies"),
    ],
)
def test_a_foreign_journal_is_refused(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=rf"j\.jsonl:1: not a line of a journal of a search.*{message}"):
        SearchJournal(tmp_path / "j.jsonl")


def test_completions_come_back_as_they_were(tmp_path: Path) -> None:
    kept = [
        Completion("a", 1, stopped_by=""),
        Completion("b", 2, False, "thought", "a refusal"),
        Completion("c", 3, stopped_by="\nStep 2"),
    ]
    with SearchJournal(tmp_path / "j.jsonl") as journal:
        journal.add_replies({"k": kept})
    with SearchJournal(tmp_path / "j.jsonl") as journal:
        assert journal.replies == {"k": tuple(kept)}
        assert [one.stopped_by for one in journal.replies["k"]] == [one.stopped_by for one in kept]
