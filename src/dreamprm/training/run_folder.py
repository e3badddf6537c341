"""A run's folder: its contents, and the append-only logs that survive an interruption."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.config.yaml_values import parse_yaml
from dreamprm.data.image_paths import vouch
from dreamprm.files.append_only import append_line, checked_text, require_fields
from dreamprm.files.atomic import (
    flush_file,
    make_folder,
    remove_ended,
    remove_leftovers,
    write_atomically,
    write_lines_atomically,
)
from dreamprm.files.disk_errors import FULL, disk_error, told
from dreamprm.files.json_values import parse_json
from dreamprm.files.locks import LOCK, owned_folder
from dreamprm.training.checkpoint import latest_checkpoint
from dreamprm.training.throughput import MEASURED

WRITTEN = re.compile(
    r"config\.yaml|metrics\.jsonl|domain_weights\.jsonl|instance_weights\.jsonl|"
    r"corrected_labels\.jsonl|summary\.json|"
    r"left_out\.json|model|selected"
)
"""What only the training that holds a run's folder writes there."""

_PARTS = ("checkpoints", "model", "selected", "plots")


class RunFolder:
    """Paths and logs of one run.

    config.yaml metrics.jsonl domain_weights.jsonl instance_weights.jsonl corrected_labels.jsonl summary.json
    left_out.json report.html checkpoints/ model/ scores/ plots/
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.scores = self.path / "scores"
        self.summary = self.path / "summary.json"
        self.left_out = self.path / "left_out.json"
        self._metrics = self.path / "metrics.jsonl"
        self._weights = self.path / "domain_weights.jsonl"
        self._logged = {self._metrics: "", self._weights: ""}
        self._instances = self.path / "instance_weights.jsonl"
        self._corrected = self.path / "corrected_labels.jsonl"

    def create(self) -> None:
        """Make the folder if it is missing."""
        make_folder(self.path)

    def owned(self) -> AbstractContextManager[None]:
        """Hold the folder, so that no other training writes to it; one that never began leaves no folder."""
        return owned_folder(self.path, lock=LOCK)

    def is_run(self) -> bool:
        """Whether the folder's config.yaml is one that a training has saved."""
        try:
            content = parse_yaml(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        versions = content.get("versions") if isinstance(content, dict) else None
        ours = isinstance(versions, dict) and "dreamprm" in versions
        return ours and {"data", "model", "inner_steps"} <= content.keys()

    def entries(self) -> list[Path]:
        """Everything in the folder, except its lock."""
        return sorted(path for path in self.path.iterdir() if path.name != LOCK) if self.path.is_dir() else []

    def content(self) -> list[str]:
        """What a training could write over in the folder: its files, and folders of the names of ours.

        Not hidden files, nor folders of other names: what chains of commands make for logs and further runs.
        """
        return [
            path.name
            for path in self.entries()
            if path.name[0] != "." and (not path.is_dir() or (path.name in _PARTS and any(path.iterdir())))
        ]

    def require_logs(self) -> None:
        """Refuse something else where the logs should be.

        Raises:
            UserError: one of them is a folder.
        """
        for path in self._logged:
            if path.is_dir():
                raise UserError(f"{path} is a folder, where a log should be; move it elsewhere")

    def clear(self) -> None:
        """Remove all that a run has left, its configuration last: until then it can be seen to be one."""
        for path in sorted(self.path.iterdir(), key=lambda path: path == self.config):
            if path.name == LOCK:
                continue  # which is held
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def remove_leftovers(self) -> None:
        """Remove what trainings that were killed left half-written; the folder must be held."""
        remove_leftovers(self.path, WRITTEN)
        for folder in (self.path / "selected", self.path / "model"):
            if folder.is_dir():
                remove_leftovers(folder)
        for folder in (self.path, self.path / "plots"):  # where a report may be being written
            remove_ended(folder)

    def flush(self) -> None:
        """Wait until the logs are on disk: no checkpoint may survive the lines that were logged before it."""
        for path in self._logged:
            flush_file(path)

    def log_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl; it must hold `step`."""
        self._log(self._metrics, row)

    def log_weights(self, step: int, weights: Mapping[str, float]) -> None:
        """Append one line to domain_weights.jsonl."""
        self._log(self._weights, {"step": step, "weights": dict(weights)})

    def _log(self, path: Path, row: Mapping[str, Any]) -> None:
        append_line(path, row)
        self._logged[path] = _linked(self._logged[path], row)

    def log_digests(self) -> dict[str, str]:
        """By the name of each log, a digest of all that was logged, times left out: a part of checkpoints."""
        return {path.name: self._logged[path] for path in self._logged}

    def changed_logs(self, logged: Mapping[str, str]) -> list[Path]:
        """The logs that do not hold what was logged before a checkpoint, after `rewind` to it.

        What is logged from now on continues what was logged, whatever the files hold.

        Args:
            logged: the checkpoint's `log_digests`; empty from version 0.2.0 and older.
        """
        changed = []
        for path in self._logged:
            found = ""
            for row in _objects(path):
                found = _linked(found, row)
            self._logged[path] = logged.get(path.name, found)
            if self._logged[path] != found:
                changed.append(path)
        return changed

    def write_instance_weights(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write instance_weights.jsonl, with one line per CoT, whole or not at all."""
        write_atomically(self._instances, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def write_corrected_labels(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write corrected_labels.jsonl, with one line per CoT, whole or not at all; readers take its image
        paths as they are, as they were checked when the training read them."""
        write_lines_atomically(
            self._corrected, (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        )
        vouch(self._corrected)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl; none if there is no file yet."""
        return _objects(self._metrics)

    def weights(self) -> Iterator[dict[str, Any]]:
        """The lines of domain_weights.jsonl; none if there is no file yet."""
        return _objects(self._weights)

    def rewind(self, step: int) -> int:
        """Drop what was logged after `step`: a resumed run will write those lines again.

        Returns:
            The number of lines that are no whole lines of a log, except the last of each; dropped too.
        """
        unreadable = 0
        for path, check in zip(self._logged, (_check_metrics, _check_weights), strict=True):
            if path.exists():
                # Not `splitlines`, which also divides at characters that names may hold (U+2028, ...).
                lines = path.read_bytes().split(b"\n")
                steps = [_logged_step(line, check) for line in lines]
                unreadable += sum(found is None for found in steps[:-1])
                kept = [line for line, found in zip(lines, steps) if found is not None and found <= step]
                write_atomically(path, b"".join(line + b"\n" for line in kept))
        return unreadable

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json whole or not at all."""
        write_atomically(self.summary, checked_text(json.dumps(summary, indent=2, ensure_ascii=False)))


class OthersFolder(RunFolder):
    """The folder of a run for those of its processes that read it and leave the writing to the first one."""

    def create(self) -> None:
        """Nothing."""

    def owned(self) -> AbstractContextManager[None]:
        """The first process holds it."""
        return nullcontext()

    def clear(self) -> None:
        """Nothing."""

    def remove_leftovers(self) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    def log_metrics(self, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def log_weights(self, step: int, weights: Mapping[str, float]) -> None:
        """Nothing."""

    def write_instance_weights(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Nothing."""

    def rewind(self, step: int) -> int:
        """Nothing."""
        return 0

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Nothing."""


@contextmanager
def what_stands(folder: RunFolder) -> Iterator[None]:
    """Turn errors of the disk into user errors that say what to do, and from where the run would continue.

    Raises:
        UserError: with the system's error.
    """
    try:
        yield
    except Exception as error:
        found = disk_error(error)
        if found is None or (isinstance(error, UserError) and found.errno not in FULL):
            raise
        reason = str(error) if isinstance(error, UserError) else told(found, folder.path)
        try:
            latest = latest_checkpoint(folder.checkpoints)
        except (UserError, OSError):
            latest = None
        stands = "No checkpoint has been saved" if latest is None else f"Checkpoint {latest} stands"
        raise UserError(f"{reason}. {stands}") from error


def _linked(digest: str, row: Mapping[str, Any]) -> str:
    """The digest of a log with one line more."""
    told = {name: value for name, value in row.items() if name not in MEASURED}
    return hashlib.sha256(f"{digest}{json.dumps(told)}".encode()).hexdigest()


_STEP = {"step": "a whole number >= 0"}
_METRICS = {
    "status": "a text",
    **dict.fromkeys(("inner_loss", "meta_loss", "alpha_grad_norm"), "a finite number or null"),
}
_AUDIT = {
    "audit_cosine": "a finite number or null",
    "audit_norm_ratio": "a finite number or null",
    "audit_exact": "a text",
}


def _check_metrics(row: Any) -> None:
    """Check what this program reads of a line of metrics.jsonl."""
    given = {name: kind for name, kind in _METRICS.items() if name in row}
    require_fields(row, given | (_AUDIT if "audit_cosine" in row else {}))
    if row.get("audit_cosine") is not None and row["audit_norm_ratio"] is None:
        raise ValueError("an audit with a cosine has a ratio of norms")


def _check_weights(row: Any) -> None:
    require_fields(row, {"weights": "an object of finite numbers"})


def _logged_step(line: bytes, check: Callable[[Any], None]) -> int | None:
    """The step of a line; None if it is none, such as one cut short by a crash."""
    try:
        row = parse_json(line)
        require_fields(row, _STEP)
        check(row)
    except ValueError:
        return None
    step: int = row["step"]
    return step


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from map(json.loads, file)
