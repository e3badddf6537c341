"""What a rollout belongs to: all that determines its text, and all that determines its verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dreamprm.data.records import QuestionRecord
from dreamprm.files.content import FileDigests, content_key, image_contents
from dreamprm.labelling.jobs import Want
from dreamprm.labelling.journal import ASKED


@dataclass(frozen=True)
class QuestionContent:
    """One question's part of the inputs.

    Attributes:
        asked: of prompt and images, and the generator with its sampling.
        judged: of the question and its right answer, and the checker.
        images: paths of the images, which must stay what they are.
        before: the same as version 0.2.0 put it, which left out images and generator.
    """

    asked: str
    judged: str
    images: Sequence[str]
    before: Sequence[Any]

    def input(self, want: Want) -> str:
        """32 hexadecimal digits: 16 of what is asked, 16 of how the answer is judged."""
        asked = content_key([self.asked, want.prefix, want.given])
        return asked[:ASKED] + content_key([self.judged, want.correct])[:ASKED]

    def old_input(self, want: Want) -> str:
        """16 hexadecimal digits, as in journals of version 0.2.0."""
        prompt, *answer = self.before
        whole = (prompt, want.prefix, want.given, want.correct, *answer)
        return hashlib.sha1(repr(whole).encode()).hexdigest()[:ASKED]


@dataclass(frozen=True)
class Contents:
    """The content of questions in one run.

    Attributes:
        generator: JSON values that identify what writes the texts: `generator_identity`, sampling, seed.
        checker: JSON values that identify what judges them.
        digests: of the running command.
    """

    generator: Mapping[str, Any] = field(default_factory=dict)
    checker: Mapping[str, Any] = field(default_factory=dict)
    digests: FileDigests = field(default_factory=FileDigests)

    def of(self, question: QuestionRecord, prompt: str) -> QuestionContent:
        """The content of a question with its prompt; its id is no part of it, nor are the paths of images."""
        images = image_contents(question.images, self.digests)
        answer = (question.answer, question.answer_type, question.precision, question.unit)
        return QuestionContent(
            content_key([self.generator, prompt, images]),
            content_key([self.checker, question.question, question.options, answer]),
            question.images,
            (prompt, *answer),
        )

    def require_unchanged(self, content: QuestionContent) -> None:
        """Check that the images hold what they held.

        Raises:
            DataError: one does not.
        """
        image_contents(content.images, self.digests)
