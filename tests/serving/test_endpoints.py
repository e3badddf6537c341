"""What requests get: scores in each of the three forms, and one clear error for each fault."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from served import Loopback, ToldScorer, serving, told_score

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import UserError
from dreamprm.serving.settings import LimitSettings, RewardSettings


def png(width: int = 8, height: int = 8, colour: str = "red") -> str:
    target = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


CHAT = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LIMITS = LimitSettings(body=200_000, candidates=4, steps=3, tokens=3000, images=2, image_pixels=10_000)


@pytest.fixture(scope="module")
def served() -> Iterator[Loopback]:
    with serving(ToldScorer(), limits=LIMITS) as server:
        yield server


def scores(question: str, *steps: str) -> list[float]:
    return [told_score(question, step, place) for place, step in enumerate(steps)]


def test_score_gives_log_odds_probabilities_and_every_aggregate(served: Loopback) -> None:
    request = {"question": "q", "images": [], "candidates": [["a", "b"], ["c"]]}
    status, answer, headers = served.post("/v1/score", request)
    assert status == 200 and headers["content-type"] == "application/json"
    assert (answer["model"], answer["gives"]) == ("told", "step")
    assert [one["log_odds"] for one in answer["candidates"]] == [scores("q", "a", "b"), scores("q", "c")]
    first = answer["candidates"][0]
    assert first["probabilities"] == [1 / (1 + math.exp(-value)) for value in first["log_odds"]]
    assert set(first["aggregates"]) == set(AGGREGATIONS)
    assert first["aggregates"]["sum_log_odds"] == pytest.approx(sum(scores("q", "a", "b")), abs=1e-9)
    assert first["aggregates"]["min"] == min(scores("q", "a", "b"))


@pytest.mark.parametrize(
    "image",
    [png(), "data:image/png;base64," + png(), png()[:40] + "\n" + png()[40:]],
    ids=["base64", "data URL", "in lines"],
)
def test_an_image_is_a_data_url_or_base64(served: Loopback, image: str) -> None:
    status, answer, _ = served.post("/v1/score", {"question": "q", "images": [image], "candidates": [["a"]]})
    assert status == 200 and answer["candidates"][0]["log_odds"] == scores("q", "a")


def test_pooling_is_answered_as_vllm_does(served: Loopback) -> None:
    text = CHAT.format("how many?") + "one<extra_0>two<extra_0><|im_end|>\n"
    status, answer, _ = served.post(
        "/pooling", {"model": "any", "input": [text, text], "use_activation": False}
    )
    assert status == 200 and (answer["object"], answer["model"]) == ("list", "told")
    assert [(row["index"], row["object"]) for row in answer["data"]] == [(0, "pooling"), (1, "pooling")]
    assert answer["data"][1]["data"] == [[value] for value in scores("how many?", "one", "two")]
    assert set(answer["usage"]) == {"prompt_tokens", "total_tokens", "completion_tokens"}
    # As a chat, with probabilities, which are what activated scores are.
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + png()}},
        {"type": "text", "text": "how many?"},
    ]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "One\n\nTwo"}]
    status, answer, _ = served.post("/pooling", {"messages": messages})
    expected = [1 / (1 + math.exp(-value)) for value in scores("how many?", "One", "Two")]
    assert status == 200 and [row[0] for row in answer["data"][0]["data"]] == expected
    (task,) = served.service._batcher._scorer.batches[-1]  # type: ignore[attr-defined]
    assert len(task.images) == 1


def mean_probability(values: list[float]) -> float:
    return sum(1 / (1 + math.exp(-value)) for value in values) / len(values)


def test_rewards_as_a_trainer_asks_for_them(served: Loopback) -> None:
    prompt = CHAT.format("how many?")
    queries = [prompt + "One\n\nTwo<|im_end|>\n", "<s>" + prompt + "<think>hm</think>three<|im_end|>"]
    body = {"query": queries, "prompts": [prompt, prompt], "labels": ["2", "2"]}
    expected = [mean_probability(scores("how many?", *steps)) for steps in (("One", "Two"), ("three",))]
    status, answer, _ = served.post("/get_reward", body)
    assert status == 200 and answer == {"rewards": [pytest.approx(value, rel=1e-9) for value in expected]}
    # The question can be found without prompts, and prompts without a template are questions.
    assert served.post("/get_reward", {"query": queries[:1]})[1]["rewards"] == answer["rewards"][:1]
    plain = {"query": ["how many? One\n\nTwo"], "prompts": ["how many? "]}
    assert served.post("/get_reward", plain)[0] == 200
    own = served.client().rewards(["how many?", "how many?"], ["One\n\nTwo", "three"])
    assert own == [pytest.approx(value, rel=1e-9) for value in expected]


def test_rewards_count_images(served: Loopback) -> None:
    prompt = CHAT.format("<|vision_start|><|image_pad|><|image_pad|><|vision_end|>how many?")
    body: dict[str, Any] = {"query": [prompt + "one"], "prompts": [prompt], "images": [[png()]]}
    assert served.post("/get_reward", body)[1]["rewards"] == [mean_probability(scores("how many?", "one"))]
    del body["images"]
    status, answer, _ = served.post("/get_reward", body)
    assert status == 422 and "prompts[0] shows 1 images, but 0 were sent" in answer["error"]["message"]


def test_an_unscorable_response_has_the_reward_that_was_set() -> None:
    reward = RewardSettings(unscorable=-1.0, aggregation="sum_log_odds", value="log_odds")
    asked = {"prompts": ["q", "q", "q"], "responses": ["a", " ", "long " * 9999]}
    with serving(ToldScorer(), limits=LIMITS, reward=reward) as server:
        status, answer, _ = server.post("/get_reward", asked)
        assert status == 200 and answer["rewards"] == [scores("q", "a")[0], -1.0, -1.0]
        assert set(answer["unscorable"]) == {"1", "2"} and "tokens" in answer["unscorable"]["2"]
        assert server.count("dreamprm_responses_unscorable_total") == 2
    with serving(ToldScorer(), limits=LIMITS) as server:
        status, answer, _ = server.post("/get_reward", asked)
        assert status == 422 and "prompts[1]: the response has no text" in answer["error"]["message"]


OTHER_TEMPLATE = {"query": ["[INST] how many? [/INST] one</s>"], "prompts": ["[INST] how many? [/INST]"]}
TWO_TURNS = CHAT.format("a") + "b<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\nd"


@pytest.mark.parametrize(
    ("place", "body", "status", "message"),
    [
        ("/v1/score", b"", 400, "is not JSON"),
        ("/v1/score", b"{'question'", 400, "is not JSON"),
        ("/v1/score", b"\xff\xfe\x00", 400, "is not JSON"),
        ("/v1/score", b"[" * 5000, 400, "is not JSON"),
        ("/v1/score", [1], 422, "must be a JSON object, got [1]"),
        ("/v1/score", {"question": "q"}, 422, "candidates is missing"),
        ("/v1/score", {"candidates": [["a"]]}, 422, "question is missing"),
        ("/v1/score", {"question": None, "candidates": [["a"]]}, 422, "question should be a valid string"),
        (
            "/v1/score",
            {"question": "q", "candidats": [["a"]]},
            422,
            "'candidats', did you mean 'candidates'?",
        ),
        ("/v1/score", {"question": "q", "candidates": []}, 422, "candidates list should have at least 1"),
        ("/v1/score", {"question": "q", "candidates": [[]]}, 422, "candidates[0] has no steps"),
        ("/v1/score", {"question": "q", "candidates": ["a"]}, 422, "candidates[0] should be a valid list"),
        (
            "/v1/score",
            {"question": "q", "candidates": [["a", 3]]},
            422,
            "candidates[0][1] should be a valid st",
        ),
        ("/v1/score", {"question": "q\0", "candidates": [["a"]]}, 422, "without NUL characters"),
        ("/v1/score", b'{"question": "\\ud800", "candidates": [["a"]]}', 422, "field 'question'"),
        ("/v1/score", {"question": "q", "candidates": [["a"]] * 5}, 422, "at most 4 candidates"),
        ("/v1/score", {"question": "q", "candidates": [["a"], ["a"] * 4]}, 422, "candidates[1] has 4 steps"),
        (
            "/v1/score",
            {"question": "q", "candidates": [["a " * 9000]]},
            422,
            "candidates[0] has 6,000 tokens",
        ),
        ("/v1/score", {"question": "q" * 195_000, "candidates": [["a"]]}, 422, "far more than 3,000"),
        ("/get_reward", {"query": []}, 422, "at least one text"),
        ("/get_reward", {"prompts": ["q"]}, 422, "give either query, or prompts and responses"),
        (
            "/get_reward",
            {"query": ["a"], "prompts": []},
            422,
            "prompts must have one entry for each of the 1",
        ),
        ("/get_reward", {"query": ["a"], "prompts": ["b"]}, 422, "query[0] must begin with prompts[0]"),
        ("/get_reward", {"query": ["what? that"]}, 422, "must be a conversation in Qwen's chat template"),
        ("/get_reward", OTHER_TEMPLATE, 422, "prompts[0] is written in a chat template other than"),
        (
            "/get_reward",
            {"query": [TWO_TURNS]},
            422,
            "query[0] must have one question and at most one response",
        ),
        ("/pooling", {}, 422, "give either input or messages"),
        ("/pooling", {"input": [1, 2]}, 422, "input"),
        ("/pooling", {"input": "q", "encoding_format": "base64"}, 422, "encoding_format"),
        ("/pooling", {"input": "q", "truncate_prompt_tokens": 5}, 422, "truncate_prompt_tokens"),
        (
            "/pooling",
            {"messages": [{"role": "user", "content": "q"}]},
            422,
            "a question of the user and a resp",
        ),
        ("/nowhere", {}, 404, "there are POST /v1/score"),
    ],
)
def test_a_fault_is_one_clear_message(
    served: Loopback, place: str, body: Any, status: int, message: str
) -> None:
    got, answer, _ = served.post(place, body)
    assert (got, answer["error"]["code"]) == (status, status) and message in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]


CUT = base64.b64encode(base64.b64decode(png(64, 64))[:-30]).decode()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["aGVsbG8="], "images[0] cannot be opened as an image"),
        ([png(), CUT], "images[1] cannot be opened as an image"),
        (["?"], "images[0] is neither a data URL nor base64"),
        ([""], "images[0] is empty"),
        (["data:image/png,abc"], "images[0] is a data URL that is not base64"),
        (["https://x.test/a.png"], "images[0] is a https address, which this server does not fetch"),
        (["file:///etc/passwd"], "images[0] is a file address, which this server does not fetch"),
        (["/etc/passwd"], "images[0]"),
        ([png()] * 3, "images: a question may have at most 2 images (limits.images), got 3"),
        ([png(200, 200)], "images[0] has 200 x 200 pixels; at most 10,000 are allowed"),
    ],
)
def test_a_bad_image_is_one_clear_message(served: Loopback, images: list[str], message: str) -> None:
    status, answer, _ = served.post("/v1/score", {"question": "q", "images": images, "candidates": [["a"]]})
    assert status == 422 and message in answer["error"]["message"]
    assert "passwd" not in answer["error"]["message"]


def test_with_errors_each_the_other_candidates_have_their_scores(served: Loopback) -> None:
    request = {"question": "q", "candidates": [["a"], ["a"] * 9, ["b"]], "errors": "each"}
    status, answer, _ = served.post("/v1/score", request)
    assert status == 200 and answer["candidates"][1] == {"error": "has 9 steps; at most 3 (limits.steps)"}
    assert [answer["candidates"][n]["log_odds"] for n in (0, 2)] == [scores("q", "a"), scores("q", "b")]


def test_a_body_that_is_too_large_is_refused(served: Loopback) -> None:
    status, answer, _ = served.post("/v1/score", b"x" * 1_000_000)
    assert (
        status == 413 and "at most 200,000 bytes (limits.body), got 1,000,000" in answer["error"]["message"]
    )
    # Sent in chunks, its size is known only as it comes.
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("POST", "/v1/score", iter([b"x" * 100_000] * 5), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert served.post("/v1/score", {"question": "q", "candidates": [["a"]]})[0] == 200


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    import socket

    limits = LimitSettings(body_seconds=0.2)
    with serving(ToldScorer(), limits=limits) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
            assert client.recv(4096).startswith(b"HTTP/1.1 408")
        assert server.post("/v1/score", {"question": "q", "candidates": [["a"]]})[0] == 200


def test_a_token_is_asked_for_everywhere_but_at_health() -> None:
    request = {"question": "q", "candidates": [["a"]]}
    with serving(ToldScorer(), token="secret-1") as server:
        for headers in ({}, {"Authorization": "Bearer secret-2"}, {"Authorization": "secret-1"}):
            status, answer, given = server.post("/v1/score", request, headers)
            assert (
                status == 401 and given["www-authenticate"] == "Bearer" and "secret" not in json.dumps(answer)
            )
        assert server.post("/v1/models", None, method="GET")[0] == 401
        assert "asks for a token" in server.get("/metrics")
        assert json.loads(server.get("/health"))["status"] == "ok"
        assert server.client("secret-1").score("q", [], [["a"]]) == [scores("q", "a")]


def test_what_the_model_refuses_is_said_for_that_request_alone(served: Loopback) -> None:
    class Picky(ToldScorer):
        def score(self, tasks: Any) -> Any:
            return [
                [UserError("is not to be scored") if question == "bad" else one for one in found]
                for question, found in zip(
                    [task.question for task in tasks], super().score(tasks), strict=True
                )
            ]

    with serving(Picky()) as server:
        status, answer, _ = server.post("/v1/score", {"question": "bad", "candidates": [["a"]]})
        assert status == 422 and answer["error"]["message"] == "candidates[0]: is not to be scored"
        assert server.post("/v1/score", {"question": "q", "candidates": [["a"]]})[0] == 200
    del served
