"""Which records cannot be shown to a model, found before any of them is due: images, token counts, tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, astuple
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dreamprm.config.errors import UserError
from dreamprm.data.image_checks import ImageFacts, ImageFactsFile, image_facts, in_turn
from dreamprm.data.record_table import RecordTable
from dreamprm.data.text_reader import TextRecord
from dreamprm.files.atomic import make_folder, write_atomically
from dreamprm.files.content import FileDigests, content_key
from dreamprm.files.json_values import parse_json
from dreamprm.models.batch_loading import leave_signals_to_the_loop
from dreamprm.models.collation import encode_record
from dreamprm.models.encoding import EncodedCoT
from dreamprm.models.images import unreadable
from dreamprm.models.processing import PRMProcessor
from dreamprm.runtime.progress import CountingDisplay, duration
from dreamprm.runtime.worker_processes import worker_context

_FORM = 1  # part of the cache key: raise it when records are checked differently
# Starting a worker takes as long as decoding some hundred images.
_WORTH_WORKERS = 500
_WORTH_A_BAR = 500

Problems = dict[int, str]


class RecordChecks:
    """Finds the records that cannot be encoded, without decoding an image twice.

    An image is decoded once for each content, and what was found (its size, or why it cannot be read) is kept
    in `cache_dir`. Records are encoded with images of the sizes that theirs will have, which shows all that
    `PRMProcessor.encode` refuses: rows longer than `max_length`, image tokens within a text, images that are
    too long and thin, steps without tokens. The result is kept by the content of the records, of the
    tokenizer and of the settings, so that a second start takes no time.

    Args:
        processor: of the model; None: only whether images can be read is found out.
        cache_dir: the folder that keeps results; runs and processes may share it. None: nothing is kept.
        digests: of the running command.
        missing, truncated: as for `ImageStore`.
        workers: processes that decode images, if there are many; 0: this one.
        mode: of the progress display.
        say: receives a line if results cannot be kept.
    """

    def __init__(
        self,
        processor: PRMProcessor | None,
        *,
        cache_dir: str | Path | None,
        digests: FileDigests,
        missing: str = "error",
        truncated: str = "error",
        workers: int = 0,
        mode: str = "auto",
        say: Callable[[str], None] = print,
    ) -> None:
        self._processor, self._digests = processor, digests
        self._text_only, self._truncated = missing == "text_only", truncated == "read"
        self._folder = None if cache_dir is None else Path(cache_dir) / "checked"
        self._workers, self._mode, self._say = workers, mode, say
        self._file = ImageFactsFile(self._folder and self._folder / "images.json", say=say)
        self._facts: dict[str, ImageFacts] = {}
        encoding = None if processor is None else _identity(processor)
        self._identity = content_key([_FORM, encoding, self._text_only, self._truncated])

    def images(self, sets: Iterable[Iterable[str]]) -> None:
        """Find out about all images of several sets at once; `problems` does so for what is left."""
        paths = [path for path in dict.fromkeys(chain.from_iterable(sets)) if path not in self._facts]
        self._facts |= image_facts(paths, file=self._file, digests=self._digests, decode=self._decoded)

    def problems(self, records: Any, *, what: str) -> Problems:
        """Why records cannot be encoded, by row number.

        Args:
            records: a table or a list of step, meta or text records.
            what: what they are, for the progress display.

        Raises:
            NoPlaceForImages, UserError: the tokenizer's chat template takes no images, or fails.
        """
        paths = records.image_paths() if isinstance(records, RecordTable) else _paths(records)
        self.images([paths])
        kept = None if self._folder is None else self._folder / f"records-{self._key(records, paths)}.json"
        stored = None if kept is None else _stored(kept, len(records))
        if stored is not None:
            return stored
        found: Problems = {}
        with CheckStatus(f"checking {what}", "record", len(records), mode=self._mode) as status:
            for number, record in enumerate(records):
                problem = self.problem(record)
                if problem is not None:
                    found[number] = problem
                status.advance(1)
        if kept is None:
            return found
        try:
            make_folder(kept.parent)
            write_atomically(kept, json.dumps(found))
        except (OSError, UserError) as error:
            self._say(f"what was found of {what} cannot be kept ({error}); the next start checks them again")
        return found

    def problem(self, record: Any) -> str | None:
        """Why one record cannot be encoded; None if it can. `images` must have seen its images."""
        try:
            images = self._usable(record.images)
        except UserError as error:
            return str(error)
        if self._processor is None:
            return None
        if not isinstance(record, TextRecord):
            self._processor.frame(len(images))  # raises for all records, not for this one
        try:
            self.encoded(record)
        except UserError as error:
            return str(error)
        return None

    def encoded(self, record: Any) -> EncodedCoT:
        """A record as it will be encoded, with images of the sizes that its own will have.

        `images` must have seen its images.

        Raises:
            UserError: it cannot be encoded.
        """
        assert self._processor is not None
        shown = [self._shown(path, self._processor) for path in self._usable(record.images)]
        return encode_record(self._processor, record, shown)

    def image_problems(self) -> tuple[dict[str, str], dict[str, str]]:
        """Of the images that it has seen, by path: why those that are not used cannot be, and where those
        that are used as far as they go are cut off."""
        lost = {path: facts.unreadable(truncated=self._truncated) for path, facts in self._facts.items()}
        return (
            {path: reason for path, reason in lost.items() if reason is not None},
            {
                path: facts.cut_off
                for path, facts in self._facts.items()
                if lost[path] is None and facts.cut_off is not None
            },
        )

    def _usable(self, paths: Sequence[str]) -> Sequence[str]:
        """A record's images; none if one of them cannot be read and records may be used without.

        Raises:
            DataError: one of them cannot be read.
        """
        for path in paths:
            reason = self._facts[path].unreadable(truncated=self._truncated)
            if reason is not None:
                if self._text_only:
                    return ()
                raise unreadable(path, reason)
        return paths

    def _shown(self, path: str, processor: PRMProcessor) -> np.ndarray:
        """An image of the size that this one will have, which takes no memory."""
        facts = self._facts[path]
        try:
            height, width = processor.patcher.final_size(facts.height, facts.width)
        except UserError as error:
            raise UserError(f"image {path}: {error}") from error
        return np.broadcast_to(np.uint8(0), (3, height, width))

    def _decoded(self, paths: Sequence[str]) -> Iterator[ImageFacts]:
        workers = self._workers if len(paths) >= _WORTH_WORKERS else 0
        facts: Iterable[ImageFacts] = in_turn(paths)
        if workers:
            facts = DataLoader(
                _Facts(paths),
                batch_size=None,
                num_workers=workers,
                multiprocessing_context=worker_context(["dreamprm.models.batch_loading"]),
                generator=torch.Generator(),  # the global one's draws belong to the training
                worker_init_fn=leave_signals_to_the_loop,
            )
        with CheckStatus("checking images", "image", len(paths), mode=self._mode) as status:
            for one in facts:
                status.advance(1)
                yield one

    def _key(self, records: Any, paths: Iterable[str]) -> str:
        """What the result depends on: the records, what their images are like, and how they are encoded."""
        content = records.contents if isinstance(records, RecordTable) else _content(records)
        return content_key([self._identity, content, [astuple(self._facts[path]) for path in paths]])


class _Facts(Dataset[ImageFacts]):
    """The facts of images, for loader workers."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> ImageFacts:
        return ImageFacts.of(self._paths[index])


class CheckStatus(CountingDisplay):
    """How far the check of a set is. A check that ends soon shows nothing.

    Args:
        label: what is checked.
        unit: what is counted, in the singular.
        total: how many there are.
        mode, every, stream, clock: as in `CountingDisplay`.
    """

    def __init__(
        self,
        label: str,
        unit: str,
        total: int,
        *,
        mode: str = "auto",
        every: float = 10.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        mode = mode if total >= _WORTH_A_BAR or mode == "lines" else "none"
        super().__init__(mode, unit=unit, every=every, stream=stream, clock=clock)
        self._label, self._done, self._spoke = label, 0, False
        self.begin(total, label=label)

    def advance(self, count: int = 0) -> None:
        """See `CountingDisplay.advance`."""
        self._done += count
        super().advance(count)

    def close(self) -> None:
        """See `CountingDisplay.close`; the last line is shown only if there was one before."""
        self._news = self._news and self._spoke
        super().close()

    def _line(self) -> list[str]:
        self._spoke = True
        return [
            f"{self._label}: {self._done:,}/{self.total:,}",
            duration(self.seconds),
            self._left(self._done, self.total - self._done),
        ]


def _identity(processor: PRMProcessor) -> Any:
    """What determines the tokens of a record, as JSON values."""
    tokenizer = processor.tokenizer
    images = processor.image_processor
    return [
        asdict(processor.settings),
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.chat_template,
        [processor.patcher.patch, processor.patcher.merge, None if images is None else dict(images.size)],
    ]


def _paths(records: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(path for record in records for path in record.images))


def _content(records: Sequence[Any]) -> str:
    return content_key(
        [
            [
                record.text if isinstance(record, TextRecord) else [record.question, record.steps],
                record.images,
            ]
            for record in records
        ]
    )


def _stored(path: Path, records: int) -> Problems | None:
    """What was found of so many records; None if it is not known, or was damaged since."""
    try:
        found = {int(number): str(problem) for number, problem in parse_json(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return None
    return found if all(0 <= number < records for number in found) else None
