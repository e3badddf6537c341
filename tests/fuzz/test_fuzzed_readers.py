"""Files of records with random faults: read, or refused by name; skipping leaves out just the bad rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import fuzz, outcome
from hypothesis import strategies as st
from mutations import by_seed, change, damage, json_file, json_text
from PIL import Image

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.read_report import ReadReport
from dreamprm.data.readers import read_candidate_records, read_meta_records, read_step_records
from dreamprm.data.record_table import RecordTable, write_records
from dreamprm.data.text_reader import read_text_records

_STEPS = ["Step 1: Add.", "Step 2: So 4."]
_HEAD: dict[str, Any] = {"id": "q", "question": "How many?", "image": "i.png"}


@dataclass(frozen=True)
class Reader:
    """A reader, and valid rows of its files."""

    read: Callable[..., Any]
    rows: Sequence[dict[str, Any]]
    stored: bool = True  # whether `write_records` writes what it reads


_OWN_STEP = {**_HEAD, "domain": "d", "steps": _STEPS, "labels": [1, 0.25], "rollouts": [8, None]}
_NESTED = {
    "id": 7,
    "input": "How many?",
    "add": "Step 1: Add.",
    "image_path": "i.png",
    "dataset": "d",
    "accuracy": 0.5,
    "times": 4,
    "sid": 1,
    "score": 1,
}
_META = {"id": 3, "input": "How many?\nStep 1: Add.\nStep 2: 4", "true_false": False, "image_path": "i.png"}
_CANDIDATES = [
    {"text": "\n\n".join(_STEPS), "correct": True, "generator": "g", "credit": 1}
    | {"scores": {"prm": {"log_odds": [0.5, -2], "steps": [0.6, 0.1]}}},
    {"steps": _STEPS, "final_answer": "5", "correct": None, "scores": {"orm": {"steps": [0.9]}}},
]
_QUESTION = {**_HEAD, "answer": "B", "options": ["3", "4", "C"], "domain": "d", "answer_type": "choice"}

READERS = {
    "step": Reader(
        read_step_records, [_OWN_STEP, {**_OWN_STEP, "image": None, "images": ["i.png", "j.png"]}]
    ),
    "nested": Reader(read_step_records, [_NESTED, {**_NESTED, "add": "\n".join(_STEPS), "accuracy": 1}]),
    "meta": Reader(read_meta_records, [{**_HEAD, "steps": _STEPS, "correct": True}, _META]),
    "candidate": Reader(
        read_candidate_records,
        [
            {**_HEAD, "benchmark": "b", "answer": "4", "candidates": _CANDIDATES},
            {**_HEAD, "images": [], "benchmark": "b", "answer": "x", "candidates": [{"text": "\\boxed{x}"}]},
        ],
    ),
    "question": Reader(
        read_question_records,
        [
            _QUESTION,
            {**_QUESTION, "answer": "(C)", "options": ["C", "x", "y"]},
            {**_HEAD, "answer": 4.5, "precision": 1, "unit": "cm", "answer_type": "float"},
        ],
    ),
    "text": Reader(read_text_records, [{"text": "Red.", "image": "i.png"}, {"text": "4"}], stored=False),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of records to be, with its images; two folders up is the outside."""
    folder = tmp_path / "outer" / "data"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent, tmp_path):
        Image.new("RGB", (4, 4), "red").save(place / "i.png")
    Image.new("L", (2, 3)).save(folder / "j.png")
    (folder / "link.png").symlink_to(folder.parent / "i.png")
    return folder / "rows.json"


@pytest.mark.parametrize("name", READERS)
def test_reader(name: str, source: Path) -> None:
    """Any file is read, or refused with its name; what was read is the same once written and read again."""
    reader = READERS[name]
    is_text = reader.read is read_text_records
    options = st.fixed_dictionaries(
        {"allow_outside": st.booleans()}
        if is_text
        else {
            "allow_outside": st.booleans(),
            "allow_no_image": st.booleans(),
            "check_images": st.booleans(),
            "missing_image": st.sampled_from(["error", "text_only"]),
        }
    )

    def check(content: bytes, settings: dict[str, Any]) -> None:
        source.write_bytes(content)
        read = outcome(lambda: list(reader.read(source, **settings)))
        if isinstance(read, UserError):
            assert isinstance(read, DataError) and str(read).startswith(str(source)), read
            return
        assert read
        for record in read if not settings["allow_outside"] else ():
            for image in record.images:
                assert os.path.realpath(image).startswith(os.path.realpath(source.parent) + os.sep), image
        if reader.stored:
            again = source.with_name("again.jsonl")
            write_records(again, read, images_checked=False)
            settings = settings | {"allow_outside": True, "allow_no_image": True}
            assert list(reader.read(again, **settings)) == read

    fuzz(
        check,
        few=25,
        content=by_seed(lambda chance: damage(chance, json_file(chance, reader.rows))),
        settings=options,
    )


@pytest.mark.parametrize("name", [name for name in READERS if name != "text"])
def test_skipping(name: str, source: Path) -> None:
    """`on_error=skip` reads just the rows that are good by themselves."""
    reader = READERS[name]

    def check(texts: list[str], in_array: bool) -> None:
        def read(rows: list[str], *, as_array: bool, **settings: Any) -> Any:
            joined = "[" + ",\n".join(rows) + "]" if as_array else "\n".join(rows) + "\n"
            source.write_bytes(joined.encode("utf-8", "surrogatepass"))
            return outcome(lambda: list(reader.read(source, allow_no_image=True, **settings)))

        texts = [json_text(reader.rows[0]), *texts]  # the first one tells lines from an array
        alone = [read([text], as_array=True) for text in texts]
        good = [one for one in alone if not isinstance(one, UserError)]
        report = ReadReport()
        found = read(texts, as_array=in_array, on_error="skip", max_bad_fraction=1.0, report=report)
        assert not isinstance(found, UserError), found
        assert (report.rows, report.bad) == (len(texts), len(texts) - len(good))
        assert report.left_out_count == len(report.left_out)
        if name != "nested":  # whose rows are joined
            nameless = [replace(record, id="") for record in found]
            assert nameless == [replace(record, id="") for records in good for record in records]

    def rows(chance: Random) -> list[str]:
        return [json_text(change(chance, chance.choice(reader.rows))) for _ in range(chance.randint(1, 4))]

    fuzz(check, few=25, texts=by_seed(rows), in_array=st.booleans())


@pytest.mark.parametrize("name", ["step", "nested", "meta", "candidate"])
def test_table(name: str, source: Path) -> None:
    """The table of a file holds what its reader reads, also from a copy whose files were damaged since."""
    reader = READERS[name]
    kind: Any = "step" if name == "nested" else name
    cache = source.parent / "cache"

    def check(content: bytes, damage: dict[str, bytes | None]) -> None:
        source.write_bytes(content)
        shutil.rmtree(cache, ignore_errors=True)

        def opened() -> Any:
            options = {"kind": kind, "cache_dir": cache, "allow_no_image": True}
            return outcome(lambda: list(RecordTable.open(source, **options)))

        read = outcome(lambda: list(reader.read(source, allow_no_image=True)))
        first = opened()
        if isinstance(read, UserError):
            assert str(first) == str(read) and not list(cache.glob("*"))
            return
        assert first == read
        for path in cache.glob("*/*"):
            if (change := damage[path.name]) is not None:
                path.write_bytes(change if change else path.read_bytes()[:-9])
        again = opened()
        assert again == read, again

    damages = st.fixed_dictionaries(
        {
            "records.arrow": st.none() | st.binary(max_size=20),
            "report.json": st.none()
            | st.sampled_from([b"{}", b"[]", b"", b'{"x": 2}', b'{"report": {"bad": 1}}']),
        }
    )
    content = by_seed(lambda chance: json_file(chance, reader.rows))
    known = [
        {
            "content": json_text([reader.rows[0]]).encode(),
            "damage": {"records.arrow": arrow, "report.json": report},
        }
        for arrow, report in ((b"", None), (b"x", None), (None, b"{}"), (None, b""))
    ]
    fuzz(check, few=4, content=content, damage=damages, known=known)
