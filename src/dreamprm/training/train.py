"""`dreamprm train`: files in, a trained PRM with its domain weights out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import changed_keys
from dreamprm.files.atomic import save_config
from dreamprm.files.content import FileDigests
from dreamprm.files.disk_errors import require_folder
from dreamprm.hypergrad import Status, WindowResult
from dreamprm.hypergrad.audit import AuditResult
from dreamprm.models.batch_loading import Latest, WindowBatches, window_batches
from dreamprm.models.hub import push, require_login
from dreamprm.runtime.interruption import DeferredInterrupt
from dreamprm.runtime.process import launched_processes, prepare_process
from dreamprm.runtime.progress import Progress
from dreamprm.training.assembly import Run, assemble, rehearse
from dreamprm.training.baselines import Selection, build_baseline
from dreamprm.training.baselines.base import SelectionData
from dreamprm.training.checkpoint import (
    checkpoints_in,
    is_finite,
    load_state,
    remove_later_checkpoints,
)
from dreamprm.training.continuation import Continuation, find_checkpoints
from dreamprm.training.inputs import open_training_data
from dreamprm.training.processes import Processes, UnreadElsewhere, leave, make_accelerator
from dreamprm.training.run_folder import OthersFolder, RunFolder, what_stands
from dreamprm.training.run_inputs import (
    image_digests,
    input_files,
    input_images,
    recorded,
)
from dreamprm.training.run_state import restore, save
from dreamprm.training.run_warnings import data_warnings, loss_warnings
from dreamprm.training.selected_set import is_selected, select_training_set, selected_data
from dreamprm.training.settings import TrainConfig
from dreamprm.training.summary import image_summaries, logged_warnings, summarise, window_warnings
from dreamprm.training.throughput import Throughput, pace
from dreamprm.training.trackers import Trackers, check_trackers
from dreamprm.training.trained_model import save_model
from dreamprm.training.usable_records import write_left_out

# Statuses of windows after which training goes on, and what it says of the others.
CONTINUES = {
    Status.not_converged: "which windows did not converge",
    Status.imprecise: "which windows were imprecise",
    Status.no_gradient: "which windows had no gradient (the weights stay as they are after these)",
}


def run_train(config: TrainConfig) -> None:
    """Train, and leave a run folder: everything that `dreamprm train` does.

    Raises:
        UserError: the configuration, the data or the state of the run folder does not allow it; another
            process trains in the folder; or it cannot be written.
    """
    started = time.monotonic()
    prepare_process(config.threads)
    first = launched_processes().rank == 0
    folder = RunFolder(config.output) if first else OthersFolder(config.output)
    find_checkpoints(folder, config)  # before a lock is made in a folder that may not be ours
    if first:
        require_folder(folder.path)
    check_trackers(config.log.trackers)
    if config.push_to_hub is not None and first:
        require_login(config.push_to_hub)
    accelerator = make_accelerator(config)
    with what_stands(folder), folder.owned():
        run = open_run(config, accelerator, folder)
        with Trackers(accelerator if first else None, config, print) as trackers:
            train(run, config, folder, trackers)
        params = run.state.params if run.shards is None else run.shards.collected(run.state.params)
        if first:
            require_finite(run, folder, params)
            save_model(run, folder, params)
            summary = summarise(run, folder) | {"seconds": time.monotonic() - started}
            folder.write_summary(summary)
    leave()
    if config.push_to_hub is not None and first:
        address = push(folder.model, config.push_to_hub, private=config.hub_private)
        print(f"uploaded to {address}")
    if first:
        for warning in loss_warnings(folder.metrics()):
            print(f"warning: {warning['message']}")
        for kind, images in image_summaries(run, folder).items():
            if images.lines():
                print(f"images of {kind}: " + "\n".join(images.lines()))


def open_run(config: TrainConfig, accelerator: Accelerator, folder: RunFolder) -> Run:
    """The run, ready for its first step or for the next one after it stopped; its folder is prepared.

    The folder is touched only after all inputs have been read: a refused run leaves it as it was.

    Raises:
        UserError: as `run_train`.
    """
    processes = Processes.of(accelerator)
    say = processes.say
    baseline = build_baseline(config.baseline.name, **config.baseline.settings)
    if processes.several and isinstance(baseline, Selection):
        raise UserError(
            f"baseline {config.baseline.name} selects its training set first, which one process does; start "
            "it without a launcher"
        )
    digests = FileDigests()
    found = find_checkpoints(folder, config)
    continued = Continuation(config, found, say, digests) if found else None
    if continued is not None:
        continued.check_files(input_files(config, digests))
    selects = isinstance(baseline, Selection)
    selected = selects and not config.overwrite and is_selected(config, folder, digests)
    data = selected_data(config.data, folder) if selected else config.data
    trains = selected or not selects
    run = assemble(config, accelerator, data=data, say=say, digests=digests, trains=trains)
    if config.shard and not processes.several:
        say("shard=true has no effect: this run has one process (torchrun --nproc-per-node=N starts several)")
    fixed = changed_keys(config, run.config, ignore=("data",))
    if fixed:
        settings = ", ".join(f"{key}={value}" for key, (_, value) in fixed.items() if value is not None)
        say(f"baseline {config.baseline.name} fixes {settings}")
    rehearse(run)
    for warning in data_warnings(run.records.label_ranges()):
        say(f"warning: {warning['message']}")
    # A baseline's own training set has the images of the whole one.
    whole_set = open_training_data(config.data, say=lambda line: None, digests=digests) if selected else None
    paths = input_images(config, whole_set or run.records, run.meta)
    images = image_digests(paths, digests)
    if continued is not None:
        continued.check_images(paths, images)
    recorded_inputs = recorded(input_files(config, digests), images)
    # A set that was selected before is of the records that were left then.
    left_out = None if selected else run.reports()
    if isinstance(baseline, Selection) and not selected:
        begin(folder, config)
        whole = SelectionData(run.records, run.meta, config.seed, run.prm, run.images, say)
        select_training_set(baseline, whole, config=config, folder=folder, say=say, digests=digests)
        run = assemble(config, accelerator, data=selected_data(config.data, folder), say=say, digests=digests)
    run.inputs = recorded_inputs
    if continued is not None:
        restore(run, continued.checkpoint, digests=digests)
        run.removable = continued.is_ours
        say(f"continuing {folder.path} from step {run.position}")
        processes.wait()  # until all have read the checkpoint: what follows changes the folder
    if not processes.first:
        processes.wait()
        return run
    if trains:
        begin(folder, config)
    folder.remove_leftovers()
    if left_out is not None:
        count = write_left_out(folder.left_out, left_out)
        if count:
            say(f"records left out: {sum(count.values()):,}; {folder.left_out} lists them")
    unreadable = folder.rewind(run.position)
    if unreadable:
        say(f"{folder.path}: {unreadable} lines of the logs were damaged, and are left out of them")
    own = continued is not None and config.resume == "auto"  # the logs in the folder are those of this run
    logged = load_state(continued.checkpoint).get("logs", {}) if continued is not None and own else {}
    for path in folder.changed_logs(logged):
        say(
            f"{path} does not hold the lines that were logged before the checkpoint: they were changed, "
            "damaged or removed. Training goes on as if they had not; what summary.json and the report say "
            "of these windows comes from what is there"
        )
    if own:
        done, held = run.position // config.inner_steps, sum(1 for _ in folder.metrics())
        if held < done:
            say(
                f"{folder.path}: metrics.jsonl holds {held} of the {done} windows before the checkpoint; "
                "what summary.json and the report count is of these"
            )
    kept = continued.passed_over if continued is not None else []
    for path in remove_later_checkpoints(
        folder.checkpoints,
        run.position,
        removable=lambda path: path not in kept and run.removable(path),
    ):
        say(f"{path}: kept under this name, as it is no whole checkpoint of this run")
    processes.wait()
    return run


def begin(folder: RunFolder, config: TrainConfig) -> None:
    """Make the run's folder, replacing another run's with `overwrite`, and save the configuration in it.

    The configuration marks the folder as a run's: a run stopped after this can be resumed or overwritten.
    """
    if config.overwrite and folder.is_run():
        folder.clear()
    folder.create()
    save_config(folder.config, config)


def train(run: Run, config: TrainConfig, folder: RunFolder, trackers: Trackers) -> None:
    """Run the remaining windows, logging each and saving a checkpoint after every `checkpoint.every`-th."""
    state, length, processes = run.state, config.inner_steps, run.processes
    first, last = run.position // length, config.steps // length
    inner_batches, outer_batches = window_batches(
        WindowBatches(run.step_batches, run.meta_batches, inner_steps=length),
        first=first,
        last=last,
        workers=config.data.num_workers,
        notes=run.image_notes,
    )
    if processes.several:
        inner_batches, outer_batches = processes.agreed(inner_batches), processes.agreed(outer_batches)
    throughput = Throughput(processes)
    seen, outer_batches = Latest(throughput.counted(inner_batches)), throughput.counted(outer_batches)
    windows = run.trainer.run(state, inner_batches=seen, outer_batches=outer_batches, windows=last - first)
    mode = config.log.progress if processes.first else "none"
    progress = Progress(config.steps, mode=mode, every=config.log.every)
    begun, note, unsaid = time.monotonic(), "", set(CONTINUES)
    warnings = window_warnings(run)
    logged_warnings(warnings, folder)  # those that were given before an interruption
    with progress, DeferredInterrupt() as interrupt, vanished_files_told(run, config, folder):
        throughput.begin()
        for number, window in enumerate(windows, start=first + 1):
            figures = throughput.figures()
            if window.status in (Status.nonfinite, Status.diverged):
                require_skippable(run, window, folder)
                progress.say(
                    f"step {run.position}: {window.message}. The window is skipped: parameters and weights "
                    "are as they were before it"
                )
            if window.status in unsaid:
                unsaid.discard(window.status)
                progress.say(
                    f"step {run.position}: {window.message}. Training goes on; metrics.jsonl "
                    f"shows {CONTINUES[window.status]}, summary.json how many"
                )
            if not window.stats.get("skipped"):
                run.memory = run.weights.remember(
                    run.memory, state.alpha, last=lambda: last_losses(run, seen.last)
                )
            weights = run.named_weights()
            row = metrics(run, window, number=number, seconds=time.monotonic() - begun)
            row |= figures
            folder.log_metrics(row)
            folder.log_weights(run.position, weights)
            trackers.log(row, weights)
            for warning in warnings.of(row, weights):
                progress.say(f"step {warning['step']}: warning: {warning['message']}")
            if "audit" in window.stats:
                note = audit_note(window.stats["audit"])
            progress.update(
                run.position,
                inner_loss=float(window.inner_losses.mean()),
                meta_loss=float(window.outer_loss),
                weights=weights,
                note="  ".join(part for part in (note, pace(figures)) if part),
            )
            interrupt.share(processes.largest)
            if number % config.checkpoint.every == 0 or number == last or interrupt.requested:
                save(run, config, folder)
            if interrupt.requested:
                interrupt.deliver()
            throughput.begin()


@torch.no_grad()
def last_losses(run: Run, batch: dict[str, Any]) -> tuple[dict[str, Any], torch.Tensor]:
    """A batch on the parameters' device, and its losses at the current parameters."""
    batch = run.trainer.to_device(batch)
    return batch, run.trainer.problem.whole_inner_losses(run.state.params, batch)


def audit_note(result: AuditResult) -> str:
    """An audit's result, for the progress line."""
    return f"audit cos {result.cosine:.3f} norm x{result.norm_ratio:.2f}"


def require_skippable(run: Run, window: WindowResult, folder: RunFolder) -> None:
    """Note that a window that is not finite was skipped.

    Raises:
        UserError: the run may not skip it, or has skipped too many.
    """
    config, skipped = run.config, run.state.skipped // run.config.inner_steps
    if config.on_nonfinite == "stop":
        advice = "or leave such windows out with on_nonfinite=skip"
        raise UserError(f"step {run.position}: {window.message}. {way_out(folder)}, {advice}")
    if skipped > config.max_nonfinite:
        raise UserError(
            f"step {run.position}: {window.message}. {skipped} windows were not finite, more than "
            f"max_nonfinite={config.max_nonfinite} allows. {way_out(folder)}"
        )
    window.stats["skipped"] = True


def require_finite(run: Run, folder: RunFolder, params: Mapping[str, torch.Tensor]) -> None:
    """Refuse to make a model of a state that is not finite, which older versions have saved.

    Raises:
        UserError: a parameter, alpha or a weight is NaN or infinite.
    """
    tensors = {**params, **{f"alpha {name}": value for name, value in run.state.alpha.items()}}
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    bad += [f"weight of {name}" for name, value in run.named_weights().items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"step {run.position}: {len(bad)} tensors or weights are NaN or infinite ({bad[0]}), so no model "
            f"is written. {way_out(folder)}"
        )


def way_out(folder: RunFolder) -> str:
    """What to do about a run that cannot go on with its settings."""
    found = checkpoints_in(folder.checkpoints)[::-1]
    if not found:
        return "No checkpoint was saved before; start anew with other settings and overwrite=true"
    finite = next(filter(is_finite, found), None)
    if finite is None:
        return "No checkpoint before it is finite; start anew with other settings and overwrite=true"
    return f"Go on from before it with other settings and resume={finite}, or start anew with overwrite=true"


@contextmanager
def vanished_files_told(run: Run, config: TrainConfig, folder: RunFolder) -> Iterator[None]:
    """Save the run and say how to go on if a record can no longer be read: all were whole when it began."""
    try:
        yield
    except DataError as error:
        if run.position:
            save(run, config, folder)
        if isinstance(error, UnreadElsewhere):
            raise
        done = f"with what was trained until step {run.position}" if run.position else "from its first step"
        raise DataError(
            f"{error}. It could be read when this run began; put it back and run the same command again, "
            f"which continues {done}"
        ) from error


def metrics(run: Run, window: WindowResult, *, number: int, seconds: float) -> dict[str, Any]:
    """One line of metrics.jsonl; `seconds` counts from the start of this process's loop."""
    state, upper = run.state, run.trainer.upper
    skipped = state.skipped // run.config.inner_steps
    squares = sum(float(grad.square().sum()) for grad in window.alpha_grad.values())
    row = {
        "step": run.position,
        "window": number,
        "inner_loss": _finite(float(window.inner_losses.mean())),
        "meta_loss": _finite(float(window.outer_loss)),
        "lr": run.trainer.inner.learning_rate(max(state.inner.step - 1, 0)),
        "upper_lr": upper.learning_rate(max(number - skipped - 1, 0)) if upper is not None else 0.0,
        "seconds": round(seconds, 3),
        "alpha_grad_norm": _finite(squares**0.5),
        "status": window.status.value,
    }
    if window.stats.get("skipped"):
        row["skipped"] = True
    if "residual" in window.stats:
        row["residual"] = _finite(window.stats["residual"])
    error = window.stats.get("error")
    if error is not None:
        row["alpha_grad_error"] = _finite(error)
    audit: AuditResult | None = window.stats.get("audit")
    if audit is not None:
        row |= {
            "audit_cosine": _finite(audit.cosine),
            "audit_norm_ratio": _finite(audit.norm_ratio),
            "audit_exact": audit.exact,
            "audit_share": audit.share,
        }
        if audit.message:
            row["audit_message"] = audit.message
    return row


def _finite(value: float) -> float | None:
    """The number, or None, as JSON has no NaN."""
    return value if math.isfinite(value) else None
