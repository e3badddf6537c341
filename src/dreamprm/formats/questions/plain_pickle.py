"""Pickles of plain data, read without running what a pickle may ask for."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError

# What pickles of lists, dicts, texts, numbers and numpy arrays name; numpy 2 moved its modules.
_NUMPY = {
    "numpy": ("ndarray", "dtype"),
    "multiarray": ("_reconstruct", "scalar"),
    "numeric": ("_frombuffer",),
}


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle of containers, texts, numbers and numpy arrays, and of nothing else.

    A pickle is a program: it can name any function of any module and have it called. Here only the
    constructors of numpy arrays, types and numbers can be named; a pickle that names anything else is
    refused before it is called. (Python's documentation, "Restricting Globals" of module pickle.)

    Raises:
        DataError: the pickle names something else, or is broken.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), path).load()
    except DataError:
        raise
    except Exception as error:  # broken bytes make the machine fail in many ways
        raise DataError(f"{path}: cannot be read as a pickle: {type(error).__name__}: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle may name."""
        if (module, name) == ("_codecs", "encode"):  # bytes in pickles of protocols 0 to 2
            return _latin1_bytes
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):  # there too, for b""
            return _no_bytes
        package, _, last = module.rpartition(".")
        if name in _NUMPY.get(last, ()) and package in ("", "numpy.core", "numpy._core"):
            return _numpy_part(last, name)
        raise DataError(
            f"{self._path}: the pickle names {module}.{name}, which plain data do not need; it was not run."
            " Convert the file to JSON where you trust it, and read that"
        )

    def persistent_load(self, pid: Any) -> Any:
        """A reference to something outside of the pickle: refused."""
        raise DataError(f"{self._path}: the pickle refers to {pid!r} outside of itself")


def _numpy_part(module: str, name: str) -> Any:
    import numpy
    from numpy._core import multiarray, numeric

    return getattr({"numpy": numpy, "multiarray": multiarray, "numeric": numeric}[module], name)


def _no_bytes() -> bytes:
    return b""


def _latin1_bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes are written as latin1 text, got {encoding!r}")
    return text.encode("latin1")
