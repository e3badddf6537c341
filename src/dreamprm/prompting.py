"""The prompts that ask a generator for chains of thought."""

from __future__ import annotations

from dreamprm.responses import final_answer, split_question, split_steps  # noqa: F401

FIVE_STAGES = (
    "Restate the question",
    "Gather evidence from the image",
    "Identify the background knowledge needed",
    "Reason with the evidence",
    "Summarise and conclude",
)
"""What each of the five steps does, in order (structured thinking; DreamPRM, arXiv 2505.20241)."""


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
