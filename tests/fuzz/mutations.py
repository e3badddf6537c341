"""Random input that is nearly valid: valid values and files with the changes that faults and attacks make."""

from __future__ import annotations

import copy
import csv
import io
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

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

_LETTERS = 'ab B0.1-\n\t"\\{}[]$:/\u00e9\u0130\u2028\u4e2d\U0001f600\u0300'

T = TypeVar("T")


def by_seed(make: Callable[[Random], T]) -> st.SearchStrategy[T]:
    """What `make` draws from a generator of random numbers.

    One number of hypothesis per value: drawing every choice by itself takes longer than most tests of a case.
    """
    return st.integers(0, 2**64 - 1).map(lambda seed: make(Random(seed)))


def odd_text(chance: Random) -> str:
    """A text that is hard for something, or a few random characters."""
    if chance.random() < 0.7:
        return chance.choice(ODD_TEXTS)
    size = chance.randrange(8)
    if chance.random() < 0.5:
        return "".join(chance.choices(_LETTERS, k=size))
    return "".join(
        chr(chance.choice((chance.randrange(0x250), chance.randrange(0x11000)))) for _ in range(size)
    )


def odd_value(chance: Random) -> Any:
    """A value that is hard for something, of any type that JSON has."""
    how = chance.random()
    if how < 0.5:
        return copy.deepcopy(chance.choice(ODD_VALUES))
    if how < 0.7:
        return odd_text(chance)
    if how < 0.8:
        return chance.choice((chance.uniform(-2, 2), chance.random(), chance.expovariate(1e-300)))
    if how < 0.9:
        return chance.randrange(-3, 30) if chance.random() < 0.5 else chance.randrange(-(2**65), 2**65)
    parts = [odd_value(chance) for _ in range(chance.randrange(3))]
    return parts if chance.random() < 0.5 else {odd_text(chance).strip("@"): part for part in parts}


_WAYS = ("replace", "replace", "remove", "repeat", "rename", "wrap", "text", "exchange")


def change(chance: Random, value: Any, most: int = 3) -> Any:
    """The value, or one with up to `most` of its parts removed, replaced, repeated, renamed or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(chance.randint(0, most)):
        holder: Any = [value]
        places = list(_places(holder))
        within, slot = chance.choice(places)
        part, how = within[slot], chance.choice(_WAYS)
        if how == "remove" and within is not holder:
            del within[slot]
        elif how == "repeat" and isinstance(within, list) and within is not holder:
            within.insert(slot, copy.deepcopy(part))
        elif how == "rename" and isinstance(within, dict):
            within[odd_text(chance).strip("@")] = within.pop(slot)
        elif how == "wrap":
            within[slot] = chance.choice(([part], {"a": part}, [part, part]))
        elif how == "text":
            within[slot] = _with_text(chance, part)
        elif how == "exchange":
            other, there = chance.choice(places)
            within[slot] = copy.deepcopy(other[there])
        else:
            within[slot] = odd_value(chance)
        value = holder[0]
    return value


def _with_text(chance: Random, part: Any) -> Any:
    """A text with an odd one in it; a number, or anything else, as a text."""
    if not isinstance(part, str):
        return repr(part)
    at = chance.randint(0, len(part))
    return part[:at] + odd_text(chance) + part[at + chance.randrange(3) :]


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


def json_file(chance: Random, rows: Sequence[Any]) -> bytes:
    """A file of rows, as lines or as an array, most of them valid."""
    texts = [
        json_text(change(chance, chance.choice(rows)), plain=chance.random() < 0.5)
        for _ in range(chance.randint(1, 4))
    ]
    form = chance.choice(("\n", "\n", "\r\n", "\n\n", "array", "array in one line"))
    if form.startswith("array"):
        whole = "[" + (",\n" if form == "array" else ", ").join(texts) + "]"
    else:
        whole = form.join(texts) + chance.choice(("", "\n"))
    return whole.encode("utf-8", "surrogatepass")


_DAMAGES = ("cut", "flip", "zero", "insert", "drop", "repeat", "mark", "encoding", "noise")


def damage(chance: Random, content: bytes, most: int = 2) -> bytes:
    """The bytes of a file, or what a fault leaves of them: cut, flipped, zeroed, repeated, encoded anew."""
    for _ in range(chance.randint(0, most)):
        at, how = chance.randint(0, len(content)), chance.choice(_DAMAGES)
        if how == "cut":
            content = content[:at]
        elif how == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        elif how == "zero":
            content = content[:at] + bytes(chance.randint(1, 20)) + content[at + 20 :]
        elif how == "insert":
            content = content[:at] + chance.choice(_INSERTED) + content[at:]
        elif how == "drop":
            content = content[:at] + content[at + chance.randint(1, 30) :]
        elif how == "repeat":
            content = content[: at + chance.randint(1, 60)] + content[at:]
        elif how == "mark":
            content = b"\xef\xbb\xbf" + content
        elif how == "encoding":
            content = content.decode("utf-8", "replace").encode(chance.choice(_ENCODINGS), "replace")
        elif how == "noise":
            content = content[:at] + chance.randbytes(chance.randrange(12)) + content[at:]
    return content


_INSERTED = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r", b"\\", b"\\u0000", b"\\ud800", b"\0", b"\xff"),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"NaN", b"-Infinity", b"1e999", b"null", b"//", b"'", b"\t", b" " * 40),
    *(b"\xed\xa0\x80", b"\x1a", b"\x0c", b"9" * 30, b"[" * 200, b'"id"', b"@"),
)
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig")


TABLES = (".json", ".jsonl", ".parquet", ".pk", ".csv", ".tsv", ".xlsx")
"""Endings of the files that `changed_file` can take apart."""


def changed_file(chance: Random, content: bytes, ending: str) -> bytes:
    """The bytes of a file of data, with changes to its values or, more seldom, to its bytes."""
    if chance.random() < 0.75:
        try:
            content = _written(change(chance, _parsed(content, ending)), ending)
        except Exception:  # the library of this kind of file holds no such value
            return content
        return damage(chance, content, most=1) if chance.random() < 0.3 else content
    return damage(chance, content)


def _parsed(content: bytes, ending: str) -> Any:
    if ending in (".json", ".jsonl"):
        lines = content.decode().split("\n") if ending == ".jsonl" and content[:1] == b"{" else []
        return list(map(json.loads, filter(None, lines))) if lines else json.loads(content)
    if ending == ".pk":
        return pickle.loads(content)
    if ending == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    if ending == ".xlsx":
        import openpyxl  # type: ignore[import-untyped]

        return [list(cells) for cells in openpyxl.load_workbook(io.BytesIO(content)).active.values]
    return list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=_SEPARATORS[ending]))


def _written(value: Any, ending: str) -> bytes:
    file = io.BytesIO()
    if ending in (".json", ".jsonl"):
        text = "\n".join(map(json_text, value)) if ending == ".jsonl" else json_text(value)
        return text.encode("utf-8", "surrogatepass")
    if ending == ".pk":
        return pickle.dumps(value)
    if ending == ".parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(value), file)
    elif ending == ".xlsx":
        import openpyxl

        book = openpyxl.Workbook()
        for row in value:
            book.active.append(row)
        book.save(file)
    else:
        cells = io.StringIO(newline="")
        csv.writer(cells, delimiter=_SEPARATORS[ending]).writerows(value)
        return cells.getvalue().encode("utf-8", "surrogatepass")
    return file.getvalue()


_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def data_files(folder: Path) -> dict[str, bytes]:
    """The files of data in a folder, by their names below it."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in TABLES)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def changed_files(chance: Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """One or two of the files, changed."""
    names = chance.sample(sorted(files), k=min(len(files), chance.randint(1, 2)))
    return {name: changed_file(chance, files[name], Path(name).suffix) for name in names}
