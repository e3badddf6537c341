"""The checker that suits each question."""

import pytest
from answer_questions import question
from test_judged_answers import Scripted

from dreamprm.answers import auto, build_checker, symbolic
from dreamprm.answers.auto import answer_kind
from dreamprm.generators.base import GenerationError

needs_math_verify = pytest.mark.skipif(
    not symbolic.installed(), reason="math-verify is not installed: pip install 'dreamprm[math]'"
)


@pytest.mark.parametrize(
    "answer, record, kind",
    [
        ("B", {"options": ("1", "2")}, "choice"),
        ("5", {}, "numeric"),
        ("5 cm", {}, "numeric"),
        ("\\frac{1}{2}", {}, "numeric"),
        ("five", {"answer_type": "integer"}, "numeric"),
        ("2\\pi", {}, "symbolic"),
        ("(3,-4)", {}, "symbolic"),
        ("x=2", {}, "numeric"),
        ("x+1", {}, "symbolic"),
        ("3:4", {}, "symbolic"),
        ("2x", {}, "symbolic"),
        ("a cat", {}, "text"),
        ("Paris", {}, "text"),
        ("12", {"answer_type": "text"}, "text"),
        ("12", {"answer_type": "symbolic"}, "symbolic"),
        ("well-known", {}, "text"),
        ("and/or", {}, "text"),
    ],
)
def test_the_kind_of_a_question(answer, record, kind):
    assert answer_kind(question(answer, **record)) == kind


@pytest.mark.parametrize(
    "response, answer, options, expected",
    [
        ("\\boxed{B}", "B", ("1", "2"), "right"),
        ("\\boxed{5.0}", "5", (), "right"),
        ("\\boxed{Paris}", "paris", (), "right"),
        ("\\boxed{6}", "5", (), "wrong"),
        ("", "5", (), "undecided"),
        ("\\boxed{2\\pi}", "2 \\pi", (), "right"),
    ],
)
def test_each_kind_is_checked_by_its_own_rules(checker, response, answer, options, expected):
    assert checker.check(response, question(answer, options=options)).verdict == expected


@needs_math_verify
@pytest.mark.parametrize(
    "response, answer, options, expected",
    [
        ("\\boxed{2^{10}}", "1024", (), "right"),
        ("\\boxed{8 - 6\\pi}", "8", (), "wrong"),
        ("\\boxed{\\pi \\cdot 2}", "2\\pi", (), "right"),
        ("\\boxed{\\frac{\\sqrt2}{2}}", "A", ("$\\frac{1}{\\sqrt{2}}$", "$\\sqrt2$"), "right"),
        ("\\boxed{\\frac{\\sqrt3}{2}}", "A", ("$\\frac{1}{\\sqrt{2}}$", "$\\sqrt2$"), "wrong"),
        ("\\boxed{\\frac{\\sqrt3}{2}}", "A", ("a cat", "a dog"), "undecided"),
    ],
)
def test_expressions_decide_what_is_left_open(checker, response, answer, options, expected):
    assert checker.check(response, question(answer, options=options)).verdict == expected


def test_without_math_verify_nothing_is_wrong_that_may_be_right(monkeypatch):
    monkeypatch.setattr(auto, "installed", lambda: False)
    checker = build_checker("auto")
    assert checker.check("\\boxed{2 \\pi}", question("$2\\pi$")).verdict == "right"
    judgement = checker.check("\\boxed{\\pi \\cdot 2}", question("2\\pi"))
    assert judgement.verdict == "undecided" and "math-verify is not installed" in judgement.reason
    checker.close()


def test_the_judge_is_asked_only_what_no_rule_decides():
    judge = Scripted("Verdict: right")
    checker = build_checker("auto", judge=judge)
    assert checker.check("Final answer: London", question("Paris")).verdict == "wrong"
    assert judge.asked == []
    judgement = checker.check("Final answer: Paris, France", question("Paris"))
    assert judgement.verdict == "right" and judgement.reason.endswith("one contains the other; judge: right")
    assert len(judge.asked) == 1
    checker.close()


def test_a_judge_that_refuses_leaves_it_undecided():
    checker = build_checker("auto", judge=Scripted(GenerationError("too long", refused=True)))
    judgement = checker.check("Final answer: Paris, France", question("Paris"))
    assert judgement.verdict == "undecided" and "too long" in judgement.reason
    checker.close()


@pytest.mark.parametrize(
    "response, verdict",
    [
        ("I see none. The answer is no.", "right"),
        ("The answer is **no**", "right"),
        ("The answer is No", "right"),
        ("The answer is yes.", "wrong"),
        ("The answer is no longer clear to me.", "undecided"),
    ],
)
def test_no_is_an_answer_where_it_stands_alone(checker, response, verdict):
    assert checker.check(response, question("no")).verdict == verdict
