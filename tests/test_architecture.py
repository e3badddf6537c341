"""Where things stand: what hypergrad may import, how files are named, how long one may be.

Which room may use which is import-linter's contract in setup.cfg.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import dreamprm

PACKAGE = Path(dreamprm.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

SAME_PART = {
    "__init__.py": "Python's own name",
    "settings.py": "the settings of the commands and strategies beside it",
    "registry.py": "the names that a configuration may give to the strategies beside it",
    "base.py": "what the strategies beside it have in common",
    "journal.py": "labelling, scoring, search: the stage's own append-only file",
    "page.py": "evaluation, evaluation/steps: the command's page",
    "mmmu.py": "formats/questions, formats/benchmarks: two views of the same dataset",
    "m3cot.py": "formats/questions, formats/benchmarks: two views of the same dataset",
    "first_errors.py": "evaluation/steps, formats/records: the task, and its records",
    "none.py": "hypergrad, training/baselines: the choice that leaves the learning out",
    "suites.py": "sandbox, evaluation: suites as generated, and as evaluated",
}
"""Files of one name, and which part they play in each of their packages."""

VIEWS = {"plots", "sections", "folders"}
"""Packages whose files are named for what they draw, show or read, wherever that is computed."""

LONGEST = 440
"""Lines of a file: past that an idea should move out."""


def imports(path: Path) -> Iterator[str]:
    """The dotted names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(("dreamprm", *path.relative_to(PACKAGE).parent.parts))
            above = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            yield above + (node.module or "")


def test_hypergrad_imports_torch_and_torchopt_only() -> None:
    strangers = {
        (path.name, name)
        for path in (PACKAGE / "hypergrad").rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "torch", "torchopt"}
        and not f"{name}.".startswith("dreamprm.hypergrad.")
    }
    assert strangers == set()


def test_imports_of_every_form_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    room = tmp_path / "room"
    room.mkdir()
    (room / "a.py").write_text(
        "import os.path, numpy as np\ndef f():\n    from . import b\n    from ..c import d\n"
    )
    assert sorted(imports(room / "a.py")) == ["dreamprm.c", "dreamprm.room.", "numpy", "os.path"]


def test_no_two_files_have_one_name() -> None:
    """Unless they play the same part in packages side by side."""
    places = defaultdict(list)
    for path in FILES:
        if path.name not in SAME_PART and path.parent.name not in VIEWS:
            places[path.name].append(str(path))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_files_are_named_for_their_idea() -> None:
    without = {"util", "utils", "helper", "helpers", "misc", "common", "stuff"}
    assert [str(path) for path in FILES if without.intersection(path.stem.lower().split("_"))] == []


def test_no_file_holds_more_than_one_idea() -> None:
    lengths = {str(path): len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}
