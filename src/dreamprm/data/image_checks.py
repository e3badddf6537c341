"""Whether images can be read, and how large they are: found once for each content, kept between commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL

from dreamprm.config.errors import UserError
from dreamprm.data.image_decoder import ImageError, open_image
from dreamprm.files.atomic import make_folder, write_atomically
from dreamprm.files.content import FileDigests
from dreamprm.files.json_values import parse_json

_FORM = 1
_SAVE_EVERY = 5000  # images: what an interruption loses at most


@dataclass(frozen=True)
class ImageFacts:
    """What reading an image has found.

    Attributes:
        width, height: in pixels, upright; 0 if it cannot be read.
        problem: why it cannot be read, without its name; None if it can.
        cut_off: why it could only be read as far as it goes; None if it is whole.
    """

    width: int = 0
    height: int = 0
    problem: str | None = None
    cut_off: str | None = None

    @classmethod
    def of(cls, path: str) -> ImageFacts:
        """Decode an image, which a header alone does not show to be whole."""
        try:
            found = open_image(path, truncated=True)
        except ImageError as error:
            return cls(problem=error.reason)
        return cls(found.image.width, found.image.height, cut_off=found.cut_off)

    def unreadable(self, *, truncated: bool) -> str | None:
        """Why it cannot be used; with `truncated`, images that are cut off can."""
        return self.problem if truncated or self.problem is not None else self.cut_off


class ImageFactsFile:
    """The facts of images by what they hold, kept in one file that runs and processes may share.

    A process that ends while another one writes may replace what that one has added: it is found again then.

    Args:
        path: the file; a damaged one is made anew. None: facts are kept in memory alone.
        say: receives a line if it cannot be written.
    """

    def __init__(self, path: Path | None, *, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._made_by = [_FORM, PIL.__version__]
        self._known = self._stored()

    def get(self, digest: str) -> ImageFacts | None:
        """The facts of an image, if they are known."""
        row = self._known.get(digest)
        return None if row is None else ImageFacts(*row)

    def add(self, found: Mapping[str, ImageFacts]) -> None:
        """Keep facts by digest."""
        for digest, facts in found.items():
            self._known[digest] = [facts.width, facts.height, facts.problem, facts.cut_off]
        if self._path is None:
            return
        self._known = {**self._stored(), **self._known}
        try:
            make_folder(self._path.parent)
            write_atomically(self._path, json.dumps({"made_by": self._made_by, "images": self._known}))
        except (OSError, UserError) as error:  # for example, a cache that may only be read
            self._say(f"what was found of images cannot be kept ({error}); the next start checks them again")

    def _stored(self) -> dict[str, list[Any]]:
        if self._path is None:
            return {}
        try:
            content = parse_json(self._path.read_bytes())
            if content["made_by"] != self._made_by:
                return {}
            return {digest: row for digest, row in content["images"].items() if _is_row(row)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def _is_row(row: Any) -> bool:
    """Whether a value can be the facts of an image: a size, or the reason why it has no size."""
    if not isinstance(row, list) or len(row) != 4:
        return False
    *sizes, problem, cut_off = row
    least = 0 if problem is not None else 1
    return all(type(size) is int and size >= least for size in sizes) and all(
        text is None or isinstance(text, str) for text in (problem, cut_off)
    )


def image_facts(
    paths: Sequence[str],
    *,
    file: ImageFactsFile,
    digests: FileDigests,
    decode: Callable[[Sequence[str]], Iterator[ImageFacts]],
) -> dict[str, ImageFacts]:
    """The facts of images by path; those of a content that is not known yet are found now.

    Args:
        paths: of the images.
        file: what is known.
        digests: of the running command.
        decode: `ImageFacts.of` of several images, in order, such as `in_turn`.
    """
    held = digests.of_all(paths)
    facts: dict[str, ImageFacts] = {}
    missing: dict[str, str] = {}  # path by digest
    for path, digest in held.items():
        known = None if digest is None else file.get(digest)
        if known is not None:
            facts[path] = known
        elif digest is not None:
            missing.setdefault(digest, path)
    found: dict[str, ImageFacts] = {}
    waiting = iter(missing)
    try:
        for one in decode(list(missing.values())):
            found[next(waiting)] = one
            if len(found) % _SAVE_EVERY == 0:
                file.add(found)
    finally:
        if found:
            file.add(found)
    for path, digest in held.items():
        if path not in facts:
            facts[path] = ImageFacts.of(path) if digest is None else found[digest]
    return facts


def in_turn(paths: Iterable[str]) -> Iterator[ImageFacts]:
    """The facts of images, one after another in this process."""
    return map(ImageFacts.of, paths)
