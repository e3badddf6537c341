"""The three forms of a request and of its answer: our own, vLLM's pooling, and that of remote rewards.

Checked against vllm/entrypoints/pooling (`PoolingRequest`, `PoolingResponse`) and OpenRLHF's remote reward
model (`{"query": [...], "prompts": [...], "labels": [...]} -> {"rewards": [...]}`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dreamprm.config.errors import UserError, nearest, shortened
from dreamprm.data.step_scores import probability
from dreamprm.files.json_values import UnusableValue, parse_json
from dreamprm.serving.batching import ScoredCandidate
from dreamprm.serving.chat_text import read_chat, steps_of
from dreamprm.serving.settings import RewardSettings

Result = ScoredCandidate | str
"""The scores of a candidate, or why it has none."""


class RequestError(Exception):
    """A request that gets no scores.

    Attributes:
        status: of the answer.
        message: what is wrong, and what is allowed.
        retry_after: seconds after which the same request may succeed, or None.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


@dataclass(frozen=True, slots=True)
class GivenTask:
    """A question with its candidates, as a request gives it.

    Attributes:
        place: where in the request, for messages: `input[2]`; "" for the only one.
        images: data URLs or base64.
    """

    place: str
    question: str
    images: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...]

    def named(self, what: str) -> str:
        """A part of it, for messages."""
        return f"{self.place}.{what}" if self.place else what


@dataclass(frozen=True, slots=True)
class Served:
    """What answers say of the model.

    Attributes:
        model: its name.
        gives: `step` or `response`.
        identity: a digest of what its scores depend on.
        reward: how responses are split and rewarded.
    """

    model: str
    gives: str
    identity: str
    reward: RewardSettings


class _Form(BaseModel):
    """Shared by the forms: JSON types are taken as they are, never converted."""

    model_config = ConfigDict(strict=True, extra="forbid")
    each: ClassVar[bool] = False
    """Whether candidates that cannot be scored leave the others their scores."""

    def tasks(self, served: Served) -> list[GivenTask]:
        """The questions of the request.

        Raises:
            UserError: it holds none that could be scored.
        """
        raise NotImplementedError

    def answer(self, results: Sequence[Sequence[Result]], served: Served, tokens: int) -> dict[str, Any]:
        """The answer, given the results of each task's candidates, and the tokens that were asked for."""
        raise NotImplementedError

    def keeps_errors(self) -> bool:
        """Whether an error of one candidate has a place in the answer; otherwise the request is refused."""
        return False


class ScoreRequest(_Form):
    """`POST /v1/score`: one question, its images and its candidates."""

    question: str
    images: list[str] = Field(default_factory=list)
    candidates: list[list[str]] = Field(min_length=1)
    errors: Literal["request", "each"] = "request"
    model: str | None = None

    def tasks(self, served: Served) -> list[GivenTask]:
        """The one question."""
        del served
        return [GivenTask("", self.question, tuple(self.images), tuple(map(tuple, self.candidates)))]

    def keeps_errors(self) -> bool:
        """With `errors: each`."""
        return self.errors == "each"

    def answer(self, results: Sequence[Sequence[Result]], served: Served, tokens: int) -> dict[str, Any]:
        """`candidates`, in order: log-odds and probability of each step, and every aggregate as log-odds."""
        (found,) = results
        return {
            "model": served.model,
            "gives": served.gives,
            "identity": served.identity,
            "candidates": [
                {
                    "log_odds": list(one.log_odds),
                    "probabilities": [probability(value) for value in one.log_odds],
                    "aggregates": one.aggregates,
                }
                if isinstance(one, ScoredCandidate)
                else {"error": one}
                for one in found
            ],
            "usage": {"tokens": tokens},
        }


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    type: str
    text: str | None = None
    image_url: dict[str, Any] | None = None


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    role: str
    content: str | list[_Part]


class PoolingRequest(_Form):
    """`POST /pooling`, as vLLM's: `input` (conversations as texts in Qwen's template) or `messages` (a chat).

    vLLM's further fields are accepted where they change nothing here, and refused where they would.
    """

    model_config = ConfigDict(strict=True, extra="allow")
    input: str | list[str] | None = None
    messages: list[_Message] | None = None
    model: str | None = None
    use_activation: bool | None = None
    activation: bool | None = None
    encoding_format: Literal["float"] = "float"
    truncate_prompt_tokens: None = None
    dimensions: None = None

    def tasks(self, served: Served) -> list[GivenTask]:
        """A question with one response for each text of `input`, or of the chat."""
        if (self.input is None) == (self.messages is None):
            raise UserError("give either input or messages")
        if self.messages is not None:
            return [self._chat(self.messages, served.reward)]
        texts = [self.input] if isinstance(self.input, str) else self.input or []
        if not texts:
            raise UserError("input must hold at least one text, got []")
        return [_conversation(text, f"input[{n}]", (), served.reward) for n, text in enumerate(texts)]

    def answer(self, results: Sequence[Sequence[Result]], served: Served, tokens: int) -> dict[str, Any]:
        """`data`: for each text a row per step that holds its probability (its log-odds if
        `use_activation` is false)."""
        raw = self.use_activation is False or self.activation is False
        rows = [one.log_odds for (one,) in results if isinstance(one, ScoredCandidate)]
        return {
            "id": f"pool-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": served.model,
            "data": [
                {
                    "index": index,
                    "object": "pooling",
                    "data": [[value if raw else probability(value)] for value in row],
                }
                for index, row in enumerate(rows)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }

    def _chat(self, messages: Sequence[_Message], reward: RewardSettings) -> GivenTask:
        turns = [message for message in messages if message.role != "system"]
        roles = [message.role for message in turns]
        if roles != ["user", "assistant"]:
            raise UserError(
                "messages must be a question of the user and a response of the assistant, got "
                f"{', '.join(roles) or 'none'}"
            )
        images: list[str] = []
        texts: list[list[str]] = []
        for turn in turns:
            parts = [turn.content] if isinstance(turn.content, str) else []
            for part in turn.content if not isinstance(turn.content, str) else []:
                if part.type == "text" and part.text is not None:
                    parts.append(part.text)
                elif part.type == "image_url" and turn.role == "user":
                    images.append(_url(part.image_url))
                else:
                    raise UserError(
                        f"a part of type {part.type!r} in a message of {turn.role} cannot be read; those of "
                        "the user are text and image_url, those of the assistant text"
                    )
            texts.append(parts)
        question, response = "\n".join(texts[0]), texts[1]
        if len(response) > 1:  # the client has split it
            return GivenTask("messages", question, tuple(images), (tuple(response),))
        steps = _steps("".join(response), "messages", reward)
        return GivenTask("messages", question, tuple(images), (steps,))


class RewardRequest(_Form):
    """`POST /get_reward`, as remote reward models are asked by RL trainers.

    `query`: question and response in one text, in the chat template; `prompts`: the part of it that is the
    question. Or, our own form, `prompts` (questions) and `responses`, with `images` of each question.
    """

    model_config = ConfigDict(strict=True, extra="allow")
    query: list[str] | None = None
    prompts: list[str] | None = None
    responses: list[str] | None = None
    images: list[list[str]] | None = None

    def tasks(self, served: Served) -> list[GivenTask]:
        """A question with one response for each query."""
        reward = served.reward
        if (self.query is None) == (self.responses is None):
            raise UserError("give either query, or prompts and responses")
        asked = self.query if self.query is not None else self.responses or []
        if not asked:
            raise UserError("query (or responses) must hold at least one text, got []")
        if self.prompts is None and self.query is None:
            raise UserError("responses need prompts: the question of each")
        for name, given in (("prompts", self.prompts), ("images", self.images)):
            if given is not None and len(given) != len(asked):
                raise UserError(f"{name} must have one entry for each of the {len(asked)}, got {len(given)}")
        tasks = []
        for number, text in enumerate(asked):
            images = tuple(self.images[number]) if self.images is not None else ()
            if self.prompts is None:
                tasks.append(_conversation(text, f"query[{number}]", images, reward, empty=True))
                continue
            place = f"prompts[{number}]"
            prompt = self.prompts[number]
            response = text if self.query is None else _after(text, prompt, number)
            chat = _read(prompt, place)
            if chat is not None and chat.response:
                raise UserError(f"{place} holds a response as well as a question")
            shown = chat.shown if chat is not None else None
            question = chat.question if chat is not None else prompt
            _require_shown(place, shown, images)
            steps = _steps(response, place, reward, empty=True)
            tasks.append(GivenTask(place, question, images, (steps,)))
        return tasks

    def answer(self, results: Sequence[Sequence[Result]], served: Served, tokens: int) -> dict[str, Any]:
        """`rewards`, in order; `unscorable`: why some are the setting `reward.unscorable`."""
        del tokens
        reward = served.reward
        unscorable = {str(n): one for n, (one,) in enumerate(results) if isinstance(one, str)}
        rewards = [reward.unscorable if isinstance(one, str) else _reward(one, reward) for (one,) in results]
        return {"rewards": rewards} | ({"unscorable": unscorable} if unscorable else {})


def _reward(scored: ScoredCandidate, reward: RewardSettings) -> float:
    aggregate = scored.aggregates[reward.aggregation]
    return probability(aggregate) if reward.value == "probability" else aggregate


def read_request(form: type[_Form], body: bytes) -> _Form:
    """A request from its JSON text.

    Raises:
        RequestError: 400, not JSON; 422, a value that cannot be used, or not of this form: the first thing
            that is wrong, with its place.
    """
    try:
        value = parse_json(body)
    except RecursionError:
        raise RequestError(400, "the body nests too deep") from None
    except UnusableValue as error:
        raise RequestError(422, f"the body cannot be used: {error}") from None
    except ValueError as error:
        raise RequestError(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestError(422, f"the body must be a JSON object, got {shortened(value)}")
    try:
        return form.model_validate(value)
    except ValidationError as error:
        raise RequestError(422, _first_problem(form, error)) from None


def _first_problem(form: type[_Form], error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # An unknown field first: it may be the misspelt name of one that is missing.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    place = ""
    for part in problem["loc"]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif not part.startswith(("list[", "str", "function-", "dict[")):  # which of several types was tried
            place += f".{part}" if place else part
    if problem["type"] == "extra_forbidden":
        return f"unknown field {place!r}{nearest(place, form.model_fields)}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    words = problem["msg"].removeprefix("Input ")
    return f"{place} {words[0].lower()}{words[1:]}, got {shortened(problem['input'])}"


def _conversation(
    text: str, place: str, images: tuple[str, ...], reward: RewardSettings, *, empty: bool = False
) -> GivenTask:
    chat = _read(text, place)
    if chat is None or chat.response is None:
        raise UserError(
            f"{place} must be a conversation in Qwen's chat template, with the question and the response; "
            "otherwise nothing says where the response begins (or send messages, or prompts and responses)"
        )
    _require_shown(place, chat.shown, images)
    steps = _steps(chat.response, place, reward, empty=empty)
    return GivenTask(place, chat.question, images, (steps,))


def _read(text: str, place: str) -> Any:
    try:
        return read_chat(text)
    except UserError as error:
        raise UserError(f"{place} {error}") from None


def _after(query: str, prompt: str, number: int) -> str:
    """What follows the prompt in a query; a mark that begins a text may stand before the prompt."""
    at = query.find(prompt)
    if at < 0 or query[:at].strip() not in ("", "<s>", "<|begin_of_text|>"):
        raise UserError(f"query[{number}] must begin with prompts[{number}]")
    return query[at + len(prompt) :]


def _require_shown(place: str, shown: int | None, images: Sequence[str]) -> None:
    if shown is not None and (shown or images) and shown != len(images):
        raise UserError(
            f"{place} shows {shown} images, but {len(images)} were sent with it (images: for each question, "
            "a list of data URLs or base64 texts)"
        )


def _steps(response: str, place: str, reward: RewardSettings, *, empty: bool = False) -> tuple[str, ...]:
    steps = steps_of(response, split=reward.split, step_token=reward.step_token)
    if not steps and not (empty and reward.unscorable is not None):
        raise UserError(f"{place}: the response has no text, so that there is nothing to score")
    return steps


def _url(given: dict[str, Any] | None) -> str:
    url = given.get("url") if given is not None else None
    if not isinstance(url, str):
        raise UserError(f"image_url must be an object with the text url, got {shortened(given)}")
    return url
