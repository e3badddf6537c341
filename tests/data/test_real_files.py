"""The files that others publish are read as they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from shared_data import shared_file

from dreamprm.config.errors import DataError
from dreamprm.data import (
    ReadReport,
    RecordTable,
    audit_shortcuts,
    read_meta_records,
    read_step_records,
    require_both_classes,
    require_steps,
)
from dreamprm.formats.convert import convert_file
from dreamprm.responses import final_answer


def test_the_public_meta_file_parses_whole() -> None:
    records = list(read_meta_records(shared_file("dreamprm/meta.json"), missing_image="text_only"))
    assert len(records) == 500
    assert Counter(len(record.steps) for record in records) == {5: 128, 0: 372}
    assert sum(record.correct for record in records) == 249
    with_steps = [record for record in records if record.steps]
    assert all(record.correct for record in with_steps)
    assert all(record.question.startswith("Question: ") for record in records)
    assert not any("Step 1" in record.question for record in with_steps)
    assert all(
        f"Step {k}" in step.splitlines()[0] for r in with_steps for k, step in enumerate(r.steps, start=1)
    )
    assert all(record.image is None for record in records)


def test_the_public_meta_file_without_its_images_is_an_error() -> None:
    path = shared_file("dreamprm/meta.json")
    with pytest.raises(
        DataError,
        match=r"meta\.json: element 1: field 'image_path': got 'dataset/MMMU/.*missing_image=text_only",
    ):
        list(read_meta_records(path))


def test_the_public_meta_file_must_not_be_trained_on() -> None:
    records = list(read_meta_records(shared_file("dreamprm/meta.json"), missing_image="text_only"))
    audit = audit_shortcuts(records)
    assert round(audit.auc["has steps"], 2) == 0.76
    (warning,) = audit.warnings()
    assert "249 right and 251 wrong" in warning and "has steps 0.76" in warning
    with pytest.raises(DataError, match="has no steps"):
        list(require_steps(records))
    report = ReadReport()
    kept = list(require_steps(records, "skip", report=report))
    assert len(kept) == 128 and report.stepless == 372
    with pytest.raises(DataError, match="the meta set holds 128 right and 0 wrong answers"):
        require_both_classes(kept)


def test_final_answers_of_the_public_meta_file() -> None:
    records = read_meta_records(shared_file("dreamprm/meta.json"), missing_image="text_only")
    answers = [final_answer(record.steps[-1]) for record in records if record.steps]
    assert sum(answer is not None for answer in answers) == 128


@pytest.mark.parametrize(("min_steps", "count"), [(1, 1656), (2, 760)])
def test_the_dreamprm15_meta_file(tmp_path: Path, min_steps: int, count: int) -> None:
    source = shared_file("dreamprm15/meta_MMMU_Pro.json")
    assert convert_file("dreamprm15", source, tmp_path / "meta.jsonl", min_steps=min_steps).records == count
    # its images stand beside the file's folder, as ../data/meta_images/...
    records = list(read_meta_records(tmp_path / "meta.jsonl", missing_image="text_only", allow_outside=True))
    assert len(records) == count and all(len(record.steps) >= min_steps for record in records)
    assert not any(step == "+" for record in records for step in record.steps)
    right, wrong = require_both_classes(records)
    assert (right, wrong) == {1: (834, 822), 2: (398, 362)}[min_steps]


@pytest.mark.parametrize(("name", "count", "all_right"), [("gsm8k", 400, 193), ("math", 1000, 406)])
def test_processbench_files_as_domains(tmp_path: Path, name: str, count: int, all_right: int) -> None:
    source, path = shared_file(f"processbench/{name}.json"), tmp_path / f"{name}.jsonl"
    assert convert_file("processbench", source, path).records == count
    records = list(read_step_records(path, allow_no_image=True))
    assert len(records) == count and {record.domain for record in records} == {name}
    assert sum(0.0 not in record.labels for record in records) == all_right
    assert all(list(record.labels) == sorted(record.labels, reverse=True) for record in records)
    table = RecordTable.open(path, kind="step", cache_dir=tmp_path / "cache", allow_no_image=True)
    assert list(table) == records and table.domains[name].tolist() == list(range(count))
