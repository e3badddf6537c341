"""Responses taken apart: steps, prefixes, final answers, and what is said of malformed ones."""

import random
import time

import pytest

from dreamprm.config.choices import SPLITS
from dreamprm.config.errors import UserError
from dreamprm.responses import (
    MALFORMED,
    final_answer,
    last_step_number,
    parse_response,
    split_question,
    split_steps,
)
from dreamprm.responses.headings import Heading, ascending

COT = (
    "Step 1: Restate.\n - asks for x\n\nStep 2: Look.\nSee step 1: it helps."
    "\n\nStep 3: Conclude.\n\nFinal answer: B"
)


def test_split_keeps_headings_and_the_final_answer() -> None:
    assert split_steps(COT) == (
        "Step 1: Restate.\n - asks for x",
        "Step 2: Look.\nSee step 1: it helps.",
        "Step 3: Conclude.\n\nFinal answer: B",
    )


@pytest.mark.parametrize(
    "heading",
    ["Step {}: a", "### Step {}: a", "**Step {}:** a", "**Step {}**: a", "step {}. a", "STEP {}) a",
     "- Step {} - a", "> Step {}: a", "  Step {}: a", "Step {}\na", "## Step {}\na", "**Step {}**\na",
     "**Step {}** a", "## Step {} a", "[Step {}] a", "Step {} (look at it): a", "**Step {} (look)**\na",
     "Step {}\uFF1Aa", "Step {} \u2014 a", "**Step {}.** a"],
)  # fmt: skip
def test_headings_in_their_many_forms(heading: str) -> None:
    text = "\n".join(heading.format(k) for k in (1, 2, 3))
    assert split_steps(text) == tuple(heading.format(k).strip() for k in (1, 2, 3))


@pytest.mark.parametrize(
    "text", ["", "no heading", "As in Step 1: no", "Step 1 shows that it works", "Step 2: begins late"]
)
def test_no_steps_without_a_first_heading(text: str) -> None:
    assert split_steps(text) == ()


def test_only_headings_that_continue_the_numbering_count() -> None:
    assert split_steps("Step 1: a\nStep 1: again\nStep 3: no\nStep 2: b") == (
        "Step 1: a\nStep 1: again\nStep 3: no",
        "Step 2: b",
    )


def test_text_before_the_first_heading_belongs_to_the_first_step() -> None:
    assert split_steps("Let me see.\nStep 1: a\nStep 2: b") == ("Let me see.\nStep 1: a", "Step 2: b")


def test_a_continuation_starts_at_its_own_number() -> None:
    assert split_steps("\nStep 3: c\nStep 4: d", 3) == ("Step 3: c", "Step 4: d")
    assert split_steps("\nStep 3: c\nStep 4: d") == ()


def test_split_is_lossless_up_to_white_space() -> None:
    assert "".join("".join(split_steps(COT)).split()) == "".join(COT.split())


def test_question_ends_at_the_first_heading() -> None:
    assert split_question("What is x?\n\n### Step 1: a\n\n### Step 2: b") == (
        "What is x?",
        ("### Step 1: a", "### Step 2: b"),
    )
    assert split_question(" What is x? \n") == ("What is x?", ())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (COT, "B"),
        ("Final answer: 3.5 m", "3.5 m"),
        ("**Final answer:** B", "B"),
        ("**Final Answer: B**", "B"),
        ("### Final Answer\n\nC\n", "C"),
        ("### Final Answer:\n**C**", "C"),
        ("Final answer is: D", "D"),
        ("Final answer: A\nFinal answer: B", "B"),
        ("Final answer: A\nFinal answer:", "A"),
        ("The final answer is based on x", None),
        ("(Note: The final answer: B)", "B"),
        ("Final answer:", None),
        ("", None),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_a_sub_step_or_a_range_is_no_step_of_its_own() -> None:
    text = "Step 1: a\nStep 1.1: b\nStep 2.5 m is long\nStep 2-3 show it\nStep 2: c"
    assert split_steps(text) == ("Step 1: a\nStep 1.1: b\nStep 2.5 m is long\nStep 2-3 show it", "Step 2: c")


@pytest.mark.parametrize("line", ["-" * 5000, "_" * 5000, "- " * 2500, "#" * 5000, "*" * 5000 + "step"])
def test_a_long_line_of_marks_takes_no_time(line: str) -> None:
    started = time.process_time()
    assert split_steps(f"{line}\nStep 1: a") == (f"{line}\nStep 1: a",) and final_answer(line) is None
    assert time.process_time() - started < 1  # a repeated group needed 30 s for 30 dashes


@pytest.mark.parametrize(
    ("numbers", "kept"),
    [
        ([], []),
        ([1, 2, 3], [0, 1, 2]),
        ([2, 3], [0, 1]),  # the first is missing
        ([1, 2, 4, 5], [0, 1, 2, 3]),  # a gap
        ([1, 2, 1, 3], [0, 1, 3]),  # a step that names an earlier one
        ([1, 5, 2, 3, 4, 5], [0, 2, 3, 4, 5]),  # one that names a later one
        ([1, 1, 2, 2], [0, 2]),  # of equal numbers the first
        ([1, 3, 2], [0, 2]),  # of two runs of one length the one with the smaller numbers
        ([1, 3, 4, 5, 2], [0, 1, 2, 3]),
        ([3, 2, 1], [2]),
    ],
)
def test_at_which_headings_a_response_is_cut(numbers: list[int], kept: list[int]) -> None:
    headings = [Heading(number, start=10 * k) for k, number in enumerate(numbers)]
    assert ascending(headings) == tuple(headings[k] for k in kept)


def test_the_cut_is_a_longest_rising_run() -> None:
    rng = random.Random(0)
    for _ in range(300):
        numbers = [rng.randint(1, 6) for _ in range(rng.randint(1, 7))]
        headings = [Heading(number, start=k) for k, number in enumerate(numbers)]
        runs = [[h for k, h in enumerate(headings) if mask >> k & 1] for mask in range(1, 2 ** len(numbers))]
        rising = [run for run in runs if all(a.number < b.number for a, b in zip(run, run[1:], strict=False))]
        longest = max(map(len, rising))
        cut = list(ascending(headings))
        assert cut in rising and len(cut) == longest
        assert cut[-1].number == min(run[-1].number for run in rising if len(run) == longest)


def test_the_last_step_s_number() -> None:
    assert last_step_number("Step 1: a\nStep 2: as in\nStep 1: b") == 2
    assert last_step_number("Step is no heading") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{5}.", "5"),
        (r"\boxed{1}, no: \boxed{\frac{\sqrt{3}}{2}}", r"\frac{\sqrt{3}}{2}"),
        (r"\boxed{\text{B}}", "B"),
        (r"$\boxed{\textbf{(A)}\ 70^{\circ}}.$", r"\textbf{(A)}\ 70^{\circ}"),
        (r"\fbox{$x$}", "$x$"),
        (r"\boxed {\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{4} and then \boxed{}", "4"),
        (r"\boxed{4} and then cut off at \boxed{\frac{1", None),
        (r"\boxed{}", None),
        (r"{ \boxed{5} } }", "5"),
        ("\\boxed{" * 20000, None),
        (r"Final answer: 3" "\n" r"as in \boxed{4}", "4"),
        (r"\boxed{4}" "\nFinal answer: 3", "3"),
        (r"Final answer: $\boxed{7}$", "7"),
        (r"Final answer: $\boxed{7}$ or $\boxed{8}$", "7, 8"),
        ("### Final Answer\n\n\\[\n\\boxed{9}\n\\]", "9"),
        ("### Final Answer\n---\n**C**", "C"),
        ("### Final Answer\nThe area is given by:\n\\[ \\boxed{7\\pi} \\]", "7\\pi"),
        ("Final Answer: The final answer is 13,534.", "13,534"),
        ("Final Answer: The final answer is $8\\sqrt{3}$. I hope it is correct.", "$8\\sqrt{3}$"),
        ("Final Answer: The final answer is\n5", "5"),
        ("The final answer is 161 minutes. I hope it is correct.", "161 minutes"),
        ("Because.\n\nAnswer: B", "B"),
        ("**Answer:** 12 cm", "12 cm"),
        ("Answer:\n\nD", "D"),
        ("Answer: I see no picture. Please send one.", None),
        ("Answer: B\nso \\boxed{C}", "C"),
        ("Therefore, the correct answer is (B).", "(B)"),
        ("The answer is (E) C or D.", "(E) C or D"),
        ("The answer is \\text{D}.", "D"),
        ("So the answer is: 125", "125"),
        ("The answer is **yes**", "yes"),
        (r"The answer is $12 \text{ cm}$.", r"$12 \text{ cm}$"),
        ("The answer is (A).\n\nThe two pieces are alike.", "(A)"),
        ("The answer is A. The answer is B.", "B"),
        ("The answer is 5. Then it rained.", "5"),
        ("We ask if the answer is 5", None),
        ("The answer is based on x", None),
        ("The answer is not (A).", None),
        ("the answer is 4 because of that", "4 because of that"),
        ("9", "9"),
    ],
)
def test_answers_in_boxes_and_sentences(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


FIVE = "\n\n".join(f"Step {k}: do {k}." for k in range(1, 6)) + "\n\nFinal answer: B"


@pytest.mark.parametrize(
    ("text", "steps", "malformed"),
    [
        (FIVE, 5, ()),
        ("", 0, ("empty",)),
        (" \n", 0, ("empty",)),
        ("I see a cat.", 1, ("no_headings", "no_final_answer")),
        ("I see a cat. \\boxed{1}", 1, ("no_headings",)),
        (FIVE.replace("Step 3", "Then"), 4, ("missing_steps",)),
        (FIVE.replace("Step 1", "First"), 4, ("missing_steps",)),
        (FIVE.replace("Step 5", "Last"), 4, ("missing_steps",)),
        (FIVE.replace("Step 4", "Step 3"), 4, ("missing_steps", "repeated_steps")),
        (FIVE.replace("do 5.", "As\nStep 2: said"), 5, ("repeated_steps",)),
        (f"{FIVE}\n{FIVE}", 5, ("repeated_steps",)),
        (
            FIVE.replace("Step 3", "Step 6").replace("Step 4", "Step 3").replace("Step 6", "Step 4"),
            4,
            ("unordered_steps",),
        ),
        (FIVE.replace("Final", "Step 6: more.\n\nFinal"), 6, ("surplus_steps",)),
        (FIVE.replace("Final answer: B", ""), 5, ("no_final_answer",)),
        ("Step 2: b\nStep 1: a", 1, ("missing_steps", "unordered_steps", "no_final_answer")),
    ],
)
def test_what_is_wrong_with_a_response_to_the_five_stage_prompt(
    text: str, steps: int, malformed: tuple[str, ...]
) -> None:
    response = parse_response(text, expected_steps=5)
    assert (len(response.steps), response.malformed) == (steps, malformed)
    cut = parse_response(text, expected_steps=5, finished=False)
    assert set(cut.malformed) == {*malformed, "truncated"} and cut.steps == response.steps
    assert response.split == ("whole" if "no_headings" in malformed else "headings")


def test_any_number_of_steps_is_right_where_none_is_expected() -> None:
    assert parse_response("Step 1: a\nStep 2: b\nFinal answer: 1").malformed == ()
    assert parse_response("A\n\nB\n\nAnswer: 1", split="paragraphs").malformed == ()
    for expected, malformed in ((1, "surplus_steps"), (3, "missing_steps")):
        response = parse_response("A\n\nB \\boxed{1}", split="paragraphs", expected_steps=expected)
        assert response.malformed == (malformed,)


def test_every_name_of_malformed_is_given_to_some_response() -> None:
    texts = [
        "",
        "<think>x",
        "x",
        FIVE.replace("Step 3", "x"),
        FIVE * 2,
        "Step 2: b\nStep 1: a",
        FIVE + "\nStep 6: x",
    ]
    responses = [parse_response(text, expected_steps=5, finished=False) for text in texts]
    assert {name for response in responses for name in response.malformed} == set(MALFORMED)


def test_prefixes_end_with_their_steps() -> None:
    response = parse_response("Well.\n\nStep 1: a \n\n### Step 2\nb\n\n\nFinal answer: 4\n")
    assert response.steps == ("Well.\n\nStep 1: a", "### Step 2\nb\n\n\nFinal answer: 4")
    assert [response.prefix(k) for k in range(3)] == [
        "",
        "Well.\n\nStep 1: a",
        "Well.\n\nStep 1: a \n\n### Step 2\nb\n\n\nFinal answer: 4",
    ]
    for step in (-1, 3):
        with pytest.raises(ValueError, match=r"step must be in 0\.\.2"):
            response.prefix(step)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"split": "lines"},
            "split must be one of auto, headings, paragraphs, sentences, whole, got 'lines'",
        ),
        ({"expected_steps": 0}, "expected_steps must be >= 1 or None, got 0"),
    ],
)
def test_settings_that_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_response("x", **arguments)


PIECES = (
    "Step 1: a",
    "**Step 2**",
    "### Step 3 -",
    "step 2.",
    "Final answer: B",
    "Answer: 3",
    "\\boxed{\\frac12}",
    "- one",
    "2. two",
    "We have:",
    "$$",
    "\\[ x = 1.",
    "\\]",
    "```",
    "e.g. this",
    "It is 3.5. Then 4",
    "where x",
    "|a|b|",
    "  indented",
    "\u00e9\u3002\u6570\u5b66",
    "$5 and $6.",
    "**Title**",
    "---",
    "\t",
    "Is it? Yes!",
)


@pytest.mark.parametrize("split", SPLITS)
def test_no_text_is_lost_and_prefixes_begin_the_text(split: str) -> None:
    rng = random.Random(1)
    for _ in range(400):
        pieces = rng.choices(PIECES, k=rng.randint(1, 12))
        text = "".join(piece + rng.choice([" ", "\n", "\n\n", "\n \n"]) for piece in pieces)
        response = parse_response(text, split=split, expected_steps=rng.choice([None, 3]))
        assert "".join("".join(response.steps).split()) == "".join(text.split())
        assert all(response.steps) and len(response.steps) == len(response.ends)
        assert list(response.ends) == sorted(set(response.ends))
        for step, written in enumerate(response.steps, start=1):
            prefix = response.prefix(step)
            assert text.startswith(prefix) and prefix == prefix.rstrip() and prefix.endswith(written)
        assert response.prefix(len(response.steps)).strip() == text.strip()


def test_a_well_formed_response_has_the_steps_of_split_steps() -> None:
    rng = random.Random(2)
    for _ in range(300):
        text = "\n".join(rng.choice(PIECES) for _ in range(rng.randint(1, 10)))
        response = parse_response(text)
        if not {"no_headings", "missing_steps", "unordered_steps"} & set(response.malformed):
            assert response.steps == split_steps(text)


@pytest.mark.parametrize(
    "paragraphs",
    [
        ["First, count.", "Then add."],
        ["So:\n\n$$\na\n\nb\n$$\n\nwhere a is 1.", "Then add."],
        ["We get\n\n\\[ x = 1 \\].", "Then add."],
        ["We get\n\n$x^2 = 4$\n\n$x = 2$", "An \\( open", "Then \\) add."],
        ["Code:\n\n```python\nx = 1\n\ny = 2\n```", "Then add."],
        ["The options:\n\n- (A) 1\n\n- (B) 2", "Then add."],
        ["1. Count\n\n   the bars.", "2. Add\n- them\n- all."],
        ["**Title**\n\nText.", "## Other\nText.", "**So it is 5.**", "Then add."],
        ["[Reasoning]\n\nText.", "More.\n\n| a | b |\n|---|---|"],
        ["First.", "So it is 5.\n\nFinal answer: 5"],
        ["First.", "So it is 5.\n\n\\[\n\\boxed{5}\n\\]"],
        ["First.", "So it is 5.\n\n### Final Answer\n\n$\\boxed{5}$."],
        ["First.", "Therefore the answer is \\boxed{5}."],
        ["Amounts of $5 and\n$6.", "An open \\[ formula", "Then ``` code", "Ends $$ here."],
        ["Final answer: 5"],
    ],
)
def test_paragraphs(paragraphs: list[str]) -> None:
    assert list(parse_response("\n\n".join(paragraphs), split="paragraphs").steps) == paragraphs


@pytest.mark.parametrize(
    "sentences",
    [
        ["It is 3.5 cm long.", "Then it grew!", "Did it?", "Yes."],
        ["See Fig. 3 and e.g. Eq. (2), i.e. x vs. y.", "Dr. No said no.", "5 apples."],
        ["So $x = 1.$", "Then $a. B$ and \\(c. D\\) are `e. F`.", "Next."],
        ['He said "stop."', "(It was late.)", "**Bold.**", "End"],
        ["The point is B.", "So it lies on A."],
        ["It costs $5.", "It was $6. then"],
        ["Wait... what?", "I know\u2026", "Good."],
        ["Steps:\n1. Count.", "2. Add them.", "3. Done"],
        ["All are here", "- one", "- two"],
        ["First.", "So 5.\nFinal answer: 5"],
        ["First.", "So 5.\n\n\\boxed{5}"],
        ["\u7b2c\u4e00\u3002", "\u7b2c\u4e8c\u3002"],
        ["x"],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    for white in (" ", "\n"):
        text = sentences[0]
        for sentence in sentences[1:]:
            text += ("\n" if sentence[:2] in ("- ", "2.", "3.") else white) + sentence
        assert list(parse_response(text, split="sentences").steps) == sentences


def test_a_displayed_formula_at_a_line_s_end_may_end_a_sentence() -> None:
    text = "We have:\n\\[x = 1\\]\nSo\n$$y = 2$$\nand \\[z = 3\\] Then"
    assert parse_response(text, split="sentences").steps == (
        "We have:\n\\[x = 1\\]",
        "So\n$$y = 2$$\nand \\[z = 3\\] Then",
    )


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "loop",
    [
        "Step 1: a.\n",
        "Step 1: a. Step 2.\n\n",
        "\\[ x ",
        "\\( x ",
        "\\begin{a} ",
        "```x\n",
        "$a ",
        ".",
        "a. A ",
        "- a\n\n",
        "- a\n",
        "So:\n\n",
        "Final answer:\n",
        "Answer:\n",
        "the answer is (A) x.\n",
        "\\boxed{",
        "\\boxed{1} ",
        "\\text{",
        " \n",
    ],
)
def test_a_generator_in_a_loop_costs_no_time(loop: str, split: str) -> None:
    """Time grows with the length, not with its square: 30,000 characters took up to a minute."""

    def seconds(length: int) -> float:
        started = time.process_time()
        parse_response(loop * (length // len(loop)), split=split)
        return time.process_time() - started

    taken = seconds(30000)
    assert taken < 2 or taken < 3 * seconds(15000)
    text = loop * (30000 // len(loop))
    response = parse_response(text, split=split)
    assert "".join("".join(response.steps).split()) == "".join(text.split())


def test_whole_is_one_step() -> None:
    response = parse_response(f" {FIVE}\n", split="whole")
    assert response.steps == (FIVE,) and response.ends == (len(FIVE) + 1,) and response.malformed == ()
