"""A run's summary: the learned weights, and best-of-N selection on the held-out suites."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dreamprm.config.errors import UserError
from dreamprm.data.records import CandidateRecord
from dreamprm.data.shortcut_audit import audit_shortcuts
from dreamprm.evaluation import CandidateScores, evaluate_suites, weight_summary
from dreamprm.files.atomic import write_atomically
from dreamprm.hypergrad import Status
from dreamprm.sandbox.targets import sandbox_targets
from dreamprm.training.assembly import Run, make_prm
from dreamprm.training.companion import VanillaCompanion
from dreamprm.training.generator_accuracy import generator_accuracy
from dreamprm.training.inputs import open_suite
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.settings import TrainConfig
from dreamprm.training.suite_scores import likelihood_scores, prm_scores

Scores = dict[str, list[list[float]]]
Suites = Mapping[str, list[CandidateRecord]]


def open_suites(config: TrainConfig, *, say: Callable[[str], None]) -> Suites:
    """The candidates of every suite, audited for shortcuts; read before training, so that mistakes show then.

    Raises:
        UserError: a file of `evaluation` is missing, or its records do not allow an evaluation.
    """
    quality = config.evaluation.quality
    if quality is not None and not Path(quality).is_file():
        raise UserError(f"evaluation.quality={quality} does not exist; give a JSON file, or null")
    suites = {name: open_suite(config.data, path, say=say) for name, path in config.evaluation.suites.items()}
    for name, records in suites.items():
        for warning in audit_shortcuts(records).warnings(config.data.audit_bound):
            say(f"suite {name}: {warning}")
    return suites


def summarise(
    run: Run,
    config: TrainConfig,
    folder: RunFolder,
    *,
    suites: Suites,
    vanilla: VanillaCompanion,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Score the suites, join the vanilla run's scores, and compute the entries of summary.json.

    The scores themselves are kept in `scores/SUITE.json` as {selector: a list a question of a score a
    candidate}.
    """
    weights = run.named_weights()
    summary: dict[str, Any] = {
        "name": config.name,
        "seed": config.seed,
        "steps": run.state.inner.step,
        "estimator": config.hypergrad.name,
        "aggregation": config.aggregation,
        "weights": weights,
        "generator_accuracy": generator_accuracy(run.records),
        **window_summary(folder.metrics()),
    }
    if config.baseline.name != "none":
        summary["baseline"] = config.baseline.name
    for name, records in suites.items():
        say(f"scoring {sum(len(record.candidates) for record in records)} candidates of {name}")
        _write_scores(folder.scores / f"{name}.json", _score(run, config, records))
    joined = vanilla.wait()
    if suites:
        summary |= evaluate_suites(
            {
                name: _candidate_scores(
                    records,
                    folder.scores / f"{name}.json",
                    joined.scores / f"{name}.json" if joined else None,
                )
                for name, records in suites.items()
            },
            shifted=config.evaluation.shifted,
            seed=config.seed,
        )
    summary["vanilla_source"] = "live" if joined else "none"
    if config.evaluation.quality is not None:
        quality = json.loads(Path(config.evaluation.quality).read_text(encoding="utf-8"))
        summary["quality"] = quality
        if trained_name(config) == "dreamprm" or set(weights) == set(quality):
            # A baseline's selection may have lost domains, or brought the meta set in as one more.
            summary |= weight_summary(weights, quality)
    if config.sandbox is not None and joined and "heldout" in suites and trained_name(config) == "dreamprm":
        targets = sandbox_targets(summary)
        summary["targets"] = targets
        summary["targets_met"] = all(target["met"] for target in targets.values())
    return summary


def window_summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries of summary.json on how well the upper gradients were had, from the lines of metrics.jsonl.

    Returns:
        `not_converged`: windows whose solver stopped short. `audit`, where windows were audited: `exact` (the
        estimators compared with), `windows`, `undefined` (those of them without a cosine), and of the others
        `cosine` {median, least} and `norm_ratio` {median, least, most}.
    """
    stopped_short, audited = 0, []
    for row in rows:
        stopped_short += row["status"] == Status.not_converged.value
        if "audit_cosine" in row:
            audited.append(row)
    entries: dict[str, Any] = {"not_converged": stopped_short}
    if not audited:
        return entries
    known = [row for row in audited if row["audit_cosine"] is not None]
    entries["audit"] = audit = {
        "exact": sorted({row["audit_exact"] for row in audited}),
        "windows": len(audited),
        "undefined": len(audited) - len(known),
    }
    if known:
        cosines, ratios = ([row[name] for row in known] for name in ("audit_cosine", "audit_norm_ratio"))
        audit["cosine"] = {"median": float(np.median(cosines)), "least": min(cosines)}
        audit["norm_ratio"] = {"median": float(np.median(ratios)), "least": min(ratios), "most": max(ratios)}
    return entries


def trained_name(config: TrainConfig) -> str:
    """The selector's name of the PRM that a run trains: what it is, or the baseline's name."""
    if config.baseline.name != "none":
        return config.baseline.name
    return "vanilla" if config.hypergrad.name == "none" else "dreamprm"


def _score(run: Run, config: TrainConfig, records: list[CandidateRecord]) -> Scores:
    batch_size = config.evaluation.batch_size
    trained = trained_name(config)
    scores = {
        trained: prm_scores(
            run.prm,
            records,
            images=run.images,
            aggregation=config.aggregation,
            temperature=config.temperature,
            batch_size=batch_size,
        )
    }
    if config.evaluation.base and config.evaluation.vanilla == "none":
        base = make_prm(config).to(run.prm.head.weight.device)
        scores["base_likelihood"] = likelihood_scores(base, records, images=run.images, batch_size=batch_size)
        scores["base_head"] = prm_scores(
            base,
            records,
            images=run.images,
            aggregation=config.aggregation,
            temperature=config.temperature,
            batch_size=batch_size,
        )
    return scores


def _write_scores(path: Path, scores: Scores) -> None:
    path.parent.mkdir(exist_ok=True)
    rounded = {name: [[round(value, 6) for value in row] for row in rows] for name, rows in scores.items()}
    write_atomically(path, json.dumps(rounded) + "\n")


def _candidate_scores(records: list[CandidateRecord], *paths: Path | None) -> CandidateScores:
    scores: dict[str, Any] = {}
    for path in paths:
        if path is not None:
            scores |= json.loads(path.read_text(encoding="utf-8"))
    return CandidateScores(
        correct=np.array(
            [[bool(candidate.correct) for candidate in record.candidates] for record in records]
        ),
        answers=[[candidate.final_answer for candidate in record.candidates] for record in records],
        scores=scores,
    )
