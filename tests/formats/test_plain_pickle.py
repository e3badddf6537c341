"""Pickles are read as plain data; a pickle that asks for more is refused before anything runs."""

from __future__ import annotations

import collections
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from question_layouts import geo_problem, put_pickle

from dreamprm.config.errors import DataError
from dreamprm.formats.convert import convert_file
from dreamprm.formats.questions.plain_pickle import load_plain_pickle


class Attack:
    """Unpickling it the usual way calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    value = {
        "a": [1, 2.5, None, True],
        "b": ("\u00e9", b"\x00\xff"),
        "c": np.arange(6.0).reshape(2, 3),
        "d": np.float32(1.5),
        "e": np.zeros((0,), np.uint8),
        "f": {1, 2},
        "g": np.array(["x", "yz"]),
    }
    # Sets are calls of builtins.set below protocol 4: not plain there.
    if protocol < 4:
        del value["f"]
    assert same(load_plain_pickle(put_pickle(tmp_path / "p.pk", value, protocol)), value)


def test_pickles_of_older_numpy_name_its_older_modules(tmp_path: Path) -> None:
    path = put_pickle(tmp_path / "p.pk", np.arange(3, dtype=np.uint8), 2)
    older = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert older != path.read_bytes()
    path.write_bytes(older)
    assert load_plain_pickle(path).tolist() == [0, 1, 2]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "call",
    [
        lambda marker: (os.system, f"touch {marker}"),
        lambda marker: (eval, f"open({str(marker)!r}, 'w')"),
        lambda marker: (os.mkdir, str(marker)),
        lambda marker: (np.save, str(marker), 1),
        lambda marker: (getattr, np.ndarray, "tofile"),
        lambda marker: (np.ndarray.tofile, np.zeros(1), str(marker)),
        lambda marker: (Path.touch, marker),
        lambda marker: (collections.OrderedDict,),
    ],
    ids=["system", "eval", "mkdir", "numpy.save", "getattr", "method", "path", "harmless"],
)
def test_an_attack_does_not_run(call: Any, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = put_pickle(tmp_path / "p.pk", [geo_problem(), Attack(*call(marker))], protocol)
    with pytest.raises(
        DataError, match=r"p\.pk: the pickle names .*; it was not run\. If you trust the file"
    ):
        load_plain_pickle(path)
    with pytest.raises(DataError, match="the pickle names"):
        convert_file("unigeo", path, tmp_path / "out.jsonl", on_error="skip", max_bad_fraction=1)
    assert sorted(os.listdir(tmp_path)) == ["p.pk"]


def test_names_are_taken_whole(tmp_path: Path) -> None:
    """A dotted name reaches into an allowed object in protocol 4: `ndarray.tofile` is not `ndarray`."""
    for name in ("ndarray.tofile", "dtype.__class__", "_reconstruct.__globals__"):
        module = "numpy" if not name.startswith("_") else "numpy._core.multiarray"
        content = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
        content += b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
        assert "STACK_GLOBAL" in [code.name for code, _, _ in pickletools.genops(content)]
        (tmp_path / "p.pk").write_bytes(content)
        with pytest.raises(DataError, match=f"the pickle names {module}.{name},"):
            load_plain_pickle(tmp_path / "p.pk")


@pytest.mark.parametrize(
    "module", ["evil.numpy", "multiarray.numpy", "numpy.lib.multiarray", "os.multiarray"]
)
def test_modules_are_taken_whole(module: str, tmp_path: Path) -> None:
    (tmp_path / "p.pk").write_bytes(f"c{module}\nndarray\n.".encode())
    with pytest.raises(DataError, match=f"the pickle names {module}.ndarray"):
        load_plain_pickle(tmp_path / "p.pk")


def test_references_outside_and_broken_bytes(tmp_path: Path) -> None:
    (tmp_path / "p.pk").write_bytes(b"Pelsewhere\n.")
    with pytest.raises(DataError, match="refers to external data 'elsewhere'"):
        load_plain_pickle(tmp_path / "p.pk")
    for content in (b"", b"\x80\x04", b"not a pickle", b"(lp0\n"):
        (tmp_path / "p.pk").write_bytes(content)
        with pytest.raises(DataError, match="p.pk: cannot be read as a pickle"):
            load_plain_pickle(tmp_path / "p.pk")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "p.pk: contains dict; allowed: a list of problems"),
        ([1], "p.pk:1: the record: got 1; allowed: a JSON object"),
        ([geo_problem(label=4)], "p.pk:1: field 'label': got 4; allowed: the number of an option, 0 to 3"),
        ([geo_problem(label=None)], "field 'label': got None"),
        ([geo_problem(choices=None, choice_nums=[1.0, None])], "'choice_nums[1]': got None; allowed: a text"),
        ([geo_problem(choices="30")], "'choices': got '30'; allowed: a list of options"),
        (
            [geo_problem(image=np.zeros((2, 2, 4)))],
            "'image': got 'an array of float64 (2, 2, 4)'; allowed: an array",
        ),
        (
            [geo_problem(image=np.full((2, 2), 0.5))],
            "'image': got 'an array of float64 (2, 2) from 0.5 to 0.5'",
        ),
        (
            [geo_problem(image=np.full((2, 2), 256))],
            "(2, 2) from 256 to 256'; allowed: an array of shape (height, width)",
        ),
        ([geo_problem(image=np.full((2, 2), np.nan))], "(2, 2) from nan to nan'"),
        ([geo_problem(), geo_problem()], "a second question has the id geoqa-1500"),
    ],
)
def test_bad_problems_are_named(value: Any, message: str, tmp_path: Path) -> None:
    path = put_pickle(tmp_path / "p.pk", value)
    with pytest.raises(DataError) as caught:
        convert_file("geoqa_plus", path, tmp_path / "out.jsonl")
    assert message in str(caught.value) and sorted(os.listdir(tmp_path)) == ["p.pk"]


def test_the_same_fields_in_json(tmp_path: Path) -> None:
    from question_layouts import colour_of, put_json, put_picture

    from dreamprm.data import read_question_records

    put_picture(tmp_path / "1.png", "green")
    source = put_json(tmp_path / "p.json", [geo_problem(image="1.png", numbers=[])])
    convert_file("geoqa_plus", source, tmp_path / "out.jsonl", text="English_problem")
    (record,) = read_question_records(tmp_path / "out.jsonl")
    assert (record.question, record.answer, colour_of(*record.images)) == (
        "As shown, find the angle.",
        "C",
        "green",
    )
