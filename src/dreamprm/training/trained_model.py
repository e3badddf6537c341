"""What a training leaves for others: the PRM, its card, and the weights or labels of single CoTs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests, content_key
from dreamprm.training.assembly import Run
from dreamprm.training.baselines import build_baseline
from dreamprm.training.corrected_labels import CorrectedLabels
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.run_inputs import changed_base


def save_model(run: Run, folder: RunFolder, params: Mapping[str, torch.Tensor]) -> None:
    """Save the trained PRM, of these whole parameters, and what single CoTs were given: weights or labels.

    Raises:
        UserError: adapters alone are to be saved, and the base model's files are not those of the run.
    """
    if run.shards is not None:
        run.shards.fill(run.prm.cpu(), params)
    run.prm.load_params(params)
    model, digests = run.config.model, FileDigests()
    alone = model.lora is not None and model.lora.save == "adapter"
    if alone and model.path is not None and (told := changed_base(model.path, run.inputs, digests)):
        raise UserError(
            f"model.path={model.path} was changed while adapters of it were trained: {', '.join(told)}. Put "
            "the earlier files back and run the same command again, or save the merged model with "
            "model.lora.save=merged"
        )
    run.prm.save_pretrained(
        folder.model,
        training=training_facts(run),
        adapter_of=model.path if alone else None,
        digests=digests,
    )
    each = run.weights.by_instance(run.state.alpha)
    if each is not None:
        folder.write_instance_weights(
            {"id": record.id, "domain": record.domain, "weight": weight}
            for record, weight in zip(run.records, each.tolist(), strict=True)
        )
    corrected = CorrectedLabels.of(run)
    if corrected is not None:
        folder.write_corrected_labels(corrected.records(run))


def _trained_from(run: Run) -> dict[str, Any]:
    """Which weights the training began with: their name, and the revision or a digest of their files."""
    path = run.config.model.path
    if path is None:
        return {"base_model": "random initialisation"}
    files = run.inputs.get("files", {}).get("model.path", {})
    if Path(path).is_dir():
        return {
            "base_model": Path(path).resolve().name,
            "base_weights": f"files of digest {content_key(files)[:16]}",
        }
    return {"base_model": path, "base_weights": f"revision {files.get('')}"}


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
        **_trained_from(run),
        **run.trained_part(),
        **_of_labels(run),
        **told,
    }


def _of_labels(run: Run) -> dict[str, Any]:
    """What was made of the labels, if they were not trained on as they are."""
    data, rule, told = run.config.data, run.records.rule, {}
    if rule.changes:
        told = {"labels": data.labels, "label_threshold": rule.threshold, "label_mask": data.mask}
    if run.weights.corrects_labels:
        told |= {"learned": "labels"}
    return told
