"""Names that users give are fit to be file names, in every command, when its configuration is read."""

from __future__ import annotations

import pytest

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.config.names import LONGEST, check_names, name_problem

REFUSED = {
    "../../evil": "slash",
    "/abs/x": "slash",
    "a\\b": "backslash",
    "": "is empty",
    "  ": "is empty",
    " a": "blank",
    ".": "dot",
    "..": "dot",
    "...": "dot",
    ".hidden": "dot",
    "-rf": "hyphen",
    "a" * 300: "300 bytes",
    "長" * 60: "180 bytes",
    "a\0b": "control",
    "a\nb": "control",
    "a\x1b[2Jb": "control",
    "a\x85b": "control",
    "a\u2028b": "line separator",
    "a\u2029b": "paragraph separator",
    "a\ud800b": "surrogate",
}

NAMES = ("a", "Größe 2", "数学", "A-OKVQA", "sandbox-seed0", "mean, of 2", "a.b", "_x", "e" * LONGEST)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_file_name_is_refused(name: str) -> None:
    assert REFUSED[name] in str(name_problem(name))
    with pytest.raises(UserError) as caught:
        check_names(["fine", name], "files")
    message = str(caught.value)
    assert message.startswith("files: ") and message.isprintable() and len(message) < 400


def test_what_is_a_file_name_is_taken() -> None:
    check_names(NAMES, "files", distinct=True)


@pytest.mark.parametrize("pair", [("a", "A"), ("straße", "STRASSE"), ("é", "e\u0301"), ("ﬁ", "fi")])
def test_names_that_may_be_one_file_are_refused_where_each_has_its_own(pair: tuple[str, str]) -> None:
    check_names(pair, "suites")
    with pytest.raises(UserError, match="would be one file on some systems"):
        check_names(pair, "files", distinct=True)


TRAIN = ("data.meta=m.jsonl", "model.path=m", "output=out")
LABEL = ("output=out", "generator={{name: sandbox, folder: w}}")
COMMANDS = {
    "train name": ("train", *TRAIN, "data.train=[t]", "name={}"),
    "train domain": ("train", *TRAIN, "name=x", "data.train=[{{path: t, domain: {}}}]"),
    "score files": ("score", "model=m", "output=out", "files={{{}: f.jsonl}}"),
    "score name": ("score", "model=m", "output=out", "files={{a: f.jsonl}}", "name={}"),
    "evaluate suites": ("evaluate", "output=out", "suites={{{}: f.jsonl}}"),
    "evaluate development": ("evaluate", "output=out", "suites={{a: f}}", "development={{{}: f.jsonl}}"),
    "evaluate-steps files": ("evaluate-steps", "output=out", "files={{{}: f.jsonl}}"),
    "sample domain": ("sample", *LABEL, "questions.files=[{{path: t, domain: {}}}]"),
    "label domain": ("label", *LABEL, "questions.files=[{{path: t, domain: {}}}]"),
    "convert domain": ("convert", "format=table", "source=s", "destination=d.jsonl", "domain={}"),
}


@pytest.mark.parametrize("name", ["../../evil", r"\0"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_it_before_it_reads_anything(
    command: str, name: str, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *rest = COMMANDS[command]
    quoted = f'"{name}"' if name.startswith("\\") else f"'{name}'"
    words = [first, *(word.format(quoted) for word in rest)]
    if not first.startswith(("score", "eval", "convert")):
        (tmp_path / "c.yaml").write_text("seed: 0\n")
        words.insert(1, "c.yaml")
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "becomes a file name" in message and message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "c.yaml"] == []


def test_journals_of_scores_and_results_have_different_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "model=m", "output=out", "files={a: f.jsonl, a.scores: g.jsonl}"]) == 2
    assert "ends in .scores, as the journals of scores do" in capsys.readouterr().err
