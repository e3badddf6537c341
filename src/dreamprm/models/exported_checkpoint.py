"""A PRM as a checkpoint for other software, with its head in the place where that software looks for it.

hf           token classification with one class for language models; for Qwen-VL models, the weights of the
             generating model and the head next to them, as `score.weight` and `score.bias`
step_token   the generating model with two more tokens, the difference of whose logits is the log-odds
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedConfig

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import atomic_folder
from dreamprm.models.backbone import reads_images
from dreamprm.models.export_readme import EXPORT_FILE, RIGHT, WRONG, export_readme
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor

FORMS = ("hf", "step_token")


@dataclass(frozen=True)
class ExportFacts:
    """What a reader of an exported checkpoint has to know, as `dreamprm_export.json` holds it.

    Attributes:
        form: one of `FORMS`.
        readout, step_separator, question_separator: how rows are made and read (`ProcessorSettings`).
        scores: `step`, or `response` for an outcome reward model, read at the last step.
        tokens: with `step_token`, the ids of the tokens that mean right and wrong.
        bias: the head's. With `step_token` it is added to the difference of their logits, as a vocabulary
            head has none.
    """

    form: str
    readout: str
    step_separator: str
    question_separator: str
    scores: str
    tokens: Mapping[str, int]
    bias: float


def export_prm(prm: PRM, folder: str | Path, *, form: str, training: Mapping[str, Any]) -> ExportFacts:
    """Write a PRM as a checkpoint for other software, completely or not at all.

    Args:
        prm: without adapters; its head must not be used afterwards, as `step_token` changes the vocabulary.
        folder: new or empty, or holding an earlier export, which is replaced.
        form: one of `FORMS`.
        training: the settings stored with the PRM, for the README.

    Raises:
        UserError: an unknown form, or the folder holds something else.
    """
    folder = Path(folder)
    if form not in FORMS:
        raise UserError(f"unknown form {form!r}; use one of {', '.join(FORMS)}")
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / EXPORT_FILE).exists())
    ):
        raise UserError(f"{folder} exists and is not an export of a PRM; give a new folder or empty this one")
    weight, bias = head_on_states(prm)
    settings = prm.processor.settings
    tokens: dict[str, int] = {}
    with atomic_folder(folder) as new:
        if form == "step_token":
            tokens = _save_step_token(prm, weight, new)
        elif reads_images(prm.backbone.config):
            _save_with_score(prm, weight, bias, new)
            prm.processor.save_pretrained(new)
        else:
            _save_token_classifier(prm, weight, bias, new)
            prm.processor.save_pretrained(new)
        facts = ExportFacts(
            form,
            settings.readout,
            settings.step_separator,
            settings.question_separator,
            scores="response" if training.get("scores") == "response" else "step",
            tokens=tokens,
            bias=bias,
        )
        (new / EXPORT_FILE).write_text(json.dumps(asdict(facts), indent=2) + "\n", encoding="utf-8")
        readme = export_readme(prm.backbone.config, prm.processor, asdict(facts), training)
        (new / "README.md").write_text(readme, encoding="utf-8")
    return facts


@torch.no_grad()
def head_on_states(prm: PRM) -> tuple[Tensor, float]:
    """`w` (hidden,) and `b` of log-odds = w . h + b, of either kind of head.

    vocab_logits:  w . (W_lm h) + b = (W_lm^T w) . h + b
    """
    weight = prm.head.weight[0].double()
    if prm.head_kind == "vocab_logits":
        output: Any = prm.backbone.get_output_embeddings()
        weight = weight @ output.weight.double()  # (vocab,) (vocab, hidden) -> (hidden,)
    return weight, float(prm.head.bias[0])


def _labelled(config: PreTrainedConfig) -> PreTrainedConfig:
    """A config that says one class, in the text model's part too, where vLLM reads it."""
    changed = copy.deepcopy(config)
    for part in {id(part): part for part in (changed, changed.get_text_config())}.values():
        part.num_labels = 1
        part.id2label, part.label2id = {0: "log_odds"}, {"log_odds": 0}
    return changed


def _save_token_classifier(prm: PRM, weight: Tensor, bias: float, folder: Path) -> None:
    config: Any = _labelled(prm.backbone.config)
    config.classifier_dropout = 0.0
    with torch.device("meta"):  # its layers are put in
        model = AutoModelForTokenClassification.from_config(config)
    model.model = prm.backbone.model
    model.score = nn.Linear(weight.shape[0], 1)
    with torch.no_grad():
        model.score.weight.copy_(weight[None])
        model.score.bias.fill_(bias)
    model.save_pretrained(folder)


def _save_with_score(prm: PRM, weight: Tensor, bias: float, folder: Path) -> None:
    state = dict(prm.backbone.state_dict())
    state["score.weight"] = weight[None].float().contiguous()
    state["score.bias"] = torch.tensor([bias])
    kept = prm.backbone.config
    prm.backbone.config = _labelled(kept)
    try:
        prm.backbone.save_pretrained(folder, state_dict=state)
    finally:
        prm.backbone.config = kept


def _save_step_token(prm: PRM, weight: Tensor, folder: Path) -> dict[str, int]:
    """Two more tokens: the output row of the first is w, that of the second 0."""
    tokenizer = copy.deepcopy(prm.processor.tokenizer)
    tokenizer.add_tokens([RIGHT, WRONG], special_tokens=True)
    right, wrong = tokenizer.convert_tokens_to_ids([RIGHT, WRONG])
    backbone = prm.backbone
    if max(right, wrong) >= backbone.config.get_text_config().vocab_size:
        backbone.resize_token_embeddings(max(right, wrong) + 1, mean_resizing=False)
    output: Any = backbone.get_output_embeddings()
    with torch.no_grad():
        output.weight[right] = weight.to(output.weight.dtype)
        output.weight[wrong] = 0.0
    backbone.save_pretrained(folder)
    processor = PRMProcessor(
        tokenizer,
        prm.processor.image_processor,
        settings=prm.processor.settings,
        text_only=prm.processor.text_only,
    )
    processor.save_pretrained(folder)
    return {"right": int(right), "wrong": int(wrong)}
