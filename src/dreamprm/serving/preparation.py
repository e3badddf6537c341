"""From a request's texts to work for the model: limits, images decoded, tokens counted; in threads apart."""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from PIL import Image

from dreamprm.config.errors import UserError
from dreamprm.data.image_decoder import WHITE, ImageError, open_image
from dreamprm.scorers.base import ScoringTask, StepScorer
from dreamprm.scorers.local import LocalScorer
from dreamprm.serving.batching import Work
from dreamprm.serving.request_forms import GivenTask, RequestError
from dreamprm.serving.settings import LimitSettings

_DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w.+=-]+)*;base64,", re.IGNORECASE)
_SPACE = str.maketrans("", "", " \t\r\n")
_TOKENS_PER_IMAGE = 1024
"""Where no processor says how many an image has: as a Qwen-VL shows one of 0.8 megapixels."""
_CHARACTERS_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task that can be scored.

    Attributes:
        work: what goes to the model; None if no candidate can be scored.
        places: of each of its candidates, the number in the request.
        errors: why the others have no scores, by number.
        count: of all candidates.
    """

    work: Work | None
    places: tuple[int, ...]
    errors: dict[int, str]
    count: int


@dataclass(frozen=True, slots=True)
class _Shown:
    """An image: the key of its content, for a scorer, and as the processor takes it."""

    key: str
    image: Image.Image
    pixels: np.ndarray


class Preparation:
    """Checks tasks against the limits and makes them ready; for several threads at once.

    Args:
        scorer: a model in this process counts tokens and says how large images are shown; of others, tokens
            are estimated from the texts' lengths.
        limits: of a request.
        memory: bytes of decoded images that are kept, since the candidates of a question often come in
            requests of their own, each with its images.
    """

    def __init__(self, scorer: StepScorer, limits: LimitSettings, *, memory: int = 256 << 20) -> None:
        self._processor = scorer.prm.processor if isinstance(scorer, LocalScorer) else None
        self._limits = limits
        self._memory, self._bytes = memory, 0
        self._held: OrderedDict[str, _Shown] = OrderedDict()
        self._mutex = threading.Lock()

    def prepare(self, tasks: Sequence[GivenTask]) -> list[Prepared]:
        """Every task of a request.

        Raises:
            RequestError: the request holds too much, or an image cannot be used.
        """
        most, count = self._limits.candidates, sum(len(task.candidates) for task in tasks)
        if count > most:
            raise RequestError(
                422, f"a request may have at most {most:,} candidates (limits.candidates), got {count:,}"
            )
        return [self._prepared(task) for task in tasks]

    def _prepared(self, task: GivenTask) -> Prepared:
        if len(task.images) > self._limits.images:
            raise RequestError(
                422,
                f"{task.named('images')}: a question may have at most {self._limits.images} images "
                f"(limits.images), got {len(task.images)}",
            )
        shown = [
            self._image(text, task.named(f"images[{number}]")) for number, text in enumerate(task.images)
        ]
        errors: dict[int, str] = {}
        kept: list[tuple[int, tuple[str, ...]]] = []
        total = 0
        for number, steps in enumerate(task.candidates):
            try:
                total += self._tokens(task.question, shown, steps)
                kept.append((number, steps))
            except UserError as error:
                errors[number] = str(error)
        if not kept:
            return Prepared(None, (), errors, len(task.candidates))
        work = Work(
            ScoringTask(task.question, tuple(one.image for one in shown), tuple(steps for _, steps in kept)),
            (task.question, *(one.key for one in shown)),
            total,
        )
        return Prepared(work, tuple(number for number, _ in kept), errors, len(task.candidates))

    def _tokens(self, question: str, images: Sequence[_Shown], steps: tuple[str, ...]) -> int:
        """The tokens of a candidate.

        Raises:
            UserError: no step, too many, too many tokens, or a text that cannot be encoded.
        """
        if not steps:
            raise UserError("has no steps; a candidate needs at least one")
        if len(steps) > self._limits.steps:
            raise UserError(f"has {len(steps):,} steps; at most {self._limits.steps:,} (limits.steps)")
        most = self._limits.tokens
        characters = len(question) + sum(map(len, steps))
        if characters > 64 * most:  # not worth the time to be tokenised
            raise UserError(f"has {characters:,} characters, far more than {most:,} tokens (limits.tokens)")
        if self._processor is None:
            longest = total = characters // _CHARACTERS_PER_TOKEN + _TOKENS_PER_IMAGE * len(images)
        else:
            rows = self._processor.encode(question, [one.pixels for one in images], steps).rows
            total = sum(len(row.input_ids) for row in rows)
            longest = max(len(row.input_ids) for row in rows)
        if longest > most:
            raise UserError(f"has {longest:,} tokens; at most {most:,} (limits.tokens)")
        return total

    def _image(self, text: str, place: str) -> _Shown:
        """An image, at the size at which the model sees it if that is known."""
        key = sha256(text.encode()).hexdigest()
        with self._mutex:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        ground = WHITE if self._processor is None else self._processor.settings.image_ground
        most = self._limits.image_pixels
        try:
            image = open_image(_content(text), ground=ground, most_pixels=most).image
            if self._processor is None:
                pixels = np.asarray(image)
            else:
                pixels = self._processor.patcher.resized(image)
                image = Image.fromarray(pixels.transpose(1, 2, 0))  # (3, height, width) to (height, width, 3)
        except ImageError as error:
            raise RequestError(422, f"{place} {error.reason}") from None
        except UserError as error:
            raise RequestError(422, f"{place} {error}") from None
        shown = _Shown(key, image, pixels)
        with self._mutex:
            if key not in self._held and 2 * pixels.nbytes <= self._memory:
                self._held[key] = shown
                self._bytes += 2 * pixels.nbytes
                while self._bytes > self._memory:
                    _, oldest = self._held.popitem(last=False)
                    self._bytes -= 2 * oldest.pixels.nbytes
        return shown


def _content(text: str) -> bytes:
    """The bytes of an image given as a data URL or as base64.

    Raises:
        UserError: it is neither.
    """
    found = _DATA_URL.match(text)
    coded = text[found.end() :] if found is not None else text
    if found is None and re.match(r"[A-Za-z][A-Za-z0-9+.-]{1,20}:", text):
        scheme = text.partition(":")[0].lower()
        if scheme == "data":
            raise UserError("is a data URL that is not base64; write data:image/png;base64,...")
        raise UserError(
            f"is a {scheme} address, which this server does not fetch; send the image as a data URL"
        )
    try:
        content = base64.b64decode(coded.translate(_SPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"is neither a data URL nor base64: {error}") from None
    if not content:
        raise UserError("is empty; send the image as a data URL or as base64")
    return content
