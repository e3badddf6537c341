"""Bad records are met before the first step: refused together, or left out, counted and listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_models import tiny_processor
from tiny_run import TinyRun, write_lines

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.read_report import ReadReport
from dreamprm.files.content import FileDigests
from dreamprm.models.collation import StepBatches
from dreamprm.models.record_checks import RecordChecks
from dreamprm.runtime.settings import RecordFile
from dreamprm.training.inputs import open_meta_data, open_texts, open_training_data
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.settings import DataSettings
from dreamprm.training.summary import _left_out
from dreamprm.training.usable_records import UsableRecords, write_left_out

GOOD = {"question": "how many ?", "image": "good.png", "domain": "d", "steps": ["one ."], "labels": [1]}
BAD: dict[str, dict[str, Any]] = {
    "broken": {"image": "broken.png"},
    "too wide": {"image": "thin.png"},
    "too long": {"steps": ["one ."] * 50, "labels": [1] * 50},
    "an image token": {"question": "what is <|image_pad|> ?"},
}


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    """Two files of step records, the second with four bad ones of 24, a meta set with one, texts with one."""
    Image.new("RGB", (56, 56)).save(tmp_path / "good.png")
    Image.new("RGB", (2100, 10)).save(tmp_path / "thin.png")
    (tmp_path / "broken.png").write_text("no")
    write_lines(tmp_path / "a.jsonl", [{**GOOD, "id": f"a{i}"} for i in range(3)])
    bad = [{**GOOD, **change, "domain": "e", "id": name} for name, change in BAD.items()]
    write_lines(tmp_path / "b.jsonl", [{**GOOD, "domain": "e"}, *bad, *[{**GOOD, "domain": "e"}] * 19])
    meta = [
        {"question": "q ?", "image": name, "steps": ["one ."], "correct": i % 2 == 0}
        for i, name in enumerate(["good.png", "good.png", "broken.png", "good.png"])
    ]
    write_lines(tmp_path / "meta.jsonl", meta)
    write_lines(
        tmp_path / "pool.jsonl", [{"text": "one plus one"}, {"text": "two", "image": "gone.png"}, {"no": 1}]
    )
    return DataSettings(
        train=[RecordFile(path=str(tmp_path / f"{name}.jsonl")) for name in "ab"],
        meta=str(tmp_path / "meta.jsonl"),
        lm=str(tmp_path / "pool.jsonl"),
        cache_dir=str(tmp_path / "cache"),
        max_length=60,
        on_error="skip",
        max_bad_fraction=0.8,
    )


class Parts:
    def __init__(self, data: DataSettings) -> None:
        self.said: list[str] = []
        processor = tiny_processor(max_length=data.max_length)
        found = RecordChecks(
            processor,
            cache_dir=data.cache_dir,
            digests=FileDigests(),
            missing=data.missing_image,
            mode="none",
        )
        self.usable = UsableRecords(found, data, say=self.said.append)
        self.table = open_training_data(data, say=self.said.append)


def test_bad_step_records_are_left_out_and_listed(data: DataSettings) -> None:
    parts = Parts(data)
    table = parts.usable.of_table(parts.table)
    assert len(table) == 23 and {record.id for record in table}.isdisjoint(BAD)
    assert {name: len(rows) for name, rows in table.domains.items()} == {"d": 3, "e": 20}
    first, second = table.reports
    assert (first.bad, second.bad) == (0, 4)
    path = data.train[1].path
    for number, (name, told) in enumerate(zip(BAD, second.left_out, strict=True), start=2):
        assert told.startswith(f"{path}:{number}: record {name}: ")
    assert f"{path}: left out 4 of 24:" in parts.said
    # and can be used as they are
    images = tiny_processor().image_store()
    batches = StepBatches(table, table.domains, _All(23), processor=tiny_processor(), images=images)
    assert len(batches[0]["cots"]) == 23


class _All:
    """A sampler of all rows of domain 0 and 1."""

    def __init__(self, count: int) -> None:
        self._rows = [(0, row) for row in range(3)] + [(1, row) for row in range(count - 3)]

    def rows(self, step: int) -> list[tuple[int, int]]:
        return self._rows


def test_the_limit_counts_what_reading_has_left_out_too(data: DataSettings) -> None:
    path = Path(data.train[1].path)
    path.write_text(path.read_text() + '{"question": 5}\n')
    data.max_bad_fraction = 4 / 25
    parts = Parts(data)  # one of 25 rows
    with pytest.raises(DataError, match=r"5 of 25 rows are bad, more than max_bad_fraction=0\.16 allows"):
        parts.usable.of_table(parts.table)
    data.max_bad_fraction = 5 / 25
    assert len(Parts(data).usable.of_table(parts.table)) == 23


def test_all_are_named_where_none_may_be_left_out(data: DataSettings) -> None:
    data.on_error = "error"
    parts = Parts(data)
    with pytest.raises(DataError) as caught:
        parts.usable.of_table(parts.table)
    told = str(caught.value)
    assert told.startswith(
        "4 records cannot be used for training; fix them, or leave them out (data.on_error=skip)"
    )
    assert all(f"b.jsonl:{line}: record {name}: " in told for line, name in enumerate(BAD, start=2))


def test_a_file_may_not_lose_all_of_its_records(data: DataSettings) -> None:
    write_lines(Path(data.train[0].path), [{**GOOD, "image": "broken.png"}])
    data.max_bad_fraction = 1.0
    parts = Parts(data)
    with pytest.raises(DataError, match=r"a\.jsonl: every record was left out, so its domain has no sample"):
        parts.usable.of_table(parts.table)


def test_a_domain_that_loses_all_is_said_to(data: DataSettings) -> None:
    path = Path(data.train[0].path)
    path.write_text(path.read_text() + json.dumps({**GOOD, "image": "broken.png", "domain": "rare"}) + "\n")
    parts = Parts(data)
    table = parts.usable.of_table(parts.table)
    assert list(table.domains) == ["d", "e"]
    assert "domain 'rare' has no record left, so it has no weight" in parts.said


def test_meta_records_and_texts_are_held_to_the_same_rule(data: DataSettings) -> None:
    parts = Parts(data)
    reports: list[ReadReport] = []
    records = open_meta_data(data, say=parts.said.append, reports=reports)
    kept = parts.usable.of_meta(records, reports)
    assert [record.correct for record in kept] == [True, False, False]
    assert sum(report.bad for report in reports) == 1
    assert reports[-1].left_out[0].startswith(f"{data.meta}:3: record meta.jsonl:3: image ")
    texts = open_texts(data, say=parts.said.append, reports=(of_texts := []))
    assert [text.text for text in parts.usable.of_texts(texts, of_texts)] == ["one plus one"]
    (report,) = of_texts
    assert report.bad == 2 and report.left_out[0].startswith(f"{data.lm}:3: text must be a text")
    assert report.left_out[1].startswith(f"{data.lm}:2: image ") and "no such file" in report.left_out[1]


def test_what_is_left_of_a_meta_set_needs_both_classes(data: DataSettings) -> None:
    rows = [json.loads(line) for line in Path(data.meta).read_text().splitlines()]
    write_lines(Path(data.meta), [{**row, "correct": row["image"] == "good.png"} for row in rows])
    parts, reports = Parts(data), []
    records = open_meta_data(data, say=parts.said.append, reports=reports)
    with pytest.raises(UserError, match="3 right and 0 wrong answers"):
        parts.usable.of_meta(records, reports)


def test_images_that_may_be_lost_are_no_reason(data: DataSettings) -> None:
    data.missing_image = "text_only"
    parts = Parts(data)
    assert {record.id for record in parts.usable.of_table(parts.table)} & BAD.keys() == {"broken"}


def test_the_list_in_the_runs_folder(tmp_path: Path) -> None:
    path = tmp_path / "left_out.json"
    reports = {"a": [ReadReport(9, bad=2, left_out=["x", "y"]), ReadReport(7, stepless=1, left_out=["z"])]}
    assert write_left_out(path, {**reports, "b": [ReadReport(3)]}) == {"a": 3}
    assert json.loads(path.read_text()) == {"a": {"rows": 9, "left_out": 3, "listed": ["x", "y", "z"]}}
    assert write_left_out(path, {"b": [ReadReport(3)]}) == {} and not path.exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 3}', b'{"a": {"left_out": "3"}}', b"\xff"])
def test_a_damaged_list_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "left_out.json").write_bytes(content)
    with pytest.raises(
        UserError, match=r"left_out\.json is damaged .*; remove it, then run the same command"
    ):
        _left_out(tmp_path / "left_out.json")


def test_a_training_leaves_them_out_and_says_so(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in (tiny.folder / "charts.jsonl").read_text().splitlines()]
    rows[1]["steps"][0] = "one <|image_pad|> two"
    write_lines(tiny.folder / "charts.jsonl", rows)
    assert tiny.train("steps=2") == 2
    told = capsys.readouterr().err
    assert f"{tiny.folder}/charts.jsonl:2: record charts-1: the text holds 2 <|image_pad|> tokens" in told
    assert not tiny.output.exists()
    settings = ("steps=2", "data.on_error=skip", "data.max_bad_fraction=0.2")
    assert tiny.train(*settings) == 0
    listed = tiny.output / "left_out.json"
    assert f"records left out: 1; {listed} lists them" in capsys.readouterr().out
    assert tiny.summary()["left_out"] == {str(tiny.folder / "charts.jsonl"): 1}
    assert (
        "charts.jsonl:2: " in json.loads(listed.read_text())[str(tiny.folder / "charts.jsonl")]["listed"][0]
    )


def test_a_picture_that_vanishes_stops_the_run_with_a_way_to_go_on(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its second window: what was trained until then is saved, and continues once the file is back."""
    picture, kept = tiny.folder / "0.png", {}
    log = RunFolder.log_weights

    def lost(self: RunFolder, step: int, weights: Any) -> None:
        if step == 4:
            for number in range(3):
                path = tiny.folder / f"{number}.png"
                kept[path] = path.read_bytes()
                path.unlink()
        log(self, step, weights)

    tiny.config["checkpoint"] = {"every": 100}
    monkeypatch.setattr("dreamprm.models.images._size", lambda image: 1 << 60)  # none is held in memory
    monkeypatch.setattr(RunFolder, "log_weights", lost)
    code = tiny.train("data.on_error=skip")
    monkeypatch.undo()
    for path, content in kept.items():
        path.write_bytes(content)
    assert code == 2 and picture.exists()
    told = capsys.readouterr().err
    assert "no such file" in told and "continues with what was trained until step 4" in told
    assert [path.name for path in (tiny.output / "checkpoints").iterdir()] == ["step-000004"]
    assert tiny.train("data.on_error=skip") == 0
    assert [row["step"] for row in tiny.lines("metrics.jsonl")] == [2, 4, 6, 8]
