"""The checker against the flags that MATH-V publishes with its models' responses."""

from collections import Counter

import pytest
from experiment_scripts import load_script
from shared_data import shared_file

from dreamprm.answers import build_checker, symbolic

# Flagged right, all of which we find right; and flagged wrong, which we find right (each is in answers.md).
RIGHT = {
    "ChatGPT3.5-CoT_Text_Image_Caption": (31, 4),
    "GPT4-CoT_Text_Only": (14, 17),
    "Gemini-Pro-CoT": (44, 5),
    "InternLM-XComposer2-VL-CoT": (45, 6),
    "Qwen-VL-Max-CoT": (42, 10),
}


@pytest.fixture(scope="module")
def script():
    return load_script("answer_agreement")


@pytest.fixture(scope="module")
def rows(script):
    if not symbolic.installed():
        pytest.skip("a count needs math-verify: pip install 'dreamprm[math]'")
    folder = shared_file("mathvision/testmini.jsonl").parent
    checker = build_checker("auto")
    yield list(script.mathvision(folder, checker))
    checker.close()


def test_the_counts_of_every_model(rows):
    right = Counter((row.model, row.flag) for row in rows if row.judgement.verdict == "right")
    assert {model: (right[model, True], right[model, False]) for model in RIGHT} == RIGHT
    assert Counter(row.model for row in rows) == dict.fromkeys(RIGHT, 304)
    # Nothing that is flagged right is missed.
    assert sum(row.flag for row in rows) == sum(found for found, _ in RIGHT.values())


def test_every_disagreement_was_read(rows, script):
    unread = [(row.model, row.question.id) for row in rows if not row.agrees and row.cause == "Not read yet"]
    assert unread == []
    read = sum(len(ids.split()) for models in script.CAUSES.values() for ids in models.values())
    assert read == sum(not row.agrees for row in rows) == 42


def test_the_page_lists_every_disagreement(rows, script):
    other = Counter({("right", True): 3, ("wrong", False): 2})
    page = script.report(rows, {"a/file.json": other}, "command")
    assert page.count("| wrong | right, `") == 42
    assert "| Qwen-VL-Max-CoT | 304 | 294 (96.7 %) | 42, 0 | " in page
    assert "| a/file.json | 3, 0, 0 | 0, 2, 0 |" in page


def test_responses_to_one_question_agree_with_each_other(script):
    """MMMU-Pro: all responses that are flagged right name one option, those flagged wrong another."""
    path = shared_file("dreamprm15/meta_MMMU_Pro.json")
    found = script.mmmu_pro(path, build_checker("choice"))
    assert (found["right", True], found["wrong", True], found["undecided", True]) == (551, 0, 0)
    assert (found["right", False], found["wrong", False]) == (0, 279)
