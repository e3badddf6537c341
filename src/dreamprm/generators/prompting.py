"""The prompts that ask a generator for chains of thought, and the question that a prompt shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import MappingProxyType

from dreamprm.data.records import OPTION_LETTERS, CandidateRecord, QuestionRecord
from dreamprm.responses import last_step_number

FIVE_STAGES = (
    "Restate the question",
    "Gather evidence from the image",
    "Identify the background knowledge needed",
    "Reason with the evidence",
    "Summarise and conclude",
)
"""What each of the five steps does, in order (structured thinking; DreamPRM, arXiv 2505.20241)."""

# "<image1>" (MATH-V), "<image 1>" (MMMU), "<image>" (LLaVA, InternVL).
_IMAGE_MARK = re.compile(r"<image[ _]?(\d*)>", re.IGNORECASE)

# A mark outside any sentence: alone on its line (which goes with it), or after a sentence at a line's
# end.
_MARK_APART = re.compile(
    r"^[ \t]*<image[ _]?\d*>[ \t]*(?:\n|\Z)|(?<=[.?!:])[ \t]*<image[ _]?\d*>[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


def five_stage_prompt(question: str, options: Sequence[str] = ()) -> str:
    """Ask for a chain of thought with exactly the five stages and a final-answer line.

    Use it to sample chains of thought from an instruction-tuned generator; the reply is read back with
    `dreamprm.responses.parse_response`. The wording is ours; the stages are the paper's
    (DreamPRM, arXiv 2505.20241).

    Args:
        question: the question; not empty. Marks for its images (`<image1>`, `<image 1>`, `<image>`) are
            removed or put into words, as described in `question_text`.
        options: the texts of its options, in order; none if the question is open or lists them itself.

    Returns:
        The instruction, followed by the question and its options.

    Raises:
        ValueError: the question is empty, or there are more options than letters.
    """
    stages = "\n".join(f"Step {k}: {stage}." for k, stage in enumerate(FIVE_STAGES, start=1))
    return (
        "Answer the question below in exactly five steps, each under its own heading:\n"
        f"{stages}\n"
        "Write each heading as 'Step k:' at the start of a line. After the fifth step write one line "
        f"{_final_answer_line(options)}\n\n"
        f"{question_text(question, options)}"
    )


def plain_prompt(question: str, options: Sequence[str] = ()) -> str:
    """Ask for a chain of thought without a prescribed structure, and a final-answer line.

    Use it for the ablation without structured thinking (DreamPRM, arXiv 2505.20241): the final-answer line
    is the same, so that answers are read in the same way, but there are no stages and no headings.

    Args, Returns, Raises: as `five_stage_prompt`.
    """
    return (
        "Answer the question below. Think it through before you answer. At the end write one line "
        f"{_final_answer_line(options)}\n\n"
        f"{question_text(question, options)}"
    )


PROMPTS: Mapping[str, Callable[[str, Sequence[str]], str]] = MappingProxyType(
    {"five_stage": five_stage_prompt, "plain": plain_prompt}
)
"""The prompts by the name used in a configuration."""


def expected_steps(prompt: str, split: str) -> int | None:
    """How many steps a prompt asks for, if its responses are split this way; None: no particular number."""
    return len(FIVE_STAGES) if prompt == "five_stage" and split == "headings" else None


def continue_instruction(prefix: str) -> str:
    """Ask for the rest of a partial response, for servers that cannot continue a text themselves.

    Prefer a generator that continues the text: a model that is instructed to continue may reword the text,
    start over, or add a greeting. Put the instruction after the prompt, in the same turn or
    another.

    Args:
        prefix: the response so far; not empty.

    Returns:
        The instruction, which contains the prefix verbatim.

    Raises:
        ValueError: the prefix is empty.
    """
    if not prefix.strip():
        raise ValueError("prefix must not be empty: there is nothing to continue; send the prompt alone")
    number = last_step_number(prefix)
    following = "" if number is None else f" The next heading is 'Step {number + 1}:'."
    return (
        "The response to this has been begun. Its beginning stands between the two tags:\n"
        f"<begun>\n{prefix.strip()}\n</begun>\n"
        "Take it as it is, right or wrong, and write only the rest of it, to the 'Final answer: ' line at "
        f"its end. Do not repeat, reword or comment on any of the beginning.{following}"
    )


def question_text(question: str, options: Sequence[str] = ()) -> str:
    """A question and its options as they appear in a prompt.

    The images themselves are passed separately from the text, in their order. A mark for the only image is
    removed if it stands apart (alone on its line, or after a sentence) and becomes "the image" inside a
    sentence. Marks for several images become `[image 1]`, `[image 2]`, ... (unnumbered ones in order),
    because the text then says which one is meant; MATH-V has several marks for parts of one file, and the
    parts are labelled with these names in it. Tags are never kept: a chat template may expand
    `<image>`.

    If the question is only a mark, it is in the image, and a sentence says so.

    Each option has its own line, `(A) text`. Options that are only their own letters are shown in the image,
    and one line says so.

    Args:
        question: the question; not empty.
        options: the texts of its options, in order.

    Returns:
        The text, without surrounding white space.

    Raises:
        ValueError: the question is empty, or there are more options than letters.
    """
    if not question.strip():
        raise ValueError("question must not be empty")
    if len(options) > len(OPTION_LETTERS):
        raise ValueError(f"there are letters for at most {len(OPTION_LETTERS)} options, got {len(options)}")
    text = question.strip()
    if not _IMAGE_MARK.sub("", text).strip():
        text = "The question is in the image."
    letters = OPTION_LETTERS[: len(options)]
    if options and all(_is_letter(option, letter) for option, letter in zip(options, letters, strict=True)):
        text += f"\nOptions: {', '.join(letters)} (shown in the image)"
    elif options:
        lines = (f"({letter}) {option.strip()}" for letter, option in zip(letters, options, strict=True))
        text = "\n".join([text, "Options:", *lines])
    return _with_image_marks_worded(text)


def _final_answer_line(options: Sequence[str]) -> str:
    if not options:
        return "'Final answer: ' with the answer alone (the option's letter, where options are given)."
    # "(A) B, (B) C, (C) A": a bare letter could be one option's label or another option's text.
    letters = OPTION_LETTERS[: len(options)]
    mixed = any(
        _is_letter(option, other)
        for i, option in enumerate(options)
        for j, other in enumerate(letters)
        if i != j
    )
    brackets = f" in brackets, such as ({letters[0]})" if mixed else ""
    return f"'Final answer: ' with the letter of the right option alone{brackets}."


def _is_letter(option: str, letter: str) -> bool:
    return option.strip().strip("().").upper() == letter


def _with_image_marks_worded(text: str) -> str:
    marks = _IMAGE_MARK.findall(text)
    if len(set(marks)) > 1 or marks.count("") > 1:
        unnumbered = count(1)
        return _IMAGE_MARK.sub(lambda match: f"[image {match.group(1) or next(unnumbered)}]", text)
    return _IMAGE_MARK.sub(_the_image, _MARK_APART.sub("", text)).strip()


def _the_image(mark: re.Match[str]) -> str:
    text, start, end = mark.string, mark.start(), mark.end()
    word = start  # where the white space before the mark begins
    while word and text[word - 1].isspace():
        word -= 1
    article = "The" if not word or (text[word - 1] in ".?!" and word < start) else "the"
    # MATH-V has marks without a space next to them: "so\n<image1>that one can travel".
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    return " " * before.isalnum() + f"{article} image" + " " * after.isalnum()


# How `question_text` ends a question with options.
_LETTERS_SHOWN = re.compile(r"\nOptions: (?P<letters>[A-Z](?:, [A-Z])+) \(shown in the image\)\Z")
_LETTERED = re.compile(r"\nOptions:(?P<lines>(?:\n\([A-Z]\) .*)+)\Z")


def asked_question(record: CandidateRecord) -> QuestionRecord:
    """The question that a candidate record answers, with its options parsed from the text.

    Without the options, "(B) 4 cm" could not be compared with the answer "B".
    """
    text, options = _without_options(record.question)
    if record.answer not in tuple(OPTION_LETTERS[: len(options)]) or (
        question_text(text, options) != record.question
    ):
        text, options = record.question, ()
    return QuestionRecord(
        question=text,
        images=record.images,
        answer=record.answer,
        options=options,
        domain=record.benchmark,
        answer_type=None,
        precision=None,
        unit=None,
        id=record.id,
    )


def _without_options(text: str) -> tuple[str, tuple[str, ...]]:
    if found := _LETTERS_SHOWN.search(text):
        return text[: found.start()], tuple(found["letters"].split(", "))
    if found := _LETTERED.search(text):
        return text[: found.start()], tuple(line[4:] for line in found["lines"].split("\n")[1:])
    return text, ()
