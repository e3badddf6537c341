"""The keys of rollouts: under which names the journal has them, which are asked for together, their seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dreamprm.generators.base import sequence_seed
from dreamprm.labelling.jobs import Want
from dreamprm.labelling.journal import Journal, Key


@dataclass(frozen=True)
class JournalNames:
    """The names under which a journal has questions that have another id now.

    Usually it is the question's id. But ids may be numbers of rows, which change if a row is inserted: then
    the content finds the rollouts, under a name that no other question of this content has.

    Attributes:
        names: by question id, where the name is another.
        there: how many of the questions the journal has.
        unused: chains of the journal that belong to none of them.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    there: int = 0
    unused: int = 0

    @classmethod
    def of(cls, ids: Sequence[str], asked: Sequence[Sequence[str]], journal: Journal) -> JournalNames:
        """The names of questions in a journal.

        Args:
            ids: of the questions.
            asked: for each of them, what its job asks first: now, and as version 0.2.0 and older asked it.
        """
        chains = journal.chains()
        found: dict[str, str] = {}
        names = {text: journal.questions(text) for texts in asked for text in texts}  # not yet taken
        held = [any(id in names[text] for text in texts) for id, texts in zip(ids, asked, strict=True)]
        for id, texts, is_held in zip(ids, asked, held, strict=True):
            for text in texts if is_held else ():
                names[text].discard(id)
        for number, (id, texts) in enumerate(zip(ids, asked, strict=True)):
            others = {name for text in texts[:2] for name in names[text]}
            if not held[number] and others:
                found[id] = min(others)
                held[number] = True
                for text in texts:
                    names[text].discard(found[id])
        unused = sum(chains.values()) - sum(chains.get(text, 0) for text in names)
        return cls(found, sum(held), unused)

    def named(self, want: Want) -> Want:
        """The want with the keys under which the journal has its question."""
        name = self.names.get(want.keys[0].question)
        if name is None:
            return want
        return replace(want, keys=tuple(key._replace(question=name) for key in want.keys))


def consecutive(keys: Sequence[Key]) -> Iterator[tuple[Key, ...]]:
    """The keys, divided where their numbers are not consecutive: a request asks for samples in a row."""
    begin = 0
    for end in range(1, len(keys) + 1):
        if end == len(keys) or number_of(keys[end]) != number_of(keys[end - 1]) + 1:
            yield tuple(keys[begin:end])
            begin = end


def number_of(key: Key) -> int:
    """The number of a rollout among those of its prefix; the chains of a question are those of no prefix."""
    return key.rollout if key.step else key.cot


def seed_of(seed: int, key: Key) -> int:
    """The seed of a prefix's rollout 0, which depends on its key alone."""
    return sequence_seed(f"{seed}/{key.question}/{key.cot if key.step else 0}/{key.step}/0")
