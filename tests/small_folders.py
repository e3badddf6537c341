"""The files of a run, an evaluation and a step evaluation in miniature: all parts that a report reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_ENDS = [0.25, 0.75]
_SELECTORS = ("random", "majority", "vanilla", "dreamprm", "oracle")
_PLACES = ("a", "b", "mean")


def _by_selector(value: Any) -> dict[str, Any]:
    return {selector: dict.fromkeys(_PLACES, value) for selector in _SELECTORS}


ACCURACIES: Mapping[str, Any] = {
    "best_of_n": _by_selector(0.5),
    "intervals": _by_selector(_ENDS),
    "accuracy_by_n": _by_selector({"1": 0.4, "4": 0.5}),
    "intervals_by_n": _by_selector({"1": _ENDS, "4": _ENDS}),
}

SUMMARY: Mapping[str, Any] = {
    "name": "run",
    "seed": 0,
    "steps": 10,
    "seconds": 3.5,
    "estimator": "first_order",
    "weights": {"charts": 1.5, "tables": 0.5},
    "quality": {"charts": 0.9, "tables": 0.1},
    "generator_accuracy": {"charts": 0.6, "tables": 0.4},
    "spearman": 1.0,
    "weight_ratio": 3.0,
    "shifted_suites": ["b"],
    "differences": {"dreamprm-vanilla": {"a": [0.1, 0.0, 0.2], "mean": [0.1, 0.0, 0.2]}},
    "vanilla_source": "live",
    "targets": {"gain": {"target": 0.1, "measured": 0.2, "met": True}},
    "targets_met": True,
    "warnings": [{"kind": "zero_gradient", "step": 5, "message": "the gradient is 0"}],
    "notes": ["a note"],
    "audit": {
        "exact": ["adjoint"],
        "windows": 2,
        "undefined": 0,
        "cosine": {"median": 0.9, "least": 0.8},
        "norm_ratio": {"median": 1.1, "least": 1.0, "most": 1.2},
    },
    "suite_files": {"a": "a.jsonl"},
    **ACCURACIES,
}

METRICS = [
    {
        "step": step,
        "status": status,
        "inner_loss": 0.5,
        "meta_loss": 0.25,
        "lm_loss": 2.0,
        "audit_cosine": 0.9,
        "audit_norm_ratio": 1.1,
    }
    for step, status in ((5, "ok"), (10, "nonfinite"))
]

_FIGURE = {"accuracy": 0.5, "interval": _ENDS}
_SUITE = {"questions": 10, "candidates": {"4": 10}, "files": ["a.jsonl"]}
_COUNTS = {"both_right": 4, "method_only": 1, "baseline_only": 1, "both_wrong": 4, "unclear": 0}

EVALUATION: Mapping[str, Any] = {
    "suites": {"a": _SUITE, "b": {**_SUITE, "candidates": {"2": 4, "4": 6}}},
    "development": {"dev": _SUITE},
    "seed": 0,
    "resamples": 200,
    "level": 0.95,
    "mean_over": ["a", "b"],
    **ACCURACIES,
    "differences": [
        {
            "method": "dreamprm",
            "baseline": baseline,
            "suite": place,
            "difference": 0.1,
            "interval": [-0.1, 0.3],
            "better": 3,
            "worse": 2,
            "p": 0.02,
            "test": "mcnemar",
            "p_holm": 0.04,
            "significant": True,
        }
        for baseline in ("majority", "vanilla")
        for place in _PLACES
    ],
    "generators": {
        "a": {
            "accuracy": {"m0": {**_FIGURE, "questions": 10}, "m1": {**_FIGURE, "questions": 9}},
            "best": {"name": "m0", "chosen_on": "test"},
        },
        "b": {"accuracy": {}, "best": None},
    },
    "aggregations": {
        "vanilla": {"aggregation": "mean", "chosen": "development", "development": {"mean": _FIGURE}},
        "dreamprm": {"aggregation": "sum_log_odds", "chosen": "fixed"},
    },
    "checkpoints": {
        "dreamprm": {"picked": "s10", "development": {"s10": {"aggregation": "mean", **_FIGURE}}}
    },
    "examples": [{"suite": "a", "method": "dreamprm", "baseline": "vanilla", **_COUNTS}],
    "notes": ["a has 10 questions"],
}


def _picked(index: int, *, correct: bool) -> dict[str, Any]:
    scores = {name: {"log_odds": [0.5, -1.0], "aggregate": -0.5} for name in ("vanilla", "dreamprm")}
    return {
        "index": index,
        "steps": ["First $x$.", "Then 4."],
        "final_answer": "4",
        "correct": correct,
        "generator": None,
        "scores": scores,
    }


EXAMPLE: Mapping[str, Any] = {
    "suite": "a",
    "id": "q1",
    "method": "dreamprm",
    "baseline": "vanilla",
    "right": "dreamprm",
    "counts": _COUNTS,
    "question": "How many?",
    "options": ["3", "4"],
    "answer": "B",
    "images": ["0123456789abcdef.png"],
    "images_missing": [{"path": "x.png", "reason": "no such file"}],
    "picked": [_picked(0, correct=True), _picked(2, correct=False)],
    "picks": {"dreamprm": [0], "vanilla": [2, 3], "majority": [0, 1], "random": None},
    "candidates": 4,
}

_ESTIMATE = {"value": 0.5, "low": 0.25, "high": 0.75}
_GAP = {"value": -0.1, "low": -0.3, "high": 0.1, "undefined_resamples": 2}
_ROW = {"math": _ESTIMATE, "gsm8k": None, "mean": _ESTIMATE}
_CURVE = {
    "ece": _ESTIMATE,
    "bins": [{"steps": 4, "probability": 0.5, "label": 0.4, "low": 0.2, "high": 0.6}],
    "ece_if_calibrated": {"mean": 0.03, "high": 0.05},
}
_CALIBRATED = {
    "steps": 4,
    "mean_label": 0.4,
    "mean_probability": 0.5,
    "brier": _ESTIMATE,
    "base_rate_brier": 0.2,
    "equal_mass": _CURVE,
    "equal_width": {**_CURVE, "ece_if_calibrated": None},
}
_SUBSET = {"labels": "hard", "records": 9, "erroneous": 4, "correct": 5, "labelled_steps": 20}

STEPS: Mapping[str, Any] = {
    "settings": {
        "seed": 0,
        "resamples": 200,
        "level": 0.95,
        "label_threshold": None,
        "scope": "up_to_first_error",
        "threshold_chosen_on": "subset",
        "development_subset": "gsm8k",
    },
    "subsets": {"math": _SUBSET, "gsm8k": _SUBSET},
    "development": {"records": 9, "questions": 9, "erroneous": 4, "correct": 5},
    "thresholds": {
        "dreamprm": {
            "probability": 0.5,
            "log_odds": 0.0,
            "development": {
                "thresholds_tried": 2,
                "f1": 0.5,
                "error_accuracy": 0.5,
                "correct_accuracy": 0.5,
            },
        }
    },
    "first_error": {
        figure: {"dreamprm": _ROW, "blind": _ROW} for figure in ("f1", "error_accuracy", "correct_accuracy")
    },
    "auc": {"dreamprm": {"all": {"pooled": _ROW, "per_record": _ROW}}},
    "calibration": {"dreamprm": {"up_to_first_error": {"math": _CALIBRATED}, "all": {}}},
    "differences": {"baseline": "vanilla", "f1": {"dreamprm": {"math": _GAP, "gsm8k": None}}},
    "left_out": {"math": {"whole_response_scorers": ["orm"], "bad_records": 1, "reasons": ["m.jsonl:3"]}},
}


def _lines(*rows: Mapping[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


FOLDERS: Mapping[str, Mapping[str, bytes]] = {
    "run": {
        "summary.json": json.dumps(SUMMARY).encode(),
        "metrics.jsonl": _lines(*METRICS),
        "domain_weights.jsonl": _lines(
            {"step": 5, "weights": {"charts": 1.25, "tables": 0.75}},
            {"step": 10, "weights": {"charts": 1.5, "tables": 0.5}},
        ),
        "config.yaml": b"name: run\nseed: 0\ndata:\n  train: [{path: seed0/a.jsonl}]\n",
    },
    "evaluation": {
        "evaluation.json": json.dumps(EVALUATION).encode(),
        "examples.jsonl": _lines(EXAMPLE),
    },
    "steps": {
        "steps.json": json.dumps(STEPS).encode(),
        "development_curves.csv": (
            b"scorer,threshold_log_odds,threshold_probability,f1,error_accuracy,correct_accuracy\n"
            b"dreamprm,0.0,0.5,0.5,0.5,0.5\ndreamprm,1.0,0.73,0.25,0.2,0.3\n"
        ),
    },
}
"""By kind: the files that a report reads, by name."""
