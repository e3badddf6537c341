"""Small sources of our own making in each published layout of questions, and the records they must give."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dreamprm.data import QuestionRecord

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "gray": (128, 128, 128)}


@dataclass(frozen=True)
class Case:
    """A source that `build` writes into a folder, and what the format makes of it.

    In `expected`, images are the names of their colours.
    """

    name: str
    format: str
    build: Callable[[Path], Path]
    expected: list[QuestionRecord]
    options: dict[str, Any] = field(default_factory=dict)


def picture(colour: str) -> bytes:
    """A PNG file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(file, "PNG")
    return file.getvalue()


def colour_of(path: str) -> str:
    """The name of the colour of the image at a path."""
    with Image.open(path) as image:
        pixel = image.convert("RGB").getpixel((0, 0))
    return next(name for name, value in COLOURS.items() if value == pixel)


def put_picture(path: Path, colour: str) -> None:
    """Write a PNG file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(colour))


def put_json(path: Path, value: Any) -> Path:
    """Write a JSON file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def put_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a parquet file, its folders too; images are `embedded`, as the hub stores them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def embedded(colour: str) -> dict[str, Any]:
    """An image as the hub's parquet files hold it."""
    return {"bytes": picture(colour), "path": f"{colour}.png"}


def expected(
    id: str,
    question: str,
    images: str,
    answer: str,
    *options: str,
    domain: str,
    answer_type: str | None = "choice",
    precision: int | None = None,
    unit: str | None = None,
) -> QuestionRecord:
    """A record whose images are colours, given as one text."""
    return QuestionRecord(
        question, tuple(images.split()), answer, options, domain, answer_type, precision, unit, id
    )


def ai2d_release(folder: Path) -> Path:
    root = folder / "ai2d"
    put_picture(root / "images/0.png", "red")
    put_picture(root / "abc_images/0.png", "green")
    put_picture(root / "images/1.png", "blue")
    plain = {"abcLabel": False, "answerTexts": ["ears", "nose"], "correctAnswer": 1, "questionId": "0.png-0"}
    # The labels of a diagram as options, out of order: the letter B is the text of another option.
    labels = {"abcLabel": True, "answerTexts": ["B", "C", "A"], "correctAnswer": 1, "questionId": "0.png-1"}
    other = {"abcLabel": True, "answerTexts": ["x", "y"], "correctAnswer": 0, "questionId": "1.png-0"}
    put_json(
        root / "questions/0.png.json",
        {"imageName": "0.png", "questions": {"What hears?": plain, "Which label is the nose?": labels}},
    )
    put_json(root / "questions/1.png.json", {"imageName": "1.png", "questions": {"Which?": other}})
    return root


def ai2d_hub(folder: Path) -> Path:
    rows = [
        {"question": "Which?", "options": ["b", "a"], "answer": "1", "image": embedded("red")},
        {"question": "Which other?", "options": ["c", "d", "e"], "answer": "2", "image": embedded("red")},
    ]
    put_parquet(folder / "ai2d/data/test-00000-of-00002.parquet", rows[:1])
    put_parquet(folder / "ai2d/data/test-00001-of-00002.parquet", rows[1:])
    return folder / "ai2d"


def scienceqa_release(folder: Path) -> Path:
    problem = {
        "question": "Which force?",
        "choices": ["push", "pull"],
        "answer": 1,
        "hint": "A cart moves.",
        "image": "image.png",
        "task": "closed choice",
        "split": "train",
        "lecture": "",
    }
    put_picture(folder / "images/train/1/image.png", "red")
    return put_json(
        folder / "problems.json",
        {
            "1": problem,
            "2": problem | {"image": None, "hint": ""},
            "3": problem | {"split": "test"},
        },
    )


def scienceqa_hub(folder: Path) -> Path:
    row = {
        "image": embedded("blue"),
        "question": "Q?",
        "choices": ["no", "yes"],
        "answer": 0,
        "hint": "H",
        "task": "closed choice",
    }
    return put_parquet(folder / "train-00000-of-00001.parquet", [row, row | {"image": None, "hint": ""}])


def m3cot_release(folder: Path) -> Path:
    put_picture(folder / "images/physical-1.png", "red")
    put_picture(folder / "data/images/b.png", "green")
    row = {
        "id": "physical-1",
        "question": "Which?",
        "choices": ["B", "A"],
        "context": "Look.",
        "answer": "B",
        "image": "data/images/physical-1.png",
        "split": "train",
        "domain": "science",
    }
    other = row | {"id": "b", "context": "", "answer": "(A)", "image_path": "data/images/b.png"}
    del other["image"]
    lines = [json.dumps(row), json.dumps(other)]
    path = folder / "train.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def m3cot_hub(folder: Path) -> Path:
    row = {
        "id": "p-1",
        "question": "Which?",
        "choices": ["x", "y"],
        "context": "",
        "answer": "B",
        "image": embedded("gray"),
        "domain": "science",
    }
    put_parquet(folder / "hub/data/train-00000-of-00001.parquet", [row])
    put_parquet(folder / "hub/data/test-00000-of-00001.parquet", [row | {"id": "p-2"}])
    return folder / "hub"


def chartqa_release(folder: Path) -> Path:
    put_picture(folder / "train/png/c1.png", "red")
    rows = [
        {"imgname": "c1.png", "query": "How many?", "label": "14"},
        {"imgname": "c1.png", "query": "What share?", "label": "0.50"},
        {"imgname": "c1.png", "query": "Which year? ", "label": "Yes"},
    ]
    return put_json(folder / "train/train_human.json", rows)


def chartqa_hub(folder: Path) -> Path:
    row = {"image": embedded("red"), "query": "How many?", "label": ["3"], "human_or_machine": 0}
    return put_parquet(folder / "val.parquet", [row, row | {"human_or_machine": 1}])


def chartqa_authors_hub(folder: Path) -> Path:
    row = {"imgname": "c1.png", "query": "How many?", "label": "3", "type": "augmented"}
    rows = [row | {"image": picture("blue")}, row | {"image": picture("red"), "type": "human"}]
    return put_parquet(folder / "data/val-00000-of-00001.parquet", rows)


def chartqa_lmms(folder: Path) -> Path:
    row = {"type": "human_test", "question": "How many?", "answer": "3.5", "image": embedded("green")}
    return put_parquet(folder / "test.parquet", [row])


def dvqa_release(folder: Path) -> Path:
    name = "bar_train_00000001.png"
    put_picture(folder / "images" / name, "red")
    row = {
        "image": name,
        "question": "How many bars?",
        "answer": "two",
        "question_id": 120000013,
        "template_id": "structure",
        "answer_bbox": [],
    }
    other = {"question": "What is the value of x?", "answer": "4", "question_id": 7, "template_id": "data"}
    return put_json(folder / "train_qa.json", [row, row | other])


def figureqa_release(folder: Path) -> Path:
    root = folder / "train1"
    put_picture(root / "png/0.png", "red")
    put_picture(root / "png/12.png", "blue")
    row = {
        "question_string": "Is Red the minimum?",
        "answer": 1,
        "image_index": 0,
        "question_id": 0,
        "color1_name": "Red",
    }
    put_json(root / "qa_pairs.json", {"qa_pairs": [row, row | {"answer": 0, "image_index": 12}]})
    return root


def plotqa_release(folder: Path) -> Path:
    put_picture(folder / "train/png/5.png", "red")
    row = {
        "question_string": "What is the mean?",
        "answer": 54.333333333333336,
        "image_index": 5,
        "question_id": 0,
        "template": "arithmetic",
        "answer_bbox": {},
    }
    answers = [54.333333333333336, 0.0012, 1999, "Afghanistan", 123456.75]
    pairs = [row | {"answer": answer} for answer in answers]
    return put_json(folder / "train/qa_pairs_V2.json", {"qa_pairs": pairs})


def geo_problem(**changes: Any) -> dict[str, Any]:
    """A problem as GeoQA's pickles hold it; its diagram is grey values."""
    problem = {
        "id": 1500,
        "subject": "\u5982\u56fe",
        "English_problem": "As shown, find the angle.",
        "choices": ["30\u00b0", "45\u00b0", "60\u00b0", "90\u00b0"],
        "choice_nums": [30.0, 45.0, 60.0, 90.0],
        "label": 2,
        "image": np.full((2, 3), 128, dtype=np.uint8),
        "numbers": [60.0],
        "manual_program": ["g_equal", "N_0"],
    }
    return problem | changes


def put_pickle(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def geoqa_pickle(folder: Path) -> Path:
    other = geo_problem(id=np.int64(7), label=np.int64(0), choices=None)
    return put_pickle(folder / "Mix-train.pk", [geo_problem(), other])


def unigeo_pickle(folder: Path) -> Path:
    coloured = np.zeros((2, 3, 3), dtype=np.uint8)
    coloured[..., 2] = 255
    proof = {"id": 9, "input_text": "Prove it.", "proving_sequence": ["C0"], "img": coloured}
    return put_pickle(
        folder / "calculation_test.pk",
        [geo_problem(), proof, geo_problem(id="b", image=coloured, label=3)],
        protocol=2,
    )


def geometry3k_release(folder: Path) -> Path:
    root = folder / "geometry3k"
    data = {
        "id": 0,
        "problem_text": "Find x.",
        "choices": ["1", "2 \\sqrt { 3 }"],
        "answer": "B",
        "data_type": "train",
        "problem_type_graph": ["Triangle"],
    }
    for number, split, colour in [
        (0, "train", "red"),
        (10, "train", "green"),
        (2, "train", "blue"),
        (3, "test", "red"),
    ]:
        put_json(root / split / str(number) / "data.json", data | {"id": number, "data_type": split})
        put_picture(root / split / str(number) / "img_diagram.png", colour)
    return root


def geometry3k_hub(folder: Path) -> Path:
    row = {"images": [embedded("red")], "problem": "<image>Find x.", "answer": "2 \\sqrt { 221 }"}
    return put_parquet(folder / "train-00000-of-00001.parquet", [row, row | {"answer": "3"}])


def geos_folders(folder: Path) -> Path:
    question = {
        "key": 968,
        "text": "What is angle ABO?",
        "choices": {"1": "15*\\degree", "2": "30*\\degree"},
        "answer": 2.0,
        "diagram_path": "/var/folders/x/question-1.png",
    }
    put_json(folder / "geos/968/question.json", question)
    put_picture(folder / "geos/968/diagram.png", "red")
    put_json(folder / "geos/1018/question.json", question | {"key": 1018, "answer": 1})
    put_picture(folder / "geos/1018/diagram.png", "green")
    return folder / "geos"


def geos_array(folder: Path) -> Path:
    put_picture(folder / "q-1.png", "blue")
    row = {
        "pk": 3,
        "text": "T?",
        "choices": {"2": "b", "1": "a"},
        "answer": "2",
        "diagram_url": "http://geometry.example/media/q-1.png",
    }
    return put_json(folder / "questions.json", [row])


def clevr_math_release(folder: Path) -> Path:
    put_picture(folder / "images/train/CLEVR_train_000000.png", "red")
    row = {
        "question": "Remove all blue cubes. How many are left?",
        "answer": 4,
        "split": "train",
        "image_filename": "CLEVR_train_000000.png",
        "template_filename": "subtraction.json",
    }
    return put_json(folder / "clevr-math-train.json", {"info": {"questions": 1}, "questions": [row, row]})


def clevr_math_hub(folder: Path) -> Path:
    row = {
        "template": "addition",
        "id": "CLEVR_val_0.png",
        "question": "Add 2 cubes. How many?",
        "image": embedded("blue"),
        "label": 0,
    }
    return put_parquet(folder / "val.parquet", [row])


def super_clevr_release(folder: Path) -> Path:
    put_picture(folder / "images/superCLEVR_new_000000.png", "red")
    row = {
        "question": "How many cars?",
        "answer": 3,
        "image_filename": "superCLEVR_new_000000.png",
        "question_index": 0,
        "split": "new",
        "program": [],
    }
    answers = [3, True, "no", "yellow"]
    return put_json(
        folder / "superCLEVR_questions_30k.json",
        {"info": {}, "questions": [row | {"answer": answer} for answer in answers]},
    )


def iconqa_release(folder: Path) -> Path:
    root = folder / "iconqa_data"
    text = {
        "question": "Which shape?",
        "choices": ["circle", "square"],
        "answer": 1,
        "ques_type": "choose_txt",
        "split": "train",
        "grade": "grade1",
    }
    image = {
        "question": "Which is taller?",
        "choices": ["choice_0.png", "choice_1.png"],
        "answer": 0,
        "ques_type": "choose_img",
        "split": "train",
    }
    blank = {"question": "How many?", "choices": None, "answer": "5", "ques_type": "fill_in_blank"}
    put_json(root / "problems.json", {"11": text, "12": image, "13": blank})
    put_json(
        root / "pid_splits.json",
        {
            "choose_txt_train": ["11"],
            "fill_in_blank_val": ["13"],
            "choose_txt_minitrain": ["11"],
            "fill_in_blank_trainval": ["13"],
        },
    )
    put_picture(root / "iconqa/train/choose_txt/11/image.png", "red")
    put_picture(root / "iconqa/train/choose_img/12/image.png", "red")
    put_picture(root / "iconqa/train/choose_img/12/choice_0.png", "green")
    put_picture(root / "iconqa/train/choose_img/12/choice_1.png", "blue")
    put_picture(root / "iconqa/val/fill_in_blank/13/image.png", "gray")
    return root


def iconqa_folders(folder: Path) -> Path:
    """As the archive unpacks, where each problem has a file of its own."""
    root = folder / "iconqa_data"
    text = {"question": "Which shape?", "choices": ["circle", "square"], "answer": 1, "grade": "grade1"}
    image = {"question": "Taller?", "choices": ["choice_0.png", "choice_1.png"], "answer": 1, "label": "S2"}
    problems = [(100, "choose_txt", text), (9, "choose_txt", text), (12, "choose_img", image)]
    for number, task, problem in problems:
        own = root / "iconqa/train" / task / str(number)
        put_json(own / "data.json", problem | {"ques_type": task})
        put_picture(own / "image.png", "red")
    put_picture(root / "iconqa/train/choose_img/12/choice_0.png", "green")
    put_picture(root / "iconqa/train/choose_img/12/choice_1.png", "blue")
    return root


def iconqa_beside(folder: Path) -> Path:
    """With the list of problems beside the images' folder, as the project's page shows it."""
    root = iconqa_release(folder)
    for name in ("problems.json", "pid_splits.json"):
        (root / name).rename(folder / name)
    return folder


def aokvqa_release(folder: Path) -> Path:
    put_picture(folder / "train2017/000000299207.jpg", "red")
    row = {
        "split": "train",
        "image_id": 299207,
        "question_id": "22jbM6gDxdaMaunuzgrsBB",
        "question": "What is in the cake?",
        "choices": ["c", "d"],
        "correct_choice_idx": 0,
        "direct_answers": ["cherry"] * 10,
        "difficult_direct_answer": False,
    }
    return put_json(folder / "aokvqa_v1p0_train.json", [row])


def aokvqa_hub(folder: Path) -> Path:
    row = {
        "image": embedded("green"),
        "question_id": "x",
        "question": "What?",
        "choices": ["c", "d"],
        "correct_choice_idx": 1.0,
        "direct_answers": "['d']",
    }
    return put_parquet(folder / "val.parquet", [row])


def tabmwp_release(folder: Path) -> Path:
    problem = {
        "question": "How many?",
        "choices": None,
        "answer": "1,200",
        "unit": "$",
        "table_title": "Sold",
        "table": "day | n\nMon | 1,200",
        "ques_type": "free_text",
        "ans_type": "integer_number",
        "split": "train",
    }
    choice = {
        "choices": ["surplus", "shortage"],
        "answer": "shortage",
        "unit": None,
        "ques_type": "multi_choice",
        "ans_type": "extractive_text",
    }
    share = {"answer": "3/4", "unit": None, "ans_type": "decimal_number", "table_title": None}
    decimal = {"answer": "1.50", "ans_type": "decimal_number"}
    for number, colour in [(1, "red"), (2, "green"), (3, "blue"), (4, "gray")]:
        put_picture(folder / f"tables/{number}.png", colour)
    return put_json(
        folder / "problems_train.json",
        {
            "1": problem,
            "2": problem | choice,
            "3": problem | share,
            "4": problem | decimal,
        },
    )


def mmmu_hub(folder: Path) -> Path:
    images = {f"image_{number}": None for number in range(1, 8)}
    row = {
        "id": "validation_Accounting_1",
        "question": "See <image 1> and <image 2>.",
        "answer": "B",
        "options": "['$6', \"it's $7\", '<image 2>']",
        "question_type": "multiple-choice",
        **images,
        "image_1": embedded("red"),
        "image_2": embedded("blue"),
        "subfield": "x",
    }
    free = {
        "id": "validation_Math_2",
        "question": "<image 1>",
        "options": "[]",
        "question_type": "open",
        "image_2": None,
    }
    several = free | {"id": "validation_Math_3", "answer": "['24/7', '3.429']"}
    root = folder / "MMMU"
    put_parquet(root / "Accounting/validation-00000-of-00001.parquet", [row])
    put_parquet(
        root / "Math/validation-00000-of-00001.parquet", [row | free | {"answer": "2.5"}, row | several]
    )
    put_parquet(root / "Math/test-00000-of-00001.parquet", [row | {"id": "test_Math_1", "answer": "?"}])
    return root


GEO_TEXTS = ("30\u00b0", "45\u00b0", "60\u00b0", "90\u00b0")
GEO_NUMBERS = ("30.0", "45.0", "60.0", "90.0")

CASES = [
    Case(
        "ai2d_release",
        "ai2d",
        ai2d_release,
        [
            expected("ai2d-0.png-0", "What hears?", "red", "B", "ears", "nose", domain="AI2D"),
            expected("ai2d-0.png-1", "Which label is the nose?", "green", "B", "B", "C", "A", domain="AI2D"),
            expected("ai2d-1.png-0", "Which?", "blue", "A", "x", "y", domain="AI2D"),
        ],
    ),
    Case(
        "ai2d_hub",
        "ai2d",
        ai2d_hub,
        [
            expected("ai2d-ai2d-1", "Which?", "red", "B", "b", "a", domain="AI2D"),
            expected("ai2d-ai2d-2", "Which other?", "red", "C", "c", "d", "e", domain="AI2D"),
        ],
    ),
    Case(
        "scienceqa_release",
        "scienceqa",
        scienceqa_release,
        [
            expected(
                "scienceqa-1", "A cart moves.\nWhich force?", "red", "B", "push", "pull", domain="ScienceQA"
            ),
            expected("scienceqa-2", "Which force?", "", "B", "push", "pull", domain="ScienceQA"),
        ],
        {"split": "train", "without_image": "keep"},
    ),
    Case(
        "scienceqa_hub",
        "scienceqa",
        scienceqa_hub,
        [
            expected("scienceqa-train-00000-of-00001-1", "Q?", "blue", "A", "no", "yes", domain="ScienceQA"),
        ],
        {"without_image": "skip", "hint": False},
    ),
    Case(
        "m3cot_release",
        "m3cot",
        m3cot_release,
        [
            expected("m3cot-physical-1", "Look.\nWhich?", "red", "B", "B", "A", domain="M3CoT"),
            expected("m3cot-b", "Which?", "green", "A", "B", "A", domain="M3CoT"),
        ],
    ),
    Case(
        "m3cot_hub",
        "m3cot",
        m3cot_hub,
        [
            expected("m3cot-p-2", "Which?", "gray", "B", "x", "y", domain="M3CoT"),
        ],
        {"split": "test"},
    ),
    Case(
        "chartqa_release",
        "chartqa",
        chartqa_release,
        [
            expected(
                "chartqa-train_human-1", "How many?", "red", "14", domain="ChartQA", answer_type="integer"
            ),
            expected(
                "chartqa-train_human-2",
                "What share?",
                "red",
                "0.50",
                domain="ChartQA",
                answer_type="float",
                precision=2,
            ),
            expected(
                "chartqa-train_human-3", "Which year?", "red", "Yes", domain="ChartQA", answer_type="text"
            ),
        ],
    ),
    Case(
        "chartqa_hub",
        "chartqa",
        chartqa_hub,
        [
            expected("chartqa-val-1", "How many?", "red", "3", domain="ChartQA", answer_type="integer"),
        ],
        {"author": "human"},
    ),
    Case(
        "chartqa_authors_hub",
        "chartqa",
        chartqa_authors_hub,
        [
            expected(
                "chartqa-val-00000-of-00001-2",
                "How many?",
                "red",
                "3",
                domain="ChartQA",
                answer_type="integer",
            ),
        ],
        {"author": "human"},
    ),
    Case(
        "chartqa_lmms",
        "chartqa",
        chartqa_lmms,
        [
            expected(
                "chartqa-test-1",
                "How many?",
                "green",
                "3.5",
                domain="charts",
                answer_type="float",
                precision=1,
            ),
        ],
        {"domain": "charts", "author": "human"},
    ),
    Case(
        "dvqa_release",
        "dvqa",
        dvqa_release,
        [
            expected("dvqa-120000013", "How many bars?", "red", "two", domain="DVQA", answer_type="text"),
            expected("dvqa-7", "What is the value of x?", "red", "4", domain="DVQA", answer_type="integer"),
        ],
    ),
    Case(
        "figureqa_release",
        "figureqa",
        figureqa_release,
        [
            expected("figureqa-train1-1", "Is Red the minimum?", "red", "A", "Yes", "No", domain="FigureQA"),
            expected("figureqa-train1-2", "Is Red the minimum?", "blue", "B", "Yes", "No", domain="FigureQA"),
        ],
    ),
    Case(
        "plotqa_release",
        "plotqa",
        plotqa_release,
        [
            expected(
                f"plotqa-train-qa_pairs_V2-{row}",
                "What is the mean?",
                "red",
                answer,
                domain="PlotQA",
                answer_type=kind,
                precision=precision,
            )
            for row, (answer, kind, precision) in enumerate(
                [
                    ("54.333333333333336", "float", 1),
                    ("0.0012", "float", 4),
                    ("1999", "integer", None),
                    ("Afghanistan", "text", None),
                    ("123456.75", "float", 0),
                ],
                start=1,
            )
        ],
    ),
    Case(
        "geoqa_pickle",
        "geoqa_plus",
        geoqa_pickle,
        [
            expected("geoqa-1500", "\u5982\u56fe", "gray", "C", *GEO_TEXTS, domain="GeoQA+"),
            expected("geoqa-7", "\u5982\u56fe", "gray", "A", *GEO_NUMBERS, domain="GeoQA+"),
        ],
    ),
    Case(
        "unigeo_pickle",
        "unigeo",
        unigeo_pickle,
        [
            expected("unigeo-1500", "As shown, find the angle.", "gray", "C", *GEO_TEXTS, domain="UniGeo"),
            expected("unigeo-b", "As shown, find the angle.", "blue", "D", *GEO_TEXTS, domain="UniGeo"),
        ],
    ),
    Case(
        "geometry3k_release",
        "geometry3k",
        geometry3k_release,
        [
            expected(
                f"geometry3k-{number}", "Find x.", colour, "B", "1", "2 \\sqrt { 3 }", domain="Geometry3K"
            )
            for number, colour in [(0, "red"), (2, "blue"), (10, "green")]
        ],
        {"split": "train"},
    ),
    Case(
        "geometry3k_hub",
        "geometry3k",
        geometry3k_hub,
        [
            expected(
                "geometry3k-train-00000-of-00001-1",
                "Find x.",
                "red",
                "2 \\sqrt { 221 }",
                domain="Geometry3K",
                answer_type="symbolic",
            ),
            expected(
                "geometry3k-train-00000-of-00001-2",
                "Find x.",
                "red",
                "3",
                domain="Geometry3K",
                answer_type="integer",
            ),
        ],
    ),
    Case(
        "geos_folders",
        "geos",
        geos_folders,
        [
            expected(
                "geos-968", "What is angle ABO?", "red", "B", "15*\\degree", "30*\\degree", domain="GEOS"
            ),
            expected(
                "geos-1018", "What is angle ABO?", "green", "A", "15*\\degree", "30*\\degree", domain="GEOS"
            ),
        ],
    ),
    Case(
        "geos_array",
        "geos",
        geos_array,
        [
            expected("geos-3", "T?", "blue", "B", "a", "b", domain="GEOS"),
        ],
    ),
    Case(
        "clevr_math_release",
        "clevr_math",
        clevr_math_release,
        [
            expected(
                f"clevr-math-clevr-math-train-{row}",
                "Remove all blue cubes. How many are left?",
                "red",
                "4",
                domain="CLEVR-Math",
                answer_type="integer",
            )
            for row in (1, 2)
        ],
    ),
    Case(
        "clevr_math_hub",
        "clevr_math",
        clevr_math_hub,
        [
            expected(
                "clevr-math-val-1",
                "Add 2 cubes. How many?",
                "blue",
                "0",
                domain="CLEVR-Math",
                answer_type="integer",
            ),
        ],
    ),
    Case(
        "super_clevr_release",
        "super_clevr",
        super_clevr_release,
        [
            expected(
                f"super-clevr-superCLEVR_questions_30k-{row}",
                "How many cars?",
                "red",
                answer,
                domain="Super-CLEVR",
                answer_type=kind,
            )
            for row, (answer, kind) in enumerate(
                [("3", "integer"), ("yes", "text"), ("no", "text"), ("yellow", "text")], start=1
            )
        ],
    ),
    Case(
        "iconqa_release",
        "iconqa",
        iconqa_release,
        [
            expected("iconqa-11", "Which shape?", "red", "B", "circle", "square", domain="IconQA"),
            expected(
                "iconqa-12",
                "Which is taller?",
                "red green blue",
                "A",
                "<image 2>",
                "<image 3>",
                domain="IconQA",
            ),
            expected("iconqa-13", "How many?", "gray", "5", domain="IconQA", answer_type="integer"),
        ],
    ),
    Case(
        "iconqa_folders",
        "iconqa",
        iconqa_folders,
        [
            expected(
                "iconqa-12", "Taller?", "red green blue", "B", "<image 2>", "<image 3>", domain="IconQA"
            ),
            expected("iconqa-9", "Which shape?", "red", "B", "circle", "square", domain="IconQA"),
            expected("iconqa-100", "Which shape?", "red", "B", "circle", "square", domain="IconQA"),
        ],
    ),
    Case(
        "iconqa_beside",
        "iconqa",
        iconqa_beside,
        [expected("iconqa-13", "How many?", "gray", "5", domain="IconQA", answer_type="integer")],
        {"split": "val"},
    ),
    Case(
        "aokvqa_release",
        "aokvqa",
        aokvqa_release,
        [
            expected(
                "aokvqa-22jbM6gDxdaMaunuzgrsBB",
                "What is in the cake?",
                "red",
                "A",
                "c",
                "d",
                domain="A-OKVQA",
            ),
        ],
    ),
    Case(
        "aokvqa_hub",
        "aokvqa",
        aokvqa_hub,
        [
            expected("aokvqa-x", "What?", "green", "B", "c", "d", domain="A-OKVQA"),
        ],
    ),
    Case(
        "tabmwp_release",
        "tabmwp",
        tabmwp_release,
        [
            expected(
                "tabmwp-1", "How many?", "red", "1,200", domain="TabMWP", answer_type="integer", unit="$"
            ),
            expected("tabmwp-2", "How many?", "green", "B", "surplus", "shortage", domain="TabMWP"),
            expected("tabmwp-3", "How many?", "blue", "3/4", domain="TabMWP", answer_type="symbolic"),
            expected("tabmwp-4", "How many?", "gray", "1.50", domain="TabMWP", answer_type="float", unit="$"),
        ],
    ),
    Case(
        "mmmu_hub",
        "mmmu",
        mmmu_hub,
        [
            expected(
                "validation_Accounting_1",
                "See <image 1> and <image 2>.",
                "red blue",
                "B",
                "$6",
                "it's $7",
                "<image 2>",
                domain="MMMU",
            ),
            expected("validation_Math_2", "<image 1>", "red", "2.5", domain="MMMU", answer_type="float"),
            expected("validation_Math_3", "<image 1>", "red", "24/7", domain="MMMU", answer_type=None),
        ],
        {"split": "validation"},
    ),
]
