"""The benchmark's workload, rows and measurements on its smallest model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dreamprm.hypergrad import build_estimator
from experiments.benchmarks import memory
from experiments.benchmarks.cases import CASES, PLAIN, VANILLA, Case
from experiments.benchmarks.peers import PEERS
from experiments.benchmarks.worker import agreement, describe, measure_agreement, measure_seconds
from experiments.benchmarks.workload import (
    WARM_STEPS,
    Setting,
    WrittenOutSiLU,
    build_workload,
    domains_of,
    in_micro_batches,
    parameters,
    some_rows,
)

SMALL = Setting(size="tiny", steps=2, kind="mixed")


@pytest.mark.parametrize(("size", "count"), [("1M", 1e6), ("5M", 5e6), ("20M", 20e6)])
def test_the_sizes_have_about_as_many_parameters_as_they_say(size: str, count: float) -> None:
    assert 0.94 * count < parameters(size) < 1.06 * count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "7M"}, "size must be one of tiny, 1M, 5M, 20M, got '7M'"),
        ({"kind": "both"}, "kind must be one of single, mixed, got 'both'"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="model must be one of sdpa, eager, forward_mode, got 'flash'"):
        build_workload(SMALL, model="flash")


def test_every_variant_starts_from_the_same_numbers_after_warming_up() -> None:
    first, *others = (build_workload(SMALL, model=model) for model in ("sdpa", "eager", "forward_mode"))
    assert first.state.step == WARM_STEPS
    assert sum(p.numel() for p in first.params.values()) == parameters("tiny")
    losses = []
    for workload in (first, *others):
        batch = workload.inner_batches[0]
        assert torch.equal(batch["inputs"]["input_ids"], first.inner_batches[0]["inputs"]["input_ids"])
        losses.append(workload.problem.inner_losses(workload.params, batch))
        assert losses[-1].shape == (4,)
    # kernels differ, and the warm-up's five steps at 5e-7 with them: float32 rounding of losses near 1
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-5, atol=1e-6)


def test_single_batches_go_through_the_domains() -> None:
    assert [domains_of("single", step) for step in range(5)] == [[0], [1], [2], [3], [0]]
    assert domains_of("mixed", 3) == [0, 1, 2, 3]
    workload = build_workload(dataclasses.replace(SMALL, kind="single"))
    assert [batch["domains"].tolist() for batch in workload.inner_batches] == [[0], [1]]


@pytest.mark.parametrize("kind", ["single", "mixed"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_micro_batches_have_the_losses_and_the_gradient_of_the_batch(kind: str, count: int) -> None:
    workload = build_workload(dataclasses.replace(SMALL, kind=kind), model="eager", dtype=torch.float64)
    problem, batch = in_micro_batches(workload.problem, count), workload.inner_batches[0]
    assert len(problem.parts(batch)) == len(problem.outer_parts(workload.outer_batch)) > 1
    problem.check_split(workload.params, workload.alpha, batch, workload.outer_batch, tolerance=1e-12)
    whole, in_parts = (
        build_estimator("adjoint").run_window(
            each,
            workload.optimizer,
            workload.params,
            workload.state,
            workload.alpha,
            inner_batches=workload.inner_batches,
            outer_batch=workload.outer_batch,
        )
        for each in (workload.problem, problem)
    )
    for name, grad in whole.alpha_grad.items():
        torch.testing.assert_close(in_parts.alpha_grad[name], grad, rtol=1e-10, atol=0.0)


def test_rows_of_a_batch_keep_their_steps_domains_and_labels() -> None:
    batch = build_workload(SMALL).inner_batches[0]
    part = some_rows(batch, torch.tensor([1, 3]))
    assert part["domains"].tolist() == [1, 3] and part["group"].tolist() == [0] * 5 + [1] * 5
    assert torch.equal(part["labels"], batch["labels"].reshape(4, 5)[[1, 3]].flatten())
    assert torch.equal(part["inputs"]["input_ids"], batch["inputs"]["input_ids"][[1, 3]])
    assert part["inputs"]["step_rows"].tolist() == part["cot"].tolist() == [0] * 5 + [1] * 5
    assert torch.equal(part["correct"], batch["correct"][[1, 3]])


def test_written_out_silu_is_silu() -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(WrittenOutSiLU()(x), torch.nn.functional.silu(x), rtol=1e-14, atol=1e-15)


def test_plain_training_takes_the_estimators_steps_and_leaves_the_workload_alone() -> None:
    workload = build_workload(SMALL)
    before = {name: p.clone() for name, p in workload.params.items()}
    assert CASES[PLAIN].prepare(workload)().alpha_grad == {}
    assert all(torch.equal(p, before[name]) for name, p in workload.params.items())
    CASES[VANILLA].prepare(workload, consume=True)()  # the same steps, without the meta pass
    window = build_estimator("none").run_window(
        workload.problem,
        workload.optimizer,
        before,
        build_workload(SMALL).state,
        workload.alpha,
        inner_batches=workload.inner_batches,
        outer_batch=workload.outer_batch,
    )
    assert all(torch.equal(p, window.params[name]) for name, p in workload.params.items())


def test_rows_run_on_fused_attention_where_they_can() -> None:
    assert {name: CASES[name].model for name in (PLAIN, "first_order", "unrolled", "Betty darts")} == {
        PLAIN: "sdpa",
        "first_order": "sdpa",
        "unrolled": "eager",
        "Betty darts": "sdpa",
    }
    assert Case("adjoint", {"derivative": "forward_mode"}).model == "forward_mode"


def test_torchopts_unroll_gives_the_exact_gradient() -> None:
    found = measure_agreement(SMALL, ["unrolled", "TorchOpt unroll"])
    # float32 through 2 steps; TorchOpt's integer step count costs it 3e-5 in the bias correction
    assert found["unrolled"]["relative_error"] < 1e-5
    assert found["TorchOpt unroll"]["relative_error"] < 1e-4


@pytest.mark.filterwarnings("ignore")  # the peers' own
@pytest.mark.parametrize("peer", ["bergson", "bergson, 4 micro-batches"])
def test_bergson_gives_the_exact_gradient(peer: str) -> None:
    found = measure_agreement(dataclasses.replace(SMALL, steps=5), [peer])[peer]
    if "not installed" in found.get("error", ""):
        pytest.skip(found["error"])
    assert found["relative_error"] < 1e-4  # as TorchOpt, whose AdamW it runs on


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the peers' own
@pytest.mark.parametrize("peer", [name for name in PEERS if name.startswith(("higher", "Betty"))])
def test_a_peer_gives_a_gradient_or_is_not_installed(peer: str) -> None:
    try:
        run = CASES[peer].prepare(build_workload(SMALL, model=CASES[peer].model))
    except ImportError as error:
        pytest.skip(describe(error))
    grad = run().alpha_grad["domain_weights"]
    assert grad.shape == (4,) and bool(torch.isfinite(grad).all()) and float(grad.abs().sum()) > 0


def test_a_row_that_fails_says_why_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "wrong", Case("unroled"))
    found = measure_seconds(SMALL, [PLAIN, "wrong"], 2)
    assert len(found[PLAIN]["seconds"]) == 2
    assert "did you mean 'unrolled'" in found["wrong"]["error"]


def test_agreement_of_known_vectors() -> None:
    truth = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert agreement(-2 * truth, truth) == {"cosine": pytest.approx(-1), "relative_error": pytest.approx(3)}
    assert agreement(0 * truth, truth) == {"cosine": None, "relative_error": 1.0}


def test_errors_fit_a_line() -> None:
    assert describe(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")) == "out of memory"
    missing = ModuleNotFoundError("No module named 'betty'")
    assert describe(missing) == "not installed: No module named 'betty'"
    assert describe(ValueError("one\n two" + "x" * 300)).startswith("ValueError: one two")
    assert len(describe(ValueError("x" * 300))) == 160


def test_extra_peak_counts_a_tensor_that_was_freed() -> None:
    def work() -> None:
        torch.ones(16 * memory.MIB)  # 64 MiB of float32

    work()
    # resident pages beside the tensor's: well under a MiB, but the interpreter may map a few of its own
    assert memory.extra_peak(work) == pytest.approx(64, abs=4)
    assert memory.extra_peak(lambda: None) < 4
