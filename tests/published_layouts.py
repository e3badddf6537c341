"""Small question and prediction files of our own making in each benchmark's published layout."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dreamprm.formats.writers import write_cells


def picture(colour: str = "red") -> bytes:
    """The bytes of a small PNG file."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


def encoded(colour: str = "red") -> str:
    return base64.b64encode(picture(colour)).decode()


def save(path: Path, value: Any) -> Path:
    """JSON, or JSON Lines where the path ends in .jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.suffix == ".jsonl"
    path.write_text("\n".join(map(json.dumps, value)) if lines else json.dumps(value), encoding="utf-8")
    return path


def table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A table with all columns that any row has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_cells(path, columns, rows)
    return path


def images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture())


def wemath_rows() -> list[dict[str, Any]]:
    """One problem of two steps and one of three; the right answers are A."""
    keys = [("2steps_1", key) for key in ("2steps_1", "2steps_2", "2steps_multi")]
    keys += [("3steps_1", key) for key in ("3steps_1", "3steps_2", "3steps_3", "3steps_multi")]
    return [
        {
            "ID": id,
            "split": "testmini",
            "knowledge concept": "Area",
            "question": f"Question {number}?",
            "option": "A. 3 cm;B. 4 cm; C. none; F. No correct answer",
            "answer": "A",
            "image_path": f"{key[:6]}/image/{number}.png",
            "key": key,
            "question number": number,
        }
        for number, (id, key) in enumerate(keys, start=1)
    ]


def mathvista_rows() -> dict[str, dict[str, Any]]:
    def row(
        pid: str, answer: str, kind: str, choices: list[str] | None = None, **more: Any
    ) -> dict[str, Any]:
        return {
            "question": f"Question {pid}?",
            "image": f"images/{pid}.png",
            "choices": choices,
            "unit": None,
            "precision": None,
            "answer": answer,
            "question_type": "multi_choice" if choices else "free_form",
            "answer_type": kind,
            "pid": pid,
            "metadata": {
                "split": "testmini",
                "source": "TQA",
                "task": "figure question answering",
                "skills": ["arithmetic reasoning"],
            },
        } | more

    return {
        "1": row("1", "1.2", "float", precision=1),
        "2": row("2", "1000", "integer", unit="g"),
        "3": row("3", "145 cm", "text", ["135 cm", "145 cm", "150 cm"]),
        "4": row(
            "4",
            "[2014, 2016]",
            "list",
            metadata={"task": "math word problem", "skills": ["arithmetic reasoning", "logical reasoning"]},
        ),
        "5": row("5", "18", "text", ["12", "18", "18"]),
    }


def mathv_rows() -> list[dict[str, Any]]:
    return [
        {
            "id": "4",
            "question": "How many?\n<image1>",
            "options": [],
            "answer": "6",
            "solution": None,
            "level": 1,
            "subject": "counting",
            "image": "images/4.png",
        },
        {
            "id": "5",
            "question": "How long?",
            "options": ["$1: 2$", "$\\frac{\\sqrt{2}}{2}$"],
            "answer": "B",
            "level": 5,
            "subject": "metric geometry - length",
            "image": "images/5.png",
        },
    ]


def mmvet_rows() -> dict[str, dict[str, Any]]:
    return {
        "v1_0": {
            "imagename": "v1_0.png",
            "question": "What is x?",
            "answer": "-1<AND>-5",
            "capability": ["math", "ocr"],
            "imagesource": "ours",
        },
        "v1_1": {
            "imagename": "v1_1.png",
            "question": "What is it?",
            "answer": "a cat<OR>a kitten",
            "capability": ["rec"],
            "imagesource": "ours",
        },
    }


def mmstar_rows() -> list[dict[str, Any]]:
    inline = "Which?\nOptions: A: a red book, B: a cat, C: a bed, D: none, of these"
    lines = "Hint: Answer.\nQuestion: How many?\nChoices:\n(A) 7\n(B) 5\n(C) 9\n(D)8"
    return [
        {"index": 0, "question": inline, "answer": "B", "category": "math", "l2_category": "geometry"},
        {"index": 1, "question": lines, "answer": "D", "category": "math", "l2_category": "geometry"},
        {
            "index": 2,
            "question": lines.replace("Choices:\n", ""),
            "answer": "A",
            "category": "coarse perception",
            "l2_category": "image emotion",
        },
    ]


def mmmu_rows() -> list[dict[str, Any]]:
    return [
        {
            "id": "validation_Math_1",
            "question": "Find it. <image 1>",
            "options": "['1', '2', 'Not exist']",
            "answer": "C",
            "question_type": "multiple-choice",
            "image_1": "a.png",
            "image_2": "b.png",
        },
        {
            "id": "validation_Math_2",
            "question": "How many?",
            "options": "[]",
            "answer": "['24/7', '3.429']",
            "question_type": "open",
            "image_1": "a.png",
        },
        {
            "id": "validation_Art_Theory_9",
            "question": "Who?",
            "options": ["Manet", "Monet"],
            "answer": "B",
            "question_type": "multiple-choice",
            "image_1": "a.png",
        },
    ]


def mmmu_pro_rows() -> list[dict[str, Any]]:
    """One question with images 1 and 3, named by options in another order, and one that is a picture."""
    return [
        {
            "id": "test_Math_1",
            "question": "Which is like <image 3>?",
            "options": "['<image 1>', 'none', '<image 3>', 'both']",
            "answer": "C",
            "subject": "Math",
            "image_1": "a.png",
            "image_2": None,
            "image_3": "b.png",
        },
        {
            "id": "test_Art_2",
            "options": "['Manet', 'Monet', 'Miro']",
            "answer": "B",
            "subject": "Art",
            "image": "c.png",
        },
    ]


def m3cot_rows() -> list[dict[str, Any]]:
    return [
        {
            "id": "physical-1",
            "question": "What is it for?",
            "context": "A troll sits below a bridge.",
            "choices": ["To scare people", "To honor a legend", "To rest"],
            "answer": "B",
            "image": "a.png",
            "domain": "commonsense",
            "topic": "physical-commonsense",
            "rationale": "Legends have trolls.",
        },
        {
            "id": "algebra-2",
            "question": "How many?",
            "context": "",
            "choices": ["3", "4"],
            "answer": "A",
            "image": "b.png",
            "domain": "mathematics",
            "topic": "algebra",
        },
    ]


def mathverse_rows() -> list[dict[str, Any]]:
    def row(number: int, version: str, question: str, answer: str, kind: str) -> dict[str, Any]:
        return {
            "sample_index": str(number),
            "problem_index": "1",
            "problem_version": version,
            "question": question,
            "image": f"images_version_1-4/image_{number}.png",
            "answer": answer,
            "question_type": kind,
            "metadata": {"split": "testmini", "subject": "Plane Geometry", "subfield": "Angle"},
        }

    asked = "Find the angle ()\nChoices:\nA:40\u00b0\nB:60\u00b0\nC:120\u00b0"
    return [
        row(1, "Text Dominant", asked, "B", "multi-choice"),
        row(2, "Vision Only", "", "B", "multi-choice"),
        row(3, "Text Dominant", "How long is the straw?", "14", "free-form"),
    ]


def dynamath_rows(variants: int = 2) -> list[dict[str, Any]]:
    """Three seed questions in several variants, in URSA's form."""
    seeds = [
        ("What is the period?", "2.094", "float", "analytic geometry"),
        ("Is it greater? Choices: (A) yes (B) no", "B", "multiple choice", "statistics"),
        ("Which month?", "Sep", "text", "statistics"),
    ]
    return [
        {
            "id": number,
            "question": question,
            "image": f"image/image{number}.png",
            "ground_truth": answer,
            "answer_type": kind,
            "subject": subject,
            "knowledge_level": "high school",
            "image_dir": f"trial{variant}",
        }
        for variant in range(1, variants + 1)
        for number, (question, answer, kind, subject) in enumerate(seeds, start=1)
    ]
