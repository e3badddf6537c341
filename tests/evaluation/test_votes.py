"""Which final answers count as one."""

import pytest

from dreamprm.data.records import QuestionRecord
from dreamprm.evaluation.votes import vote_of

QUESTION = QuestionRecord("which?", (), "A", ("a parrot", "two", "1/2"), "birds", None, None, None, "q")


@pytest.mark.parametrize(
    "answers, name",
    [
        (["0.50", ".5", "1/2", r"\frac{1}{2}", "x = 0.5"], "number 1/2"),
        (["25%", "25 percent"], "number 25 %"),
        (["12 cm", "12 centimeters"], "number 12 cm"),
        (["A Parrot.", "the parrot", r"\text{parrot}"], "words parrot"),
        ([None, "", "  "], None),
        (["?"], "words ?"),
    ],
)
def test_answers_without_options(answers, name):
    assert [vote_of(answer) for answer in answers] == [name] * len(answers)


def test_answers_that_stay_apart():
    given = ("0.25", "25%", "12 cm", "12 m", "12", "parrot", "parrots", "B", "?", "!")
    names = [vote_of(answer) for answer in given]
    assert len(set(names)) == len(names)


def test_options_are_counted_by_letter_whatever_the_right_one_is():
    assert [vote_of(answer, QUESTION) for answer in ("(A)", "A. a parrot", "Parrot", "B", "2", "0.5")] == [
        f"option {letter}" for letter in "AAABBC"
    ]
    assert vote_of("an owl", QUESTION) == "words owl"
