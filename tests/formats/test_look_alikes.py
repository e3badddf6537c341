"""A file that does not fit the chosen format: the error says which formats its fields look like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamprm.cli import main
from dreamprm.config.errors import DataError
from dreamprm.formats.convert import convert_file
from dreamprm.formats.look_alikes import first_fields, look_alikes
from dreamprm.formats.registry import FORMATS

SIGNED = [(name, one) for name, form in FORMATS.items() for one in form.reader.signature]


def test_every_format_says_how_its_rows_are_told_from_others() -> None:
    assert all("signature" in form.reader.__dict__ for form in FORMATS.values())
    assert [name for name, form in FORMATS.items() if not form.reader.signature] == [
        "steps",
        "steps_to_meta",
        "table",
    ]


@pytest.mark.parametrize(("name", "signature"), SIGNED, ids=[f"{n}-{k}" for k, (n, _) in enumerate(SIGNED)])
def test_a_row_with_a_formats_fields_looks_like_it(
    name: str, signature: tuple[str, ...], tmp_path: Path
) -> None:
    assert look_alikes(set(signature), FORMATS).get(name) == ()
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(dict.fromkeys(signature, "x")) + "\n")
    other = "trl" if name != "trl" else "processbench"
    with pytest.raises(DataError, match=rf"its fields look like .*format={name}\b"):
        convert_file(other, path, tmp_path / "o.jsonl")


def test_a_near_format_is_named_with_the_fields_that_it_lacks(tmp_path: Path) -> None:
    assert look_alikes({"prompt", "completions"}, FORMATS) == {"trl": ("labels",)}
    assert look_alikes({"a", "b"}, FORMATS) == {}
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "q", "completions": ["a"]}\n')
    with pytest.raises(DataError, match=r"come nearest to trl \(without 'labels': format=trl\)"):
        convert_file("processbench", path, tmp_path / "o.jsonl")
    with pytest.raises(DataError, match=r"'labels' is missing(?!.*look like)"):
        convert_file("trl", path, tmp_path / "o.jsonl")


def test_fields_of_objects_of_rows_and_of_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text('{"q1": [{"a": 1, "b": 2}], "q2": {"c": 3}}')
    assert first_fields(path) == {"a", "b", "c"}
    path.write_text('{"a": 1, "b": [1]}\n{"c": 2}\n')
    assert first_fields(path) == {"a", "b", "c"}
    path.write_text("{")
    assert first_fields(path) == set() == first_fields(tmp_path / "none.json")


def test_a_command_says_how_to_convert_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "steps.jsonl"
    path.write_text('{"prompt": "q", "completions": ["a"], "labels": [true]}\n')
    assert main(["evaluate-steps", f"files={{a: {path}}}", f"output={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    assert f"look like trl: convert it first (dreamprm convert format=trl source={path}" in said
    path.write_text('{"question": "q", "steps": ["a"]}\n')
    assert main(["evaluate-steps", f"files={{a: {path}}}", f"output={tmp_path / 'out'}"]) == 2
    assert "look like" not in capsys.readouterr().err
