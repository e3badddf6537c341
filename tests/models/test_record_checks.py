"""Records that cannot be encoded are found before any is due, and what was found of a content is kept."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import tiny_processor

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.image_checks import ImageFacts
from dreamprm.data.records import MetaRecord
from dreamprm.data.text_reader import TextRecord
from dreamprm.files.content import FileDigests
from dreamprm.models.chat import NoPlaceForImages
from dreamprm.models.images import ImageStore
from dreamprm.models.processing import PRMProcessor
from dreamprm.models.record_checks import CheckStatus, RecordChecks


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, str]:
    """An image of each kind, by name."""
    noise = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    paths = {name: tmp_path / f"{name}.png" for name in ("good", "cut", "text", "thin", "gone", "empty")}
    for name in ("good", "cut"):
        Image.fromarray(noise).save(paths[name])
    paths["cut"].write_bytes(paths["cut"].read_bytes()[:5000])
    paths["text"].write_text("not a picture")
    paths["empty"].write_bytes(b"")
    Image.new("RGB", (2100, 10)).save(paths["thin"])
    return {name: str(path) for name, path in paths.items()}


def meta(
    *images: str, question: str = "how many ?", steps: tuple[str, ...] = ("one .", "two .")
) -> MetaRecord:
    return MetaRecord(question, images, steps, True, "m")


def checks(tmp_path: Path, processor: PRMProcessor | None = None, **settings: Any) -> RecordChecks:
    processor = tiny_processor() if processor is None else processor
    return RecordChecks(
        processor, cache_dir=tmp_path / "cache", digests=FileDigests(), **{"mode": "none", **settings}
    )


def encode(processor: PRMProcessor, record: Any, **settings: Any) -> None:
    """What a batch does with a record, when it is due."""
    store: ImageStore = processor.image_store(**settings)
    if isinstance(record, TextRecord):
        processor.encode_text(record.text, store.open_all(record.images))
    else:
        processor.encode(record.question, store.open_all(record.images), record.steps)


def records(pictures: dict[str, str]) -> list[Any]:
    bad_steps = (("one .", "<|image_pad|> two ."), ("one .",) * 40)
    return [
        *(meta(path) for path in pictures.values()),
        meta(pictures["good"], pictures["text"]),
        meta(),
        meta(question="what <|image_pad|> ?"),
        *(meta(pictures["good"], steps=steps) for steps in bad_steps),
        TextRecord("two plus two .", (pictures["gone"],)),
        TextRecord("one"),
        TextRecord("two plus two ."),
    ]


@pytest.mark.parametrize(
    "settings", [{}, {"missing": "text_only"}, {"truncated": "read"}], ids=["strict", "text_only", "read"]
)
@pytest.mark.parametrize("readout", ["step_end", "chat_suffix"])
def test_what_is_found_is_what_encoding_refuses(
    readout: str, settings: dict[str, str], pictures: dict[str, str], tmp_path: Path
) -> None:
    processor = tiny_processor(readout=readout, max_length=60)
    given = records(pictures)
    refused: dict[int, str] = {}
    for number, record in enumerate(given):
        try:
            encode(processor, record, **settings)
        except UserError as error:
            refused[number] = str(error)
    assert checks(tmp_path, processor, **settings).problems(given, what="records") == refused
    assert {8, 9, 10} <= refused.keys() and {0, 7, 13}.isdisjoint(refused)
    assert ({2, 4, 5, 6, 11}.isdisjoint(refused)) == ("missing" in settings)


def test_messages_name_the_image_the_field_and_the_count(pictures: dict[str, str], tmp_path: Path) -> None:
    found = checks(tmp_path, tiny_processor(max_length=60)).problems(records(pictures), what="records")
    assert f"image {pictures['text']} is missing or broken" in found[2] and "data.on_error=skip" in found[2]
    assert f"image {pictures['thin']}: an image of 2100 x 10 pixels cannot be used" in found[3]
    assert "no such file" in found[4]
    assert "must not contain this token itself (field 'question')" in found[8]
    assert "(field 'steps[1]')" in found[9]
    assert "tokens, but max_length is 60" in found[10]


def test_each_content_is_decoded_and_encoded_once(
    pictures: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    of = ImageFacts.of.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(
        ImageFacts, "of", classmethod(lambda cls, path: decoded.append(Path(path).stem) or of(cls, path))
    )
    given = records(pictures)
    first = checks(tmp_path).problems(given, what="records")
    assert sorted(decoded) == ["cut", "empty", "gone", "good", "text", "thin"]

    def started_again(**changes: Any) -> dict[int, str]:
        decoded.clear()
        return checks(tmp_path, **changes).problems(given, what="records")

    with monkeypatch.context() as patched:
        patched.setattr(PRMProcessor, "encode", lambda *args, **kwargs: pytest.fail("encoded again"))
        assert started_again() == first and decoded == ["gone"]
    # A list of records that there are not is no result of these.
    (kept,) = (tmp_path / "cache" / "checked").glob("records-*.json")
    kept.write_text('{"999": "x"}')
    assert started_again() == first
    # Another setting of the processor, another content, another file of facts.
    assert started_again(processor=tiny_processor(max_length=60)) != first and decoded == ["gone"]
    Image.open(pictures["good"]).save(pictures["text"], "png")
    assert 2 not in started_again() and decoded == ["gone"]  # its content is known under another name
    facts = tmp_path / "cache" / "checked" / "images.json"
    facts.write_text(facts.read_text()[:50])
    started_again()
    assert len(decoded) == 5
    assert json.loads(facts.read_text())["images"]


def test_workers_find_the_same(
    pictures: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamprm.models.record_checks._WORTH_WORKERS", 1)
    seen = []
    with monkeypatch.context() as patched:
        loader = "dreamprm.models.record_checks.DataLoader"
        patched.setattr(
            loader, lambda data, **settings: seen.append(settings) or [data[i] for i in range(len(data))]
        )
        by_workers = checks(tmp_path / "a", workers=3).problems(records(pictures), what="records")
    assert by_workers == checks(tmp_path / "b").problems(records(pictures), what="records")
    (settings,) = seen
    assert settings["num_workers"] == 3 and settings["multiprocessing_context"] is not None
    assert settings["generator"] is not None  # the global one's draws would change the training


def test_a_cache_that_cannot_be_written_costs_only_time(pictures: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    said: list[str] = []
    assert checks(tmp_path, say=said.append).problems([meta(pictures["good"])], what="records") == {}
    assert len(said) == 2 and all("checks" in line for line in said)


def test_a_template_for_plain_texts_refuses_all_records_with_images(
    pictures: dict[str, str], tmp_path: Path
) -> None:
    """Not a bad record: `on_error=skip` must not leave all of them out."""
    processor = tiny_processor()
    processor.tokenizer.chat_template = "{% for m in messages %}{{ 'user: ' + m['content'] }}{% endfor %}"
    assert checks(tmp_path, processor).problems([meta()], what="records") == {}
    with pytest.raises(NoPlaceForImages) as caught:
        checks(tmp_path, processor).problems([meta(pictures["good"])], what="records")
    assert not isinstance(caught.value, DataError)


def test_a_long_check_shows_how_long_it_takes() -> None:
    now = [0.0]
    stream = io.StringIO()
    with CheckStatus(
        "checking images", "image", 900, mode="lines", stream=stream, clock=lambda: now[0]
    ) as status:
        for _ in range(300):
            now[0] += 0.125
            status.advance(1)
    lines = stream.getvalue().splitlines()
    assert lines[0].split("  ") == ["checking images: 80/900", "0:10", "about 1:42 left"]
    assert lines[-1].startswith("checking images: 300/900")
    quick = io.StringIO()
    with CheckStatus(
        "checking images", "image", 900, mode="lines", stream=quick, clock=lambda: 0.0
    ) as status:
        status.advance(900)
    assert quick.getvalue() == ""
