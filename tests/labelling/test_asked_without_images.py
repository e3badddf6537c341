"""`sample` and `label` say how many questions were asked without their pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback_servers import ScriptedServer
from PIL import Image
from tiny_models import tiny_image

from dreamprm.cli import main

pytest.importorskip("openai", reason="the openai extra is not installed")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Four questions with two pictures each; of the second, the first picture is broken, of the third one is
    missing, of the fourth one is cut off."""
    for number in range(4):
        for k in range(2):
            tiny_image(10 * number + k).save(tmp_path / f"{number}-{k}.png")
    (tmp_path / "1-0.png").write_bytes(b"\x01\xda\x01\x01" + b"\0" * 9)  # SGI's plug-in raises no OSError
    (tmp_path / "2-1.png").unlink()
    noise = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "3-0.png", format="JPEG", quality=95)
    content = (tmp_path / "3-0.png").read_bytes()
    (tmp_path / "3-0.png").write_bytes(content[: len(content) // 2])
    path = tmp_path / "questions.jsonl"
    rows = [
        {
            "id": f"q{number}",
            "question": f"Question {number}?",
            "images": [f"{number}-0.png", f"{number}-1.png"],
            "answer": "4",
            "domain": "d",
        }
        for number in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(server: ScriptedServer) -> dict[str, int]:
    """The number of images sent with each question."""
    sent = {}
    for exchange in server.exchanges:
        content = exchange.body["messages"][0]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = next(part["text"] for part in parts if part["type"] == "text")
        sent[text[text.index("Question ") :][:10]] = sum(part["type"] == "image_url" for part in parts)
    return sent


def sample(tmp_path: Path, questions: Path, server: ScriptedServer, **reading: Any) -> int:
    generator = {"name": "openai", "model": "m", "base_url": server.url, "temperature": 1.0, "backoff": 0.0}
    generator |= {key: reading.pop(key) for key in list(reading) if key == "truncated_image"}
    config = {
        "output": str(tmp_path / "out"),
        "questions": {"files": [str(questions)], **reading},
        "generator": generator,
        "sample": {"n": 1},
        "max_failed_fraction": 0.0,
        "log": {"progress": "none"},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    return main(["sample", str(tmp_path / "c.yaml")])


@pytest.mark.parametrize(("truncated", "lost", "cut_off"), [("error", 3, 0), ("read", 2, 1)])
def test_questions_without_their_pictures_are_counted(
    truncated: str, lost: int, cut_off: int, questions: Path, tmp_path: Path, capsys: Any
) -> None:
    with ScriptedServer(words=lambda *_: "Step 1: four.\nFinal answer: 4").serving() as server:
        code = sample(tmp_path, questions, server, missing_image="text_only", truncated_image=truncated)
    assert code == 0
    sent = {"Question 0": 2, "Question 1": 0, "Question 2": 0, "Question 3": 2 * cut_off}
    assert asked(server) == sent  # never one of two
    found = json.loads((tmp_path / "out" / "summary-candidates.json").read_text())["images"]
    assert (found["records"], found["without_images"], found["cut_off_images"]) == (4, lost, cut_off)
    end = capsys.readouterr().out
    end = end[end.rindex("images of questions: ") :]
    assert f"{lost} of 4 are used without their images, which are missing or broken" in end
    assert "1-0.png: broken image, cannot be opened" in end and "2-1.png: no such file" in end
    assert ("1 of 4 are used with an image that is cut off" in end) is (truncated == "read")


def test_a_broken_picture_fails_its_question_and_is_named(
    questions: Path, tmp_path: Path, capsys: Any
) -> None:
    for name in ("2-1.png", "3-0.png"):
        tiny_image().save(tmp_path / name)
    with ScriptedServer(words=lambda *_: "Step 1: four.\nFinal answer: 4").serving() as server:
        assert sample(tmp_path, questions, server) == 2
    told = capsys.readouterr()
    assert "1-0.png: cannot be opened as an image" in told.err + told.out
    assert "Traceback" not in told.err
