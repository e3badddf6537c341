"""Each baseline from files to report, on the tiny run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import DOMAINS, TinyRun
from tiny_run import trained as trained_parts
from torch import Tensor

from dreamprm.config.loading import load_config
from dreamprm.data.record_table import RecordTable
from dreamprm.data.records import StepRecord
from dreamprm.hypergrad import build_estimator
from dreamprm.models import DomainWeights
from dreamprm.models.images import ImageStore
from dreamprm.models.prm import PRM
from dreamprm.reporting.run_figures import trained
from dreamprm.training.assembly import assemble, make_prm
from dreamprm.training.baselines.backbone_features import mean_log_likelihoods, mean_states
from dreamprm.training.bilevel import BilevelState
from dreamprm.training.checkpoint import load_checkpoint
from dreamprm.training.optimizers import make_optimizer
from dreamprm.training.prm_problem import prm_problem
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig

META = "meta"


RUNS: dict[str, tuple[str, ...]] = {
    "orm": (),
    "car": ("baseline.top=0.4", "baseline.clusters=2", "baseline.batch_size=3"),
    "s1": ("baseline.final_answer=false", "baseline.max_solved=1"),
    "bis": ("baseline.keep=0.5", "data.labels=hard", "data.label_threshold=0.5"),
    "random_share": ("baseline.keep=0.5",),
    "meta_only": (),
    "with_meta": ("baseline.labels=last",),
    "random_weights": ("baseline.spread=0.5",),
    "doremi": ("baseline.lr=20", "baseline.reference=VANILLA"),
    "doge": ("baseline.lr=0.5",),
}
SELECTIONS = ("orm", "car", "s1", "bis", "random_share", "meta_only", "with_meta")


def vanilla_run(tiny: TinyRun) -> Path:
    """A finished run of the same settings without an upper level."""
    folder = tiny.folder / "vanilla"
    assert tiny.train("hypergrad.name=none", f"output={folder}") == 0
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", RUNS)
def test_a_baseline_trains_by_the_same_command_and_resumes_bit_for_bit(name: str, tiny: TinyRun) -> None:
    settings = (f"baseline.name={name}", *RUNS[name])
    if name == "doremi":
        settings = tuple(one.replace("VANILLA", str(vanilla_run(tiny))) for one in settings)
    assert tiny.train(*settings) == 0
    summary = tiny.summary()
    assert (summary["baseline"], summary["estimator"], summary["steps"]) == (name, "none", 8)
    # The selector that its PRM is scored under, unless it is given another name.
    assert trained(summary).selector == name and not trained(summary).learned
    assert [row["status"] for row in tiny.lines("metrics.jsonl")] == ["ok"] * 4
    told = json.loads((tiny.output / "model" / "prm.json").read_text())["training"]
    assert told["baseline"] == name
    assert told.get("scores") == ("response" if name == "orm" else None)
    assert (tiny.output / "selected" / "train.jsonl").exists() == (name in SELECTIONS)

    weights = [row["weights"] for row in tiny.lines("domain_weights.jsonl")]
    if name in ("doremi", "doge"):
        assert any(value != 1 for value in weights[-1].values())
        assert all(sum(row.values()) == pytest.approx(2, abs=1e-6) for row in weights)
    elif name == "random_weights":
        assert weights == [weights[0]] * 4
        assert sorted(weights[0].values()) == pytest.approx([0.5, 1.5], abs=1e-6)
    else:
        domains = {"meta_only": (META,), "with_meta": (*DOMAINS, META)}.get(name, DOMAINS)
        assert weights == [dict.fromkeys(domains, 1.0)] * 4

    files = [
        "checkpoints/step-000008/tensors.safetensors",
        "checkpoints/step-000008/state.json",
        "domain_weights.jsonl",
        "model/model.safetensors",
    ]
    whole = {file: (tiny.output / file).read_bytes() for file in files}
    shutil.rmtree(tiny.output / "checkpoints" / "step-000008")
    (tiny.output / "model" / "model.safetensors").unlink()
    stage = [tiny.output / place for place in ("selected/train.jsonl", "selected/report.json")]
    before = {path: path.stat().st_mtime_ns for path in stage if path.exists()}
    assert len(before) == 2 * (name in SELECTIONS)
    assert tiny.train(*settings) == 0
    for file, content in whole.items():
        assert (tiny.output / file).read_bytes() == content, file
    # what came before the training was found, not made again
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_selection_that_was_lost_is_made_again_and_the_same(tiny: TinyRun) -> None:
    settings = ("baseline.name=car", *RUNS["car"])
    assert tiny.train(*settings) == 0
    selected, model = tiny.output / "selected" / "train.jsonl", tiny.output / "model" / "model.safetensors"
    content, weights = selected.read_bytes(), model.read_bytes()
    shutil.rmtree(tiny.output / "checkpoints" / "step-000008")
    selected.unlink()
    assert tiny.train(*settings) == 0
    assert (selected.read_bytes(), model.read_bytes()) == (content, weights)


def test_the_selected_file_is_what_is_trained_on(tiny: TinyRun) -> None:
    assert tiny.train("baseline.name=car", *RUNS["car"]) == 0
    selected = rows(tiny.output / "selected" / "train.jsonl")
    report = json.loads((tiny.output / "selected" / "report.json").read_text())
    assert report["kept"] == len(selected) and report["of"] == 10
    # the best four of ten, and the best of two clusters: four, or one or two more
    assert 4 <= len(selected) <= 6
    for domain in DOMAINS:
        assert report["domains"][domain]["kept"] == sum(row["domain"] == domain for row in selected)
    given = {row["id"]: row for domain in DOMAINS for row in rows(tiny.folder / f"{domain}.jsonl")}
    for row in selected:
        assert row["steps"] == given[row["id"]]["steps"] and row["labels"] == given[row["id"]]["labels"]
        assert Path(row["image"]) == (tiny.folder / given[row["id"]]["image"]).resolve()
    _, state = load_checkpoint(tiny.output / "checkpoints" / "step-000008")
    assert set(state["data_positions"]) == {row["domain"] for row in selected}
    told = json.loads((tiny.output / "model" / "prm.json").read_text())["training"]
    assert told["estimator"] == "none"


def test_a_selection_of_everything_is_the_vanilla_run(tiny: TinyRun) -> None:
    vanilla, _, _ = trained_parts(tiny, "hypergrad.name=none")
    assert tiny.train("baseline.name=s1", *RUNS["s1"], "baseline.keep=1") == 0
    tensors, _ = load_checkpoint(tiny.output / "checkpoints" / "step-000008")
    for name, value in vanilla.state.params.items():
        assert torch.equal(tensors[f"params/{name}"], value), name


def test_an_orm_learns_from_last_steps_and_is_scored_by_them(
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = ("baseline.name=orm", "meta_loss=step", "aggregation=mean", "steps=2")
    assert tiny.train(*settings) == 0
    for row in rows(tiny.output / "selected" / "train.jsonl"):
        assert all(label is None for label in row["labels"][:-1]) and row["labels"][-1] is not None
    told = json.loads((tiny.output / "model" / "prm.json").read_text())["training"]
    assert (told["aggregation"], told["meta_loss"]) == ("last", "aggregation")
    assert (
        "baseline orm fixes aggregation=last, hypergrad.name=none, meta_loss=aggregation\n"
        in capsys.readouterr().out
    )
    # what the user gave is what is kept, and what a resumed run compares
    config = load_config(TrainConfig, tiny.output / "config.yaml")
    assert (config.aggregation, config.meta_loss, config.hypergrad.name) == ("mean", "step", "first_order")
    assert tiny.train(*settings) == 0


def test_a_reference_of_another_form_is_refused(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    reference = tiny.folder / "other"
    make_prm(load_config(TrainConfig, tiny.write(), ["model.head=vocab_logits"])).save_pretrained(reference)
    assert tiny.train("baseline.name=doremi", f"baseline.reference={reference}") == 2
    message = capsys.readouterr().err
    assert f"the reference in {reference} is another model: head.weight is (1, " in message


def test_doremi_takes_a_run_folder_or_its_model(tiny: TinyRun) -> None:
    reference = vanilla_run(tiny)
    given = []
    for number, folder in enumerate((reference, reference / "model")):
        settings = ("baseline.name=doremi", "baseline.lr=20", f"baseline.reference={folder}")
        assert tiny.train(*settings, f"output={tiny.folder / str(number)}") == 0
        given.append(tiny.lines("domain_weights.jsonl", run=str(number)))
    assert given[0] == given[1] and not (tiny.folder / "0" / "vanilla").exists()


def test_doremi_says_which_command_makes_its_reference(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.train("baseline.name=doremi") == 2
    message = capsys.readouterr().err
    assert (
        "baseline 'doremi': reference must be given: train the vanilla PRM first, using `dreamprm" in message
    )
    assert not tiny.output.exists()
    # What it says to type is a vanilla run on the same data.
    typed = re.findall(r'"(.*?)"', message)
    assert typed == ["baseline={name: none}", "hypergrad={name: none}"]
    config = load_config(TrainConfig, tiny.write(), ["baseline={name: car, top: 0.1}", *typed])
    assert (config.baseline.name, config.baseline.settings, config.hypergrad.name) == ("none", {}, "none")
    assert config.data == load_config(TrainConfig, tiny.write()).data


def test_the_second_stage_of_doge_has_the_mean_weights_of_the_first(tiny: TinyRun) -> None:
    assert tiny.train("baseline.name=doge", "baseline.lr=0.5", f"output={tiny.folder / 'first'}") == 0
    history = [row["weights"] for row in tiny.lines("domain_weights.jsonl", run="first")]
    assert (
        tiny.train(
            "baseline.name=fixed_weights", f"baseline.run={tiny.folder / 'first'}", "baseline.take=mean"
        )
        == 0
    )
    for domain, weight in tiny.summary()["weights"].items():
        assert weight == pytest.approx(sum(row[domain] for row in history) / 4, rel=1e-6)


REFUSED = {
    "unknown": (("baseline.name=car2",), "unknown baseline 'car2'"),
    "setting": (("baseline.name=s1", "baseline.top=1"), "baseline 's1' has no setting 'top'"),
    "instance weights": (("baseline.name=orm", "weights.kind=instance_table"), "set weights.kind=domain"),
    "audit": (("baseline.name=doge", "hypergrad.audit_every=2"), "a baseline has none; set hypergrad.audit"),
    "reference": (("baseline.name=doremi", "baseline.reference=nowhere"), "nowhere holds no saved PRM"),
    "other domains": (("baseline.name=random_weights", "baseline.spread=1"), "too large for 2 domains"),
    "no run": (("baseline.name=fixed_weights", "baseline.run=nowhere"), "no weights of a run in nowhere"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_written(
    case: str,
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides, message = REFUSED[case]
    assert tiny.train(*overrides) == 2
    assert message in capsys.readouterr().err
    assert not tiny.output.exists()


def test_a_selection_that_leaves_nothing_tells_why(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.train("baseline.name=s1") == 2
    assert "baseline s1 leaves no CoT to train on: 10 no final answer; loosen" in capsys.readouterr().err
    # another try in the same folder is another configuration; overwrite replaces it
    assert tiny.train("baseline.name=s1", *RUNS["s1"], "steps=2") == 2
    assert "holds a run of another configuration (baseline." in capsys.readouterr().err
    assert tiny.train("baseline.name=s1", *RUNS["s1"], "steps=2", "overwrite=true") == 0


def test_overwriting_selects_again(tiny: TinyRun) -> None:
    assert tiny.train("baseline.name=orm", "steps=2") == 0
    marker = tiny.output / "selected" / "old"
    marker.touch()
    assert tiny.train("baseline.name=orm", "steps=2", "overwrite=true") == 0
    assert not marker.exists() and (tiny.output / "selected" / "report.json").exists()


def test_records_whose_images_are_gone_are_selected_as_texts(tiny: TinyRun) -> None:
    (tiny.folder / "2.png").unlink()
    tiny.config["data"]["missing_image"] = "text_only"
    assert tiny.train("baseline.name=orm", "steps=2") == 0
    selected = rows(tiny.output / "selected" / "train.jsonl")
    assert len(selected) == 10 and sum(row.get("images") == [] for row in selected) == 2


def test_without_a_baseline_nothing_has_changed(tiny: TinyRun) -> None:
    """The default run, bit for bit what the parts give when they are put together by hand."""
    run, _, history = trained_parts(tiny)
    config = load_config(TrainConfig, tiny.write())
    parts = assemble(config, make_accelerator(config), say=lambda text: None)
    weights = DomainWeights(list(parts.records.domains), "softplus")
    problem = prm_problem(parts.prm, weights)
    estimator = build_estimator("first_order")
    params: dict[str, Tensor] = parts.state.params
    alpha = weights.init()
    inner = make_optimizer(config.inner, steps=8, names=params, section="inner")
    upper = make_optimizer(config.upper, steps=4, names=alpha, section="upper")
    state = BilevelState.start(params, alpha, inner=inner, upper=upper)
    for number in range(4):
        window = estimator.run_window(
            problem,
            inner,
            state.params,
            state.inner,
            state.alpha,
            inner_batches=[parts.step_batches[2 * number], parts.step_batches[2 * number + 1]],
            outer_batch=parts.meta_batches[number],
        )
        state.params, state.inner = window.params, window.state
        state.alpha, state.upper = upper.step(state.alpha, window.alpha_grad, state=state.upper)
        assert history[number]["weights"] == weights.named(state.alpha)
    for name, value in state.params.items():
        assert torch.equal(run.state.params[name], value), name
    told = run.state.alpha["domain_weights"]
    assert torch.equal(told, state.alpha["domain_weights"])


def records_of(tiny: TinyRun) -> list[StepRecord]:
    return list(RecordTable.open(tiny.folder / "charts.jsonl", kind="step", cache_dir=tiny.folder / "cache"))


def base_model(tiny: TinyRun) -> PRM:
    return make_prm(load_config(TrainConfig, tiny.write()))


@pytest.mark.parametrize("readout", ["step_end", "chat_suffix"])
def test_the_backbones_measures_do_not_depend_on_the_batch(readout: str, tiny: TinyRun) -> None:
    tiny.config["model"]["readout"] = readout
    prm, records, images = base_model(tiny), records_of(tiny), ImageStore()
    for measure in (mean_log_likelihoods, mean_states):
        together = measure(prm, records, images=images, batch_size=4)
        single = [measure(prm, [record], images=images, batch_size=1)[0] for record in records]
        assert together.shape[0] == 5
        for one, many in zip(single, together, strict=True):
            # float32, with and without padding
            assert many == pytest.approx(one, abs=2e-6)


def test_the_likelihood_is_that_of_the_steps_tokens(tiny: TinyRun) -> None:
    prm, record, images = base_model(tiny), records_of(tiny)[1], ImageStore()
    encoded = prm.processor.encode(record.question, images.open_all(record.images), record.steps)
    batch = prm.processor.collate([encoded])
    with torch.no_grad():
        logits = prm.eval()(batch, output="token_logits")[0]  # (L, vocab)
    ids, start = batch["input_ids"][0], encoded.rows[0].text_start
    logs = torch.log_softmax(logits, -1)
    want = sum(float(logs[i - 1, ids[i]]) for i in range(start, len(ids))) / (len(ids) - start)
    got = mean_log_likelihoods(prm, [record], images=images, batch_size=2)
    assert got.tolist() == pytest.approx([want], rel=1e-5)
