"""How often the right/wrong flags that a file brings agree with our verdicts, and where they do not.

Low agreement says that a file is read wrongly: another question file, a short field in the response's place,
answers to other questions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamprm.answers import Judgement, build_checker
from dreamprm.data.records import CandidateRecord, QuestionRecord
from dreamprm.files.atomic import write_lines_atomically
from dreamprm.generators.prompting import asked_question

LISTED = 1000
"""How many disagreements are kept; the others are only counted."""

COMPARED = 300
"""How many flagged candidates of each generator a conversion compares, since comparing takes time."""

_CLOSE = 0.9  # agreement below this, or shares of right answers further apart, suggest a reading error

_LONGEST = 2000  # characters of a response in the list


@dataclass
class FlagAgreement:
    """Counts by file, and the disagreements.

    Attributes:
        counts: for each file with flags, how many of its rows `agree`, `disagree` or are `undecided` by us.
        right: for each file, how many rows are right by its flags (`published`) and by us (`ours`).
        listed: the first thousand disagreements, as JSON values.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    right: dict[str, Counter[str]] = field(default_factory=dict)
    listed: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        file: str,
        flag: bool,
        judgement: Judgement,
        question: QuestionRecord,
        *,
        response: str,
        generator: str | None,
        line: int | None = None,
    ) -> None:
        """Compare one flag with our verdict on the same response.

        Args:
            file: the name under which it is counted.
            flag: whether the file says that the response is right.
            judgement: our verdict.
            question: the question that it answers.
            response, generator, line: as the file gives them, for the list.
        """
        ours = judgement.verdict
        kind = "undecided" if ours == "undecided" else "agree" if flag == (ours == "right") else "disagree"
        self.counts.setdefault(file, Counter())[kind] += 1
        self.right.setdefault(file, Counter()).update(published=flag, ours=ours == "right")
        if kind != "disagree" or len(self.listed) >= LISTED:
            return
        place = {"file": file} | ({} if line is None else {"line": line})
        self.listed.append(
            place
            | {
                "id": question.id,
                "generator": generator,
                "published": "right" if flag else "wrong",
                "ours": ours,
                "reason": judgement.reason,
                "extracted": judgement.extracted,
                "answer": question.answer,
                "response": response[:_LONGEST],
            }
        )

    @property
    def disagreements(self) -> int:
        """How many rows disagree, listed or not."""
        return sum(counts["disagree"] for counts in self.counts.values())

    def lines(self) -> list[str]:
        """One line per file with flags; it says so if flags and verdicts are far apart."""
        lines = []
        for file, counts in self.counts.items():
            decided, total = counts["agree"] + counts["disagree"], counts.total()
            agreement = counts["agree"] / decided if decided else 0.0
            flagged, ours = (self.right[file][name] / total for name in ("published", "ours"))
            line = (
                f"{file}: its own flags and our verdicts: {counts['agree']:,} agree, "
                f"{counts['disagree']:,} disagree, {counts['undecided']:,} undecided (agreement "
                f"{agreement:.1%} of the decided; right by its flags {flagged:.1%}, by ours {ours:.1%})"
            )
            if agreement < _CLOSE or abs(flagged - ours) > 1 - _CLOSE:
                line += (
                    "; far apart: check that the questions are those of these answers, and which field is "
                    "the response"
                )
            lines.append(line)
        return lines

    def write(self, path: Path) -> str | None:
        """Write the listed disagreements as JSON Lines, or remove an older list if there are none.

        Returns:
            A line that says where they are; None if there are none.
        """
        if not self.listed:
            path.unlink(missing_ok=True)
            return None
        write_lines_atomically(path, (json.dumps(row, ensure_ascii=True) + "\n" for row in self.listed))
        more = self.disagreements - len(self.listed)
        return f"{path}: {len(self.listed):,} disagreements" + (
            f"; {more:,} more are not listed" * bool(more)
        )


def compared(records: Iterable[CandidateRecord], flags: FlagAgreement) -> Iterator[CandidateRecord]:
    """The records, unchanged, while the flags of each generator's first `COMPARED` candidates are compared.

    Our verdicts are those of `dreamprm.answers` (kind auto, no judge).

    Args:
        records: as converted from another project's file.
        flags: filled in, by generator.
    """
    checker = None
    try:
        for record in records:
            question = None
            for candidate in record.candidates:
                name = str(candidate.generator)
                if candidate.correct is None or flags.counts.get(name, Counter()).total() >= COMPARED:
                    continue
                checker = checker or build_checker("auto")
                question = question or asked_question(record)
                judgement = checker.check(candidate.text, question)
                flags.add(
                    name,
                    candidate.correct,
                    judgement,
                    question,
                    response=candidate.text,
                    generator=candidate.generator,
                )
            yield record
    finally:
        if checker is not None:
            checker.close()
