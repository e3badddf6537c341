"""What the benchmarks run on: random Qwen2-VL PRMs of stated sizes (the language model is trained), random
text batches, a warm AdamW state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dreamprm.hypergrad import AdamW, AdamWState, BilevelProblem, Part, build_estimator
from dreamprm.models.activation_checkpointing import checkpoint_activations
from dreamprm.models.prm import PRM
from dreamprm.models.weights import DomainWeights
from dreamprm.sandbox.base_model import base_config, build_processor
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.training.prm_problem import prm_problem

ROWS, TOKENS, STEP_ENDS, DOMAINS = 4, 128, 5, 4
# From zero moments the first update is the gradient's sign, whose derivative is zero: only the first window
# of a training run looks like that, so every measurement starts after this many steps.
WARM_STEPS = 5
KINDS = ("single", "mixed")
MODELS = ("sdpa", "eager", "forward_mode")
SIZES = {"tiny": (32, 1), "1M": (128, 7), "5M": (256, 8), "20M": (512, 8)}  # width, text layers


@dataclass(frozen=True)
class Setting:
    """One point of the benchmark: model size, steps per window, kind of batch, inner learning rate.

    A batch of kind "single" has one domain (a different one each step), a batch of kind "mixed" all four.

    Raises:
        ValueError: a size or kind that does not exist, or fewer steps than 1.
    """

    size: str = "5M"
    steps: int = 5
    kind: str = "single"
    lr: float = 5e-7
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, given, known in (("size", self.size, SIZES), ("kind", self.kind, KINDS)):
            if given not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {given!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be >= 1, got {self.steps}; a window has at least one inner step")


@dataclass
class Workload:
    """A setting's problem and the state from which its window starts; `params` and `state` must not be
    written to."""

    problem: BilevelProblem
    optimizer: AdamW
    params: dict[str, Tensor]
    state: AdamWState
    alpha: dict[str, Tensor]
    inner_batches: list[dict[str, Any]]
    outer_batch: dict[str, Any]


class WrittenOutSiLU(nn.Module):
    """x * sigmoid(x): torch's SiLU lacks the formula for forward over reverse."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def random_batch(
    domains: list[int], *, vocabulary: int, generator: torch.Generator, device: str = "cpu"
) -> dict[str, Any]:
    """A text batch of ROWS x TOKENS with STEP_ENDS step ends per row, spread over the domains."""
    ends = torch.arange(1, STEP_ENDS + 1) * (TOKENS // STEP_ENDS) - 1
    rows = torch.arange(ROWS).repeat_interleave(STEP_ENDS)
    labels = torch.rand(ROWS * STEP_ENDS, generator=generator)
    inputs = {
        "input_ids": torch.randint(8, vocabulary, (ROWS, TOKENS), generator=generator),
        "attention_mask": torch.ones(ROWS, TOKENS, dtype=torch.long),
        "mm_token_type_ids": torch.zeros(ROWS, TOKENS, dtype=torch.long),
        "position_ids": torch.arange(TOKENS).expand(3, ROWS, TOKENS),
        "step_rows": rows,
        "step_cols": ends.repeat(ROWS),
    }
    batch = {
        "labels": labels,
        "group": rows % len(domains),
        "domains": torch.tensor(domains),
        "cot": rows,
        "correct": (torch.rand(ROWS, generator=generator) < 0.5).float(),
    }
    return {
        "inputs": {name: tensor.to(device) for name, tensor in inputs.items()},
        **{name: tensor.to(device) for name, tensor in batch.items()},
    }


def some_rows(batch: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """The batch of these rows (ascending) alone, with their domains and CoTs counted anew."""
    inputs, where = batch["inputs"], torch.isin(batch["inputs"]["step_rows"], rows)  # (S,)
    # the mean over a CoT's or a domain's steps must not see those that are left out
    step_rows = torch.searchsorted(rows, inputs["step_rows"][where])
    domains, group = batch["group"][where].unique(return_inverse=True)
    return {
        "inputs": {
            **{name: inputs[name][rows] for name in ("input_ids", "attention_mask", "mm_token_type_ids")},
            "position_ids": inputs["position_ids"][:, rows],
            "step_rows": step_rows,
            "step_cols": inputs["step_cols"][where],
        },
        "labels": batch["labels"][where],
        "group": group,
        "domains": batch["domains"][domains],
        "cot": step_rows,
        "correct": batch["correct"][rows],
    }


def in_micro_batches(problem: BilevelProblem, count: int) -> BilevelProblem:
    """The same problem, its batches evaluated in `count` parts of whole rows."""

    def split(batch: dict[str, Any]) -> list[Part]:
        parts = []
        for rows in torch.arange(ROWS, device=batch["labels"].device).chunk(count):
            part = some_rows(batch, rows)
            steps = [int((batch["domains"][batch["group"]] == domain).sum()) for domain in part["domains"]]
            losses = [
                (batch["domains"].tolist().index(int(domain)), float((part["group"] == i).sum()) / steps[i])
                for i, domain in enumerate(part["domains"])
            ]
            parts.append(Part(part, share=len(rows) / ROWS, losses=losses))
        return parts

    return BilevelProblem(
        outer_loss=problem.outer_loss,
        inner_losses=problem.inner_losses,
        weights=problem.weights,
        split=split,
        split_outer=split,
    )


def domains_of(kind: str, step: int) -> list[int]:
    """The domains in the batch of this step."""
    return list(range(DOMAINS)) if kind == "mixed" else [step % DOMAINS]


def build_workload(
    setting: Setting,
    *,
    model: str = "sdpa",
    dtype: torch.dtype = torch.float32,
    checkpointed: bool = False,
) -> Workload:
    """The same weights, batches and warm moments for every model variant and dtype.

    Args:
        model: "sdpa" (fused attention), "eager" (attention with gradients of gradients) or "forward_mode"
            (eager, with activations that forward mode supports).
        dtype: of params, moments and alpha; float64 starts from the float32 run's numbers.
        checkpointed: whether activations are computed again in the backward pass.

    Raises:
        ValueError: an unknown model variant.
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
    torch.manual_seed(0)
    prm = random_prm(setting.size, attention="sdpa" if model == "sdpa" else "eager").to(setting.device)
    vocabulary = len(prm.processor.tokenizer)
    if model == "forward_mode":
        _write_out_silu(prm)
    if checkpointed:
        checkpoint_activations(prm.backbone)
    weights = DomainWeights([f"domain-{i}" for i in range(DOMAINS)])
    alpha = {name: value.to(setting.device) for name, value in weights.init().items()}
    problem, optimizer = prm_problem(prm, weights), AdamW(lr=setting.lr, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)

    def batches(count: int) -> list[dict[str, Any]]:
        return [
            random_batch(
                domains_of(setting.kind, step),
                vocabulary=vocabulary,
                generator=generator,
                device=setting.device,
            )
            for step in range(count)
        ]

    outer_batch, warm_batches, inner_batches = batches(1)[0], batches(WARM_STEPS), batches(setting.steps)
    params = trained_params(prm)
    warm = build_estimator("none").run_window(
        problem,
        optimizer,
        params,
        optimizer.init(params),
        alpha,
        inner_batches=warm_batches,
        outer_batch=outer_batch,
    )
    if dtype != torch.float32:
        prm.to(dtype)
    return Workload(
        problem=problem,
        optimizer=optimizer,
        params=_cast(warm.params, dtype),
        state=AdamWState(
            warm.state.step, **{kind: _cast(moments, dtype) for kind, moments in warm.state.moments.items()}
        ),
        alpha=_cast(alpha, dtype),
        inner_batches=inner_batches,
        outer_batch=outer_batch,
    )


def parameters(size: str) -> int:
    """The number of parameters that a window trains at this size."""
    with torch.device("meta"):
        return sum(p.numel() for p in trained_params(random_prm(size, attention="sdpa")).values())


def random_prm(size: str, *, attention: str) -> PRM:
    """The PRM of this size, with random weights."""
    processor = build_processor()
    width, layers = SIZES[size]
    sizes = SandboxConfig(hidden_size=width, text_layers=layers, vision_layers=1)
    return PRM.from_backbone(
        base_config(sizes, processor.tokenizer).to_dict(), processor=processor, attn_implementation=attention
    )


def trained_params(prm: PRM) -> dict[str, Tensor]:
    """Copies of what a window trains of it."""
    # The batches are text only: a vision tower would get no gradient, which some of the peers refuse.
    return {name: p.detach() for name, p in prm.trainable_params(freeze_vision=True).items()}


def _cast(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def _write_out_silu(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child).__name__ in ("SiLU", "SiLUActivation"):
            setattr(module, name, WrittenOutSiLU())
        else:
            _write_out_silu(child)
