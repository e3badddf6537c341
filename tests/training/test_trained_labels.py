"""Hard labels, masks and consensus in a training: what is trained on, said and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import TinyRun, trained, write_lines

from dreamprm.training.checkpoint import load_checkpoint


def rewrite(tiny: TinyRun, domain: str, **fields: Any) -> None:
    """Give every record of a domain these fields; a callable is called with the record."""
    path = tiny.folder / f"{domain}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row |= {name: make(row) for name, make in fields.items()}
    write_lines(path, rows)


def labels_in(path: Path) -> list[Any]:
    return [json.loads(line)["labels"] for line in path.read_text().splitlines()]


def test_hard_labels_and_a_mask_are_what_is_trained_on(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [
        labels for domain in ("charts", "maths") for labels in labels_in(tiny.folder / f"{domain}.jsonl")
    ]
    keys = ("data.labels=hard", "data.label_threshold=0.5", "data.mask=after_first_error")
    assert tiny.train(*keys, "sampling=mixed", report=True) == 0
    wanted: list[list[float]] = []
    for labels in given:
        hard = [float(label > 0.5) for label in labels]
        wanted.append(hard[: hard.index(0.0) + 1] if 0.0 in hard else hard)
    left, every = sum(map(len, wanted)), sum(map(len, given))
    right = int(sum(map(sum, wanted)))
    found = tiny.summary()["labels"]
    assert found["right"] == right and found["wrong"] == left - right
    assert found["masked"] == every - left > 0
    assert found["masked_cots"] == sum(len(a) < len(b) for a, b in zip(wanted, given))
    assert (found["labels"], found["threshold"], found["mask"]) == ("hard", 0.5, "after_first_error")
    line = f"labels: right (above 0.5) {right}, wrong {left - right}; data.labels=hard changed "
    assert line in capsys.readouterr().out
    told = json.loads((tiny.output / "model" / "prm.json").read_text())["training"]
    assert (told["labels"], told["label_threshold"], told["label_mask"]) == ("hard", 0.5, "after_first_error")
    assert "hard, right above 0.50" in (tiny.output / "report.html").read_text()
    # the generator's accuracy stays that of the labels in the file
    accuracy = tiny.summary()["generator_accuracy"]["charts"]
    assert accuracy == pytest.approx(sum(labels[0] for labels in given[:5]) / 5)
    run, *_ = trained(tiny, *keys, "sampling=mixed", "steps=2")
    assert [[y for y in record.labels if y is not None] for record in run.records] == wanted
    batch = run.step_batches[0]
    assert set(batch["labels"].tolist()) <= {0.0, 1.0}


def test_files_of_these_labels_train_to_the_same_bits(tiny: TinyRun) -> None:
    """The settings are the same as files that hold what they make."""
    made, *_ = trained(tiny, "data.labels=hard", "data.label_threshold=0.5", "steps=2")
    for domain in ("charts", "maths"):
        rewrite(tiny, domain, labels=lambda row: [float(label > 0.5) for label in row["labels"]])
    given, *_ = trained(tiny, "steps=2")
    for name, value in given.state.params.items():
        assert value.equal(made.state.params[name]), name


def test_the_stored_settings_are_those_of_the_checkpoint(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.train("steps=4") == 0
    assert "labels" not in tiny.summary()
    assert tiny.train("steps=4", "data.labels=hard") == 2
    assert "data.labels: soft there, hard now" in capsys.readouterr().err
    load_checkpoint(tiny.output / "checkpoints" / "step-000004")


def test_consensus_leaves_out_what_two_labellings_disagree_on(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    number = iter(range(100))
    for domain in ("charts", "maths"):
        # every second CoT of the other opinion on its first step
        rewrite(
            tiny,
            domain,
            critic=lambda row: (
                [(row["labels"][0] > 0.5) == (next(number) % 2 == 0)]
                + [label > 0.5 for label in row["labels"][1:]]
            ),
        )
    keys = ("data.consensus=critic", "data.label_threshold=0.5")
    assert tiny.train(*keys) == 0
    found = tiny.summary()
    assert (
        found["left_out"]
        and sum(found["left_out"].values()) == found["labels"]["consensus"]["disagreeing"] == 5
    )
    assert "no consensus with 'critic' (first_error)" in capsys.readouterr().out
    assert tiny.train(*keys, "data.consensus_on=steps", "baseline.name=s1", "baseline.final_answer=false",
                      "baseline.max_solved=1", "baseline.keep=1", "overwrite=true") == 0  # fmt: skip
    counted = tiny.summary()["labels"]["consensus"]
    # a CoT of one step has none left
    assert counted["disagreeing"] + counted["disagreeing_steps"] == 5 and counted["disagreeing_steps"] > 0
    selected = labels_in(tiny.output / "selected" / "train.jsonl")
    assert sum(labels[0] is None for labels in selected) == counted["disagreeing_steps"]


REFUSED = {
    "threshold for nothing": (
        ("data.label_threshold=0.5",),
        "is only read with labels=hard, mask=after_first",
    ),
    "how without what": (
        ("data.consensus_on=steps",),
        "data.consensus_on is only read where consensus is set",
    ),
    "no class left": (
        ("data.labels=hard", "data.label_threshold=0.9999"),
        "labels are wrong (data.label_thr",
    ),
    "threshold of one": (
        ("data.labels=hard", "data.label_threshold=1"),
        "label_threshold must be >= 0 and < 1",
    ),
    "no second labelling": (("data.consensus=critic",), "field 'critic' is missing"),
    "no name": (("data.consensus=' '",), "consensus must name a scorer or a field"),
    "soft, masked": (
        ("data.mask=after_first_error", "data.label_threshold=0.9999"),
        "a PRM learns nothing from",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_right_is_refused(
    case: str, tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides, message = REFUSED[case]
    for domain in ("charts", "maths"):
        rewrite(tiny, domain, labels=lambda row: [min(label, 0.875) for label in row["labels"]])
    assert tiny.train(*overrides) == 2
    assert message in capsys.readouterr().err
    assert not tiny.output.exists()
