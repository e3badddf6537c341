"""A window that is not finite: skipped as if it had not been, or the end of the run, with a way out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_run import TinyRun
from torch import Tensor

from dreamprm.config.errors import UserError
from dreamprm.hypergrad import AdamW, BilevelProblem, Status, build_estimator
from dreamprm.hypergrad.inner_optimizer import InnerOptimizer
from dreamprm.hypergrad.sgd import SGD
from dreamprm.training.bilevel import BilevelState, BilevelTrainer, Params
from dreamprm.training.checkpoint import is_finite, save_checkpoint
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.train import require_finite, way_out

STEPS = 2
# Of several windows; inf in one batch makes a loss, a gradient and then the parameters NaN.
GOOD = list(torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
BAD = torch.full((3,), math.inf, dtype=torch.float64)


def trainer(
    estimator: str = "first_order", inner: InnerOptimizer | None = None, **changes: Any
) -> BilevelTrainer:
    def losses(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return (params["w"] * batch - 1) ** 2

    problem = BilevelProblem(
        outer_loss=lambda params, alpha, batch: losses(params, batch).mean(),
        inner_losses=losses,
        weights=lambda alpha, batch, values: alpha["raw"].exp(),
    )
    upper = AdamW(lr=0.1, weight_decay=0.0)
    parts = {"estimator": build_estimator(estimator), "inner": inner or AdamW(lr=0.1), "upper": upper}
    return BilevelTrainer(problem, **{**parts, "inner_steps": STEPS, "skip_nonfinite": True, **changes})


def start(one: BilevelTrainer) -> BilevelState:
    params = {"w": torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)}
    assert one.upper is not None
    return BilevelState.start(
        params, {"raw": torch.zeros(3, dtype=torch.float64)}, inner=one.inner, upper=one.upper
    )


def run(one: BilevelTrainer, state: BilevelState, inner: list[Tensor], outer: list[Tensor]) -> list[Any]:
    return list(one.run(state, inner_batches=iter(inner), outer_batches=iter(outer), windows=len(outer)))


def tensors(state: BilevelState) -> list[Tensor]:
    kinds = [state.params, state.alpha, *state.inner.moments.values(), *state.upper.moments.values()]
    return [tensor.detach().clone() for group in kinds for tensor in group.values()]


@pytest.mark.parametrize("estimator", ["first_order", "adjoint", "unrolled", "none"])
@pytest.mark.parametrize("inner", [AdamW(lr=0.1), SGD(lr=0.05, momentum=0.9)], ids=["adamw", "sgd"])
@pytest.mark.parametrize("where", ["inner", "outer"])
def test_what_follows_is_as_if_it_had_not_been(where: str, inner: InnerOptimizer, estimator: str) -> None:
    """Bit for bit: a run whose second window is bad ends like a run without that window."""
    one = trainer(estimator, inner)
    with_bad, without = start(one), start(one)
    middle = ([GOOD[2], BAD], [GOOD[9]]) if where == "inner" else ([GOOD[2], GOOD[3]], [BAD])
    windows = run(one, with_bad, [*GOOD[:2], *middle[0], *GOOD[4:6]], [GOOD[8], *middle[1], GOOD[10]])
    run(one, without, [*GOOD[:2], *GOOD[4:6]], [GOOD[8], GOOD[10]])
    assert [window.status for window in windows] == [Status.ok, Status.nonfinite, Status.ok]
    assert with_bad.skipped == STEPS and without.skipped == 0
    assert (
        with_bad.inner.step == without.inner.step == 2 * STEPS and with_bad.upper.step == without.upper.step
    )
    for left, right in zip(tensors(with_bad), tensors(without), strict=True):
        assert torch.equal(left, right) and left.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"upper": AdamW(lr=1e308, weight_decay=1.0)},
            "the upper step makes alpha NaN or infinite; lower upper.lr",
        ),
        ({"problem_of": lambda alpha: "weights are NaN"}, "weights are NaN"),
    ],
)
@pytest.mark.parametrize("skip", [True, False])
def test_alpha_is_checked_after_the_upper_step(
    skip: bool, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trainer(skip_nonfinite=skip, **changes)
    state = start(one)
    state.alpha = {"raw": torch.full((3,), 2.0, dtype=torch.float64)}  # decays by its size times lr
    before = tensors(state)
    (window,) = run(one, state, GOOD[:2], GOOD[8:9])
    assert (window.status, window.message) == (Status.nonfinite, message)
    assert state.alpha["raw"].tolist() == [2, 2, 2] and state.upper.step == 0
    same = [torch.equal(left, right) for left, right in zip(before, tensors(state), strict=True)]
    assert all(same) == skip


def test_the_advice_names_a_checkpoint_that_is_finite(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)

    def save(step: int, value: float) -> Path:
        return save_checkpoint(
            folder.checkpoints, step, tensors={"alpha/raw": torch.tensor([value])}, state={}, keep=9
        )

    assert way_out(folder).startswith("No checkpoint was saved before; start anew")
    save(2, math.nan)
    assert way_out(folder).startswith("No checkpoint before it is finite; start anew")
    good = save(4, 1.0)
    damaged = save(8, 1.0)
    assert not is_finite(save(6, math.inf)) and is_finite(good)
    (damaged / "tensors.safetensors").write_bytes(b"")
    assert f"resume={good}," in way_out(folder)


Spoil = Callable[[TinyRun], Any]


def test_a_step_size_that_ruins_the_weights_ends_the_run(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """upper.lr=1e30 ended with weights of NaN, status ok and code 0, and a model was written."""
    tiny.config["weights"] = {"normalisation": "none"}  # weights start at 1, and decay by their size times lr
    assert tiny.train("upper.lr=3e38", "upper.weight_decay=1") == 2
    told = capsys.readouterr().err
    assert "the upper step makes" in told and "lower upper.lr" in told and "on_nonfinite=skip" in told
    assert not (tiny.output / "model").exists()


def test_a_step_size_that_leaves_weights_no_way_back_ends_the_run(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """alpha of 1e29 gave weights of 0 and 2 for ever, code 0 and a model."""
    assert tiny.train("upper.lr=1e30") == 2
    told = capsys.readouterr().err
    assert "makes alpha as large as 1e+30, where the weights no longer respond" in told
    assert not (tiny.output / "model").exists()


def test_no_model_is_made_of_a_state_that_is_not_finite(tmp_path: Path) -> None:
    """As older versions have saved it: such a run has no window left that would show it."""

    def run(**changes: Any) -> Any:
        good = {"params": {"w": torch.ones(2)}, "alpha": {"raw": torch.ones(2)}}
        parts = SimpleNamespace(**{**good, **changes})
        return SimpleNamespace(
            state=parts, position=4, named_weights=lambda: {"a": float(parts.alpha["raw"][0])}
        )

    require_finite(run(), RunFolder(tmp_path), run().state.params)
    for changes, name in (
        ({"params": {"w": torch.tensor([1.0, math.nan])}}, r"\(w\)"),
        ({"alpha": {"raw": torch.tensor([math.inf, 1.0])}}, r"\(alpha raw\)"),
    ):
        bad = run(**changes)
        with pytest.raises(UserError, match=rf"step 4: .*{name}, so no model is written\. No checkpoint"):
            require_finite(bad, RunFolder(tmp_path), bad.state.params)


def test_skipped_windows_are_counted_and_a_resumed_run_is_the_same(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three windows is made to be bad, in a run that is then continued from it."""
    run_windows = BilevelTrainer._problem

    def problem(self: BilevelTrainer, alpha: Params, upper: Any) -> str:
        # Of the second window, and of no other: alpha has been stepped once before.
        second = upper.step == 2 and float(alpha["domain_weights"].abs().max()) not in seen
        seen.add(float(alpha["domain_weights"].abs().max()))
        return "made so" if second and len(seen) == 2 else run_windows(self, alpha, upper)

    settings = ("on_nonfinite=skip", "checkpoint.every=1", "steps=6")
    seen: set[float] = set()
    monkeypatch.setattr(BilevelTrainer, "_problem", problem)
    assert tiny.train(*settings) == 0
    rows = tiny.lines("metrics.jsonl")
    assert [(row["step"], row["status"], row.get("skipped", False)) for row in rows] == [
        (2, "ok", False),
        (4, "nonfinite", True),
        (6, "ok", False),
    ]
    weights = tiny.lines("domain_weights.jsonl")
    assert weights[0]["weights"] == weights[1]["weights"] != weights[2]["weights"]
    assert tiny.summary()["skipped_windows"] == 1 and tiny.summary()["steps"] == 6
    assert "made so. The window is skipped" in capsys.readouterr().err
    whole = (tiny.output / "checkpoints" / "step-000006" / "tensors.safetensors").read_bytes()
    for name in ("model", "summary.json", "checkpoints/step-000006"):
        path = tiny.output / name
        path.unlink() if path.is_file() else [one.unlink() for one in path.rglob("*") if one.is_file()]
    (tiny.output / "checkpoints" / "step-000006").rmdir()
    monkeypatch.undo()
    assert tiny.train(*settings) == 0
    assert "continuing" in capsys.readouterr().out
    assert (tiny.output / "checkpoints" / "step-000006" / "tensors.safetensors").read_bytes() == whole
    assert tiny.summary()["skipped_windows"] == 1
    assert [row["status"] for row in tiny.lines("metrics.jsonl")] == ["ok", "nonfinite", "ok"]


def test_too_many_skipped_windows_end_the_run(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.train("inner.lr=1e38", "on_nonfinite=skip", "max_nonfinite=1") == 2
    told = capsys.readouterr().err
    assert "2 windows were not finite, more than max_nonfinite=1 allows" in told
    assert len(tiny.lines("metrics.jsonl")) == 1 and "NaN" not in (tiny.output / "metrics.jsonl").read_text()
