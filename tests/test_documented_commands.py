"""Every `dreamprm` command line of the README, the docs and the configurations has keys that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dreamprm.cli import COMMANDS, _load, _split
from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("*.md")])
CONFIGS = sorted((ROOT / "experiments" / "configs").rglob("*.yaml"))
# What a reader puts in: a line that shows the form of a command, not a command.
FORMS = ("COMMAND", "CONFIG.yaml", "...", "FOLDER", "RUN", "NAME", "|", "JSONL")


def commands(path: Path) -> list[str]:
    """The indented command lines of a page, continued lines joined, remarks cut off."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        text = "\n".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#"))
    text = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"^ {2,}(?:command +)?(dreamprm [a-z].*)$", text, flags=re.MULTILINE)
    # A remark stands behind a "#", or behind two spaces and is no key=value.
    lines = [re.split(r"\s+#|\s{2,}(?!\s|[\w.]+=)", line)[0].strip() for line in found]
    return [line for line in lines if not any(form in line for form in FORMS)]


CASES = [
    pytest.param(line, id=f"{path.name}:{line[9:60]}")
    for path in [*PAGES, *CONFIGS]
    for line in commands(path)
]


def test_there_are_commands() -> None:
    assert len(CASES) >= 30


@pytest.mark.parametrize("line", CASES)
def test_keys_of_a_documented_command_exist(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    name, *arguments = shlex.split(line)[1:]
    command = COMMANDS[name]
    if command.schema is None:
        assert arguments
        return
    path, overrides = _split(arguments)
    try:
        load_config(_load(command.schema), path, overrides)
    except UserError as error:
        # What a configuration leaves to its reader, and files that are not here, are no mistakes of the page.
        if not re.search(r"must be given$|no such file|does not exist|cannot be read", str(error)):
            raise


def scored(path: Path) -> set[str]:
    """The files that a page's `dreamprm score` commands write."""
    written = set()
    for line in commands(path):
        name, *arguments = shlex.split(line)[1:]
        if name == "score" and not arguments[0].endswith(".yaml"):
            keys = dict(argument.split("=", 1) for argument in arguments)
            written |= {
                f"{keys['output']}/{key.removeprefix('files.')}.jsonl"
                for key in keys
                if key.startswith("files.")
            }
    return written


@pytest.mark.parametrize(
    "page", ["docs/evaluating.md", "docs/reproducing.md", "experiments/configs/evaluate.yaml"]
)
def test_the_evaluation_s_configuration_reads_what_the_page_scores(page: str) -> None:
    suites = OmegaConf.load(ROOT / "experiments/configs/evaluate.yaml").suites
    assert {file for suite in suites.values() for file in (suite.path, *suite.joined)} <= scored(ROOT / page)


def test_the_step_evaluation_reads_what_its_page_scores() -> None:
    page = ROOT / "experiments/configs/evaluate_steps.yaml"
    assert set(OmegaConf.load(page).files.values()) == scored(page)


def test_a_misspelt_key_would_be_found() -> None:
    with pytest.raises(UserError, match="stpes.*steps"):
        load_config(
            _load(COMMANDS["train"].schema), ROOT / "experiments/configs/sandbox/train.yaml", ["stpes=5"]
        )


def test_override_syntax_of_the_pages_is_omegaconf_s() -> None:
    assert OmegaConf.from_dotlist(["hypergrad={name: none}"]).hypergrad.name == "none"
