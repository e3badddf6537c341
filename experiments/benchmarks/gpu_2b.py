"""Which estimators fit a GPU at Qwen2-VL-2B's true shapes, and what a window costs there.

    python -m experiments.benchmarks.gpu_2b                      on one CUDA device
    python -m experiments.benchmarks.gpu_2b --tiny --device cpu  the same path on small shapes, to try it

Weights are random (from the config; nothing is downloaded), ids are random, images are random pixels in the
real token layout: a row is one image of 504 x 504 (324 tokens) and text. fp32 master weights and moments,
bf16 autocast, activation checkpointing in every layer unless --no-checkpointing. Each estimator runs in a
separate process: one that runs out of memory gives a row that says so. "fits" compares torch's peak reserved
memory with the GPU's size, and so leaves nothing for other users of the GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2VLConfig

from dreamprm.hypergrad import AdamW
from dreamprm.models.activation_checkpointing import checkpoint_activations
from dreamprm.models.prm import PRM
from dreamprm.models.weights import DomainWeights
from dreamprm.runtime.process import prepare_process
from dreamprm.sandbox.base_model import build_processor
from dreamprm.training.prm_problem import prm_problem
from experiments.benchmarks.cases import CASES, Case
from experiments.benchmarks.windows import machine
from experiments.benchmarks.worker import agreement, describe, flat
from experiments.benchmarks.workload import DOMAINS, STEP_ENDS, Workload, domains_of

RESULTS = Path("experiments/results/hypergradients_2b.json")
GIB = 2**30
GPUS = {"80 GB": 80e9, "139 GiB": 139 * GIB}
TEXT_TOKENS, GRID = 256, 36  # patches per side; two by two of them make a token
# Under bf16 a difference over the default radius drowns in rounding, and a one-sided one over any
# (experiments/results/precision.md).
BF16_RADIUS = 0.05
ROWS: dict[str, Case] = {
    **{name: CASES[name] for name in ("plain", "none")},
    "first_order": Case("first_order", {"radius": BF16_RADIUS}),
    "first_order, cpu": Case("first_order", {"radius": BF16_RADIUS, "offload": "cpu"}),
    "adjoint": Case("adjoint"),
    "adjoint, gradients on the CPU": Case("adjoint", {"offload": "cpu"}),
    "adjoint, central difference": Case(
        "adjoint", {"derivative": "central_difference", "radius": BF16_RADIUS}
    ),
    "adjoint, central difference, gradients on the CPU": Case(
        "adjoint", {"derivative": "central_difference", "radius": BF16_RADIUS, "offload": "cpu"}
    ),
    "unrolled": CASES["unrolled"],
    **{name: CASES[name] for name in ("neumann", "cg", "finite_difference", "finite_difference, AdamW")},
}


def config_2b(image_token: int, *, tiny: bool) -> Qwen2VLConfig:
    """Qwen2-VL-2B's shapes, or two layers of a hundredth of its width."""
    text = {
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    vision = {
        "depth": 32,
        "embed_dim": 1280,
        "num_heads": 16,
        "hidden_size": 1536,
        "mlp_ratio": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_channels": 3,
    }
    if tiny:
        text |= {
            "vocab_size": 256,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]},
        }
        vision |= {"depth": 2, "embed_dim": 16, "num_heads": 2, "hidden_size": 32}
    return Qwen2VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, image_token_id=image_token
    )


def build(case: Case, options: argparse.Namespace) -> Workload:
    """Master weights and moments on the device, the module itself emptied, random batches."""
    device, processor = options.device, build_processor()
    torch.manual_seed(0)
    with torch.device(device):
        prm = PRM.from_backbone(
            config_2b(processor.image_token_id, tiny=options.tiny).to_dict(),
            processor=processor,
            attn_implementation=case.model if case.model == "sdpa" else "eager",
            dtype=torch.bfloat16,
        )
    if not options.no_checkpointing:
        checkpoint_activations(prm.backbone)
    generator = torch.Generator().manual_seed(0)
    outer, *inner = (
        random_batch(
            prm, domains_of(options.kind, step), tiny=options.tiny, generator=generator, device=device
        )
        for step in range(options.steps + 1)
    )
    params = {name: p.detach() for name, p in prm.trainable_params().items()}
    for parameter in prm.parameters():  # functional_call puts the master weights in their place
        parameter.data = parameter.data.new_empty(0)
    weights = DomainWeights([f"domain-{i}" for i in range(DOMAINS)])
    problem = prm_problem(
        prm, weights, autocast=lambda: torch.autocast(torch.device(device).type, torch.bfloat16)
    )
    optimizer = AdamW(lr=5e-7, weight_decay=0.01)
    state = optimizer.init(params)
    # warm without a warm-up: moments of gradients of size 1e-4 over a thousand steps; from zero moments the
    # first update is the gradient's sign, whose derivative is zero
    state.step = 1000
    for name in params:
        state.exp_avg[name].normal_(std=1e-5)
        state.exp_avg_sq[name].fill_(1e-8)
    return Workload(
        problem=problem,
        optimizer=optimizer,
        params=params,
        state=state,
        alpha={name: value.to(device) for name, value in weights.init().items()},
        inner_batches=inner,
        outer_batch=outer,
    )


def random_batch(
    prm: PRM, domains: list[int], *, tiny: bool, generator: torch.Generator, device: str
) -> dict[str, Any]:
    """One row per domain: an image, then text with STEP_ENDS step ends."""
    rows, grid = len(domains), 4 if tiny else GRID
    image, text = grid * grid // 4, 20 if tiny else TEXT_TOKENS
    token, config = prm.processor.image_token_id, prm.backbone.config
    ids = torch.randint(8, 70, (rows, image + text), generator=generator)
    ids[:, :image] = token
    ids[:, image:][ids[:, image:] == token] = 8
    kinds = torch.zeros_like(ids)
    kinds[:, :image] = 1
    grids = torch.tensor([[1, grid, grid]]).repeat(rows, 1)
    vision = config.vision_config
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    ends = image + torch.arange(1, STEP_ENDS + 1) * (text // STEP_ENDS) - 1
    of_row = torch.arange(rows).repeat_interleave(STEP_ENDS)
    positions, _ = prm.backbone.model.get_rope_index(
        ids, kinds, image_grid_thw=grids, attention_mask=torch.ones_like(ids)
    )
    inputs: dict[str, Tensor] = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": kinds,
        "position_ids": positions,
        "image_grid_thw": grids,
        "pixel_values": torch.randn(rows * grid * grid, values, generator=generator),
        "step_rows": of_row,
        "step_cols": ends.repeat(rows),
    }
    batch = {
        "labels": torch.rand(rows * STEP_ENDS, generator=generator),
        "group": of_row % len(domains),
        "domains": torch.tensor(domains),
        "cot": of_row,
        "correct": (torch.rand(rows, generator=generator) < 0.5).float(),
    }
    return {
        "inputs": {name: tensor.to(device) for name, tensor in inputs.items()},
        **{name: tensor.to(device) for name, tensor in batch.items()},
    }


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a window and peak memory of one row, or its error."""
    case, on_gpu, seconds = ROWS[name], options.device != "cpu", []
    grads: dict[str, Tensor] = {}
    row: dict[str, Any] = {}
    try:
        workload = build(case, options)
        row["parameters"] = sum(p.numel() for p in workload.params.values())
        for repetition in range(options.repetitions + 1):
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            started = time.perf_counter()
            # the window writes into the workload's own tensors: two copies of a 2B model's do not fit
            taken = case.prepare(workload, consume=True)()
            if on_gpu:
                torch.cuda.synchronize()
            if repetition:
                seconds.append(time.perf_counter() - started)
            else:
                grads = taken.alpha_grad  # the first window starts from the same numbers in every row
                row |= {"note": taken.note} if taken.note else {}
    except Exception as error:
        return {**row, "error": describe(error)}
    row |= {"seconds": seconds, "alpha_grad": flat(grads).tolist() if grads else []}
    if on_gpu:
        row |= {
            "peak_gib": torch.cuda.max_memory_allocated() / GIB,
            "reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        }
    return row


def ask(name: str, arguments: list[str]) -> dict[str, Any]:
    """`measure` in a separate process."""
    child = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.gpu_2b", *arguments, "--row", name],
        capture_output=True,
        text=True,
    )
    if child.returncode != 0:
        reason = child.stderr.strip().splitlines()[-1:] or [f"ended with code {child.returncode}"]
        return {"error": reason[0][:160]}
    row: dict[str, Any] = json.loads(child.stdout.strip().splitlines()[-1])
    return row


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows in Markdown: seconds, memory, fits, cosine to `adjoint`'s gradient in the same precision."""
    exact = next(
        (
            rows[name]["alpha_grad"]
            for name in ("adjoint", "unrolled")
            if rows.get(name, {}).get("alpha_grad")
        ),
        None,
    )
    lines = [
        "| | seconds a window | allocated GiB | reserved GiB | "
        + " | ".join(f"fits {gpu}" for gpu in GPUS)
        + " | cosine to exact | |",
        "|" + "---|" * (len(GPUS) + 6),
    ]
    for name, row in rows.items():
        reserved, cosine = row.get("reserved_gib"), None
        if exact and row.get("alpha_grad"):
            cosine = agreement(torch.tensor(row["alpha_grad"]), torch.tensor(exact))["cosine"]
        cells = [
            name,
            f"{median(row['seconds']):.2f}" if row.get("seconds") else "-",
            *(f"{row[key]:.1f}" if key in row else "-" for key in ("peak_gib", "reserved_gib")),
            *(
                "-" if reserved is None else "yes" if reserved * GIB <= size else "no"
                for size in GPUS.values()
            ),
            "-" if cosine is None else f"{cosine:.4f}",
            row.get("error") or row.get("note", ""),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small shapes, to try the script")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--steps", type=int, default=5, help="T")
    parser.add_argument(
        "--kind",
        choices=["single", "mixed"],
        default="single",
        help="one row of one domain a batch, or four of four",
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--row", help=argparse.SUPPRESS)  # a child's
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Measure every row; write JSON and a table."""
    options = parse(arguments)
    prepare_process(None)
    if options.row:
        print(json.dumps(measure(options.row, options)))
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; to try the script: --tiny --device cpu", file=sys.stderr)
        return 2
    rows = {}
    for name in options.rows:
        rows[name] = ask(name, arguments)
        print(name, {key: value for key, value in rows[name].items() if key != "alpha_grad"}, flush=True)
    results = {
        "date": date.today().isoformat(),
        "machine": machine(options.device),
        "torch": torch.__version__,
        "steps": options.steps,
        "kind": options.kind,
        "tiny": options.tiny,
        "checkpointing": not options.no_checkpointing,
        "lr": 5e-7,
        "command": "python -m experiments.benchmarks.gpu_2b " + " ".join(arguments),
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    told = {key: value for key, value in results.items() if key != "rows"}
    options.out.with_suffix(".md").write_text(
        "# Windows at Qwen2-VL-2B's shapes\n\n"
        + ", ".join(f"{k}: {v}" for k, v in told.items())
        + "\n\n"
        + table(rows)
        + "\n"
    )
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
