"""Texts from files in Markdown: shown as they are."""

from __future__ import annotations

import pytest

from dreamprm.evaluation.number_text import markdown_table
from dreamprm.files.markdown import as_text, values_as_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name-2 v1.5 a_b 80% (x)", "plain name-2 v1.5 a_b 80% (x)"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a\n\n# b\u2028c", "a \\# b c"),
        ("[x](javascript:y)", "\\[x\\](javascript:y)"),
        ("![x](y)", "\\!\\[x\\](y)"),
        ("`code` **bold** _it_ ~~x~~", "\\`code\\` \\*\\*bold\\*\\* \\_it\\_ \\~\\~x\\~\\~"),
        ("https://a.b www.a.b", "https:&#47;&#47;a.b www&#46;a.b"),
        ("a\\*b C:\\n \\", "a\\\\\\*b C:\\n \\\\"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_a_text_is_shown_as_it_is(text: str, shown: str) -> None:
    assert as_text(text) == shown


def test_a_bar_ends_no_cell() -> None:
    assert markdown_table(["a"], [[as_text("x | y")]])[-1] == "| x \\| y |"


def test_names_and_values_are_escaped_alike() -> None:
    assert values_as_text({"<a>": ["*", 1, None, {"b_c": True}]}) == {
        "&lt;a&gt;": ["\\*", 1, None, {"b_c": True}]
    }
