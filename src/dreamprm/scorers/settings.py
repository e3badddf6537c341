"""Which model scores, and how it is loaded: the part that the commands which score have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import GIVEN, LARGEST_SEED, open_settings, section, setting
from dreamprm.runtime.settings import ground_colour, image_ground_setting


def model_setting() -> Any:
    """The setting `model` of every command that scores."""
    return setting(
        None,
        "a trained PRM: a run folder or its model/; a folder of the public DreamPRM code (base_model/ and "
        "LN_weights.pt); a PRM of another project (see layout); with scores=likelihood, a plain checkpoint's "
        "folder. Or give server, or critic.name",
    )


@dataclass
class LayoutSettings:
    """The form of another project's PRM."""

    name: str | None = setting(
        None,
        "qwen_prm: Qwen2.5-Math-PRM's step token and two-class head; math_shepherd: + and - after the mark "
        "ки; visualprm: a turn per step, answered by + or -; trl: a token classifier of TRL's PRMTrainer; "
        "null: one of ours, or recognised by config.json (qwen_prm, trl)",
        shorthand=True,
    )
    settings: dict[str, Any] = open_settings(
        "the named layout's own settings, written next to name:",
        registry="dreamprm.scorers.published:LAYOUTS",
    )


@dataclass
class CriticSettings:
    """A language model that is asked whether steps are right, in place of a PRM."""

    name: str | None = setting(
        None, "the critic's generator, as in generator.name; usually openai. null: no critic"
    )
    asks: str = setting(
        "step",
        "one request for each step (it sees those before), or one for each whole candidate",
        choices=("step", "response"),
        when={"name": GIVEN},
    )
    probabilities: str = setting(
        "auto",
        "logprobs: from the log-probs of Yes and No, by replies of one word; samples: from the verdicts of "
        "several replies; auto: logprobs where the server gives them, which one request finds out",
        choices=("auto", "logprobs", "samples"),
        when={"name": GIVEN},
    )
    samples: int = setting(
        8, "replies per request, with probabilities=samples", minimum=1, when={"name": GIVEN}
    )
    temperature: float = setting(
        1.0, "sampling temperature, with probabilities=samples", minimum=0, when={"name": GIVEN}
    )
    max_tokens: int = setting(
        512, "length limit of a reply, with probabilities=samples", minimum=8, when={"name": GIVEN}
    )
    top_logprobs: int = setting(
        20,
        "how many of the likeliest tokens the server is asked for; some allow 5 at the most",
        minimum=2,
        when={"name": GIVEN},
    )
    seed: int = setting(0, "passed to the generator", minimum=0, maximum=LARGEST_SEED, when={"name": GIVEN})
    settings: dict[str, Any] = open_settings(
        "the named generator's own settings, written next to name:",
        registry="dreamprm.generators:GENERATORS",
    )


@dataclass
class ScorerSettings:
    """The scorer: what it is loaded from, what it gives, where and how it computes."""

    model: str | None = model_setting()
    layout: LayoutSettings = section(LayoutSettings)
    server: str | None = setting(
        None, "address of a `dreamprm serve` that scores, such as http://127.0.0.1:8000, in place of a model"
    )
    critic: CriticSettings = section(CriticSettings)
    base: str | None = setting(
        None,
        "for a PRM saved as adapters alone: folder or hub name of its base model, if it is not where it was",
    )
    scores: str = setting(
        "auto",
        "a score for each step, or one for the response, read at its last step (an outcome reward model); "
        "auto: as the model was trained; likelihood: one value for the response, the mean log-likelihood "
        "(nats per token) of its steps under a checkpoint that is not a PRM, stored in place of the log-odds",
        choices=("auto", "step", "response", "likelihood"),
    )
    processor: str | None = setting(
        None,
        "for a model of the public code, which stores none: folder or hub name of a Qwen2-VL whose "
        "tokenizer and image processor it uses; with scores=likelihood, null: the checkpoint's own",
    )
    max_pixels: int | None = setting(
        None,
        "for a model of the public code, or scores=likelihood: images are scaled down to at most this many "
        "pixels; null: 262144 (512 x 512); our own models store theirs",
        minimum=1,
    )
    image_ground: str | None = image_ground_setting(
        None,
        "; for a model of the public code, or scores=likelihood; null: the processor's own, or white; our "
        "own models store theirs",
    )
    batch_size: int = setting(32, "largest number of candidates per pass", minimum=1)
    batch_tokens: int = setting(
        16384, "largest number of tokens per pass, padding included; lower it if memory runs out", minimum=1
    )
    precision: str = setting(
        "fp32", "precision of weights and computation; the head stays fp32", choices=("fp32", "bf16")
    )
    device: str = setting("auto", "auto: a GPU if there is one", choices=("auto", "cpu", "cuda"))

    def check(self) -> None:
        """Require one scorer, and a colour."""
        named = {"model": self.model, "server": self.server, "critic.name": self.critic.name}
        given = [name for name, value in named.items() if value is not None]
        if not given:
            raise ValueError("one of model, server and critic.name must be given")
        if len(given) > 1:
            raise ValueError(f"give one of model, server and critic.name, not {' and '.join(given)}")
        if self.layout.name is not None and self.model is None:
            raise ValueError("layout is for a model of another project; it needs model")
        if self.image_ground is not None:
            ground_colour(self.image_ground)
