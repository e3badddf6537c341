"""The same file given twice is refused, whatever it is called, by every command that takes several."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.files.distinct import require_distinct
from dreamprm.runtime.settings import RecordFile
from dreamprm.training.inputs import open_training_data
from dreamprm.training.settings import DataSettings


@pytest.fixture
def pair(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """A file, and the same again under another name."""
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text('{"question": "q"}\n')
    form = getattr(request, "param", "link")
    if form == "twice":
        return first, first
    if form == "spelling":
        return first, tmp_path / "more" / ".." / "a.jsonl"
    if form == "relative":
        monkeypatch.chdir(tmp_path)
        return first, Path("a.jsonl")
    if form == "link":
        second.symlink_to(first)
    elif form == "hard link":
        os.link(first, second)
    else:
        second.write_bytes(first.read_bytes())
    return first, second


FORMS = ["twice", "spelling", "relative", "link", "hard link", "copy"]


@pytest.mark.parametrize("pair", FORMS, indirect=True)
def test_all_forms(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    with pytest.raises(UserError, match=r"files: .* would count twice; give"):
        require_distinct(pair, "files")


def test_others_are_accepted(tmp_path: Path) -> None:
    for name, text in (("a", "1\n"), ("b", "2\n"), ("c", ""), ("d", "")):  # empty ones are their reader's
        (tmp_path / name).write_text(text)
    require_distinct([*map(tmp_path.joinpath, "abcd"), tmp_path / "absent", tmp_path / "absent"], "files")
    require_distinct([], "files")


_ASKS = ["generator.name=openai", "generator.model=m", "generator.base_url=http://127.0.0.1:9/v1"]
_BENCHMARK = ["benchmark", "name=mathvision"]
COMMANDS = {
    "score": ["score", "model=m", "files.x={0}", "files.y={1}"],
    "evaluate": ["evaluate", "suites.x={0}", "suites.y={1}"],
    "joined": ["evaluate", "suites.x.path={0}", "suites.x.joined=[{1}]"],
    "development": ["evaluate", "suites.x=z", "development.x={0}", "development.y={1}"],
    "evaluate-steps": ["evaluate-steps", "files.x={0}", "files.y={1}"],
    "label": ["label", "questions.files=[{0},{1}]", *_ASKS],
    "sample": ["sample", "questions.files=[{0},{1}]", *_ASKS],
    "benchmark": [*_BENCHMARK, "questions=z", "predictions=[{0},{1}]"],
    "answers as questions": [*_BENCHMARK, "questions={0}", "predictions=[{1}]"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("pair", ["link", "copy"], indirect=True)
def test_commands(
    pair: tuple[Path, Path], command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *given = (part.format(*pair) for part in COMMANDS[command])
    (tmp_path / "empty.yaml").write_text("{}\n")
    config = [str(tmp_path / "empty.yaml")] if name in ("label", "sample") else []
    assert main([name, *config, *given, f"output={tmp_path}/out"]) == 2
    assert "would count twice" in capsys.readouterr().err


def test_training_data(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = map(str, pair)
    for train, meta in (([first, second], "z"), ([first], second)):
        data = DataSettings(train=[RecordFile(path) for path in train], meta=meta)
        with pytest.raises(UserError, match="data.train and data.meta: .* would count twice"):
            open_training_data(data)


def test_a_folder_twice_in_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    assert main(["report", str(tmp_path / "run"), str(tmp_path / "run" / ".")]) == 2
    assert "folders: " in capsys.readouterr().err
