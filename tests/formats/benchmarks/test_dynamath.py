"""DynaMath: variants of seed questions, short answers in JSON, the average and the worst case."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_layouts import dynamath_rows, encoded, save, table

from dreamprm.config.errors import DataError
from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.scores import scores

DYNA = build_benchmark("dynamath")


def test_the_worst_case_needs_all_variants_of_a_seed(tmp_path: Path) -> None:
    found = read_questions(DYNA, save(tmp_path / "data.jsonl", dynamath_rows()), images="ignore")
    assert [question.published for question in found] == ["1/1", "2/1", "3/1", "1/2", "2/2", "3/2"]
    values = scores(DYNA, found, {"1/1": 1, "1/2": 1, "2/1": 1, "2/2": 0, "3/1": 0.5, "3/2": 0.5})
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert values["worst_case"] == pytest.approx((1 + 0 + 0.25) / 3)
    assert values["worst_case/subject/statistics"] == pytest.approx(0.125)
    assert values["variant/2"] == pytest.approx(0.5) and values["answer_type/float"] == 1


@pytest.mark.parametrize(
    ("number", "response", "right"),
    [
        (1, '{"solution": "...", "short answer": "2.0945"}', True),
        (1, '{"solution": "...", "short answer": "2.096"}', False),
        (1, 'Here: {"solution": "\\\\frac{2}{3}", "short answer": 2.094} done', True),
        (1, '{"short answer": "2.094 cm"}', True),
        (1, '{"short answer": "0.6666\u03c0"}', True),
        (1, '{"short answer": "about two"}', False),
        (1, "Step 1: Look.\nFinal answer: 2.094", True),
        (2, '{"short answer": "b"}', True),
        (2, '{"short answer": "(B) no"}', True),
        (2, '{"short answer": "A or B"}', False),
        (3, '{"short answer": "It is sep."}', True),
        (3, '{"short answer": ""}', False),
    ],
)
def test_the_own_rule(number: int, response: str, right: bool, tmp_path: Path) -> None:
    found = read_questions(DYNA, save(tmp_path / "data.jsonl", dynamath_rows(1)), images="ignore")
    verdict = DYNA.checker(found).check(response, found[number - 1].record).verdict
    assert verdict == ("right" if right else "wrong")


def test_files_of_the_generator_and_of_vlmevalkit(tmp_path: Path) -> None:
    names = {"ground_truth": "answer", "knowledge_level": "level"}
    rows = {
        str(row["id"]): {names.get(name, name): row[name] for name in row if name not in ("id", "image_dir")}
        for row in dynamath_rows(1)
    }
    generated = read_questions(DYNA, save(tmp_path / "dataset.json", rows), images="ignore")
    assert [question.published for question in generated] == ["1", "2", "3"]
    assert generated[0].groups["level"] == ("high school",) and "variant" not in generated[0].groups
    cells = [
        {
            "index": index,
            "qid": row["id"],
            "varid": row["image_dir"][5:],
            "image": encoded(),
            **{
                names.get(name, name): row[name]
                for name in ("question", "ground_truth", "answer_type", "subject")
            },
        }
        for index, row in enumerate(dynamath_rows(), start=1)
    ]
    path = table(tmp_path / "DynaMath.tsv", cells)
    found = read_questions(DYNA, path, image_folder=tmp_path / "images")
    assert found[3].published == "1/2" and len(found[3].record.images) == 1
    answers = table(tmp_path / "M_DynaMath.xlsx", [{"index": k, "prediction": "B"} for k in range(1, 7)])
    assert scores(DYNA, found, to_candidates(DYNA, found, answers).outcomes()["M"])[
        "worst_case"
    ] == pytest.approx(1 / 3)
    with pytest.raises(
        DataError, match="'ground_truth': got 'two'; allowed: a number, since answer_type is float"
    ):
        read_questions(DYNA, save(tmp_path / "d.jsonl", [dynamath_rows(1)[0] | {"ground_truth": "two"}]))


def test_a_seed_with_a_bad_variant_is_left_out_whole(tmp_path: Path) -> None:
    from dreamprm.data.read_report import Tolerance

    rows = dynamath_rows()
    rows[4] |= {"answer_type": "number"}
    path = save(tmp_path / "data.jsonl", rows)
    found = read_questions(DYNA, path, images="ignore", tolerance=Tolerance("skip", 0.5))
    assert [question.published for question in found] == ["1/1", "3/1", "1/2", "3/2"]
