"""`dreamprm serve`: which model is served where, what a request may hold, how requests are batched."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dreamprm.client import TOKEN_VARIABLE
from dreamprm.config.choices import AGGREGATIONS, SPLITS
from dreamprm.config.names import check_names
from dreamprm.config.schema import section, setting
from dreamprm.scorers.settings import ScorerSettings


@dataclass
class LimitSettings:
    """What one request may hold."""

    body: int = setting(
        32 << 20, "largest body of a request in bytes; a larger one is answered 413", minimum=1024
    )
    body_seconds: float = setting(
        60.0, "seconds within which a request's body must arrive; 408 after that", above=0
    )
    candidates: int = setting(
        1024, "most candidates (or responses) of one request; more are answered 422", minimum=1
    )
    steps: int = setting(256, "most steps of a candidate; more are answered 422", minimum=1)
    tokens: int = setting(
        16384,
        "most tokens of a candidate, with its question and images; more are answered 422",
        minimum=1,
    )
    images: int = setting(8, "most images of a question; more are answered 422", minimum=0)
    image_pixels: int = setting(
        1 << 24, "most pixels of an image (16,777,216 is 4096 x 4096); more are answered 422", minimum=1
    )


@dataclass
class QueueSettings:
    """How much may be waiting; what comes on top is answered 429 with Retry-After."""

    requests: int = setting(1024, "most requests that are being received, waiting or being scored", minimum=1)
    bytes: int = setting(512 << 20, "most bytes of their bodies, all together", minimum=1024)


@dataclass
class BatchSettings:
    """Which requests go through the model together."""

    window_ms: float = setting(
        10.0,
        "milliseconds for which a batch waits, from its first request on, for others that are arriving; 0: "
        "it takes what is there. A request that is alone never waits",
        minimum=0,
        maximum=10_000,
    )
    tokens: int = setting(
        32768,
        "a batch is closed when it holds this many tokens (counted before common beginnings are merged); how "
        "they are divided into passes: batch_tokens and batch_size",
        minimum=1,
    )


@dataclass
class RewardSettings:
    """Whole responses: how they are split into steps, and how steps' scores become a reward."""

    aggregation: str = setting(
        "mean",
        "how the scores of a response's steps become one. mean, the default, does not grow with the number "
        "of steps; by sum_log_odds, which ranks candidates in evaluate, a policy learns to write more",
        choices=AGGREGATIONS,
    )
    value: str = setting(
        "probability",
        "what the reward is: the aggregate as a probability, or as its log-odds",
        choices=("probability", "log_odds"),
    )
    split: str = setting(
        "auto",
        "what a step of a response is; auto: the text under a heading where there are several headings, else "
        "a paragraph",
        choices=SPLITS,
    )
    step_token: str | None = setting(
        "<extra_0>",
        "where a response holds this text, it ends each step, as clients of Qwen2.5-Math-PRM write it; null: "
        "no such text",
    )
    unscorable: float | None = setting(
        None,
        "the reward of a response that cannot be scored (empty, too many tokens or steps), so that a "
        "training goes on; null: the request is answered 422",
    )


@dataclass
class ServeConfig(ScorerSettings):
    """A PRM behind HTTP."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0: all of this machine's, then set a token")
    port: int = setting(8000, "port to listen on; 0: a free one, which is printed", minimum=0, maximum=65535)
    name: str | None = setting(None, "the model's name in answers; null: the name of the run's folder")
    token_env: str = setting(
        TOKEN_VARIABLE,
        "environment variable that holds the token; if it is set, requests without `Authorization: Bearer "
        "TOKEN` are answered 401 (except /health)",
    )
    threads: int | None = setting(None, "CPU threads for torch; null: torch's default", minimum=1)
    stop_seconds: float = setting(
        60.0,
        "seconds for which a server that was told to stop answers what it has accepted; then 503",
        above=0,
    )
    limits: LimitSettings = section(LimitSettings)
    queue: QueueSettings = section(QueueSettings)
    batch: BatchSettings = section(BatchSettings)
    reward: RewardSettings = section(RewardSettings)

    def check(self) -> None:
        """Refuse what is no score of a PRM, and names that are none."""
        super().check()
        if self.scores == "likelihood":
            raise ValueError("scores=likelihood gives no scores of steps; serve a PRM (scores=auto)")
        if self.name is not None:
            check_names([self.name], "name")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", self.token_env):
            raise ValueError(
                "token_env must be the name of an environment variable, such as DREAMPRM_TOKEN (what was "
                "given is not shown)"
            )
        if self.reward.step_token is not None and not self.reward.step_token.strip():
            raise ValueError("reward.step_token must be a text such as <extra_0>, or null")
        if self.queue.bytes < self.limits.body:
            raise ValueError(
                f"queue.bytes={self.queue.bytes} is less than one request may have (limits.body="
                f"{self.limits.body}); raise it"
            )
