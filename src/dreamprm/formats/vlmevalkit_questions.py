"""A benchmark's questions, with their images, from VLMEvalKit's TSV files."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path

from dreamprm.data.fields import Fields
from dreamprm.data.image_paths import LEAVES, image_path
from dreamprm.formats.answer_fields import option_columns, parsed_list
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.prompting import question_text

_LONGEST_REFERENCE = 64
"""An `image` no longer than this is the index of the row with the image, not base64 (VLMEvalKit's rule)."""


@dataclass(frozen=True)
class _Question:
    text: str
    answer: str
    images: tuple[str, ...]
    same_image_as: str | None


class BenchmarkQuestions:
    """Questions by index; base64 images are written to a folder as rows are added.

    Args:
        folder: where embedded images are written.
        image_root: the folder that image paths are relative to; None: the table's folder.
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
        """The reference answer; for a question with options, the letter."""
        return self._questions[index].answer

    def images(self, index: str) -> tuple[str, ...]:
        """Paths of the question's images; a row may refer to the images of another row."""
        question = self._questions[index]
        if question.same_image_as in self._questions:
            return self._questions[question.same_image_as].images
        return question.images

    def add(self, fields: Fields) -> None:
        """Add a row: `index`, `question`, `answer`, options `A`, `B`, ..., `hint`, `image`, `image_path`.

        Raises:
            DataError: a missing question or answer, options with a gap, or an invalid image.
            UserError: an image in base64, but no folder to write it to.
        """
        index = cell_text(fields, "index")
        if index is None:
            raise fields.error("index", "the question's index")
        question, answer = cell_text(fields, "question"), cell_text(fields, "answer")
        if question is None:
            raise fields.error("question", "a non-empty text")
        if answer is None:
            raise fields.error("answer", "the reference answer, which candidate records need")
        hint = cell_text(fields, "hint")
        images, other = self._images(fields)
        text = question_text(question if hint is None else f"{hint}\n{question}", option_columns(fields))
        self._questions[index] = _Question(text, answer, images, other)

    def _images(self, fields: Fields) -> tuple[tuple[str, ...], str | None]:
        """The row's images, or the index of the row that has them if this one only refers to it."""
        encoded = _several(fields, "image")
        if len(encoded) == 1 and len(encoded[0]) <= _LONGEST_REFERENCE:
            return (), encoded[0]
        if encoded:
            return tuple(self._folder.embed(fields, "image", _decoded(fields, one)) for one in encoded), None
        root = os.path.abspath(fields.path.parent if self._root is None else self._root)
        paths = _several(fields, "image_path")
        images = []
        for path in paths:
            place, outside = image_path(root, path, allow_outside=self._folder.allow_outside)
            there = os.path.isfile(place)
            if there and outside is not None:
                raise fields.error(
                    "image_path",
                    f"an image inside its folder (this {outside}; set image_root, or {LEAVES})",
                    path,
                )
            images.append(place if there else path)
        return tuple(images), None


def _several(fields: Fields, name: str) -> list[str]:
    """The texts in a cell: one text, or a list in Python or JSON notation."""
    value = fields.values.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parsed_list(value)
        if not isinstance(value, list):
            raise fields.error(name, "a text, or a list of texts such as ['a', 'b']")
    if isinstance(value, list):
        if not all(isinstance(item, str) and item.strip() for item in value):
            raise fields.error(name, "a list of non-empty texts")
        return value
    text = cell_text(fields, name)
    return [] if text is None else [text]


def _decoded(fields: Fields, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded.partition("base64,")[2] or encoded, validate=True)
    except binascii.Error:
        raise fields.error("image", "the bytes of an image file in base64") from None
