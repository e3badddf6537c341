"""The sandbox's scripted reasoner as a generator that works on a generated world's files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import LARGEST_SEED, setting
from dreamprm.files.content import FileDigests
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling

if TYPE_CHECKING:
    from dreamprm.sandbox.reasoner import Errors, ScriptedReasoner

ERRORS = ("training", "other", "none")


@dataclass
class SandboxGenerator(Generator):
    """Writes five-stage chains of thought about a sandbox world's images, with errors that repeat.

    Use it to try out labelling and search without a model: it does thousands of rollouts per second, and the
    truth is known. It looks up the image's scene where a model would see pixels, and errs at the rates set by
    `errors`, whatever the temperature. A token is a word; `stop` and `max_tokens` end a text as a model's.

    Args:
        folder: a world made by `dreamprm sandbox`; images are given by their paths in it.
        seed: selects the reasoner; another seed falls into other traps on the same questions. The world's own
            step records were written with the world's seed.
        errors: "training" (those of the world's training sets), "other" (other mistakes at other rates), or
            "none".

    Raises:
        UserError: unknown errors; a folder without a world, or with one made before worlds stored their
            scenes.
    """

    folder: str = setting(
        MISSING, "a world made by `dreamprm sandbox`; images are given by their paths in it"
    )
    seed: int = setting(
        0,
        "selects the reasoner; another seed falls into other traps on the same questions",
        maximum=LARGEST_SEED,
    )
    errors: str = setting(
        "training",
        "those of the world's training sets, other mistakes at other rates, or none",
        choices=ERRORS,
    )
    _reasoner: ScriptedReasoner = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from dreamprm.sandbox.reasoner import ScriptedReasoner
        from dreamprm.sandbox.scene_file import SCENES, read_scenes

        check_settings(self)
        errors = _errors(self.errors)
        path = Path(self.folder) / SCENES
        try:
            scenes = read_scenes(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.folder} is not a sandbox world with its scenes: {path} cannot be read "
                f"({type(error).__name__}: {error}); make one with `dreamprm sandbox`, or make an older one "
                "again, as worlds did not always contain this file"
            ) from error
        self._root = os.path.realpath(self.folder)
        self._reasoner = ScriptedReasoner(scenes, errors=errors, seed=self.seed)
        self._known = scenes.keys()

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        """See `Generator.complete_all`.

        A request is refused if it contains no question of this world, or if its prefix is not one of its
        chains of thought.

        Raises:
            UserError: an image is not one of the world's.
        """
        return [self._complete(request, sampling) for request in requests]

    def contents(self, digests: FileDigests) -> dict[str, dict[str, str | None]]:
        """See `Generator.contents`."""
        from dreamprm.sandbox.scene_file import SCENES

        return {"folder": {str(SCENES): digests.found(Path(self.folder) / SCENES)}}

    def describe(self) -> dict[str, str]:
        """See `Generator.describe`."""
        return {
            "folder": self.folder,
            "seed": str(self.seed),
            "errors": self.errors,
            "prefixes": "continued step by step",
        }

    def _complete(self, request: Request, sampling: Sampling) -> list[Completion] | GenerationError:
        known = replace(request, images=tuple(self._in_world(image) for image in request.images[:1]))
        if not known.images:
            raise UserError(
                "the sandbox generator was given a question without an image; give it the "
                f"questions in {self.folder}/questions"
            )
        try:
            (result,) = self._reasoner.complete_all([known], sampling)
        except ValueError as error:  # no question of this world, or a prefix that it did not write
            return GenerationError(str(error), refused=True)
        return result

    def _in_world(self, image: str) -> str:
        """The image's path as in the world's files, from one that is absolute or relative to the folder."""
        for path in (image, os.path.join(self._root, image)):
            inside = os.path.relpath(os.path.realpath(path), self._root)
            if inside in self._known:
                return inside
        raise UserError(
            f"the sandbox generator knows no scene for the image {image!r}; give it the "
            f"questions in {self.folder}/questions, or set folder to the world it belongs to"
        )


def _errors(name: str) -> Errors:
    from dreamprm.sandbox.reasoner import NO_ERRORS, OTHER_ERRORS, TRAINING_ERRORS

    known = dict(zip(ERRORS, (TRAINING_ERRORS, OTHER_ERRORS, NO_ERRORS), strict=True))
    if name not in known:
        raise UserError(f"errors must be one of {', '.join(ERRORS)}, got {name!r}")
    return known[name]
