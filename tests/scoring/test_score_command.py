"""`dreamprm score` end to end: what is written equals PRM.score one by one, and nothing is lost."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from candidate_files import candidate_rows, read_rows, score, write_rows
from PIL import Image
from tiny_models import save_byte_level_checkpoint, tiny_image, tiny_prm

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import DataError, UserError
from dreamprm.data import read_candidate_records, read_step_records
from dreamprm.models import PRM, PRMProcessor
from dreamprm.models.images import ImageStore
from dreamprm.models.likelihood import mean_log_likelihood
from dreamprm.models.public_checkpoint import load_public_checkpoint
from dreamprm.models.record_checks import RecordChecks
from dreamprm.scoring import score as score_module
from dreamprm.scoring.score import ScoreStatus


def _probabilities(prm: PRM, row: dict[str, Any], steps: list[str], folder: Path) -> list[float]:
    return prm.score(row["question"], [folder / name for name in row["images"]], steps)


def test_scores_equal_those_of_single_candidates_and_nothing_is_lost(
    run_folder: Path,
    prm: PRM,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = candidate_rows(tmp_path)
    rows[2]["candidates"][2]["scores"] = {"other": {"log_odds": [0.5, -0.5, 2], "note": "kept"}}
    source = write_rows(tmp_path / "candidates.jsonl", rows)
    output = tmp_path / "scored"
    score(run_folder, {"suite": source}, output)
    scored = read_rows(output / "suite.jsonl")
    assert len(scored) == 6
    differences = set()
    for row, out in zip(rows, scored, strict=True):
        for candidate, after in zip(row["candidates"], out["candidates"], strict=True):
            fields = after["scores"]["tiny-run"]
            wanted = _probabilities(prm, row, candidate["steps"], tmp_path)
            assert fields["steps"] == pytest.approx(wanted, abs=1e-5)
            z = fields["log_odds"]
            assert fields["steps"] == pytest.approx([1 / (1 + math.exp(-one)) for one in z], abs=1e-12)
            differences.update(z)
            assert set(fields) == {"log_odds", "steps", *AGGREGATIONS}
            assert fields["sum_log_odds"] == pytest.approx(sum(z), abs=1e-6)
            assert fields["mean_log_odds"] == pytest.approx(sum(z) / len(z), abs=1e-6)
            assert [fields["min"], fields["max"], fields["last"]] == [min(z), max(z), z[-1]]
            p = math.prod(fields["steps"])
            assert fields["prod"] == pytest.approx(math.log(p / (1 - p)), abs=1e-5)
            mean = sum(fields["steps"]) / len(z)
            assert fields["mean"] == pytest.approx(math.log(mean / (1 - mean)), abs=1e-5)
    assert len(differences) > 20  # a constant would pass for anything
    # Everything else is as it was, and the images are found from where the file lies now.
    for row, out in zip(rows, scored, strict=True):
        for after in out["candidates"]:
            after.pop("scores")
        names = [out["image"]] if "image" in out else out["images"]
        assert [(output / name).resolve() for name in names] == [tmp_path / name for name in row["images"]]
        without = {"image", "images"}
        assert {k: v for k, v in out.items() if k not in without} == {
            k: v for k, v in json.loads(json.dumps(row)).items() if k not in without
        } | {"candidates": [{k: v for k, v in one.items() if k != "scores"} for one in row["candidates"]]}
    (kept,) = [
        candidate
        for row in read_rows(output / "suite.jsonl")
        for candidate in row["candidates"]
        if "other" in candidate["scores"]
    ]
    assert kept["scores"]["other"] == {"log_odds": [0.5, -0.5, 2], "note": "kept"}
    records = list(read_candidate_records(output / "suite.jsonl", allow_no_image=True))
    assert records[0].candidates[0].scores["tiny-run"] == tuple(
        read_rows(output / "suite.jsonl")[0]["candidates"][0]["scores"]["tiny-run"]["log_odds"]
    )
    summary = json.loads((output / "summary.json").read_text())
    assert summary["scorer"] == "tiny-run" and summary["model"] == str(run_folder)
    assert summary["made_by"]["scores"] == "step" and summary["made_by"]["precision"] == "fp32"
    counted = summary["files"]["suite"]
    assert {key: counted[key] for key in ("records", "candidates", "written", "scored_now", "left_out")} == {
        "records": 6,
        "candidates": 24,
        "written": 6,
        "scored_now": 24,
        "left_out": 0,
    }
    assert counted["steps"] == sum(len(c["steps"]) for row in rows for c in row["candidates"])
    assert counted["candidates_per_second"] == pytest.approx(24 / counted["seconds"], rel=0.1)
    assert f"6 records with scores of 'tiny-run'; 24 candidates with {counted['steps']} steps" in (
        capsys.readouterr().out
    )


def test_images_below_the_output_are_written_relative_to_it(run_folder: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "data" / "in.jsonl", candidate_rows(tmp_path / "data", n=3))
    score(run_folder, {"out": source}, tmp_path / "data")
    assert read_rows(tmp_path / "data" / "out.jsonl")[1]["image"] == "images/1-0.png"
    # Then the folder may move.
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    records = list(read_candidate_records(tmp_path / "elsewhere" / "out.jsonl", allow_no_image=True))
    assert [len(record.images) for record in records] == [0, 1, 2]


@pytest.mark.parametrize("readout", ["step_end", "chat_suffix"])
def test_a_second_scorer_joins_the_first(readout: str, run_folder: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=2))
    score(run_folder, {"suite": source}, tmp_path / "one")
    other = tiny_prm(seed=1, layers=1, vision_layers=1, readout=readout)
    other.save_pretrained(tmp_path / "other")
    score(tmp_path / "other", {"suite": tmp_path / "one" / "suite.jsonl"}, tmp_path / "two")
    (first, second) = read_rows(tmp_path / "two" / "suite.jsonl")
    before = read_rows(tmp_path / "one" / "suite.jsonl")
    assert list(first["candidates"][0]["scores"]) == ["tiny-run", "other"]
    assert first["candidates"][0]["scores"]["tiny-run"] == before[0]["candidates"][0]["scores"]["tiny-run"]
    steps = second["candidates"][0]["steps"]
    assert second["candidates"][0]["scores"]["other"]["steps"] == pytest.approx(
        other.score(second["question"], tmp_path / "images/1-0.png", steps), abs=1e-5
    )


def test_scores_of_the_same_name_are_replaced_only_where_that_is_said(
    run_folder: Path, tmp_path: Path
) -> None:
    rows = candidate_rows(tmp_path, n=2)
    rows[1]["candidates"][2]["scores"] = {"tiny-run": {"log_odds": [9.0]}}
    source = write_rows(tmp_path / "in.jsonl", rows)
    skip = {"allow_no_image": True, "on_error": "skip"}  # of bad records; this is none
    with pytest.raises(UserError, match=r"in\.jsonl:2: field 'candidates\[2\]\.scores' already has scores"):
        score(run_folder, {"suite": source}, tmp_path / "out", data=skip)
    assert not (tmp_path / "out").exists()
    score(run_folder, {"suite": source}, tmp_path / "named", name="again")
    assert set(_scores(tmp_path / "named")) == {"tiny-run", "again"}
    score(run_folder, {"suite": source}, tmp_path / "out", replace=True)
    assert _scores(tmp_path / "named")["tiny-run"]["log_odds"] == [9.0]
    assert _scores(tmp_path / "out")["tiny-run"] == _scores(tmp_path / "named")["again"]


def _scores(folder: Path) -> dict[str, Any]:
    """Of candidate 2 of the second question."""
    scores: dict[str, Any] = read_rows(folder / "suite.jsonl")[1]["candidates"][2]["scores"]
    return scores


def test_candidates_without_steps(run_folder: Path, prm: PRM, tmp_path: Path) -> None:
    rows = candidate_rows(tmp_path, n=2)
    rows[0]["candidates"][1] |= {"steps": [], "text": "two and four"}
    source = write_rows(tmp_path / "in.jsonl", rows)
    with pytest.raises(DataError, match=r"in\.jsonl:1: field 'candidates\[1\]\.steps'.*stepless=skip"):
        score(run_folder, {"suite": source}, tmp_path / "out")
    data = {"allow_no_image": True, "stepless": "skip"}
    score(run_folder, {"suite": source}, tmp_path / "skip", data=data)
    candidates = read_rows(tmp_path / "skip/suite.jsonl")[0]["candidates"]
    assert "scores" not in candidates[1] and "tiny-run" in candidates[0]["scores"]
    assert json.loads((tmp_path / "skip/summary.json").read_text())["files"]["suite"]["without_steps"] == 1
    score(run_folder, {"suite": source}, tmp_path / "whole", data=data | {"stepless": "whole"})
    candidates = read_rows(tmp_path / "whole/suite.jsonl")[0]["candidates"]
    assert candidates[1]["scores"]["tiny-run"]["steps"] == pytest.approx(
        prm.score(rows[0]["question"], None, ["two and four"]), abs=1e-5
    )
    assert len(list(read_candidate_records(tmp_path / "whole/suite.jsonl", allow_no_image=True))) == 2


def test_bad_records_and_those_the_model_cannot_take_are_left_out_and_counted(
    run_folder: Path,
    prm: PRM,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = candidate_rows(tmp_path)
    rows[1].pop("answer")
    rows[3]["candidates"][2]["steps"] = ["one <|image_pad|> two"]
    (tmp_path / "images" / "5-0.png").write_bytes(b"no image")
    source = write_rows(tmp_path / "in.jsonl", rows)
    skip = {"allow_no_image": True, "on_error": "skip", "max_bad_fraction": 0.5}
    score(run_folder, {"suite": source}, tmp_path / "out", data=skip)
    scored = read_rows(tmp_path / "out/suite.jsonl")
    assert [row["id"] for row in scored] == ["q0", "q2", "q4"]
    assert scored[1]["candidates"][0]["scores"]["tiny-run"]["steps"] == pytest.approx(
        _probabilities(prm, rows[2], rows[2]["candidates"][0]["steps"], tmp_path), abs=1e-5
    )
    shown = capsys.readouterr().out
    assert "left out 3 of 6" in shown and "field 'answer' is missing" in shown
    assert "in.jsonl:4: candidate 2: the text holds 1 <|image_pad|> tokens" in shown and "5-0.png" in shown
    assert json.loads((tmp_path / "out/summary.json").read_text())["files"]["suite"]["left_out"] == 3
    # The same again changes nothing, except where an image has been mended; too many stop the run.
    before = (tmp_path / "out/suite.jsonl").read_bytes()
    score(run_folder, {"suite": source}, tmp_path / "out", data=skip)
    assert (tmp_path / "out/suite.jsonl").read_bytes() == before
    (tmp_path / "images" / "5-1.png").rename(tmp_path / "images" / "5-0.png")
    tiny_image(5).save(tmp_path / "images" / "5-1.png")
    score(run_folder, {"suite": source}, tmp_path / "out", data=skip)
    assert [row["id"] for row in read_rows(tmp_path / "out/suite.jsonl")] == ["q0", "q2", "q4", "q5"]
    (tmp_path / "images" / "5-0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="more than max_bad_fraction=0.4"):
        score(run_folder, {"suite": source}, tmp_path / "few", data=skip | {"max_bad_fraction": 0.4})
    assert not (tmp_path / "few/suite.jsonl").exists()
    # One bad row alone is refused while reading; one that the model cannot take when its turn comes.
    rows[1]["answer"] = "3"
    write_rows(source, rows)
    with pytest.raises(DataError, match=r"in\.jsonl:4: candidate 2: the text holds"):
        score(run_folder, {"suite": source}, tmp_path / "error")


def test_step_records_get_their_scores_beside_the_labels(run_folder: Path, prm: PRM, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": f"s{n}",
            "question": "how many ?",
            "domain": "d",
            "steps": steps,
            "split": "dev",
            "labels": [1.0] * (len(steps) - 1) + [None if n else 0.0],
            "rollouts": [None] * len(steps),
        }
        for n, steps in enumerate([["one", "two three"], ["one", "four", "five"], ["six and", "two"]])
    ]
    rows[2]["scores"] = {"other": {"steps": [0.5, 0.25], "note": 1}}
    source = write_rows(tmp_path / "in.jsonl", rows)
    score(run_folder, {"suite": source}, tmp_path / "out", kind="step")
    scored = read_rows(tmp_path / "out/suite.jsonl")
    for row, out in zip(rows, scored, strict=True):
        assert out["scores"]["tiny-run"]["steps"] == pytest.approx(
            prm.score(row["question"], None, row["steps"]), abs=1e-5
        )
        assert {k: out[k] for k in ("id", "question", "domain", "steps", "labels", "split")} == {
            k: row[k] for k in ("id", "question", "domain", "steps", "labels", "split")
        }
    assert scored[2]["scores"]["other"] == {"steps": [0.5, 0.25], "note": 1}
    rows.append({"id": "s3", "question": "how many ?", "domain": "d", "steps": [], "labels": []})
    write_rows(tmp_path / "more.jsonl", rows)
    with pytest.raises(DataError, match=r"more\.jsonl:4: field 'steps'"):
        score(run_folder, {"suite": tmp_path / "more.jsonl"}, tmp_path / "more", kind="step")
    score(
        run_folder,
        {"suite": tmp_path / "more.jsonl"},
        tmp_path / "more",
        kind="step",
        data={"allow_no_image": True, "stepless": "skip"},
    )
    assert read_rows(tmp_path / "more/suite.jsonl") == scored
    again = list(read_step_records(tmp_path / "out/suite.jsonl", allow_no_image=True))
    assert again == list(read_step_records(source, allow_no_image=True))


def test_public_step_rows_are_grouped_and_written_in_our_form(
    run_folder: Path, prm: PRM, tmp_path: Path
) -> None:
    rows = [
        {"id": 7, "input": "how many ?", "dataset": "d", "accuracy": accuracy, "add": add}
        for accuracy, add in ((1.0, "Step 1: one"), (0.5, "Step 1: one\n\nStep 2: two three"))
    ]
    source = write_rows(tmp_path / "in.jsonl", rows)
    score(run_folder, {"suite": source}, tmp_path / "out", kind="step")
    (out,) = read_rows(tmp_path / "out/suite.jsonl")
    assert out["steps"] == ["Step 1: one", "Step 2: two three"] and out["labels"] == [1.0, 0.5]
    assert out["scores"]["tiny-run"]["steps"] == pytest.approx(
        prm.score("how many ?", None, out["steps"]), abs=1e-5
    )


def test_an_outcome_reward_model_gives_one_score_a_response(
    run_folder: Path, prm: PRM, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=2))
    prm.save_pretrained(tmp_path / "orm", training={"scores": "response"})
    score(tmp_path / "orm", {"suite": source}, tmp_path / "out")
    score(run_folder, {"suite": source}, tmp_path / "steps")
    score(run_folder, {"suite": source}, tmp_path / "told", scores="response", name="orm")
    score(tmp_path / "orm", {"suite": source}, tmp_path / "all", scores="step", name="tiny-run")
    for one, step in zip(read_rows(tmp_path / "out/suite.jsonl"), read_rows(tmp_path / "steps/suite.jsonl")):
        for mine, theirs in zip(one["candidates"], step["candidates"]):
            fields = mine["scores"]["orm"]
            assert fields["log_odds"] == theirs["scores"]["tiny-run"]["log_odds"][-1:]
            assert {fields[name] for name in AGGREGATIONS} == {fields["log_odds"][0]}
    assert read_rows(tmp_path / "told/suite.jsonl") == read_rows(tmp_path / "out/suite.jsonl")
    assert read_rows(tmp_path / "all/suite.jsonl") == read_rows(tmp_path / "steps/suite.jsonl")


def test_a_checkpoint_of_the_public_code(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "public"
    save_byte_level_checkpoint(folder / "base_model")
    width = json.loads((folder / "base_model/config.json").read_text())["text_config"]["vocab_size"]
    torch.save({"LN.weight": torch.randn(1, width), "LN.bias": torch.zeros(1)}, folder / "LN_weights.pt")
    rows = candidate_rows(tmp_path, n=2)
    for row in rows:
        row["candidates"] = row["candidates"][:2]
    source = write_rows(tmp_path / "in.jsonl", rows)
    with pytest.raises(UserError, match="stores no tokenizer; set processor to"):
        score(folder, {"suite": source}, tmp_path / "out")
    score(folder, {"suite": source}, tmp_path / "out", processor=str(folder / "base_model"), max_pixels=3136)
    processor = PRMProcessor.from_pretrained(folder / "base_model", readout="chat_suffix", max_pixels=3136)
    prm = load_public_checkpoint(folder, processor=processor)
    for row, out in zip(rows, read_rows(tmp_path / "out/suite.jsonl"), strict=True):
        for candidate in out["candidates"]:
            assert candidate["scores"]["public"]["steps"] == pytest.approx(
                _probabilities(prm, row, candidate["steps"], tmp_path), abs=1e-5
            )


def test_settings_that_cannot_work_are_refused(run_folder: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=1))
    for settings, message in (
        ({"max_pixels": 100}, "are for models of the public code"),
        ({"processor": "x"}, "are for models of the public code"),
        ({"files": {}}, "must name at least one file"),
        ({"files": {"a/b": str(source)}}, "may not be empty, start with a dot or contain a slash"),
        ({"files": {"in": str(source)}, "output": str(tmp_path)}, "would be replaced by its own result"),
        ({"model": str(tmp_path)}, "holds no saved PRM"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
    ):
        with pytest.raises(UserError, match=message):
            score(run_folder, {"suite": source}, tmp_path / "out", **settings)
    assert not (tmp_path / "out" / "suite.jsonl").exists()


def test_a_gpu_must_be_there(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=1))
    with pytest.raises(UserError, match="device=cuda, but torch finds no GPU"):
        score(run_folder, {"suite": source}, tmp_path / "out", device="cuda")


def test_bf16_scores_are_near_those_of_fp32(run_folder: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=2))
    score(run_folder, {"suite": source}, tmp_path / "fp32")
    score(run_folder, {"suite": source}, tmp_path / "bf16", precision="bf16")
    one, other = (
        [
            value
            for row in read_rows(tmp_path / name / "suite.jsonl")
            for candidate in row["candidates"]
            for value in candidate["scores"]["tiny-run"]["log_odds"]
        ]
        for name in ("fp32", "bf16")
    )
    assert one != other
    # bf16 keeps 8 bits: 2^-8 relative in each of a few dozen roundings; the scores are of order 1.
    assert other == pytest.approx(one, abs=0.2)


def test_a_memory_that_is_too_small_is_told(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(prm: PRM, states: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=1))
    monkeypatch.setattr(PRM, "read", full)
    with pytest.raises(UserError, match="lower batch_tokens .*CUDA out of memory"):
        score(run_folder, {"suite": source}, tmp_path / "out")


def test_a_file_that_changes_meanwhile_is_told(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = candidate_rows(tmp_path, n=3)
    source = write_rows(tmp_path / "in.jsonl", rows[:2])
    close = ScoreStatus.close

    def grown(status: ScoreStatus) -> None:
        write_rows(source, rows)
        close(status)

    monkeypatch.setattr(ScoreStatus, "close", grown)
    with pytest.raises(UserError, match=r"in\.jsonl changed while it was being scored"):
        score(run_folder, {"suite": source}, tmp_path / "out")
    assert [path.suffix for path in (tmp_path / "out").iterdir() if path.name.startswith("suite.j")] == []


def test_a_model_that_gives_no_numbers_is_refused(prm: PRM, tmp_path: Path) -> None:
    broken = tiny_prm(layers=1, vision_layers=1)
    with torch.no_grad():
        broken.head.bias.fill_(float("nan"))
    broken.save_pretrained(tmp_path / "broken")
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=1))
    with pytest.raises(UserError, match=r"in\.jsonl:1: the model gives log-odds \[nan.*must be finite"):
        score(tmp_path / "broken", {"suite": source}, tmp_path / "out")
    assert yaml.safe_load((tmp_path / "out/config.yaml").read_text())["model"] == str(tmp_path / "broken")


def test_a_base_checkpoint_scores_by_its_likelihood(tmp_path: Path, run_folder: Path, prm: PRM) -> None:
    """One value a candidate, which is its mean log-likelihood a token; steps as a trained PRM has them."""
    base = tmp_path / "base"
    prm.backbone.save_pretrained(base)
    prm.processor.tokenizer.save_pretrained(base)
    prm.processor.image_processor.save_pretrained(base)
    rows = candidate_rows(tmp_path, n=3)
    source = write_rows(tmp_path / "in.jsonl", rows)
    score(base, {"suite": source}, tmp_path / "out", scores="likelihood", name="base_likelihood")
    images, seen = ImageStore(), set()
    for given, row in zip(rows, read_rows(tmp_path / "out" / "suite.jsonl"), strict=True):
        pixels = images.open_all([str(tmp_path / name) for name in given["images"]])
        for before, after in zip(given["candidates"], row["candidates"], strict=True):
            encoded = prm.processor.encode(given["question"], pixels, before["steps"], readout="step_end")
            (value,) = after["scores"]["base_likelihood"]["log_odds"]
            assert value == pytest.approx(float(mean_log_likelihood(prm.eval(), [encoded])), abs=2e-6)
            seen.add(value)
    assert len(seen) > 5 and max(seen) < 0
    made_by = json.loads((tmp_path / "out" / "summary.json").read_text())["made_by"]
    assert made_by["scores"] == "likelihood"
    with pytest.raises(
        UserError, match="scores=likelihood asks a language model, and .* was trained as a PRM"
    ):
        score(run_folder, {"suite": source}, tmp_path / "other", scores="likelihood")
    with pytest.raises(UserError, match="does not exist; with scores=likelihood give a checkpoint's folder"):
        score(tmp_path / "no", {"suite": source}, tmp_path / "other", scores="likelihood")


def test_every_image_and_length_is_seen_before_the_first_record_is_scored(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = candidate_rows(tmp_path)
    good = write_rows(tmp_path / "good.jsonl", rows[:2])
    rows[3]["candidates"][2]["steps"] = ["one <|image_pad|> two"]
    Image.new("L", (4, 900)).save(tmp_path / "images" / "4-0.png")  # too long and thin
    (tmp_path / "images" / "5-1.png").write_bytes(b"no image")
    files = {"a": good, "b": write_rows(tmp_path / "bad.jsonl", rows)}
    with monkeypatch.context() as patched:
        patched.setattr(score_module, "scored_chains", lambda *given, **settings: pytest.fail("scored"))
        with pytest.raises(DataError, match="^3 records cannot be scored; .*data.on_error=skip") as told:
            score(run_folder, files, tmp_path / "out")
        lines = str(told.value).splitlines()
        assert [line.partition("bad.jsonl:")[2][:1] for line in lines[1:]] == ["4", "5", "6"]
        assert "candidate 2: the text holds 1 <|image_pad|>" in lines[1]
        assert "4-0.png" in lines[2] and "5-1.png is missing or broken" in lines[3]
        few = {"allow_no_image": True, "on_error": "skip", "max_bad_fraction": 0.4}
        with pytest.raises(DataError, match="bad.jsonl: 3 of 6 rows are bad, more than max_bad_fraction=0.4"):
            score(run_folder, files, tmp_path / "out", data=few)
    capsys.readouterr()
    score(run_folder, files, tmp_path / "out", data=few | {"max_bad_fraction": 0.5})
    shown = capsys.readouterr().out
    assert shown.index("left out 3 of 6") < shown.index("records with scores of")
    assert len(read_rows(tmp_path / "out/b.jsonl")) == 3
    # What has scores is not looked at again.
    with monkeypatch.context() as patched:
        patched.setattr(RecordChecks, "problem", lambda *given: pytest.fail("checked"))
        score(run_folder, {"a": good}, tmp_path / "out")
