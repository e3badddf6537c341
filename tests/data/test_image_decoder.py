"""The one decoder: every form of a drawing gives the same pixels, and everything wrong the same error."""

from __future__ import annotations

import os
import pickle
import random
import struct
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_forms import (
    BROKEN_HEADERS,
    HEIGHT,
    WIDTH,
    drawing,
    jpeg_in_every_turn,
    lossless_forms,
    png,
    save_all,
    tiff,
    upright,
    whole_files,
)
from PIL import Image, ImageFile
from transformers.image_transforms import convert_to_rgb

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.image_decoder import ImageError, decode_image, open_image, rgb

FORMS = lossless_forms()


@pytest.mark.parametrize("name", FORMS)
def test_a_drawing_in_any_form_is_the_same_picture(name: str, tmp_path: Path) -> None:
    FORMS[name](tmp_path / name)
    image = decode_image(tmp_path / name)
    assert image.mode == "RGB" and image.info == {}
    assert np.array_equal(np.asarray(image), upright())
    assert np.array_equal(np.asarray(decode_image((tmp_path / name).read_bytes())), upright())
    with Image.open(tmp_path / name) as given:  # not read yet
        assert np.array_equal(np.asarray(decode_image(given)), upright())


def test_every_orientation_of_a_camera_is_upright(tmp_path: Path) -> None:
    for orientation, path in jpeg_in_every_turn(tmp_path).items():
        pixels = np.asarray(decode_image(path)).astype(int)
        assert pixels.shape == (HEIGHT, WIDTH, 3), orientation
        # JPEG at quality 95; any other turn differs by more than 40 on average
        assert np.abs(pixels - upright()).mean() < 0.2, orientation


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(drawing()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(decode_image(tmp_path / "a.png")), upright())


def test_broken_metadata_does_not_hide_the_picture(tmp_path: Path) -> None:
    Image.fromarray(drawing()).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    Image.fromarray(drawing()).save(tmp_path / "b.jpg")
    assert decode_image(tmp_path / "a.jpg").tobytes() == decode_image(tmp_path / "b.jpg").tobytes()


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "LA", "RGBA"])
def test_images_in_memory_show_the_ground_too(mode: str) -> None:
    alpha = np.uint8(255) - drawing()
    made = Image.merge("LA", [Image.new("L", (WIDTH, HEIGHT)), Image.fromarray(alpha)])
    if mode in ("PA", "RGBA", "RGBa"):
        made = made.convert("RGBA")
    if mode != made.mode:
        made = made.convert(mode)
    assert np.array_equal(np.asarray(rgb(made)), upright())


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "CMYK", "LAB", "RGBX", "1", "P", "L", "I", "F", "I;16"])
def test_modes_in_memory(mode: str) -> None:
    values = drawing().copy()
    values[values == 102] = 0  # what one bit can show
    if mode == "I;16":
        made = Image.fromarray(values.astype(np.uint16) * 257)
    elif mode in ("YCbCr", "HSV", "CMYK", "LAB", "RGBX"):
        made = Image.fromarray(values).convert("RGB").convert(mode)
    else:
        made = Image.fromarray(values).convert(mode)
    assert made.mode == mode
    difference = np.abs(np.asarray(rgb(made)).astype(int) - values[:, :, None])
    assert difference.max() <= (1 if mode == "LAB" else 0)  # LAB has eight bits, too


@pytest.mark.parametrize("name", ["rgba.png", "la.png", "palette-bytes.png", "index.gif", "rgba.webp"])
def test_another_ground_shows_through(name: str, tmp_path: Path) -> None:
    FORMS[name](tmp_path / name)
    pixels = np.asarray(decode_image(tmp_path / name, ground="#204060"))
    assert (pixels[0, 0] == (0x20, 0x40, 0x60)).all() and (pixels[5, 7] == 0).all()
    with Image.open(tmp_path / name) as given:
        expected = given.convert("RGBA")
    ground = Image.new("RGBA", expected.size, (0x20, 0x40, 0x60))
    assert np.array_equal(pixels, np.asarray(Image.alpha_composite(ground, expected).convert("RGB")))
    with Image.open(tmp_path / name) as given:
        of_the_library = convert_to_rgb(given, return_numpy=True)
    assert np.array_equal(np.asarray(decode_image(tmp_path / name)), of_the_library)


def test_opaque_pictures_do_not_depend_on_the_ground(tmp_path: Path) -> None:
    for name in ("rgb.png", "l.png", "16.png", "gif.gif"):
        FORMS[name](tmp_path / name)
        assert np.array_equal(np.asarray(decode_image(tmp_path / name, ground="black")), upright())


@pytest.mark.parametrize(
    ("ground", "message"),
    [
        ("whit", r"image_ground must be a colour such as white, .*got 'whit', did you mean 'white'\?"),
        ("", "image_ground must be a colour"),
        ("#12345", "image_ground must be a colour"),
        ("#11223344", "image_ground must be an opaque colour"),
    ],
)
def test_what_is_no_ground(ground: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode_image(Image.new("RGB", (4, 4)), ground=ground)


RANGES: dict[str, tuple[np.ndarray, dict[str, int], list[int] | str]] = {
    # values, how the file declares them, the grey of each or the reason why that cannot be known
    "16 bits": (np.array([[0, 257, 32896, 65535]], np.uint16), {"bits": 16}, [0, 1, 128, 255]),
    "16 bits, rounded": (np.array([[128, 129, 40000, 65407]], np.uint16), {"bits": 16}, [0, 1, 156, 255]),
    "12 bits": (np.array([[0, 2048, 4095, 16]], np.uint16), {"bits": 12}, [0, 128, 255, 1]),
    "12 of 16 bits": (
        np.array([[0, 5, 4095, 1]], np.uint16),
        {"bits": 16},
        "16-bit grey values of at most 4095",
    ),
    "8 of 16 bits": (
        np.array([[0, 5, 255, 1]], np.uint16),
        {"bits": 16},
        "16-bit grey values of at most 255",
    ),
    "black": (np.zeros((1, 4), np.uint16), {"bits": 16}, [0, 0, 0, 0]),
    "8 of 32 bits": (np.array([[0, 1, 128, 255]], np.uint32), {"bits": 32}, [0, 1, 128, 255]),
    "10 of 32 bits": (
        np.array([[0, 1, 2, 1023]], np.uint32),
        {"bits": 32},
        "32-bit grey values of at most 1023",
    ),
    "16 of 32 bits": (np.array([[0, 257, 514, 65535]], np.uint32), {"bits": 32}, [0, 1, 2, 255]),
    "32 bits": (
        np.array([[0, 2**24 + 2**16 + 257, 2**31, 2**32 - 1]], np.uint32),
        {"bits": 32},
        [0, 1, 128, 255],
    ),
    "negative": (
        np.array([[-1, 0, 1, 300]], np.int32),
        {"bits": 32, "sample_format": 2},
        "has negative grey values, down to -1",
    ),
    "float": (np.array([[0, 0.25, 0.6, 1]], np.float32), {"bits": 32, "sample_format": 3}, [0, 64, 153, 255]),
    "float of 8 bits": (
        np.array([[0, 1, 100.4, 255]], np.float32),
        {"bits": 32, "sample_format": 3},
        [0, 1, 100, 255],
    ),
    "float below 0": (
        np.array([[-3, 0, 1, 5]], np.float32),
        {"bits": 32, "sample_format": 3},
        "has floating-point grey values from -3 to 5",
    ),
    "float up to 3": (
        np.array([[0, 1, 2, 3]], np.float32),
        {"bits": 32, "sample_format": 3},
        "has floating-point grey values from 0 to 3",
    ),
    "not a number": (
        np.array([[0, np.nan, 1, 1]], np.float32),
        {"bits": 32, "sample_format": 3},
        "has grey values that are not finite",
    ),
}


@pytest.mark.parametrize("name", RANGES)
def test_deep_greys_are_scaled_by_their_range_or_refused(name: str, tmp_path: Path) -> None:
    values, declared, wanted = RANGES[name]
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, **declared))
    if isinstance(wanted, list):
        assert np.asarray(decode_image(path))[0, :, 0].tolist() == wanted
        return
    with pytest.raises(ImageError, match=f"a.tif: .*{wanted}.*save it with 8 bits") as caught:
        decode_image(path)
    assert "which value is white cannot be known" in caught.value.reason


def test_two_bits_with_a_transparent_grey(tmp_path: Path) -> None:
    """Pillow compares the file's 1 with the image's 85, and finds nothing transparent."""
    content = png(2, 0, b"\0\x1b", size=(4, 1), transparent=struct.pack(">H", 1))
    assert np.asarray(decode_image(content))[0, :, 0].tolist() == [0, 255, 170, 255]
    assert np.asarray(decode_image(content, ground="black"))[0, :, 0].tolist() == [0, 0, 170, 255]


def test_sixteen_bits_a_colour_with_a_transparent_one() -> None:
    samples = struct.pack(">9H", 0, 0, 0, 0x1234, 0x5678, 0x9ABC, 65535, 65535, 65535)
    content = png(16, 2, b"\0" + samples, size=(3, 1), transparent=samples[6:12])
    assert np.asarray(decode_image(content, ground="red"))[0].tolist() == [[0] * 3, [255, 0, 0], [255] * 3]


# What cannot be read.


def test_files_of_every_format_cut_or_damaged_raise_one_error_or_none() -> None:
    files, drawn = whole_files(), random.Random(5)
    assert len(files) >= 15
    raised = set()
    for content in files.values():
        broken = [content[:length] for length in (0, 1, 9, 17, 30, 60, len(content) // 2, len(content) - 3)]
        for _ in range(25):
            changed = bytearray(content)
            for _ in range(drawn.choice((1, 4, 20))):
                changed[drawn.randrange(min(len(changed), drawn.choice((60, 4000))))] = drawn.randrange(256)
            broken.append(bytes(changed))
        for one in broken:
            for truncated in (False, True):
                try:
                    found = open_image(one, truncated=truncated)
                except ImageError as error:
                    raised.add(error.kind)
                    assert str(error).startswith(f"the image given as {len(one):,} bytes: ")
                else:
                    assert found.image.mode == "RGB" and (truncated or found.cut_off is None)
    assert len(raised) >= 3  # the plug-ins do differ


HEADERS = BROKEN_HEADERS | {
    "pgm": b"P5 5 5 70000\n" + b"\0" * 50,
    "pfm": b"Pf 5 5 zero\n",
    "psd": b"8BPS\0\1" + b"\0" * 60,
    "gif": b"GIF89a\x05\0\x05\0\0\0\0,\0\0\0\0\0\0\0\0\0\2\1\0\0;",
    "bmp": b"BM" + b"\xff" * 60,
    "ico": b"\0\0\1\0\1\0" + b"\xff" * 40,
    "tif": b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40,
    "jpg": b"\xff\xd8\xff\xe0\0\x10JFIF" + b"\0" * 20,
    "png": b"\x89PNG\r\n\x1a\n",
    "webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
    "html": b"<html>404</html>",
    "txt": b"keine Datei mit einem Bild",
    "empty": b"",
    "no pixels": png(8, 0, b"", size=(0, 5)),
    "no height": b"P5 5 0 255\n",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_of_no_image(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken.{kind.replace(' ', '-')}"
    path.write_bytes(HEADERS[kind])
    with pytest.raises(ImageError, match=f"{path.name}: (cannot be opened as an image|has )") as caught:
        decode_image(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    try:
        assert open_image(path, truncated=True).cut_off == caught.value.reason  # Pillow's switch allows a lot
    except ImageError as error:
        assert error.reason == caught.value.reason


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "is a folder, not an image"),
        (tmp_path / "pipe", "no such file"),
        ("data:image/png;base64," + "A" * 9000, "no such file"),
        ("a\0b", "no such file"),
    ):
        with pytest.raises(ImageError) as caught:
            decode_image(path)
        assert caught.value.reason == reason and len(str(caught.value)) < 500
    for other in (3, [b"x"], np.zeros((4, 4, 3), np.uint8)):
        given: Any = other
        with pytest.raises(UserError, match="an image must be given as a path, .* got (int|list|ndarray)"):
            decode_image(given)
    with pytest.raises(ImageError, match=r"given as a PIL image \(Image, RGB\): has no pixels \(0 x 3\)"):
        decode_image(Image.new("RGB", (0, 3)))


@pytest.mark.parametrize("times", [1.5, 2.5])  # Pillow warns above once its limit, and refuses above twice
def test_too_many_pixels(times: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (60, 100)).save(tmp_path / "bomb.png")
    with Image.open(tmp_path / "bomb.png") as given:
        loaded = given.convert("RGB")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(6000 / times))
        for source in (tmp_path / "bomb.png", (tmp_path / "bomb.png").read_bytes(), given, loaded):
            for read in (decode_image, lambda image: decode_image(image, truncated=True)):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    with pytest.raises(
                        ImageError, match=r"has more than [\d,]+ pixels, the most that Pillow"
                    ):
                        read(source)
        with pytest.raises(ImageError, match="has more than"):
            rgb(loaded)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert rgb(loaded) is loaded and decode_image(tmp_path / "bomb.png").size == (60, 100)


def cut(path: Path, **how: Any) -> Path:
    """A photograph without its last third."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **how)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif", "a.gif"])
def test_a_file_that_is_cut_off_is_read_only_if_asked_for(name: str, tmp_path: Path) -> None:
    path = cut(tmp_path / name)
    with pytest.raises(ImageError):
        decode_image(path)
    found = open_image(path, truncated=True)
    assert found.cut_off is not None and found.cut_off.startswith("cannot be opened as an image (")
    assert not found.as_stored and found.image.size == (60, 80)
    pixels = np.asarray(found.image)
    assert max(pixels[:10].std(), pixels[-10:].std()) > 20  # the beginning is there; BMP's is at the bottom
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_pillows_switch_decides_nothing_here_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cut(tmp_path / "a.jpg")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="image file is truncated"):
        decode_image(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_threads_that_refuse_cut_files_do_not_see_the_others_switch(tmp_path: Path) -> None:
    path = cut(tmp_path / "a.jpg")
    refused: list[bool] = []
    read: list[bool] = []

    def strict() -> None:
        for _ in range(40):
            try:
                decode_image(path)
            except ImageError:
                refused.append(True)

    def tolerant() -> None:
        read.extend(open_image(path, truncated=True).cut_off is not None for _ in range(40))

    threads = [threading.Thread(target=target) for target in (strict, tolerant) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 120 and read == [True] * 120


def test_an_image_error_is_a_data_error_that_a_worker_can_send(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        decode_image(tmp_path / "none.png")
    sent = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(sent, ImageError) and str(sent) == str(caught.value)
    assert (sent.reason, sent.kind) == ("no such file", "FileNotFoundError")


def test_all_forms_are_written(tmp_path: Path) -> None:
    paths = save_all(tmp_path, FORMS)
    assert len(paths) > 45 and all(path.stat().st_size for path in paths.values())
    plain = {name for name, path in paths.items() if open_image(path).as_stored}
    # Only in these would any other reader see the same.
    assert {"rgb.png", "l.png", "palette.png", "gif.gif", "rgb.webp"} <= plain
    assert not plain & {"rgba.png", "l-key.png", "16.png", "turned.png", "moving.gif", "float.tif"}
