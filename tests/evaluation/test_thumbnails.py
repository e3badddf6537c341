"""Reduced copies of images: sizes, modes, and what cannot be opened."""

import io
import os

import numpy as np
import pytest
from PIL import Image
from shared_data import shared_file

from dreamprm.config.errors import DataError
from dreamprm.evaluation.thumbnails import ThumbnailFolder, thumbnail


def reduced(path, side=512) -> Image.Image:
    content, kind = thumbnail(str(path), side=side)
    image = Image.open(io.BytesIO(content))
    assert image.format == {"png": "PNG", "jpg": "JPEG"}[kind]
    return image


def test_the_longest_side_is_reduced_and_small_images_keep_theirs(tmp_path):
    Image.new("RGB", (1000, 400), "red").save(tmp_path / "wide.png")
    Image.new("RGB", (30, 40), "red").save(tmp_path / "small.png")
    assert reduced(tmp_path / "wide.png", 500).size == (500, 200)
    assert reduced(tmp_path / "wide.png", 64).size in ((64, 25), (64, 26))
    assert reduced(tmp_path / "small.png").size == (30, 40)


def test_the_smaller_encoding_is_taken_and_nothing_beside_the_pixels(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    Image.fromarray(noise).save(tmp_path / "photo.png", exif=exif)
    Image.new("RGB", (200, 200), "blue").save(tmp_path / "flat.jpg", exif=exif)
    photo, flat = reduced(tmp_path / "photo.png"), reduced(tmp_path / "flat.jpg")
    assert (photo.format, flat.format) == ("JPEG", "PNG")
    assert not photo.getexif() and not flat.getexif() and "exif" not in flat.info
    assert thumbnail(str(tmp_path / "flat.jpg"), side=90) == thumbnail(str(tmp_path / "flat.jpg"), side=90)


def made(mode: str) -> Image.Image:
    """40 x 40, a grey of 128 or, where the mode has transparency, nothing at all."""
    if mode == "transparent":
        return Image.new("RGBA", (40, 40), (128, 128, 128, 0))
    if mode == "palette, transparent":
        image = Image.new("P", (40, 40), 1)
        image.putpalette([0, 0, 0, 128, 128, 128])
        image.info["transparency"] = 1
        return image
    if mode == "16 bits":
        return Image.fromarray(np.full((40, 40), 128 * 257, dtype=np.uint16))
    if mode == "32 bits":
        return Image.fromarray(np.full((40, 40), 128, dtype=np.int32))
    if mode == "float":
        return Image.fromarray(np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40))
    grey = Image.new("RGB", (40, 40), (128, 128, 128))
    return grey.quantize(2) if mode == "P" else grey.convert(mode)


@pytest.mark.parametrize(
    "mode, suffix, wanted",
    [
        ("L", "png", 128),
        ("P", "gif", 128),
        ("RGBA", "png", 128),
        ("LA", "png", 128),
        ("CMYK", "jpg", 128),
        ("YCbCr", "jpg", 128),
        ("transparent", "png", 255),
        ("palette, transparent", "png", 255),
        ("transparent", "webp", 255),
        ("16 bits", "png", 128),
        ("16 bits", "tif", 128),
        ("32 bits", "tif", 128),
        ("float", "tif", None),
        ("1", "png", None),
    ],
)
def test_every_mode_becomes_colours_on_white(tmp_path, mode, suffix, wanted):
    path = tmp_path / f"image.{suffix}"
    made(mode).save(path)
    image = reduced(path)
    assert image.mode == "RGB" and image.size == (40, 40)
    pixels = np.asarray(image).astype(int)
    if mode == "float":  # from black to white, row by row
        assert pixels[0, 0].max() < 8 and pixels[-1, -1].min() > 247
    elif mode == "1":  # dithered
        assert abs(pixels.mean() - 128) < 8
    else:
        assert np.abs(pixels - wanted).max() <= 3  # JPEG, and CMYK's way there and back


def test_turned_pictures_are_upright_and_of_moving_ones_the_first_is_taken(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (60, 20), "red").save(tmp_path / "turned.jpg", exif=exif)
    assert reduced(tmp_path / "turned.jpg").size == (20, 60)
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(reduced(tmp_path / "moving.gif")).min() == 255


def test_what_cannot_be_opened_says_why(tmp_path, monkeypatch):
    Image.new("RGB", (300, 300), "red").save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:120])
    (tmp_path / "text.jpg").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in (
        ("absent.png", "no such file"),
        ("pipe.png", "no such file"),
        ("text.jpg", r"cannot be opened as an image \(UnidentifiedImageError\)"),
        ("cut.png", r"cannot be opened as an image \((OSError|SyntaxError)\)"),
    ):
        with pytest.raises(DataError, match=f"{name}: {reason}"):
            thumbnail(str(tmp_path / name), side=512)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 300 - 1)
    with pytest.raises(DataError, match="whole.png: has more than 89,999 pixels"):
        thumbnail(str(tmp_path / "whole.png"), side=512)


def test_a_folder_shares_equal_images_and_drops_only_its_own_old_ones(tmp_path):
    for name, colour in (("a.png", "red"), ("copy.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (50, 50), colour).save(tmp_path / name)
    folder = ThumbnailFolder(tmp_path / "kept", side=20)
    first, again, other = (folder.add(str(tmp_path / name)) for name in ("a.png", "copy.png", "b.png"))
    assert first == again != other
    whole = (tmp_path / "kept" / first).read_bytes()
    (tmp_path / "kept" / first).write_bytes(b"overwritten")
    assert folder.add(str(tmp_path / "a.png")) == first
    assert (tmp_path / "kept" / first).read_bytes() == whole
    stale = tmp_path / "kept" / f".{first}-{'0' * 32}.partial.png"
    stale.write_bytes(b"")
    (tmp_path / "kept" / "own.png").write_bytes(b"a user's")
    folder.keep_only({other})
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {other, "own.png"}
    (tmp_path / "kept" / "own.png").unlink()
    folder.keep_only(set())
    assert not (tmp_path / "kept").exists()
    folder.keep_only(set())  # nothing there is nothing to do


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    Image.new("RGB", (50, 50), "red").save(tmp_path / "a.png")

    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ThumbnailFolder(tmp_path / "kept", side=20).add(str(tmp_path / "a.png"))
    assert list((tmp_path / "kept").iterdir()) == []


def test_real_drawings_and_photographs_are_small():
    paths = sorted(shared_file("mathvision/images").glob("*.jpg"))[:20]
    assert len(paths) == 20
    made = [thumbnail(str(path), side=512) for path in paths]
    for path, (content, _) in zip(paths, made):
        with Image.open(path) as whole, Image.open(io.BytesIO(content)) as small:
            scale = min(1.0, 512 / max(whole.size))
            assert np.abs(np.array(small.size) - scale * np.array(whole.size)).max() <= 1
    assert sum(len(content) for content, _ in made) < 20 * 40_000
