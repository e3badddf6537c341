"""Values that JSON can hold and the package cannot are found by field, wherever JSON is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.read_report import ReadReport
from dreamprm.data.readers import read_candidate_records, read_meta_records, read_step_records
from dreamprm.data.text_reader import read_text_records
from dreamprm.files.append_only import AppendOnlyFile, Line
from dreamprm.files.json_values import MAX_DEPTH, UnusableValue, parse_json
from dreamprm.formats.json_rows import as_fields, member_rows, named_rows, read_object
from dreamprm.formats.table_files import read_table
from dreamprm.generators.base import Completion
from dreamprm.reporting.folders.files import object_lines

# JSON text, and what the message must say of it.
UNUSABLE = {
    "half a pair": (r'"a \ud83d b"', "half a surrogate pair"),
    "the other half": (r'"\ude00"', "half a surrogate pair"),
    "NUL": (r'"a\u0000b"', "NUL"),
    "64 bits": ("9223372036854775808", "less than 64 bits"),
    "64 bits below 0": ("-9223372036854775809", "less than 64 bits"),
    "10**400": ("1" + "0" * 400, "less than 64 bits"),
    "5,000 digits": ("7" * 5000, "less than 64 bits"),
    "2,000 levels": ("[" * 2000 + "]" * 2000, "at most 100 levels"),
    "200 levels": ('{"a":' * 200 + "1" + "}" * 200, "at most 100 levels"),
    "a name": (r'{"x\udfff": 1}', "half a surrogate pair"),
}
STEP = {"question": "q ?", "image": None, "domain": "d", "steps": ["s"], "labels": [1]}
META = {"question": "q ?", "steps": ["s"], "correct": True}
CANDIDATE = {"question": "q ?", "benchmark": "b", "answer": "1", "candidates": [{"text": "Step 1: one"}]}
QUESTION = {"question": "q ?", "answer": "1"}
Reader = Callable[..., Iterable[Any]]
READERS: dict[str, tuple[Reader, dict[str, Any]]] = {
    "step": (partial(read_step_records, allow_no_image=True), STEP),
    "meta": (partial(read_meta_records, allow_no_image=True), META),
    "candidate": (partial(read_candidate_records, allow_no_image=True), CANDIDATE),
    "question": (partial(read_question_records, allow_no_image=True), QUESTION),
}


def with_field(row: dict[str, Any], text: str) -> str:
    """The row's JSON with one more field that holds a JSON text."""
    return json.dumps(row)[:-1] + f', "more": {{"one": [0, {text}]}}}}'


@pytest.mark.parametrize("name", UNUSABLE)
def test_each_is_named_by_its_field(name: str) -> None:
    text, said = UNUSABLE[name]
    with pytest.raises(UnusableValue) as caught:
        parse_json(f'{{"a": 1, "steps": ["x", {{"b": {text}}}], "c": 2}}')
    message = str(caught.value)
    assert said in message and "field 'steps" in message and len(message) < 250
    assert caught.value.field == "steps" if "levels" in name else caught.value.field.startswith("steps[1].b")


def test_what_looks_like_them_is_read() -> None:
    usable = {
        "pair": "\U0001f600 \u0141",
        "escaped": "\\ud83d \\u0000",
        "most": [2**63 - 1, -(2**63), 0.1234567890123456789, 1e300],
        "lists": [[]] * 200,
    }
    assert parse_json(json.dumps(usable)) == usable
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(f" {deep}\n")) == deep
    for broken in ("", "[1] x", '{"a": 1', "[" * 2000):
        with pytest.raises(json.JSONDecodeError):
            parse_json(broken)
    with pytest.raises(ValueError):
        parse_json(b'"\xed\xa0\xbd"')  # half a pair, as bytes


@pytest.mark.parametrize("form", ["lines", "array"])
@pytest.mark.parametrize("kind", READERS)
def test_readers_name_the_place_and_can_leave_it_out(kind: str, form: str, tmp_path: Path) -> None:
    """All of them in one file, between good rows: each is one bad row, and the rows after it are read."""
    read, row = READERS[kind]
    good = json.dumps(row)
    texts = [good, *(part for text, _ in UNUSABLE.values() for part in (with_field(row, text), good))]
    path = tmp_path / "records.json"
    path.write_text("\n".join(texts) if form == "lines" else "[" + ",\n".join(texts) + "]")
    report = ReadReport()
    kept = list(read(path, on_error="skip", max_bad_fraction=0.5, report=report))
    assert len(kept) == len(UNUSABLE) + 1 and report.bad == len(UNUSABLE)
    for line, told, (_, said) in zip(range(2, 99, 2), report.left_out, UNUSABLE.values(), strict=False):
        assert told.startswith(f"{path}:{line}: field 'more") and said in told
    with pytest.raises(DataError, match=r"records\.json:2: field 'more\.one\[1\]': got 'a \\ud83d b'"):
        list(read(path))


@pytest.mark.parametrize("name", UNUSABLE)
def test_other_readers_of_json_refuse_them_too(name: str, tmp_path: Path) -> None:
    text, said = UNUSABLE[name]
    path = tmp_path / "file.json"
    row = f'{{"text": {text}}}'

    def refused(read: Callable[[], Any], content: str) -> None:
        path.write_text(content)
        with pytest.raises(DataError) as caught:
            list(read())
        assert str(path) in str(caught.value) and said in str(caught.value)

    def raised(rows: Iterable[Any]) -> list[Any]:
        found = list(rows)
        errors = [one for one in found if isinstance(one, DataError)]
        assert len(errors) == 1 and len(found) == 2  # the other row follows
        raise errors[0]

    refused(lambda: read_text_records(path), row)
    refused(lambda: [read_object(path)], row)
    refused(lambda: object_lines(path), row)
    refused(lambda: raised(member_rows(path, "rows")), f'{{"rows": [{row}, {{"text": "b"}}]}}')
    refused(lambda: raised(named_rows(path, name="n")), f'{{"1": {row}, "2": {{"text": "b"}}}}')
    refused(lambda: raised(read_table(path)), f'[{row}, {{"text": "b"}}]')


class Journal(AppendOnlyFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rows: list[Any] = []
        self._read(self._take, what="a journal", advice="restore it")

    def _take(self, line: Line, row: Any) -> None:
        self.rows.append(row)


@pytest.mark.parametrize("name", UNUSABLE)
def test_journals_refuse_a_line_that_they_cannot_have_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(f'{{"a": 1}}\n{{"a": {UNUSABLE[name][0]}}}\n')
    with pytest.raises(DataError, match=r"journal\.jsonl:2: not a line of a journal \(.*field.*restore it"):
        Journal(path)


def test_cells_and_columns_are_checked_like_json(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = tmp_path / "a.tsv"
    table.write_text("q\ta\nwhat\tx\0y\nwhat\tz\n")
    rows = list(read_table(table))
    assert isinstance(rows[0], DataError) and "a.tsv:2: field 'a': got 'x\\x00y'" in str(rows[0])
    assert not isinstance(rows[1], DataError) and rows[1].values["a"] == "z"
    # A typed column may hold unsigned integers of 64 bits, such as hashes that nobody reads.
    pq.write_table(
        pa.table({"q": ["a\0", "b"], "hash": pa.array([1, 2**64 - 1], pa.uint64())}), tmp_path / "a.parquet"
    )
    rows = list(read_table(tmp_path / "a.parquet"))
    assert isinstance(rows[0], DataError) and "field 'q'" in str(rows[0])
    assert not isinstance(rows[1], DataError) and rows[1].values["hash"] == 2**64 - 1
    assert list(as_fields([], table)) == []


def test_a_reply_with_nul_becomes_one_that_records_can_hold() -> None:
    reply = Completion("a\0b", 3, note="a refusal", reasoning="\0")
    assert (reply.text, reply.reasoning) == ("a\ufffdb", "\ufffd")
    assert reply.note == "a refusal, with NUL characters"
    assert Completion("a", 1) == Completion("a", 1, True, "", "")
