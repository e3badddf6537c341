"""What a run trains on, by content: data files, images, base model and reference runs.

Every checkpoint records it, so that a run does not silently go on with other data than it was started with.
Paths are no part of it: data and models may be moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.config.loading import changed_keys, load_config
from dreamprm.data.readers import read_text_records
from dreamprm.data.record_table import RecordTable
from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.files.content import FileDigests, changed_parts
from dreamprm.models.checkpoint_files import checkpoint_contents
from dreamprm.training.checkpoint import load_state
from dreamprm.training.settings import TrainConfig

Files = dict[str, dict[str, str | None]]
"""Digests by the setting that names a file or folder, and by the file's name in that folder (`""`: itself)"""

START_ANEW = "start anew, with another output, or with overwrite=true to replace the run"
WAYS_OUT = (
    "Put the earlier files back; or continue with what they hold now, with changed_inputs=accept; or "
    + START_ANEW
)

_DIGITS = 16  # of an image's digest in a checkpoint: 1.6 MB for 100,000 images
_SHOWN = 5  # images named in a message


def input_keys(config: TrainConfig) -> dict[str, str]:
    """The settings that name what a run trains on, with the paths they have."""
    baseline = config.baseline.settings
    named: dict[str, Any] = {
        **{f"data.train[{number}].path": file.path for number, file in enumerate(config.data.train)},
        "data.meta": config.data.meta,
        "data.lm": config.data.lm,
        "model.path": config.model.path,
        "model.config": config.model.config,
        "model.tokenizer": config.model.tokenizer,
        **{f"baseline.{key}": baseline.get(key) for key in ("run", "reference")},
    }
    return {key: str(path) for key, path in named.items() if path is not None}


def input_files(config: TrainConfig, digests: FileDigests) -> Files:
    """The files of a run; those that do not exist have no digest, as reading them says so."""
    files: Files = {}
    for key, path in input_keys(config).items():
        if key == "baseline.run":
            files[key] = {"domain_weights.jsonl": digests.found(Path(path) / "domain_weights.jsonl")}
        elif key == "baseline.reference":
            model = Path(path) / "model"
            folder = model if model.is_dir() else Path(path)
            files[key] = checkpoint_contents(folder, digests) if folder.is_dir() else {"": None}
        elif key in ("model.path", "model.tokenizer"):
            held = checkpoint_contents(path, digests)
            # A name on the hub is no part of the content, like a path.
            files[key] = held if Path(path).is_dir() else {"": held[path]}
        else:
            files[key] = {"": digests.found(path)}
    return files


def input_images(
    config: TrainConfig, records: RecordTable[StepRecord], meta: Sequence[MetaRecord]
) -> list[str]:
    """The paths of all images of a run, each once, in the order of the records."""
    texts = read_text_records(config.data.lm, image_root=config.data.image_root) if config.data.lm else []
    others = chain.from_iterable(record.images for record in chain[Any](meta, texts))
    return list(dict.fromkeys(chain(records.image_paths(), others)))


def image_digests(paths: Iterable[str], digests: FileDigests) -> str:
    """The first digits of the images' digests, one after another."""
    return "".join((digest or "-" * _DIGITS)[:_DIGITS] for digest in digests.of_all(paths).values())


def recorded(files: Files, images: str) -> dict[str, Any]:
    """The inputs as a checkpoint records them (JSON values)."""
    return {"files": files, "images": images}


def changed_files(config: TrainConfig, before: Files, now: Files) -> dict[str, str]:
    """By setting, what differs between the files of a checkpoint and those of today, in words."""
    paths, told = input_keys(config), {}
    for key in sorted(before.keys() | now.keys()):
        if key not in now:
            told[key] = f"{key} is no longer given"
        elif key not in before:
            told[key] = f"{key}={paths[key]} is new"
        elif now[key] != before[key] and set(now[key].values()) != {None}:
            parts = [part for part in changed_parts(before[key], now[key]) if not part.startswith(" ")]
            told[key] = f"{key}={paths[key]}" + (f": {', '.join(parts)}" if parts else " has other content")
    return told


def changed_images(before: str, paths: Sequence[str], now: str) -> list[str]:
    """What differs between the images of a checkpoint and those of today, in words."""
    old, new = (
        [digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS)] for digits in (before, now)
    )
    if len(old) == len(new):
        different = [path for path, was, is_ in zip(paths, old, new, strict=True) if was != is_]
    else:
        known = set(old)
        different = [path for path, is_ in zip(paths, new, strict=True) if is_ not in known]
    told = [] if len(old) == len(new) else [f"there are {len(new):,} images, and were {len(old):,}"]
    told += [f"image {path} has other content" for path in different[:_SHOWN]]
    if len(different) > _SHOWN:
        told.append(f"and {len(different) - _SHOWN:,} other images have")
    return told


def places_that_may_change(checkpoint: Path, before: TrainConfig, config: TrainConfig) -> tuple[str, ...]:
    """The settings that say where inputs are; if the checkpoint says what they hold, that is compared."""
    if not _says(load_state(checkpoint).get("inputs")):
        return ()
    return (*input_keys(before), *input_keys(config), "data.image_root")


class ContinuedInputs:
    """Compares the inputs of a run that is continued with those that its checkpoint records.

    A checkpoint that is given by its path may be continued with other settings: inputs that have other paths
    than in its run's configuration are other ones on purpose, and are reported.

    Args:
        config: of the run.
        checkpoint: what it continues from.
        say: prints a line for the user.

    Raises:
        UserError: the checkpoint does not say what it was trained on (version 0.2.0 and older), and this has
            not been accepted.
    """

    def __init__(self, config: TrainConfig, checkpoint: str, say: Callable[[str], None]) -> None:
        self._config, self._checkpoint, self._say = config, checkpoint, say
        self._before = load_state(checkpoint).get("inputs")
        self._chosen = self._chosen_keys()
        self._other_records = False
        if _says(self._before):
            return
        self._before = None
        told = (
            f"{checkpoint} does not say what its data files, images and base model held, as version 0.2.0 "
            "and older did not record it, so it is not known whether they have changed"
        )
        if config.changed_inputs != "accept":
            raise UserError(
                f"{told}. If they have not, set changed_inputs=accept, which continues with what they hold "
                f"now; otherwise {START_ANEW}"
            )
        say(f"changed_inputs=accept: {told}; it is continued with what they hold now")

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
        if chosen:
            self._say(f"{self._checkpoint} is continued with other inputs: {'; '.join(chosen)}")
        if others and self._config.changed_inputs == "accept":
            self._say(f"changed_inputs=accept: {self._checkpoint} is continued although {'; '.join(others)}")
        elif others:
            raise UserError(
                f"{self._checkpoint} was trained on other inputs than there are now: {'; '.join(others)}. "
                f"{WAYS_OUT}"
            )

    def _chosen_keys(self) -> set[str]:
        saved = Path(self._checkpoint).parent.parent / "config.yaml"
        if self._config.resume in ("auto", "never") or not saved.is_file():
            return set()
        try:
            before = load_config(TrainConfig, saved)
        except UserError:
            return set()  # of another version
        keys = {*input_keys(before), *input_keys(self._config), "data.image_root"}
        return keys & changed_keys(before, self._config).keys()


def _says(inputs: Any) -> bool:
    return isinstance(inputs, dict) and inputs.keys() >= {"files", "images"}
