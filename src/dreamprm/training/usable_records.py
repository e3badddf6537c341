"""The records that a training can use, found before its first step; what becomes of the others."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from dreamprm.config.errors import DataError
from dreamprm.data.read_report import OnError, ReadReport, Tolerance, listed_problems
from dreamprm.data.record_table import RecordTable
from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.data.shortcut_audit import require_both_classes
from dreamprm.data.text_reader import TextRecord
from dreamprm.files.atomic import write_atomically
from dreamprm.models.record_checks import Problems, RecordChecks
from dreamprm.training.settings import DataSettings

R = TypeVar("R", MetaRecord, TextRecord)


class UsableRecords:
    """Leaves out the records that cannot be encoded (`data.on_error=skip`), or refuses the run.

    Args:
        checks: find them.
        data: the run's data settings.
        say: receives the counts and the first reasons.
    """

    def __init__(self, checks: RecordChecks, data: DataSettings, *, say: Callable[[str], None]) -> None:
        self._checks, self._data, self._say = checks, data, say

    def open_images(self, table: RecordTable[StepRecord], *others: Sequence[Any]) -> None:
        """Find out about the images of all sets at once."""
        lists = (record.images for records in others for record in records)
        self._checks.images([table.image_paths(), *lists])

    def of_table(self, table: RecordTable[StepRecord]) -> RecordTable[StepRecord]:
        """The step records that can be used.

        Raises:
            DataError: some cannot (`on_error=error`), or too many of a file's, or all of them.
        """
        found = self._checks.problems(table, what="step records")
        if not found:
            return table
        files = [file.path for file in self._data.train]
        numbers = table.file_numbers
        problems: dict[int, str] = {}
        for number, record in zip(found, table.get(list(found)), strict=True):
            problems[number] = _told(files[numbers[number]], record, found[number])
        if self._data.on_error == "error":
            raise DataError(listed_problems(list(problems.values()), "used for training"))
        rest = table.without(problems)
        for file, path in enumerate(files):
            of_file = {number: text for number, text in problems.items() if numbers[number] == file}
            self._judge(path, of_file, records=int((numbers == file).sum()), before=table.reports[file].bad)
            if of_file and not (rest.file_numbers == file).any():
                raise DataError(
                    f"{path}: every record was left out, so its domain has no sample; fix the file or take "
                    "it out of data.train"
                )
        for name in table.domains.keys() - rest.domains.keys():
            self._say(f"domain {name!r} has no record left, so it has no weight")
        return rest

    def of_meta(self, records: Sequence[MetaRecord], reports: list[ReadReport]) -> list[MetaRecord]:
        """The meta records that can be used; the last of `reports` takes the others.

        Raises:
            UserError: as `of_table`; or all that are left are right, or all wrong.
        """
        kept = self._of_list(records, self._data.meta, what="meta records", reports=reports)
        if len(kept) < len(records):
            require_both_classes(kept)
        return kept

    def of_texts(self, texts: Sequence[TextRecord], reports: list[ReadReport]) -> list[TextRecord]:
        """The texts that can be used; as `of_meta`."""
        return self._of_list(texts, str(self._data.lm), what="texts", reports=reports)

    def _of_list(self, records: Sequence[R], path: str, *, what: str, reports: list[ReadReport]) -> list[R]:
        found = self._checks.problems(records, what=what) if records else {}
        if not found:
            return list(records)
        problems = {number: _told(path, records[number], problem) for number, problem in found.items()}
        report = reports[-1] = dataclasses.replace(reports[-1], left_out=list(reports[-1].left_out))
        self._judge(path, problems, records=len(records), before=sum(one.bad for one in reports))
        for problem in problems.values():
            report.bad += 1
            report.leave_out(problem)
        if len(problems) == len(records):
            raise DataError(f"{path}: every record was left out; fix the file")
        return [record for number, record in enumerate(records) if number not in problems]

    def _judge(self, path: str, problems: Problems, *, records: int, before: int) -> None:
        """Refuse what may not be left out, and say what is; `before` were already when it was read."""
        if not problems:
            return
        if self._data.on_error == "error":
            raise DataError(listed_problems(list(problems.values()), "used for training"))
        told = ReadReport(records, len(problems), left_out=list(problems.values()))
        # Of the records that reading gave, since rows of a file may be single steps.
        whole = dataclasses.replace(told, rows=records + before, bad=len(problems) + before)
        on_error = cast(OnError, self._data.on_error)
        Tolerance(on_error, self._data.max_bad_fraction).judge(whole, Path(path))
        for line in told.lines():
            self._say(f"{path}: {line}")


def _told(path: str, record: Any, problem: str) -> str:
    name = "" if isinstance(record, TextRecord) else f"record {record.id}: "
    return f"{path}{record.place}: {name}{problem}"


def write_left_out(path: Path, reports: Mapping[str, Sequence[ReadReport]]) -> dict[str, int]:
    """Write what a run left out of its files, with reasons; no file if that is nothing.

    Args:
        path: the file, left_out.json.
        reports: by data file, of reading and checking it.

    Returns:
        The number of records left out by data file, only of files with some.
    """
    content: dict[str, dict[str, Any]] = {}
    for file, found in reports.items():
        count = sum(one.left_out_count for one in found)
        if count:
            listed = [reason for one in found for reason in one.left_out]
            content[file] = {"rows": max(one.rows for one in found), "left_out": count, "listed": listed}
    if content:
        write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    else:
        path.unlink(missing_ok=True)
    return {file: int(entry["left_out"]) for file, entry in content.items()}
