"""Training a part of the model: the rest stays to the bit, and costs nothing."""

from __future__ import annotations

import pytest
import torch
from kept_activations import kept_bytes
from tiny_run import TinyRun, trained

from dreamprm.training.assembly import make_prm

HEAD = "model.trainable=[head.*]"
LAST = "model.trainable=['head.*', '*language_model.norm.*', '*merger*']"


def kept(tiny: TinyRun, *overrides: str) -> int:
    """What a forward pass of the inner loss keeps for its backward pass, parameters left out."""
    run, _, _ = trained(tiny, "steps=2", *overrides)
    params = {name: p.detach().requires_grad_() for name, p in run.state.params.items()}
    batch = run.trainer.to_device(run.step_batches[0])
    besides = (*run.prm.parameters(), *run.state.params.values())
    return kept_bytes(run.trainer.problem.inner_losses, params, batch, besides=besides)


@pytest.mark.parametrize(
    ("override", "names"),
    [
        (HEAD, {"head.weight", "head.bias"}),
        ("model.trainable=['*']", None),
        (LAST, {"head.weight", "head.bias", "backbone.model.language_model.norm.weight"}),
    ],
)
def test_what_matches_is_trained_and_the_rest_stays(
    override: str, names: set[str] | None, tiny: TinyRun
) -> None:
    run, metrics, _ = trained(tiny, override)
    before = dict(make_prm(run.config).named_parameters())
    after = dict(run.prm.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    trained_ones = {name for name in changed if "merger" not in name}
    if names is None:
        assert run.state.params.keys() == before.keys()
        assert {"head.weight", "backbone.model.visual.patch_embed.proj.weight"} <= changed
    else:
        assert trained_ones == names
        assert changed <= run.state.params.keys()
    assert all(after[name].requires_grad == (name in run.state.params) for name in after)
    assert all(row["status"] == "ok" for row in metrics)


def test_what_is_frozen_keeps_no_activations(tiny: TinyRun) -> None:
    everything = kept(tiny)
    without_vision = kept(tiny, "model.freeze_vision=true")
    head = kept(tiny, HEAD)
    assert head < 0.1 * everything and head < without_vision < everything


def test_the_exact_estimators_agree_on_a_part(tiny: TinyRun) -> None:
    grads = []
    for name in ("adjoint", "unrolled"):
        run, metrics, _ = trained(tiny, f"hypergrad.name={name}", LAST)
        grads.append([row["alpha_grad_norm"] for row in metrics])
        assert not any("layers" in key for key in run.state.params)
    assert grads[0] == pytest.approx(grads[1], rel=1e-3)


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        (["model.trainable=['*layers.99.*']"], "*layers.99.*"),
        (["model.trainable=['head.*','*visual*']", "model.freeze_vision=true"], "*visual*"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(
    overrides: list[str], pattern: str, tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.train(*overrides) == 2
    told = capsys.readouterr().err
    assert f"model.trainable: '{pattern}' matches no parameter that can be trained" in told
    assert "head.weight, head.bias" in told and not tiny.output.exists()
