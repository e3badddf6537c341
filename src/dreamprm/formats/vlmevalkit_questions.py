"""Questions of a benchmark as VLMEvalKit's TSV files hold them, with their images."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path

from dreamprm.data.fields import Fields
from dreamprm.formats.answer_fields import option_columns, parsed_list
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.prompting import question_text

_LONGEST_REFERENCE = 64
"""A shorter `image` is no base64 but the index of the row that has it (VLMEvalKit's own rule)."""


@dataclass(frozen=True)
class _Question:
    text: str
    answer: str
    images: tuple[str, ...]
    same_image_as: str | None


class BenchmarkQuestions:
    """Questions by index; images in base64 are written to a folder as they come.

    Args:
        folder: where embedded images go.
        image_root: what image paths start from; None for the table's folder.
    """

    def __init__(self, folder: ImageFolder, image_root: str | Path | None) -> None:
        self._folder, self._root = folder, image_root
        self._questions: dict[str, _Question] = {}

    def __contains__(self, index: str) -> bool:
        return index in self._questions

    def question(self, index: str) -> str:
        """The question with its hint and its options."""
        return self._questions[index].text

    def answer(self, index: str) -> str:
        """The reference answer: of a question with options the letter."""
        return self._questions[index].answer

    def images(self, index: str) -> tuple[str, ...]:
        """Paths of the question's images; of a row that refers to another one's image, that one's."""
        question = self._questions[index]
        if question.same_image_as in self._questions:
            return self._questions[question.same_image_as].images
        return question.images

    def add(self, fields: Fields) -> None:
        """Add a row: `index`, `question`, `answer`, options `A`, `B`, ..., `hint`, `image`, `image_path`.

        Raises:
            DataError: a missing question or answer, options with a gap, or an image that is none.
            UserError: an image in base64, and no folder to write it to.
        """
        index = cell_text(fields, "index")
        if index is None:
            raise fields.error("index", "the question's index")
        question, answer = cell_text(fields, "question"), cell_text(fields, "answer")
        if question is None:
            raise fields.error("question", "a text that is not empty")
        if answer is None:
            raise fields.error("answer", "the reference answer, without which there are no candidate records")
        hint = cell_text(fields, "hint")
        images, other = self._images(fields)
        text = question_text(question if hint is None else f"{hint}\n{question}", option_columns(fields))
        self._questions[index] = _Question(text, answer, images, other)

    def _images(self, fields: Fields) -> tuple[tuple[str, ...], str | None]:
        """The row's images, and the index of the row that has them where this one only names it."""
        encoded = _several(fields, "image")
        if len(encoded) == 1 and len(encoded[0]) <= _LONGEST_REFERENCE:
            return (), encoded[0]
        if encoded:
            return tuple(self._folder.embed(fields, "image", _decoded(fields, one)) for one in encoded), None
        root = os.path.abspath(fields.path.parent if self._root is None else self._root)
        paths = _several(fields, "image_path")
        found = (os.path.join(root, path) for path in paths)
        return tuple(
            place if os.path.isfile(place) else path for place, path in zip(found, paths, strict=True)
        ), None


def _several(fields: Fields, name: str) -> list[str]:
    """A cell with one text, or with a list of them in Python's or JSON's notation."""
    value = fields.values.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parsed_list(value)
        if not isinstance(value, list):
            raise fields.error(name, "a text, or a list of texts such as ['a', 'b']")
    if isinstance(value, list):
        if not all(isinstance(item, str) and item.strip() for item in value):
            raise fields.error(name, "a list of texts that are not empty")
        return value
    text = cell_text(fields, name)
    return [] if text is None else [text]


def _decoded(fields: Fields, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded.partition("base64,")[2] or encoded, validate=True)
    except binascii.Error:
        raise fields.error("image", "the bytes of an image file in base64") from None
