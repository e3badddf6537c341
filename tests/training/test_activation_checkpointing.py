"""Checkpointed activations: the numbers of a run that keeps them, in less memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from checked_rows import each
from kept_activations import kept_bytes
from tiny_models import FAMILIES, tiny_cots, tiny_prm
from tiny_run import TinyRun, trained
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from dreamprm.config.errors import UserError
from dreamprm.hypergrad import AdamW, WindowResult, build_estimator
from dreamprm.models import PRM
from dreamprm.models.activation_checkpointing import checkpoint_activations
from dreamprm.models.weights import DomainWeights
from dreamprm.training.prm_problem import prm_problem
from dreamprm.training.throughput import MEASURED

WEIGHTS = DomainWeights(["a", "b", "c"])
STEPS = 2


def batch_of(prm: PRM, seed: int, *, text: bool = False) -> dict[str, Any]:
    """Two CoTs with images, of two domains."""
    cots = tiny_cots(2, seed=seed)
    cot = torch.repeat_interleave(torch.arange(2), torch.tensor([len(steps) for *_, steps in cots]))
    batch = {
        "inputs": prm.processor.collate([prm.processor.encode(*one) for one in cots]),
        "labels": torch.rand(len(cot), generator=torch.Generator().manual_seed(seed)),
        "group": cot,
        "domains": torch.tensor([0, 1 + seed % 2]),
        "cot": cot,
        "correct": torch.tensor([1.0, 0.0]),
    }
    if text:
        batch["text"] = prm.processor.collate_text([prm.processor.encode_text("two plus three equals", [])])
    return batch


def window(
    prm: PRM,
    name: str,
    *,
    autocast: Any = nullcontext,
    frozen_vision: bool = False,
    text: bool = False,
    **settings: Any,
) -> WindowResult:
    """A window from other params than the module's own, which must not come back in a recomputation."""
    generator = torch.Generator().manual_seed(0)
    params = {
        key: p.detach() + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for key, p in prm.trainable_params(freeze_vision=frozen_vision).items()
    }
    optimizer = AdamW(lr=1e-3)
    state = optimizer.init(params)
    state.step = 100
    for key in params:
        state.exp_avg_sq[key].fill_(1e-4)
    torch.manual_seed(0)
    return build_estimator(name, **settings).run_window(
        prm_problem(prm, WEIGHTS, autocast=autocast, lm_weight=0.3 if text else 0.0),
        optimizer,
        params,
        state,
        WEIGHTS.init(),
        inner_batches=[batch_of(prm, seed, text=text) for seed in range(STEPS)],
        outer_batch=batch_of(prm, 9),
    )


def numbers(found: WindowResult) -> dict[str, Tensor]:
    """All that a window computes."""
    alpha = {f"alpha {name}": grad for name, grad in found.alpha_grad.items()}
    return {**found.params, **alpha, "inner": found.inner_losses, "outer": found.outer_loss}


def assert_same(one: WindowResult, other: WindowResult) -> None:
    assert one.status is other.status
    for name, value in numbers(one).items():
        assert torch.equal(value, numbers(other)[name]), name


ESTIMATORS: dict[str, dict[str, Any]] = {
    "none": {"name": "none"},
    "first_order": {"name": "first_order"},
    "first_order, one-sided": {"name": "first_order", "derivative": "forward_difference"},
    "first_order, double backward": {"name": "first_order", "derivative": "double_backward"},
    "first_order, forward mode": {"name": "first_order", "derivative": "forward_mode", "frozen_vision": True},
    "first_order, texts": {"name": "first_order", "text": True},
    "adjoint": {"name": "adjoint"},
    "adjoint, no graph kept": {"name": "adjoint", "keep_graphs": 0, "text": True},
    "adjoint, differences": {"name": "adjoint", "derivative": "central_difference"},
    "adjoint, one-sided": {"name": "adjoint", "derivative": "forward_difference"},
    "unrolled": {"name": "unrolled"},
    "cg": {"name": "cg", "damping": 1e6},
    "neumann": {"name": "neumann", "terms": 2, "step": 1e-7},
    "finite_difference": {"name": "finite_difference"},
    "penalty": {"name": "penalty", "steps": 1, "step": 1e-5},
    "forward_gradient": {"name": "forward_gradient", "directions": 1},
    "forward_gradient, double backward": {
        "name": "forward_gradient",
        "directions": 1,
        "derivative": "double_backward",
    },
}


@each("settings", ESTIMATORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_estimator_gives_the_same_bits(settings: dict[str, Any], dtype: torch.dtype) -> None:
    prm = tiny_prm(dtype=dtype, layers=2, vision_layers=1)
    plain = window(prm, **settings)
    checkpoint_activations(prm.backbone)
    assert_same(window(prm, **settings), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_text_and_vision_are_both_left_out_of_memory(family: str) -> None:
    prm = tiny_prm(family, layers=2, vision_layers=2)
    params = {name: p.detach().requires_grad_() for name, p in prm.trainable_params().items()}
    problem, batch = prm_problem(prm, WEIGHTS), batch_of(prm, 0)

    def measured() -> tuple[int, tuple[Tensor, ...]]:
        kept = kept_bytes(problem.inner_losses, params, batch, besides=params.values())
        loss = problem.inner_losses(params, batch).sum()
        return kept, torch.autograd.grad(loss, list(params.values()), allow_unused=True)

    plain, grads = measured()
    checkpoint_activations(prm.backbone)
    checkpoint_activations(prm.backbone)  # a second time changes nothing
    kept, again = measured()
    assert kept < 0.25 * plain, (kept, plain)
    assert all((a is None) == (b is None) for a, b in zip(grads, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(grads, again, strict=True) if a is not None)
    assert list(dict(prm.named_parameters())) == list(params)
    blocks = [layer for layer in prm.backbone.modules() if isinstance(layer, GradientCheckpointingLayer)]
    assert len(blocks) == 4


def test_dropout_is_that_of_the_forward_pass() -> None:
    prm = tiny_prm(layers=2, vision_layers=1).train()
    for layer in prm.backbone.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.5
    first = window(prm, "first_order")
    assert torch.equal(window(prm, "first_order").inner_losses, first.inner_losses)
    checkpoint_activations(prm.backbone)
    assert_same(window(prm, "first_order"), first)
    kept = window(prm.eval(), "first_order")
    assert not torch.equal(kept.inner_losses, first.inner_losses)  # there was dropout


def test_it_is_right_under_autocast() -> None:
    prm = tiny_prm(layers=1, vision_layers=1)
    autocast: partial[AbstractContextManager[Any]] = partial(torch.autocast, "cpu", torch.bfloat16)
    plain = window(prm, "first_order", autocast=autocast, radius=0.05)
    checkpoint_activations(prm.backbone)
    assert_same(window(prm, "first_order", autocast=autocast, radius=0.05), plain)


def test_passes_without_gradients_and_frozen_layers_are_not_taken_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dreamprm.models import activation_checkpointing

    taken: list[int] = []
    checkpoint = activation_checkpointing.checkpoint
    monkeypatch.setattr(
        activation_checkpointing,
        "checkpoint",
        lambda *given, **options: (taken.append(1), checkpoint(*given, **options))[1],
    )
    prm = tiny_prm(layers=2, vision_layers=1)
    before = prm.score_candidates("what ?", None, [["one plus two", "three"], ["four"]])
    checkpoint_activations(prm.backbone)
    assert prm.score_candidates("what ?", None, [["one plus two", "three"], ["four"]]) == before
    assert not taken
    for name, parameter in prm.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    prm(batch_of(prm, 0)["inputs"]).sum().backward()
    assert not taken
    prm.backbone.model.language_model.layers[1].mlp.up_proj.weight.requires_grad_()
    prm(batch_of(prm, 0)["inputs"]).sum().backward()
    assert len(taken) == 1


@contextmanager
def its_own(prm: PRM) -> Iterator[None]:
    prm.backbone.activation_checkpointing_enable()
    yield
    prm.backbone.activation_checkpointing_disable()


def test_the_checkpointing_of_transformers_is_refused_whenever_it_is_switched_on() -> None:
    prm = tiny_prm(layers=1, vision_layers=1)
    with its_own(prm), pytest.raises(UserError, match="own gradient checkpointing is on"):
        prm_problem(prm, WEIGHTS)
    problem = prm_problem(prm, WEIGHTS, lm_weight=0.1)
    params, alpha, batch = prm.trainable_params(), WEIGHTS.init(), batch_of(prm, 0, text=True)
    with its_own(prm):
        for evaluate in (
            lambda: problem.inner_losses(params, batch),
            lambda: problem.unweighted_loss(params, batch),
            lambda: problem.outer_loss(params, alpha, batch),
        ):
            with pytest.raises(UserError, match="own gradient checkpointing is on"):
                evaluate()
    assert torch.isfinite(problem.outer_loss(params, alpha, batch))


@pytest.mark.parametrize("where", ["whole", "text_config"])
def test_a_checkpoint_whose_config_switches_it_on_is_refused(
    where: str, tiny: TinyRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base = shutil.copytree(tiny.config["model"]["path"], tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (config if where == "whole" else config[where])["gradient_checkpointing"] = True
    (base / "config.json").write_text(json.dumps(config))
    assert tiny.train(f"model.path={base}") == 2
    told = capsys.readouterr().err
    assert "own gradient checkpointing is on" in told and "model.checkpoint_activations=true" in told
    assert not tiny.output.exists()


@pytest.mark.parametrize("part", ["model.lora=null", "model.lora={rank: 4, alpha: 8.0, dropout: 0.3}"])
def test_a_run_with_it_is_the_run_without(part: str, tiny: TinyRun) -> None:
    found = []
    for setting in ("false", "true"):
        run, metrics, weights = trained(
            tiny,
            f"model.checkpoint_activations={setting}",
            part,
            "steps=4",
            "lm_weight=0.5",
            f"data.lm={tiny.folder}/pool.jsonl",
            "lm_batch_size=2",
        )
        for row in metrics:
            for key in MEASURED:
                del row[key]
        found.append((metrics, weights, run.state.params))
    (metrics, weights, params), (others, other_weights, other_params) = found
    assert metrics == others and weights == other_weights
    assert all(torch.equal(params[name], other_params[name]) for name in params)
