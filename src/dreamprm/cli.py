"""The command line: `dreamprm COMMAND CONFIG.yaml [key=value ...]`.

Exit codes: 0 for success; 2 for a user error, or a place that cannot be read or written (one message, no
traceback); 130 after Ctrl-C and 143 after SIGTERM; 1 for a disk that is full (one message) and for anything
else (with a traceback). Each command's code is imported when it runs, so `--help` is fast.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dreamprm import __version__
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.help import describe
from dreamprm.config.loading import load_config
from dreamprm.files.disk_errors import FULL, PLACE, disk_error, told
from dreamprm.runtime.interruption import Terminated, sigterm_raises
from dreamprm.runtime.process import launched_processes


@dataclass(frozen=True)
class Command:
    """A command: its one-line help, the function that runs it, and the schema of its configuration.

    `run` and `schema` are given as `module:name`. Without a schema, the function gets the raw arguments,
    described by `arguments`. `resumes`: where an interrupted run resumes when the same command is run again
    with the settings in `resume_with`; None if it cannot resume. `then`: the command that is run on the
    folder `output` afterwards; it takes folders as arguments, or as its setting `folders`. `divided`: whether
    several processes, started by a launcher, may run it together.
    """

    help: str
    run: str
    schema: str | None = None
    arguments: str = "CONFIG.yaml [key=value ...]"
    resumes: str | None = None
    resume_with: tuple[str, ...] = ()
    then: str | None = None
    divided: bool = False


COMMANDS = {
    "sandbox": Command(
        "generate the sandbox data (does nothing if they are complete)",
        "dreamprm.sandbox.generate:run_sandbox",
        "dreamprm.sandbox.settings:SandboxConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
    ),
    "train": Command(
        "train a PRM with learned domain weights, and report on the training",
        "dreamprm.training.train:run_train",
        "dreamprm.training.settings:TrainConfig",
        resumes="from the last checkpoint",
        resume_with=("resume=auto",),
        then="report",
        divided=True,
    ),
    "plan": Command(
        "say what a training would need of memory and time, with every estimator, before it is started",
        "dreamprm.training.plan.planning:run_plan",
        "dreamprm.training.plan.settings:PlanConfig",
    ),
    "sample": Command(
        "sample chains of thought for questions and check their answers (resumes if interrupted)",
        "dreamprm.labelling.commands:run_sample",
        "dreamprm.labelling.settings:LabelConfig",
        resumes="from the last rollout",
    ),
    "label": Command(
        "label the steps of chains of thought by Monte-Carlo rollouts (resumes if interrupted)",
        "dreamprm.labelling.commands:run_label",
        "dreamprm.labelling.settings:LabelConfig",
        resumes="from the last rollout",
    ),
    "benchmark": Command(
        "read a benchmark's questions and predictions, check them by its rules, compute its figures",
        "dreamprm.evaluation.benchmark:run_benchmark",
        "dreamprm.evaluation.benchmark_settings:BenchmarkConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
        resumes="(a judge's replies are kept)",
    ),
    "score": Command(
        "score candidates or step records with a trained PRM (resumes if interrupted)",
        "dreamprm.scoring.score:run_score",
        "dreamprm.scoring.settings:ScoreConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
        resumes="from the last question",
    ),
    "serve": Command(
        "serve a PRM over HTTP: scores of steps, rewards, vLLM's pooling form",
        "dreamprm.serving.serve:run_serve",
        "dreamprm.serving.settings:ServeConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
    ),
    "export": Command(
        "write a PRM as a checkpoint that other software loads with its head",
        "dreamprm.serving.export:run_export",
        "dreamprm.serving.export_settings:ExportConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
    ),
    "evaluate": Command(
        "compare selectors on scored candidates: best-of-N accuracy with intervals and tests",
        "dreamprm.evaluation.evaluate:run_evaluate",
        "dreamprm.evaluation.settings:EvaluateConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
        resumes="(a judge's replies are kept)",
    ),
    "evaluate-steps": Command(
        "measure scored step records: first-error F1, step AUC, calibration",
        "dreamprm.evaluation.steps.evaluate_steps:run_evaluate_steps",
        "dreamprm.evaluation.steps.settings:EvaluateStepsConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
    ),
    "report": Command(
        "write one page over finished runs and evaluations, and the plots of each run",
        "dreamprm.reporting:run_report",
        arguments="FOLDER [FOLDER ...] [output=PAGE.html]",
    ),
    "search": Command(
        "search for one good chain of thought per question, led by a scorer (resumes if interrupted)",
        "dreamprm.search.search:run_search",
        "dreamprm.search.settings:SearchConfig",
        resumes="from the last completion",
        then="evaluate-search",
    ),
    "evaluate-search": Command(
        "compare searches: accuracy over the tokens that they spent, with intervals",
        "dreamprm.evaluation.search_curves:run_evaluate_search",
        "dreamprm.evaluation.search_settings:EvaluateSearchConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
    ),
    "convert": Command(
        "turn another project's data file into our own form",
        "dreamprm.formats.convert:run_convert",
        "dreamprm.formats.settings:ConvertConfig",
        arguments="[CONFIG.yaml] [key=value ...]",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with sigterm_raises(last=lambda: print(_interrupted(arguments), file=sys.stderr, flush=True)):
            return _dispatch(arguments)
    except UserError as error:
        own = launched_processes()
        which = f" (process {own.rank} of {own.count})" if own.rank else ""
        print(f"dreamprm{which}: {error}{_conversion(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(_interrupted(arguments), file=sys.stderr)
        return 143 if isinstance(interrupt, Terminated) else 130
    except BrokenPipeError:  # `dreamprm train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        found = disk_error(error)
        if found is not None and found.errno in FULL:
            print(f"dreamprm: {told(found)}", file=sys.stderr)
            return 1
        if found is error and found.errno in PLACE and found.filename:
            print(f"dreamprm: {told(found)}", file=sys.stderr)
            return 2
        traceback.print_exc()
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(f"dreamprm {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}; the commands are {', '.join(COMMANDS)}")
    command = COMMANDS[name]
    if any(argument in ("-h", "--help") for argument in rest):
        print(command_usage(name))
        return 0
    launched = launched_processes()
    if launched.count > 1 and not command.divided:
        raise UserError(
            f"{name} runs in one process, but {launched.count} were launched; start it without a launcher"
        )
    options = [argument for argument in rest if argument.startswith("-")]
    if options:
        raise UserError(
            f"{name} has no option {options[0]}; settings are given as key=value, see dreamprm {name} --help"
        )
    if command.schema is None:
        if not rest:
            raise UserError(f"nothing to do; write dreamprm {name} {command.arguments}")
        _load(command.run)(rest)
        return 0
    path, overrides = _split(rest)
    if path is None and not command.arguments.startswith("["):
        raise UserError(f"no configuration file given; write dreamprm {name} {command.arguments}")
    # Before the command's code is imported, so that a mistake in the configuration is reported at once.
    config = load_config(_load(command.schema), path, overrides)
    _load(command.run)(config)
    if command.then is not None and launched.rank == 0:
        following = COMMANDS[command.then]
        folders = [config.output]
        given = folders if following.schema is None else _load(following.schema)(folders=folders)
        _load(following.run)(given)
    return 0


def _conversion(error: UserError) -> str:
    """How to convert the file that an error is about, if it looks like another project's; else ""."""
    if not isinstance(error, DataError) or error.unlike is None:
        return ""
    formats = import_module("dreamprm.formats.registry").FORMATS
    return str(import_module("dreamprm.formats.look_alikes").conversion(error.unlike, formats))


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The configuration file, which can only come first, and the overrides."""
    # A file whose name contains "=" is still a file.
    first_is_file = bool(arguments) and ("=" not in arguments[0] or os.path.isfile(arguments[0]))
    overrides = arguments[1:] if first_is_file else arguments
    stray = [argument for argument in overrides if "=" not in argument]
    if stray:
        raise UserError(
            f"{stray[0]!r} is not a key=value override; only the first argument is a configuration file"
        )
    return (arguments[0] if first_is_file else None), overrides


def usage() -> str:
    """The text of `dreamprm --help`."""
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dreamprm COMMAND CONFIG.yaml [key=value ...]",
            "",
            "Multimodal process reward models with learned domain weights (DreamPRM).",
            "",
            "commands:",
            *lines,
            "",
            "dreamprm COMMAND --help lists the command's settings; dreamprm --version shows the version.",
        ]
    )


def command_usage(name: str) -> str:
    """The text of `dreamprm COMMAND --help`: every key of its schema with type, default and meaning."""
    command = COMMANDS[name]
    text = f"usage: dreamprm {name} {command.arguments}\n\n{command.help}"
    if command.schema is None:
        return text
    keys = describe(_load(command.schema))
    return f"{text}\n\nsettings, in CONFIG.yaml or as key=value (sections with dots):\n{keys}"


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _interrupted(arguments: list[str]) -> str:
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None or command.resumes is None:
        return "dreamprm: interrupted"
    again = [part for part in arguments if not part.startswith(("resume=", "overwrite="))]
    text = shlex.join([*again, *command.resume_with])
    return f"dreamprm: interrupted; resume {command.resumes} with: dreamprm {text}"
