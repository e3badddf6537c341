"""Files of records are written whole, and read as memory-mapped tables."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replaced_files import replace_unnoticed, touch

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import (
    Candidate,
    CandidateRecord,
    MetaRecord,
    RecordTable,
    StepRecord,
    read_candidate_records,
    read_meta_records,
    read_step_records,
    write_records,
)
from dreamprm.data import record_table as files


def step_record(number: int, folder: Path, domain: str = "d") -> StepRecord:
    images = (str(folder / "i.png"),) * (number % 3)
    return StepRecord(
        f"q{number} \u00e9", images, domain, ("a\nb", "c"), (number / 7 % 1, None), (8, None), f"id{number}"
    )


def records_of(kind: str, folder: Path) -> list[Any]:
    image = (str(folder / "i.png"),)
    if kind == "step":
        return [step_record(number, folder) for number in range(5)]
    if kind == "meta":
        return [MetaRecord("q", image, ("s",), True, "1"), MetaRecord("q", (), (), False, "2")]
    candidates = (Candidate("t", ("t",), "B", True, "g"), Candidate("I see a cat.", (), None, None, None))
    return [CandidateRecord("q", image, "suite", "B", candidates, "1")]


READ = {"step": read_step_records, "meta": read_meta_records, "candidate": read_candidate_records}
KINDS = list(READ)


@pytest.mark.parametrize("kind", KINDS)
def test_written_records_are_read_back(folder: Path, kind: str) -> None:
    records = records_of(kind, folder)
    path = folder / "new" / "records.jsonl"
    assert write_records(path, iter(records)) == len(records)
    assert list(READ[kind](path, allow_no_image=True)) == records
    assert os.listdir(path.parent) == ["records.jsonl"]


def test_relative_image_paths_are_written_as_they_are(folder: Path) -> None:
    write_records(folder / "records.jsonl", [MetaRecord("q", ("i.png",), ("s",), True, "1")])
    (record,) = read_meta_records(folder / "records.jsonl")
    assert record.images == (str(folder / "i.png"),)


def test_a_failed_write_leaves_the_old_file(folder: Path) -> None:
    path = folder / "records.jsonl"
    write_records(path, records_of("meta", folder))
    before = path.read_bytes()

    def failing() -> Iterator[MetaRecord]:
        yield MetaRecord("new", (), (), True, "1")
        raise RuntimeError("the source ends")

    with pytest.raises(RuntimeError, match="the source ends"):
        write_records(path, failing())
    assert path.read_bytes() == before and sorted(os.listdir(folder)) == ["i.png", "records.jsonl"]


def test_a_label_that_json_cannot_hold_is_refused(folder: Path) -> None:
    record = StepRecord("q", (), "d", ("a",), (float("nan"),), (None,), "1")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_records(folder / "records.jsonl", [record])


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_holds_the_records(folder: Path, kind: Any) -> None:
    records = records_of(kind, folder)
    write_records(folder / "r.jsonl", records)
    table = RecordTable.open(folder / "r.jsonl", kind=kind, cache_dir=folder / "cache", allow_no_image=True)
    assert len(table) == len(records) and list(table) == records
    assert [table[index] for index in range(len(records))] == records
    assert table[-1] == records[-1]
    order = [len(records) - 1, 0, 0]
    assert table.get(order) == [records[index] for index in order] == table.get(np.array(order))
    assert table.get([]) == []
    assert list(pickle.loads(pickle.dumps(table))) == records


@pytest.fixture
def many(folder: Path) -> Path:
    """2,500 records of three domains: more than one batch of a table."""
    domains = ["z", "a", "m"]
    write_records(folder / "many.jsonl", (step_record(k, folder, domains[k * k % 3]) for k in range(2500)))
    return folder / "many.jsonl"


def opened(path: Path, **settings: Any) -> RecordTable[StepRecord]:
    return RecordTable.open(
        path, kind="step", cache_dir=path.parent / "cache", **({"allow_no_image": True} | settings)
    )


def test_access_across_batches_and_domains(many: Path) -> None:
    table = opened(many)
    expected = list(read_step_records(many, allow_no_image=True))
    rows = np.random.default_rng(0).integers(0, 2500, 200)
    assert table.get(rows) == [expected[row] for row in rows]
    assert list(table) == expected
    assert list(table.domains) == ["z", "a"]  # k * k % 3 is never 2
    for name, numbers in table.domains.items():
        assert numbers.tolist() == [k for k, record in enumerate(expected) if record.domain == name]


@pytest.mark.parametrize("row", [2500, -2501])
def test_rows_outside_the_table(many: Path, row: int) -> None:
    with pytest.raises(IndexError, match=f"row {row} of a table of 2500 rows"):
        opened(many)[row]


def test_tables_are_concatenated(many: Path, folder: Path) -> None:
    write_records(folder / "few.jsonl", [step_record(k, folder, "new") for k in range(3)])
    first, second = opened(many), opened(folder / "few.jsonl")
    both = RecordTable.concatenate([first, second])
    assert list(both) == list(first) + list(second)
    assert both.domains["new"].tolist() == [2500, 2501, 2502] and list(both.domains) == ["z", "a", "new"]
    assert [report.rows for report in both.reports] == [2500, 3]
    assert list(pickle.loads(pickle.dumps(both))) == list(both)


def test_only_tables_of_one_kind_are_concatenated(folder: Path) -> None:
    for kind in ("step", "meta"):
        write_records(folder / f"{kind}.jsonl", records_of(kind, folder))
    settings: dict[str, Any] = {"cache_dir": folder / "cache", "allow_no_image": True}
    tables: list[Any] = [
        RecordTable.open(folder / "step.jsonl", kind="step", **settings),
        RecordTable.open(folder / "meta.jsonl", kind="meta", **settings),
    ]
    with pytest.raises(UserError, match=r"only tables of one kind .*got \['meta', 'step'\]"):
        RecordTable.concatenate(tables)
    with pytest.raises(UserError, match="got no table"):
        RecordTable.concatenate([])


def test_a_second_start_does_not_read_the_file(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(many)

    def unexpected(*args: Any, **settings: Any) -> None:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(files, "_build", unexpected)
    again = opened(many)
    assert again.get([0, 2499]) == first.get([0, 2499]) and again.reports == first.reports
    assert again.reports[0].rows == 2500


def test_a_changed_file_or_setting_is_read_anew(many: Path) -> None:
    assert len(opened(many)) == 2500
    assert opened(many, domain="other")[0].domain == "other"
    write_records(many, [step_record(1, many.parent)])
    assert len(opened(many)) == 1
    stat = many.stat()
    many.write_text(many.read_text(encoding="utf-8").replace("q1", "q2"), encoding="utf-8")
    os.utime(many, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # same size, later
    assert opened(many)[0].question.startswith("q2")


def test_a_file_of_another_size_is_read_anew(many: Path) -> None:
    opened(many)
    stat = many.stat()
    write_records(many, [step_record(1, many.parent)])
    os.utime(many, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(opened(many)) == 1


@pytest.mark.parametrize("how", ["in place", "renamed over", "copied with its times"])
def test_a_file_of_equal_size_and_time_is_read_anew(how: str, many: Path) -> None:
    opened(many)
    content = many.read_bytes()
    other = content.replace(b"q7 ", b"Q7 ", 1)
    assert len(other) == len(content) and other != content
    if how == "in place":
        replace_unnoticed(many, other)
    else:
        stat, source = many.stat(), many.with_name("other.jsonl")
        source.write_bytes(other)
        os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if how == "renamed over":
            source.replace(many)
        else:
            shutil.copy2(source, many)
        assert (many.stat().st_size, many.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert opened(many)[7].question.startswith("Q7")


def test_a_touched_file_keeps_its_copy(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(many)
    touch(many)
    monkeypatch.setattr(files, "_build", None)
    assert len(opened(many)) == 2500


def test_a_moved_folder_has_its_images_where_they_are_now(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "i.png").rename(folder / "data" / "i.png")
    write_records(
        folder / "data" / "r.jsonl", [StepRecord("q", ("i.png",), "d", ("a",), (1.0,), (None,), "1")]
    )
    read = partial(RecordTable.open, kind="step", cache_dir=folder / "cache")
    assert read(folder / "data" / "r.jsonl")[0].images == (str(folder / "data" / "i.png"),)
    (folder / "data").rename(folder / "moved")
    assert read(folder / "moved" / "r.jsonl")[0].images == (str(folder / "moved" / "i.png"),)
    # And a link to the file has the images next to the link.
    (folder / "linked").mkdir()
    (folder / "linked" / "r.jsonl").symlink_to(folder / "moved" / "r.jsonl")
    with pytest.raises(DataError, match=r"no such file: .*linked/i\.png"):
        read(folder / "linked" / "r.jsonl")


def test_a_relative_image_root_is_of_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_records(folder / "r.jsonl", [StepRecord("q", ("i.png",), "d", ("a",), (1.0,), (None,), "1")])
    for name in ("one", "two"):
        (folder / name / "pictures").mkdir(parents=True)
        shutil.copy(folder / "i.png", folder / name / "pictures" / "i.png")
        monkeypatch.chdir(folder / name)
        table = opened(folder / "r.jsonl", image_root="pictures")
        assert table[0].images == (str(folder / name / "pictures" / "i.png"),)


def test_a_file_that_changes_while_it_is_read_leaves_no_copy(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replacing(self: Any, records: Any) -> Any:
        many.write_bytes(many.read_bytes() + b"\n")
        return batch(self, records)

    batch = files.ArrowForm.batch
    monkeypatch.setattr(files.ArrowForm, "batch", replacing)
    with pytest.raises(DataError, match=r"many\.jsonl was changed while this command was running"):
        opened(many)
    assert os.listdir(many.parent / "cache") == []


@pytest.mark.parametrize(
    "settings", [{"missing_image": "text_only"}, {"on_error": "skip", "max_bad_fraction": 0.5}]
)
def test_images_that_come_later_are_found(folder: Path, settings: dict[str, Any]) -> None:
    records = [
        step_record(1, folder),
        StepRecord("q", (str(folder / "j.png"),), "d", ("a",), (1.0,), (None,), "1"),
    ]
    write_records(folder / "r.jsonl", records)
    assert list(opened(folder / "r.jsonl", **settings)) != records
    (folder / "i.png").rename(folder / "j.png")
    (folder / "i.png").write_bytes((folder / "j.png").read_bytes())
    assert list(opened(folder / "r.jsonl", **settings)) == records
    assert len(os.listdir(folder / "cache")) == 1


def test_what_was_left_out_is_told_again(folder: Path, write_rows: Any) -> None:
    path = write_rows([{"question": "q", "steps": ["a"], "labels": [1], "domain": "d"}, "{broken"])
    for _ in range(2):
        (report,) = opened(path, on_error="skip", max_bad_fraction=0.5).reports
        assert report.lines()[0] == "left out 1 of 2:" and f"{path}:2: not a JSON object" in report.lines()[1]


def test_a_bad_file_leaves_nothing_behind(write_rows: Any, folder: Path) -> None:
    good = {"question": "q", "steps": ["a"], "labels": [1], "domain": "d"}
    path = write_rows([good] * 1500 + [good | {"labels": [2]}])
    with pytest.raises(DataError, match=r"rows\.json:1501: field 'labels\[0\]': got 2"):
        opened(path)
    assert os.listdir(folder / "cache") == []


def test_a_file_all_of_whose_records_are_left_out(write_rows: Any) -> None:
    table = opened(write_rows(["{"]), on_error="skip", max_bad_fraction=1.0)
    assert len(table) == 0 and list(table) == [] and table.domains == {} and table.reports[0].bad == 1


def test_two_processes_making_the_same_copy(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one to finish finds the first one's copy in place and uses it."""
    rename = os.rename

    def overtaken(source: Path, target: Path) -> None:
        rename(source, target)  # the other process
        os.mkdir(source)
        rename(source, target)  # ours: fails, the folder is not empty

    monkeypatch.setattr(os, "rename", overtaken)
    assert len(opened(many)) == 2500
    assert len(os.listdir(many.parent / "cache")) == 1


@pytest.mark.parametrize("bad", [[], ["{"]], ids=["whole", "with a row left out"])
def test_commands_that_start_together_open_one_copy(bad: list[str], write_rows: Any, many: Path) -> None:
    """Many at once, also of a file that is read at every start; none finds a copy that is being moved."""
    path = write_rows([*many.read_text().splitlines()[:20], *bad])

    def start(_: int) -> int:
        table = opened(path, on_error="skip", max_bad_fraction=0.5)
        return len(RecordTable.concatenate([table, table]))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(start, range(40))) == [40] * 40
    assert len([name for name in os.listdir(path.parent / "cache") if not name.startswith(".")]) == 1


def test_a_rename_that_fails_otherwise_is_an_error(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(source: Path, target: Path) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(PermissionError, match="no"):
        opened(many)
    assert os.listdir(many.parent / "cache") == []


def test_what_is_asked_for_is_checked(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no such file: .*absent\.jsonl"):
        opened(folder / "absent.jsonl")
    with pytest.raises(UserError, match="kind must be one of step, meta, candidate; got 'steps'"):
        RecordTable.open(folder / "i.png", kind="steps", cache_dir=folder)  # type: ignore[call-overload]


def test_rows_left_out_later_are_in_no_view_but_that_of_the_images(folder: Path, tmp_path: Path) -> None:
    """Those are part of what the files hold, which a run is known by."""
    tables = []
    for name, domains in {"a": "ddeed", "b": "efff"}.items():
        records = [step_record(number, folder, domain) for number, domain in enumerate(domains)]
        path = tmp_path / f"{name}.jsonl"
        write_records(path, records)
        tables.append(RecordTable.open(path, kind="step", cache_dir=tmp_path / "cache", allow_no_image=True))
    whole = RecordTable.concatenate(tables)
    assert [whole[number].place for number in (0, 4, 5)] == [":1", ":5", ":1"]
    assert whole.file_numbers.tolist() == [0] * 5 + [1] * 4
    rest = whole.without({2: "a: two", 3: "a: three", 5: "b: five"})
    rest = rest.without({5: "b: eight"})
    assert [record.id for record in rest] == ["id0", "id1", "id4", "id1", "id2"] and len(rest) == 5
    assert rest[-1].id == "id2" and rest.file_numbers.tolist() == [0, 0, 0, 1, 1]
    assert {name: rows.tolist() for name, rows in rest.domains.items()} == {"d": [0, 1, 2], "f": [3, 4]}
    assert [(one.bad, one.left_out) for one in rest.reports] == [
        (2, ["a: two", "a: three"]),
        (2, ["b: five", "b: eight"]),
    ]
    assert [one.bad for one in whole.reports] == [0, 0]
    assert rest.image_paths() == whole.image_paths() and rest.contents == whole.contents
    assert rest.step_counts() == {2: 5}
    again = pickle.loads(pickle.dumps(rest))
    assert list(again) == list(rest)
    with pytest.raises(IndexError):
        rest[5]


def test_label_ranges(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    labels: dict[str, list[tuple[float | None, float | None]]] = {
        "d": [(0.5, None), (0.25, 1.0)],
        "e": [(None, 0.75)],
        "f": [(1.0, 1.0)],
    }
    records = [
        StepRecord("q", (), domain, ("a", "b"), one, (None, None), domain)
        for domain, several in labels.items()
        for one in several
    ]
    write_records(path, records)
    table = RecordTable.open(path, kind="step", cache_dir=tmp_path / "cache", allow_no_image=True)
    assert table.label_ranges() == {"d": (3, 0.25, 1.0), "e": (1, 0.75, 0.75), "f": (2, 1.0, 1.0)}
    assert table.without({0: "", 1: ""}).label_ranges() == {"e": (1, 0.75, 0.75), "f": (2, 1.0, 1.0)}
