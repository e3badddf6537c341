"""The command line: exit codes, messages, help, and that help is quick."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace as replace_fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dreamprm
import dreamprm.cli
from dreamprm.cli import COMMANDS, Command, main
from dreamprm.config.errors import UserError
from dreamprm.config.schema import leaves

CONFIG = "name: a\ndata: {train: [t.json], meta: m.json}\n"


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def replace_command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a function in the place of the training."""

    def replace(function: Any, command: str = "train") -> None:
        module, _, name = COMMANDS[command].run.partition(":")
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{name: function}))  # type: ignore[misc]
        monkeypatch.setitem(COMMANDS, command, replace_fields(COMMANDS[command], then=None))

    return replace


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_its_help_lists_its_keys(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[name]
    module, _, function = command.run.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: dreamprm {name} {command.arguments}" in text and command.help in text
    if command.schema is not None:
        module, _, schema = command.schema.partition(":")
        for leaf in leaves(getattr(importlib.import_module(module), schema)):
            head, dot, _ = leaf.key.rpartition(".")
            shown = f"{head}{dot}*" if "listing" in leaf.metadata else leaf.key
            assert f"  {shown}: " in text


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in text and command.help in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dreamprm {dreamprm.__version__}\n"


def test_help_and_refusals_import_no_torch() -> None:
    code = (
        "import sys; from dreamprm.cli import main; main(['--help']); main(['train', 'nowhere.yaml']);"
        "print([name for name in ('torch', 'transformers', 'numpy', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_gets_the_configuration(config_file: str, replace_command: Any) -> None:
    seen = []
    replace_command(seen.append)
    assert main(["train", config_file, "seed=3", "inner.lr=1e-4"]) == 0
    assert (seen[0].name, seen[0].seed, seen[0].inner.lr) == ("a", 3, 1e-4)


def test_a_training_is_followed_by_its_report(
    config_file: str, replace_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert COMMANDS["train"].then == "report"
    done: list[Any] = []
    replace_command(lambda config: done.append(config.name))
    replace_command(done.append, "report")
    monkeypatch.setitem(COMMANDS, "train", replace_fields(COMMANDS["train"], then="report"))
    assert main(["train", config_file, "output=runs/there"]) == 0
    assert done == ["a", ["runs/there"]]
    # Nothing to report where the training did not come to its end.
    done.clear()

    def refuse(config: Any) -> None:
        raise UserError("no")

    replace_command(refuse)
    monkeypatch.setitem(COMMANDS, "train", replace_fields(COMMANDS["train"], then="report"))
    assert main(["train", config_file]) == 2 and done == []


def test_a_command_without_schema_gets_its_arguments(replace_command: Any) -> None:
    seen = []
    replace_command(seen.append, "report")
    assert main(["report", "runs/a", "runs/b"]) == 0
    assert seen == [["runs/a", "runs/b"]]


def test_a_configuration_file_may_be_left_out_where_the_command_says_so(replace_command: Any) -> None:
    seen = []
    replace_command(seen.append, "convert")
    assert main(["convert", "format=processbench", "source=a.json", "destination=b.jsonl"]) == 0
    assert (seen[0].format, seen[0].source, seen[0].destination) == ("processbench", "a.json", "b.jsonl")


def test_a_file_whose_name_holds_an_equals_sign_is_a_file(tmp_path: Path, replace_command: Any) -> None:
    path = tmp_path / "lr=1.yaml"
    path.write_text(CONFIG)
    seen = []
    replace_command(seen.append)
    assert main(["train", str(path), "seed=1"]) == 0
    assert seen[0].seed == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'; the commands are sandbox, train"),
        (["train"], "no configuration file given; write dreamprm train CONFIG.yaml"),
        (["train", "seed=1"], "no configuration file given"),
        (["train", "nowhere.yaml"], "configuration file nowhere.yaml does not exist"),
        (["train", "CONFIG", "seed"], "'seed' is not a key=value override"),
        (["train", "CONFIG", "--seed=1"], "train has no option --seed=1; settings are given as key=value"),
        (["train", "CONFIG", "sead=1"], "command line: unknown key sead, did you mean 'seed'?"),
        (["train", "CONFIG", "inner_steps=0"], "inner_steps (T) must be >= 1, got 0"),
        (["report"], "nothing to do; write dreamprm report FOLDER [FOLDER ...] [output=PAGE.html]"),
        (["convert"], "format, source, destination must be given"),
    ],
)
def test_a_users_mistake_ends_with_2_and_one_message(
    arguments: list[str], message: str, config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([config_file if part == "CONFIG" else part for part in arguments]) == 2
    written = capsys.readouterr()
    assert written.out == "" and written.err.startswith("dreamprm: ") and message in written.err
    assert written.err.count("\n") == 1


def test_a_users_mistake_found_by_the_command_ends_with_2(
    config_file: str, replace_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(config: Any) -> None:
        raise UserError("m.json line 3: label must be in [0, 1], got 7")

    replace_command(refuse)
    assert main(["train", config_file]) == 2
    assert capsys.readouterr().err == "dreamprm: m.json line 3: label must be in [0, 1], got 7\n"


def test_a_full_disk_is_told_in_one_line(
    config_file: str, replace_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(config: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x/plots.png")

    replace_command(full)
    assert main(["train", config_file]) == 1
    assert capsys.readouterr().err == (
        "dreamprm: No space left on device while writing runs/x/plots.png; make room and run the same "
        "command again\n"
    )


def test_any_other_failure_ends_with_1_and_its_traceback(
    config_file: str, replace_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Any) -> None:
        raise ValueError("not the user's fault")

    replace_command(fail)
    assert main(["train", config_file]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback") and error.endswith("ValueError: not the user's fault\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_command_save_and_tells_how_to_go_on(
    number: signal.Signals,
    code: int,
    config_file: str,
    replace_command: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved = []

    def train(config: Any) -> None:
        try:
            os.kill(os.getpid(), number)
            threading.Event().wait(10)  # the signal arrives here at the latest
        except KeyboardInterrupt:
            saved.append(True)
            raise

    replace_command(train)
    handlers = [signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)]
    assert main(["train", config_file, "seed=1", "resume=never", "output=my runs"]) == code
    assert saved == [True]
    expected = f"with: dreamprm train {config_file} seed=1 'output=my runs' resume=auto\n"
    assert capsys.readouterr().err.endswith(expected)
    assert [signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(
    config_file: str, replace_command: Any
) -> None:
    """As in a job that a script started with `&`: its shell has it ignore SIGINT."""

    def train(config: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)

    replace_command(train)
    before = [signal.signal(which, signal.SIG_IGN) for which in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert main(["train", config_file]) == 0
    finally:
        for which, handler in zip((signal.SIGINT, signal.SIGTERM), before):
            signal.signal(which, handler)


def test_the_suite_runs_in_the_background_too() -> None:
    """Where SIGINT arrives ignored, the tests that send it pass all the same."""
    test = f"{__file__}::test_a_signal_lets_the_command_save_and_tells_how_to_go_on"
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$0" -m pytest -q -p no:cacheprovider "$1"', sys.executable, test],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_an_interrupted_command_that_cannot_go_on_says_only_so(
    replace_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def generate(config: Any) -> None:
        raise KeyboardInterrupt

    replace_command(generate, "sandbox")
    assert main(["sandbox", "seed=1"]) == 130
    assert capsys.readouterr().err == "dreamprm: interrupted\n"


def test_it_runs_outside_the_main_thread_where_signals_cannot_be_handled() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_closed_pipe_is_quiet() -> None:
    """`dreamprm train --help | head -1`: no traceback of a broken pipe."""
    command = f"{sys.executable} -m dreamprm train --help | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("usage: dreamprm train") and done.stderr == ""


def test_a_command_names_its_schema_and_function_as_module_and_name() -> None:
    for command in COMMANDS.values():
        assert isinstance(command, Command)
        assert command.run.count(":") == 1 and (command.schema is None or command.schema.count(":") == 1)
