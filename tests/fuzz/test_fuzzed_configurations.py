"""Random configurations of every command: accepted, and the same once saved and read again; or refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from fuzzing import fuzz, outcome
from mutations import by_seed, change, damage, json_text, odd_text

from dreamprm.cli import COMMANDS
from dreamprm.config.errors import UserError
from dreamprm.config.loading import as_dict, config_yaml, flat, load_config, saved_versions
from dreamprm.config.schema import load

PLANTED = "a-value-of-the-environment"

VALID: dict[str, list[str]] = {
    "sandbox": ["{}"],
    "train": [
        "name: a\ndata: {train: [t.jsonl, {path: u.jsonl, domain: d}], meta: m.jsonl}\nsteps: 50\n",
        "name: b\ndata: {train: [t.jsonl], meta: m.jsonl, lm: l.jsonl}\nlm_weight: 0.5\nupper: {lr: 0.001}\n"
        "hypergrad: {name: cg}\nbaseline: {name: fixed_weights, run: runs/x}\ninner: {optimizer: muon}\n",
    ],
    "plan": [
        "name: a\ndata: {train: [t.jsonl], meta: m.jsonl}\nsteps: 50\nmemory: 80GiB\ngpus: 2\njson: p.json\n",
    ],
    "sample": [
        "questions: {files: [q.jsonl]}\noutput: o\n"
        "generator: {name: openai, base_url: 'http://a/v1', model: m}"
    ],
    "label": [
        "questions: {files: [{path: q.jsonl, domain: d}]}\noutput: o\n"
        "generator: {name: transformers, model: m}"
    ],
    "benchmark": ["name: mmstar\nquestions: q.tsv\npredictions: [p.tsv]\noutput: o\n"],
    "score": [
        "model: runs/a\nfiles: {s: s.jsonl}\noutput: o\n",
        "critic: {name: openai, model: m, samples: 4}\nfiles: {s: s.jsonl}\noutput: o\n",
        "model: m\nlayout: {name: trl, separator: x}\nfiles: {s: s.jsonl}\noutput: o\n",
    ],
    "export": ["model: runs/a\nto: e\nform: step_token\n"],
    "serve": ["model: runs/a\nport: 8001\nreward: {aggregation: min}\nbatch: {window_ms: 5}\n"],
    "evaluate": ["suites: {s: s.jsonl, t: {path: t.jsonl}}\noutput: o\n"],
    "evaluate-steps": ["files: {s: s.jsonl}\noutput: o\n"],
    "search": [
        "questions: {files: [q.jsonl]}\noutput: o\nscorer: {model: runs/a}\nmethod: {name: beam, expand: 2}\n"
        "generator: {name: openai, model: m}\nbudget: {n: 8, generated_tokens: 99}\n",
    ],
    "evaluate-search": ["folders: [a, b]\noutput: o\n"],
    "convert": [
        "format: trl\nsource: a.jsonl\ndestination: b.jsonl\n",
        "format: table\nsource: a\ndestination: b",
    ],
}
"""Configurations by command."""

_FRAGMENTS = (
    *(
        "!!timestamp x",
        "!!binary eA==",
        "!!python/name:os.system",
        "!!set {a}",
        "!x y",
        "&a [*a]",
        "*a",
        "&b 1",
        "<<: {a: 1}",
    ),
    *(
        "? ",
        "|\n  x",
        ">-\n x",
        "%YAML 1.1\n---\n",
        "---\n",
        "...\n",
        "\t",
        "# x",
        "'",
        '"',
        "{",
        "[",
        "- ",
        ": ",
        "~",
        "=",
        "@",
    ),
    *(
        "2001-01-01",
        "12:30:45",
        "0o7",
        "0x1F",
        "1_000",
        ".inf",
        "-.INF",
        ".nan",
        "1e400",
        "yes",
        "NO",
        "null",
        "+1",
        "1.",
        ".",
    ),
    *(
        "9" * 30,
        "1e-400",
        "[" * 60,
        "{a: " * 60,
        "${name}",
        "${seed}",
        "${output}",
        "${a.b}",
        "${oc.env:PLANTED}",
        "???",
    ),
    *(
        "${oc.select:seed}",
        "${oc.dict.keys:data}",
        "${oc.decode:1}",
        "${",
        "}",
        "${${name}}",
        "\\${x}",
        "${.x}",
        "${oc.env:}",
    ),
    *(
        "${oc.create:[1]}",
        "${oc.deprecated:seed}",
        "${[}",
        "${a:b:c}",
        "${ }",
        "${name}${name}",
        "${..}",
        "${oc.dict.values:}",
    ),
)


def _fragment(chance: Random) -> str:
    return chance.choice(_FRAGMENTS) if chance.random() < 0.7 else odd_text(chance).strip("@")


@dataclass(frozen=True)
class Command:
    """A command's schema, valid configurations of it in full, and their keys."""

    schema: type[Any]
    contents: list[Any]
    keys: list[str]


def _command(name: str) -> Command:
    place = COMMANDS[name].schema
    assert place is not None
    schema = load(place)
    contents: list[Any] = []
    for text in VALID[name]:
        given = yaml.safe_load(text)
        contents.append(given)
        pairs = [f"{key}={json.dumps(value)}" for key, value in given.items()]
        contents.append(json.loads(json.dumps(as_dict(load_config(schema, None, pairs)))))
    keys = dict.fromkeys(key for content in contents for key, _ in flat(content))
    return Command(schema, contents, list(keys))


def _text(chance: Random, command: Command) -> bytes:
    """A configuration's YAML, with changed values, and pieces of YAML where a value or a line begins."""
    content = change(chance, chance.choice(command.contents))
    if isinstance(content, dict) and chance.random() < 0.5:
        content = {**content, "versions": chance.choice(({"dreamprm": "0.2.0"}, 3, None, {}))}
    text = json_text(content, plain=chance.random() < 0.5)
    if chance.random() < 0.3:
        try:
            text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        except (yaml.YAMLError, ValueError):
            pass  # half a surrogate pair, thousands of digits
    for _ in range(chance.randrange(3)):
        places = [at + 1 for at, character in enumerate(text) if character in " \n"] or [0]
        at = chance.choice(places)
        text = text[:at] + _fragment(chance) + text[at:]
    whole = text.encode("utf-8", "surrogatepass")
    return damage(chance, whole, most=1) if chance.random() < 0.3 else whole


_PLAIN = ("1", "0", "-1", "0.5", "true", "null", "[]", "{}", "[a, b]", "{a: 1}", "auto")


def _override(chance: Random, command: Command) -> str:
    key = chance.choice([*command.keys, "a", "", "data.train.0.path", "data.train.7", "seed.x"])
    if chance.random() < 0.25:
        at = chance.randint(0, len(key))
        mark = chance.choice((".", "[0]", "[", "]", "..", " ", "=", "x", "\u0130", "\0"))
        key = key[:at] + mark + key[at:]
    return f"{key}={chance.choice(_PLAIN) if chance.random() < 0.5 else _fragment(chance)}"


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.schema is not None])
def test_configuration(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is accepted is the same from the file that it saves; what is refused is told in a few words."""
    monkeypatch.setenv("PLANTED", PLANTED)
    command = _command(name)
    given, saved = tmp_path / "given.yaml", tmp_path / "saved.yaml"

    def check(given_as: tuple[bytes | None, list[str]]) -> None:
        text, overrides = given_as
        if text is not None:
            given.write_bytes(text)
        path = None if text is None else given
        config = outcome(lambda: load_config(command.schema, path, overrides))
        if isinstance(config, UserError):
            assert PLANTED not in str(config) and len(str(config)) < 4000, str(config)
            if text is not None:
                outcome(lambda: saved_versions(given))
            return
        saved.write_text(config_yaml(config), encoding="utf-8")
        again = outcome(lambda: load_config(command.schema, saved))
        assert not isinstance(again, UserError), (again, saved.read_text())
        assert repr(as_dict(again)) == repr(as_dict(config)) and PLANTED not in saved.read_text()

    def given_as(chance: Random) -> tuple[bytes | None, list[str]]:
        overrides = [_override(chance, command) for _ in range(chance.randrange(4))]
        return (_text(chance, command) if chance.random() < 0.7 else None), overrides

    key = command.keys[0]
    known = [
        [f"{key}=\\${{x}}"],
        [f"{key}='\\${{x}}\\'"],
        ["a=[]", "a.=1"],
        ["a=3", "a.b=1"],
        ["a=[3]", "a.0.b=1"],
    ]
    first = [f"{name}={json.dumps(value)}" for name, value in command.contents[0].items()]
    fuzz(
        check,
        few=15,
        given_as=by_seed(given_as),
        known=[{"given_as": (None, [*first, *overrides])} for overrides in known],
    )
