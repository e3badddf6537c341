"""What a baseline needs done before its training: a training set selected, or a reference model trained.

RUN/selected/train.jsonl   the training set, in our own form of step records, images by absolute paths
RUN/selected/report.json   how many records of each domain were kept, and why the others were not
RUN/vanilla/               the reference model, a run of its own

Each appears whole or not at all. A run that goes on finds and keeps them.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from dreamprm.config.errors import UserError
from dreamprm.config.loading import as_dict
from dreamprm.data.record_table import write_records
from dreamprm.files.atomic import save_config, write_atomically
from dreamprm.runtime.settings import RecordFile
from dreamprm.training.assembly import Run, assemble
from dreamprm.training.baselines.base import Baseline, Selected, Selection, SelectionData, Weighting
from dreamprm.training.companion import vanilla_config
from dreamprm.training.level_settings import BaselineSettings
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.settings import TrainConfig
from dreamprm.training.summary import open_suites

Say = Callable[[str], None]


@dataclass(frozen=True)
class Preparation:
    """What comes of it.

    Attributes:
        config: the settings of the training that follows.
        reference: folder of the reference model, where there is one.
        started: whether the run's folder was begun (and an old run in it replaced, where that is asked for).
    """

    config: TrainConfig
    reference: str | None = None
    started: bool = False


def prepare_training(
    baseline: Baseline,
    given: TrainConfig,
    settled: TrainConfig,
    *,
    folder: RunFolder,
    accelerator: Accelerator,
    train: Callable[[TrainConfig], None],
) -> Preparation:
    """Do what the baseline needs done first, unless the run's folder holds it; nothing for most.

    Args:
        given: the user's settings.
        settled: those with what the baseline fixes.
        train: trains a run, here the vanilla one.

    Raises:
        UserError: the settings or the data do not allow it; found before the run's folder is begun, but for
            a selection that leaves nothing.
    """
    if isinstance(baseline, Selection):
        if given.overwrite or not is_selected(given, folder):
            whole = _begin(given, settled, folder, accelerator)
            data = SelectionData(
                records=whole.records,
                meta=whole.meta,
                seed=given.seed,
                prm=whole.prm,
                images=whole.images,
                say=accelerator.print,
            )
            _select(baseline, data, config=given, folder=folder, say=accelerator.print)
        return Preparation(on_selection(settled, folder), started=True)
    if isinstance(baseline, Weighting) and baseline.needs_reference:
        vanilla = vanilla_config(given)
        reference = RunFolder(vanilla.output)
        if given.overwrite or not reference.summary.exists():
            _begin(given, settled, folder, accelerator)
            accelerator.print(
                f"baseline {given.baseline.name}: training its reference first, the vanilla "
                f"PRM, in {reference.path}"
            )
            train(vanilla)
        return Preparation(settled, reference=str(reference.model), started=True)
    return Preparation(settled)


def _begin(given: TrainConfig, settled: TrainConfig, folder: RunFolder, accelerator: Accelerator) -> Run:
    """Put a run on all data together, so that mistakes show before anything is written; then begin the
    folder."""
    whole = assemble(
        dataclasses.replace(settled, baseline=BaselineSettings()), accelerator, say=lambda text: None
    )
    open_suites(given, say=lambda text: None)
    if given.overwrite and folder.path.exists():
        shutil.rmtree(folder.path)
    folder.create()
    # With its settings the folder is a run's: one that was stopped here goes on, or is overwritten.
    save_config(folder.config, given)
    return whole


def selected_file(folder: RunFolder) -> Path:
    """The selected training set of a run."""
    return folder.path / "selected" / "train.jsonl"


def report_file(folder: RunFolder) -> Path:
    """The report on it; written last, so that it vouches for the training set."""
    return folder.path / "selected" / "report.json"


def is_selected(config: TrainConfig, folder: RunFolder) -> bool:
    """Whether the run's folder holds the training set that this configuration selects."""
    if not selected_file(folder).is_file() or not report_file(folder).is_file():
        return False
    report = json.loads(report_file(folder).read_text(encoding="utf-8"))
    return bool(report.get("selected_by") == _selected_by(config))


def _select(
    baseline: Selection, data: SelectionData, *, config: TrainConfig, folder: RunFolder, say: Say
) -> None:
    """Select the training set and write it with its report.

    Raises:
        UserError: nothing is left to train on.
    """
    chosen = baseline.select(data)
    report = {"selected_by": _selected_by(config), **chosen.report(data.records)}
    if not report["kept"] + report["added"]:
        raise UserError(
            f"baseline {config.baseline.name} leaves no CoT to train on: {_reasons(chosen)}; "
            "loosen its settings"
        )
    report_file(folder).unlink(missing_ok=True)
    write_records(selected_file(folder), chosen.records(data.records))
    write_atomically(report_file(folder), json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    say(
        f"baseline {config.baseline.name}: {report['kept']} of {report['of']} CoTs kept"
        + (f", {report['added']} added" if report["added"] else "")
        + f"; {selected_file(folder)}"
    )
    empty = [
        name for name, counts in report["domains"].items() if not counts["kept"] and not counts.get("added")
    ]
    if empty and report["kept"]:
        say(f"baseline {config.baseline.name}: no CoT is left of {', '.join(empty)}")


def on_selection(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """The configuration with the selected training set in place of the run's."""
    data = config.data
    # Records whose missing images were dropped come back as records without images, which is no mistake.
    without_images = data.allow_no_image or data.missing_image == "text_only"
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            data, train=[RecordFile(path=str(selected_file(folder)))], allow_no_image=without_images
        ),
    )


def _selected_by(config: TrainConfig) -> dict[str, Any]:
    """Everything that the selection follows from, as JSON holds it."""
    full = as_dict(config)
    data = {key: value for key, value in full["data"].items() if key not in ("num_workers", "cache_dir")}
    known: dict[str, Any] = json.loads(
        json.dumps({"baseline": full["baseline"], "seed": config.seed, "data": data, "model": full["model"]})
    )
    return known


def _reasons(chosen: Selected) -> str:
    counts = {fate: chosen.fates.count(fate) for fate in dict.fromkeys(chosen.fates)}
    return ", ".join(f"{count} {fate}" for fate, count in counts.items())
