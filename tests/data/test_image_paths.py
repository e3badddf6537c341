"""Images of a record lie inside their folder, wherever their paths lead; or the user says otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError
from dreamprm.data.image_paths import is_vouched, vouch
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.readers import read_candidate_records, read_meta_records, read_step_records
from dreamprm.data.text_reader import read_text_records

READERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "step": (read_step_records, {"question": "q", "domain": "d", "steps": ["Step 1: a"], "labels": [1.0]}),
    "meta": (read_meta_records, {"question": "q", "steps": ["Step 1: a"], "correct": True}),
    "candidate": (
        read_candidate_records,
        {"question": "q", "benchmark": "b", "answer": "7", "candidates": [{"text": "7"}]},
    ),
    "question": (read_question_records, {"question": "q", "answer": "7", "domain": "d"}),
    "text": (partial(read_text_records, allow_outside=False), {"text": "t"}),
}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with an image, links, and an image next to the folder."""
    inside = tmp_path / "world"
    (inside / "pictures").mkdir(parents=True)
    for path in (inside / "pictures/a.png", tmp_path / "secret.png", tmp_path / "world-2.png"):
        path.write_bytes(b"")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "up").symlink_to(tmp_path)
    (inside / "again.png").symlink_to(inside / "pictures/a.png")
    (inside / "circle.png").symlink_to(inside / "circle.png")
    return inside


def _read(kind: str, path: Path, image: str, **settings: Any) -> list[Any]:
    read, row = READERS[kind]
    path.write_text(json.dumps(row | {"image": image}) + "\n")
    return list(read(path, **settings))


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "image",
    [
        "../secret.png",
        "pictures/../../secret.png",
        "{}/secret.png",
        "link.png",
        "up/secret.png",
        "../world-2.png",
    ],
)
def test_an_image_outside_is_refused_unless_allowed(kind: str, image: str, world: Path) -> None:
    image = image.format(world.parent)
    with pytest.raises(DataError, match=r"r.jsonl:1: .*image.*leads out of .*allow_outside=true"):
        _read(kind, world / "r.jsonl", image)
    (record,) = _read(kind, world / "r.jsonl", image, allow_outside=True)
    assert Path(record.images[0]).samefile(
        world.parent / Path(image).name if "link" not in image else world / image
    )


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "image", ["pictures/a.png", "./pictures/../pictures/a.png", "{}/pictures/a.png", "again.png"]
)
def test_an_image_inside_is_read_however_its_path_is_written(kind: str, image: str, world: Path) -> None:
    (record,) = _read(kind, world / "r.jsonl", image.format(world))
    assert Path(record.images[0]).samefile(world / "pictures/a.png")
    # The folder may itself be reached by a link, and the file of records may lie elsewhere.
    (record,) = _read(
        kind, world.parent / "r.jsonl", image.format(world), image_root=world.parent / "world/up/world"
    )
    assert Path(record.images[0]).samefile(world / "pictures/a.png")


def test_a_circle_of_links_leads_nowhere(world: Path) -> None:
    with pytest.raises(DataError, match=r"image.*cannot be followed|no such file"):
        _read("step", world / "r.jsonl", "circle.png")


def test_bad_rows_that_lead_outside_are_skipped_and_counted(world: Path) -> None:
    path = world / "r.jsonl"
    row = READERS["step"][1]
    path.write_text("".join(json.dumps(row | {"image": image}) + "\n" for image in ("again.png", "link.png")))
    assert len(list(read_step_records(path, on_error="skip", max_bad_fraction=0.5))) == 1


def test_what_this_package_wrote_is_read_until_it_changes(world: Path) -> None:
    path = world / "r.jsonl"
    row = READERS["question"][1] | {"image": "../secret.png"}
    path.write_text(json.dumps(row) + "\n")
    vouch(path)
    if not is_vouched(path):
        pytest.skip("this file system has no extended attributes")
    (record,) = read_question_records(path)
    assert Path(record.images[0]).samefile(world.parent / "secret.png")
    path.write_text(json.dumps(row | {"image": "../world-2.png"}) + "\n")
    with pytest.raises(DataError, match="leads out of"):
        list(read_question_records(path))
