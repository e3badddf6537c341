"""Replies by instruction: prefix + kept text is the whole response, once."""

import pytest

from dreamprm.generators.openai_continuation import fit_to_prefix

PREFIX = "Step 1: There are three bars.\nStep 2: The tallest one is red, and it is 7 high."
REST = "Step 3: So the sum is 12.\nFinal answer: B"


def plain(text: str) -> str:
    """A text without white space and Markdown marks."""
    return "".join(text.translate(dict.fromkeys(map(ord, "*_#>`"))).split())


@pytest.mark.parametrize(
    "reply",
    [
        REST,
        f"\n\n{REST}",
        f"{PREFIX}\n{REST}",
        f"{PREFIX}\n\n{REST}".replace("Step ", "### Step "),
        "**Step 1:** There are three bars.\n\n**Step 2:** The tallest one is red, and it is 7 high.\n" + REST,
        f"Step 2: The tallest one is red, and it is 7 high.\n{REST}",
        f"`{PREFIX}`\n{REST}",
        f"<begun>\n{PREFIX}\n</begun>\n{REST}",
        f"<begun>{PREFIX}\n{REST}",
        # Reworded, with the same numbers, and then on to the next.
        f"Step 1: There are 3 bars.\nStep 2: The tallest one is the red bar, 7 high.\n{REST}",
        f"Step 2: The tallest bar is red, and it is 7 units high.\n{REST}",
    ],
)
def test_what_repeats_the_prefix_is_cut(reply: str) -> None:
    text = fit_to_prefix(PREFIX, reply)
    assert plain(PREFIX + text) == plain(f"{PREFIX}\n{REST}")
    assert text[0] == "\n"


@pytest.mark.parametrize(
    ("prefix", "reply"),
    [
        # An introduction cannot be told from content.
        (PREFIX, f"Here is the rest.\n{REST}"),
        # New steps that are numbered from 1 again share few words with the old ones.
        (PREFIX, "Step 1: Add them all.\nStep 2: 5 + 7 = 12, hence 12.\nStep 3: Done.\nFinal answer: B"),
        # Restated steps without a further one: nothing says where the new part begins.
        (PREFIX, "Step 1: There are 3 bars.\nStep 2: The tallest one is the red bar; so B."),
        # Too short to be called a repetition.
        ("So it is", "So it is B."),
        ("No headings here at all, only prose.", "And more prose."),
    ],
)
def test_what_may_be_new_is_kept(prefix: str, reply: str) -> None:
    assert fit_to_prefix(prefix, reply) == f"\n{reply}"


def test_a_reply_that_stops_inside_the_repetition_says_nothing_new() -> None:
    assert fit_to_prefix(PREFIX, PREFIX) == ""
    assert fit_to_prefix(PREFIX, PREFIX[:50]) == ""
    assert fit_to_prefix(PREFIX, "") == ""


def test_a_prefix_without_headings_is_recognised_as_a_whole() -> None:
    prefix = "The picture shows three bars of different heights."
    assert fit_to_prefix(prefix, f"{prefix} The sum is 12.") == " The sum is 12."


@pytest.mark.parametrize(
    ("prefix", "reply", "joined"),
    [
        ("Step 1: a.\n", "Step 2: b.", "Step 1: a.\nStep 2: b."),
        ("Step 1: a.", "Step 2: b.", "Step 1: a.\nStep 2: b."),
        ("Step 1: a.", " Step 2: b.", "Step 1: a. Step 2: b."),
        ("Step 1: a", ", and b.", "Step 1: a, and b."),
        ("Step 1: a.", "$x$ is 3.", "Step 1: a.\n$x$ is 3."),
    ],
)
def test_white_space_joins_the_two(prefix: str, reply: str, joined: str) -> None:
    assert prefix + fit_to_prefix(prefix, reply) == joined
