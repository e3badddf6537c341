"""A frozen trunk's states of all records of a run, computed once and kept in `data.cache_dir`.

What a state depends on is in its key: the trunk's weights, the processor, the precision and the libraries in
that of the folder; a record's texts and its images' bytes in that of the record. Runs share what they have in
common (other seeds, other heads, other weights of the domains), and nothing stale is ever found.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import send_to_device

from dreamprm import __version__
from dreamprm.config.errors import DataError, UserError
from dreamprm.data.text_reader import TextRecord
from dreamprm.files.atomic import make_folder, remove_ended
from dreamprm.files.content import FileDigests, content_key, image_contents
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.locks import owned_path, path_in_turn
from dreamprm.models.backbone import text_model
from dreamprm.models.collation import Rows, encode_record, records_at
from dreamprm.models.images import ImageStore
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor
from dreamprm.models.record_checks import CheckStatus, RecordChecks
from dreamprm.models.trunk import Trunk
from dreamprm.models.trunk_states import CachedRecords, RecordStates, StateFiles
from dreamprm.training.processes import Processes
from dreamprm.training.settings import TrainConfig

_FORM = 1  # part of the key: raise it when what is stored changes
_BYTES, _SECONDS = 1 << 26, 60.0
"""A file is written when it has this size, or has taken this long: what an interruption loses at most."""
_READ_AT_ONCE = 256  # records
_POSITIONS = 12  # bytes of a token's position ids


class _Missing(NamedTuple):
    """A record whose states are to be computed: its set, its number there, its key and its size."""

    of: str
    number: int
    key: str
    tokens: int
    reads: int


@dataclass(frozen=True)
class TrunkCache:
    """Computes and keeps the states of a frozen trunk.

    Args:
        trunk: of the model, on its device, with the weights that it will have.
        config: of the run.
        checks: has seen all images.
        digests: of the running command.
        autocast: the context in which the model runs.
        processes: those that train; each computes its share.
        say: prints a line for the user.
    """

    trunk: Trunk
    config: TrainConfig
    checks: RecordChecks
    digests: FileDigests
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    processes: Processes = Processes()
    say: Callable[[str], None] = print

    def of(self, sets: Mapping[str, Rows]) -> dict[str, CachedRecords]:
        """The states of every record of these sets; those that are missing are computed and written first.

        Runs that start together share the work: one computes, the others wait for it. All processes of a run
        call this together.

        Args:
            sets: tables or lists of step, meta and text records, by what they are.

        Raises:
            UserError: there is no room for them, or they cannot be written.
            DataError: an image has changed since the command has started.
        """
        keys = {name: list(map(self._key, _each(records))) for name, records in sets.items()}
        folder = self.processes.all_of(self._folder() if self.processes.first else "")[0]
        files = StateFiles(Path(self.config.data.cache_dir) / "trunk" / folder)
        wanted = {key for of_set in keys.values() for key in of_set}
        damaged = files.damaged() if self.processes.leads else []
        whole = not damaged and wanted <= files.places(files.paths()).keys()
        where = "the final norm" if self.trunk.reads_only else f"layer {self.trunk.first}"
        told = f"model.cache_trunk: the states of {len(wanted):,} records that enter {where}"
        if self.processes.largest(0 if whole else 1):  # a cache that holds all may be read-only
            self._fill(files, sets, keys, told=told)
        else:
            self.say(f"{told} are in {files.folder}")
        paths = files.paths()
        places = files.places(paths)
        return {
            name: CachedRecords(
                paths,
                np.array([places[key] for key in of_set], dtype=np.int64).reshape(-1, 2),
                first_layer=self.trunk.first,
            )
            for name, of_set in keys.items()
        }

    def _fill(
        self, files: StateFiles, sets: Mapping[str, Rows], keys: Mapping[str, Sequence[str]], *, told: str
    ) -> None:
        """Compute what is missing, each process its share."""
        require_folder(self.config.data.cache_dir, "data.cache_dir")
        with self._turn(files.folder):
            if self.processes.leads:
                remove_ended(files.folder)
                for path in files.damaged():
                    self.say(f"{path} is damaged; what it held is computed again")
                    path.unlink(missing_ok=True)
            self.processes.wait()
            missing = self._missing(files, sets, keys)
            self._require_room(files, missing, told=told)
            own = self.processes.share.rows(len(missing))
            self._compute(files, sets, missing[own.start : own.stop])
            self.processes.wait()
        with self.processes.leader_first():  # on a machine with a disk of its own, others' shares are missing
            self._compute(files, sets, self._missing(files, sets, keys))

    @contextmanager
    def _turn(self, folder: Path) -> Iterator[None]:
        """One run at a time, of which the first process holds the lock for all."""
        make_folder(folder.parent)
        with ExitStack() as held:
            if self.processes.first:
                try:
                    held.enter_context(owned_path(folder))
                except UserError:
                    self.say(f"model.cache_trunk: waiting for another run that computes states in {folder}")
                    held.enter_context(path_in_turn(folder))
            self.processes.wait()
            yield

    def _missing(
        self, files: StateFiles, sets: Mapping[str, Rows], keys: Mapping[str, Sequence[str]]
    ) -> list[_Missing]:
        """The records whose states are not there; equal ones once."""
        there = files.places(files.paths())
        places = {
            key: (name, number)
            for name, of_set in keys.items()
            for number, key in enumerate(of_set)
            if key not in there
        }
        found = []
        for (name, number), record in _records(sets, list(places.values())):
            encoded = self.checks.encoded(record)
            tokens = sum(len(row.input_ids) for row in encoded.rows)
            reads = tokens if isinstance(record, TextRecord) else encoded.n_steps
            found.append(_Missing(name, number, keys[name][number], tokens, reads))
        return found

    def _require_room(self, files: StateFiles, missing: Sequence[_Missing], *, told: str) -> None:
        """Say what is computed, and how much room it takes.

        Raises:
            UserError: there is less.
        """
        embedding = text_model(self.trunk.prm.backbone).embed_tokens.weight
        # Those of the states: a frozen table may be stored in less (`models.frozen_weights`).
        width, item = embedding.shape[1], torch.promote_types(embedding.dtype, torch.float32).itemsize
        if self.config.model.cache_trunk == "bf16":
            item = 2
        need = sum(
            one.reads * width * item if self.trunk.reads_only else one.tokens * (width * item + _POSITIONS)
            for one in missing
        )
        free = shutil.disk_usage(files.folder.parent).free
        if need > free:
            raise UserError(
                f"{told} take {_size(need)} in {files.folder}, where {_size(free)} are free; give another "
                "data.cache_dir, take model.cache_trunk=bf16, or set model.cache_trunk=none"
            )
        self.say(
            f"{told}: {len(missing):,} are computed now ({sum(one.tokens for one in missing):,} tokens) and "
            f"take {_size(need)} in {files.folder}, where {_size(free)} are free"
        )

    def _compute(self, files: StateFiles, sets: Mapping[str, Rows], missing: Sequence[_Missing]) -> None:
        """Compute records' states and write them, file by file."""
        data = self.config.data
        images = self.trunk.prm.processor.image_store(
            missing=data.missing_image, truncated=data.truncated_image
        )
        stored = torch.bfloat16 if self.config.model.cache_trunk == "bf16" else None
        done: dict[str, RecordStates] = {}
        size, begun = 0, time.monotonic()
        found = {(one.of, one.number): one for one in missing}
        mode = self.config.log.progress if self.processes.first else "none"
        total = sum(one.tokens for one in missing)
        with CheckStatus("frozen layers", "token", total, mode=mode) as status:
            for place, record in _records(sets, list(found)):
                one = found[place]
                done[one.key] = states = self._states(record, images)
                if self._key(record) != one.key:
                    raise DataError(
                        f"record {getattr(record, 'id', record.place)}: an image has vanished while its "
                        "states were computed; run the same command again"
                    )
                size += states.states.nbytes
                if size >= _BYTES or time.monotonic() - begun >= _SECONDS:
                    files.add(done, stored=stored)
                    done, size, begun = {}, 0, time.monotonic()
                status.advance(one.tokens)
            if done:
                files.add(done, stored=stored)

    def _states(self, record: Any, images: ImageStore) -> RecordStates:
        """Of one record alone, so that they do not depend on which others are computed with it."""
        processor = self.trunk.prm.processor
        encoded = encode_record(processor, record, images.open_all(record.images))
        collate = processor.collate_text if isinstance(record, TextRecord) else processor.collate
        batch = send_to_device(collate([encoded]), self.processes.device)
        with self.autocast():
            states = self.trunk.states(batch)
        return RecordStates.of(batch, states, reads_only=self.trunk.reads_only)

    def _folder(self) -> str:
        data = self.config.data
        return content_key(
            [
                _FORM,
                __version__,
                self.trunk.identity(),
                _identity(self.trunk.prm.processor),
                [data.missing_image, data.truncated_image],
                [self.config.precision, self.config.model.cache_trunk],
            ]
        )[:16]

    def _key(self, record: Any) -> str:
        texts = [record.text] if isinstance(record, TextRecord) else [record.question, *record.steps]
        kind = "text" if isinstance(record, TextRecord) else "cot"
        return content_key([kind, texts, image_contents(record.images, self.digests)])


def frozen_trunk(
    config: TrainConfig, prm: PRM, trained: Collection[str], *, reference: Mapping[str, torch.Tensor]
) -> Trunk | None:
    """The trunk whose states are to be cached; None without `model.cache_trunk`.

    Args:
        trained: the names of the trained parameters.
        reference: params of another model through which the batches pass too.

    Raises:
        UserError: no trunk is frozen, or the reference has another one.
    """
    if config.model.cache_trunk == "none":
        return None
    try:
        trunk = Trunk.below(prm, trained)
        trunk.require_same(reference, whose=f"the reference of baseline {config.baseline.name}")
    except UserError as error:
        raise UserError(
            f"model.cache_trunk={config.model.cache_trunk}: {error}, or set model.cache_trunk=none"
        ) from error
    return trunk


def _identity(processor: PRMProcessor) -> list[Any]:
    """What determines the tokens and pixels of a record."""
    tokenizer = processor.tokenizer
    settings = asdict(processor.settings)
    del settings["max_length"]  # refuses records, and changes none
    return [
        settings,
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.chat_template,
        None if processor.image_processor is None else processor.image_processor.to_json_string(),
    ]


def _each(records: Rows) -> Iterator[Any]:
    for start in range(0, len(records), _READ_AT_ONCE):
        yield from records_at(records, range(start, min(start + _READ_AT_ONCE, len(records))))


def _records(
    sets: Mapping[str, Rows], wanted: Sequence[tuple[str, int]]
) -> Iterator[tuple[tuple[str, int], Any]]:
    """Each wanted record, by its set and its number there."""
    for start in range(0, len(wanted), _READ_AT_ONCE):
        part = wanted[start : start + _READ_AT_ONCE]
        for name, records in sets.items():
            numbers = [number for of_set, number in part if of_set == name]
            if numbers:
                for number, record in zip(numbers, records_at(records, numbers), strict=True):
                    yield (name, number), record


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
