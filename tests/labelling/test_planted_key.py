"""A provider's key is in no file, message or report, whatever the server and the settings do with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loopback_servers import Fault, ScriptedServer, status
from PIL import Image

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.generators import build_generator

pytest.importorskip("openai", reason="the openai extra is not installed")

KEY = "sk-planted-0123456789abcdefghijklmnop"
FAULTS = (
    status(500, f"no upstream for {KEY}"),
    status(429, KEY, X_Key=KEY),
    Fault("malformed"),
    Fault("body", body={"error": {"message": f"key {KEY} is slow"}}),
    Fault("body", body=b"x" * 90 + KEY.encode()),  # cut in the middle of it
)


def _words(body: dict[str, Any], number: int, index: int) -> str:
    """A chain, or a judge's verdict; both repeat the key."""
    if "Verdict" in str(body["messages"]):
        return f"I was given {KEY}.\nVerdict: {'right' if number % 2 else 'wrong'}"
    last = body["messages"][-1]
    written = last["content"].count("Step ") if last["role"] == "assistant" else 0
    lines = [f"Step {k}: {KEY} says {number} {index}" for k in range(written + 1, 6)]
    return ("\n" if written else "") + "\n".join(lines) + f"\nFinal answer: parrot {number + index}"


def test_it_is_in_nothing_that_sample_label_judge_evaluate_and_report_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = [
        {"id": f"q{k}", "question": f"who {k} ?", "image": "a.png", "answer": "a parrot", "domain": "d"}
        for k in range(4)
    ]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ScriptedServer(faults=FAULTS, words=_words).serving() as server:
        asked = {"name": "openai", "model": "m", "base_url": server.url, "backoff": 0.0, "prefix": "continue"}
        config = tmp_path / "c.yaml"
        config.write_text(
            json.dumps(
                {
                    "output": str(tmp_path / "out"),
                    "questions": {"files": [str(questions)]},
                    "generator": asked | {"temperature": 0.5},
                    "answers": {"kind": "judge", "judge": asked},
                    "label": {"method": "full", "rollouts": 2, "cots": 1},
                    "sample": {"n": 2},
                    "log": {"progress": "lines"},
                }
            )
        )
        assert main(["sample", str(config)]) == 0
        assert main(["label", str(config)]) == 0
        assert len(server.exchanges) > 20 and all(KEY in one.authorization for one in server.exchanges)
    # Nothing answers any more: what is tried is told, and the key is not.
    assert main(["label", str(config), f"output={tmp_path / 'gone'}", "generator.retries=0"]) == 2
    candidates = tmp_path / "out" / "candidates.jsonl"
    evaluate = [f"suites.a={candidates}", f"output={tmp_path / 'evaluation'}", "resamples=100"]
    assert main(["evaluate", *evaluate]) == 0
    assert main(["report", str(tmp_path / "evaluation"), f"output={tmp_path / 'page.html'}"]) == 0
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) > 12
    for path, content in written.items():
        assert b"sk-planted" not in content, path
    # The replies themselves are there, without it.
    assert b"Step 1: *** says" in written[candidates]
    assert b"I was given ***" in written[tmp_path / "out" / "judge-samples.jsonl"]


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key_env": KEY},
        {"api_key_env": "aGVsbG8xMjM0NTY3ODkwYWJjZGVm"},
        {"base_url": f"http://user:{KEY}@127.0.0.1:1/v1"},
        {"base_url": f"http://127.0.0.1:1/v1?key={KEY}"},
        {"extra_body": {"api_key": KEY}},
        {"extra_body": {"extra": [{"Authorization": f"Bearer {KEY}"}]}},
    ],
)
def test_a_key_among_the_settings_is_refused_and_not_shown(
    settings: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as caught:
        build_generator("openai", **{"model": "m", "base_url": "http://127.0.0.1:1/v1"} | settings)
    assert KEY not in str(caught.value) and "aGVs" not in str(caught.value)
    (tmp_path / "q.jsonl").write_text('{"question": "q", "answer": "7", "domain": "d"}\n')
    config = {
        "output": str(tmp_path / "out"),
        "questions": {"files": [str(tmp_path / "q.jsonl")], "allow_no_image": True},
        "generator": {"name": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"} | settings,
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    assert main(["label", str(tmp_path / "c.yaml")]) == 2
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err and "aGVs" not in shown.err
    for path in (tmp_path / "out").rglob("*") if (tmp_path / "out").exists() else ():
        assert path.is_dir() or (KEY.encode() not in path.read_bytes() and b"aGVs" not in path.read_bytes())
