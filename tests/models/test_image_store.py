"""Images by path: what is kept, what is let go, and what a missing or broken file does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers.image_transforms import convert_to_rgb

from dreamprm.config.errors import DataError
from dreamprm.models.images import ImageStore

SIZE = 3 * 4 * 4  # bytes of a 4 x 4 image


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Three 4 x 4 images of different colours, and one of 8 x 8."""
    files = [str(tmp_path / f"{name}.png") for name in "abcd"]
    for i, file in enumerate(files):
        Image.new("RGB", (4, 4) if i < 3 else (8, 8), (i, 2 * i, 3 * i)).save(file)
    return files


def _held(store: ImageStore, path: str) -> bool:
    """Whether the store still opens a file that is gone; puts the file back."""
    content = Path(path).read_bytes()
    Path(path).unlink()
    try:
        store.open_all([path])
        return True
    except DataError:
        return False
    finally:
        Path(path).write_bytes(content)


def test_images_come_in_order_as_rgb(paths: list[str], tmp_path: Path) -> None:
    grey = str(tmp_path / "grey.png")
    Image.new("L", (4, 4), 77).save(grey)
    images = ImageStore().open_all([paths[2], grey, paths[0], paths[2]])
    assert [image.mode for image in images] == ["RGB"] * 4
    assert [image.getpixel((0, 0)) for image in images] == [(2, 4, 6), (77, 77, 77), (0, 0, 0), (2, 4, 6)]


def test_what_is_transparent_is_white_as_when_a_single_image_is_scored(tmp_path: Path) -> None:
    """One drawing must not be seen black by training and white by `PRM.score`."""
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    clear.putpixel((1, 0), (10, 20, 30, 255))
    clear.save(tmp_path / "alpha.png")
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([9, 9, 9, 50, 60, 70])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=0)
    for name, opaque in (("alpha.png", (10, 20, 30)), ("palette.png", (50, 60, 70))):
        (image,) = ImageStore().open_all([str(tmp_path / name)])
        with Image.open(tmp_path / name) as raw:
            expected = convert_to_rgb(raw)
        assert image.tobytes() == expected.tobytes()
        assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == ((255, 255, 255), opaque)


def test_the_least_recently_used_image_is_let_go(paths: list[str]) -> None:
    a, b, c, _ = paths
    store = ImageStore(limit_bytes=2 * SIZE)
    store.open_all([a, b])
    store.open_all([a])  # b is now the older one
    store.open_all([c])
    # b last: asking for an image that is not held would let another one go, were it there.
    assert [_held(store, path) for path in (a, c, b)] == [True, True, False]


def test_an_image_above_the_bound_is_opened_and_not_kept(paths: list[str]) -> None:
    a, b, _, large = paths
    store = ImageStore(limit_bytes=2 * SIZE)
    store.open_all([a, b])
    (image,) = store.open_all([large])
    assert image.size == (8, 8)
    assert [_held(store, path) for path in (a, b, large)] == [True, True, False]


def test_bytes_let_go_can_be_used_again(paths: list[str]) -> None:
    a, b, c, _ = paths
    store = ImageStore(limit_bytes=2 * SIZE)
    for _ in range(5):
        store.open_all([a, b, c])
    assert [_held(store, path) for path in (b, c, a)] == [True, True, False]


def test_a_bound_of_zero_keeps_nothing(paths: list[str]) -> None:
    store = ImageStore(limit_bytes=0)
    store.open_all(paths)
    assert not any(_held(store, path) for path in paths)


def test_an_image_is_prepared_once_and_counts_as_what_it_became(paths: list[str]) -> None:
    prepared: list[tuple[int, int]] = []

    def first_row(image: Image.Image) -> np.ndarray:
        prepared.append(image.size)
        return np.asarray(image)[0]

    store = ImageStore(first_row, limit_bytes=3 * (4 + 8))
    a, b, _, large = paths
    for _ in range(2):
        rows = store.open_all([a, large])
    assert [row.tolist() for row in rows] == [[[0, 0, 0]] * 4, [[3, 6, 9]] * 8]
    assert prepared == [(4, 4), (8, 8)]
    store.open_all([b])  # one row too many: the oldest goes
    assert [_held(store, path) for path in (large, b, a)] == [True, True, False]


def _broken(folder: Path, kind: str) -> str:
    path = folder / "bad.png"
    if kind == "text":
        path.write_text("this is no image")
    elif kind == "cut short":
        Image.effect_noise((32, 32), 50).save(path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "bomb":
        Image.new("RGB", (30, 30)).save(path)
    return str(path)


@pytest.mark.parametrize("kind", ["missing", "text", "cut short", "bomb"])
def test_a_missing_or_broken_image_is_an_error_or_left_out(
    kind: str,
    paths: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # Pillow itself refuses above twice this
    bad = _broken(tmp_path, kind)
    message = r"image .*bad\.png is missing or broken .*data\.missing_image=text_only"
    with pytest.raises(DataError, match=message):
        ImageStore().open_all([paths[0], bad])
    store = ImageStore(missing="text_only")
    # All of the record's images, in whatever place: the second would be taken for the first.
    for images in ([bad, paths[0]], [paths[0], bad, paths[1]], [bad]):
        assert store.open_all(images) == []
        reason = store.lost(images)
        assert reason is not None and reason.startswith(f"{bad}: ")
    assert len(store.open_all(paths[:2])) == 2 and store.lost(paths[:2]) is None
