"""Checkers by name."""

import subprocess
import sys

import pytest
from test_judged_answers import Scripted

from dreamprm.answers import CHECKERS, build_checker, checker_settings
from dreamprm.answers.base import Checker
from dreamprm.config.errors import UserError


def test_the_names():
    assert list(CHECKERS) == ["auto", "choice", "numeric", "symbolic", "text", "judge"]


@pytest.mark.parametrize(
    "name, settings",
    [
        ("auto", {"tolerance": 1e-6, "timeout": 5.0}),
        ("choice", {}),
        ("numeric", {"tolerance": 1e-6}),
        ("symbolic", {"timeout": 5.0, "memory_mb": 2048}),
        ("text", {}),
        ("judge", {"shows": "answer", "max_tokens": 512, "seed": 0}),
    ],
)
def test_settings_with_their_defaults(name, settings):
    assert checker_settings(name) == settings


@pytest.mark.parametrize("name", ["auto", "choice", "numeric", "text"])
def test_each_is_built_by_its_name_alone(name):
    checker = build_checker(name)
    assert isinstance(checker, Checker)
    assert type(checker).__name__.lower().startswith(name)
    checker.close()


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("numerc", {}, "unknown checker 'numerc', did you mean 'numeric'"),
        ("numeric", {"tolerence": 1}, "no setting 'tolerence', did you mean 'tolerance'"),
        ("choice", {"timeout": 1}, "its settings: none"),
        ("judge", {}, "needs a generator"),
        ("text", {"judge": Scripted("")}, "uses no judge"),
        ("auto", {"generator": Scripted("")}, "no setting 'generator'"),
        ("auto", {"tolerance": 2}, "tolerance must be >= 0 and < 1, got 2; 0 requires equal"),
    ],
)
def test_mistakes_are_the_users(name, settings, message):
    with pytest.raises(UserError, match=message):
        build_checker(name, **settings)


def test_importing_answers_imports_no_heavy_library():
    code = (
        "import sys, dreamprm.answers.auto; "
        "heavy = ('torch', 'transformers', 'sympy', 'math_verify'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
