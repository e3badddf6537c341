"""The model card of a saved PRM: plain facts, no claims."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dreamprm.models.trained_kinds import MODELS

if TYPE_CHECKING:
    from dreamprm.models.prm import PRM


def model_card(prm: "PRM", training: Mapping[str, Any]) -> str:
    """The card's text: what the model is, how it is read, its training settings, how to use it."""
    config = prm.backbone.config
    text, size = config.get_text_config(), prm.processor.image_processor.size
    settings = prm.processor.settings
    facts = {
        "Backbone": f"{config.model_type}, hidden {text.hidden_size}, {text.num_hidden_layers} layers, "
        f"vocabulary {text.vocab_size}",
        "Parameters": f"{sum(parameter.numel() for parameter in prm.parameters()):,}",
        "Head": prm.head_kind,
        "Readout": settings.readout,
        "Step separator": repr(settings.step_separator),
        "Image size limits": f"{size['shortest_edge']} to {size['longest_edge']} pixels",
        "Longest row": "no limit" if settings.max_length is None else f"{settings.max_length} tokens",
    }
    # Training settings come from users' files: a line break in one must not break the table.
    trained = {name: " ".join(str(value).split()) for name, value in training.items()}
    parts = [
        "---\nlibrary_name: dreamprm\npipeline_tag: image-text-to-text\n"
        "tags: [process-reward-model, dreamprm]\n---\n",
        "# Multimodal process reward model\n",
        "Scores every step of a chain of thought with the probability that the steps so far lead to a right "
        f"answer. {what_was_trained(training)}\n",
        "## Model\n",
        _table(facts),
        "## Training\n",
        _table(trained) if trained else "No training settings were recorded.\n",
        "## Use\n",
        "```python\nfrom dreamprm.models import PRM\n\n"
        'prm = PRM.from_pretrained("path/to/this/folder")\n'
        'probabilities = prm.score("question", "image.png", ["Step 1: ...", "Step 2: ..."])\n```\n',
    ]
    return "\n".join(parts)


def what_was_trained(training: Mapping[str, Any]) -> str:
    """In a sentence: learned weights, and by which estimator; the vanilla PRM; or a baseline by its name.

    Args: training: the settings kept with the model; `baseline` and `estimator` decide.
    """
    baseline, estimator = training.get("baseline"), training.get("estimator")
    if baseline is not None:
        told = f": {MODELS[baseline]}" if baseline in MODELS else ""
        return f"Trained as the baseline `{baseline}` that DreamPRM is compared with{told}."
    if estimator is None:
        return "How it was trained was not recorded."
    if estimator == "none":
        return "A vanilla PRM, which DreamPRM is compared with: trained with equal weights, none was learned."
    return (
        "Trained with DreamPRM (arXiv 2505.20241): weights of its training data learned by bi-level "
        f"optimisation, the upper gradient by the estimator `{estimator}`."
    )


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"
