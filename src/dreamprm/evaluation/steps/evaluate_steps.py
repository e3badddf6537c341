"""`dreamprm evaluate-steps`: scored step records in, one folder of tables and plots out."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from dreamprm.config.errors import DataError, UserError, nearest
from dreamprm.config.loading import versions
from dreamprm.data.read_report import OnError, Tolerance
from dreamprm.data.step_scores import probability
from dreamprm.evaluation.bootstrap import Estimate
from dreamprm.evaluation.given_names import first_row, scorers_of
from dreamprm.evaluation.steps.development import Parts, other_records, set_subset_apart, split_questions
from dreamprm.evaluation.steps.first_errors import FIGURES, GUESSES, predict_first_errors
from dreamprm.evaluation.steps.mr_score import MR_FIGURES, mr_scores
from dreamprm.evaluation.steps.page import page
from dreamprm.evaluation.steps.reader import StepFile, read_scored_steps
from dreamprm.evaluation.steps.scored_steps import ScoredSteps
from dreamprm.evaluation.steps.settings import EvaluateStepsConfig
from dreamprm.evaluation.steps.step_f1 import (
    OVER_DOMAINS,
    STEP_FIGURES,
    StepThreshold,
    best_threshold,
    step_f1,
)
from dreamprm.evaluation.steps.step_figures import (
    Bootstrap,
    Threshold,
    auc_figures,
    calibration_figures,
    choose_thresholds,
    development_counts,
    differences,
    first_error_figures,
    subset_counts,
    with_mean,
)
from dreamprm.evaluation.steps.wording import shown_scope
from dreamprm.files.append_only import checked_text
from dreamprm.files.atomic import atomic_folder, remove_ended, save_config
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.distinct import require_distinct
from dreamprm.files.locks import owned_path

RESULT = "steps.json"


def run_evaluate_steps(config: EvaluateStepsConfig) -> None:
    """Evaluate every scorer on every subset; write steps.json, steps.md, config.yaml, curves and plots.

    Raises:
        UserError: the output folder is not empty, or the settings do not fit the files.
        DataError: a bad record.
    """
    output = Path(config.output)
    _check_output(output, overwrite=config.overwrite)
    require_folder(output)
    require_folder(output.parent, "the folder of output")  # where it appears as a whole
    with owned_path(output):
        _evaluate_steps(config, output)


def _evaluate_steps(config: EvaluateStepsConfig, output: Path) -> None:
    remove_ended(output.parent, re.compile(re.escape(output.name)))
    require_distinct(config.files.values(), "files")
    _check_named_scorers(config)
    files = {name: _read(config, path) for name, path in config.files.items()}
    _check_scorers(config, files)
    subsets = {name: file.steps for name, file in files.items()}
    parts = _parts(config, subsets)
    thresholds = _thresholds(config, parts)
    result = evaluate(config, subsets, parts, thresholds)
    result["left_out"] = {
        name: {
            "whole_response_scorers": list(file.whole_response),
            "bad_records": file.report.bad,
            "reasons": file.report.left_out,
        }
        for name, file in files.items()
        if file.whole_response or file.report.bad
    }
    with atomic_folder(output) as folder:
        text = json.dumps(result, indent=2, allow_nan=False)
        (folder / RESULT).write_text(checked_text(text), encoding="utf-8")
        (folder / "steps.md").write_text(page(result), encoding="utf-8")
        (folder / "development_curves.csv").write_text(_curves_csv(thresholds), encoding="utf-8")
        save_config(folder / "config.yaml", config)
        _plot(folder / "plots", result, thresholds)
    print(page(result))
    print(f"Written to {output}: {RESULT}, steps.md, development_curves.csv, plots/")


def evaluate(
    config: EvaluateStepsConfig,
    subsets: Mapping[str, ScoredSteps],
    parts: Parts,
    thresholds: Mapping[str, Threshold],
) -> dict[str, Any]:
    """All figures, as JSON values."""
    bootstrap = Bootstrap(config.seed, config.resamples, config.level)
    scores = first_error_figures(parts, thresholds, bootstrap) if thresholds else {}
    by_figure = {
        figure: {
            name: with_mean({subset: getattr(one, figure) for subset, one in by_subset.items()}, parts.apart)
            for name, by_subset in scores.items()
        }
        for figure in FIGURES
    }
    aucs = {
        scorer: {
            scope: {kind: with_mean(subset, parts.apart) for kind, subset in kinds.items()}
            for scope, kinds in scopes.items()
        }
        for scorer, scopes in auc_figures(parts, bootstrap).items()
    }
    result: dict[str, Any] = {
        "settings": {
            "seed": config.seed,
            "resamples": config.resamples,
            "level": config.level,
            "label_threshold": config.label_threshold,
            "scope": config.scope,
            "threshold_chosen_on": config.threshold.chosen_on,
            "development_subset": parts.apart,
        },
        "scorers": list(next(iter(subsets.values())).log_odds),
        "subsets": subset_counts(subsets, parts),
        "development": development_counts(parts),
        "thresholds": {name: threshold.to_json() for name, threshold in thresholds.items()},
        "first_error": {figure: _json(names, bootstrap) for figure, names in by_figure.items()},
        "step_f1": _step_f1(config, parts, bootstrap),
        "mr_score": _mr_score(parts, thresholds, bootstrap),
        "auc": _json(aucs, bootstrap),
        "calibration": calibration_figures(parts, bootstrap, bins=config.bins),
    }
    if config.baseline is not None:
        compared = {figure: {name: names[name] for name in thresholds} for figure, names in by_figure.items()}
        compared |= {
            f"auc_{kind}": {name: scopes["up_to_first_error"][kind] for name, scopes in aucs.items()}
            for kind in ("pooled", "per_record")
        }
        result["differences"] = {"baseline": config.baseline} | {
            figure: _json(differences(names, config.baseline), bootstrap)
            for figure, names in compared.items()
            if names
        }
    result["versions"] = versions()
    return result


def _step_f1(config: EvaluateStepsConfig, parts: Parts, bootstrap: Bootstrap) -> dict[str, Any]:
    """Step F1s by figure, scorer and subset, with their means; those of domains; and the thresholds."""
    without = config.step_f1_without
    known = [steps for steps in parts.test.values() if (~np.isnan(steps.right)).any()]
    if not known or (parts.development is None and config.threshold.value is None):
        return {}
    if parts.development is None:
        assert config.threshold.value is not None
        given = math.log(config.threshold.value / (1 - config.threshold.value))
        thresholds = {name: StepThreshold(given) for name in known[0].log_odds}
    else:
        thresholds = {
            name: best_threshold(parts.development, name, without=without) for name in known[0].log_odds
        }
    found = step_f1(parts, thresholds, bootstrap, without=without)
    by_figure = {
        figure: {
            scorer: with_mean({name: one[figure] for name, one in subsets.items()}, parts.apart)
            for scorer, subsets in found["subsets"].items()
        }
        for figure in (*STEP_FIGURES, *OVER_DOMAINS)
    }
    return {
        "thresholds": {name: one.to_json() for name, one in thresholds.items()},
        "without": list(without),
        "figures": _json(by_figure, bootstrap),
        "domains": _json(found["domains"], bootstrap),
        "pooled": _json(found["pooled"], bootstrap),
    }


def _mr_score(parts: Parts, thresholds: Mapping[str, Threshold], bootstrap: Bootstrap) -> dict[str, Any]:
    """MR-Ben's figures by figure, scorer and subset, with their means over subsets."""
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for index, (subset, steps) in enumerate(parts.test.items()):
        if not steps.judged.any():
            continue
        draws = bootstrap.draws(steps.question_numbers[1], index)
        for name, threshold in thresholds.items():
            figures = mr_scores(predict_first_errors(steps, name, threshold.log_odds), steps, draws)
            for figure, estimate in figures.items():
                found.setdefault(figure, {}).setdefault(name, {})[subset] = estimate
    by_figure = {
        figure: {name: with_mean(subsets, parts.apart) for name, subsets in found[figure].items()}
        for figure in MR_FIGURES
        if figure in found
    }
    return dict(_json(by_figure, bootstrap))


def _json(value: Any, bootstrap: Bootstrap) -> Any:
    """Estimates in nested mappings as JSON values."""
    if isinstance(value, Mapping):
        return {name: _json(part, bootstrap) for name, part in value.items()}
    return value.to_json(bootstrap.level)


def _read(config: EvaluateStepsConfig, path: str) -> StepFile:
    file = read_scored_steps(
        path,
        scorers=config.scorers,
        label_threshold=config.label_threshold,
        tolerance=Tolerance(cast(OnError, config.on_error), config.max_bad_fraction),
    )
    for line in file.report.lines():
        print(f"{path}: {line}")
    if file.whole_response:
        print(f"{path}: left out, since they give one value per response: {', '.join(file.whole_response)}")
    return file


def _check_named_scorers(config: EvaluateStepsConfig) -> None:
    """Before the files are read as a whole: every record has the scorers of the first."""
    for path in config.files.values():
        there = scorers_of(first_row(path))
        if there is None:
            continue
        for name in (one for one in config.scorers if one not in there):
            raise UserError(
                f"{path}: no scores of {name!r}{nearest(name, there)}; the scorers are "
                f"{', '.join(there) or 'none'}"
            )
        if config.baseline is not None and config.baseline not in there:
            near = nearest(config.baseline, there)
            raise UserError(f"baseline must be one of {', '.join(there)}, got {config.baseline!r}{near}")


def _check_scorers(config: EvaluateStepsConfig, files: Mapping[str, StepFile]) -> None:
    names = {subset: list(file.steps.log_odds) for subset, file in files.items()}
    first = next(iter(names))
    for subset, scorers in names.items():
        if set(scorers) != set(names[first]):
            raise UserError(
                f"all subsets need the same scorers: {first} has {', '.join(names[first])}, {subset} has"
                f" {', '.join(scorers)}; name those that all have (scorers=[...])"
            )
    guesses = [name for name in names[first] if name in GUESSES]
    if guesses:
        raise UserError(
            f"a scorer may not be named {guesses[0]!r}: a guess has that name; rename it in the"
            " files, or leave it out (scorers=[...])"
        )
    if config.baseline is not None and config.baseline not in names[first]:
        raise UserError(f"baseline must be one of {', '.join(names[first])}, got {config.baseline!r}")


def _parts(config: EvaluateStepsConfig, subsets: Mapping[str, ScoredSteps]) -> Parts:
    threshold = config.threshold
    if threshold.chosen_on == "nothing" or all(np.isnan(steps.right).all() for steps in subsets.values()):
        return Parts(None, subsets)
    if threshold.chosen_on == "split":
        return split_questions(subsets, fraction=threshold.fraction, seed=config.seed)
    if threshold.chosen_on == "subset":
        assert threshold.subset is not None
        return set_subset_apart(subsets, threshold.subset)
    assert threshold.file is not None
    development = _read(config, threshold.file).steps
    missing = set(next(iter(subsets.values())).log_odds) - set(development.log_odds)
    if missing:
        raise DataError(
            f"{threshold.file}: holds no scores of {', '.join(sorted(missing))}, whose threshold is to be"
            " chosen on it; score it with them too"
        )
    return other_records(subsets, development, threshold.file)


def _thresholds(config: EvaluateStepsConfig, parts: Parts) -> dict[str, Threshold]:
    if not any(steps.judged.any() for steps in parts.test.values()):
        return {}
    value = config.threshold.value
    return choose_thresholds(parts, None if value is None else math.log(value / (1 - value)))


def _check_output(output: Path, *, overwrite: bool) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"output is a file: {output}; name a folder")
    if any(output.iterdir()):
        if not (output / RESULT).is_file():
            raise UserError(
                f"output {output} holds something other than a step evaluation; name another folder"
            )
        if not overwrite:
            raise UserError(
                f"output {output} holds a step evaluation; name another folder, or set overwrite=true"
            )


def _curves_csv(thresholds: Mapping[str, Threshold]) -> str:
    """F1 on the development set for every threshold tried, by scorer."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scorer", "threshold_log_odds", "threshold_probability", *FIGURES])
    for name, threshold in thresholds.items():
        if (curve := threshold.curve) is not None:
            columns = [getattr(curve, figure).tolist() for figure in FIGURES]
            for value, *figures in zip(curve.thresholds.tolist(), *columns, strict=True):
                writer.writerow([name, value, probability(value), *figures])
    return text.getvalue()


def _plot(folder: Path, result: Mapping[str, Any], thresholds: Mapping[str, Threshold]) -> None:
    # Imported here: matplotlib takes half a second to import, and reading or rejecting files does not need
    # it.
    from dreamprm.evaluation.plots.steps import reliability_plot, threshold_plot
    from dreamprm.evaluation.plots.style import png

    folder.mkdir()
    figures = {
        "reliability": reliability_plot(
            result["calibration"], scope=shown_scope(result), level=result["settings"]["level"]
        ),
        "development_f1": threshold_plot(
            {
                name: (one.curve.thresholds, one.curve.f1, one.log_odds)
                for name, one in thresholds.items()
                if one.curve is not None
            }
        ),
    }
    for name, figure in figures.items():
        if figure is not None:
            (folder / f"{name}.png").write_bytes(png(figure))
