"""Records that lose their images are counted and named at the end of a run, whoever opened them and when."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tiny_run import TinyRun

from dreamprm.data.image_notes import ImageNotes, ImageSummary
from dreamprm.data.read_report import ReadReport
from dreamprm.models.prm import PRM


def spoil(tiny: TinyRun, how: str) -> None:
    """Make picture 2, which every third record shows, missing, broken or cut off."""
    path = tiny.folder / "2.png"
    if how == "missing":
        path.unlink()
    elif how == "broken":
        path.write_text("not a picture")
    else:
        noise = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(("how", "workers"), [("missing", 0), ("broken", 2)])
def test_a_training_says_how_many_records_lost_their_picture(
    how: str, workers: int, tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tiny, how)
    assert tiny.train("data.missing_image=text_only", f"data.num_workers={workers}", "steps=20") == 0
    # Of the five CoTs of each of the two domains, number 2; of the six meta records, 2 and 5.
    images = tiny.summary()["images"]
    assert images["step records"] | {"first": 0} == {
        "records": 10,
        "without_images": 2,
        "cut_off_images": 0,
        "first": 0,
    }
    assert images["meta records"]["without_images"] == 2 and images["meta records"]["records"] == 6
    assert "texts" not in images
    first = images["step records"]["first"]
    assert len(first) == 2 and all("2.png" in line for line in first)
    names = ("charts.jsonl:3", "maths.jsonl:3") if how == "missing" else ("charts-2", "maths-2")
    assert all(any(name in line for line in first) for name in names)
    end = capsys.readouterr().out
    end = end[end.index("images of step records") :]
    assert "images of step records: 2 of 10 are used without their images, which are missing or broken" in end
    assert "images of meta records: 2 of 6 are used without" in end


def test_all_pictures_gone_are_said_to_be_gone(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (tiny.folder / f"{number}.png").write_bytes(b"GIF89a")
    assert tiny.train("data.missing_image=text_only", "steps=20") == 0
    assert tiny.summary()["images"]["step records"]["without_images"] == 10
    assert "10 of 10 are used without their images" in capsys.readouterr().out


def test_a_run_with_all_its_pictures_says_nothing(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.train("data.missing_image=text_only", "steps=2") == 0
    assert "images" not in tiny.summary() and "images of" not in capsys.readouterr().out


def test_a_resumed_run_counts_what_was_used_before_it_stopped(tiny: TinyRun) -> None:
    spoil(tiny, "broken")
    settings = ("data.missing_image=text_only", "steps=20")
    assert tiny.train(*settings) == 0
    whole = tiny.summary()["images"]
    last = max((tiny.output / "checkpoints").iterdir())
    assert len(json.loads((last / "state.json").read_text())["state"]["image_notes"]["lost"]) == 4
    (tiny.output / "summary.json").unlink()
    assert tiny.train(*settings) == 0  # finished already: nothing is opened again
    assert tiny.summary()["images"] == whole


def test_a_cut_off_picture_stops_a_run_or_is_read_and_counted(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tiny, "cut off")
    assert tiny.train("steps=20") == 2
    assert "2.png is missing or broken" in capsys.readouterr().err
    assert tiny.train("steps=20", "overwrite=true", "data.truncated_image=read") == 0
    images = tiny.summary()["images"]
    assert (images["step records"]["without_images"], images["step records"]["cut_off_images"]) == (0, 2)
    assert images["meta records"]["cut_off_images"] == 2
    assert "2 of 10 are used with an image that is cut off" in capsys.readouterr().out


def test_a_selection_counts_what_its_records_lost_before(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tiny, "missing")
    for _ in range(2):  # started, and resumed with the set that was selected
        assert tiny.train("data.missing_image=text_only", "baseline.name=orm", "steps=2") == 0
        found = tiny.summary()["images"]["step records before the selection"]
        assert (found["records"], found["without_images"]) == (10, 2)
        told = capsys.readouterr().out
        assert "images of step records before the selection: 2 of 10 are used without" in told


def test_texts_of_the_language_modelling_pool_are_counted(tiny: TinyRun) -> None:
    (tiny.folder / "1.png").write_text("not a picture")
    assert (
        tiny.train(
            "data.missing_image=text_only",
            "lm_weight=0.5",
            f"data.lm={tiny.folder / 'pool.jsonl'}",
            "lm_batch_size=2",
            "steps=2",
        )
        == 0
    )
    assert tiny.summary()["images"]["texts"] | {"first": 0} == {
        "records": 2,
        "without_images": 1,
        "cut_off_images": 0,
        "first": 0,
    }


def test_the_ground_is_saved_with_the_model(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.train("steps=2", "data.image_ground='#102030'") == 0
    prm = PRM.from_pretrained(tiny.output / "model")
    assert prm.processor.settings.image_ground == "#102030"
    assert tiny.train("data.image_ground=blakc", "overwrite=true") == 2
    assert "data.image_ground must be a colour such as white" in capsys.readouterr().err.replace(
        "data: image_ground", "data.image_ground"
    )


def test_notes_and_reports_add_up() -> None:
    notes = ImageNotes()
    for _ in range(3):
        notes.add("step:4", "record a", lost="x.png: no such file", cut_off=None)
        notes.add("meta:4", "record b", lost=None, cut_off="y.png: truncated")
        notes.add("step:5", "record c", lost=None, cut_off=None)
    assert ImageNotes(**json.loads(json.dumps(notes.to_json()))) == notes
    report = ReadReport(rows=9, text_only=2, without_images=["f:1: z.png: no such file"])
    summary = ImageSummary.of(8, [report], notes, prefix="step:")
    assert summary.to_json() == {
        "records": 8,
        "without_images": 3,
        "cut_off_images": 0,
        "first": ["f:1: z.png: no such file", "record a: x.png: no such file"],
    }
    assert summary.lines() == [
        "3 of 8 are used without their images, which are missing or broken",
        "  f:1: z.png: no such file",
        "  record a: x.png: no such file",
        "  and 1 more",
    ]
    assert ImageSummary.of(3, [], notes, prefix="meta:").cut_off == 1
    assert ImageSummary.of(3, [], notes, prefix="text:").lines() == []
