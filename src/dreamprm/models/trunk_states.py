"""The states that a frozen trunk gives, record by record: in memory, in files, and in batches.

A file is named for the digest of its bytes and holds the states of some records, each under its key, as one
Arrow batch that is memory-mapped. Files are only ever added: processes may write to one folder at the same
time, and a file that does not have its name's digest is damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dreamprm.files.atomic import make_folder, write_atomically
from dreamprm.files.content import FileDigests

_DIGITS = 32  # of a file's digest in its name
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("states", pa.large_binary()),
        ("lengths", pa.list_(pa.int32())),
        ("positions", pa.large_binary()),
        ("reads", pa.list_(pa.int32())),
        ("targets", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True)
class RecordStates:
    """A trunk's states for one record, whose rows have T tokens in all, of which S are read.

    Fields:
        states: `(T, hidden)`, the rows one after another; `(S, hidden)` if only those that are read are kept.
        lengths: the number of tokens of each row.
        positions: `(3, T)` int32 position ids; `(3, 0)` if no layer follows.
        reads: `(2, S)` int32, row and column of each token at which the upper part is read.
        targets: `(S,)` int64, the tokens that a text's are to predict; `(0,)` for a chain of thought.
    """

    states: Tensor
    lengths: tuple[int, ...]
    positions: np.ndarray
    reads: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(cls, batch: Mapping[str, Tensor], states: Tensor, *, reads_only: bool) -> RecordStates:
        """What is kept of one record.

        Args:
            batch: of this record alone, from `PRMProcessor.collate`, or from `collate_text` for a text.
            states: `(R, L, hidden)`, the trunk's for this batch.
            reads_only: keep the states that are read alone.
        """
        kind = "token" if "token_targets" in batch else "step"
        reads = torch.stack([batch[f"{kind}_rows"], batch[f"{kind}_cols"]]).cpu()
        mask = batch["attention_mask"].bool()  # (R, L)
        positions = batch["position_ids"][:, mask].int().cpu().numpy()
        return cls(
            (states[*reads] if reads_only else states[mask]).cpu(),
            tuple(mask.sum(dim=1).tolist()),
            positions[:, :0] if reads_only else positions,
            reads.int().numpy(),
            batch.get("token_targets", reads[0, :0]).cpu().numpy(),
        )


def collate_states(records: Sequence[RecordStates], *, first_layer: int) -> dict[str, Any]:
    """The batch that `PRM.forward` takes, made of a trunk's states, on the CPU.

    Returns:
        `step_rows`, `step_cols` (S,) long, of texts `token_rows`, `token_cols`, `token_targets` (S,) long;
        `attention_mask` (R, L) long. If a layer follows, `trunk_states` (R, L, hidden), `position_ids`
        (3, R, L) long and `first_layer`; otherwise `read_states` (S, hidden).
    """
    lengths = [n for record in records for n in record.lengths]
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]  # (R, L)
    first_rows = np.cumsum([0, *(len(record.lengths) for record in records[:-1])])
    reads = np.concatenate(
        [record.reads + [[start], [0]] for record, start in zip(records, first_rows, strict=True)], axis=1
    )
    rows, columns = torch.from_numpy(reads.astype(np.int64))
    targets = np.concatenate([record.targets for record in records])
    kind = "token" if len(targets) else "step"
    batch: dict[str, Any] = {
        f"{kind}_rows": rows,
        f"{kind}_cols": columns,
        "attention_mask": mask.long(),
    }
    if len(targets):
        batch["token_targets"] = torch.from_numpy(targets)
    states = torch.cat([record.states for record in records])
    if not records[0].positions.size:
        return batch | {"read_states": states}
    # Padding repeats the row's last token: a state of zeros would have a derivative of 1/sqrt(eps) in a norm.
    ends = torch.tensor(lengths).cumsum(0)[:, None]  # (R, 1)
    at = torch.minimum(
        ends - torch.tensor(lengths)[:, None] + torch.arange(mask.shape[1]), ends - 1
    )  # (R, L)
    positions = torch.from_numpy(np.concatenate([record.positions for record in records], axis=1)).long()
    return batch | {
        "trunk_states": states[at],
        "position_ids": positions[:, at],
        "first_layer": first_layer,
    }


class StateFiles:
    """The files of a folder, and where in them each record's states are.

    Args:
        folder: of one trunk, precision and processor; made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests = FileDigests()

    def paths(self) -> list[Path]:
        """Its files, in the order of their names."""
        return sorted(self.folder.glob("*.arrow"))

    def damaged(self) -> list[Path]:
        """The files whose bytes have changed since they were written; all of each is read once, about 1 s per
        GB and core."""
        digests = self._digests.of_all(self.paths())
        return [Path(path) for path, digest in digests.items() if (digest or "")[:_DIGITS] != Path(path).stem]

    def places(self, paths: Sequence[Path]) -> dict[str, tuple[int, int]]:
        """The number of the file among `paths`, and the row in it, of each record's key.

        A file that cannot be read, being damaged or removed meanwhile, has none.
        """
        found: dict[str, tuple[int, int]] = {}
        for number, path in enumerate(paths):
            try:
                keys = _batch_in(path).column("key").to_pylist()
            except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError):
                continue
            found.update((key, (number, row)) for row, key in enumerate(keys))
        return found

    def add(self, records: Mapping[str, RecordStates], *, stored: torch.dtype | None = None) -> None:
        """Write a file of some records, at least one.

        Args:
            stored: the dtype of the states in the file; they are read in the one that they have now. None:
                that one.
        """
        given = next(iter(records.values())).states
        stored = given.dtype if stored is None else stored
        columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
        for key, record in records.items():
            states = record.states.to(stored).contiguous().reshape(-1).view(torch.uint8)
            columns["key"].append(key)
            columns["states"].append(states.numpy().tobytes())
            columns["lengths"].append(record.lengths)
            columns["positions"].append(record.positions.tobytes())
            columns["reads"].append(record.reads.reshape(-1))
            columns["targets"].append(record.targets)
        form = {"width": given.shape[-1], "stored": _name(stored), "given": _name(given.dtype)}
        schema = _SCHEMA.with_metadata({"form": json.dumps(form)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
        content = sink.getvalue()
        make_folder(self.folder)
        name = hashlib.sha256(content).hexdigest()[:_DIGITS]
        write_atomically(self.folder / f"{name}.arrow", content.to_pybytes())


class CachedRecords:
    """A set of records by number, each as its trunk's states; pickled as paths and places.

    Args:
        paths: of the files.
        places: `(n, 2)` int, the file and the row of each record.
        first_layer: of those that take the states.
    """

    def __init__(self, paths: Sequence[Path], places: np.ndarray, *, first_layer: int) -> None:
        self._paths, self._places, self._first_layer = list(paths), places, first_layer
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> RecordStates:
        file, row = self._places[number].tolist()
        if file not in self._open:
            self._open[file] = _batch_in(self._paths[file])
        batch = self._open[file]
        form = json.loads(batch.schema.metadata[b"form"])

        def held(column: str) -> Any:
            return batch.column(column)[row]

        states = torch.from_numpy(np.frombuffer(held("states").as_buffer(), dtype=np.uint8).copy())
        positions = np.frombuffer(held("positions").as_buffer(), dtype=np.int32)
        return RecordStates(
            states.view(getattr(torch, form["stored"]))
            .view(-1, form["width"])
            .to(getattr(torch, form["given"])),
            tuple(held("lengths").as_py()),
            positions.reshape(3, -1),
            np.array(held("reads").as_py(), dtype=np.int32).reshape(2, -1),
            np.array(held("targets").as_py(), dtype=np.int64),
        )

    def collate(self, numbers: Sequence[int]) -> dict[str, Any]:
        """`collate_states` of the records with these numbers."""
        return collate_states([self[number] for number in numbers], first_layer=self._first_layer)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _batch_in(path: Path) -> Any:
    """The record batch of a file, mapped into memory; the mapping outlives the file's handle."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).get_batch(0)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
