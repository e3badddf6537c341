"""The training set of a baseline that selects its own, saved in the run's folder.

RUN/selected/train.jsonl   the training set, in our own form of step records, images by absolute paths
RUN/selected/report.json   how many records of each domain were kept, and why the others were not

Each appears whole or not at all. A resumed run finds and keeps them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.config.loading import as_dict
from dreamprm.data.image_notes import ImageNotes, ImageSummary
from dreamprm.data.read_report import ReadReport
from dreamprm.data.record_table import write_records
from dreamprm.files.append_only import require_fields
from dreamprm.files.atomic import write_atomically
from dreamprm.files.content import FileDigests, content_key
from dreamprm.files.json_values import parse_json
from dreamprm.runtime.settings import RecordFile
from dreamprm.training.baselines.base import Selected, Selection, SelectionData
from dreamprm.training.inputs import Say, open_meta_data, open_training_data
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.run_inputs import image_digests, input_files, input_images
from dreamprm.training.settings import DataSettings, TrainConfig

_CONSENSUS = ("disagreeing", "disagreeing_steps")
_IMAGES: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("records", "lost", "cut_off"), "a whole number >= 0")
    | dict.fromkeys(("lost_first", "cut_off_first"), "a list of texts")
)
"""The fields of report.json's `images`."""


def is_selected(config: TrainConfig, folder: RunFolder, digests: FileDigests) -> bool:
    """Whether the run's folder holds the training set that this configuration selects from these files."""
    if not _selected_file(folder).is_file() or not _report_file(folder).is_file():
        return False
    report = _stored_report(folder)
    return report is not None and bool(report.get("selected_by") == _selected_by(config, digests))


def select_training_set(
    baseline: Selection,
    data: SelectionData,
    *,
    config: TrainConfig,
    folder: RunFolder,
    say: Say,
    digests: FileDigests,
) -> None:
    """Select the training set and write it with its report.

    Raises:
        UserError: nothing is left to train on.
    """
    chosen = baseline.select(data)
    report = {"selected_by": _selected_by(config, digests), **chosen.report(data.records)}
    read = getattr(data.records, "reports", ())
    if config.data.consensus is not None:  # which is not applied to the selected records again
        report["consensus"] = consensus_counts(read)
    images = _images(data)
    if images.lines():  # the selected records are read without them, and look as if they never had any
        report["images"] = dataclasses.asdict(images)
    if not report["kept"] + report["added"]:
        raise UserError(
            f"baseline {config.baseline.name} leaves no CoT to train on: {_reasons(chosen)}; "
            "loosen its settings"
        )
    _report_file(folder).unlink(missing_ok=True)
    write_records(_selected_file(folder), chosen.records(data.records))
    # Written last: its presence means that the training set is complete.
    write_atomically(_report_file(folder), json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    say(
        f"baseline {config.baseline.name}: {report['kept']} of {report['of']} CoTs kept"
        + (f", {report['added']} added" if report["added"] else "")
        + f"; {_selected_file(folder)}"
    )
    empty = [
        name for name, counts in report["domains"].items() if not counts["kept"] and not counts.get("added")
    ]
    if empty and report["kept"]:
        say(f"baseline {config.baseline.name}: no CoT is left of {', '.join(empty)}")


def consensus_counts(reports: Iterable[ReadReport]) -> dict[str, int]:
    """How many CoTs the consensus filter left out, and how many labels of the others it took away."""
    found = list(reports)
    return {
        "disagreeing": sum(one.disagreeing for one in found),
        "disagreeing_steps": sum(one.disagreeing_steps for one in found),
    }


def consensus_before_selection(folder: RunFolder) -> dict[str, int] | None:
    """The same of the records before the run's selection; None without one, or without a filter."""
    report = _stored_report(folder) if _report_file(folder).is_file() else None
    return None if report is None else report.get("consensus")


def images_before_selection(folder: RunFolder) -> ImageSummary | None:
    """What the images of the records were found to be before the run's selection; None without one, or if all
    were whole."""
    if not _report_file(folder).is_file():
        return None
    report = _stored_report(folder)
    images = None if report is None else report.get("images")
    return None if images is None else ImageSummary(**images)


def selected_data(data: DataSettings, folder: RunFolder) -> DataSettings:
    """The run's data with the selected training set in place of its own."""
    # Records whose missing images were dropped are read back without images, which is not an error here.
    without_images = data.allow_no_image or data.missing_image == "text_only"
    # The consensus filter came before the selection; labels are those of the files, and made hard when read.
    return dataclasses.replace(
        data,
        train=[RecordFile(path=str(_selected_file(folder)))],
        allow_no_image=without_images,
        consensus=None,
    )


def _images(data: SelectionData) -> ImageSummary:
    """What reading the records and, if the baseline did so, opening their images has found."""
    notes = ImageNotes()
    for number, record in enumerate(data.records):
        lost, cut_off = data.images.lost(record.images), data.images.cut_off(record.images)
        notes.add(str(number), f"record {record.id}", lost=lost, cut_off=cut_off)
    return ImageSummary.of(len(data.records), getattr(data.records, "reports", ()), notes, prefix="")


def _selected_file(folder: RunFolder) -> Path:
    return folder.path / "selected" / "train.jsonl"


def _report_file(folder: RunFolder) -> Path:
    return folder.path / "selected" / "report.json"


def _stored_report(folder: RunFolder) -> dict[str, Any] | None:
    """The content of report.json; None if it is damaged: the training set is then selected anew."""
    try:
        report = parse_json(_report_file(folder).read_bytes())
        require_fields(report, {})
        images, consensus = report.get("images"), report.get("consensus")
        if consensus is not None:
            require_fields(consensus, dict.fromkeys(_CONSENSUS, "a whole number >= 0"))
        if images is not None:
            require_fields(images, {"records": _IMAGES["records"]})
            require_fields(images, {name: kind for name, kind in _IMAGES.items() if name in images})
            ImageSummary(**images)
    except (OSError, ValueError, TypeError):
        return None
    return dict(report)


def _selected_by(config: TrainConfig, digests: FileDigests) -> dict[str, Any]:
    """All that determines the selection, as JSON values; paths too, as the set names images by them."""
    records = open_training_data(config.data, say=_silent, digests=digests)
    images = input_images(config, records, open_meta_data(config.data, say=_silent, digests=digests))
    contents = {"files": input_files(config, digests), "images": content_key(image_digests(images, digests))}
    full = as_dict(config)
    data = {key: value for key, value in full["data"].items() if key not in ("num_workers", "cache_dir")}
    settings = {"baseline": full["baseline"], "seed": config.seed, "data": data, "model": full["model"]}
    known: dict[str, Any] = json.loads(json.dumps(settings | {"contents": contents}))
    return known


def _silent(line: str) -> None:
    """What the readers report has been said when the run was assembled, or will be."""
    del line


def _reasons(chosen: Selected) -> str:
    counts = {fate: chosen.fates.count(fate) for fate in dict.fromkeys(chosen.fates)}
    return ", ".join(f"{count} {fate}" for fate, count in counts.items())
