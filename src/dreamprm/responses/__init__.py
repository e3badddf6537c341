"""Responses of generators taken apart: steps, final answer, and what is wrong with their form."""

from dreamprm.responses.final_answers import final_answer
from dreamprm.responses.headings import split_question, split_steps

__all__ = ["final_answer", "split_question", "split_steps"]
