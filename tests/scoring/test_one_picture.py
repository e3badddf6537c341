"""One drawing in all its forms reaches the model the same on every path: one decoder."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from candidate_files import read_rows, score, write_rows
from local_checkpoints import save_local_checkpoint
from picture_forms import BROKEN_HEADERS, jpeg_in_every_turn, lossless_forms, save_all, upright
from PIL import Image
from tiny_models import tiny_image, tiny_prm, tiny_processor

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import EpochSampler, MetaRecord, ReadReport, read_meta_records
from dreamprm.data.image_decoder import ImageReading, decode_image
from dreamprm.evaluation.thumbnails import thumbnail
from dreamprm.generators import GenerationError, Request
from dreamprm.generators.local_model import load_local_model
from dreamprm.generators.openai_messages import DataUrls, data_url
from dreamprm.models import PRM
from dreamprm.models.collation import MetaBatches
from dreamprm.models.images import ImageStore

QUESTION, STEPS = "how many bars ?", ["one plus two", "equals three"]


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The drawing's files: lossless ones by name."""
    return save_all(tmp_path_factory.mktemp("forms"), lossless_forms())


def sent(url: str) -> np.ndarray:
    """The pixels that a server reads from a data URL which holds nothing but RGB, grey or a palette."""
    with Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))) as image:
        assert image.mode in ("RGB", "L", "P", "1") and "transparency" not in image.info
        assert image.getexif().get(0x0112, 1) == 1 and not getattr(image, "is_animated", False)
        return np.asarray(image.convert("RGB"))


def test_every_path_shows_the_same_pixels(forms: dict[str, Path], tmp_path: Path) -> None:
    processor = tiny_processor()
    plain = Image.fromarray(upright())
    expected = processor.patcher.resized(plain)
    library = processor.image_processor(images=[plain], return_tensors="pt")["pixel_values"]
    store, urls = processor.image_store(), DataUrls(ImageReading())
    local = load_local_model(
        str(save_local_checkpoint(tmp_path / "llava", "llava")),
        device="cpu",
        dtype="float32",
        min_pixels=None,
        max_pixels=None,
    )
    for name, path in forms.items():
        with Image.open(path) as given:
            shown = {
                "store": store.open_all([str(path)])[0],
                "unprepared": processor.patcher.resized(ImageStore().open_all([str(path)])[0]),
                "given": processor.patcher.resized(given),
            }
        for how, pixels in shown.items():
            assert np.array_equal(pixels, expected), (name, how)
        record = MetaRecord(QUESTION, (str(path),), tuple(STEPS), True, "r")
        sampler = EpochSampler(1, 1, seed=0)
        batch = MetaBatches([record], sampler, processor=processor, images=processor.image_store())[0]
        assert torch.equal(batch["inputs"]["pixel_values"], library), name
        (opened,) = local.encoder.open_images(Request("q", (str(path),)))
        assert np.array_equal(np.asarray(opened), upright()), name
        assert np.array_equal(sent(data_url(str(path))), upright()), name
        assert urls(str(path)) == urls(str(path)) == data_url(str(path))
        content, kind = thumbnail(str(path), side=512)
        assert kind == "png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), upright()), name


def test_a_prm_scores_the_drawing_in_any_form_alike(
    forms: dict[str, Path], run_folder: Path, prm: PRM, tmp_path: Path
) -> None:
    expected = prm.score(QUESTION, Image.fromarray(upright()), STEPS)
    assert expected != prm.score(QUESTION, None, STEPS)
    for name, path in forms.items():
        assert prm.score(QUESTION, path, STEPS) == expected, name
        assert prm.score(QUESTION, path.read_bytes(), STEPS) == expected, name
        with Image.open(path) as given:
            assert prm.score(QUESTION, [given], STEPS) == expected, name
            assert prm.score_candidates(QUESTION, given, [STEPS])[0] == pytest.approx(expected, abs=1e-6)
    rows = [
        {
            "id": name,
            "question": QUESTION,
            "image": str(path),
            "benchmark": "b",
            "answer": "3",
            "candidates": [{"text": "", "steps": STEPS, "final_answer": "3"}],
        }
        for name, path in forms.items()
    ]
    for row in rows:
        row["candidates"][0]["text"] = "\n".join(STEPS)
    score(run_folder, {"suite": write_rows(tmp_path / "c.jsonl", rows)}, tmp_path / "out")
    for row in read_rows(tmp_path / "out" / "suite.jsonl"):
        scored = row["candidates"][0]["scores"]["tiny-run"]["steps"]
        assert scored == pytest.approx(expected, abs=1e-5), row["id"]


def test_a_photograph_in_every_turn_is_sent_upright(tmp_path: Path) -> None:
    paths = jpeg_in_every_turn(tmp_path)
    for orientation, path in paths.items():
        assert np.array_equal(sent(data_url(str(path))), np.asarray(decode_image(path))), orientation
        small = Image.open(io.BytesIO(thumbnail(str(path), side=40)[0]))
        assert small.size == (40, 27)
        assert np.asarray(small.convert("L"))[3, 10] < 60 < np.asarray(small.convert("L"))[22, 10]
    # A file that needs no turn is sent as it is.
    content = base64.b64encode(paths[1].read_bytes()).decode()
    assert data_url(str(paths[1])) == f"data:image/jpeg;base64,{content}"


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_what_other_readers_may_see_differently_is_sent_as_png(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    tiny_image(1).convert(mode).save(path)
    url = data_url(str(path))
    assert url.startswith("data:image/png" if mode == "CMYK" else "data:image/jpeg")
    if mode == "CMYK":
        assert np.array_equal(sent(url), np.asarray(decode_image(path)))


def test_an_mpo_file_is_the_jpeg_that_it_begins_with(tmp_path: Path) -> None:
    path = tmp_path / "a.mpo"
    first, second = tiny_image(1), tiny_image(2)
    first.save(path, format="MPO", save_all=True, append_images=[second])
    first.save(tmp_path / "a.jpg")
    assert decode_image(path).tobytes() == decode_image(tmp_path / "a.jpg").tobytes()
    assert data_url(str(path)).startswith("data:image/jpeg;base64,")


def test_the_ground_is_stored_with_the_model_and_decides_its_scores(
    forms: dict[str, Path], tmp_path: Path
) -> None:
    prm = tiny_prm(layers=1, vision_layers=1, image_ground="#204060")
    prm.save_pretrained(tmp_path / "model")
    loaded = PRM.from_pretrained(tmp_path / "model", attn_implementation="eager")
    assert loaded.processor.settings.image_ground == "#204060"
    with Image.open(forms["rgba.png"]) as given:
        layer = given.convert("RGBA")
    shown = Image.alpha_composite(Image.new("RGBA", layer.size, "#204060"), layer).convert("RGB")
    expected = prm.eval().score(QUESTION, shown, STEPS)
    assert expected != prm.score(QUESTION, Image.fromarray(upright()), STEPS)
    for one in (prm, loaded):
        assert one.score(QUESTION, forms["rgba.png"], STEPS) == expected
        assert one.score(QUESTION, layer, STEPS) == expected
        (opened,) = one.processor.image_store().open_all([str(forms["rgba.png"])])
        assert np.array_equal(opened, prm.processor.patcher.resized(shown))
    rows = [
        {
            "question": QUESTION,
            "image": str(forms["rgba.png"]),
            "benchmark": "b",
            "answer": "3",
            "candidates": [{"text": "\n".join(STEPS), "steps": STEPS}],
        }
    ]
    source = write_rows(tmp_path / "c.jsonl", rows)
    score(tmp_path / "model", {"s": source}, tmp_path / "out", name="n")
    (row,) = read_rows(tmp_path / "out" / "s.jsonl")
    assert row["candidates"][0]["scores"]["n"]["steps"] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(UserError, match="image_ground is for models of the public code.*stores the one"):
        score(tmp_path / "model", {"s": source}, tmp_path / "other", name="n", image_ground="red")
    with pytest.raises(UserError, match="image_ground must be a colour .*did you mean 'white'"):
        tiny_processor(image_ground="wite")


def test_generators_take_a_ground_too(forms: dict[str, Path], tmp_path: Path) -> None:
    wanted = np.asarray(decode_image(forms["rgba.png"], ground="red"))
    assert np.array_equal(sent(data_url(str(forms["rgba.png"]), ImageReading("red"))), wanted)
    local = load_local_model(
        str(save_local_checkpoint(tmp_path / "q", "qwen2_vl")),
        device="cpu",
        dtype="float32",
        min_pixels=None,
        max_pixels=None,
        images=ImageReading("red"),
    )
    (opened,) = local.encoder.open_images(Request("q", (str(forms["rgba.png"]),)))
    assert np.array_equal(np.asarray(opened), wanted)
    with pytest.raises(UserError, match="image_ground must be a colour"):
        ImageReading("rot")


BROKEN: dict[str, bytes] = {
    **{f"broken.{extension}": content for extension, content in BROKEN_HEADERS.items()},
    "text.png": b"no image",
    "folder.png": b"",
    "cut.png": b"",
    "bomb.png": b"",
}


@pytest.mark.parametrize("name", [*BROKEN, "absent.png"])
def test_whatever_is_wrong_is_one_error_on_every_path(
    name: str, prm: PRM, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if name == "folder.png":
        path.mkdir()
    elif name == "cut.png":
        Image.effect_noise((50, 50), 80).save(path)
        path.write_bytes(path.read_bytes()[:700])
    elif name == "bomb.png":
        Image.new("L", (90, 90)).save(path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)  # where Pillow itself only warns
    elif name != "absent.png":
        path.write_bytes(BROKEN[name])
    record = MetaRecord(QUESTION, (str(path),), tuple(STEPS), True, "r")
    processor = prm.processor
    sampler = EpochSampler(1, 1, seed=0)
    batches = MetaBatches([record], sampler, processor=processor, images=processor.image_store())
    local = load_local_model(
        str(save_local_checkpoint(tmp_path / "q", "qwen2_vl")),
        device="cpu",
        dtype="float32",
        min_pixels=None,
        max_pixels=None,
    )
    row = {"question": QUESTION, "image": name, "benchmark": "b", "answer": "3"}
    row["candidates"] = [{"text": "a", "steps": STEPS}]  # type: ignore[assignment]
    source = write_rows(tmp_path / "c.jsonl", [row])
    paths: dict[str, Callable[[], Any]] = {
        "training": lambda: batches[0],
        "PRM.score": lambda: prm.score(QUESTION, path, STEPS),
        "score": lambda: score(run_folder, {"s": source}, tmp_path / "out"),
        "data URL": lambda: data_url(str(path)),
        "thumbnail": lambda: thumbnail(str(path), side=20),
    }
    for how, opens in paths.items():
        with pytest.raises(UserError) as caught:
            opens()
        assert name in str(caught.value) and "\n" not in str(caught.value), how
    assert isinstance(caught.value, DataError)
    with pytest.raises(GenerationError, match=f"the image .*{name} cannot be read: ") as refused:
        local.encoder.encode([Request("q", (str(path),))])
    assert refused.value.refused
    meta = write_rows(
        tmp_path / "m.jsonl", [{"question": QUESTION, "image": name, "steps": STEPS, "correct": True}]
    )
    report = ReadReport()
    (read,) = read_meta_records(meta, check_images=True, missing_image="text_only", report=report)
    assert read.images == () and report.text_only == 1 and name in report.without_images[0]


def test_a_picture_that_is_too_thin_is_named(prm: PRM, tmp_path: Path) -> None:
    tiny_image(0, size=(300, 1)).save(tmp_path / "thin.png")
    paths: dict[str, Callable[[], Any]] = {
        "PRM.score": lambda: prm.score(QUESTION, str(tmp_path / "thin.png"), STEPS),
        "store": lambda: prm.processor.image_store().open_all([str(tmp_path / "thin.png")]),
    }
    for opens in paths.values():
        with pytest.raises(UserError, match="image .*thin.png: an image of 300 x 1 pixels cannot be used"):
            opens()
    with pytest.raises(UserError, match="image number 2: an image of 300 x 1 pixels cannot be used"):
        prm.score(QUESTION, [tiny_image(), tiny_image(0, size=(300, 1))], STEPS)
