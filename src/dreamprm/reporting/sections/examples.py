"""Examples on which selectors disagree: image, question and both picks, steps shaded by their scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dreamprm.data.records import OPTION_LETTERS
from dreamprm.data.step_scores import probability
from dreamprm.evaluation.example_records import Agreement, Example, PickedCandidate
from dreamprm.evaluation.number_text import percent
from dreamprm.evaluation.plots.style import QUALITY_COLOURS
from dreamprm.evaluation.selector_names import SINGLE, WEIGHTED, meaning
from dreamprm.evaluation.thumbnails import digest
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, image, render
from dreamprm.reporting.folders.evaluation import EvaluationFolder

OPEN = 2
"""How many cards of each kind are not folded."""

# Mathematics as TeX marks it. No match may contain its own opening mark: otherwise every unclosed mark would
# cause a search to the end of the text.
_TEX = re.compile(r"(\$\$[^$]+\$\$|\$[^$\n]+\$|\\\((?:(?!\\\().)+?\\\)|\\\[(?:(?!\\\[).)+?\\\])", re.DOTALL)
_KINDS = {"png": "png", "jpg": "jpeg"}

LIGHT_PAPER, DARK_PAPER = "#ffffff", "#17191c"
"""--paper of page.css in the two colour schemes; a test keeps them in step."""

# The opacity of the colour on the paper, at one half and at 0 or 1. More would tire the eye; text on
# the strongest shade keeps a contrast above 7:1.
_LIGHT, _DARK = (0.12, 0.48), (0.12, 0.6)


@dataclass(frozen=True)
class Piece:
    """A part of a text; `tex` if it is mathematics, which is shown as its source."""

    text: str
    tex: bool


@dataclass(frozen=True)
class Shade:
    """Backgrounds as "#rrggbb": in the light and in the dark colour scheme."""

    light: str
    dark: str


@dataclass(frozen=True)
class StepScore:
    """One scorer's p of a step: its text, its shade, and the bar from the middle (`left`, `width` in %)."""

    scorer: str
    text: str
    shade: Shade
    left: float
    width: float


@dataclass(frozen=True)
class Step:
    """A step with the scores it has; its own shade is that of the first."""

    text: list[Piece]
    scores: list[StepScore]

    @property
    def shade(self) -> Shade | None:
        """None if no scorer has a score for the step."""
        return self.scores[0].shade if self.scores else None


@dataclass(frozen=True)
class Pick:
    """What one of the two selectors picks.

    Attributes:
        selector: its name.
        candidate: the pick; `number` counts it from 1.
        tied: numbers of the other candidates that it names.
        totals: one sentence per scorer on the whole candidate.
        steps: the steps, and their scores by the scorers of the two selectors, its own first.
        also: the selectors that also name this candidate, with a remark if they name others too.
    """

    selector: str
    candidate: PickedCandidate
    tied: list[int]
    totals: list[str]
    steps: list[Step]
    also: list[str]

    @property
    def number(self) -> int:
        """The candidate's place, from 1."""
        return self.candidate.index + 1


@dataclass(frozen=True)
class Card:
    """One example as the page shows it."""

    example: Example
    question: list[Piece]
    options: list[tuple[str, list[Piece]]]
    images: list[str]
    missing: list[str]
    picks: list[Pick]
    others: str


@dataclass(frozen=True)
class Kind:
    """The questions on which only one is right: which one, how many there are, and cards for some of them."""

    right: str
    count: int
    cards: list[Card]


@dataclass(frozen=True)
class Pair:
    """Two selectors on one suite."""

    agreement: Agreement
    meanings: list[tuple[str, str]]
    rows: list[list[str]]
    kinds: list[Kind]


def sections(report: Report) -> Iterator[Section]:
    """A section for each evaluation that kept examples."""
    for number, folder in enumerate(report.evaluations, start=1):
        if not folder.agreements:
            continue
        name = "" if len(report.folders) == 1 else f": {report.label(folder)}"
        body = render(
            "examples.html",
            pairs=[_pair(folder, one) for one in folder.agreements],
            seed=folder.result.get("seed"),
            opened=OPEN,
            several=len(folder.result["suites"]) > 1,
        )
        # Half of a surrogate pair, which JSON can hold, cannot be written as UTF-8.
        whole = body.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        yield Section(f"examples-{number}", f"Examples where selectors disagree{name}", Markup(whole))


def pieces(text: str) -> list[Piece]:
    """A text in parts: its mathematics ($...$, $$...$$, \\(...\\), \\[...\\]) and the text between."""
    parts = _TEX.split(text)
    return [Piece(part, bool(place % 2)) for place, part in enumerate(parts) if part]


def shade(probability: float) -> Shade:
    """Red-brown below one half, almost no colour at it, blue above: the plots' scale, blended with the paper.

    Args: probability: in [0, 1].
    """
    from matplotlib.colors import to_rgb

    # An integer would be taken as an index into the scale's table.
    colour, distance = QUALITY_COLOURS(float(probability))[:3], abs(2.0 * probability - 1.0)

    def on(paper: str, least: float, most: float) -> str:
        share = least + (most - least) * distance
        mixed = [share * ink + (1.0 - share) * white for ink, white in zip(colour, to_rgb(paper))]
        return "#" + "".join(f"{round(255 * value):02x}" for value in mixed)

    return Shade(on(LIGHT_PAPER, *_LIGHT), on(DARK_PAPER, *_DARK))


def shown_probability(log_odds: float) -> str:
    """p with two decimals; "< 0.01" and "> 0.99" instead of 0 and 1."""
    p = probability(log_odds)
    return "< 0.01" if p < 0.005 else "> 0.99" if p >= 0.995 else f"{p:.2f}"


def _pair(folder: EvaluationFolder, agreement: Agreement) -> Pair:
    method, baseline = agreement.method, agreement.baseline
    aggregations = folder.result.get("aggregations") or {}
    examples = [one for one in folder.examples if one.agreement == agreement]

    def cell(count: int) -> str:
        return Markup("{}<small>{} %</small>").format(count, percent(count / agreement.questions))

    rows = [
        [f"{method} right", cell(agreement.both_right), cell(agreement.method_only)],
        [f"{method} wrong", cell(agreement.baseline_only), cell(agreement.both_wrong)],
    ]
    kinds = [
        Kind(
            right,
            count,
            [
                _card(folder, aggregations, one)
                for one in examples
                if one.method_is_right == (right == method)
            ],
        )
        for right, count in ((method, agreement.method_only), (baseline, agreement.baseline_only))
    ]
    return Pair(agreement, [(name, meaning(name, aggregations)) for name in (method, baseline)], rows, kinds)


def _card(folder: EvaluationFolder, aggregations: Mapping[str, Any], example: Example) -> Card:
    images, missing = [], [f"{one.path} ({one.reason})" for one in example.images_missing]
    for name in example.images:
        path = folder.images / name
        content = path.read_bytes() if path.is_file() else None
        if content is None:
            missing.append(f"{path} (no such file)")
        elif digest(content) != path.stem:
            missing.append(f"{path} (damaged: its content is not that of the image that was kept)")
        else:
            images.append(image(content, kind=_KINDS[path.suffix[1:]]))
    pair = (example.agreement.method, example.agreement.baseline)
    picks = [
        _pick(example, aggregations, selector, pair[1 - side], candidate)
        for side, (selector, candidate) in enumerate(zip(pair, example.picked))
    ]
    return Card(
        example, pieces(example.question), _options(example), images, missing, picks, _others(example, pair)
    )


def _options(example: Example) -> list[tuple[str, list[Piece]]]:
    """Letter and text of each option; empty if they are only letters, or the question lists them itself."""
    lettered = list(zip(OPTION_LETTERS, example.options, strict=False))
    if all(option == letter or _lists(example.question, letter, option) for letter, option in lettered):
        return []
    return [(letter, pieces(option)) for letter, option in lettered]


def _lists(question: str, letter: str, option: str) -> bool:
    """Whether the option follows its letter in the question, as in "(A) three" and "A: three"."""
    return re.search(rf"(?<!\w){letter}[).:]*\s*{re.escape(option)}(?!\w)", question) is not None


def _pick(
    example: Example,
    aggregations: Mapping[str, Any],
    selector: str,
    other: str,
    candidate: PickedCandidate,
) -> Pick:
    both = (_scorer(selector, candidate), _scorer(other, candidate))
    scorers = [name for name in dict.fromkeys(both) if name]
    by_step = [
        name
        for name in scorers
        if len(candidate.log_odds[name]) == len(candidate.steps)
        and aggregations.get(name, {}).get("chosen") != SINGLE
    ]
    totals = []
    for name in scorers:
        value = f"{candidate.aggregates[name]:+.2f}"
        how = aggregations.get(name, {}).get("aggregation", "score")
        totals.append(
            f"{name}: {how} {value}"
            if name in by_step
            else f"{name}: {value} for the whole response; it has no scores of single steps"
        )
    steps = [
        Step(pieces(text), [_step_score(name, candidate.log_odds[name][place]) for name in by_step])
        for place, text in enumerate(candidate.steps)
    ]
    named = example.picks.get(selector) or ()
    also = [
        name if len(indices) == 1 else f"{name} (among others)"
        for name, indices in ((name, indices or ()) for name, indices in example.picks.items())
        if name not in (example.agreement.method, example.agreement.baseline) and candidate.index in indices
    ]
    tied = [index + 1 for index in named if index != candidate.index]
    return Pick(selector, candidate, tied, totals, steps, also)


def _scorer(selector: str, candidate: PickedCandidate) -> str | None:
    """The scorer that a selector uses; None if it uses none."""
    name = selector.removeprefix(WEIGHTED)
    return name if name in candidate.log_odds else None


def _step_score(scorer: str, log_odds: float) -> StepScore:
    p = probability(log_odds)
    assert math.isfinite(p)
    return StepScore(scorer, shown_probability(log_odds), shade(p), 100 * min(p, 0.5), 100 * abs(p - 0.5))


def _others(example: Example, pair: Sequence[str]) -> str:
    """The picks of the selectors that name neither of the two candidates."""
    shown = {candidate.index for candidate in example.picked}
    rest = [
        f"{name}: {' or '.join(str(index + 1) for index in indices)}"
        for name, indices in example.picks.items()
        if indices and name not in pair and not shown & set(indices)
    ]
    return "; ".join(rest)
