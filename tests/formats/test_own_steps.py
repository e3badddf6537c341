"""Our own step records converted again: as meta records, split by question, cut at a number of tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.data import read_meta_records, read_step_records
from dreamprm.formats.convert import convert_file, run_convert
from dreamprm.formats.question_split import near_copies
from dreamprm.formats.settings import ConvertConfig

N = None


def own(question: str = "why?", labels: Any = (1, 0), **more: Any) -> dict[str, Any]:
    steps = [f"Step {k}: go" for k in range(1, len(labels) + 1)]
    return {"question": question, "domain": "d", "steps": steps, "labels": list(labels)} | more


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_public_rows_become_our_form(tmp_path: Path) -> None:
    row = {
        "input": "q",
        "add": "Step 1: a",
        "accuracy": 0.5,
        "dataset": "d",
        "image_path": "i.png",
        "times": 8,
    }
    path = lines(tmp_path / "p.json", row, row | {"add": "Step 1: a\nStep 2: b", "accuracy": 0})
    convert_file("steps", path, tmp_path / "o.jsonl")
    (record,) = read_step_records(tmp_path / "o.jsonl", missing_image="keep")
    assert (record.labels, record.rollouts, record.images) == ((0.5, 0), (8, 8), ("i.png",))


@pytest.mark.parametrize(
    ("row", "options", "correct"),
    [
        (own(final_answer_correct=True), {}, True),
        (own(labels=(1, 1), final_answer_correct=False), {}, False),
        (own(labels=(0, 1)), {"truth": "last_step"}, True),
        (own(labels=(0, 1)), {"truth": "all_steps"}, False),
        (own(labels=(N, 0)), {"truth": "all_steps"}, False),
        (own(labels=(0.5, 0.25)), {"truth": "all_steps", "threshold": 0}, True),
        (own(), {}, "its final_answer_correct does not say whether the chain is right; set unknown=skip"),
        (own(labels=(N, 1)), {"truth": "all_steps"}, "its labels do not say whether the chain is right"),
        (own(labels=(1, 0.5)), {"truth": "last_step"}, "a label is 0.5, but .* give a threshold"),
    ],
)
def test_steps_to_meta(row: dict[str, Any], options: dict[str, Any], correct: Any, tmp_path: Path) -> None:
    path, out = lines(tmp_path / "s.jsonl", row), tmp_path / "m.jsonl"
    if isinstance(correct, str):
        with pytest.raises(DataError, match=correct):
            convert_file("steps_to_meta", path, out, **options)
        return
    convert_file("steps_to_meta", path, out, **options)
    (record,) = read_meta_records(out, allow_no_image=True)
    assert (record.correct, record.steps, record.question) == (correct, tuple(row["steps"]), "why?")


def test_chains_of_which_it_is_not_known_may_be_left_out(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.jsonl", own(), own(final_answer_correct=True))
    done = convert_file("steps_to_meta", path, tmp_path / "m.jsonl", unknown="skip")
    assert done.records == 1
    assert done.report.not_chosen == {"not known whether the chain is right (unknown=skip)": 1}
    with pytest.raises(UserError, match="threshold=0.5 is only read with truth=last_step or all_steps"):
        convert_file("steps_to_meta", path, tmp_path / "m.jsonl", threshold=0.5)


LONG = "A train leaves the station at noon and travels at sixty miles an hour toward the city of Springfield"


def test_near_copies_are_one_group() -> None:
    texts = [LONG, "other words altogether", LONG.upper() + "!", LONG + " today", "1 + 2?", "1 + 3?"]
    assert near_copies([(text, ()) for text in texts]) == [0, 1, 0, 0, 4, 5]
    assert near_copies([(LONG, ("a.png",)), (LONG, ("b.png",)), (LONG, ("a.png",))]) == [0, 1, 0]
    assert near_copies([("?", ()), ("!", ()), ("?", ())]) == [0, 1, 0]


def test_a_split_keeps_near_copies_together_whatever_the_order(tmp_path: Path) -> None:
    rows = [
        own(f"question number {k} about {'abcdefg'[k % 7]} things", id=f"{k}-{n}")
        for k in range(300)
        for n in "ab"
    ]
    rows += [own(f"{row['question']}!", id=f"{row['id']}-copy") for row in rows[:100]]
    shares = {"train": 0.7, "dev": 0.2, "test": 0.1}

    def parts(rows: list[dict[str, Any]], seed: int) -> dict[str, set[str]]:
        done = convert_file(
            "steps", lines(tmp_path / "s.jsonl", *rows), tmp_path / "o.jsonl", shares=shares, seed=seed
        )
        assert [part.records for part in done.parts] and sum(part.records for part in done.parts) == len(rows)
        assert sum(part.questions for part in done.parts) == 300
        files = {name: (tmp_path / f"o_{name}.jsonl").read_text().splitlines() for name in shares}
        return {name: {json.loads(line)["id"] for line in held} for name, held in files.items()}

    found = parts(rows, 0)
    assert all(0.6 < len(found["train"]) / 700 < 0.8 and len(found[name]) > 20 for name in shares)
    for ids in found.values():
        assert {i.replace("-b", "-a").replace("-copy", "") for i in ids} <= ids  # all of a question
        assert {f"{i}-copy" for i in ids if "copy" not in i and int(i.split("-")[0]) < 50} <= ids
    assert parts(rows[::-1], 0) == found and parts(rows, 1) != found


def test_the_shares_are_met_by_groups_of_near_copies(tmp_path: Path) -> None:
    """The draw of a group must not depend on how many near-copies it has."""
    texts = [f"{LONG} in the year {k} with {k} passengers {n}" for k in range(100) for n in "abcd"]
    assert len(set(near_copies([(text, ()) for text in texts]))) == 100
    source = lines(tmp_path / "s.jsonl", *map(own, texts))
    done = convert_file("steps", source, tmp_path / "o.jsonl", shares={"dev": 0.2, "test": 0.8})
    dev, test = (part.questions for part in done.parts)
    assert 0.1 < dev / (dev + test) < 0.3


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"train": 1.0}, "shares.train must be a number > 0 and < 1"),
        ({"train": 0.5, "dev": 0.4}, "sum to 1"),
        ({"a/b": 0.5, "dev": 0.5}, "cannot be part of a file's name"),
        ({"train": 0.999999, "dev": 0.000001}, "no question falls into dev"),
    ],
)
def test_shares_that_make_no_split(shares: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        convert_file(
            "steps", lines(tmp_path / "s.jsonl", own(), own("how?")), tmp_path / "o.jsonl", shares=shares
        )


def test_no_part_takes_the_place_of_the_source(tmp_path: Path) -> None:
    source = lines(tmp_path / "o_train.jsonl", own(), own("how?"))
    with pytest.raises(UserError, match=r"o_train\.jsonl, where train would be written, is the source"):
        convert_file("steps", source, tmp_path / "o.jsonl", shares={"train": 0.5, "dev": 0.5})


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    """One token per word."""
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]").save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def test_records_are_cut_or_left_out(tokenizer: str, tmp_path: Path) -> None:
    rows = [own(labels=(1, 0, 0), final_answer_correct=True), own(labels=(N, 1)), own("a " * 20)]
    path, out = lines(tmp_path / "s.jsonl", *rows), tmp_path / "o.jsonl"
    done = convert_file("steps", path, out, max_tokens=7, tokenizer=tokenizer)  # the question has 1, steps 3
    assert done.report.lines() == [
        "left out 1 of 3: longer than 7 tokens",
        "cut 1 of 3 after the last step that fits",
    ]
    first, second = read_step_records(out, allow_no_image=True)
    assert (first.labels, first.final_answer_correct, second.labels) == ((1, 0), N, (N, 1))
    done = convert_file("steps", path, out, max_tokens=7, tokenizer=tokenizer, too_long="skip")
    assert done.records == 1 and done.report.not_chosen == {"longer than 7 tokens": 2}
    done = convert_file(
        "steps", path, out, max_tokens=6, tokenizer=tokenizer
    )  # no labelled step would be left
    assert done.records == 1
    with pytest.raises(UserError, match="cannot be cut: set too_long=skip"):
        convert_file("steps_to_meta", path, out, max_tokens=7, tokenizer=tokenizer)
    meta = {"max_tokens": 10, "tokenizer": tokenizer, "too_long": "skip", "unknown": "skip"}
    assert convert_file("steps_to_meta", path, out, **meta).records == 1
    for options, message in (
        ({"max_tokens": 7}, "belong together"),
        ({"max_tokens": 0, "tokenizer": tokenizer}, "max_tokens must be a whole number >= 1"),
        ({"max_tokens": 7, "tokenizer": str(tmp_path / "none")}, "tokenizer is not a folder"),
    ):
        with pytest.raises(UserError, match=message):
            convert_file("steps", path, out, **options)


def test_the_command_prints_the_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lines(tmp_path / "s.jsonl", *(own(f"question {k}") for k in range(40)))
    settings = ["format=steps", f"source={path}", f"destination={tmp_path / 'o.jsonl'}"]
    run_convert(load_config(ConvertConfig, None, [*settings, "shares={train: 0.5, dev: 0.5}", "seed=3"]))
    said = capsys.readouterr().out
    assert "wrote 40 step records" in said and "o_train.jsonl: " in said and "o_dev.jsonl: " in said
