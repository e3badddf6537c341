"""The names that settings choose from, each list once: settings, `--help` and the code itself read them here.

They are kept apart from that code so that reading a configuration imports neither torch nor transformers.
"""

AGGREGATIONS = ("sum_log_odds", "mean_log_odds", "mean", "min", "max", "prod", "last")
"""How the scores of a CoT's steps are combined into one (`dreamprm.models.aggregation`)."""

META_LOSSES = ("aggregation", "step")
"""Forms of the upper level's loss (`dreamprm.training.objectives.meta_loss`)."""

WEIGHT_KINDS = ("domain", "instance_table", "instance_net", "labels")
"""What alpha weighs (`dreamprm.models.weights`)."""

WEIGHT_FEATURES = ("loss", "steps", "label", "domain")
"""What an instance net reads from a CoT."""

CORRECTED = ("intermediate", "all")
"""Whose labels are corrected: of all steps but a CoT's last one, or of all."""

NORMALISATIONS = ("softplus", "softmax", "none")
"""How raw weights become weights (`dreamprm.models.weights.base`)."""

INNER_OPTIMIZERS = ("adamw", "adam", "sgd", "lion", "muon")
"""Optimizers of the lower level (`dreamprm.hypergrad`)."""

SCHEDULES = ("constant", "step", "linear_decay", "cosine")
"""Learning-rate schedules (`dreamprm.training.optimizers`)."""

SPLITS = ("auto", "headings", "paragraphs", "sentences", "whole")
"""What a step of a response is (`dreamprm.responses`).

auto: the text under a heading where there are several headings, else a paragraph.
"""

PROMPTS = ("five_stage", "plain")
"""How a chain of thought is asked for (`dreamprm.generators.prompting`)."""

PROGRESS_MODES = ("auto", "bar", "lines", "none")
"""How progress is shown (`dreamprm.runtime.progress`)."""

HEADS = ("hidden", "vocab_logits")
"""What the PRM's step head reads (`dreamprm.models.prm`)."""

READOUTS = ("step_end", "chat_suffix")
"""Where a step is read (`dreamprm.models.processing`)."""

LORA_TARGETS = ("*language_model*_proj",)
"""Patterns of the layers that low-rank adapters adapt by default: the language model's linear layers."""
