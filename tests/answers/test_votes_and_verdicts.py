"""What is right can vote, and equal votes have equal verdicts."""

from collections import defaultdict

import pytest
from answer_questions import question
from answer_table import ANGLES, CHOICES, FOOD, NUMBERS, OPEN, SAMPLES

from dreamprm.answers import symbolic
from dreamprm.data.records import Candidate
from dreamprm.evaluation.votes import candidate_vote
from dreamprm.responses import answered_text, final_answer

pytestmark = pytest.mark.skipif(
    not symbolic.installed(), reason="math-verify is not installed: pip install 'dreamprm[math]'"
)

SHORT = (
    "5;5.0;five;5 apples;5 cm;x=5;2 \\pi;2\\pi;2\\Pi;b;B;X;x;12,000;12000;25%;0.25;25 percent;$5;"
    "5 dollars;[0,1];0, 1;(0,1);\\{0,1\\};A, B;A and B;1 and 2;1, 2;2, 1;1 or 2;2;the Eiffel Tower;"
    "eiffel tower;A parrot;parrot;room 5;Room 5;5 m;5 meters;500 cm;1.234;1.2340;1,234;1234;"
    "x = 1 or x = 2;1/2;0.5;yes;Yes.;No;3 x 10^5;300000"
).split(";")
RESPONSES = [
    *SHORT,
    *(response for response, *_ in OPEN),
    *(response for response, *_ in CHOICES),
    *(f"We look.\n{one}" for one in SHORT[:12]),
    *(f"We look.\nThere may be {one} in it." for one in SHORT[:12]),
    *(f"Final answer: {one}" for one in SHORT[::3]),
]
REFERENCES = (
    "5;5 m;2\\pi;25%;0.25;[0,1];\\{0,1\\};A, B;1 and 2;1, 2;Eiffel tower;room 5;1.234;x = 1 or x = 2;yes"
)
QUESTIONS = [
    *(question(reference) for reference in REFERENCES.split(";")),
    *(question("B", options=options) for options in (FOOD, NUMBERS, ANGLES, SAMPLES, ("C", "A", "M", "H"))),
    question("A", options=("$\\frac{1}{\\sqrt{2}}$", "$\\sqrt2$")),
    question("five apples", answer_type="text"),
]


def candidate(text, final_answer=None):
    return Candidate(text, (), final_answer, None, None)


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: f"{asked.answer} {asked.options[:2]}")
def test_equal_votes_have_equal_verdicts_and_what_is_right_can_vote(checker, asked):
    verdicts = defaultdict(set)
    for response in RESPONSES:
        verdict = checker.check(response, asked).verdict
        vote = candidate_vote(candidate(response), asked)
        assert vote is not None or verdict != "right", response
        if vote is not None:
            verdicts[vote].add(verdict)
    assert {vote: found for vote, found in verdicts.items() if len(found) > 1} == {}
    assert len(verdicts) > 20


@pytest.mark.parametrize(
    "response",
    ["B", "(B) food", "B. food", "food", "b", "Option B: food", "**B**", "\\boxed{\\text{B}}", '["B"]'],
)
def test_direct_answers_vote_for_their_option(checker, response):
    asked = question("B", options=FOOD)
    assert candidate_vote(candidate(response), asked) == "option B"
    assert candidate_vote(candidate("We look.", final_answer=response), asked) == "option B"
    assert checker.check(response, asked).verdict == "right"


@pytest.mark.parametrize(
    "response",
    [
        "",
        "<think>The answer is B.",
        "The answer is B. Wait, that is not right.",
        "\\boxed{\\frac{1}{2}",
        "(no response)",
        "We look at it for a long time, and nothing comes of it at all, however long we look. Nothing.",
    ],
)
def test_what_states_no_answer_has_no_vote(response):
    assert candidate_vote(candidate(response), question("B", options=FOOD)) is None
    assert final_answer(response) is None


def test_an_answer_given_next_to_the_text_counts_for_verdict_and_vote(checker):
    asked = question("7")
    one = candidate("The answer is 5.", final_answer="7")
    assert candidate_vote(one, asked) == "number 7"
    assert checker.check(answered_text(one.text, one.final_answer), asked).verdict == "right"
    same = candidate("The answer is 5.", final_answer="5")
    assert answered_text(same.text, same.final_answer) == same.text
    thinking = candidate("<think>it is 5", final_answer="7")
    assert candidate_vote(thinking, asked) == "number 7"


def test_a_last_line_that_nothing_marks_is_counted_apart(checker):
    asked = question("12")
    vague, clear = "We count.\nWe see 13 of them in it.", "Final answer: 13"
    assert [checker.check(one, asked).verdict for one in (vague, clear)] == ["undecided", "wrong"]
    votes = [candidate_vote(candidate(one), asked) for one in (vague, clear)]
    assert votes == [
        "unmarked number 13",
        "number 13",
    ]
