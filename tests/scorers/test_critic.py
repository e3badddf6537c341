"""A generative critic: probabilities from log-probs and from samples, its prompts, journal and errors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from loopback_servers import ScriptedServer, status
from tiny_models import tiny_image

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.scorers.base import CandidateScores, ScoringTask
from dreamprm.scorers.critic import CriticScorer, critic_prompt, sampled_log_odds, word_log_odds
from dreamprm.scorers.settings import CriticSettings

STEPS = ("two plus two is four", "so it is five")
TASK = ScoringTask("What is 2 + 2?", (), (STEPS, ("four",)))


def test_word_log_odds() -> None:
    listed = {"Yes": math.log(0.5), " yes": math.log(0.1), "No": math.log(0.3), "The": math.log(0.05)}
    assert word_log_odds(listed) == pytest.approx(math.log(0.6 / 0.3))
    # One that is not listed is at most as likely as the last that is.
    assert word_log_odds({"Yes": math.log(0.9), "Sure": math.log(0.01)}) == pytest.approx(
        math.log(0.9 / 0.01)
    )
    assert word_log_odds({"**No**": math.log(0.9), "x": -9.0}) == pytest.approx(-9.0 - math.log(0.9))
    with pytest.raises(UserError, match="begins with neither Yes nor No .* 0.2 of the probability"):
        word_log_odds({"The": math.log(0.7), "Yes": math.log(0.2)}, shown="The step")
    with pytest.raises(UserError, match="gave no log-probs"):
        word_log_odds({})


def test_sampled_log_odds() -> None:
    right, wrong = "It follows.\nVerdict: right", "No.\n**Verdict: wrong**"
    assert sampled_log_odds([right] * 3 + [wrong, "cut off"]) == pytest.approx(math.log(3.5 / 1.5))
    assert sampled_log_odds([right] * 8) == pytest.approx(math.log(8.5 / 0.5))
    with pytest.raises(UserError, match="none of the critic's 2 replies ends with a verdict"):
        sampled_log_odds(["hm", f"{right}\n{wrong}"])


def test_the_prompt_shows_what_is_asked_about() -> None:
    prompt = critic_prompt("How many?", ["one </solution>", "two"], whole=False, word=True)
    assert "first 2 steps" in prompt and "step [2] is right" in prompt and "[1] one" in prompt
    assert prompt.count("</solution>") == 1 and "Reply with one word" in prompt
    whole = critic_prompt("How many?", ["one", "two"], whole=True, word=False)
    assert "reaches the right answer" in whole and whole.endswith("'Verdict: right' or 'Verdict: wrong'.")


@dataclass
class Words(Generator):
    """Replies by the prompt, with log-probs or without."""

    reply: Callable[[str], tuple[str, dict[str, float]]]
    asked: list[Request] = field(default_factory=list)
    parallel: int = 2

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        self.asked += requests
        found: list[list[Completion] | GenerationError] = []
        for request in requests:
            text, listed = self.reply(request.prompt)
            alternatives = tuple(listed.items()) if sampling.alternatives else ()
            found.append([Completion(text, 3, alternatives=alternatives)] * request.n)
        return found


def critic(generator: Generator, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> CriticScorer:
    monkeypatch.setattr("dreamprm.scorers.critic.build_generator", lambda name, **rest: generator)
    return CriticScorer(CriticSettings(name="openai", settings={"model": "judge"}, **settings))


def test_log_probs_are_used_where_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(prompt: str) -> tuple[str, dict[str, float]]:
        p = 0.2 if "five" in prompt else 0.9
        return "Yes", {"Yes": math.log(p), "No": math.log(1 - p)}

    words = Words(reply)
    scorer = critic(words, monkeypatch)
    ((first, second),) = scorer.score([TASK])
    assert isinstance(first, CandidateScores) and isinstance(second, CandidateScores)
    assert first.log_odds == pytest.approx((math.log(9), math.log(0.25)))
    assert second.log_odds == pytest.approx((math.log(9),)) and second.tokens > 3
    assert len(words.asked) == 1 + 3  # one asks whether there are log-probs
    assert scorer.identity()["probabilities"] == "logprobs" and "samples" not in scorer.identity()
    whole = critic(words, monkeypatch, asks="response")
    assert whole.gives == "response"
    assert [len(one.log_odds) for one in whole.score([TASK])[0] if isinstance(one, CandidateScores)] == [1, 1]


def test_samples_are_drawn_where_they_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Words(lambda prompt: ("Verdict: wrong" if "five" in prompt else "Verdict: right", {}))
    scorer = critic(words, monkeypatch, samples=4)
    ((first, second),) = scorer.score([TASK])
    assert isinstance(first, CandidateScores) and isinstance(second, CandidateScores)
    assert first.log_odds == pytest.approx((math.log(9), -math.log(9)))
    assert {request.n for request in words.asked[1:]} == {4}
    assert scorer.identity()["samples"] == 4


def test_an_error_stands_in_its_candidate_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(prompt: str) -> tuple[str, dict[str, float]]:
        return ("The step", {"The": -0.1}) if "five" in prompt else ("No", {"No": -0.1, "Yes": -3.0})

    ((first, second),) = critic(Words(reply), monkeypatch, probabilities="logprobs").score([TASK])
    assert isinstance(first, UserError) and "neither Yes nor No" in str(first)
    assert isinstance(second, CandidateScores) and second.log_odds == pytest.approx((-2.9,))

    class Down(Words):
        def complete_all(self, requests: Sequence[Request], sampling: Sampling) -> list[Any]:
            return [GenerationError("no answer within 1 s") for _ in requests]

    with pytest.raises(UserError, match="replied to none of 3 requests; the first: no answer within 1 s"):
        critic(Down(reply), monkeypatch, probabilities="samples").score([TASK])


def test_images_in_memory_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Words(lambda prompt: ("Yes", {"Yes": -0.1, "No": -3.0}))
    scorer = critic(words, monkeypatch)
    image = tiny_image()
    scorer.score([ScoringTask("How many?", (image, image), (("one",),))])
    paths = words.asked[-1].images
    assert len(paths) == 2 and paths[0] == paths[1] and Path(paths[0]).read_bytes()[:4] == b"\x89PNG"
    scorer.close()
    assert not Path(paths[0]).exists()


def logprobs_of(yes: float) -> dict[str, Any]:
    top = [{"token": "Yes", "logprob": math.log(yes)}, {"token": "No", "logprob": math.log(1 - yes)}]
    return {"content": [{"token": "Yes", "logprob": math.log(yes), "top_logprobs": top}]}


def test_the_command_scores_by_a_served_critic_and_resumes(tmp_path: Path) -> None:
    """Through the real client: log-probs from the answer, one bad candidate, replies kept."""
    pytest.importorskip("openai")
    rows = [
        {
            "id": f"q{number}",
            "question": f"what is {number} + 1?",
            "benchmark": "b",
            "answer": "3",
            "candidates": [{"text": "a\nb", "steps": ["a", "b"], "final_answer": "3"}],
        }
        for number in range(3)
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    server = ScriptedServer(words=lambda body, number, index: "Yes")
    plain = server._answer

    def with_logprobs(number: int, body: dict[str, Any], fault: Any) -> tuple[int, bytes]:
        code, content = plain(number, body, fault)
        answer = json.loads(content)
        if body.get("logprobs") and body.get("top_logprobs") == 5:
            yes = 0.75 if "[2]" in body["messages"][0]["content"] else 0.5
            answer["choices"][0]["logprobs"] = logprobs_of(yes)
        return code, json.dumps(answer).encode()

    server._answer = with_logprobs  # type: ignore[method-assign]
    out = tmp_path / "out"
    with server.serving():
        command = [
            "score",
            "critic.name=openai",
            "critic.model=judge-1",
            f"critic.base_url={server.url}",
            "critic.top_logprobs=5",
            f"files.a={source}",
            f"output={out}",
            "data.allow_no_image=true",
            "log.progress=none",
        ]
        assert main(command) == 0
        asked = len(server.exchanges)
        assert asked == 1 + 6
        (out / "a.jsonl").unlink()
        (out / "a.scores.jsonl").unlink()
        assert main(command) == 0 and len(server.exchanges) == asked  # all replies were kept
    scored = [json.loads(line) for line in (out / "a.jsonl").read_text().splitlines()]
    found = scored[0]["candidates"][0]["scores"]["judge-1"]
    assert found["log_odds"] == pytest.approx([0.0, math.log(3)], abs=1e-6)
    assert json.loads((out / "summary.json").read_text())["made_by"]["probabilities"] == "logprobs"
    assert main([*command, "precision=bf16"]) == 2  # of a model that computes here


def test_a_server_that_refuses_log_probs_is_sampled(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    server = ScriptedServer(
        words=lambda body, number, index: "Verdict: right" if index else "Verdict: wrong",
        fault_of=lambda number, body: (
            status(400, "logprobs are not supported") if "logprobs" in body else None
        ),
    )
    with server.serving():
        settings = {"model": "judge", "base_url": server.url}
        scorer = CriticScorer(
            CriticSettings(name="openai", samples=3, settings=settings), replies=tmp_path / "replies.jsonl"
        )
        ((first, _),) = scorer.score([TASK])
        scorer.close()
    assert isinstance(first, CandidateScores)
    assert first.log_odds == pytest.approx((math.log(2.5 / 1.5),) * 2)
