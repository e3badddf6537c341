"""The file of what every image of a world shows: the scripted reasoner looks up what others see as pixels."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from dreamprm.files.append_only import require_fields
from dreamprm.files.json_values import parse_json
from dreamprm.sandbox.scenes import SHIFTED_STYLE, SKILLS, TRAINING_STYLE, Scene, Style

SCENES = Path("sealed", "scenes.jsonl")
_FIELDS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("left_skill", "right_skill"), "a text")
    | dict.fromkeys(("left", "right", "seed"), "a whole number >= 0")
)
_STYLES: Mapping[str, Style] = MappingProxyType({"training": TRAINING_STYLE, "shifted": SHIFTED_STYLE})


def write_scenes(path: Path, scenes: Mapping[str, Scene]) -> None:
    """Write one line per image: its path, the scene's fields, and the name of its style."""
    names = {style: name for name, style in _STYLES.items()}
    with path.open("w", encoding="utf-8") as file:
        for image, scene in scenes.items():
            row = {"image": image, **asdict(scene), "style": names[scene.style]}
            file.write(json.dumps(row) + "\n")


def read_scenes(path: Path) -> dict[str, Scene]:
    """Scenes by image path; the inverse of `write_scenes`.

    Raises:
        OSError: the file cannot be read.
        ValueError, KeyError, TypeError: it is not a scene file.
    """
    scenes: dict[str, Scene] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = parse_json(line)
            require_fields(row, {"image": "a text", "style": "a text"})
            image, style = row.pop("image"), _STYLES[row.pop("style")]
            require_fields(row, _FIELDS)
            if not {row["left_skill"], row["right_skill"]} <= set(SKILLS):
                raise ValueError(f"a skill that is none of {', '.join(SKILLS)}")
            scenes[os.path.normpath(image)] = Scene(**row, style=style)
    return scenes
