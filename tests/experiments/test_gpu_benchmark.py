"""The 2B benchmark's path on small shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from experiments.benchmarks import gpu_2b


def test_true_shapes_have_2_2e9_parameters() -> None:
    from dreamprm.models.backbone import make_backbone

    with torch.device("meta"):
        backbone = make_backbone(
            gpu_2b.config_2b(5, tiny=False), attn_implementation="sdpa", dtype=torch.bfloat16
        )
    assert 2.20e9 < sum(p.numel() for p in backbone.parameters()) < 2.22e9


TINY = ["--tiny", "--device", "cpu", "--steps", "2", "--kind", "mixed", "--repetitions", "1"]


def test_its_path_runs_on_small_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    out = tmp_path / "gpu.json"
    assert gpu_2b.main([*TINY, "--rows", "first_order", "--out", str(out)]) == 0
    row = json.loads(out.read_text())["rows"]["first_order"]
    assert len(row["seconds"]) == 1 and len(row["alpha_grad"]) == 4 and any(row["alpha_grad"])
    assert "| first_order |" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize("row", ["unrolled", "adjoint"])
def test_second_order_rows_run_on_small_shapes(row: str) -> None:
    checkpointed, kept = (
        gpu_2b.measure(row, gpu_2b.parse([*TINY, *switch]))["alpha_grad"]
        for switch in ([], ["--no-checkpointing"])
    )
    # the same operations in the same order, recomputed
    assert checkpointed == pytest.approx(kept, rel=1e-6) and any(kept)


def test_without_a_gpu_it_says_how_to_try_it(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu_2b.main([]) == 2
    assert "--tiny --device cpu" in capsys.readouterr().err


def test_what_does_not_fit_is_a_row_of_the_table() -> None:
    text = gpu_2b.table(
        {
            "adjoint": {"seconds": [2.0], "alpha_grad": [1.0, 0.0], "peak_gib": 60.0, "reserved_gib": 100.0},
            "unrolled": {"error": "out of memory"},
        }
    )
    assert "| adjoint | 2.00 | 60.0 | 100.0 | no | yes | 1.0000 |  |" in text
    assert "| unrolled | - | - | - | - | - | - | out of memory |" in text
