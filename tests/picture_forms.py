"""One drawing, saved in every form in which it can be kept, and files that no form allows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Save = Callable[[Path], object]

HEIGHT, WIDTH = 56, 84
GREY = 102
"""Black with an alpha of 153 of 255, on white."""

ORIENTATION = 0x0112
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that writes this orientation stores an upright picture."""


def drawing() -> np.ndarray:
    """`(56, 84)` uint8: black and grey on white, different in every turn and mirror."""
    values = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    values[4:12, 6:60] = 0
    values[4:50, 6:12] = 0
    values[30:44, 40:76] = GREY
    return values


def upright() -> np.ndarray:
    """`(56, 84, 3)` uint8: what every form shows."""
    return np.repeat(drawing()[:, :, None], 3, axis=2)


def _alpha() -> np.ndarray:
    """The drawing as opacity of black ink: what is white is transparent, and black beneath."""
    return np.uint8(255) - drawing()


def _rgba() -> Image.Image:
    return Image.fromarray(np.dstack([np.zeros((HEIGHT, WIDTH, 3), np.uint8), _alpha()]))


def _la() -> Image.Image:
    return Image.merge("LA", [Image.new("L", (WIDTH, HEIGHT)), Image.fromarray(_alpha())])


def _palette() -> Image.Image:
    """Index 0 is black, 1 is grey, 2 is black too: the ground, to be transparent."""
    index = np.select([drawing() == 0, drawing() == GREY], [0, 1], default=2).astype(np.uint8)
    image = Image.fromarray(index).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([0, 0, 0, GREY, GREY, GREY, 0, 0, 0])
    return image


def _grey() -> Image.Image:
    return Image.fromarray(drawing())


def _keyed(mode: str) -> Image.Image:
    """The ground in a colour that is declared transparent."""
    values = drawing().copy()
    values[values == 255] = 7
    return Image.fromarray(values).convert(mode)


def _turned(orientation: int) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = _grey().convert("RGB")
    return image if orientation == 1 else image.transpose(_TURNED[orientation]), exif


def png(depth: int, kind: int, rows: bytes, *, size: tuple[int, int], transparent: bytes = b"") -> bytes:
    """A PNG file; `rows` with their filter bytes, `kind` the colour type of the specification."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    keyed = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + head + keyed + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, *, bits: int, sample_format: int = 1, photometric: int = 1) -> bytes:
    """An uncompressed little-endian TIFF file of one sample per pixel; 12 bits are packed."""
    height, width = values.shape
    if bits == 12:
        flat = values.astype(np.uint16).ravel()
        first, second = flat[::2], flat[1::2]
        packed = np.stack([first >> 4, ((first & 15) << 4) | (second >> 8), second & 255], axis=1)
        content = packed.astype(np.uint8).tobytes()
    else:
        content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1)]
    tags += [(278, height), (279, len(content)), (339, sample_format)]
    offset = 8 + 2 + 12 * len(tags) + 4
    out = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, value in tags:
        out += struct.pack("<HHII", tag, 4, 1, offset if tag == 273 else value)
    return out + struct.pack("<I", 0) + content


def _rows_of_png(values: np.ndarray, depth: int) -> bytes:
    """Grey rows of 1, 2, 4 or 16 bits per pixel, each after its filter byte."""
    if depth == 16:
        packed = values.astype(">u2").view(np.uint8).reshape(len(values), -1)
    else:
        per_byte = 8 // depth
        shifts = np.arange(per_byte)[::-1] * depth
        packed = (values.reshape(len(values), -1, per_byte) << shifts).sum(axis=2).astype(np.uint8)
    return b"".join(b"\0" + row.tobytes() for row in packed)


def _written(content: bytes) -> Save:
    return lambda path: path.write_bytes(content)


def _deep(dtype: type, scale: float) -> np.ndarray:
    return (drawing().astype(np.float64) * scale).astype(dtype)


def lossless_forms() -> dict[str, Save]:
    """By file name, what writes the drawing there; each decodes to exactly `upright()`."""
    four_bits = drawing() // 17
    return {
        "rgb.png": lambda path: _grey().convert("RGB").save(path),
        "l.png": lambda path: _grey().save(path),
        "rgba.png": lambda path: _rgba().save(path),
        "la.png": lambda path: _la().save(path),
        "palette.png": lambda path: _grey().quantize(4).save(path),
        "palette-index.png": lambda path: _palette().save(path, transparency=2),
        "palette-bytes.png": lambda path: _palette().save(path, transparency=b"\xff\xff\x00"),
        "l-key.png": lambda path: _keyed("L").save(path, transparency=7),
        "rgb-key.png": lambda path: _keyed("RGB").save(path, transparency=(7, 7, 7)),
        "16.png": lambda path: Image.fromarray(_deep(np.uint16, 257)).save(path),
        "16-key.png": _written(
            png(
                16,
                0,
                _rows_of_png(np.where(drawing() == 255, 1000, _deep(np.uint16, 257)), 16),
                size=(WIDTH, HEIGHT),
                transparent=struct.pack(">H", 1000),
            )
        ),
        "4-bit.png": _written(png(4, 0, _rows_of_png(four_bits, 4), size=(WIDTH, HEIGHT))),
        "4-bit-key.png": _written(
            png(
                4,
                0,
                _rows_of_png(np.where(four_bits == 15, 3, four_bits), 4),
                size=(WIDTH, HEIGHT),
                transparent=struct.pack(">H", 3),
            )
        ),
        "turned.png": lambda path: _turned(6)[0].save(path, exif=_turned(6)[1]),
        "gif.gif": lambda path: _grey().save(path),
        "index.gif": lambda path: _palette().save(path, transparency=2),
        "moving.gif": lambda path: _grey().save(
            path, save_all=True, append_images=[Image.new("L", (WIDTH, HEIGHT))]
        ),
        "rgb.webp": lambda path: _grey().convert("RGB").save(path, lossless=True),
        "rgba.webp": lambda path: _rgba().save(path, lossless=True, exact=True),
        "moving.webp": lambda path: (
            _grey()
            .convert("RGB")
            .save(path, save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))], lossless=True)
        ),
        "turned.webp": lambda path: _turned(8)[0].save(path, exif=_turned(8)[1], lossless=True),
        "moving.png": lambda path: _grey().save(
            path, save_all=True, append_images=[Image.new("L", (WIDTH, HEIGHT))]
        ),
        "rgb.bmp": lambda path: _grey().convert("RGB").save(path),
        "l.bmp": lambda path: _grey().save(path),
        "rgb.tif": lambda path: _grey().convert("RGB").save(path),
        "rgba.tif": lambda path: _rgba().save(path, compression="tiff_deflate"),
        "16.tif": lambda path: Image.fromarray(_deep(np.uint16, 257)).save(path),
        "12.tif": _written(tiff(np.rint(drawing() / 255 * 4095).astype(np.uint16), bits=12)),
        "16-white-is-zero.tif": _written(tiff(65535 - _deep(np.uint16, 257), bits=16, photometric=0)),
        "signed-16.tif": _written(
            tiff(np.rint(drawing() / 255 * 32767).astype(np.int16), bits=16, sample_format=2)
        ),
        "32-of-8.tif": lambda path: Image.fromarray(drawing().astype(np.int32)).save(path),
        "32-of-16.tif": lambda path: Image.fromarray(_deep(np.int32, 257)).save(path),
        "signed-32.tif": _written(
            tiff((drawing() / 255 * (2**31 - 1)).astype(np.int32), bits=32, sample_format=2)
        ),
        "unsigned-32.tif": _written(tiff((drawing() * (2**32 - 1.0) / 255).astype(np.uint32), bits=32)),
        "float.tif": lambda path: Image.fromarray((drawing() / 255).astype(np.float32)).save(path),
        "float-white-is-zero.tif": _written(
            tiff((1 - drawing() / 255).astype(np.float32), bits=32, sample_format=3, photometric=0)
        ),
        "float-of-8.tif": lambda path: Image.fromarray(drawing().astype(np.float32)).save(path),
        "float-of-16.tif": lambda path: Image.fromarray(_deep(np.float32, 257)).save(path),
        "cmyk.tif": lambda path: _grey().convert("RGB").convert("CMYK").save(path),
        "turned.tif": lambda path: _turned(5)[0].save(path, exif=_turned(5)[1]),
        "16.pgm": lambda path: path.write_bytes(
            b"P5 84 56 65535\n" + _deep(np.uint16, 257).astype(">u2").tobytes()
        ),
        "10-bit.pgm": lambda path: path.write_bytes(
            b"P5 84 56 1020\n" + (drawing().astype(np.uint16) * 4).astype(">u2").tobytes()
        ),
        "rgba.tga": lambda path: _rgba().save(path),
        "rgba.ico": lambda path: _rgba().save(path, sizes=[(WIDTH, HEIGHT)]),
        "rgb.ppm": lambda path: _grey().convert("RGB").save(path),
        "l.jp2": lambda path: _grey().save(path, irreversible=False),
        "rgba.dds": lambda path: _rgba().save(path),
        "l.sgi": lambda path: _grey().save(path),
        "rgba.qoi": lambda path: _rgba().save(path),
    }


def save_all(folder: Path, forms: dict[str, Save]) -> dict[str, Path]:
    """Write the forms; the paths by name."""
    for name, save in forms.items():
        save(folder / name)
    return {name: folder / name for name in forms}


def jpeg_in_every_turn(folder: Path) -> dict[int, Path]:
    """JPEG files of the drawing, stored as cameras do in each of the eight orientations."""
    paths = {}
    for orientation in range(1, 9):
        image, exif = _turned(orientation)
        paths[orientation] = folder / f"turned-{orientation}.jpg"
        image.save(paths[orientation], exif=exif, quality=95)
    return paths


def whole_files() -> dict[str, bytes]:
    """A valid file in every format that this Pillow writes and reads, to be cut and damaged."""
    Image.init()
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    files = {}
    for kind in sorted(set(Image.SAVE) & set(Image.OPEN)):
        for mode in ("RGB", "RGBA", "P", "L", "1", "F"):
            buffer = io.BytesIO()
            try:
                image.convert(mode).save(buffer, kind)
                with Image.open(io.BytesIO(buffer.getvalue())) as again:
                    again.load()
            except Exception:  # not every format has every mode, or a reader for what it writes
                continue
            files[kind] = buffer.getvalue()
            break
    return files


BROKEN_HEADERS = {
    "dds": b"DDS \x7c\0\0\0" + b"\xff" * 120,
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + b"\0" * 40,
    "sgi": b"\x01\xda\x01\x01\x00\x03\x00\x05\x00\x05\x00\x03" + b"\0" * 40,
    "ppm": b"P6 5 five 255\n",
}
"""Files whose plug-ins raise something other than OSError, by extension."""
