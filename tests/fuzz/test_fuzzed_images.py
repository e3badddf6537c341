"""Image paths and images' bytes at random: a path stays in its folder, a file is a picture or one error."""

from __future__ import annotations

import io
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import fuzz
from hypothesis import strategies as st
from mutations import by_seed, damage, odd_text
from PIL import Image

from dreamprm.config.errors import UserError
from dreamprm.data.image_checks import ImageFacts
from dreamprm.data.image_decoder import ImageError, open_image
from dreamprm.data.image_paths import image_path

_PARTS = (
    *(
        "..",
        ".",
        "",
        "in",
        "in/deep",
        "i.png",
        "out",
        "self",
        "up",
        "loop",
        "broken",
        "file.png",
        "dir",
        "...",
    ),
    *("/", "//", "~", "in/../..", "up/..", "self/self", "I.PNG", " ", "root", "ROOT", "outer", "root2"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of images with links: within it, out of it, to nothing, in a circle."""
    folder = tmp_path / "outer" / "root"
    (folder / "in" / "deep").mkdir(parents=True)
    (tmp_path / "outer" / "root2").mkdir()
    for place in (
        folder,
        folder / "in",
        folder / "in" / "deep",
        tmp_path,
        tmp_path / "outer",
        folder.parent / "root2",
    ):
        Image.new("RGB", (1, 1)).save(place / "i.png")
    links = {
        "out": "../..",
        "self": ".",
        "up": "..",
        "loop": "loop",
        "broken": "none",
        "file.png": "../i.png",
    }
    for name, target in (links | {"dir": "in/deep"}).items():
        (folder / name).symlink_to(target)
    (folder / "in" / "up").symlink_to("../..")
    return folder


def test_path(root: Path) -> None:
    """A path is accepted just if what it leads to is in the folder; allowed outside, it is as written."""

    def check(given: tuple[str, list[str]]) -> None:
        written = given[0].replace("@", str(root)) + "/".join(given[1])
        path, problem = image_path(str(root), written, allow_outside=False)
        assert image_path(str(root), written, allow_outside=True) == (os.path.join(root, written), None)
        if problem is None:
            assert Path(os.path.realpath(path)).is_relative_to(root.resolve()), path

    def must_accept(parts: list[str]) -> None:
        """No path below a folder without links or dots is refused."""
        assert image_path(str(root), "/".join(parts), allow_outside=False)[1] is None

    def given(chance: Random) -> tuple[str, list[str]]:
        parts = [chance.choice(_PARTS) if chance.random() < 0.8 else odd_text(chance) for _ in range(5)]
        start = chance.choice(("", "", "", "/", "@/", "@/../", "@2/", "@/in/"))
        return start, parts[: chance.randrange(6)]

    known = [{"given": ("", [part])} for part in ("\0", "\ud83d", "broken/in/../../file.png")]
    fuzz(check, few=60, given=by_seed(given), known=known)
    names = st.text("abc .\u00e9", min_size=1, max_size=5).filter(lambda name: set(name) - {"."})
    fuzz(must_accept, few=20, parts=st.lists(names, min_size=1, max_size=4))


def _pictures() -> dict[str, bytes]:
    """Small valid files of many formats, with metadata that a decoder looks at."""
    colour = Image.effect_noise((9, 7), 60).convert("RGB")
    clear = colour.convert("RGBA")
    clear.putalpha(100)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.new("I;16", (5, 4), 40000)
    forms: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "PNG": (clear, {}),
        "PNG 16": (deep, {"format": "PNG"}),
        "PNG key": (colour.quantize(8), {"format": "PNG", "transparency": 1}),
        "JPEG": (colour, {"exif": exif}),
        "JPEG progressive": (colour, {"format": "JPEG", "progressive": True}),
        "GIF": (colour.quantize(4), {"save_all": True, "append_images": [colour], "transparency": 0}),
        "WEBP": (clear, {"lossless": True}),
        "TIFF": (deep, {}),
        "TIFF lzw": (colour, {"format": "TIFF", "compression": "tiff_lzw"}),
        "TIFF float": (Image.new("F", (4, 4), 0.5), {"format": "TIFF"}),
        "BMP": (colour, {}),
        "ICO": (clear, {}),
        "TGA": (clear, {}),
        "PPM": (colour, {}),
        "PCX": (colour, {}),
        "SGI": (colour, {}),
        "DDS": (clear, {}),
        "ICNS": (clear.resize((32, 32)), {}),
        "EPS": (colour, {}),
        "MPO": (colour, {"save_all": True, "append_images": [colour]}),
        "PDF": (colour, {}),
    }  # fmt: skip
    made = {}
    for name, (image, options) in forms.items():
        file = io.BytesIO()
        image.save(file, **{"format": name.partition(" ")[0], **options})
        made[name] = file.getvalue()
    return made


def test_bytes(tmp_path: Path) -> None:
    """Any bytes are an image in RGB, the same in both ways to give them, or one error that names the file."""
    pictures = _pictures()
    path = tmp_path / "picture"

    def check(content: bytes, truncated: bool, side: int | None) -> None:
        path.write_bytes(content)
        found: list[Any] = []
        for source in (str(path), content):
            try:
                opened = open_image(source, truncated=truncated, side=side)
            except UserError as error:
                assert isinstance(error, ImageError) and error.reason.strip() and error.name in str(error)
                found.append(None)
            else:
                assert opened.image.mode == "RGB" and min(opened.image.size) >= 1 and not opened.image.info
                assert truncated or opened.cut_off is None
                found.append(opened.image.tobytes())
        assert found[0] == found[1]
        facts = ImageFacts.of(str(path))
        if side is None:
            assert (facts.unreadable(truncated=truncated) is None) == (found[0] is not None)

    def content(chance: Random) -> bytes:
        if chance.random() < 0.1:
            return chance.randbytes(chance.randrange(60))
        return damage(chance, pictures[chance.choice(sorted(pictures))], most=3)

    sides = st.none() | st.integers(1, 12)
    fuzz(check, few=40, content=by_seed(content), truncated=st.booleans(), side=sides)
