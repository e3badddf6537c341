"""Servers that answer without saying anything: empty replies, reasoning apart, equal rollouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loopback_servers import Fault, ScriptedServer

from dreamprm.cli import main

ROLLOUTS = 4
STEPS = ["Step 1: Look. The answer is 7.", "Step 2: Add.", "Step 3: Halve.\nFinal answer: 7"]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


def config(folder: Path, server: ScriptedServer, *, records: int = 4, **more: Any) -> str:
    rows = [
        {
            "id": f"q{k}",
            "question": f"What is it, {k}?",
            "benchmark": "sums",
            "answer": "7",
            "candidates": [{"text": "\n\n".join(STEPS), "steps": STEPS, "correct": True}],
        }
        for k in range(records)
    ]
    (folder / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "label.yaml"
    values = {
        "output": str(folder / "out"),
        "questions": {"allow_no_image": True},
        "generator": {"name": "openai", "model": "m", "base_url": server.url, "prefix": "continue"},
        "label": {"rollouts": ROLLOUTS, "candidates": str(folder / "candidates.jsonl")},
        "log": {"progress": "lines"},
    }
    path.write_text(json.dumps(values | more))
    return str(path)


def choices(body: dict[str, Any], message: dict[str, Any], reason: str = "stop", **more: Any) -> Fault:
    one = {"message": {"role": "assistant"} | message, "finish_reason": reason} | more
    return Fault("body", body={"choices": [one | {"index": k} for k in range(body.get("n", 1))]})


def journal(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "out/rollouts.jsonl").read_text().splitlines()]
    return [row for row in rows if row["step"]]


def labels(folder: Path) -> list[list[float | None]]:
    return [json.loads(line)["labels"] for line in (folder / "out/steps.jsonl").read_text().splitlines()]


SILENT = [
    ({"content": None, "reasoning_content": "Hmm. Final answer: 7"}, "length", "no content, only reasoning"),
    ({"content": None, "reasoning": "Hmm. Final answer: 7"}, "stop", "no content, only reasoning"),
    ({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls", "no content, only tool calls"),
    ({"content": ""}, "length", "cut off"),
    ({"content": "   \n"}, "stop", "empty"),
    ({"content": "<|im_end|>"}, "stop", "template marks"),
    ({"content": "<think>\nFinal answer: 7"}, "length", "thinking"),
    ({"content": None, "refusal": "I will not do this."}, "stop", "a refusal"),
    ({"content": "I cannot say."}, "stop", "undecided"),
]


@pytest.mark.parametrize(("message", "reason", "named"), SILENT)
def test_a_run_without_answers_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], message: dict[str, Any], reason: str, named: str
) -> None:
    """Two prefixes of each chain; the first states an answer, which must not be taken for the reply's."""
    fault = lambda number, body: choices(body, message, reason)  # noqa: E731
    with ScriptedServer(fault_of=fault).serving() as server:
        path = config(tmp_path, server)
        code = main(["label", path])
        said = capsys.readouterr()
        if named != "undecided":
            assert code == 2 and "say nothing that can be judged" in said.err
            assert "max_undecided_fraction=0.5" in said.err and named in said.err + said.out
            assert "The first: question q" in said.err and "rollouts.jsonl" in said.err
        paid = len(journal(tmp_path))
        assert paid >= 20
        summary = json.loads((tmp_path / "out/summary-steps.json").read_text())
        assert summary["replies"]["total"] == paid
        # What was paid for is used again, and no label is made of it.
        assert main(["label", path, "max_undecided_fraction=1"]) == 0
        assert len(journal(tmp_path)) == 4 * 2 * ROLLOUTS
        # A reply that says something else after an answer takes nothing back.
        second = 1.0 if named == "undecided" else None
        assert labels(tmp_path) == [[None, second, 1.0]] * 4
        assert sum(len(one.body["messages"]) > 1 for one in server.exchanges) == 4 * 2
    assert "undecided (100.0%)" in capsys.readouterr().out or paid == 32


def test_reasoning_is_kept_beside_the_reply_and_never_graded(tmp_path: Path) -> None:
    message = {"content": "\n\nFinal answer: 7", "reasoning_content": "Step 1: no.\nFinal answer: 8"}
    fault = lambda number, body: choices(body, message)  # noqa: E731
    with ScriptedServer(fault_of=fault).serving() as server:
        assert main(["label", config(tmp_path, server)]) == 0
    rows = journal(tmp_path)
    assert {row["verdict"] for row in rows} == {"right"}
    assert {row["reasoning"] for row in rows} == {message["reasoning_content"]}
    assert labels(tmp_path) == [[1.0, 1.0, 1.0]] * 4


def test_reasoning_of_sampled_chains_is_in_the_records(tmp_path: Path) -> None:
    message = {
        "content": "Step 1: a\nStep 2: b\nFinal answer: 7",
        "reasoning": "Step 1: x\nStep 2: y\nStep 3: z",
    }
    fault = lambda number, body: choices(body, message)  # noqa: E731
    rows = [{"id": "q", "question": "What?", "answer": "7", "domain": "sums"}]
    (tmp_path / "questions.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with ScriptedServer(fault_of=fault).serving() as server:
        more = {"questions": {"files": [str(tmp_path / "questions.jsonl")], "allow_no_image": True}}
        path = config(tmp_path, server, **more, label={})
        assert main(["sample", path, "sample.n=2", "prompt=plain"]) == 0
    (record,) = map(json.loads, (tmp_path / "out/candidates.jsonl").read_text().splitlines())
    assert record["reasoning"] == [message["reasoning"]] * 2
    assert [len(one["steps"]) for one in record["candidates"]] == [2, 2]


def test_some_undecided_replies_are_shown_and_do_not_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(number: int, body: dict[str, Any]) -> Fault:
        texts = ["Final answer: 7", "Final answer: 8", "Final answer: 7 !", ""]
        made = [
            {"index": k, "message": {"content": texts[k % 4] or None}, "finish_reason": "stop"}
            for k in range(body.get("n", 1))
        ]
        return Fault("body", body={"choices": made})

    with ScriptedServer(fault_of=fault).serving() as server:
        assert main(["label", config(tmp_path, server)]) == 0
    said = capsys.readouterr()
    assert "of which 8 empty" in said.out and "undecided" in said.err
    summary = json.loads((tmp_path / "out/summary-steps.json").read_text())
    assert (summary["replies"]["empty"], summary["replies"]["prefixes_with_identical_rollouts"]) == (8, 0)
    assert all(label is not None and 0 < label < 1 for row in labels(tmp_path) for label in row[:-1])


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_identical_rollouts_are_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], temperature: float
) -> None:
    fault = lambda number, body: choices(body, {"content": "So it is.\nFinal answer: 7"})  # noqa: E731
    with ScriptedServer(fault_of=fault).serving() as server:
        path = config(tmp_path, server)
        assert main(["label", path, f"generator.temperature={temperature}"]) == 0
    said = capsys.readouterr()
    warned = "all rollouts are identical for 8 of 8 prefixes" in said.out
    assert warned == (temperature > 0)
    assert ("identical for 5 of 5" in said.err) == (temperature > 0)


def test_content_in_parts(tmp_path: Path) -> None:
    parts = [
        {"type": "thinking", "thinking": []},
        {"type": "text", "text": "Final "},
        {"type": "text", "text": "answer: 7"},
    ]
    fault = lambda number, body: choices(body, {"content": parts})  # noqa: E731
    with ScriptedServer(fault_of=fault).serving() as server:
        assert main(["label", config(tmp_path, server)]) == 0
    assert {row["text"] for row in journal(tmp_path)} == {"Final answer: 7"}


@pytest.mark.parametrize("undecided", [1.0, 0.75])
def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], undecided: float) -> None:
    """Eight replies are too few to stop a run; at its end it fails if none of them says anything."""

    def fault(number: int, body: dict[str, Any]) -> Fault:
        made = [
            {"index": k, "message": {"content": "" if k < undecided * 4 else "Final answer: 7"}}
            | {"finish_reason": "length"}
            for k in range(body.get("n", 1))
        ]
        return Fault("body", body={"choices": made})

    with ScriptedServer(fault_of=fault).serving() as server:
        code = main(["label", config(tmp_path, server, records=1)])
    said = capsys.readouterr()
    assert code == (2 if undecided == 1 else 0)
    told = f"{round(8 * undecided)} of 8 replies say nothing that can be judged"
    assert told in (said.err if undecided == 1 else said.out.partition("warning: ")[2])
    assert labels(tmp_path) == [[None, None, 1.0]] if undecided == 1 else [[0.25, 0.25, 1.0]]
