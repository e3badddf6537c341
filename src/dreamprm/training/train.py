"""`dreamprm train`: files in, a trained PRM with its domain weights out."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from dreamprm.config.errors import UserError
from dreamprm.config.loading import changed_keys
from dreamprm.data.image_notes import ImageNotes
from dreamprm.files.atomic import save_config
from dreamprm.files.content import FileDigests
from dreamprm.files.disk_errors import require_folder
from dreamprm.hypergrad import Status, WindowResult
from dreamprm.hypergrad.audit import AuditResult
from dreamprm.models.collation import Latest, WindowBatches, window_batches
from dreamprm.runtime.interruption import DeferredInterrupt
from dreamprm.runtime.process import prepare_process
from dreamprm.runtime.progress import Progress
from dreamprm.training.assembly import Run, assemble, make_accelerator, rehearse
from dreamprm.training.baselines import Selection, build_baseline
from dreamprm.training.baselines.base import SelectionData
from dreamprm.training.checkpoint import (
    RANDOM,
    UnusableCheckpoint,
    capture_random_state,
    latest_checkpoint,
    load_checkpoint,
    remove_later_checkpoints,
    restore_random_state,
    save_checkpoint,
)
from dreamprm.training.continuation import Continuation, deciding_settings, find_checkpoints
from dreamprm.training.inputs import open_training_data
from dreamprm.training.run_folder import RunFolder, what_stands
from dreamprm.training.run_inputs import image_digests, input_files, input_images, recorded
from dreamprm.training.selected_set import is_selected, select_training_set, selected_data
from dreamprm.training.settings import TrainConfig
from dreamprm.training.summary import image_summaries, summarise

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
    folder = RunFolder(config.output)
    find_checkpoints(folder, config)  # before a lock is made in a folder that may not be ours
    require_folder(folder.path)
    accelerator = make_accelerator(config)
    with what_stands(folder), folder.owned():
        run = open_run(config, accelerator, folder)
        train(run, config, folder)
        save_model(run, folder)
        summary = summarise(run, folder) | {"seconds": time.monotonic() - started}
        folder.write_summary(summary)
    for kind, images in image_summaries(run, folder).items():
        if images.lines():
            accelerator.print(f"images of {kind}: " + "\n".join(images.lines()))


def open_run(config: TrainConfig, accelerator: Accelerator, folder: RunFolder) -> Run:
    """The run, ready for its first step or for the next one after it stopped; its folder is prepared.

    The folder is touched only after all inputs have been read: a refused run leaves it as it was.

    Raises:
        UserError: as `run_train`.
    """
    say = accelerator.print
    baseline = build_baseline(config.baseline.name, **config.baseline.settings)
    digests = FileDigests()
    found = find_checkpoints(folder, config)
    continued = Continuation(config, found, say, digests) if found else None
    if continued is not None:
        continued.check_files(input_files(config, digests))
    selects = isinstance(baseline, Selection)
    selected = selects and not config.overwrite and is_selected(config, folder, digests)
    data = selected_data(config.data, folder) if selected else config.data
    run = assemble(config, accelerator, data=data, say=say, digests=digests)
    fixed = changed_keys(config, run.config, ignore=("data",))
    if fixed:
        settings = ", ".join(f"{key}={value}" for key, (_, value) in fixed.items() if value is not None)
        say(f"baseline {config.baseline.name} fixes {settings}")
    rehearse(run)
    # A baseline's own training set has the images of the whole one.
    whole_set = open_training_data(config.data, say=lambda line: None, digests=digests) if selected else None
    paths = input_images(config, whole_set or run.records, run.meta)
    images = image_digests(paths, digests)
    if continued is not None:
        continued.check_images(paths, images)
    recorded_inputs = recorded(input_files(config, digests), images)
    if isinstance(baseline, Selection) and not selected:
        begin(folder, config)
        whole = SelectionData(run.records, run.meta, config.seed, run.prm, run.images, say)
        select_training_set(baseline, whole, config=config, folder=folder, say=say, digests=digests)
        run = assemble(config, accelerator, data=selected_data(config.data, folder), say=say)
    run.inputs = recorded_inputs
    if continued is not None:
        restore(run, continued.checkpoint, digests=digests)
        run.removable = continued.is_ours
        say(f"continuing {folder.path} from step {run.state.inner.step}")
    if selected or not selects:
        begin(folder, config)
    folder.remove_leftovers()
    unreadable = folder.rewind(run.state.inner.step)
    if unreadable:
        say(f"{folder.path}: {unreadable} lines of the logs were damaged, and are left out of them")
    if found and config.resume == "auto":
        done, logged = run.state.inner.step // config.inner_steps, sum(1 for _ in folder.metrics())
        if logged < done:
            say(
                f"{folder.path}: metrics.jsonl holds {logged} of the {done} windows before the checkpoint; "
                "what summary.json and the report count is of these"
            )
    for path in remove_later_checkpoints(folder.checkpoints, run.state.inner.step, removable=run.removable):
        say(f"{path}: kept under this name, as it is no whole checkpoint of this run")
    return run


def begin(folder: RunFolder, config: TrainConfig) -> None:
    """Make the run's folder, replacing another run's with `overwrite`, and save the configuration in it.

    The configuration marks the folder as a run's: a run stopped after this can be resumed or overwritten.
    """
    if config.overwrite and folder.is_run():
        folder.clear()
    folder.create()
    save_config(folder.config, config)


def train(run: Run, config: TrainConfig, folder: RunFolder) -> None:
    """Run the remaining windows, logging each and saving a checkpoint after every `checkpoint.every`-th."""
    state, length = run.state, config.inner_steps
    first, last = state.inner.step // length, config.steps // length
    inner_batches, outer_batches = window_batches(
        WindowBatches(run.step_batches, run.meta_batches, inner_steps=length),
        first=first,
        last=last,
        workers=config.data.num_workers,
        notes=run.image_notes,
    )
    seen = Latest(inner_batches)
    windows = run.trainer.run(state, inner_batches=seen, outer_batches=outer_batches, windows=last - first)
    progress = Progress(config.steps, mode=config.log.progress, every=config.log.every)
    begun, note, unsaid = time.monotonic(), "", set(CONTINUES)
    with progress, DeferredInterrupt() as interrupt:
        for number, window in enumerate(windows, start=first + 1):
            if window.status in (Status.nonfinite, Status.diverged):
                raise UserError(f"step {state.inner.step}: {window.message}. {way_out(folder)}")
            if window.status in unsaid:
                unsaid.discard(window.status)
                progress.say(
                    f"step {state.inner.step}: {window.message}. Training goes on; metrics.jsonl "
                    f"shows {CONTINUES[window.status]}, summary.json how many"
                )
            run.memory = run.weights.remember(
                run.memory, state.alpha, last=lambda: last_losses(run, seen.last)
            )
            weights = run.named_weights()
            row = metrics(run, window, number=number, seconds=time.monotonic() - begun)
            folder.log_metrics(row)
            folder.log_weights(state.inner.step, weights)
            if "audit" in window.stats:
                note = audit_note(window.stats["audit"])
            progress.update(
                state.inner.step,
                inner_loss=row["inner_loss"],
                meta_loss=row["meta_loss"],
                weights=weights,
                note=note,
            )
            if number % config.checkpoint.every == 0 or number == last or interrupt.requested:
                save(run, config, folder)
            if interrupt.requested:
                interrupt.deliver()


@torch.no_grad()
def last_losses(run: Run, batch: dict[str, Any]) -> tuple[dict[str, Any], torch.Tensor]:
    """A batch on the parameters' device, and its losses at the current parameters."""
    batch = run.trainer.to_device(batch)
    return batch, run.trainer.problem.inner_losses(run.state.params, batch)


def audit_note(result: AuditResult) -> str:
    """An audit's result, for the progress line."""
    return f"audit cos {result.cosine:.3f} norm x{result.norm_ratio:.2f}"


def way_out(folder: RunFolder) -> str:
    """What to do about a run that cannot go on with its settings."""
    latest = latest_checkpoint(folder.checkpoints)
    if latest is None:
        return "No checkpoint was saved before; start anew with other settings and overwrite=true"
    return f"Go on from before it with other settings and resume={latest}, or start anew with overwrite=true"


def save_model(run: Run, folder: RunFolder) -> None:
    """Save the trained PRM, and the weights of single CoTs if there are any."""
    run.prm.load_params(run.state.params)
    run.prm.save_pretrained(folder.model, training=training_facts(run))
    each = run.weights.by_instance(run.state.alpha)
    if each is not None:
        folder.write_instance_weights(
            {"id": record.id, "domain": record.domain, "weight": weight}
            for record, weight in zip(run.records, each.tolist(), strict=True)
        )


def training_facts(run: Run) -> dict[str, Any]:
    """What a model's card says about its training: no file names, which stay in the run's folder."""
    config = run.config
    baseline = build_baseline(config.baseline.name, **config.baseline.settings)
    told = {} if config.baseline.name == "none" else {"baseline": config.baseline.name, **baseline.facts()}
    return {
        "name": config.name,
        "seed": config.seed,
        "steps": run.state.inner.step,
        "inner_steps": config.inner_steps,
        "estimator": config.hypergrad.name,
        "aggregation": config.aggregation,
        "temperature": config.temperature,
        "meta_loss": config.meta_loss,
        "inner_lr": config.inner.lr,
        "upper_lr": config.upper.lr,
        "precision": config.precision,
        "sampling": config.sampling,
        "batch_size": config.batch_size,
        "domain_weights": run.named_weights(),
        **told,
    }


def metrics(run: Run, window: WindowResult, *, number: int, seconds: float) -> dict[str, Any]:
    """One line of metrics.jsonl; `seconds` counts from the start of this process's loop."""
    step = run.state.inner.step
    upper = run.trainer.upper
    squares = sum(float(grad.square().sum()) for grad in window.alpha_grad.values())
    row = {
        "step": step,
        "window": number,
        "inner_loss": float(window.inner_losses.mean()),
        "meta_loss": float(window.outer_loss),
        "lr": run.trainer.inner.learning_rate(step - 1),
        "upper_lr": upper.learning_rate(number - 1) if upper is not None else 0.0,
        "seconds": round(seconds, 3),
        "alpha_grad_norm": squares**0.5,
        "status": window.status.value,
    }
    if "residual" in window.stats:
        residual = window.stats["residual"]
        row["residual"] = residual if math.isfinite(residual) else None
    error = window.stats.get("error")
    if error is not None:
        row["alpha_grad_error"] = error if math.isfinite(error) else None
    audit: AuditResult | None = window.stats.get("audit")
    if audit is not None:
        # JSON has no NaN: null where undefined
        row |= {
            "audit_cosine": audit.cosine if math.isfinite(audit.cosine) else None,
            "audit_norm_ratio": audit.norm_ratio if math.isfinite(audit.norm_ratio) else None,
            "audit_exact": audit.exact,
            "audit_share": audit.share,
        }
        if audit.message:
            row["audit_message"] = audit.message
    return row


def save(run: Run, config: TrainConfig, folder: RunFolder) -> None:
    """Save a checkpoint of everything that determines the rest of the run."""
    state = run.state
    random_tensors, random_state = capture_random_state()
    tensors = dict(random_tensors)
    for group, values in _tensor_groups(run).items():
        tensors |= {f"{group}/{name}": value.detach() for name, value in values.items()}
    folder.flush()
    save_checkpoint(
        folder.checkpoints,
        state.inner.step,
        tensors=tensors,
        keep=config.checkpoint.keep,
        state={
            "inner_step": state.inner.step,
            "upper_step": state.upper.step,
            "random": random_state,
            "image_notes": run.image_notes.to_json(),
            # Batches are functions of the step; the positions are for a person to read.
            "data_positions": run.sampler.positions(state.inner.step),
            "inputs": run.inputs,
        },
        run={"settings": deciding_settings(config)},
        removable=run.removable,
    )


def restore(run: Run, checkpoint: str | Path, *, digests: FileDigests | None = None) -> None:
    """Bring a run to the state in a checkpoint.

    Raises:
        UserError: the checkpoint is damaged, or of another model.
    """
    tensors, saved = load_checkpoint(checkpoint, digests=digests)
    own = {f"{group}/{name}" for group, values in _tensor_groups(run).items() for name in values}
    surplus = sorted(name for name in tensors.keys() - own if not name.startswith(RANDOM))
    if surplus:
        raise UserError(
            f"checkpoint {checkpoint} does not fit this run: it holds {len(surplus)} tensors that the run "
            f"does not have, the first {surplus[0]}"
        )
    for group, values in _tensor_groups(run).items():
        for name, value in values.items():
            stored = tensors.get(f"{group}/{name}")
            if stored is None or stored.shape != value.shape:
                found = "missing" if stored is None else tuple(stored.shape)
                raise UserError(
                    f"checkpoint {checkpoint} does not fit this run: {group}/{name} is {found}, "
                    f"expected {tuple(value.shape)}"
                )
            # In place: the module shares these tensors, and a second copy of a 2B model is 9 GB.
            value.detach().copy_(stored)
    inner, upper = saved.get("inner_step"), saved.get("upper_step")
    if type(inner) is not int or type(upper) is not int or not 0 <= upper <= inner:
        raise UnusableCheckpoint(
            f"checkpoint {checkpoint} contradicts itself: inner_step is {inner!r}, upper_step {upper!r}"
        )
    run.state = dataclasses.replace(
        run.state,
        inner=run.trainer.inner.make_state(saved["inner_step"], run.state.inner.moments),
        upper=dataclasses.replace(run.state.upper, step=saved["upper_step"]),
    )
    try:
        restore_random_state(tensors, saved["random"])
        run.image_notes = ImageNotes(**saved.get("image_notes", {}))  # none before version 0.3
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UnusableCheckpoint(f"checkpoint {checkpoint} is damaged ({error!r})") from error


def _tensor_groups(run: Run) -> dict[str, dict[str, torch.Tensor]]:
    state = run.state
    return {
        "params": state.params,
        "alpha": state.alpha,
        **{f"inner_{kind}": moments for kind, moments in state.inner.moments.items()},
        **{f"upper_{kind}": moments for kind, moments in state.upper.moments.items()},
        "weights_memory": run.memory,
    }
