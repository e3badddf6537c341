"""Lines of journals with a field of a wrong type are refused, by file, line and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.generators.cached_generator import ReplyJournal
from dreamprm.labelling.journal import Journal
from dreamprm.scoring.journal import FORMAT, ScoreJournal

ROLLOUT = {
    "question": "q",
    "cot": 0,
    "step": 1,
    "rollout": 0,
    "input": "0" * 32,
    "text": "a",
    "tokens": 3,
    "finished": True,
    "verdict": "right",
    "answer": None,
    "reason": "",
    "note": "x",
}
SCORES = {"row": 0, "key": "k", "log_odds": [[0.5], None], "images": {"lost": "x"}}
REPLY = {"form": 2, "asked": "a", "replies": [{"text": "a", "tokens": 1, "finished": True}]}

JOURNALS: dict[str, tuple[Callable[[Path], Any], list[dict[str, Any]]]] = {
    "rollouts": (Journal, [ROLLOUT]),
    "scores": (lambda path: ScoreJournal(path, {}), [{"format": FORMAT, "made_by": {}}, SCORES]),
    "replies": (ReplyJournal, [REPLY]),
}
WRONG: list[Any] = [None, True, -1, 1.5, "x", [], {}, [{}], [[float("nan")]], {"a": 1}]
NEVER_RIGHT: list[Any] = [-1, [{}], WRONG[8], {"a": 1}]


@pytest.mark.parametrize("kind", JOURNALS)
def test_a_field_of_a_wrong_type_is_refused(kind: str, tmp_path: Path) -> None:
    opened, rows = JOURNALS[kind]
    path = tmp_path / "j.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened(path).close()  # as it is, it is read
    refused = 0
    for field, right in rows[-1].items():
        for wrong in (one for one in WRONG if type(one) is not type(right) or one in NEVER_RIGHT):
            path.write_text(
                "".join(json.dumps(row) + "\n" for row in [*rows[:-1], rows[-1] | {field: wrong}])
            )
            if field == "form" or (field, wrong) == ("answer", "x"):
                opened(path).close()
                continue
            with pytest.raises(DataError, match=rf"j\.jsonl:{len(rows)}: not a line of a journal.*'{field}"):
                opened(path)
            refused += 1
    assert refused > 15


@pytest.mark.parametrize("kind", JOURNALS)
@pytest.mark.parametrize("line", ["[]", "null", "1", '"x"', "{}", "{", "\x00", '{"question": 1}'])
def test_a_line_that_is_no_such_object_is_refused(kind: str, line: str, tmp_path: Path) -> None:
    opened, rows = JOURNALS[kind]
    path = tmp_path / "j.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]) + line + "\n")
    with pytest.raises(DataError, match=rf"j\.jsonl:{len(rows)}: not a line of a journal"):
        opened(path)


@pytest.mark.parametrize("made_by", [{"files": 1}, {"files": {"model": 1}}, 1, None])
def test_a_first_line_of_scores_with_wrong_types_is_refused(made_by: Any, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(json.dumps({"format": FORMAT, "made_by": made_by}) + "\n")
    with pytest.raises(UserError, match=r"j\.jsonl:1: not a line of a journal"):
        ScoreJournal(path, {})
