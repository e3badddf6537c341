"""The interface of baselines: the settings they fix, and either their own training set or their own
weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from dreamprm.data.records import MetaRecord, StepRecord

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dreamprm.hypergrad import Estimator
    from dreamprm.models.images import ImageStore
    from dreamprm.models.prm import PRM
    from dreamprm.models.weights import Weights
    from dreamprm.training.bilevel import UpperOptimizer


class Records(Protocol):
    """Step records, read one after another; a list or a memory-mapped table."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[StepRecord]: ...


KEPT = "kept"
"""The fate of a record that is trained on; any other fate is the reason why a record is not."""


class Baseline(ABC):
    """A reference run, trained with the same command, data and settings as the run it is compared with.

    A frozen dataclass whose fields are its settings, checked when it is made.
    """

    fixes: ClassVar[Mapping[str, Any]] = {}
    """Training settings that it fixes, in addition to the weights, which no upper level moves."""

    def facts(self) -> dict[str, Any]:
        """What the saved model's settings record about it, in addition to its name (JSON values)."""
        return {}


@dataclass(frozen=True)
class SelectionData:
    """What a selection may look at.

    Attributes:
        records: the step records, all domains one after another.
        meta: the meta records.
        seed: the run's seed.
        prm: the model before its first step; None for selections that do not use it.
        images: opens the records' images.
        say: prints a line for the user.
    """

    records: Records
    meta: Sequence[MetaRecord]
    seed: int
    prm: PRM | None
    images: ImageStore
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Selected:
    """A training set made from another.

    Attributes:
        fates: for each record, `KEPT` or why it is left out.
        change: applied to each kept record.
        added: further records.
        facts: additional entries of the report (JSON values).
    """

    fates: Sequence[str]
    change: Callable[[StepRecord], StepRecord] = field(default=lambda record: record)
    added: Sequence[StepRecord] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def records(self, source: Records) -> Iterator[StepRecord]:
        """The training set: the kept records of `source` in their order, then the added ones."""
        for record, fate in zip(source, self.fates, strict=True):
            if fate == KEPT:
                yield self.change(record)
        yield from self.added

    def report(self, source: Records) -> dict[str, Any]:
        """For each domain, the number of records of each fate; `added` counts the further records."""
        domains: dict[str, dict[str, int]] = {}
        for record, fate in zip(source, self.fates, strict=True):
            counts = domains.setdefault(record.domain, {KEPT: 0})
            counts[fate] = counts.get(fate, 0) + 1
        for record in self.added:
            counts = domains.setdefault(record.domain, {KEPT: 0})
            counts["added"] = counts.get("added", 0) + 1
        return {
            "of": len(self.fates),
            "kept": self.fates.count(KEPT),
            "added": len(self.added),
            "domains": domains,
            **self.facts,
        }


class Selection(Baseline):
    """A baseline that trains a vanilla PRM on its own training set, made from the run's."""

    @abstractmethod
    def select(self, data: SelectionData) -> Selected:
        """The training set.

        Raises:
            UserError: the data does not allow the selection.
        """


@dataclass(frozen=True)
class UpperLevel:
    """What alpha is and how it moves.

    Attributes:
        weights: maps alpha to the weights of the inner losses.
        alpha: its initial value.
        estimator: computes alpha's gradient.
        optimizer: moves alpha along the gradient.
        moves: whether it does; with False, alpha keeps its initial value.
        reference: params of another model through which the run's batches pass too.
    """

    weights: Weights
    alpha: dict[str, Tensor]
    estimator: Estimator
    optimizer: UpperOptimizer
    moves: bool = True
    reference: Mapping[str, Tensor] = field(default_factory=dict)


class Weighting(Baseline):
    """A baseline that weights the domains by a rule other than the meta loss's hypergradient."""

    @abstractmethod
    def upper_level(self, domains: Sequence[str], *, seed: int, prm: nn.Module) -> UpperLevel:
        """The run's upper level.

        Args:
            domains: names in the order of the batches' domain indices.
            seed: the run's seed.
            prm: the model before its first step, on the device where it will be trained.

        Raises:
            UserError: what the settings name cannot be read or does not fit the run.
        """
