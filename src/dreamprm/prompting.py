"""The five-stage prompt, and how the text it produces is taken apart: steps, final answer."""

from __future__ import annotations

import re

FIVE_STAGES = (
    "Restate the question",
    "Gather evidence from the image",
    "Identify the background knowledge needed",
    "Reason with the evidence",
    "Summarise and conclude",
)
"""What each of the five steps does, in order (structured thinking; DreamPRM, arXiv 2505.20241)."""

# Markdown that generators put around a heading: '### Step 1', '**Step 1:**', '- Step 1.', '> Step 1'.
_MARKS = r"[ \t]*(?:[#>*_\-]+[ \t]*)*"

# A heading opens a line and is closed by a mark or by the line's end, so that prose such as "Step 2 showed
# that" or "as in Step 1:" starts no step.
_HEADING = re.compile(
    rf"^{_MARKS}step[ \t]*(\d+)[ \t]*(?:[*_]*[ \t]*[:.)\uFF1A\-\u2013\u2014]|[*_]*[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)

_FINAL_ANSWER = re.compile(
    rf"^{_MARKS}final[ \t]+answer(?:[ \t]+is\b)?[ \t]*[*_]*[ \t]*(?:[:\uFF1A]|$)(.*)$",
    re.IGNORECASE | re.MULTILINE,
)


def five_stage_prompt(question: str) -> str:
    """Ask for a chain of thought of exactly the five stages and a final-answer line.

    Use it to sample chains of thought from an instruction-tuned generator; the reply is read back with
    `split_steps` and `final_answer`. The wording is ours, the stages are the paper's
    (DreamPRM, arXiv 2505.20241).

    Args:
        question: the question with its options; not empty.

    Returns:
        The instruction, followed by the question.

    Raises:
        ValueError: the question is empty.
    """
    if not question.strip():
        raise ValueError("question must not be empty")
    stages = "\n".join(f"Step {k}: {stage}." for k, stage in enumerate(FIVE_STAGES, start=1))
    return (
        "Answer the question about the image in exactly five steps, each under its own heading:\n"
        f"{stages}\n"
        "Write each heading as 'Step k:' at the start of a line. After the fifth step write one line "
        "'Final answer: ' with the answer alone (the option's letter, where options are given).\n\n"
        f"{question.strip()}"
    )


def split_steps(text: str, first: int = 1) -> tuple[str, ...]:
    """Split a chain of thought on its `Step k:` headings; every step keeps its heading.

    A heading stands at the start of a line, with or without Markdown marks (`### Step 1`, `**Step 1:**`), and
    counts only where it continues the numbering first, first + 1, ...: a step that mentions an earlier one is
    not cut. Text before the first heading belongs to the first step, a final-answer line to the last.

    Args:
        text: the response of a generator.
        first: the number of the first heading; a continuation after two steps starts at 3.

    Returns:
        The steps, stripped of surrounding white space; empty where there is no heading numbered `first`.
    """
    starts = _heading_positions(text, first)
    if not starts:
        return ()
    bounds = [0, *starts[1:], len(text)]
    return tuple(text[begin:end].strip() for begin, end in zip(bounds, bounds[1:], strict=False))


def split_question(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a text that holds a question and its chain of thought, as the public DreamPRM meta file does.

    The question is what stands before the first `Step 1` heading. A sentence that the generator wrote before
    its first heading ("Let's analyse ...") cannot be told from the question and stays with it.

    Args:
        text: question, then the chain of thought if there is one.

    Returns:
        The question and the steps; no steps where the text has no `Step 1` heading.
    """
    starts = _heading_positions(text, 1)
    if not starts:
        return text.strip(), ()
    return text[: starts[0]].strip(), split_steps(text[starts[0] :])


def final_answer(text: str) -> str | None:
    """The answer that a chain of thought states on its last `Final answer:` line.

    Where the line ends after the heading (`### Final Answer`), the next line with text is the answer.

    Args:
        text: the response of a generator, or its last step.

    Returns:
        The answer without Markdown marks and surrounding white space; None where the text states none.
    """
    matches = list(_FINAL_ANSWER.finditer(text))
    for match in reversed(matches):
        stated = _unmarked(match.group(1))
        if not stated:
            stated = next(filter(None, map(_unmarked, text[match.end() :].splitlines())), "")
        if stated:
            return stated
    return None


def _heading_positions(text: str, first: int) -> list[int]:
    """Where the headings numbered first, first + 1, ... begin."""
    starts: list[int] = []
    for match in _HEADING.finditer(text):
        if int(match.group(1)) == first + len(starts):
            starts.append(match.start())
    return starts


def _unmarked(line: str) -> str:
    """A line without the Markdown emphasis around it."""
    return line.strip().strip("*_").strip()
