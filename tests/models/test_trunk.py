"""A pass that starts at the cached states of a frozen trunk is the pass from the tokens on."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import checked_rows
import numpy as np
import pytest
import torch
from tiny_models import tiny_config, tiny_cots, tiny_image, tiny_prm, tiny_processor
from torch import Tensor, nn
from torch.func import functional_call

from dreamprm.config.errors import UserError
from dreamprm.models.encoding import EncodedCoT
from dreamprm.models.prm import PRM
from dreamprm.models.trunk import Trunk
from dreamprm.models.trunk_states import CachedRecords, RecordStates, StateFiles
from experiments.float64 import Float64Inside

UPPER = ("head.*", "*language_model.norm.*", "*language_model.layers.2.*")
HEAD = ("head.*",)
NORM = ("head.*", "*language_model.norm.*")
NONE = np.array([], dtype=np.int64)


def cots(prm: PRM) -> list[EncodedCoT]:
    """Rows of different lengths, with no, one and two images."""
    return [prm.processor.encode(*cot) for cot in tiny_cots(4)]


def texts(prm: PRM) -> list[EncodedCoT]:
    images = [prm.processor.patcher.resized(tiny_image(0))]
    return [
        prm.processor.encode_text("one plus two equals three .", images),
        prm.processor.encode_text("how many bars"),
    ]


def cached(
    prm: PRM, trained: Sequence[str], encoded: Sequence[EncodedCoT], folder: Path, **stored: Any
) -> dict[str, Any]:
    """The batch of these records, each of whose states has been written to a file and read again."""
    trunk = Trunk.below(prm, trained)
    files = StateFiles(folder)
    for number, one in enumerate(encoded):
        collate = prm.processor.collate if one.n_steps else prm.processor.collate_text
        batch = collate([one])
        files.add(
            {str(number): RecordStates.of(batch, trunk.states(batch), reads_only=trunk.reads_only)}, **stored
        )
    places = files.places(files.paths())
    numbers = np.array([places[str(number)] for number in range(len(encoded))])
    records = CachedRecords(files.paths(), numbers, first_layer=trunk.first)
    records[0]
    return pickle.loads(pickle.dumps(records)).collate(range(len(encoded)))


def derivatives(
    prm: PRM, params: Mapping[str, Tensor], batch: Mapping[str, Any], output: str
) -> list[Tensor]:
    """The outputs, the gradient of a loss of them in the params, and its gradient along itself."""
    values = functional_call(prm, dict(params), (batch,), {"output": output})
    leaves, unused = list(params.values()), dict[str, Any](allow_unused=True, materialize_grads=True)
    grads = torch.autograd.grad(values.sin().sum(), leaves, create_graph=True, **unused)
    along = torch.stack([(grad * grad.detach()).sum() for grad in grads]).sum()
    return [values.detach(), *grads, *torch.autograd.grad(along, leaves, **unused)]


ROWS: dict[str, dict[str, Any]] = {
    "upper layers": {},
    "qwen2_5_vl": {"family": "qwen2_5_vl"},
    "qwen3_vl": {"family": "qwen3_vl"},
    "the head alone": {"patterns": HEAD},
    "norm and head": {"patterns": NORM, "family": "qwen3_vl"},
    "after the chat template": {"readout": "chat_suffix"},
    "after the chat template, the head alone": {"readout": "chat_suffix", "patterns": HEAD},
    "the vocabulary's logits": {"head": "vocab_logits", "patterns": HEAD},
    "every layer": {"patterns": ("*layers.0.self_attn.q_proj*",)},
}


@checked_rows.each("row", ROWS)
def test_outputs_and_derivatives_are_those_of_the_whole_pass(
    row: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = dict(row)
    patterns = row.pop("patterns", UPPER)
    with Float64Inside():
        prm = tiny_prm(layers=3, dtype=torch.float64, **row)
        params = prm.trainable_params(patterns=patterns)
        for encoded, output in ((cots(prm), "step_logits"), (texts(prm), "token_logits")):
            collate = prm.processor.collate if output == "step_logits" else prm.processor.collate_text
            whole = collate(encoded)
            batch = cached(prm, list(params), encoded, tmp_path_factory.mktemp("states"))
            assert ("read_states" in batch) == (patterns in (HEAD, NORM))
            assert not {"input_ids", "pixel_values"} & batch.keys()
            if output == "token_logits":
                assert torch.equal(batch["token_targets"], whole["token_targets"])
                if patterns in (HEAD,):
                    continue  # the text's loss does not depend on it
            for got, want in zip(
                derivatives(prm, params, batch, output), derivatives(prm, params, whole, output), strict=True
            ):
                torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


def test_masks_follow_the_layers_own_places(tmp_path: Path) -> None:
    """Of a model whose upper layers alone have a sliding window."""
    config = tiny_config(layers=3)
    text = config.text_config
    text.use_sliding_window, text.sliding_window, text.max_window_layers = True, 4, 2
    text.layer_types = ["full_attention", "full_attention", "sliding_attention"]
    prm = PRM.from_backbone(config, processor=tiny_processor(), attn_implementation="eager").eval()
    params = prm.trainable_params(patterns=["head.*", "*layers.1.*", "*layers.2.*"])
    got = functional_call(prm, params, (cached(prm, list(params), cots(prm), tmp_path),))
    whole = prm.processor.collate(cots(prm))
    torch.testing.assert_close(got, functional_call(prm, params, (whole,)), rtol=1e-4, atol=1e-5)
    text.layer_types = ["full_attention"] * 3
    assert (functional_call(prm, params, (whole,)) - got).abs().max() > 1e-3


def test_bf16_rounds_each_state_to_eight_bits_and_takes_half_the_room(tmp_path: Path) -> None:
    prm = tiny_prm(layers=3)
    trained = list(prm.trainable_params(patterns=UPPER))
    exact = cached(prm, trained, cots(prm), tmp_path / "exact")["trunk_states"]
    rounded = cached(prm, trained, cots(prm), tmp_path / "bf16", stored=torch.bfloat16)["trunk_states"]
    assert rounded.dtype == exact.dtype == torch.float32
    error = ((rounded - exact).abs() / exact.abs().clamp_min(1e-30)).max()
    assert 2**-10 < error <= 2**-8
    sizes = [sum(path.stat().st_size for path in (tmp_path / name).iterdir()) for name in ("exact", "bf16")]
    assert exact.shape[-1] * 2 * 100 < sizes[0] - sizes[1]


@pytest.mark.parametrize(
    ("family", "patterns", "told"),
    [
        ("qwen2_vl", ("*",), "backbone.model.visual.patch_embed.proj.weight is trained"),
        ("qwen2_vl", ("head.*", "*merger*"), "visual.merger.ln_q.weight is trained"),
        ("qwen2_vl", ("*embed_tokens*",), "embed_tokens.weight is trained"),
        ("qwen3_vl", ("*layers.0.*",), "train layer 1 and those above it alone"),
    ],
)
def test_what_the_states_depend_on_must_be_frozen(family: str, patterns: tuple[str, ...], told: str) -> None:
    prm = tiny_prm(family, layers=3)
    with pytest.raises(UserError, match=told):
        Trunk.below(prm, list(prm.trainable_params(patterns=patterns)))


def test_dropout_below_is_refused_while_it_is_on(tmp_path: Path) -> None:
    prm = tiny_prm(layers=3)
    trained = list(prm.trainable_params(patterns=UPPER))
    text = prm.backbone.model.language_model
    for layer in text.layers:
        layer.self_attn.attention_dropout = 0.1
    assert Trunk.below(prm, trained).first == 2  # evaluation mode
    prm.train()
    with pytest.raises(UserError, match="dropout"):
        Trunk.below(prm, trained)
    for layer in text.layers[:2]:
        layer.self_attn.attention_dropout = 0.0
    assert Trunk.below(prm, trained).first == 2  # that above the trunk is drawn anew in each pass


def test_the_trunk_is_known_by_its_weights_and_not_by_those_above() -> None:
    prm = tiny_prm(layers=3)
    trained = list(prm.trainable_params(patterns=UPPER))
    trunk = Trunk.below(prm, trained)
    before = trunk.identity()
    text = prm.backbone.model.language_model
    above: list[nn.Module] = [text.layers[2], text.norm, prm.head]
    for module in above:
        _nudge(module)
    assert trunk.identity() == before
    for module in trunk.modules().values():
        if any(True for _ in module.parameters()):
            _nudge(module)
            assert trunk.identity() != before
            before = trunk.identity()
    assert Trunk(prm, 1).identity() != before
    assert Trunk.below(tiny_prm(layers=3, attn_implementation="sdpa"), trained).identity() != before


def _nudge(module: nn.Module) -> None:
    with torch.no_grad():
        next(module.parameters()).reshape(-1)[0].add_(0.5)


def test_a_reference_with_another_trunk_is_refused() -> None:
    prm = tiny_prm(layers=3)
    trunk = Trunk.below(prm, list(prm.trainable_params(patterns=UPPER)))
    params = {name: value.detach().clone() for name, value in prm.named_parameters()}
    params["backbone.model.language_model.layers.2.mlp.up_proj.weight"].add_(1)
    trunk.require_same(params, whose="the reference")
    params["backbone.model.language_model.layers.1.mlp.up_proj.weight"].add_(1)
    with pytest.raises(UserError, match=r"the reference has another .*layers\.1\.mlp\.up_proj\.weight"):
        trunk.require_same(params, whose="the reference")


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    for key in ("one", "two"):
        states = torch.randn(3, 4)
        files.add({key: RecordStates(states, (3,), np.zeros((3, 3), np.int32), np.array([[0], [2]]), NONE)})
    damaged, whole = files.paths()
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert StateFiles(tmp_path).damaged() == [damaged] and whole != damaged
