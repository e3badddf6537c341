"""Runs whose gradients are audited, and runs whose solvers fail: what is logged, shown, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from experiment_scripts import load_script
from tiny_models import tiny_cots, tiny_prm
from tiny_run import TinyRun, trained
from torch.nn.attention import SDPBackend, sdpa_kernel

from dreamprm.config.loading import load_config
from dreamprm.hypergrad import AdamW, build_estimator
from dreamprm.hypergrad.audit import Audit, agreement
from dreamprm.models.weights import DomainWeights, InstanceTable
from dreamprm.training.assembly import assemble
from dreamprm.training.prm_problem import prm_problem
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig
from dreamprm.training.summary import window_summary
from dreamprm.training.throughput import MEASURED

AUDIT = {"audit_cosine", "audit_norm_ratio", "audit_exact", "audit_share"}


def test_an_audited_run_is_the_unaudited_one_with_more_lines(
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, rows, weights = trained(tiny)
    audited, audited_rows, audited_weights = trained(tiny, "hypergrad.audit_every=2", "log.every=1")
    for name in ("params", "alpha"):
        left, right = getattr(plain.state, name), getattr(audited.state, name)
        assert all(torch.equal(left[key], right[key]) for key in left)
    for moments in ("exp_avg", "exp_avg_sq"):
        left, right = getattr(plain.state.inner, moments), getattr(audited.state.inner, moments)
        assert all(torch.equal(left[key], right[key]) for key in left)
    assert audited_weights == weights
    for row, other in zip(rows, audited_rows, strict=True):
        extra = other.keys() - row.keys()
        assert extra == (AUDIT if row["window"] % 2 == 0 else set())
        assert all(other[key] == value for key, value in row.items() if key not in MEASURED)
    shown = capsys.readouterr().err.splitlines()[-4:]
    second, fourth = audited_rows[1], audited_rows[3]
    for line, row in zip(shown, (None, second, second, fourth)):
        note = (
            ""
            if row is None
            else (f"audit cos {row['audit_cosine']:.3f} norm x{row['audit_norm_ratio']:.2f}")
        )
        assert note in line and ("audit" in line) == (row is not None)


def test_the_audit_of_a_run_compares_with_the_exact_gradient(tiny: TinyRun) -> None:
    """The first window's figures, from windows run by hand; sdpa's fused kernels have no second order."""
    # two weights of fixed mean have one direction only: ten have a cosine to measure
    settings = (
        "steps=4",
        "inner_steps=4",
        "weights.kind=instance_table",
        "sampling=mixed",
        "inner.lr=1e-2",
        "hypergrad.audit_every=1",
    )
    audited, (row,), _ = trained(tiny, *settings)
    assert audited.prm.backbone.config.get_text_config()._attn_implementation == "sdpa"
    assert (row["audit_exact"], row["audit_share"]) == ("adjoint", 1.0)

    config = load_config(TrainConfig, tiny.write(), settings)
    run = assemble(config, make_accelerator(config), say=lambda text: None)
    batches = [run.step_batches[step] for step in range(4)]

    def gradient(name: str) -> dict[str, torch.Tensor]:
        return (
            build_estimator(name)
            .run_window(
                run.trainer.problem,
                run.trainer.inner,
                run.state.params,
                run.state.inner,
                run.state.alpha,
                inner_batches=batches,
                outer_batch=run.meta_batches[0],
            )
            .alpha_grad
        )

    estimate = gradient("first_order")
    with sdpa_kernel(SDPBackend.MATH):
        exact = gradient("adjoint")
    assert (row["audit_cosine"], row["audit_norm_ratio"]) == agreement(estimate, exact)
    assert 0.9 < row["audit_cosine"] < 0.999 and row["audit_norm_ratio"] < 0.9


def test_summary_and_report_tell_the_audit(tiny: TinyRun) -> None:
    audited = ("hypergrad.audit_every=2", "hypergrad.audit_params=['head.*','*layers.0.mlp*']")
    assert tiny.train(*audited, report=True) == 0
    rows = [row for row in tiny.lines("metrics.jsonl") if "audit_cosine" in row]
    assert len(rows) == 2 and all(0 < row["audit_share"] < 0.5 for row in rows)
    summary = tiny.summary()
    cosines = [row["audit_cosine"] for row in rows]
    assert summary["audit"]["windows"] == 2 and summary["audit"]["exact"] == ["adjoint"]
    assert summary["audit"]["cosine"] == {"median": pytest.approx(sum(cosines) / 2), "least": min(cosines)}
    assert summary["not_converged"] == 0
    page = (tiny.output / "report.html").read_text()
    assert "Audit of the upper gradient" in page and "2 windows" in page
    assert (tiny.output / "plots" / "audit.png").exists()


def test_the_summary_of_windows_by_hand() -> None:
    audits: list[dict[str, Any]] = [
        {"audit_cosine": cosine, "audit_norm_ratio": ratio, "audit_exact": "adjoint", "status": "ok"}
        for cosine, ratio in ((0.5, 2.0), (None, None), (0.75, 0.5), (1.0, 1.25))
    ]
    assert window_summary([*audits, {"status": "not_converged"}, {"status": "ok"}]) == {
        "not_converged": 1,
        "audit": {
            "exact": ["adjoint"],
            "windows": 4,
            "undefined": 1,
            "cosine": {"median": 0.75, "least": 0.5},
            "norm_ratio": {"median": 1.25, "least": 0.5, "most": 2.0},
        },
    }
    assert window_summary([audits[1]]) == {
        "not_converged": 0,
        "audit": {"exact": ["adjoint"], "windows": 1, "undefined": 1},
    }
    assert window_summary([]) == {"not_converged": 0}
    statuses = ("imprecise", "no_gradient", "ok", "imprecise", "diverged")
    assert window_summary([{"status": status} for status in statuses]) == {
        "not_converged": 0,
        "imprecise": 2,
        "no_gradient": 1,
    }


@pytest.mark.parametrize("per_instance", [False, True])
def test_sdpa_gives_eagers_exact_gradient(per_instance: bool) -> None:
    """A Qwen2-VL with images of several sizes (packed vision attention), all of it trained, in float64."""
    results = {}
    with load_script("float64").Float64Inside():
        for attention in ("sdpa", "eager"):
            prm = tiny_prm(dtype=torch.float64, layers=2, vision_layers=2, attn_implementation=attention)
            weights = InstanceTable({"a": range(4)}) if per_instance else DomainWeights(["a", "b"])
            problem, optimizer = prm_problem(prm, weights), AdamW(lr=1e-3)
            params = {name: p.detach() for name, p in prm.trainable_params().items()}
            alpha = {name: value.double() for name, value in weights.init().items()}
            *inner, outer = (_batch(prm, seed) for seed in range(3))
            results[attention] = Audit(every=1).compare(
                build_estimator("unrolled") if attention == "eager" else build_estimator("first_order"),
                problem,
                optimizer,
                params,
                optimizer.init(params),
                alpha,
                inner_batches=inner,
                outer_batch=outer,
            )
            results[attention, "gradient"] = (
                Audit(every=1)
                .exact_window(
                    problem,
                    optimizer,
                    params,
                    optimizer.init(params),
                    alpha,
                    inner_batches=inner,
                    outer_batch=outer,
                )
                .alpha_grad
            )
    (name,) = alpha
    sdpa, eager = (results[attention, "gradient"][name] for attention in ("sdpa", "eager"))
    assert eager.abs().min() > 1e-6
    torch.testing.assert_close(sdpa, eager, rtol=1e-9, atol=1e-13)
    assert results["eager"].cosine == pytest.approx(1.0, abs=1e-12)
    assert results["sdpa"].message == ""


def _batch(prm: Any, seed: int) -> dict[str, Any]:
    cots = tiny_cots(4, seed=seed)
    cot = torch.repeat_interleave(torch.arange(4), torch.tensor([len(steps) for *_, steps in cots]))
    labels = torch.rand(len(cot), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return {
        "inputs": prm.processor.collate([prm.processor.encode(*cot) for cot in cots]),
        "labels": labels,
        "group": cot % 2,
        "domains": torch.tensor([0, 1]),
        "cot": cot,
        "cots": torch.arange(4),
        "cot_domains": torch.arange(4) % 2,
        "correct": torch.tensor([1.0, 0.0, 0.0, 1.0]).double(),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("hypergrad.audit_params=[nothing.*]",),
            "hypergrad.audit_params: the audit's pattern 'nothing.*' matches no parameter; "
            "names are such as ",
        ),
        (
            ("hypergrad.name=none",),
            "hypergrad: audit_every=1 compares an estimator's gradient, but name=none has",
        ),
    ],
)
def test_an_audit_that_cannot_be_is_refused_before_the_first_step(
    settings: tuple[str, ...],
    message: str,
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tiny.train("hypergrad.audit_every=1", *settings) == 2
    assert message in capsys.readouterr().err
    assert not tiny.output.exists()


def test_attention_without_second_order_is_refused(
    tiny: TinyRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # the kernels of flash_attention_2 need a GPU; what it is asked for is its name
    monkeypatch.setattr("dreamprm.models.prm.attention_in_use", lambda backbone: {"flash_attention_2"})
    assert tiny.train("hypergrad.audit_every=1") == 2
    message = capsys.readouterr().err
    assert "hypergrad.audit_every=1 takes gradients of gradients" in message
    assert "set model.attn_implementation=sdpa" in message
    assert not tiny.output.exists()


def test_a_solver_that_stops_short_is_counted_and_told_once(
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = (
        "hypergrad.name=cg",
        "hypergrad.max_iterations=1",
        "hypergrad.damping=100",
        "hypergrad.tolerance=1e-12",
    )
    assert tiny.train(*short) == 0
    rows = tiny.lines("metrics.jsonl")
    assert [row["status"] for row in rows] == ["not_converged"] * 4
    assert tiny.summary()["not_converged"] == 4 and all(0.9 < row["residual"] <= 1 for row in rows)
    shown = capsys.readouterr().err
    assert shown.count("Training goes on") == 1 and "max_iterations" in shown


def test_a_solver_that_diverges_stops_the_run(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.train("hypergrad.name=neumann", "hypergrad.step=1e6", "checkpoint.every=1") == 2
    message = capsys.readouterr().err
    assert "step 2: " in message and "step" in message and "overwrite=true" in message
    assert not Path(tiny.output / "checkpoints").exists() and not (tiny.output / "model").exists()
