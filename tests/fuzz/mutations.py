"""Random input that is nearly valid: valid values and files with the changes that faults and attacks make."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

# What `json.dumps` cannot write: the text that stands for it is replaced in the file.
_WRITTEN = {
    "@digits@": "1" + "0" * 4999,
    "@deep list@": "[" * 3000 + "]" * 3000,
    "@deep object@": '{"a":' * 2000 + "1" + "}" * 2000,
    "@long@": "9" * 400 + "e99999",
    "@halfway@": "[" * 99 + "]" * 99,
}

ODD_TEXTS = (
    *("", " ", "\n", "\t\u3000", "a", "A", "(B)", "0", "-1", "1.50", "1e400", "NaN", "None", "null", "true"),
    *("\0", "a\0b", "\ud83d", "\udc00x", "\ud83d\ude00", "\u2028", "\u0085", "\ufeff", "\u202e", "\x1b[31m"),
    *(
        "../../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "i.png/",
        "i.png",
        "x" * 300,
        "C:\\x",
        "~",
        "-x",
        "$(x)",
    ),
    *(
        "Step 1: a\n\nStep 2: b",
        "### Step 3",
        "**Step 1**",
        "\\boxed{",
        "\\boxed{3}",
        "Final answer: 4",
        "<image>",
    ),
    *("=1+1", '"', "'", ",", "a\tb", 'a,b\n"c', "\r\n", "\r", "{}", "[]", "${x}", "${oc.env:HOME}", "|a|b|"),
    *(
        "e\u0301",
        "\u00e9",
        "\u4e2d\u6587",
        "\U0001f469\u200d\U0001f52c",
        "\u0660\u0661",
        "\u00bd",
        "1/2",
        "\u2212 3",
    ),
    *("@digits@", "@deep list@", "@deep object@", "@long@", "@halfway@"),
)
ODD_NUMBERS = (
    *(0, 1, -1, 2, 10, 25, 26, 27, 1000, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -1e-300, 5e-324, 1e308, 1e16, float("inf"), float("-inf"), float("nan")),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, [None], [[]], [{}], {"": None}, {"a": {"b": []}}, ["a", 1], [0.5, 0.5]),
    *ODD_NUMBERS,
    *ODD_TEXTS,
)

odd_texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=12))
odd_values = st.one_of(
    st.sampled_from(ODD_VALUES),
    st.text(max_size=12),
    st.floats(),
    st.integers(-(2**65), 2**65),
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3),
        lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3),
        max_leaves=5,
    ),
)


@st.composite
def changed(draw: st.DrawFn, value: Any, most: int = 3) -> Any:
    """The value, or one with up to `most` of its parts removed, replaced, repeated, renamed or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, most))):
        holder: Any = [value]
        places = list(_places(holder))
        within, slot = places[draw(st.integers(0, len(places) - 1))]
        how = draw(
            st.sampled_from(("replace", "replace", "remove", "repeat", "rename", "wrap", "text", "exchange"))
        )
        part = within[slot]
        if how == "remove" and within is not holder:
            del within[slot]
        elif how == "repeat" and isinstance(within, list) and within is not holder:
            within.insert(slot, copy.deepcopy(part))
        elif how == "rename" and isinstance(within, dict):
            within[draw(odd_texts).strip("@")] = within.pop(slot)
        elif how == "wrap":
            within[slot] = draw(st.sampled_from(([part], {"a": part}, [part, part])))
        elif how == "text":
            within[slot] = _with_text(draw, part)
        elif how == "exchange":
            other, there = places[draw(st.integers(0, len(places) - 1))]
            within[slot] = copy.deepcopy(other[there])
        else:
            within[slot] = copy.deepcopy(draw(odd_values))
        value = holder[0]
    return value


def _with_text(draw: st.DrawFn, part: Any) -> Any:
    """A text with an odd one in it; a number, or anything else, as a text."""
    if not isinstance(part, str):
        return repr(part)
    at = draw(st.integers(0, len(part)))
    return part[:at] + draw(odd_texts) + part[at + draw(st.integers(0, 2)) :]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where the parts of a value stand: what holds each, and its slot there."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        for slot in holder if isinstance(holder, dict) else range(len(holder)):
            yield holder, slot
            if isinstance(holder[slot], dict | list):
                waiting.append(holder[slot])


def json_text(value: Any, *, plain: bool = True) -> str:
    """A value as JSON, also values that Python's writer refuses."""
    text = json.dumps(value, ensure_ascii=plain)
    for name, written in _WRITTEN.items():
        text = text.replace(f'"{name}"', written)
    return text


@st.composite
def json_files(draw: st.DrawFn, rows: Sequence[Any]) -> tuple[bytes, list[str]]:
    """A file of rows, as lines or as an array, most of them valid; and the rows' texts."""
    texts = [json_text(draw(changed(draw(st.sampled_from(rows)))), plain=draw(st.booleans()))
             for _ in range(draw(st.integers(1, 4)))]  # fmt: skip
    form = draw(st.sampled_from(("\n", "\n", "\r\n", "\n\n", "array", "array in one line")))
    if form.startswith("array"):
        whole = "[" + (",\n" if form == "array" else ", ").join(texts) + "]"
    else:
        whole = form.join(texts) + draw(st.sampled_from(("", "\n")))
    return whole.encode("utf-8", "surrogatepass"), texts


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 2) -> bytes:
    """The bytes of a file, or what a fault leaves of them: cut, flipped, zeroed, repeated, encoded anew."""
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, len(content)))
        how = draw(
            st.sampled_from(("cut", "flip", "zero", "insert", "drop", "repeat", "mark", "encoding", "noise"))
        )
        if how == "cut":
            content = content[:at]
        elif how == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
        elif how == "zero":
            content = content[:at] + bytes(draw(st.integers(1, 20))) + content[at + 20 :]
        elif how == "insert":
            content = content[:at] + draw(st.sampled_from(_INSERTED)) + content[at:]
        elif how == "drop":
            content = content[:at] + content[at + draw(st.integers(1, 30)) :]
        elif how == "repeat":
            content = content[: at + draw(st.integers(1, 60))] + content[at:]
        elif how == "mark":
            content = b"\xef\xbb\xbf" + content
        elif how == "encoding":
            content = content.decode("utf-8", "replace").encode(draw(st.sampled_from(_ENCODINGS)), "replace")
        elif how == "noise":
            content = content[:at] + draw(st.binary(max_size=12)) + content[at:]
    return content


_INSERTED = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r", b"\\", b"\\u0000", b"\\ud800", b"\0", b"\xff"),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"NaN", b"-Infinity", b"1e999", b"null", b"//", b"'", b"\t", b" " * 40),
    *(b"\xed\xa0\x80", b"\x1a", b"\x0c", b"9" * 30, b"[" * 200, b'"id"', b"@"),
)
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig")
