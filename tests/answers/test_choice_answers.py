"""Letters in all their dress, and options by their text."""

import itertools

import pytest
from answer_questions import question

from dreamprm.answers import build_checker
from dreamprm.config.errors import UserError

CHECKER = build_checker("choice")
COLOURS = ("a red ball", "a blue ball", "a green ball", "no ball")
PICTURED = ("A", "B", "C", "D", "E")
NUMBERS = ("$\\frac{1}{2}$", "2", "$30\\%$", "1,000 \\mathrm{~cm}")


def judge(response, options, answer="B"):
    judgement = CHECKER.check(response, question(answer, options=options))
    return judgement.verdict, judgement.extracted


DRESSES = [
    "{}",
    "({})",
    "[{}]",
    "{}.",
    "{})",
    "{}:",
    "**{}**",
    "${}$",
    "\\text{{{}}}",
    "\\textbf{{({})}}",
    "\\mathrm{{{}}}",
    "({}).",
    "**({})**",
    "Option {}",
    "option ({})",
    "\\boxed{{{}}}",
    "\\boxed{{\\text{{({})}}}}",
]
SENTENCES = [
    "{}",
    "Final answer: {}",
    "Step 1: Look.\nFinal answer: {}",
    "So the answer is {}",
    "The correct option is {}.",
    "Therefore, the correct answer is: {}",
    "Answer: {}",
    "\\boxed{{{}}}",
    "Thus\n\n$\\boxed{{{}}}$.",
    "We see C first.\nThe answer is {}, because it fits.",
]


@pytest.mark.parametrize("options", [COLOURS, PICTURED, NUMBERS], ids=["texts", "pictured", "numbers"])
@pytest.mark.parametrize("dress", DRESSES)
def test_a_letter_in_any_dress_gives_the_letter(options, dress):
    for sentence, letter in itertools.product(SENTENCES, "ABCD"):
        response = sentence.format(dress.format(letter))
        expected = "right" if letter == "B" else "wrong"
        assert judge(response, options) == (expected, letter), response


@pytest.mark.parametrize("dress", ["({})", "({}) {text}", "{}) {text}", "option {}", "{}"])
def test_lower_case_where_it_is_unambiguous(dress):
    for sentence in SENTENCES[:9]:
        response = sentence.format(dress.format("b", text="a blue ball"))
        assert judge(response, COLOURS) == ("right", "B"), response


@pytest.mark.parametrize(
    "dress",
    [
        "({}) {text}",
        "{}. {text}",
        "{}: {text}",
        "{}) {text}",
        "\\text{{({}) {text}}}",
        "{text}",
        "\\textbf{{({})}}\\ \\text{{{text}}}",
        "{} - {text}",
        "option {}: {text}",
    ],
)
@pytest.mark.parametrize("options", [COLOURS, NUMBERS], ids=["texts", "numbers"])
def test_a_letter_with_its_option_or_the_option_alone(options, dress):
    for letter, text in zip("ABCD", options, strict=True):
        response = "\\boxed{" + dress.format(letter, text=text.replace("$", "")) + "}"
        assert judge(response, options)[1] == letter, response


@pytest.mark.parametrize(
    "response, letter",
    [
        ("\\boxed{0.5}", "A"),
        ("\\boxed{2.0}", "B"),
        ("The answer is 30%.", "C"),
        ("\\boxed{30}", "C"),
        ("\\boxed{0.3}", "C"),
        ("The answer is 1000", "D"),
        ("\\boxed{1000 \\text{ cm}}", "D"),
    ],
)
def test_an_option_by_its_number(response, letter):
    assert judge(response, NUMBERS)[1] == letter


@pytest.mark.parametrize(
    "response, letter",
    [
        ("Look.\nThe laser beam ends at D.", "D"),
        ("The knot is C)", "C"),
        ("Plant it in region A.", "A"),
        ("Look at it.\nSo it must be (E).", "E"),
        ("Thus we choose option d, the last of the first four there are.", "D"),
    ],
)
def test_a_letter_in_a_sentence(response, letter):
    assert judge(response, PICTURED)[1] == letter


def test_an_options_text_at_a_sentences_end():
    assert judge("Look.\nTherefore it shows a green ball.", COLOURS) == ("wrong", "C")
    assert judge("The answer is the thing called the blue ball", COLOURS) == ("right", "B")


UNDECIDED = [
    ("\\boxed{A, C}", PICTURED),
    ("The answer is A and C", PICTURED),
    ("Either (A) or (C), who knows?", PICTURED),
    ("\\boxed{(B) a red ball}", COLOURS),  # the letter of one, the text of another
    ("The answer is not (B).", PICTURED),
    ("I cannot tell.", COLOURS),
    ("The answer is a ball", COLOURS),
    ("\\boxed{F}", PICTURED),
    ("\\boxed{3}", PICTURED),
    ("It is a red ball or a blue ball.", COLOURS),
    ("", COLOURS),
    ("A triangle has three sides.", PICTURED),
    ("\\boxed{a cat}", COLOURS),
    ("I. e. nothing.", COLOURS),
    ("\\boxed{2.00}", ("2", "2.0", "3", "4")),  # two options are this number
]


@pytest.mark.parametrize("response, options", UNDECIDED)
def test_ambiguous_answers_are_undecided(response, options):
    assert judge(response, options)[0] == "undecided"


def test_options_that_are_letters_out_of_order():
    options = ("C", "A", "M", "H")
    assert judge("\\boxed{A}", options)[0] == "undecided"  # the letter A, or the text of B?
    assert judge("\\boxed{(A)}", options) == ("wrong", "A")  # brackets: a letter
    assert judge("\\boxed{M}", options) == ("wrong", "C")  # no letter of an option: its text
    assert judge("\\boxed{B}", options) == ("right", "B")  # no option's text: a letter


def test_a_number_that_equals_no_option_is_wrong_where_all_are_numbers():
    assert judge("\\boxed{7}", NUMBERS) == ("wrong", "7")
    assert judge("Some words.\nWe see 7 of them", NUMBERS)[0] == "undecided"  # not marked as the answer
    assert judge("\\boxed{7}", (*NUMBERS, "none of these"))[0] == "undecided"


def test_a_number_may_be_an_option_rounded():
    options = ("2.2", "2.24", "3.16")
    assert judge("\\boxed{2.236}", options)[0] == "undecided"  # 2.2 and 2.24 are both its rounding
    assert judge("\\boxed{3.1623}", options) == ("wrong", "C")
    assert judge("\\boxed{3.17}", options)[0] == "undecided"  # near 3.16, and not its rounding
    assert judge("\\boxed{70.4}", ("60", "70"))[0] == "undecided"  # whole options are not rounded to
    assert judge("\\boxed{75}", ("60", "70")) == ("wrong", "75")


def test_a_letter_before_another_options_number():
    assert judge("\\boxed{(B) 54}", ("54 cm", "45 cm"))[0] == "undecided"
    assert judge("\\boxed{(B) 45}", ("54 cm", "45 cm")) == ("right", "B")


def test_units_tell_options_apart():
    options = ("5 cm", "5 m", "6 cm")
    assert judge("\\boxed{5 m}", options) == ("right", "B")
    assert judge("\\boxed{5}", options)[0] == "undecided"


def test_options_that_repeat_their_label():
    assert judge("\\boxed{a square}", ("(A) a circle", "(B) a square")) == ("right", "B")


def test_a_question_without_options_is_refused():
    with pytest.raises(UserError, match="'q1' has no options"):
        CHECKER.check("B", question("B"))
