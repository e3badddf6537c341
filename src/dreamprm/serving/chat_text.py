"""Texts that other programs send: a question inside a chat template, a response, and its steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dreamprm.config.errors import UserError
from dreamprm.responses import parse_response
from dreamprm.responses.visible import visible

# The two templates in which clients of PRMs write whole conversations: Qwen's (ChatML), and Llama 3's.
_TEMPLATES = (
    re.compile(r"<\|im_start\|>(?P<role>\w+)\n(?P<text>.*?)(?:<\|im_end\|>\n?|\Z)", re.DOTALL),
    re.compile(
        r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\n\n(?P<text>.*?)(?:<\|eot_id\|>|\Z)",
        re.DOTALL,
    ),
)
_BEGIN = re.compile(r"(?:<\|begin_of_text\|>|<s>)?\s*")
_SHOWN_IMAGE = re.compile(r"<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>\n?")


@dataclass(frozen=True)
class Chat:
    """A question and a response to it.

    Attributes:
        question: without template and images.
        shown: how many images the question's text shows.
        response: None if there is no turn of the assistant.
    """

    question: str
    shown: int
    response: str | None


def read_chat(text: str) -> Chat | None:
    """A conversation in Qwen's or Llama 3's template; None for a text in no template.

    Raises:
        UserError: it is in another template, or has not one question.
    """
    for template in _TEMPLATES:
        turns = list(template.finditer(text))
        if turns and turns[0].start() == _BEGIN.match(text).end():  # type: ignore[union-attr]
            return _chat([(turn["role"], turn["text"]) for turn in turns])
    if visible(text).hidden:
        raise UserError(
            "is written in a chat template other than Qwen's or Llama 3's, which cannot be taken apart; send "
            "the question and the response without a template"
        )
    return None


def _chat(turns: list[tuple[str, str]]) -> Chat:
    """The one question of a conversation. What the system says is left out, as the PRM has its own."""
    others = [turn for turn in turns if turn[0] != "system"]
    roles = [role for role, _ in others]
    if roles not in (["user"], ["user", "assistant"]):
        raise UserError(
            f"must have one question and at most one response, but its turns are {', '.join(roles) or 'none'}"
        )
    question, shown = _SHOWN_IMAGE.subn("", others[0][1])
    return Chat(question, shown, others[1][1] if len(others) > 1 else None)


def steps_of(response: str, *, split: str, step_token: str | None) -> tuple[str, ...]:
    """The steps of a response; none if it has no text.

    Args:
        response: as a policy wrote it; thinking and marks of templates are left out (`responses.visible`).
        split: one of `SPLITS`.
        step_token: if the response holds it, it ends each step.
    """
    if step_token is not None and step_token in response:
        parts = (visible(part).text.strip() for part in response.split(step_token))
        return tuple(part for part in parts if part)
    shown = visible(response)
    if shown.finished and not shown.text.strip():  # marks of the template alone, or thinking and no more
        return ()
    return parse_response(response, split=split).steps
