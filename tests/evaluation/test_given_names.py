"""Misspelt names are met in the first records, before the rest is read or a judge is asked."""

from __future__ import annotations

import pytest
from scored_candidates import random_records, write

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.evaluation.evaluate import run_evaluate
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.evaluation.steps.evaluate_steps import run_evaluate_steps
from dreamprm.evaluation.steps.settings import EvaluateStepsConfig

DEVELOPMENT = ("development.d={a}", "checkpoints={{x: [vanila]}}")


def evaluate(tmp_path, schema, run, *settings):
    """A run on a file of a good record, and one that is none."""
    path = tmp_path / "a.jsonl"
    lines = random_records(0, questions=1)
    steps = {"question": "q", "steps": ["a"], "labels": [1], "scores": {"dreamprm": {"log_odds": [1.0]}}}
    write(path, lines if schema is EvaluateConfig else [steps])
    path.write_text(path.read_text() + '{"question": 7}\n')
    given = [setting.format(a=path) for setting in settings]
    run(load_config(schema, None, [*given, f"output={tmp_path / 'out'}"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["scorers=[dreamrpm]"], "no suite holds scores of 'dreamrpm', did you mean 'dreamprm'"),
        (["aggregations.vanila=min"], "no suite holds scores of 'vanila', did you mean 'vanilla'"),
        (
            ["compare=[{{method: dreamprm, baseline: majorty}}]"],
            "compare names 'majorty', did you mean 'majority'",
        ),
        (
            ["compare=[{{method: dreamprm, baseline: weighted_vanilla}}]", "weighted=false"],
            "compare names 'weighted_vanilla'",
        ),
        (
            ["examples.pairs=[{{method: dreamprm, baseline: frist}}]"],
            "examples.pairs names 'frist', did you mean 'first'",
        ),
        (list(DEVELOPMENT), "checkpoints.x names 'vanila', did you mean 'vanilla'"),
    ],
)
def test_names_come_before_the_records(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        evaluate(tmp_path, EvaluateConfig, run_evaluate, "suites.a={a}", *settings)
    assert not (tmp_path / "out").exists()


def test_good_names_are_no_reason_to_stop(tmp_path):
    good = "compare=[{{method: dreamprm, baseline: best_generator}}]"  # known when all candidates are
    with pytest.raises(DataError, match="a.jsonl:2"):
        evaluate(tmp_path, EvaluateConfig, run_evaluate, "suites.a={a}", good, "scorers=[dreamprm]")
    with pytest.raises(UserError, match="missing.jsonl"):
        evaluate(tmp_path, EvaluateConfig, run_evaluate, "suites.a=missing.jsonl", "scorers=[typo]")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scorers=[dreamrpm]", "a.jsonl: no scores of 'dreamrpm', did you mean 'dreamprm'"),
        ("baseline=dreamrpm", "baseline must be one of dreamprm, got 'dreamrpm', did you mean 'dreamprm'"),
    ],
)
def test_scorers_of_steps_too(tmp_path, setting, message):
    with pytest.raises(UserError, match=message):
        evaluate(tmp_path, EvaluateStepsConfig, run_evaluate_steps, "files.a={a}", setting)
    with pytest.raises(DataError, match="a.jsonl:2"):
        evaluate(tmp_path, EvaluateStepsConfig, run_evaluate_steps, "files.a={a}", "scorers=[dreamprm]")
