"""The openai generator against a real OpenAI-compatible server, alone and through one that misbehaves."""

import random
from pathlib import Path

import pytest
from loopback_servers import Fault, RealServer, ScriptedServer, one_real_server, status
from PIL import Image
from tiny_served_model import OPTIONS, QUESTIONS

from dreamprm.config.errors import UserError
from dreamprm.generators import GenerationError, Request, Sampling
from dreamprm.generators.openai import OpenAIGenerator
from dreamprm.generators.prompting import five_stage_prompt
from dreamprm.responses import parse_response

pytestmark = one_real_server
PROMPT = five_stage_prompt(QUESTIONS[0], OPTIONS)
SAMPLING = Sampling(temperature=0.5, max_tokens=120)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "box.png"
    Image.new("RGB", (40, 30), "red").save(path)
    return str(path)


def test_it_writes_five_steps_about_an_image(real_server: RealServer, image: str) -> None:
    generator = OpenAIGenerator(real_server.model, base_url=real_server.url)
    completions = generator.complete(PROMPT, image, n=4, temperature=0.5, max_tokens=120, seed=1)
    # The server ignores n (it answers one choice): the missing ones were asked for.
    assert len(completions) == 4
    for completion in completions:
        assert completion.finished and 20 <= completion.tokens <= 120
        assert completion.text.startswith("Step 1:")
    responses = [parse_response(completion.text, expected_steps=5) for completion in completions]
    assert sum(not response.malformed for response in responses) >= 3
    generator.close()


def test_equal_seeds_give_equal_texts_one_at_a_time(real_server: RealServer) -> None:
    # The server keeps one random state for all requests, so that this holds for one at a time only.
    generator = OpenAIGenerator(real_server.model, base_url=real_server.url, concurrency=1)
    first, second, other = (
        [completion.text for completion in generator.complete(PROMPT, n=3, max_tokens=120, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other
    assert len(set(first)) > 1
    generator.close()


def test_the_limit_holds(real_server: RealServer) -> None:
    generator = OpenAIGenerator(real_server.model, base_url=real_server.url)
    (short,) = generator.complete(PROMPT, temperature=0.0, max_tokens=5)
    assert (short.tokens, short.finished) == (5, False)
    generator.close()


def test_a_prefix_is_continued_by_instruction(real_server: RealServer, image: str) -> None:
    """The server knows no open last turn and says so; the model has learned to go on when told to."""
    generator = OpenAIGenerator(real_server.model, base_url=real_server.url)
    prefix = "Step 1: The question asks for the colour of the box.\nStep 2: The image shows a red box."
    completions = generator.complete(PROMPT, image, prefix=prefix, n=4, temperature=0.5, max_tokens=120)
    why = generator.describe()["prefix"]
    assert why.startswith("instruct: the server refuses an open last turn (HTTP 422: Unexpected fields")
    whole = [parse_response(prefix + completion.text, expected_steps=5) for completion in completions]
    assert sum(not response.malformed for response in whole) >= 3
    assert all(response.text.count("Step 1:") == 1 for response in whole)
    generator.close()


def test_what_the_server_refuses_is_told_in_its_words(real_server: RealServer) -> None:
    generator = OpenAIGenerator(real_server.model, base_url=real_server.url, extra_body={"nonsense": 1})
    with pytest.raises(GenerationError) as caught:
        generator.complete(PROMPT)
    assert str(caught.value) == "HTTP 422: Unexpected fields in the request: {'nonsense'}"
    assert caught.value.refused
    generator.close()
    other = OpenAIGenerator("another", base_url=real_server.url)
    with pytest.raises(GenerationError, match="HTTP 400: Server is pinned to"):
        other.complete(PROMPT)
    other.close()
    wrong = OpenAIGenerator(real_server.model, base_url=real_server.url.removesuffix("/v1"))
    with pytest.raises(UserError, match="HTTP 404: Not Found"):
        wrong.complete(PROMPT)
    wrong.close()


def test_nothing_is_lost_or_doubled_behind_a_server_that_misbehaves(real_server: RealServer) -> None:
    direct = OpenAIGenerator(real_server.model, base_url=real_server.url)
    direct.complete(PROMPT, max_tokens=5)  # the first request is slow, and could reach the time-out below
    direct.close()
    draw = random.Random(0)
    bad = [
        Fault("hang", seconds=20.0),
        Fault("drop"),
        Fault("cut"),
        Fault("malformed"),
        Fault("body", body={"choices": []}),
        status(429, retry_after="0.05"),
        status(500),
        status(503),
    ]
    faults = draw.sample([*bad, *bad[1:], *[None] * 5], k=20)
    requests = [Request(PROMPT, n=2, seed=k) for k in range(10)]
    with ScriptedServer(faults=faults, forward_to=real_server.url).serving() as front:
        generator = OpenAIGenerator(
            real_server.model, base_url=front.url, concurrency=4, timeout=8.0, backoff=0.01, retries=8
        )
        results = generator.complete_all(requests, SAMPLING)
        generator.close()
    served = sorted(text for exchange in front.exchanges for text in exchange.texts)
    got = []
    for result in results:
        assert not isinstance(result, GenerationError)
        assert len(result) == 2
        got += [completion.text for completion in result]
    assert sorted(got) == served
    assert len(served) == 20
    assert sum(exchange.fault is not None for exchange in front.exchanges) == 15
