"""Verdicts on responses of many kinds, by the checker that most users have: `auto` without a judge."""

import pytest
from answer_questions import question
from answer_table import CHOICES, OPEN

from dreamprm.answers import symbolic

pytestmark = pytest.mark.skipif(
    not symbolic.installed(), reason="math-verify is not installed: pip install 'dreamprm[math]'"
)


@pytest.mark.parametrize("response, answer, options, expected", CHOICES)
def test_choices(checker, response, answer, options, expected):
    judgement = checker.check(response, question(answer, options=options))
    assert judgement.verdict == expected, judgement.reason


@pytest.mark.parametrize("response, answer, expected", OPEN)
def test_open_answers(checker, response, answer, expected):
    judgement = checker.check(response, question(answer))
    assert judgement.verdict == expected, judgement.reason
