"""YAML that others wrote: plain values alone, and no traceback whatever it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import UserError
from dreamprm.config.loading import config_yaml, load_config
from dreamprm.config.schema import LARGEST_SEED, REQUIRED, setting


@dataclass
class Schema:
    name: str = setting(REQUIRED, "name of the run")
    output: str = setting("runs/${name}", "run folder")
    steps: int = setting(10, "steps", minimum=1)
    rate: float = setting(5e-7, "learning rate", above=0)
    files: list[str] = setting([], "files")
    extra: dict[str, Any] = setting({}, "anything")
    seed: int = setting(0, "seed", minimum=0, maximum=LARGEST_SEED)


def load(text: str, *overrides: str, folder: Path) -> Schema:
    path = folder / "given.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(Schema, path, overrides)


UNUSABLE = {
    "name: a\nsteps: !!timestamp x\n": "given.yaml, line 2: not valid YAML: the tag !!timestamp is not",
    "name: !!python/object/apply:os.system [ls]\n": "line 1: not valid YAML: the tag !!python/object/apply:",
    "name: !!binary aGVs\n": "line 1: not valid YAML: the tag !!binary is not supported",
    "name: a\nsteps: " + "1" * 5000: "line 2: not valid YAML: '1111",
    "name: a\nsteps: 0x" + "f" * 9000: "steps must be a number of at most 64 bits, got one of 36000",
    "name: a\nsteps: " + "9" * 30: "steps must be a number of at most 64 bits, got one of 100",
    "name: a\nrate: 1" + "0" * 400: "rate must be a number of at most 64 bits, got one of 1329",
    "name: a\nextra: "
    + "[" * 2000: "line 2: not valid YAML: more than 50 lists or sections within one another",
    "name: &a [*a]\n": "line 1: not valid YAML:",
    "name: a\nfiles: &a [*a]\n": "line 2: not valid YAML: *a is within what it stands for",
    "name: a\nextra:\n  a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    + "".join(
        f"  {key}: &{key} [{', '.join(['*' + of] * 9)}]\n" for of, key in zip("abcdef", "bcdefg")
    ): "line 8: not valid YAML: aliases that stand for more than 100,000 values",
    "name: a\0b\n": "line 1: not valid YAML: the character '\\x00' is not allowed",
    'name: "a\\0b"\n': "name must not hold the character '\\x00'",
    'name: "\\ud800"\n': "given.yaml",
    "name: a\n\tsteps: 1\n": "line 2: not valid YAML",
    "name: a\nsteps: ${steps}\n": "steps",
    "name: " + "${" * 300 + "}" * 300: "given.yaml",
    "name: a\nfiles: " + "x" * 100_000: "(100,002 characters)",
    "x" * 100_000 + ": 1\n": "given.yaml",
}


@pytest.mark.parametrize("text", UNUSABLE, ids=list(UNUSABLE.values()))
def test_values_that_the_libraries_choke_on_are_user_errors(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(text, folder=tmp_path)
    assert UNUSABLE[text] in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "value", ["!!timestamp x", "[" * 2000, "1" * 5000, "0x" + "f" * 9000, '"\\0"', "{a: *b}"]
)
def test_they_are_on_the_command_line_too(value: str) -> None:
    with pytest.raises(UserError, match="command line: .*extra"):
        load_config(Schema, None, ["name=a", f"extra.part={value}"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_a_file_is_read_as_utf_8_or_refused(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "given.yaml"
    path.write_bytes("# note\nname: \u00e9\n".encode(encoding))
    if encoding == "utf-8-sig":
        assert load_config(Schema, path).name == "\u00e9"
        return
    with pytest.raises(UserError, match=r"given.yaml: cannot be read as YAML: line \d is (UTF-16|not UTF-8)"):
        load_config(Schema, path)


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:SECRET}",
        "${oc.env:SECRET,x}",
        "x/${ oc.env : SECRET }/y",
        "${oc.${extra}:SECRET}",
        "${oc.select:name,${oc.env:SECRET}}",
        "${oc.decode:5}",
        "${oc.create:[]}",
        "${oc.deprecated:name}",
        "${own:1}",
    ],
)
@pytest.mark.parametrize(
    "where", ["name: '{}'", "name: a\nfiles: ['{}']", "name: a\nextra: {{'{}': 1}}", "--"]
)
def test_a_configuration_reads_no_environment_and_runs_no_code(
    value: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "planted-value")
    overrides = [f"output='{value}'"] if where == "--" else []
    with pytest.raises(UserError, match=r"\$\{.*:\.\.\.\} is not resolved.*on the command line") as caught:
        load("name: a" if where == "--" else where.format(value), *overrides, folder=tmp_path)
    assert "planted-value" not in str(caught.value)


def test_a_value_may_be_given_twice_by_an_alias(tmp_path: Path) -> None:
    config = load("name: a\nfiles: &same [x, y]\nextra: {again: *same}\n", folder=tmp_path)
    assert config.files == config.extra["again"] == ["x", "y"]


def test_references_to_other_keys_are_resolved(tmp_path: Path) -> None:
    config = load('name: a\noutput: "${oc.select:name}/${name}: b"\n', folder=tmp_path)
    assert config.output == "a/a: b"


@pytest.mark.parametrize("name", ["${x}", "a\\${x}", "\\\\${x}", "${x}\\", "$x {y} \\"])
def test_a_text_that_looks_like_a_reference_is_saved_as_a_text(name: str, tmp_path: Path) -> None:
    saved = tmp_path / "saved.yaml"
    saved.write_text(config_yaml(Schema(name=name, output="o")), encoding="utf-8")
    assert load_config(Schema, saved).name == name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["extra.a=[]", "extra.a.x=1"], "extra.a holds 0 members here; 'x' is not the number"),
        (["extra.a=[3]", "extra.a.0.b=1"], "extra.a.0 is 3 here, which has no parts"),
        (
            ["extra.a=3", "extra.a.b=1"],
            "extra.a is 3 here, which has no parts; give the whole value, extra.a=",
        ),
    ],
)
def test_an_override_of_a_part_that_cannot_be(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(Schema, None, ["name=a", *overrides])


def test_seeds_are_those_that_every_library_takes() -> None:
    with pytest.raises(UserError, match="seed must be >= 0 and <= 4294967295, got 4294967296"):
        load_config(Schema, None, ["name=a", "seed=4294967296"])
