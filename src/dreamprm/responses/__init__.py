"""Parsing of generators' responses: steps, final answer, and what is malformed."""

from dreamprm.responses.headings import last_step_number, split_question, split_steps
from dreamprm.responses.response import MALFORMED, Response, parse_response
from dreamprm.responses.stated_answers import Stated, answered_text, final_answer, stated_answer
from dreamprm.responses.step_counts import StepCounts

__all__ = [
    "MALFORMED",
    "Response",
    "StepCounts",
    "Stated",
    "answered_text",
    "final_answer",
    "last_step_number",
    "parse_response",
    "split_question",
    "split_steps",
    "stated_answer",
]
