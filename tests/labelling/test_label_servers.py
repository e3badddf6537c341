"""`dreamprm label` against servers: a real one, and one that misbehaves in front of it or by itself."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from loopback_servers import Exchange, Fault, RealServer, ScriptedServer, one_real_server, status
from PIL import Image
from tiny_served_model import OPTIONS, QUESTIONS

from dreamprm.cli import main
from dreamprm.data import read_step_records

KEY = "sk-nobody-may-see-this"
COTS, ROLLOUTS = 2, 3


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def _config(folder: Path, address: str, *, model: str = "m", questions: int = 3, **generator: Any) -> str:
    Image.new("RGB", (40, 30), "red").save(folder / "box.png")
    rows = [
        {
            "id": f"q{k}",
            "question": f"{QUESTIONS[k % len(QUESTIONS)]} (picture {k})",
            "image": "box.png",
            "options": list(OPTIONS),
            "answer": "A",
            "domain": "boxes",
        }
        for k in range(questions)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "label.yaml"
    path.write_text(
        json.dumps(
            {
                "output": str(folder / "out"),
                "questions": {"files": [str(folder / "questions.jsonl")]},
                "generator": {
                    "name": "openai",
                    "model": model,
                    "base_url": address,
                    "temperature": 0.5,
                    "max_tokens": 120,
                    "backoff": 0.01,
                    "longest_wait": 0.05,
                    **generator,
                },
                "label": {"method": "full", "rollouts": ROLLOUTS, "cots": COTS},
                "log": {"progress": "lines"},
            }
        )
    )
    return str(path)


def _journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "rollouts.jsonl").read_text().splitlines()]


def _check_labels(folder: Path, questions: int) -> None:
    """Every label is the share that the journal says, and every rollout stands there once."""
    journal = _journal(folder)
    keys = Counter((row["question"], row["cot"], row["step"], row["rollout"]) for row in journal)
    assert set(keys.values()) == {1}
    records = list(read_step_records(folder / "out" / "steps.jsonl", check_images=True))
    assert len(records) == questions * COTS
    for record in records:
        question, _, cot = record.id.rpartition("-")
        for step, label in enumerate(record.labels[:-1], start=1):
            rows = [
                row
                for row in journal
                if (row["question"], row["cot"], row["step"]) == (question, int(cot), step)
            ]
            assert len(rows) == ROLLOUTS
            assert label == sum(row["verdict"] == "right" for row in rows) / ROLLOUTS
    prefixes = sum(len(record.steps) - 1 for record in records)
    assert len(journal) == len(records) + prefixes * ROLLOUTS


def _check_nothing_lost_or_doubled(folder: Path, server: ScriptedServer, *, reads: Any = str) -> None:
    """What the server answered is what the journal holds, text for text."""
    answered = Counter(
        reads(text) for exchange in server.chats for text in exchange.texts[: exchange.body.get("n", 1)]
    )
    assert Counter(row["text"] for row in _journal(folder)) == answered


def _check_no_key(folder: Path, shown: Any) -> None:
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 4 and not any(KEY.encode() in content for content in written)
    assert KEY not in shown.out + shown.err


def _five_steps(body: dict[str, Any], number: int, index: int) -> str:
    """A whole response, or the rest of one whose prefix is an open turn; every one is another text."""
    last = body["messages"][-1]
    written = last["content"].count("Step ") if last["role"] == "assistant" else 0
    lines = [f"Step {k}: request {number} choice {index}" for k in range(written + 1, 6)]
    return ("\n" if written else "") + "\n".join(lines) + f"\nFinal answer: {'AB'[(number + index) % 2]}"


@one_real_server
def test_labels_from_a_real_server(real_server: RealServer, tmp_path: Path, capsys: Any) -> None:
    config = _config(tmp_path, real_server.url, model=real_server.model, questions=2)
    assert main(["label", config]) == 0
    _check_labels(tmp_path, 2)
    summary = json.loads((tmp_path / "out" / "summary-steps.json").read_text())
    assert summary["questions"] == {"total": 2, "done": 2, "failed": 0}
    assert summary["generator"]["prefix"].startswith("instruct: ")
    assert summary["tokens_sampled"] == sum(row["tokens"] for row in _journal(tmp_path)) > 0
    # A second time nothing is asked for; the server may as well be gone.
    assert main(["label", config, "generator.base_url=http://127.0.0.1:1/v1"]) == 0
    _check_no_key(tmp_path, capsys.readouterr())


@one_real_server
def test_labels_from_a_real_server_behind_one_that_misbehaves(
    real_server: RealServer, tmp_path: Path, capsys: Any
) -> None:
    draw = random.Random(0)
    faults = [
        Fault("drop"),
        Fault("cut"),
        Fault("malformed"),
        status(500),
        status(429, Retry_After="0"),
        Fault("body", body={"choices": []}),
        None,
        None,
    ]
    with ScriptedServer(
        fault_of=lambda number, body: draw.choice(faults), forward_to=real_server.url
    ).serving() as server:
        config = _config(tmp_path, server.url, model=real_server.model, questions=1, retries=60)
        assert main(["label", config]) == 0
        met = Counter(exchange.fault is not None for exchange in server.exchanges)
        assert met[True] > 10
        assert len(_journal(tmp_path)) == sum(len(exchange.texts) for exchange in server.chats)
    _check_labels(tmp_path, 1)
    _check_no_key(tmp_path, capsys.readouterr())


def test_a_server_with_every_fault_loses_and_doubles_nothing(tmp_path: Path, capsys: Any) -> None:
    draw = random.Random(1)
    faults = [
        Fault("drop"),
        Fault("cut"),
        Fault("malformed"),
        status(500),
        status(503),
        status(408),
        status(409),
        status(429, Retry_After="0"),
        Fault("body", body={"choices": []}),
        Fault("fewer", count=1),
        Fault("more"),
        None,
        None,
        None,
    ]
    hangs = {7, 23}

    def fault_of(number: int, body: dict[str, Any]) -> Fault | None:
        return Fault("hang") if number in hangs else draw.choice(faults)

    with ScriptedServer(fault_of=fault_of, prefix="continues", words=_five_steps).serving() as server:
        config = _config(tmp_path, server.url, questions=8, retries=60, timeout=2.0, concurrency=4)
        assert main(["label", config]) == 0
        assert server.most_at_once <= 4
        _check_nothing_lost_or_doubled(tmp_path, server)
    _check_labels(tmp_path, 8)
    summary = json.loads((tmp_path / "out" / "summary-steps.json").read_text())
    assert summary["generator"]["prefix"].startswith("continue: ")
    _check_no_key(tmp_path, capsys.readouterr())


def test_a_server_that_goes_down_stops_the_run_and_one_that_is_back_finishes_it(
    tmp_path: Path, capsys: Any
) -> None:
    def down_after(number: int, body: dict[str, Any]) -> Fault | None:
        return status(503, "maintenance") if number >= 20 else None

    texts: Counter[str] = Counter()

    def count(exchanges: list[Exchange]) -> None:
        texts.update(text for exchange in exchanges for text in exchange.texts)

    with ScriptedServer(fault_of=down_after, prefix="continues", words=_five_steps).serving() as server:
        config = _config(tmp_path, server.url, questions=10, retries=1, concurrency=2)
        assert main(["label", config]) == 2
        count(server.chats)
    shown = capsys.readouterr()
    assert "questions failed, more than max_failed_fraction=0.05 allows" in shown.err
    assert "maintenance" in shown.err and "the same command again" in shown.err
    before = len(_journal(tmp_path))
    assert before == texts.total() > 0

    def other_words(body: dict[str, Any], number: int, index: int) -> str:
        return _five_steps(body, number + 1000, index)

    with ScriptedServer(prefix="continues", words=other_words).serving() as server:
        assert main(["label", config, f"generator.base_url={server.url}"]) == 0
        count(server.chats)
    assert f"({before} sampled before)" in capsys.readouterr().out
    assert Counter(row["text"] for row in _journal(tmp_path)) == texts
    _check_labels(tmp_path, 10)


def test_completions_before_a_failure_of_their_request_are_kept(tmp_path: Path) -> None:
    """Of three completions asked for one by one the third fails: two are there already."""

    def fault_of(number: int, body: dict[str, Any]) -> Fault | None:
        return status(503) if number % 4 == 3 else None

    texts: Counter[str] = Counter()
    for attempt in range(8):

        def words(body: dict[str, Any], number: int, index: int, attempt: int = attempt) -> str:
            return _five_steps(body, number + 1000 * attempt, index)

        with ScriptedServer(fault_of=fault_of, prefix="continues", words=words).serving() as server:
            config = _config(
                tmp_path,
                server.url,
                questions=1,
                retries=0,
                concurrency=1,
                prefix="continue",
                samples_per_request=1,
            )
            code = main(["label", config])
            texts.update(text for exchange in server.chats for text in exchange.texts)
        assert Counter(row["text"] for row in _journal(tmp_path)) == texts
        if code == 0:
            break
    _check_labels(tmp_path, 1)


@pytest.mark.parametrize(
    ("code", "words"), [(401, "who are you"), (403, "not for you"), (404, "no model of that name")]
)
def test_what_no_request_can_pass_stops_at_once_with_the_servers_words(
    code: int, words: str, tmp_path: Path, capsys: Any
) -> None:
    with ScriptedServer(fault_of=lambda number, body: status(code, f"{words} {KEY}")).serving() as server:
        config = _config(tmp_path, server.url, questions=5, concurrency=1)
        assert main(["label", config]) == 2
        assert len(server.exchanges) <= 2
    shown = capsys.readouterr()
    assert words in shown.err and "Traceback" not in shown.err
    _check_no_key(tmp_path, shown)


def test_a_request_that_is_refused_from_the_start_stops_with_the_servers_words(
    tmp_path: Path, capsys: Any
) -> None:
    with ScriptedServer(
        fault_of=lambda number, body: status(400, "this model sees no images")
    ).serving() as server:
        assert main(["label", _config(tmp_path, server.url, concurrency=1)]) == 2
    assert "refused the first request" in (shown := capsys.readouterr().err)
    assert "this model sees no images" in shown
