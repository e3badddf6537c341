"""The real configuration: the paper's values, and a scaled-down copy that trains through the same file.

`tests/models/test_prm.py` counts the parameters of the true shapes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import save_byte_level_checkpoint
from tiny_run import train_command, write_lines

from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.models import PRM
from dreamprm.training.assembly import assemble
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig

CONFIG = Path(__file__).resolve().parents[2] / "experiments" / "configs" / "qwen2vl_2b.yaml"
# Width and height; with a patch of 14 and a merge of 2 a visual token stands for 28 x 28 pixels.
SIZES = {(512, 384): 18 * 14, (300, 512): 11 * 18, (512, 100): 18 * 4}


def test_its_values_are_the_papers() -> None:
    config = load_config(TrainConfig, CONFIG, ["data.train=[a.jsonl,b.jsonl]", "data.meta=m.jsonl"])
    assert config.model.path == "Qwen/Qwen2-VL-2B-Instruct"
    assert (config.steps, config.inner_steps, config.aggregation) == (10000, 5, "sum_log_odds")
    assert (config.meta_loss, config.temperature) == ("aggregation", 1)
    assert config.weights.normalisation == "softplus"
    assert (config.sampling, config.batch_size, config.meta_batch_size) == ("single", 1, 1)
    assert (config.inner.lr, config.inner.schedule, config.inner.warmup) == (5e-7, "step", 0)
    assert (config.inner.step_size, config.inner.gamma) == (5000, 0.5)
    assert (config.upper.lr, config.upper.weight_decay) == (0.01, 1e-3)
    assert (config.precision, config.data.max_pixels, config.lm_weight) == ("bf16", 512 * 512, 0)
    assert [file.path for file in config.data.train] == ["a.jsonl", "b.jsonl"]


def test_it_says_which_data_it_needs() -> None:
    with pytest.raises(UserError, match=r"qwen2vl_2b.yaml: data.train, data.meta must be given"):
        load_config(TrainConfig, CONFIG)


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """The same file on a random checkpoint of its architecture, with images of real sizes, in fp32."""
    generator = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    for domain in ("charts", "geometry"):
        write_lines(
            tmp_path / f"{domain}.jsonl",
            [
                {
                    "question": f"Which bar is highest? ({i})",
                    "image": f"{i}.png",
                    "domain": domain,
                    "steps": ["Step 1: Read the bars.", "Step 2: The third is highest."],
                    "labels": [0.75, i / 2],
                }
                for i in range(3)
            ],
        )
    write_lines(
        tmp_path / "meta.jsonl",
        [
            {
                "question": "What is shown?",
                "image": f"{i % 3}.png",
                "correct": i % 2 == 0,
                "steps": ["Step 1: Look.", "Step 2: A chart."],
            }
            for i in range(4)
        ],
    )
    (tmp_path / "checkpoint").mkdir()
    checkpoint = save_byte_level_checkpoint(tmp_path / "checkpoint", hidden=64, layers=2)
    return [
        f"data.train=[{tmp_path}/charts.jsonl,{tmp_path}/geometry.jsonl]",
        f"data.meta={tmp_path}/meta.jsonl",
        f"data.cache_dir={tmp_path}/cache",
        "data.num_workers=0",
        f"model.path={checkpoint}",
        f"output={tmp_path}/run",
        "precision=fp32",
        "steps=10",
    ]


def test_images_become_the_tokens_of_the_real_layout(overrides: list[str]) -> None:
    config = load_config(TrainConfig, CONFIG, overrides)
    run = assemble(config, make_accelerator(config), say=lambda text: None)
    pad = run.prm.processor.image_token_id
    counts = {int((run.meta_batches[i]["inputs"]["input_ids"] == pad).sum()) for i in range(4)}
    assert counts == set(SIZES.values())
    inputs = run.meta_batches[0]["inputs"]
    time, height, width = inputs["image_grid_thw"][0].tolist()
    assert inputs["pixel_values"].shape == (time * height * width, 3 * 2 * 14 * 14)


def test_a_scaled_down_copy_trains_two_windows(overrides: list[str], tmp_path: Path) -> None:
    assert train_command(str(CONFIG), *overrides) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["status"], row["lr"]) for row in rows] == [(5, "ok", 5e-7), (10, "ok", 5e-7)]
    assert all(row["alpha_grad_norm"] > 0 for row in rows)
    history = (tmp_path / "run" / "domain_weights.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["weights"]["charts"] != 1
    # lr 5e-7 shows in fp32 weights.
    trained = PRM.from_pretrained(tmp_path / "run" / "model")
    start = PRM.from_backbone(tmp_path / "checkpoint")
    moved = (trained.backbone.lm_head.weight - start.backbone.lm_head.weight).detach().abs().max()
    assert trained.backbone.dtype == torch.float32 and 1e-7 < float(moved) < 2 * 10 * 5e-7
