"""Which checkpoint a run continues from: the newest one that is whole and of this run.

It is of this run if it was made with the settings that decide the result, and on inputs that hold what they
held then. What is not is passed over, with a line that says why; if none is left, the run is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.config.loading import as_dict, changed_keys, flat, is_below, load_config
from dreamprm.files.content import FileDigests
from dreamprm.training.checkpoint import (
    Header,
    UnusableCheckpoint,
    check_files,
    checkpoints_in,
    read_header,
)
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.run_inputs import Files, changed_files, changed_images, input_keys
from dreamprm.training.settings import BESIDE_TRAINING, TrainConfig

MAY_CHANGE = (
    *("output", "resume", "overwrite", "changed_inputs"),
    *("on_nonfinite", "max_nonfinite", "data.allow_outside"),
    *("model.checkpoint_activations", "model.lora.save"),
    *BESIDE_TRAINING,
)
"""What may differ between a run and its continuation."""

START_ANEW = "start anew, with another output, or with overwrite=true to replace the run"
WAYS_OUT = (
    "Put the earlier files back; or continue with what they hold now, with changed_inputs=accept; or "
    + START_ANEW
)


def deciding_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide a run's result, by dotted key, as JSON values: a part of each checkpoint.

    Without the paths of inputs, which checkpoints know by what they hold.
    """
    leave_out = (*MAY_CHANGE, *input_keys(config), "data.image_root")
    settings = {key: value for key, value in flat(as_dict(config)) if not is_below(key, leave_out)}
    known: dict[str, Any] = json.loads(json.dumps(settings))
    return known


def other_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In words, what differs between the settings of a checkpoint and those of today; empty if nothing does.

    A key that only one of them has depends on another one that differs, or is of another version.
    """
    changed = [key for key in before if key in now and before[key] != now[key]]
    return ", ".join(f"{key}: {before[key]} there, {now[key]} now" for key in changed)


def places_that_may_change(
    checkpoints: Sequence[Path], before: TrainConfig, config: TrainConfig
) -> tuple[str, ...]:
    """The settings that say where inputs are; if a checkpoint says what they hold, that is compared."""
    for checkpoint in checkpoints:
        try:
            says = _says(read_header(checkpoint).state.get("inputs"))
        except UserError:
            continue  # it will be passed over
        return (*input_keys(before), *input_keys(config), "data.image_root") if says else ()
    return ()


def find_checkpoints(folder: RunFolder, config: TrainConfig) -> list[Path]:
    """The checkpoints that the run may continue from, the newest first; nothing is changed on disk.

    Returns:
        their paths; none to start from scratch.

    Raises:
        UserError: the folder holds another run, something other than a run, or anything at all with
            resume=never.
    """
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"output={folder.path} is a file; give a folder to make or to continue in")
    entries = folder.entries()
    if config.overwrite:
        if config.resume not in ("auto", "never"):
            raise UserError(f"overwrite=true starts anew, resume={config.resume} continues; give one of them")
        if entries and not folder.is_run():
            raise UserError(
                f"{folder.path} holds something else than a run; overwrite=true removes runs only"
            )
        return []
    if entries and config.resume == "never":
        raise UserError(
            f"{folder.path} is not empty; give another output, resume=auto to continue the run "
            "in it, or overwrite=true to replace it"
        )
    occupied = folder.content()
    if occupied and not folder.is_run():
        told_of = ", ".join(occupied[:3]) + (", ..." if len(occupied) > 3 else "")
        why = (
            "whose config.yaml is not one of a training"
            if folder.config.exists()
            else "without a config.yaml"
        )
        raise UserError(
            f"{folder.path} holds files ({told_of}) {why}, so it is not known whose they are, and a "
            "training would write over them; give another output, or put the run's config.yaml back"
        )
    folder.require_logs()
    if config.resume not in ("auto", "never"):
        return [Path(config.resume)]
    if not folder.config.exists():
        return []
    before = load_config(TrainConfig, folder.config)
    found = checkpoints_in(folder.checkpoints)[::-1]
    places = places_that_may_change(found, before, config)
    changed = changed_keys(before, config, ignore=(*MAY_CHANGE, *places))
    if changed:
        differences = ", ".join(f"{key}: {old} there, {new} now" for key, (old, new) in changed.items())
        raise UserError(
            f"{folder.path} holds a run of another configuration ({differences}); give another "
            "output, or overwrite=true to replace it"
        )
    return found


class Continuation:
    """The checkpoint that a run continues from, found while the run's inputs are read.

    Args:
        config: of the run.
        checkpoints: what it may continue from, the first if possible; or the one that `config.resume` names,
            which may be of other settings.
        say: prints a line for the user.
        digests: of the running command.

    Raises:
        UserError: none of them can be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        checkpoints: Sequence[Path],
        say: Callable[[str], None],
        digests: FileDigests,
    ) -> None:
        self._config, self._say, self._digests = config, say, digests
        self._settings = deciding_settings(config)
        self._left = list(checkpoints)
        self._problems: list[UserError] = []
        self._files: Files | None = None
        self.passed_over: list[Path] = []
        self._candidate: _Candidate | None = None
        self._first(self._open)

    @property
    def checkpoint(self) -> Path:
        """The one that is left."""
        return self._left[0]

    def check_files(self, now: Files) -> None:
        """Compare the files of the inputs, then those of the checkpoint itself.

        Raises:
            UserError: none of the checkpoints can be used.
        """
        self._files = now
        self._first(self._with_files)

    def check_images(self, paths: Sequence[str], now: str) -> None:
        """Compare the images; arguments as for `changed_images`. Says which checkpoints were passed over.

        Raises:
            UserError: none of the checkpoints can be used.
        """

        def check() -> _Candidate:
            candidate = self._with_files()
            candidate.inputs.check_images(paths, now)
            return candidate

        self._first(check).inputs.tell(self._say)
        if self.passed_over:
            self._say(
                f"passed over {', '.join(path.name for path in self.passed_over)}: "
                f"{'; '.join(_reason(problem) for problem in self._problems)}. The newest "
                f"checkpoint that can be used is {self.checkpoint}"
            )

    def is_ours(self, path: Path) -> bool:
        """Whether a checkpoint is of this run or of the one that it continues, so that it may be removed.

        One that was passed over may be too; what is later written under its name certainly is.
        """
        try:
            settings = read_header(path).run.get("settings", {})
        except UserError:
            return False
        continued = self._open().header.run.get("settings", {})
        return any(not other_settings(settings, own) for own in (self._settings, continued))

    def _first(self, check: Callable[[], _Candidate]) -> _Candidate:
        """The first checkpoint that passes; those before it are passed over."""
        while True:
            try:
                return check()
            except UserError as problem:
                self._problems.append(problem)
                self.passed_over.append(self._left.pop(0))
                if not self._left:
                    raise self._refusal() from None

    def _refusal(self) -> UserError:
        first, *others = self._problems
        if not others:
            return first
        reasons = "; ".join(map(_reason, others))
        return UserError(f"{first}. The older ones cannot be used either: {reasons}")

    def _open(self) -> _Candidate:
        if self._candidate is not None and self._candidate.path == self.checkpoint:
            return self._candidate
        header = read_header(self.checkpoint)
        named = self._config.resume not in ("auto", "never")
        differing = "" if named else other_settings(header.run.get("settings", {}), self._settings)
        if differing:
            raise UnusableCheckpoint(f"checkpoint {self.checkpoint} is of another run ({differing})")
        inputs = ContinuedInputs(self._config, self.checkpoint, header)
        self._candidate = _Candidate(self.checkpoint, header, inputs)
        return self._candidate

    def _with_files(self) -> _Candidate:
        candidate = self._open()
        if not candidate.whole:
            assert self._files is not None, "files are checked before images"
            candidate.inputs.check_files(self._files)
            check_files(candidate.path, candidate.header, self._digests)
            candidate.whole = True
        return candidate


@dataclass
class _Candidate:
    """A checkpoint that may be continued; `whole`: its files have been found to be."""

    path: Path
    header: Header
    inputs: ContinuedInputs
    whole: bool = False


class ContinuedInputs:
    """Compares the inputs of a run that is continued with those that its checkpoint records.

    A checkpoint that is given by its path may be continued with other settings: inputs that have other paths
    than in its run's configuration are other ones on purpose, and are reported.

    Args:
        config: of the run.
        checkpoint: what it continues from.
        header: of the checkpoint.

    Raises:
        UserError: the checkpoint does not say what it was trained on (version 0.2.0 and older), and this has
            not been accepted.
    """

    def __init__(self, config: TrainConfig, checkpoint: Path, header: Header) -> None:
        self._config, self._checkpoint = config, checkpoint
        self._before = header.state.get("inputs")
        self._chosen = self._chosen_keys()
        self._other_records = False
        self._lines: list[str] = []
        if _says(self._before):
            return
        self._before = None
        told = (
            f"{checkpoint} does not say what its data files, images and base model held, as version 0.2.0 "
            "and older did not record it, so it is not known whether they have changed"
        )
        if config.changed_inputs != "accept":
            raise UnusableCheckpoint(
                told,
                "If they have not, set changed_inputs=accept, which continues with what they hold now; "
                f"otherwise {START_ANEW}",
                between=". ",
            )
        self._lines.append(f"changed_inputs=accept: {told}; it is continued with what they hold now")

    def tell(self, say: Callable[[str], None]) -> None:
        """Say with which other inputs the run is continued."""
        for line in self._lines:
            say(line)

    def check_files(self, now: Files) -> None:
        """Compare the files.

        Raises:
            UserError: they differ, which has not been accepted.
        """
        if self._before is not None:
            told = changed_files(self._config, self._before["files"], now)
            self._other_records = any(key.startswith("data.") for key in told)
            self._judge(told)

    def check_images(self, paths: Sequence[str], now: str) -> None:
        """Compare the images; arguments as for `changed_images`.

        Raises:
            UserError: they differ, which has not been accepted.
        """
        if self._before is None or self._other_records:  # which have images of their own
            return
        told = changed_images(self._before["images"], paths, now)
        self._judge({"data.image_root": "; ".join(told)} if told else {})

    def _judge(self, told: dict[str, str]) -> None:
        chosen = [text for key, text in told.items() if key in self._chosen]
        others = [text for key, text in told.items() if key not in self._chosen]
        if others and self._config.changed_inputs != "accept":
            raise UnusableCheckpoint(
                f"{self._checkpoint} was trained on other inputs than there are now: {'; '.join(others)}",
                WAYS_OUT,
                between=". ",
            )
        if chosen:
            self._lines.append(f"{self._checkpoint} is continued with other inputs: {'; '.join(chosen)}")
        if others:
            self._lines.append(
                f"changed_inputs=accept: {self._checkpoint} is continued although {'; '.join(others)}"
            )

    def _chosen_keys(self) -> set[str]:
        saved = self._checkpoint.parent.parent / "config.yaml"
        if self._config.resume in ("auto", "never") or not saved.is_file():
            return set()
        try:
            before = load_config(TrainConfig, saved)
        except UserError:
            return set()  # of another version
        keys = {*input_keys(before), *input_keys(self._config), "data.image_root"}
        return keys & changed_keys(before, self._config).keys()


def _reason(problem: UserError) -> str:
    return problem.reason if isinstance(problem, UnusableCheckpoint) else str(problem)


def _says(inputs: Any) -> bool:
    return (
        isinstance(inputs, dict)
        and isinstance(inputs.get("files"), dict)
        and isinstance(inputs.get("images"), str)
    )
