"""Other projects' files become our own form."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any, cast

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import MetaRecord, StepRecord, read_meta_records, read_step_records
from dreamprm.formats.convert import FORMATS, Converted, convert_file, run_convert
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.settings import ConvertConfig, format_listing

processbench, dreamprm15 = FORMATS["processbench"], FORMATS["dreamprm15"]

SOLUTION = {
    "id": "s-0",
    "problem": "1 + 1?",
    "steps": ["a", "b", "c"],
    "label": 1,
    "final_answer_correct": False,
}


def conversation(*human: str) -> dict[str, Any]:
    turns = [{"from": "system", "value": "Judge."}, {"from": "human", "value": human[0]}]
    for text in human[1:]:
        turns += [{"from": "human", "value": text}, {"from": "gpt", "value": "+"}]
    return {"id": "c-0", "true_false": True, "image": "i.png", "response": "unused", "conversations": turns}


@pytest.mark.parametrize(
    ("label", "labels"), [(-1, (1, 1, 1)), (0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 1, 0))]
)
def test_processbench_labels_are_1_before_the_first_error(
    write_rows: Any, label: int, labels: tuple[float, ...]
) -> None:
    path = write_rows([SOLUTION | {"label": label}], array=True, name="gsm8k.json")
    assert list(processbench.read(path)) == [
        StepRecord("1 + 1?", (), "gsm8k", ("a", "b", "c"), labels, (None,) * 3, "s-0")
    ]
    assert next(processbench.read(path, domain="maths")).domain == "maths"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"label": 3},
            r"'label': got 3; allowed: the index of the first wrong step, a whole number in 0\.\.2",
        ),
        ({"label": -2}, "'label': got -2; allowed"),
        ({"label": 1.0}, r"'label': got 1\.0; allowed"),
        ({"label": True}, "'label': got True; allowed"),
        ({"label": None}, "'label': got None; allowed"),
        ({"steps": []}, r"'steps': got \[\]; allowed: at least one step"),
        ({"problem": ""}, "'problem': got ''; allowed: a text that is not empty"),
    ],
)
def test_processbench_errors(write_rows: Any, change: dict[str, Any], message: str) -> None:
    path = write_rows([SOLUTION, SOLUTION | change])
    with pytest.raises(DataError, match=rf"rows\.json:2: field {message}"):
        list(processbench.read(path))


def test_dreamprm15_turns_become_question_and_steps(write_rows: Any) -> None:
    path = write_rows([conversation("### Question:\nQuestion: why?", "first ", "second")], array=True)
    assert list(dreamprm15.read(path)) == [
        MetaRecord("Question: why?", ("i.png",), ("first", "second"), True, "c-0")
    ]


def test_dreamprm15_min_steps(write_rows: Any) -> None:
    path = write_rows([conversation("q", "D"), conversation("q", "a", "b")])
    assert [len(record.steps) for record in dreamprm15.read(path)] == [1, 2]
    report = ConvertReport()
    assert [len(record.steps) for record in dreamprm15.read(path, min_steps=2, report=report)] == [2]
    assert report.lines() == ["left out 1 of 2: fewer than 2 steps"]
    with pytest.raises(UserError, match="min_steps must be >= 1, got 0"):
        list(dreamprm15.read(path, min_steps=0))


def test_dreamprm15_comes_back_as_it_was(tmp_path: Path) -> None:
    records = [
        MetaRecord("why?", ("a.png",), ("one", "two\n\nlines"), True, "c-0"),
        MetaRecord("### Question: who?", ("a.png", "b.png"), ("D",), False, "c-1"),
        MetaRecord("how?", (), ("x",), False, "c-2"),
    ]
    dreamprm15.write(records, tmp_path / "o.json")
    assert list(dreamprm15.read(tmp_path / "o.json")) == records
    row = json.loads((tmp_path / "o.json").read_text())[0]
    assert row["response"] == "one\n\ntwo\n\nlines" and row["image"] == "a.png"
    assert [(turn["from"], turn["value"]) for turn in row["conversations"][1:]] == [
        ("human", "### Question:\nwhy?"),
        ("human", "one"),
        ("gpt", "+"),
        ("human", "two\n\nlines"),
        ("gpt", "+"),
    ]
    with pytest.raises(DataError, match="record c-3 has no steps, but a conversation has one turn per step"):
        dreamprm15.write([MetaRecord("q", (), (), True, "c-3")], tmp_path / "o.json")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            conversation("q"),
            "field 'conversations': got '1 human turns'; allowed: a human turn with the question",
        ),
        (
            conversation("### Question:\n", "a"),
            "field 'conversations': got '### Question:.*'; allowed: a question",
        ),
        (conversation("q", " "), r"field 'conversations\[2\]\.value': got ' '; allowed: a text"),
        (
            conversation("q", "a") | {"conversations": [{"from": "user", "value": "q"}]},
            r"field 'conversations\[0\]\.from': got 'user'; allowed: 'system', 'human' or 'gpt'",
        ),
        (conversation("q", "a") | {"true_false": 1}, "field 'true_false': got 1; allowed: true or false"),
    ],
)
def test_dreamprm15_errors(write_rows: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.json:1: {message}"):
        list(dreamprm15.read(write_rows([row])))


@pytest.mark.parametrize(
    "name", ["processbench", "mr_ben", "bigbench_mistake", "visualprm", "trl", "dreamprm15"]
)
def test_a_broken_line_is_named(write_rows: Any, name: str) -> None:
    with pytest.raises(DataError, match=r"rows\.json:1: not a JSON object"):
        list(FORMATS[name].read(write_rows(["{"])))


def test_converted_files_are_read_by_our_readers(write_rows: Any, folder: Path) -> None:
    source = write_rows([SOLUTION], name="math.json")
    done = convert_file("processbench", source, folder / "out" / "math.jsonl", domain="m")
    assert done == Converted("step", 1)
    records = list(read_step_records(folder / "out" / "math.jsonl", allow_no_image=True))
    assert records == list(processbench.read(source, domain="m"))

    source = write_rows([conversation("q", "a", "b")], name="meta.json")
    assert convert_file("dreamprm15", source, folder / "meta.jsonl") == Converted("meta", 1)
    (record,) = read_meta_records(folder / "meta.jsonl")
    assert record == MetaRecord("q", (str(folder / "i.png"),), ("a", "b"), True, "c-0")


def test_a_failed_conversion_writes_nothing(write_rows: Any, folder: Path) -> None:
    source = write_rows([SOLUTION, SOLUTION | {"label": 9}])
    before = sorted(os.listdir(folder))
    with pytest.raises(DataError, match="'label': got 9"):
        convert_file("processbench", source, folder / "out.jsonl")
    assert sorted(os.listdir(folder)) == before


def test_a_conversion_that_leaves_nothing_is_an_error(write_rows: Any, folder: Path) -> None:
    source = write_rows([conversation("q", "D")])
    why = r"rows\.json: no records left to write; left out 1 of 1: fewer than 2 steps"
    with pytest.raises(DataError, match=why):
        convert_file("dreamprm15", source, folder / "out.jsonl", min_steps=2)
    assert not (folder / "out.jsonl").exists()


def test_json_lines_are_not_written_under_another_ending(write_rows: Any, folder: Path) -> None:
    source = write_rows([conversation("q", "D")])
    with pytest.raises(UserError, match=r"out\.parquet has the ending of another file type; .* use \.jsonl"):
        convert_file("dreamprm15", source, folder / "out.parquet")


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        (
            "procesbench",
            {},
            "unknown format 'procesbench', did you mean 'processbench'?; known: processbench, mr_ben",
        ),
        ("xyz", {}, "unknown format 'xyz'; known: processbench, "),
        (
            "processbench",
            {"domains": "d"},
            "format 'processbench' (direction=in) has no setting 'domains', did you mean 'domain'?",
        ),
    ],
)
def test_unknown_names_are_told_with_the_nearest(
    write_rows: Any, folder: Path, format: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        convert_file(format, write_rows([SOLUTION]), folder / "out.jsonl", **options)
    assert str(caught.value).startswith(message)


def test_the_source_is_not_overwritten(write_rows: Any) -> None:
    source = write_rows([SOLUTION])
    with pytest.raises(UserError, match="destination is the same file as source"):
        convert_file("processbench", source, source)


def test_a_missing_source(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no such file: .*absent\.json"):
        convert_file("processbench", folder / "absent.json", folder / "out.jsonl")
    assert not (folder / "out.jsonl").exists()


def test_the_command_says_what_it_wrote(
    write_rows: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = str(folder / "out.jsonl")
    settings = {"format": "processbench", "source": str(write_rows([SOLUTION])), "destination": destination}
    run_convert(cast(Any, ConvertConfig(**settings, options={"domain": "d"})))
    assert capsys.readouterr().out == f"wrote 1 step records to {destination}\n"


def keys_below(lines: list[str], start: int, indent: int) -> list[str]:
    """The keys described below a line, each by one line at this indentation."""
    margin = " " * indent
    below = itertools.takewhile(lambda line: line.startswith(margin), lines[start + 1 :])
    return [line.strip().partition(":")[0] for line in below if line[indent] != " "]


def test_help_describes_every_option_where_it_is_declared() -> None:
    lines = format_listing().splitlines()
    for name, form in FORMATS.items():
        start = next(k for k, line in enumerate(lines) if line.startswith(f"{name} ({form.kind}): "))
        for direction in ("in", "out"):
            heading = f"    direction={direction}"
            side = form.reader if direction == "in" else form.writer
            if side is None:
                continue
            at = next(k for k in range(start, len(lines)) if lines[k].startswith(heading))
            given = keys_below(lines, at, 8)
            for shared in re.findall(r"\[[^]]+\]", lines[at]):
                given += keys_below(lines, lines.index(shared), 4)
            assert sorted(given) == sorted(form.options(direction)), name
    at = lines.index("        min_steps: int, >= 1; default 1")
    assert lines[at + 1] == "            leave out records with fewer steps"
