"""Runs that train low-rank adapters: what is trained and what stays, gradients, the model, refusals."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from accelerate.state import AcceleratorState
from divided_runs import some_windows
from safetensors.torch import load_file
from test_trained_parts import kept
from tiny_run import TinyRun, save_tiny_checkpoint, tiny_run, trained
from torch import Tensor

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.hypergrad import build_estimator
from dreamprm.models import PRM
from dreamprm.models.lora import is_adapter, plain_name
from dreamprm.training import assembly
from dreamprm.training.assembly import make_prm
from dreamprm.training.model_preparation import refuse_divided_dropout
from dreamprm.training.processes import make_accelerator
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.settings import LoraSettings, ModelSettings, TrainConfig
from experiments.float64 import Float64Inside

LORA = "model.lora={rank: 4, alpha: 8.0}"
DROPOUT = "model.lora={rank: 4, alpha: 8.0, dropout: 0.3}"
ALONE = "model.lora.save=adapter"


@pytest.mark.parametrize("frozen", ["float32", "bf16"])
def test_adapters_and_head_are_trained_and_the_rest_stays_to_the_bit(frozen: str, tiny: TinyRun) -> None:
    run, metrics, _ = trained(
        tiny,
        DROPOUT,
        f"model.frozen_dtype={frozen}",
        "model.trainable=['*language_model.norm.*']",
        "inner.no_decay=['*lora_A*', 'head.bias']",
        "hypergrad.audit_every=2",
        "hypergrad.audit_params=['*lora_B*', 'head.*']",
    )
    before, after = (dict(prm.named_parameters()) for prm in (make_prm(run.config), run.prm))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    norm = "backbone.model.language_model.norm.weight"
    assert changed == {name for name in before if is_adapter(name)} | {"head.weight", "head.bias", norm}
    assert changed == run.state.params.keys() == {name for name, p in after.items() if p.requires_grad}
    assert {value.dtype for value in run.state.params.values()} == {torch.float32}
    assert {row["status"] for row in metrics} <= {"ok"}
    assert run.trained_part() == {"trained_parameters": sum(p.numel() for p in run.state.params.values())}


@pytest.mark.parametrize(("precision", "estimator"), [("fp32", "adjoint"), ("bf16", "first_order")])
def test_a_checkpoint_in_bf16_trains_the_same_to_the_bit_where_it_is_stored_so(
    precision: str, estimator: str, tiny: TinyRun, tmp_path: Path
) -> None:
    tiny.config["model"]["path"] = str(
        save_tiny_checkpoint(tmp_path / "narrow", layers=1, vision_layers=1, dtype=torch.bfloat16)
    )
    found = []
    for frozen in ("float32", "bf16"):
        AcceleratorState._reset_state(reset_partial_state=True)
        settings = [
            LORA,
            f"model.frozen_dtype={frozen}",
            f"precision={precision}",
            "sampling=mixed",
            "steps=4",
        ]
        run, metrics, weights = trained(tiny, *settings, f"hypergrad.name={estimator}")
        found.append((run.state.params, run.state.alpha, weights, [row["status"] for row in metrics]))
    AcceleratorState._reset_state(reset_partial_state=True)
    for one, other in zip(found[0][:2], found[1][:2], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert found[0][2:] == found[1][2:]


def test_layers_that_are_computed_again_see_the_same_masks_and_narrow_weights(tiny: TinyRun) -> None:
    settings = [DROPOUT, "model.frozen_dtype=bf16", "hypergrad.name=adjoint", "steps=4"]
    one, other = (
        trained(tiny, *settings, f"model.checkpoint_activations={again}")[0].state for again in (False, True)
    )
    assert all(torch.equal(one.params[name], other.params[name]) for name in one.params)
    assert all(torch.equal(one.alpha[name], other.alpha[name]) for name in one.alpha)


# Of float64 windows, in two orders of the same operations: the estimators agree to 1e-15 without a model.
AGREE = {"rtol": 1e-9, "atol": 1e-12}


@pytest.mark.parametrize("more", ["sampling=mixed", "lm_weight=0.5"])
def test_the_exact_estimators_agree_through_dropout(more: str, tiny: TinyRun) -> None:
    texts = ["lm_batch_size=2", "data.lm=FOLDER/pool.jsonl"] if "lm" in more else []
    common = [DROPOUT, "model.attn_implementation=eager", "upper.eps=1e-3", "inner.eps=1e-5", more, *texts]
    rows = [[f"hypergrad.name={name}", *common] for name in ("adjoint", "unrolled")]
    other = [rows[0][0], LORA, *rows[0][2:]]
    one, two, without = some_windows(tiny.write(), [*rows, other], torch.float64)
    for name, value in one.items():
        torch.testing.assert_close(torch.tensor(value), torch.tensor(two[name]), **AGREE)
    assert abs(one["inner losses"] - without["inner losses"]).max() > 1e-6  # dropout did act
    names = [name for name in one if name.startswith("params")]
    assert names and all("lora_" in name or "head." in name for name in names)


def test_first_order_is_the_derivative_with_fixed_parameters_in_each_gradient(tiny: TinyRun) -> None:
    """phi_t enters the step from t to t + 1 by decay alone; its gradient only alpha."""
    overrides = [LORA, "model.attn_implementation=eager", "sampling=mixed", "inner.eps=1e-5"]
    config = load_config(TrainConfig, tiny.write(), overrides)
    with patch.object(
        assembly, "make_prm", lambda config, **given: make_prm(config, **given).to(torch.float64)
    ):
        run = assembly.assemble(config, make_accelerator(config), say=lambda line: None)
    batches = [run.trainer.to_device(run.step_batches[step]) for step in range(3)]
    meta = run.trainer.to_device(run.meta_batches[0])
    alpha = {name: value.double().requires_grad_() for name, value in run.state.alpha.items()}
    problem, lr = run.trainer.problem, run.trainer.inner.learning_rate(0)
    with Float64Inside():
        window = build_estimator("first_order", derivative="double_backward").run_window(
            problem,
            run.trainer.inner,
            run.state.params,
            run.state.inner,
            run.state.alpha | {name: value.detach() for name, value in alpha.items()},
            inner_batches=batches,
            outer_batch=meta,
        )
        phi: dict[str, Tensor] = {name: value.detach() for name, value in run.state.params.items()}
        m, v = (dict.fromkeys(phi, torch.zeros(())) for _ in range(2))
        for step, batch in enumerate(batches, start=1):
            fixed = {name: value.detach().requires_grad_() for name, value in phi.items()}
            loss = problem.inner_loss(fixed, alpha, batch)
            grads = torch.autograd.grad(loss, list(fixed.values()), create_graph=True)
            for name, grad in zip(phi, grads, strict=True):
                m[name] = 0.9 * m[name] + 0.1 * grad
                v[name] = 0.999 * v[name] + 0.001 * grad.square()
                seen = v[name] > 0  # A has no gradient in the first step, as B is 0
                root = torch.where(seen, v[name], 1.0).sqrt() * seen / (1 - 0.999**step) ** 0.5
                moved = lr * m[name] / (1 - 0.9**step) / (root + 1e-5)
                phi[name] = (1 - lr * config.inner.weight_decay) * phi[name] - moved
        outer = problem.outer_loss(phi, alpha, meta)
        (wanted,) = torch.autograd.grad(outer, list(alpha.values()))
    (got,) = window.alpha_grad.values()
    assert float(wanted.abs().max()) > 1e-6
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-14)
    for name, value in window.params.items():
        torch.testing.assert_close(value, phi[name].detach(), rtol=1e-12, atol=1e-14)


def test_what_a_pass_keeps(tiny: TinyRun) -> None:
    lora = kept(tiny, LORA)
    assert lora < kept(tiny)  # the vision tower's activations
    # Stored narrow, the frozen weights are kept as they are: none of a layer's is kept widened.
    assert kept(tiny, LORA, "model.frozen_dtype=bf16") == lora


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> TinyRun:
    """A run of adapters with dropout that nothing interrupted; its model holds the adapters alone."""
    tiny = tiny_run(tmp_path_factory.mktemp("finished"), tiny_checkpoint)
    assert tiny.train(DROPOUT, ALONE) == 0
    return tiny


def test_a_run_that_fell_goes_on_bit_for_bit(
    tiny: TinyRun, finished: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_weights = RunFolder.log_weights

    def fall(self: RunFolder, step: int, weights: Any) -> None:
        if step == 6:
            raise RuntimeError("power cut")
        log_weights(self, step, weights)

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "log_weights", fall)
        assert tiny.train(DROPOUT, ALONE) == 1
    assert tiny.train(DROPOUT, ALONE) == 0
    assert tiny.lines("domain_weights.jsonl") == finished.lines("domain_weights.jsonl")
    for name in ("model/adapter_model.safetensors", "model/head.safetensors", "model/adapter_config.json"):
        assert (tiny.output / name).read_bytes() == (finished.output / name).read_bytes()
    held = load_file(tiny.output / "checkpoints" / "step-000008" / "tensors.safetensors")
    assert not any("base_layer" in name for name in held)


def test_the_folder_says_what_was_trained(finished: TinyRun, tiny_checkpoint: Path) -> None:
    weights = load_file(finished.output / "model" / "adapter_model.safetensors")
    count = sum(value.numel() for value in weights.values()) + 33
    assert finished.summary()["trained_parameters"] == count
    told = json.loads((finished.output / "model" / "prm.json").read_text())
    assert told["training"]["trained_parameters"] == count
    assert told["adapter"]["frozen_dtype"] == "float32"
    card = (finished.output / "model" / "README.md").read_text()
    assert "rank 4, alpha 8" in card and str(tiny_checkpoint) not in card
    config = load_config(TrainConfig, finished.output / "config.yaml")
    assert config.model.lora == LoraSettings(rank=4, alpha=8.0, dropout=0.3, save="adapter")


def test_both_forms_are_scored_alike(finished: TinyRun, tiny: TinyRun) -> None:
    """A finished run's model may be written in the other form; `score` reads both, with the right base."""
    run = Path(shutil.copytree(finished.output, tiny.folder / "run"))
    assert finished.train(DROPOUT, f"output={run}") == 0
    assert (run / "model" / "config.json").is_file() and not (run / "model" / "adapter_config.json").exists()
    scores = []
    base = f"base={finished.config['model']['path']}"
    forms: list[tuple[Path, list[str]]] = [(run, []), (finished.output, []), (finished.output, [base])]
    for number, (model, more) in enumerate(forms):
        output, suite = tiny.folder / f"scored-{number}", tiny.folder / "first.jsonl"
        given = [f"model={model}", f"files.first={suite}", f"output={output}", "name=prm", *more]
        assert main(["score", *given]) == 0
        scores.append((output / "first.jsonl").read_text())
    assert scores[0] == scores[1] == scores[2]


def test_score_refuses_another_base(
    finished: TinyRun, tiny: TinyRun, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(tiny_checkpoint, tiny.folder / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"pad_token_id": 1}))
    given = [f"files.first={tiny.folder / 'first.jsonl'}", f"output={tiny.folder / 'scored'}"]
    assert main(["score", f"model={finished.output}", f"base={other}", *given]) == 2
    told = capsys.readouterr().err
    assert "is not the base model that the adapters" in told and "config.json has other content" in told
    assert main(["score", f"model={other}", "scores=likelihood", f"base={other}", *given]) == 2
    assert "is for a PRM saved as adapters alone: leave it null" in capsys.readouterr().err


def test_a_base_that_was_changed_while_training_is_refused(
    tiny: TinyRun, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(shutil.copytree(tiny_checkpoint, tiny.folder / "base"))
    settings = (f"model.path={base}", LORA, ALONE, "steps=2")

    def changed(*arguments: Any) -> None:
        (base / "config.json").unlink()

    with patch("dreamprm.training.train.require_finite", changed):
        assert tiny.train(*settings) == 2
    told = capsys.readouterr().err
    assert "was changed while adapters of it were trained: config.json is missing" in told
    shutil.copy(tiny_checkpoint / "config.json", base)
    assert tiny.train(*settings) == 0


def test_doremi_takes_a_reference_with_adapters(tiny: TinyRun) -> None:
    reference = tiny.folder / "reference"
    assert tiny.train("hypergrad={name: none}", LORA, ALONE, f"output={reference}") == 0
    run, metrics, _ = trained(tiny, LORA, "baseline={name: doremi, lr: 20, reference: " + f"{reference}}}")
    estimator: Any = run.trainer.estimator
    known = dict(PRM.from_pretrained(reference / "model").named_parameters())
    for name, value in estimator.reference.items():
        assert not value.any() if is_adapter(name) else torch.equal(value, known[plain_name(name)])
    assert estimator.reference.keys() == dict(run.prm.named_parameters()).keys()
    assert all(row["status"] == "ok" for row in metrics)


VISION = "model.lora={target_modules: ['*visual*']}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.lora.target_modules=[x_proj]"], "model.lora: target_modules: 'x_proj' matches no linear"),
        (["model.lora.target_modules=[]"], "model.lora: target_modules must name at least one layer"),
        (["model.lora.rank=0"], "model.lora.rank must be >= 1"),
        (["model.lora.dropout=1"], "model.lora.dropout must be >= 0 and < 1"),
        (["model.lora.save=both"], "model.lora.save must be one of merged, adapter"),
        ([LORA, "model.trainable=['*lora_A*']"], "model.trainable: '*lora_A*' matches no parameter that can"),
        ([LORA, "model.trainable=['*q_proj*']"], "model.trainable: '*q_proj*' matches no parameter that can"),
        ([VISION, "model.freeze_vision=true"], "model.lora.target_modules names layers of the vision tower"),
        (["model.frozen_dtype=bf16"], "model.frozen_dtype=bf16 is for what is not trained"),
        (["model.frozen_dtype=fp16"], "model.frozen_dtype must be one of float32, bf16"),
        (["model={lora: {save: adapter}, config: c.json}"], "lora.save=adapter needs path"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    overrides: list[str], message: str, tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.train(*overrides) == 2
    assert message in capsys.readouterr().err and not tiny.output.exists()


def test_without_peft_a_run_says_how_to_install_it(
    tiny: TinyRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert tiny.train(LORA) == 2
    assert "pip install 'dreamprm[peft]'" in capsys.readouterr().err and not tiny.output.exists()


def test_several_processes_refuse_dropout() -> None:
    lora = LoraSettings(dropout=0.1)
    refuse_divided_dropout(ModelSettings(lora=lora), 1)
    refuse_divided_dropout(ModelSettings(lora=LoraSettings()), 2)
    with pytest.raises(UserError, match=r"model.lora.dropout=0.1 draws masks .* of the 2 processes"):
        refuse_divided_dropout(ModelSettings(lora=lora), 2)
