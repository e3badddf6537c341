"""Questions on which one selector is right and another wrong: drawn at random, with their images."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamprm.config.errors import DataError, UserError, nearest
from dreamprm.data.image_paths import image_path, is_vouched
from dreamprm.evaluation.comparison import Evaluation
from dreamprm.evaluation.example_records import (
    FILE,
    FOLDER,
    Agreement,
    Example,
    MissingImage,
    PickedCandidate,
)
from dreamprm.evaluation.packed import PackedPicks
from dreamprm.evaluation.scored_suite import ScoredSuite
from dreamprm.evaluation.selector_names import BEST_GENERATOR
from dreamprm.evaluation.settings import ExampleSettings
from dreamprm.evaluation.thumbnails import ThumbnailFolder
from dreamprm.files.atomic import write_atomically

_ALLOW = "examples.allow_outside=true"
Picks = Sequence[Mapping[str, Mapping[str, Any]]]
"""Per question, as returned by `Selection.picks`."""

Names = tuple[str, str]
"""The names of the method and of the baseline."""

Kind = tuple[bool, bool]
"""Whether the method is right, and whether the baseline is."""

Pair = tuple[int, int]
"""The candidates of the method and of the baseline."""

_WITHOUT_PICK = ("random", BEST_GENERATOR, "oracle")
_STREAM = 1  # appended to the evaluation's seed and the suite; the bootstrap uses the stream without it


@dataclass(frozen=True)
class DrawnQuestion:
    """A question that was drawn as an example.

    Attributes: agreement: of the two selectors; question: its index in the suite; picked: the candidates of
    the method and of the baseline.
    """

    agreement: Agreement
    question: int
    picked: Pair


def example_pairs(
    settings: ExampleSettings,
    selectors: Sequence[str],
    compared: Sequence[Names],
) -> list[Names]:
    """The pairs to take examples of.

    Those of the settings, if any; otherwise dreamprm against each selector that it is compared with (the
    vanilla PRM first, then in the order of the comparison), at most `most_pairs`; without dreamprm, the first
    compared pair. Selectors that pick no candidate (random, oracle, the best single generator) are left out.

    Args:
        settings: the section of the configuration.
        selectors: all selectors of the evaluation.
        compared: (method, baseline) of the pairs whose difference is tested.
    Raises: UserError: the settings name an unknown selector, or one that picks no candidate.
    """
    given = [(pair.method, pair.baseline) for pair in settings.pairs]
    for name in (name for pair in given for name in pair):
        if name not in selectors:
            raise UserError(
                f"examples.pairs names {name!r}{nearest(name, selectors)}; the selectors are "
                f"{', '.join(selectors)}"
            )
        if name in _WITHOUT_PICK:
            raise UserError(
                f"examples.pairs names {name!r}, which has no rule that picks a candidate; use one of "
                f"{', '.join(one for one in selectors if one not in _WITHOUT_PICK)}"
            )
    if given:
        return list(dict.fromkeys(given))
    possible = [pair for pair in dict.fromkeys(compared) if not set(pair) & set(_WITHOUT_PICK)]
    own = sorted((pair for pair in possible if pair[0] == "dreamprm"), key=lambda pair: pair[1] != "vanilla")
    return own[: settings.most_pairs] if own else possible[:1]


def definite_pick(suite: ScoredSuite, question: int, named: Sequence[int] | None) -> int | None:
    """The candidate to show as a selector's pick, or None if the pick is not simply right or wrong.

    A selector names all tied candidates, and a vote all that gave a winning answer. If all of them are right,
    or all are wrong, so is the selector, whichever would be drawn, and the first is shown. If they differ (a
    tie between a right and a wrong answer, one answer that was judged in two ways), if one has partial
    credit, or if a vote finds no answer at all, there is no definite pick, and the question counts as
    unclear.

    Args:
        suite: the candidates.
        question: its index in the suite.
        named: the candidates that the selector names (`Selection.picks`).
    """
    if not named:
        return None
    earned = {suite.correct[question][index] for index in named}
    return named[0] if earned in ({0.0}, {1.0}) else None


def draw_examples(
    evaluation: Evaluation,
    picks: Mapping[str, Picks],
    compared: Sequence[Names],
) -> tuple[list[Agreement], list[DrawnQuestion]]:
    """How often the selectors of each pair agree, and some of the questions where they do not.

    For each suite, pair and kind (only the method right, only the baseline right), the first `count`
    questions are taken, in an order drawn once per suite from the evaluation's seed: each kind's examples are
    a simple random sample, and one question can serve several pairs. Nothing is chosen by score.

    Args:
        evaluation: the evaluated suites; its settings give the pairs and the number of examples.
        picks: by suite, what every selector picks.
        compared: as in `example_pairs`.
    Raises: UserError: as `example_pairs`.
    """
    settings, seed = evaluation.config.examples, evaluation.config.seed
    if not settings.count:
        return [], []
    agreements: list[Agreement] = []
    drawn: list[DrawnQuestion] = []
    pairs = example_pairs(settings, evaluation.selectors, compared)
    for place, (name, suite) in enumerate(evaluation.suites.items()):
        order = np.random.default_rng((seed, place, _STREAM)).permutation(len(suite.records)).tolist()
        there = evaluation.selections[name].selectors
        for method, baseline in (pair for pair in pairs if set(pair) <= set(there)):
            counts, first = _by_outcome(suite, order, _named(picks[name], method, baseline), settings.count)
            agreement = Agreement(
                name,
                method,
                baseline,
                both_right=counts[True, True],
                method_only=counts[True, False],
                baseline_only=counts[False, True],
                both_wrong=counts[False, False],
                unclear=len(suite.records) - counts.total(),
            )
            agreements.append(agreement)
            for kind in ((True, False), (False, True)):
                drawn += [
                    DrawnQuestion(agreement, question, picked) for question, picked in first[kind].items()
                ]
    return agreements, drawn


def _named(picks: Picks, *selectors: str) -> Callable[[int], list[Sequence[int] | None]]:
    """What selectors pick, given a question."""
    if isinstance(picks, PackedPicks):
        return lambda question: [picks.named(selector, question) for selector in selectors]
    return lambda question: [picks[question][selector]["candidates"] for selector in selectors]


def write_examples(
    folder: Path,
    evaluation: Evaluation,
    picks: Mapping[str, Picks],
    drawn: Sequence[DrawnQuestion],
) -> None:
    """Write examples.jsonl and the images that it names; those of an earlier evaluation are removed.

    Every file appears whole or not at all, the images before the lines that name them. An image that is
    missing or cannot be opened is reported in the example's line. With `examples.count` 0, neither is
    written.
    """
    settings = evaluation.config.examples
    images = ThumbnailFolder(folder / FOLDER, side=settings.image_side, ground=settings.image_ground)
    (folder / FILE).unlink(missing_ok=True)
    examples = [_example(evaluation, picks, one, images) for one in drawn]
    images.keep_only({name for example in examples for name in example.images})
    if settings.count:
        # ASCII: a text may hold half of a surrogate pair, which UTF-8 cannot encode.
        write_atomically(folder / FILE, "".join(json.dumps(one.to_json()) + "\n" for one in examples))


def _by_outcome(
    suite: ScoredSuite,
    order: Sequence[int],
    named: Callable[[int], list[Sequence[int] | None]],
    most: int,
) -> tuple[Counter[Kind], dict[Kind, dict[int, Pair]]]:
    """By (method is right, baseline is right): how many questions, and the first ones with both picks."""
    counts: Counter[Kind] = Counter()
    first: dict[Kind, dict[int, Pair]] = {
        (one, other): {} for one in (True, False) for other in (True, False)
    }
    for question in order:
        method, baseline = (definite_pick(suite, question, candidates) for candidates in named(question))
        if method is not None and baseline is not None:
            earned = suite.correct[question]
            kind = earned[method] == 1, earned[baseline] == 1
            counts[kind] += 1
            if counts[kind] <= most:
                first[kind][question] = method, baseline
    return counts, first


def _example(
    evaluation: Evaluation,
    picks: Mapping[str, Picks],
    drawn: DrawnQuestion,
    images: ThumbnailFolder,
) -> Example:
    name, question = drawn.agreement.suite, drawn.question
    suite = evaluation.suites[name]
    record = suite.records[question]
    settings = evaluation.config.examples
    kept, missing = [], []
    file = evaluation.config.suites[name].path
    root = settings.image_root or os.path.dirname(file)
    anywhere = settings.allow_outside or is_vouched(file)
    for given in record.images:
        path, outside = image_path(root, given, allow_outside=anywhere)
        if outside is not None:
            missing.append(MissingImage(path, f"{outside}; set examples.image_root or {_ALLOW}"))
            continue
        try:
            kept.append(images.add(path))
        except DataError as error:
            missing.append(MissingImage(path, str(error).removeprefix(f"{path}: ")))
    first, second = (_picked(evaluation, name, question, index) for index in drawn.picked)
    return Example(
        agreement=drawn.agreement,
        id=record.id,
        question=record.question,
        options=suite.options[question] if suite.options else (),
        answer=record.answer,
        images=tuple(kept),
        images_missing=tuple(missing),
        picked=(first, second),
        picks={
            selector: None if row["candidates"] is None else tuple(row["candidates"])
            for selector, row in picks[name][question].items()
        },
        candidates=len(record.candidates),
    )


def _picked(evaluation: Evaluation, name: str, question: int, index: int) -> PickedCandidate:
    suite, scores = evaluation.suites[name], evaluation.selections[name].scores
    candidate = suite.records[question].candidates[index]
    return PickedCandidate(
        index=index,
        steps=candidate.steps,
        final_answer=candidate.final_answer,
        correct=suite.correct[question][index] == 1,
        generator=candidate.generator,
        log_odds={scorer: tuple(suite.log_odds[scorer][question][index]) for scorer in scores},
        aggregates={scorer: float(values[question][index]) for scorer, values in scores.items()},
    )
