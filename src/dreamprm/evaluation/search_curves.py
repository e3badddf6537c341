"""Accuracy over the tokens that a search spent: read from its records, with intervals over questions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import versions
from dreamprm.data.json_stream import stream_json
from dreamprm.evaluation.bootstrap import Bootstrap, Floats, PairedOutcomes
from dreamprm.evaluation.number_text import level_text, markdown_table, percent_interval, signed_points
from dreamprm.evaluation.search_settings import EvaluateSearchConfig
from dreamprm.files.append_only import checked_text, require_fields
from dreamprm.files.atomic import write_atomically
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.markdown import as_text

MOST_POINTS = 40
"""Points of a curve; where the choice changed more often, some are left out."""

RECORDS, RESULT, PAGE, PLOT = (
    "candidates.jsonl",
    "accuracy_over_tokens.json",
    "accuracy_over_tokens.md",
    "accuracy_over_tokens.png",
)


@dataclass(frozen=True)
class SearchedQuestion:
    """What one question's search chose as it went on.

    Attributes:
        id: of the question.
        course: (generated tokens, whether the chain chosen from then on is right), tokens ascending.
        generated, scored: tokens spent in the end.
        at_limit: whether a limit of tokens ended it.
    """

    id: str
    course: tuple[tuple[int, float], ...]
    generated: int
    scored: int
    at_limit: bool

    def right_after(self, tokens: int) -> float:
        """Whether the answer would be right if the search were stopped once so many tokens were generated.

        Before the first complete chain there is no answer, which counts as wrong.
        """
        return next((right for spent, right in reversed(self.course) if spent <= tokens), 0.0)


def read_search(path: str | Path) -> list[SearchedQuestion]:
    """The records of a search, as `dreamprm search` writes them.

    Raises:
        DataError: a record that is not one of a search.
    """
    questions: list[SearchedQuestion] = []
    if not Path(path).stat().st_size:
        raise DataError(f"{path}: it holds no records; the search found no chain for any question")
    for row in stream_json(path):
        where = f"{path}:{row.line}"
        if row.problem is not None:
            raise DataError(f"{where}: {row.problem}")
        try:
            questions.append(_question(row.value))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"{where}: not a record of a search ({error}); give a folder that `dreamprm search` wrote"
            ) from error
    return questions


_SEARCH: Mapping[str, str] = {"generated": "a whole number >= 0", "scored": "a whole number >= 0"}


def _question(row: Any) -> SearchedQuestion:
    require_fields(row, {"id": "a text", "search": "an object"})
    search, candidates = row["search"], row["candidates"]
    require_fields(search, _SEARCH, within="search")
    course = []
    for generated, scored, chosen in search["course"]:
        if min(generated, scored, chosen) < 0 or generated > search["generated"]:
            raise ValueError(f"field 'search.course': got {[generated, scored, chosen]}")
        course.append((int(generated), float(candidates[chosen]["correct"] is True)))
    if not course:
        raise ValueError("field 'search.course' is empty")
    return SearchedQuestion(
        row["id"], tuple(course), search["generated"], search["scored"], search.get("limit") is not None
    )


def course_limits(questions: Sequence[SearchedQuestion]) -> list[int]:
    """Limits of tokens at which a curve is drawn: where choices changed, at most `MOST_POINTS`; the last is
    the whole search."""
    changes = sorted({tokens for one in questions for tokens, _ in one.course})
    last = max(one.generated for one in questions)
    if len(changes) >= MOST_POINTS:
        places = np.linspace(0, len(changes) - 1, MOST_POINTS - 1).round().astype(int)
        changes = [changes[place] for place in places]
    return [*(tokens for tokens in changes if tokens < last), last]


def curve(questions: Sequence[SearchedQuestion], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """Accuracy if every question's search were stopped at a limit of generated tokens, for rising limits.

    Returns:
        For each limit: `limit`, `generated` (mean tokens spent per question, which have their own ends) and
        `accuracy` with its interval over questions.
    """
    limits = course_limits(questions)
    outcomes = {t: np.array([one.right_after(t) for one in questions]) for t in limits}
    paired = PairedOutcomes(outcomes, bootstrap.draws(len(questions)))
    return [
        {
            "limit": limit,
            "generated": float(np.mean([min(one.generated, limit) for one in questions])),
            "accuracy": paired[limit].to_json(bootstrap.level),
        }
        for limit in limits
    ]


def _right(questions: Sequence[SearchedQuestion]) -> Floats:
    return np.array([one.course[-1][1] for one in questions])


def run_evaluate_search(config: EvaluateSearchConfig) -> None:
    """`dreamprm evaluate-search`: accuracy over tokens of one or more searches, as a table and a plot.

    Writes accuracy_over_tokens.json, .md and .png.

    Raises:
        UserError: a folder holds no search, or the output cannot be written.
    """
    folders = [Path(folder) for folder in config.folders]
    output = Path(config.output) if config.output is not None else folders[0]
    for folder in folders:
        if not (folder / RECORDS).is_file():
            raise UserError(f"{folder} holds no {RECORDS}; give a folder that `dreamprm search` wrote")
    require_folder(output)
    names = _names(folders)
    bootstrap = Bootstrap(config.seed, config.resamples, config.level)
    searches = {name: read_search(folder / RECORDS) for name, folder in zip(names, folders, strict=True)}
    result: dict[str, Any] = {
        "level": config.level,
        "resamples": config.resamples,
        "seed": config.seed,
        "searches": {name: _figures(questions, bootstrap) for name, questions in searches.items()},
        "differences": _differences(searches, bootstrap),
        "versions": versions(),
    }
    output.mkdir(parents=True, exist_ok=True)
    page = _page(result)
    write_atomically(output / PAGE, page)
    from dreamprm.evaluation.plots import style
    from dreamprm.evaluation.plots.tokens import accuracy_over_tokens

    write_atomically(output / PLOT, style.png(accuracy_over_tokens(result)))
    write_atomically(output / RESULT, checked_text(json.dumps(result, indent=2, ensure_ascii=False)))
    print(f"{page}\n{output}: {PAGE}, {RESULT}, {PLOT}", flush=True)


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, or their paths where two are the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _figures(questions: Sequence[SearchedQuestion], bootstrap: Bootstrap) -> dict[str, Any]:
    values = {
        "accuracy": _right(questions),
        "generated": np.array([one.generated for one in questions], dtype=np.float64),
        "scored": np.array([one.scored for one in questions], dtype=np.float64),
    }
    paired = PairedOutcomes(values, bootstrap.draws(len(questions)))
    return {
        "questions": len(questions),
        "at_token_limit": sum(one.at_limit for one in questions),
        **{name: paired[name].to_json(bootstrap.level) for name in values},
        "curve": curve(questions, bootstrap),
    }


def _differences(
    searches: Mapping[str, Sequence[SearchedQuestion]], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """Each search minus the first, question by question; only those that hold the same questions."""
    (first, base), *others = searches.items()
    by_id = {one.id: one for one in base}
    rows = []
    for name, questions in others:
        if {one.id for one in questions} != by_id.keys() or len(questions) != len(base):
            continue
        values = {name: _right(questions), first: _right([by_id[one.id] for one in questions])}
        paired = PairedOutcomes(values, bootstrap.draws(len(questions)))
        difference = paired[name] - paired[first]
        rows.append({"search": name, "baseline": first, **(difference.to_json(bootstrap.level) or {})})
    return rows


def _page(result: Mapping[str, Any]) -> str:
    rows = [
        [
            as_text(name),
            f"{one['questions']:,}",
            _interval(one["accuracy"]),
            f"{one['generated']['value']:,.1f}",
            f"{one['scored']['value']:,.1f}",
            f"{one['at_token_limit']:,}",
        ]
        for name, one in result["searches"].items()
    ]
    parts = [
        "# Accuracy over tokens",
        f"Tokens are per question; brackets: {level_text(result['level'])} intervals over questions.",
        "\n".join(markdown_table(_COLUMNS, rows)),
        *(
            f"{as_text(row['search'])} minus {as_text(row['baseline'])}: {signed_points(row['value'])} "
            f"points [{signed_points(row['low'])}, {signed_points(row['high'])}]"
            for row in result["differences"]
        ),
    ]
    return "\n\n".join(parts) + "\n"


_COLUMNS = (
    *("search", "questions", "accuracy (%)"),
    *("tokens generated", "tokens scored", "at the token limit"),
)


def _interval(estimate: Mapping[str, float]) -> str:
    return percent_interval(estimate["value"], (estimate["low"], estimate["high"]))
