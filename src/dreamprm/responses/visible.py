"""What a reader of a response sees: the text without its thinking and without the marks of chat templates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Visible:
    """A response with everything that is not part of it blanked out.

    Attributes:
        text: as long as the response; each hidden character is a space, so that positions stay the same.
        hidden: (start, end) of the hidden passages, in order.
        finished: False if the response ends inside its thinking; then nothing in it is an answer.
    """

    text: str
    hidden: tuple[tuple[int, int], ...] = ()
    finished: bool = True

    def passage(self, start: int, end: int) -> str:
        """The visible text between two positions, without surrounding white space."""
        shown, position = [], start
        for begin, after in self.hidden:
            if begin < end and after > start:
                shown.append(self.text[position : max(begin, position)])
                position = max(after, position)
        return "".join((*shown, self.text[position:end])).strip()


# A block of thinking. A tag in backticks is text about the tag.
_OPENS = (
    r"<(?:think|thinking|thought|seed:think)>|\u25c1think\u25b7|<\|begin_of_thought\|>|\[THINK\]"
    r"|(?:<\|start\|>assistant)?<\|channel\|>analysis<\|message\|>"
)
_CLOSES = (
    r"</(?:think|thinking|thought|seed:think)>|\u25c1/think\u25b7|<\|end_of_thought\|>|\[/THINK\]"
    r"|(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>"
)
_THINKING = re.compile(rf"(?<!`)(?:(?P<open>{_OPENS})|(?P<close>{_CLOSES}))(?!`)", re.IGNORECASE)

# What ends a turn in the chat templates of models; `<\uff5c...\uff5c>` is DeepSeek's spelling.
_ENDS_TURN = re.compile(
    r"</s>|<\|(?:im_end|im_start|eot_id|eom_id|endoftext|end_of_text|end_of_solution|end|eot|eos|return|endofturn"
    r"|end_of_turn|END_OF_TURN_TOKEN|start_header_id|user|assistant|system|observation|pad)\|>"
    r"|<(?:eos|end_of_turn|start_of_turn|pad|end_of_utterance)>"
    r"|<\uff5c[^\uff5c>\n]{1,40}\uff5c>|\[/?INST\]|\[(?:EOS|PAD)\]",
    re.IGNORECASE,
)
# What may stand before a response: the template's opening of the turn.
_BEGINS_TURN = re.compile(
    r"\s*(?:(?:<s>|<bos>|<\|begin_of_text\|>|<\|begin_of_solution\|>|<\|assistant\|>"
    r"|<\|im_start\|>(?:assistant\b)?|<start_of_turn>(?:model\b)?|<\uff5cAssistant\uff5c>"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>|\[/INST\])\s*)+",
    re.IGNORECASE,
)
_ECHO = re.compile(r"\s*\[INST\]", re.IGNORECASE)
_MARKS_A_MARK = re.compile(r"[<\[\u25c1]")


def visible(text: str) -> Visible:
    """Blank out what is not part of a response: its thinking, and the marks that chat templates leave.

    Hidden are `<think>...</think>` blocks (also `<thinking>`, `<thought>`, `<|begin_of_thought|>`, Kimi's and
    Magistral's spelling, and the analysis channel of gpt-oss); everything before a closing tag that has no
    opening one, since templates may open the block in the prompt; everything from a block that never
    ends; a mark that opens the turn; and everything from the first mark that ends the turn (`</s>`,
    `<|im_end|>`, `<|eot_id|>`, `<end_of_turn>`, ...): what follows it is the model talking to itself. The one
    place where this is decided, for the reader of answers and for all ways to split a response into steps.

    Args:
        text: the response of a generator.

    Returns:
        The response, with what is hidden blanked out.
    """
    if not _MARKS_A_MARK.search(text):
        return Visible(text)
    hidden, finished = _thoughts(text)
    shown = _blanked(text, hidden)
    hidden += _template_marks(shown)
    return Visible(_blanked(text, hidden), tuple(_merged(hidden)), finished)


def _thoughts(text: str) -> tuple[list[tuple[int, int]], bool]:
    hidden: list[tuple[int, int]] = []
    opened: int | None = None
    for tag in _THINKING.finditer(text):
        if tag["open"]:
            # Thinking that mentions its own tag opens no second block.
            opened = tag.start() if opened is None else opened
        else:
            if opened is None:
                hidden.clear()
            hidden.append((opened or 0, tag.end()))
            opened = None
    if opened is not None:
        hidden.append((opened, len(text)))
    return hidden, opened is None


def _template_marks(text: str) -> list[tuple[int, int]]:
    begin = _BEGINS_TURN.match(text)
    start = begin.end() if begin is not None else 0
    hidden = [(0, start)] if start else []
    struck = text.find("<s>", start)
    for mark in _ENDS_TURN.finditer(text, start):
        # `<s>5</s>` is struck out, as in HTML.
        if 0 <= struck < start:
            struck = text.find("<s>", start)
        if mark.group() == "</s>" and 0 <= struck < mark.start():
            continue
        if mark.group().upper() == "[INST]" and not text[start : mark.start()].strip():
            continue  # an echo of the prompt, up to [/INST]
        if mark.group().upper() == "[/INST]" and _ECHO.match(text, start):
            hidden.append((start, mark.end()))
            start = mark.end()
            continue
        if text[start : mark.start()].strip():
            return [*hidden, (mark.start(), len(text))]
        hidden.append(mark.span())
        start = mark.end()
    return hidden


def _blanked(text: str, spans: list[tuple[int, int]]) -> str:
    pieces, position = [], 0
    for start, end in _merged(spans):
        pieces += [text[position:start], " " * (end - start)]
        position = end
    return "".join((*pieces, text[position:]))


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same positions as spans that neither touch nor overlap, in order."""
    last: tuple[int, int] | None = None
    for start, end in sorted(spans):
        if last is not None and start <= last[1]:
            last = (last[0], max(last[1], end))
        else:
            if last is not None:
                yield last
            last = (start, end)
    if last is not None:
        yield last
