"""The model card of a saved PRM: plain facts, no claims."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dreamprm.files.markdown import as_code, as_text

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from dreamprm.models.processing import PRMProcessor


def model_card(
    config: PreTrainedConfig,
    processor: PRMProcessor,
    training: Mapping[str, Any],
    *,
    head: str,
    parameters: int,
) -> str:
    """The card's text: what the model is, how it is read, its training settings, how to use it.

    Args:
        config: the backbone's.
        processor: the PRM's.
        training: settings to print; may be empty.
        head: the kind of head.
        parameters: the number of parameters of the whole PRM.
    """
    text, images = config.get_text_config(), processor.image_processor
    settings = processor.settings
    facts = {
        "Backbone": f"{config.model_type}, hidden {text.hidden_size}, {text.num_hidden_layers} layers, "
        f"vocabulary {text.vocab_size}",
        "Parameters": f"{parameters:,}",
        "Head": head,
        "Readout": settings.readout,
        "Step separator": repr(settings.step_separator),
        "Image size limits": "none: it reads text only"
        if images is None
        else f"{images.size['shortest_edge']} to {images.size['longest_edge']} pixels",
        "Longest row": "no limit" if settings.max_length is None else f"{settings.max_length} tokens",
    }
    shown = "None" if images is None else '"image.png"'
    trained = {name: str(value) for name, value in training.items()}
    parts = [
        "---\nlibrary_name: dreamprm\npipeline_tag: "
        f"{'image-text-to-text' if images is not None else 'text-classification'}\n"
        "tags: [process-reward-model, dreamprm]\n---\n",
        f"# {'Multimodal process' if images is not None else 'Process'} reward model\n",
        "Scores every step of a chain of thought with the probability that the steps so far lead to a right "
        f"answer. {what_was_trained(training)}{_trained_from(training)}\n",
        "## Model\n",
        settings_table(facts),
        "## Training\n",
        settings_table(trained) if trained else "No training settings were recorded.\n",
        "## Use\n",
        "```python\nfrom dreamprm.models import PRM\n\n"
        'prm = PRM.from_pretrained("path/to/this/folder")\n'
        f'probabilities = prm.score("question", {shown}, ["Step 1: ...", "Step 2: ..."])\n```\n',
    ]
    return "\n".join(parts)


def what_was_trained(training: Mapping[str, Any]) -> str:
    """One sentence: learned weights and the estimator, the vanilla PRM, or the name of a baseline.

    Args: training: the settings stored with the model, of which `baseline`, `estimator` and `learned` are
        used.
    """
    baseline, estimator = training.get("baseline"), training.get("estimator")
    if baseline is not None:
        told = f": {MODELS[baseline]}" if baseline in MODELS else ""
        return f"Trained as the baseline {as_code(str(baseline))} that DreamPRM is compared with{told}."
    if estimator is None:
        return "How it was trained was not recorded."
    if estimator == "none":
        return "A vanilla PRM, which DreamPRM is compared with: trained with equal, not learned, weights."
    if training.get("learned") == "labels":
        return (
            "Trained with corrected labels (as DreamPRM-Code, arXiv 2512.15000): the labels of its training "
            "steps were corrected by bi-level optimisation, with upper gradients from the estimator "
            f"{as_code(str(estimator))}."
        )
    return (
        "Trained with DreamPRM (arXiv 2505.20241): the weights of its training data were learned by bi-level "
        f"optimisation, with upper gradients from the estimator {as_code(str(estimator))}."
    )


def _trained_from(training: Mapping[str, Any]) -> str:
    """A further sentence: the weights that the training began with, where they were recorded."""
    base, weights = training.get("base_model"), training.get("base_weights")
    if base is None:
        return ""
    return f" It began with the weights of {as_code(str(base))}{'' if weights is None else f' ({weights})'}."


def settings_table(rows: Mapping[str, Any]) -> str:
    """A table of names and values, as Markdown."""
    # Settings come from users' files: what is in them must neither break the table nor be markup.
    cells = [tuple(as_text(str(text)).replace("|", "\\|") for text in row) for row in rows.items()]
    lines = [f"| {name} | {value} |" for name, value in cells]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


MODELS: Mapping[str, str] = MappingProxyType(
    {
        "vanilla": "PRM trained with equal weights",
        "orm": "outcome reward model: trained on one outcome label per CoT, at its last step",
        "car": "PRM trained with equal weights on data selected by cluster and rank",
        "s1": "PRM trained with equal weights on data selected by quality, difficulty and diversity",
        "bis": "PRM trained with equal weights on the CoTs with the highest Balanced-Information Score",
        "random_share": "PRM trained with equal weights on a random share of each domain's CoTs",
        "meta_only": "PRM trained on the meta set alone",
        "with_meta": "PRM trained with equal weights on all domains and the meta set as one more",
        "random_weights": "PRM trained with fixed weights drawn at random",
        "fixed_weights": "PRM trained with weights that an earlier run ended with or had on average",
        "regmix": "PRM trained with fixed weights that a regression over other runs predicts (RegMix)",
        "doremi": "PRM trained with weights moved by excess loss over a reference model (DoReMi)",
        "doge": "PRM trained with weights moved by the alignment of gradients with the meta loss (DoGE)",
        "dreamprm": "PRM trained with learned weights",
    }
)
"""Trained models by the name of their baseline; `vanilla` and `dreamprm` are not baselines."""
