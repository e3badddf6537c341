"""Reads pickles of plain data without running code that a pickle may name."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError

# The numpy names that pickles of plain data refer to; numpy 2 moved its modules.
_NUMPY = {
    "numpy": ("ndarray", "dtype"),
    "multiarray": ("_reconstruct", "scalar"),
    "numeric": ("_frombuffer",),
}


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle that contains only containers, texts, numbers and numpy arrays.

    A pickle is a program: it can name any function of any module and have it called. Here only the
    constructors of numpy arrays, types and numbers are allowed; a pickle that names anything else is rejected
    before the name is called. (See "Restricting Globals" in Python's documentation of pickle.)

    Raises:
        DataError: the pickle names something else, or is broken.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), path).load()
    except DataError:
        raise
    except Exception as error:  # broken bytes make the unpickler fail in many ways
        raise DataError(f"{path}: cannot be read as a pickle: {type(error).__name__}: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """Resolve a name in the pickle, if it is allowed."""
        if (module, name) == ("_codecs", "encode"):  # bytes in pickles of protocols 0 to 2
            return _latin1_bytes
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):  # likewise, for b""
            return _no_bytes
        package, _, last = module.rpartition(".")
        if name in _NUMPY.get(last, ()) and package in ("", "numpy.core", "numpy._core"):
            return _numpy_part(last, name)
        raise DataError(
            f"{self._path}: the pickle names {module}.{name}, which plain data does not need; it was not run."
            " If you trust the file, convert it to JSON and read that instead"
        )

    def persistent_load(self, pid: Any) -> Any:
        """Reject a reference to something outside the pickle."""
        raise DataError(f"{self._path}: the pickle refers to external data {pid!r}")


def _numpy_part(module: str, name: str) -> Any:
    import numpy
    from numpy._core import multiarray, numeric

    return getattr({"numpy": numpy, "multiarray": multiarray, "numeric": numeric}[module], name)


def _no_bytes() -> bytes:
    return b""


def _latin1_bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes must be encoded as latin1 text, got {encoding!r}")
    return text.encode("latin1")
