"""Lines of journals with a field of a wrong type are refused, by file, line and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.generators.base import Completion
from dreamprm.generators.cached_generator import ReplyJournal
from dreamprm.labelling.journal import Journal, Key, Rollout
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


WRITTEN: dict[str, tuple[Callable[[Path], Any], Callable[[Any], None], Callable[[Any], Any]]] = {
    "rollouts": (
        Journal,
        lambda journal: journal.append(
            [Rollout(Key("q", 0, 1, 0), "0" * 32, "a b", 3, True, "right", "7", "x")]
        ),
        lambda journal: (sorted(journal), journal.sampled(Key("q", 0, 1, 0), "0" * 16)),
    ),
    "scores": (
        lambda path: ScoreJournal(path, {"model": "m"}),
        lambda journal: journal.append("k", [[0.25, -1.5], None], row=3),
        lambda journal: ("k" in journal) and journal.read("k"),
    ),
    "replies": (
        ReplyJournal,
        lambda journal: journal.append("a", [Completion("Verdict: right", 2)]),
        lambda journal: journal.find("a"),
    ),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_bit_that_has_changed_is_found_or_changes_nothing(kind: str, tmp_path: Path) -> None:
    """Every fifth bit of the file, so that digits, letters, quotes, names and the checksum itself are met."""
    opened, write, read = WRITTEN[kind]
    path = tmp_path / "j.jsonl"
    with opened(path) as journal:
        write(journal)
        whole = read(journal)
    content, refused = path.read_bytes(), 0
    with opened(path) as journal:
        assert read(journal) == whole and content.endswith((b" \n", b"\t\n"))
    for place in range(0, 8 * len(content), 5):
        path.write_bytes(
            content[: place // 8]
            + bytes([content[place // 8] ^ (1 << place % 8)])
            + content[place // 8 + 1 :]
        )
        try:
            journal = opened(path)
        except UserError as error:
            refused += 1
            assert str(path) in str(error)
            continue
        with journal:
            # A line without its end counts as cut short: it is made again.
            assert read(journal) == whole or path.read_bytes().count(b"\n") < content.count(b"\n"), place
    assert refused > 8 * len(content) / 5 - 20


def test_a_line_without_a_checksum_is_of_an_earlier_version_and_read(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_text(json.dumps(ROLLOUT) + "\n")
    with Journal(tmp_path / "j.jsonl") as journal:
        assert len(journal) == 1
    (tmp_path / "j.jsonl").write_text(json.dumps(ROLLOUT) + " " * 16 + "\n")
    with pytest.raises(DataError, match="its checksum is not that of its text, so it has changed since"):
        Journal(tmp_path / "j.jsonl")
