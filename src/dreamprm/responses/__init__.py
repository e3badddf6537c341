"""Parsing of generators' responses: steps, final answer, and what is malformed."""

from dreamprm.responses.final_answers import final_answer
from dreamprm.responses.headings import last_step_number, split_question, split_steps
from dreamprm.responses.response import MALFORMED, Response, parse_response
from dreamprm.responses.step_counts import StepCounts

__all__ = [
    "MALFORMED",
    "Response",
    "StepCounts",
    "final_answer",
    "last_step_number",
    "parse_response",
    "split_question",
    "split_steps",
]
