"""Real files, as their authors publish them, from the download to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from shared_data import shared_file
from tiny_models import byte_level_tokenizer, save_byte_level_checkpoint

from dreamprm.cli import main
from dreamprm.data import RecordTable
from dreamprm.models import PRM


def configuration(tmp_path: Path, *, meta: Path, train: list[Path]) -> dict[str, Any]:
    """A short run of a tiny model on text alone: the files' images are not published with them."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    return {
        "name": "real",
        "output": str(tmp_path / "run"),
        "steps": 6,
        "inner_steps": 2,
        "batch_size": 2,
        "meta_batch_size": 2,
        "hypergrad": {"name": "first_order"},
        "data": {
            "train": [str(path) for path in train],
            "meta": str(meta),
            "allow_no_image": True,
            "allow_outside": True,  # the published meta file names ../data/meta_images
            "missing_image": "text_only",
            "cache_dir": str(tmp_path / "cache"),
        },
        "model": {"path": str(save_byte_level_checkpoint(checkpoint))},
        "inner": {"lr": 1e-3},
        "upper": {"lr": 0.05},
    }


def train(tmp_path: Path, config: dict[str, Any], *overrides: str) -> int:
    path = tmp_path / "real.yaml"
    path.write_text(yaml.safe_dump(config))
    return main(["train", str(path), *overrides])


def convert(name: str, source: Path, destination: Path, *options: str) -> Path:
    files = [f"source={source}", f"destination={destination}"]
    assert main(["convert", f"format={name}", *files, *options]) == 0
    return destination


def test_the_public_meta_file_parses_whole(tmp_path: Path) -> None:
    table = RecordTable.open(
        shared_file("dreamprm/meta.json"),
        kind="meta",
        cache_dir=tmp_path / "cache",
        missing_image="text_only",
    )
    steps = [len(record.steps) for record in table]
    assert (len(steps), steps.count(5), steps.count(0)) == (500, 128, 372)
    assert sum(record.correct for record in table) == 249


@pytest.mark.parametrize(
    ("stepless", "message"),
    [
        ("error", "a record needs at least one step to be trained on"),
        ("skip", "the meta set holds 128 right and 0 wrong answers; it needs both"),
    ],
)
def test_the_public_meta_file_is_not_trained_on(
    stepless: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    domain = convert("processbench", shared_file("processbench/gsm8k.json"), tmp_path / "gsm8k.jsonl")
    config = configuration(tmp_path, meta=shared_file("dreamprm/meta.json"), train=[domain])
    capsys.readouterr()
    assert train(tmp_path, config, f"data.stepless={stepless}") == 2
    written = capsys.readouterr()
    assert "249 right and 251 wrong answers with an AUC above 0.65" in written.out
    assert "(0.5 is chance): has steps 0.76" in written.out
    assert "rely on these instead of the reasoning" in written.out
    assert message in written.err and "Traceback" not in written.err
    assert not (tmp_path / "run").exists()


def test_real_records_from_the_files_to_the_report(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    meta = convert(
        "dreamprm15", shared_file("dreamprm15/meta_MMMU_Pro.json"), tmp_path / "meta.jsonl", "min_steps=2"
    )
    domains = [
        convert("processbench", shared_file(f"processbench/{name}.json"), tmp_path / f"{name}.jsonl")
        for name in ("gsm8k", "math")
    ]
    written = capsys.readouterr().out
    assert "wrote 760 meta records" in written
    assert "wrote 400 step records" in written and "wrote 1000 step records" in written

    assert train(tmp_path, configuration(tmp_path, meta=meta, train=domains)) == 0
    assert "760 of 760 are used without their images" in capsys.readouterr().out
    run = tmp_path / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 6 and summary["weights"].keys() == {"gsm8k", "math"}
    assert len((run / "domain_weights.jsonl").read_text().splitlines()) == 3
    page = (run / "report.html").read_text()
    assert "gsm8k" in page and "math" in page and (run / "plots" / "final_weights.png").stat().st_size > 0
    prm = PRM.from_pretrained(run / "model")
    scores = prm.score("Wie viel ist ½ + ½?", None, ["Step 1: 0,5 + 0,5 = 1", "→ 1"])
    assert len(scores) == 2 and all(0 < score < 1 for score in scores)


def test_the_byte_level_tokenizer_keeps_every_text() -> None:
    tokenizer = byte_level_tokenizer()
    text = "∫ x² dx = x³/3 + C\n  Schritt 1: „ja“ 数学 🙂<|im_end|>\n"
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1
