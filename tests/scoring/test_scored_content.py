"""Stored scores belong to what was scored: questions, steps, what pictures hold, the model's weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from candidate_files import TEXTS, read_rows, score, write_rows
from replaced_files import bitmap, flip_last_bit, redraw, touch

from dreamprm.config.errors import UserError
from dreamprm.models import PRM

Rows = list[dict[str, Any]]


@dataclass
class Scored:
    """A folder with everything: pictures, candidates, the model, and the scores."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "in.jsonl"

    @property
    def rows(self) -> Rows:
        return read_rows(self.source)

    def score(self, output: str = "out", **settings: Any) -> dict[str, Any]:
        """Score the file; returns what the summary says about it."""
        score(self.root / "run", {"suite": self.source}, self.root / output, **settings)
        summary = json.loads((self.root / output / "summary.json").read_text())
        found: dict[str, Any] = summary["files"]["suite"]
        return found

    def values(self, output: str = "out") -> list[list[float]]:
        """The log-odds by row."""
        return [
            [value for one in row["candidates"] for value in one["scores"]["run"]["log_odds"]]
            for row in read_rows(self.root / output / "suite.jsonl")
        ]


@pytest.fixture
def scored(run_folder: Path, tmp_path: Path) -> Scored:
    """Five scored rows of two candidates: three with a picture, one with two, one without."""
    made = Scored(tmp_path / "all")
    rows = []
    for number, pictures in enumerate(([0], [1], [2], [3, 4], [])):
        names = [f"pictures/{k}.bmp" for k in pictures]
        for k, name in zip(pictures, names, strict=True):
            bitmap(made.root / name, k)
        rows.append(
            {
                "id": f"q{number}",
                "question": f"how many bars ? {number + 1}",
                "benchmark": "b",
                "answer": "3",
                "images": names,
                "candidates": [{"text": " ".join(one), "steps": list(one)} for one in TEXTS[:2]],
            }
        )
    write_rows(made.source, rows)
    shutil.copytree(run_folder, made.root / "run")
    assert made.score()["scored_now"] == 10
    return made


def another_picture(scored: Scored) -> None:
    redraw(scored.root / "pictures/1.bmp", 77)


def pictures_swapped(scored: Scored) -> None:
    rows = scored.rows
    rows[0]["images"], rows[1]["images"] = rows[1]["images"], rows[0]["images"]
    write_rows(scored.source, rows)


def files_of_pictures_swapped(scored: Scored) -> None:
    one, other = (scored.root / f"pictures/{k}.bmp" for k in (0, 2))
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])


def order_of_pictures(scored: Scored) -> None:
    rows = scored.rows
    rows[3]["images"].reverse()
    write_rows(scored.source, rows)


def change(number: int, field: str, value: Any) -> Callable[[Scored], None]:
    def spoil(scored: Scored) -> None:
        rows = scored.rows
        rows[number][field] = value
        write_rows(scored.source, rows)

    return spoil


def a_step(scored: Scored) -> None:
    rows = scored.rows
    rows[2]["candidates"][1]["steps"][0] = "six"
    write_rows(scored.source, rows)


def steps_cut_elsewhere(scored: Scored) -> None:
    rows = scored.rows
    rows[2]["candidates"][0]["steps"] = [" ".join(rows[2]["candidates"][0]["steps"])]
    write_rows(scored.source, rows)


# What is changed, and the rows that it is scored again.
CHANGES: dict[str, tuple[Callable[[Scored], None], set[int]]] = {
    "another picture, same path, size and time": (another_picture, {1}),
    "two records exchange their pictures": (pictures_swapped, {0, 1}),
    "two pictures exchange their names": (files_of_pictures_swapped, {0, 2}),
    "the order of two pictures": (order_of_pictures, {3}),
    "the question": (change(0, "question", "how many bars ? 6"), {0}),
    "a step": (a_step, {2}),
    "the same text in other steps": (steps_cut_elsewhere, {2}),
    "no picture": (change(1, "images", []), {1}),
    "a picture more": (change(4, "images", ["pictures/0.bmp"]), {4}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_scored_again_and_nothing_else(
    name: str, scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    before = scored.values()
    spoil, rows = CHANGES[name]
    spoil(scored)
    capsys.readouterr()
    told = scored.score()
    assert (told["records_scored_before"], told["scored_now"]) == (5 - len(rows), 2 * len(rows))
    assert told["stored_scores_not_used"] == len(rows)
    assert (
        f"suite: {5 - len(rows)} of 5 records keep their stored scores; {len(rows)} are new or have changed, "
        f"and are scored; {len(rows)} stored scores are of content that the file no longer has"
    ) in capsys.readouterr().out
    after = scored.values()
    assert {number for number in range(5) if after[number] != before[number]} == rows
    scored.score("fresh")
    assert [value for row in after for value in row] == pytest.approx(
        [value for row in scored.values("fresh") for value in row], abs=2e-6
    )


def test_going_back_finds_the_earlier_scores(scored: Scored) -> None:
    before, content = scored.values(), (scored.root / "pictures/1.bmp").read_bytes()
    another_picture(scored)
    assert scored.score()["scored_now"] == 2
    (scored.root / "pictures/1.bmp").write_bytes(content)
    assert scored.score()["scored_now"] == 0 and scored.values() == before


def touched(scored: Scored) -> Scored:
    for path in scored.root.rglob("*"):
        if path.is_file():
            touch(path)
    return scored


def moved(scored: Scored) -> Scored:
    scored.root.rename(scored.root.with_name("moved"))
    return Scored(scored.root.with_name("moved"))


def copied(scored: Scored) -> Scored:
    return Scored(Path(shutil.copytree(scored.root, scored.root.with_name("copied"))))


def reordered(scored: Scored) -> Scored:
    rows = scored.rows
    write_rows(scored.source, [rows[k] for k in (3, 0, 4, 1, 2)])
    return scored


def pictures_renamed(scored: Scored) -> Scored:
    rows = scored.rows
    (scored.root / "pictures").rename(scored.root / "drawings")
    write_rows(
        scored.source,
        [
            row | {"images": [name.replace("pictures", "drawings") for name in row["images"]], "id": "other"}
            for row in rows
        ],
    )
    return scored


@pytest.mark.parametrize("how", [touched, moved, copied, reordered, pictures_renamed])
def test_the_same_content_elsewhere_is_not_scored_again(
    how: Callable[[Scored], Scored], scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(scored.values())
    there = how(scored)
    monkeypatch.setattr(PRM, "read", None)  # it would have to be called
    told = there.score()
    assert (told["records_scored_before"], told["scored_now"], told["stored_scores_not_used"]) == (5, 0, 0)
    assert sorted(there.values()) == before


def test_records_that_are_inserted_or_removed_leave_the_others(scored: Scored) -> None:
    rows = scored.rows
    write_rows(scored.source, [rows[0] | {"question": "how many bars ? 6"}, *rows[1:], rows[2]])
    told = scored.score()
    # The last one has the content of another: it is scored by itself, as in a file that is scored anew.
    assert (told["records"], told["records_scored_before"], told["scored_now"]) == (6, 4, 4)


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "tokenizer.json", "prm.json"])
def test_another_model_at_the_same_path_is_refused_by_its_file(name: str, scored: Scored) -> None:
    before = {path: path.read_bytes() for path in (scored.root / "out").iterdir()}
    path = scored.root / "run" / "model" / name
    if name.endswith("json"):
        path.write_text(path.read_text() + "\n")
    else:
        flip_last_bit(path)
    with pytest.raises(
        UserError, match=rf"made differently \(model was '\w+', is '\w+'; model: {name} has other"
    ):
        scored.score()
    assert {path: path.read_bytes() for path in (scored.root / "out").iterdir()} == before


def test_scores_without_a_broken_picture_do_not_serve_where_it_is_required(scored: Scored) -> None:
    path, lenient = scored.root / "pictures/2.bmp", {"missing_image": "text_only", "allow_no_image": True}
    content = path.read_bytes()
    path.write_bytes(b"broken")
    # Rows whose pictures are known to be whole keep their scores.
    assert scored.score(data=lenient)["scored_now"] == 2
    assert scored.score(data=lenient)["scored_now"] == 0
    with pytest.raises(UserError, match="2.bmp is missing or broken"):
        scored.score()
    path.write_bytes(content)
    assert scored.score()["scored_now"] == scored.score(data=lenient)["scored_now"] == 0


def test_a_picture_replaced_while_it_is_scored_is_refused(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = PRM.read
    redraw(scored.root / "pictures/0.bmp", 50)

    def replacing(prm: PRM, states: Any) -> Any:
        redraw(scored.root / "pictures/0.bmp", 51)
        return read(prm, states)

    with monkeypatch.context() as patch:
        patch.setattr(PRM, "read", replacing)
        with pytest.raises(UserError, match="0.bmp was changed while this command was running; run the same"):
            scored.score()
    assert scored.score()["scored_now"] == 2
    values = scored.values()
    scored.score("fresh")
    assert values[0] == pytest.approx(scored.values("fresh")[0], abs=2e-6)
