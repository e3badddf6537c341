"""The process reward model: a backbone and a head that reads out a score at every step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from dreamprm.config.choices import HEADS, LORA_TARGETS
from dreamprm.config.errors import UserError
from dreamprm.data.image_decoder import ImageSource
from dreamprm.files.content import FileDigests
from dreamprm.models.backbone import (
    attention_in_use,
    last_hidden_states,
    make_backbone,
    reads_images,
    sdpa_is_math_only,
    states_read,
)
from dreamprm.models.candidate_scoring import PassLimits, scored_questions
from dreamprm.models.lora import adapter_facts, add_adapters, is_adapter
from dreamprm.models.model_card import model_card
from dreamprm.models.processing import PRMProcessor
from dreamprm.models.storage import PRMParts, load_head, load_parts, save_parts
from dreamprm.models.trained_part import BACKBONE, trained_names

OUTPUTS = ("step_logits", "token_logits")


class PRM(nn.Module):
    """p_i = sigmoid(head(state at the end of step i)), all steps of a batch in one causal pass.

        hidden:        logit_i = w . h_i + b            h_i: last hidden state (default)
        vocab_logits:  logit_i = w . (W_lm h_i) + b     the public DreamPRM checkpoints' form; vocabulary
                                                        logits are computed at step ends only

    Args:
        backbone: a model of one of the families in `backbone.BACKBONES`, with its language-model head.
        processor: makes the batches; its image token and patch sizes must match the backbone's.
        head: one of `HEADS`.

    Raises:
        UserError: an unknown head, or a processor that does not match the backbone.

    Source: DreamPRM, arXiv 2505.20241; reading at step ends is our addition.
    """

    def __init__(self, backbone: PreTrainedModel, processor: PRMProcessor, *, head: str = "hidden") -> None:
        super().__init__()
        if head not in HEADS:
            raise UserError(f"unknown head {head!r}; use one of {', '.join(HEADS)}")
        _check_fit(backbone.config, processor)
        text = backbone.config.get_text_config()
        self.backbone = backbone
        self.processor = processor
        self.head_kind = head
        width = text.hidden_size if head == "hidden" else text.vocab_size
        # The head stays in float32 or wider: a score near 0 or 1 needs the precision.
        dtype = torch.float64 if backbone.dtype == torch.float64 else torch.float32
        self.head = nn.Linear(width, 1, dtype=dtype, device=backbone.device)

    def forward(self, batch: Mapping[str, Tensor], *, output: str = "step_logits") -> Tensor:
        """Step logits, or next-token logits of the language model.

        Args:
            batch: from `PRMProcessor.collate` (or `collate_text`), on the model's device; or one made of a
                trunk's states (`models.trunk_states`).
            output: `step_logits`: `(S,)` log-odds of p_i at (`step_rows`, `step_cols`).
                `token_logits`: `(N, vocab)` at (`token_rows`, `token_cols`), or `(R, L, vocab)` if the batch
                names no positions.

        Returns:
            float32 (float64 for a float64 model), also under autocast.

        Raises:
            UserError: an unknown output.
        """
        if output not in OUTPUTS:
            raise UserError(f"unknown output {output!r}; use one of {', '.join(OUTPUTS)}")
        if output == "step_logits":
            return self.read(states_read(self.backbone, batch, rows="step_rows", columns="step_cols"))
        if "token_rows" in batch:
            hidden = states_read(self.backbone, batch, rows="token_rows", columns="token_cols")  # (N, hidden)
        else:
            hidden = last_hidden_states(self.backbone, batch)  # (R, L, hidden)
        return self.backbone.lm_head(hidden).to(self.head.weight.dtype)

    def read(self, states: Tensor) -> Tensor:
        """`(S,)` log-odds from the `(S, hidden)` final states of the tokens at which steps are read."""
        if self.head_kind == "vocab_logits":
            states = self.backbone.lm_head(states)  # (S, vocab)
        with torch.autocast(states.device.type, enabled=False):
            return self.head(states.to(self.head.weight.dtype)).squeeze(-1)

    @property
    def supports_second_order(self) -> bool:
        """Whether second-order gradients exist: eager attention, or sdpa without its fused kernels."""
        in_use = attention_in_use(self.backbone)
        return in_use == {"eager"} or (in_use <= {"eager", "sdpa"} and sdpa_is_math_only())

    def add_lora(
        self,
        *,
        rank: int = 16,
        alpha: float = 32.0,
        dropout: float = 0.0,
        target_modules: Sequence[str] = LORA_TARGETS,
        rslora: bool = False,
    ) -> None:
        """Add low-rank adapters (`models.lora`), trained with the step head in place of the weights.

            y = x W^T + b + (alpha / rank) dropout(x) A^T B^T

        The scores stay what they were, as B is 0.

        Args:
            rank: of A `(rank, in)` and B `(out, rank)`, >= 1.
            alpha: > 0; with `rslora` it is divided by the square root of the rank.
            dropout: share of a layer's input that its adapter does not see while training, in [0, 1).
            target_modules: patterns of linear layers' names, or of their last parts (`q_proj`). The default
                means the language model's projections, of a language model by itself too.

        Raises:
            UserError: as `add_adapters`.
        """
        add_adapters(
            self.backbone,
            rank=rank,
            alpha=alpha,
            dropout=dropout,
            target_modules=_targets(self.backbone.config, target_modules),
            rslora=rslora,
            prefix=BACKBONE,
        )

    def trainable_params(
        self, *, freeze_vision: bool = False, patterns: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """Master copies of the weights by name, for `torch.func.functional_call(prm, params, (batch,))`.

        Args:
            freeze_vision: leave the vision tower out; `functional_call` then uses the module's own weights
                for it.
            patterns: leave out what matches none of them, likewise; empty: nothing. With adapters
                (`add_lora`): what is trained in addition to these and the step head.

        Returns:
            New leaf tensors that require gradients, float32 (float64 for a float64 model), which share no
            storage with the module; a tied weight appears once, under its first name.

        Raises:
            UserError: a pattern that matches no parameter, of those that `freeze_vision` leaves and that no
                adapter adapts.
        """
        own = dict(self.named_parameters())
        return {
            name: own[name].detach().to(self.head.weight.dtype, copy=True).requires_grad_()
            for name in trained_names(self, freeze_vision=freeze_vision, patterns=patterns)
        }

    def load_params(self, params: Mapping[str, Tensor]) -> None:
        """Copies trained weights, named as in `trainable_params`, into the module.

        Raises:
            UserError: a name the module does not have, or a tensor of another shape.
        """
        own = dict(self.named_parameters())
        unknown = sorted(set(params) - set(own))
        if unknown:
            raise UserError(f"the model has no parameter {unknown[0]!r} ({len(unknown)} unknown in all)")
        for name, value in params.items():
            if value.shape != own[name].shape:  # copy_ would spread it
                raise UserError(
                    f"{name} has the shape {tuple(value.shape)}, the model needs {tuple(own[name].shape)}"
                )
        with torch.no_grad():
            for name, value in params.items():
                own[name].copy_(value)

    @torch.no_grad()
    def score(
        self,
        question: str,
        image: ImageSource | Sequence[ImageSource] | None = None,
        steps: Sequence[str] = (),
    ) -> list[float]:
        """Probability, for each step, that the chain of thought up to it leads to a right answer.

        Args:
            question: the question's text.
            image: an image (a path, a Pillow image, or the bytes of a file; read as `open_image` in
                `dreamprm.data.image_decoder` says), several of these, or None for a text-only question.
            steps: the chain of thought, at least one step.

        Returns:
            One number in [0, 1] per step.

        Raises:
            UserError: no step, an image that cannot be opened, or an input that `PRMProcessor.encode`
                rejects.
        """
        encoded = self.processor.encode(question, self.processor.opened(_listed(image)), steps)
        device = self.head.weight.device
        batch = {name: value.to(device) for name, value in self.processor.collate([encoded]).items()}
        was_training = self.training
        self.eval()
        try:
            return torch.sigmoid(self(batch)).tolist()
        finally:
            self.train(was_training)

    def score_candidates(
        self,
        question: str,
        image: ImageSource | Sequence[ImageSource] | None = None,
        candidates: Sequence[Sequence[str]] = (),
        *,
        batch_size: int = 32,
        batch_tokens: int = 16384,
    ) -> list[list[float]]:
        """`score` for several chains of thought of one question; what they share is computed only once.

        For many questions, use `dreamprm score`, which reads and writes files, or
        `models.candidate_scoring.scored_questions`.

        Args:
            question, image: as for `score`.
            candidates: the steps of each candidate, at least one each; no candidates give an empty list.
            batch_size, batch_tokens: the most candidates, and tokens including padding, in one pass.

        Returns:
            For each candidate, a list of one number in [0, 1] per step; equal to `score` up to rounding.

        Raises:
            UserError: as for `score`, or a limit below 1.
        """
        limits = PassLimits(batch_size, batch_tokens)
        images = self.processor.opened(_listed(image))
        encoded = [self.processor.encode(question, images, steps) for steps in candidates]
        if not encoded:
            return []
        was_training = self.training
        self.eval()
        try:
            ((_, log_odds),) = scored_questions(self, [encoded], limits=limits)
        finally:
            self.train(was_training)
        return [torch.sigmoid(torch.tensor(values, dtype=torch.float64)).tolist() for values in log_odds]

    @classmethod
    def from_backbone(
        cls,
        source: str | Path | PreTrainedConfig | Mapping[str, Any],
        *,
        processor: PRMProcessor | None = None,
        head: str = "hidden",
        readout: str | None = None,
        attn_implementation: str = "sdpa",
        dtype: torch.dtype = torch.float32,
    ) -> "PRM":
        """A PRM with a new head on a plain checkpoint, or on a randomly initialised config.

        Args:
            source: a checkpoint folder or hub name, a `transformers` config, or its dict (with `model_type`).
            processor: required with a config; read from the checkpoint if None.
            head: one of `HEADS`.
            readout: `step_end` (default) or `chat_suffix`, when the processor comes from the checkpoint.
            attn_implementation: `sdpa`, `eager` (needed for second-order gradients), or another one that
                transformers knows (`backbone.attention_implementations`).
            dtype: of the weights.

        Raises:
            UserError: nothing readable at `source`, no processor for a config, or parts that do not match.
        """
        if processor is None:
            if not isinstance(source, str | Path):
                raise UserError(
                    "a PRM made from a config needs a processor; pass processor=PRMProcessor(...)"
                )
            changes: dict[str, Any] = {} if readout is None else {"readout": readout}
            processor = PRMProcessor.from_pretrained(source, **changes)
        elif readout is not None and readout != processor.readout:
            raise UserError(f"readout is {readout!r}, the processor's is {processor.readout!r}; give it once")
        return cls(
            make_backbone(source, attn_implementation=attn_implementation, dtype=dtype), processor, head=head
        )

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        training: Mapping[str, Any] | None = None,
        adapter_of: str | Path | None = None,
        digests: FileDigests | None = None,
    ) -> None:
        """Writes weights, processor, settings and model card, either completely or not at all.

        Adapters (`add_lora`) are merged into the weights, and the folder is one without any; or, with
        `adapter_of`, only what was trained is written.

        Args:
            folder: new, empty, or containing an earlier PRM, which is replaced.
            training: plain settings (JSON values) to keep in `prm.json` and print in the card, such as the
                aggregation, estimator and data.
            adapter_of: the checkpoint (a folder or hub name) to which the adapters were added. Written are
                the adapters in peft's form, the head, other parameters that take gradients, and the
                checkpoint's place (relative to `folder`) and digests.
            digests: of the running command, for the checkpoint's files; None: they are read anew.

        Raises:
            UserError: the folder contains something else; or, with `adapter_of`, there are no adapters or no
                files of that checkpoint.
        """
        facts = adapter_facts(self.backbone) | dict(training or {})
        card = model_card(
            self.backbone.config,
            self.processor,
            facts,
            head=self.head_kind,
            parameters=sum(own.numel() for name, own in self.named_parameters() if not is_adapter(name)),
        )
        parts = PRMParts(self.backbone, self.processor, self.head_kind)
        save_parts(
            folder,
            parts,
            self.head,
            card=card,
            training=training or {},
            adapter_of=adapter_of,
            digests=digests,
        )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        head: str | None = None,
        readout: str | None = None,
        base: str | Path | None = None,
        attn_implementation: str = "sdpa",
        dtype: torch.dtype = torch.float32,
    ) -> "PRM":
        """Reads a PRM that `save_pretrained` wrote; saved adapters are merged into their base model.

        Args:
            folder: the folder.
            head, readout: expected values, since they decide what the weights mean; None accepts the stored
                ones.
            base: the base model of saved adapters, a folder or hub name, if it is not where it was.
            attn_implementation: as for `make_backbone`; not stored, since it changes no result.
            dtype: of the weights in memory.

        Raises:
            UserError: no PRM or a broken one, a newer format, or a head or readout that differs from the
                stored one; of saved adapters: peft is not installed, or the base model is missing or another.
        """
        parts = load_parts(
            folder,
            head=head,
            readout=readout,
            base=base,
            attn_implementation=attn_implementation,
            dtype=dtype,
        )
        prm = cls(parts.backbone, parts.processor, head=parts.head_kind)
        load_head(prm.head, folder)
        return prm.eval()


def _listed(image: ImageSource | Sequence[ImageSource] | None) -> Sequence[ImageSource]:
    """The images as a list. Anything else that is no list of images is named by the decoder's error."""
    if image is None:
        return []
    return image if isinstance(image, Sequence) and not isinstance(image, str | bytes) else [image]


def _targets(config: PreTrainedConfig, given: Sequence[str]) -> Sequence[str]:
    """Patterns of the layers to adapt: the default names a part that a language model by itself is."""
    return given if reads_images(config) or tuple(given) != LORA_TARGETS else ("*_proj",)


def _check_fit(config: PreTrainedConfig, processor: PRMProcessor) -> None:
    if reads_images(config) == processor.text_only:
        raise UserError(
            f"the backbone ({config.model_type}) reads {'images' if processor.text_only else 'text only'}, "
            f"and the processor is for {'text only' if processor.text_only else 'images too'}; make it with "
            f"text_only={not processor.text_only}"
        )
    if reads_images(config):
        _check_images_fit(config, processor)
    vocabulary = config.get_text_config().vocab_size
    if len(processor.tokenizer) > vocabulary:
        raise UserError(
            f"the tokenizer has {len(processor.tokenizer)} tokens, but the backbone embeds {vocabulary}; "
            "use the backbone's own tokenizer"
        )


def _check_images_fit(config: PreTrainedConfig, processor: PRMProcessor) -> None:
    vision, patcher = config.vision_config, processor.patcher
    pairs = {
        "the image token's id": (config.image_token_id, processor.image_token_id),
        "patch size": (vision.patch_size, patcher.patch),
        "merge size": (vision.spatial_merge_size, patcher.merge),
        "temporal patch size": (vision.temporal_patch_size, patcher.temporal),
    }
    for what, (expected, got) in pairs.items():
        if expected != got:
            raise UserError(
                f"{what} is {expected} in the backbone's config and {got} in the processor; they must agree"
            )
