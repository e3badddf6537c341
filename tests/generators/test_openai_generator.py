"""The openai generator against a scripted server: what it sends, what it returns, how it bounds itself."""

import base64
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from loopback_servers import Fault, ScriptedServer, status
from PIL import Image
from replaced_files import bitmap, redraw

from dreamprm.config.errors import UserError
from dreamprm.generators import GenerationError, Request, Sampling, build_generator
from dreamprm.generators.openai import OpenAIGenerator, _completion, _derived_seed
from dreamprm.generators.openai_client import _choice
from dreamprm.generators.openai_messages import shares

pytest.importorskip("openai", reason="the openai extra is not installed")

Serve = Callable[..., tuple[ScriptedServer, OpenAIGenerator]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A scripted server and a generator that asks it; settings by name go to the one that has them."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with ExitStack() as stack:

        def start(**settings: Any) -> tuple[ScriptedServer, OpenAIGenerator]:
            own = {
                name: settings.pop(name)
                for name in list(settings)
                if name in ScriptedServer.__dataclass_fields__ and name != "prefix"
            }
            if "server_prefix" in settings:
                own["prefix"] = settings.pop("server_prefix")
            server = stack.enter_context(ScriptedServer(**own).serving())
            generator = OpenAIGenerator(
                **{"model": "m", "base_url": server.url, "backoff": 0.0, "timeout": 10.0, **settings}
            )
            stack.callback(generator.close)
            return server, generator

        yield start


def test_n_completions_with_their_tokens_and_finish(serve: Serve) -> None:
    server, generator = serve(words=lambda body, number, index: ["a b c", "d", "e f g h i j k"][index])
    completions = generator.complete("Question?", n=3, temperature=0.5, max_tokens=5, stop=["\n\n"], seed=7)
    assert [completion.text for completion in completions] == ["a b c", "d", "e f g h i"]
    assert [completion.finished for completion in completions] == [True, True, False]
    # 3 + 1 + 5 words, divided by the lengths 5, 1 and 9 of the texts.
    assert [completion.tokens for completion in completions] == [3, 1, 5]
    (exchange,) = server.exchanges
    assert exchange.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Question?"}],
        "n": 3,
        "temperature": 0.5,
        "max_tokens": 5,
        "stop": ["\n\n"],
        "seed": _derived_seed(7, 0),
    }
    assert exchange.authorization == "Bearer EMPTY"


def test_settings_reach_the_request(serve: Serve) -> None:
    server, generator = serve(
        send_seed=False, token_limit="max_completion_tokens", extra_body={"top_p": 0.9}, samples_per_request=1
    )
    assert len(generator.complete("q", n=2)) == 2
    for exchange in server.exchanges:
        assert exchange.body == {
            "model": "m",
            "messages": [{"role": "user", "content": "q"}],
            "temperature": 1.0,
            "max_completion_tokens": 1024,
            "top_p": 0.9,
        }
    assert len(server.exchanges) == 2


def test_every_chat_request_has_its_own_seed(serve: Serve) -> None:
    server, generator = serve(samples_per_request=1)
    generator.complete("q", n=3, seed=5)
    generator.complete("q", n=3, seed=6)
    generator.complete("q", n=3, seed=5)
    seeds = [exchange.body["seed"] for exchange in server.exchanges]
    assert seeds[:3] == seeds[6:]
    assert len(set(seeds)) == 6
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_sample_has_the_same_seed_whatever_request_asks_for_it(serve: Serve) -> None:
    server, generator = serve(samples_per_request=2)
    generator.complete_all([Request("q", n=4, seed=5), Request("q", n=1, seed=8, first=3)], Sampling())
    # As vLLM, which counts up within a request.
    seeds = [
        exchange.body["seed"] + k for exchange in server.exchanges for k in range(exchange.body.get("n", 1))
    ]
    first = min(seeds)
    assert sorted(seeds) == [first, first + 1, first + 2, first + 3, first + 3]


def test_greedy_samples_are_asked_for_one_at_a_time(serve: Serve) -> None:
    """vLLM: "n must be 1 when using greedy sampling"."""
    server, generator = serve()
    assert len(generator.complete("q", n=3, temperature=0.0)) == 3
    assert [exchange.body.get("n", 1) for exchange in server.exchanges] == [1, 1, 1]


@pytest.mark.parametrize("given", [1, 2, 3])
def test_missing_choices_are_asked_for_again(serve: Serve, given: int) -> None:
    """`transformers serve` ignores n and returns one choice."""
    server, generator = serve(fault_of=lambda number, body: Fault("fewer", count=given))
    completions = generator.complete("q", n=5)
    sent = [text for exchange in server.exchanges for text in exchange.texts]
    assert [completion.text for completion in completions] == sent
    assert len(sent) == len(set(sent)) == 5
    asked = [exchange.body.get("n", 1) for exchange in server.exchanges]
    assert asked == {1: [5, 4, 3, 2, 1], 2: [5, 3, 1], 3: [5, 2]}[given]


def test_surplus_choices_are_left_out(serve: Serve) -> None:
    server, generator = serve(faults=[Fault("more", count=2)])
    completions = generator.complete("q", n=2)
    assert [completion.text for completion in completions] == list(server.exchanges[0].texts[:2])


def test_tokens_are_estimated_where_the_server_counts_none(serve: Serve) -> None:
    _, generator = serve(counts_tokens=False, words=lambda body, number, index: "12345678é")
    assert "tokens" not in generator.describe()
    assert [completion.tokens for completion in generator.complete("q", n=2)] == [3, 3]
    assert "estimated" in generator.describe()["tokens"]


def test_shares_add_up_and_follow_the_sizes() -> None:
    assert shares(10, [1, 1, 1]) == [4, 3, 3]
    assert shares(7, [0, 0]) == [4, 3]
    assert shares(100, [1, 2, 97]) == [1, 2, 97]
    assert shares(5, [3]) == [5]
    assert sum(shares(1013, [17, 5, 0, 331, 4])) == 1013


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"stop_reason": "STOP"}, "STOP"),  # vLLM
        ({"stop_reason": None}, ""),
        ({"stop_reason": 151645}, ""),
        ({"matched_stop": "STOP"}, "STOP"),  # SGLang
        ({"matched_stop": 2}, ""),
        ({"matched_stop": "<|im_end|>"}, ""),  # not one of ours
        ({}, None),
    ],
)
def test_what_stopped_a_text_is_what_the_server_says(said: dict[str, Any], expected: str | None) -> None:
    choice = _choice({"message": {"content": "a b"}, "finish_reason": "stop", **said})
    assert choice is not None
    assert _completion(choice.text, 2, choice, ["END", "STOP"]).stopped_by == expected
    assert _completion(choice.text, 2, choice, []).stopped_by is None
    assert _completion("a STOP b", 2, choice, ["END", "STOP"]).stopped_by == "STOP"


def test_a_stop_text_that_the_server_leaves_is_cut(serve: Serve) -> None:
    _, generator = serve(words=lambda body, number, index: "one two STOP three")
    (completion,) = generator.complete("q", stop=["STOP"])
    assert (completion.text, completion.finished) == ("one two ", True)


def test_images_go_as_data_urls_of_their_own_kind(serve: Serve, tmp_path: Path) -> None:
    server, generator = serve(image_detail="low")
    paths = [str(tmp_path / name) for name in ("a.png", "really_a_jpeg.png")]
    Image.new("RGB", (4, 4), "red").save(paths[0])
    Image.new("RGB", (4, 4), "red").save(paths[1], format="JPEG")
    generator.complete("q", paths)
    (message,) = server.exchanges[0].body["messages"]
    *images, text = message["content"]
    assert text == {"type": "text", "text": "q"}
    for image, path, kind in zip(images, paths, ("image/png", "image/jpeg"), strict=True):
        assert image["type"] == "image_url"
        assert image["image_url"]["detail"] == "low"
        head, _, data = image["image_url"]["url"].partition(",")
        assert head == f"data:{kind};base64"
        assert base64.b64decode(data) == Path(path).read_bytes()


@pytest.mark.parametrize("content", [None, b"no image"])
def test_an_image_that_cannot_be_sent_refuses_its_request_alone(
    serve: Serve, tmp_path: Path, content: bytes | None
) -> None:
    server, generator = serve()
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    failed, fine = generator.complete_all([Request("a", (str(path),)), Request("b")], Sampling())
    assert isinstance(failed, GenerationError)
    assert failed.refused and "broken.png" in str(failed)
    assert not isinstance(fine, GenerationError) and len(fine) == 1
    assert len(server.exchanges) == 1


def test_concurrency_is_used_and_bounded(serve: Serve) -> None:
    server, generator = serve(pause=0.2, concurrency=3)
    assert generator.parallel == 3
    results = generator.complete_all([Request(f"q{k}", n=2) for k in range(9)], Sampling())
    assert [len(result) for result in results if not isinstance(result, GenerationError)] == [2] * 9
    assert server.most_at_once == 3


def test_results_stand_in_the_order_of_the_requests(serve: Serve) -> None:
    _, generator = serve(words=lambda body, number, index: "re " + body["messages"][0]["content"])
    results = generator.complete_all([Request(f"q{k}") for k in range(8)], Sampling())
    texts = [result[0].text for result in results if not isinstance(result, GenerationError)]
    assert texts == [f"re q{k}" for k in range(8)]


PREFIX = "Step 1: look.\nStep 2: think."
REST = "\nStep 3: conclude.\nFinal answer: B"


def test_a_prefix_is_an_open_turn_where_the_server_continues_it(serve: Serve) -> None:
    server, generator = serve(server_prefix="continues", words=lambda body, number, index: REST)
    assert generator.describe()["prefix"] == "auto: no prefix so far"
    requests = [Request("q", prefix=PREFIX, seed=k) for k in range(6)]
    for result in generator.complete_all(requests, Sampling()):
        assert not isinstance(result, GenerationError)
        assert result[0].text == REST
    assert len(server.exchanges) == 6 + 2  # the probe is made once, whatever comes at once
    assert len(server.chats) == 6
    for exchange in server.chats:
        assert exchange.body["messages"] == [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": PREFIX},
        ]
        assert exchange.body["continue_final_message"] is True
        assert exchange.body["add_generation_prompt"] is False
    assert generator.describe()["prefix"] == (
        "continue: the server leaves the last turn open (9 prompt tokens with an open last turn, 14 without)"
    )


@pytest.mark.parametrize(
    ("server_prefix", "why"),
    [
        (
            "ignores",
            "instruct: the server ignores the request for an open last turn (14 prompt tokens with "
            "an open last turn, 14 without)",
        ),
        (
            "refuses",
            "instruct: the server refuses an open last turn (HTTP 400: unknown field continue_final_message)",
        ),
    ],
)
def test_a_prefix_goes_by_instruction_elsewhere(serve: Serve, server_prefix: str, why: str) -> None:
    server, generator = serve(
        server_prefix=server_prefix, words=lambda body, number, index: PREFIX + REST if index else REST[1:]
    )
    completions = generator.complete("q", prefix=PREFIX, n=2)
    assert [PREFIX + completion.text for completion in completions] == [PREFIX + REST] * 2
    (exchange,) = server.chats
    (message,) = exchange.body["messages"]
    assert message["content"].startswith("q\n\n")
    assert PREFIX in message["content"]
    assert "continue_final_message" not in exchange.body
    assert generator.describe()["prefix"] == why


def test_by_instruction_the_images_stay(serve: Serve, tmp_path: Path) -> None:
    server, generator = serve(prefix="instruct")
    path = str(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(path)
    generator.complete("q", path, prefix=PREFIX)
    image, text = server.exchanges[0].body["messages"][0]["content"]
    assert image["type"] == "image_url"
    assert text["text"].startswith("q\n\n") and PREFIX in text["text"]


def test_a_prefix_of_white_space_is_none(serve: Serve) -> None:
    server, generator = serve()
    generator.complete("q", prefix=" \n")
    (exchange,) = server.exchanges
    assert exchange.body["messages"] == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize("how", ["continue", "instruct"])
def test_a_given_way_of_continuing_is_not_probed(serve: Serve, how: str) -> None:
    server, generator = serve(prefix=how)
    generator.complete("q", prefix=PREFIX)
    assert len(server.exchanges) == 1
    assert ("continue_final_message" in server.exchanges[0].body) == (how == "continue")
    assert generator.describe()["prefix"] == f"{how}: as set"


def test_a_server_without_usage_is_asked_by_instruction(serve: Serve) -> None:
    _, generator = serve(server_prefix="continues", counts_tokens=False)
    generator.complete("q", prefix=PREFIX)
    assert generator.describe()["prefix"].startswith("instruct: the server does not report prompt_tokens")


def test_a_last_turn_that_must_be_open_is_continued(serve: Serve) -> None:
    def closed_turn(number: int, body: dict[str, Any]) -> Fault | None:
        closed = body["messages"][-1]["role"] == "assistant" and "continue_final_message" not in body
        return status(400, "the last turn must be the user's") if closed else None

    _, generator = serve(server_prefix="continues", fault_of=closed_turn)
    generator.complete("q", prefix=PREFIX)
    assert generator.describe()["prefix"].startswith("continue: the server accepts a final assistant turn")


def test_a_failed_probe_decides_nothing(serve: Serve) -> None:
    _, generator = serve(server_prefix="continues", faults=[status(500)] * 2, retries=1)
    with pytest.raises(GenerationError, match="while finding out how prefixes are continued"):
        generator.complete("q", prefix=PREFIX)
    generator.complete("q", prefix=PREFIX)
    assert generator.describe()["prefix"].startswith("continue: ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ""}, "model must not be empty"),
        ({"concurrency": 0}, "concurrency must be >= 1, got 0"),
        ({"concurrency": None}, "concurrency must be a whole number >= 1, got None"),
        ({"samples_per_request": 0}, "samples_per_request must be >= 1, got 0"),
        ({"timeout": 0}, "timeout must be > 0, got 0; it is in seconds"),
        ({"timeout": "10"}, "timeout must be a number > 0, got '10'; it is in seconds"),
        ({"retries": -1}, "retries must be >= 0, got -1"),
        ({"backoff": -1.0}, "backoff must be >= 0, got -1.0; it is in seconds"),
        ({"longest_wait": -1.0}, "longest_wait must be >= 0, got -1.0; it is in seconds"),
        ({"extra_body": "top_p"}, "extra_body must be a mapping or null, got 'top_p'"),
        ({"prefix": "yes"}, "prefix must be one of auto, continue, instruct, got 'yes'"),
        (
            {"token_limit": "n"},
            "token_limit must be one of max_tokens, max_completion_tokens or null, got 'n'",
        ),
        ({"image_detail": "x"}, "image_detail must be one of low, high, auto or null, got 'x'"),
        ({"extra_body": {"n": 3}}, "extra_body must not contain n"),
        ({"base_url": "localhost:8000"}, "base_url must be like http://localhost:8000/v1"),
        ({"base_url": "http://[::1/v1"}, "base_url is not a valid address"),
        ({"base_url": "http://me:secret@host/v1"}, "base_url must not contain a user, password or query"),
        ({"base_url": None}, "set the environment variable OPENAI_API_KEY"),
    ],
)
def test_bad_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        build_generator("openai", **{"model": "m", "base_url": "http://127.0.0.1:9/v1", **settings})
    assert "secret" not in str(caught.value)


def test_the_address_may_come_from_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = serve()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    generator = build_generator("openai", model="m")
    assert generator.describe()["server"] == server.url
    assert len(generator.complete("q")) == 1
    generator.close()


def test_hosted_models_get_the_newer_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert OpenAIGenerator("m")._limit_field == "max_completion_tokens"
    assert OpenAIGenerator("m", base_url="http://127.0.0.1:1/v1")._limit_field == "max_tokens"


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install 'dreamprm[openai]'")):
        OpenAIGenerator("m", base_url="http://127.0.0.1:1/v1")


def test_importing_the_module_does_not_import_the_library() -> None:
    code = "import sys, dreamprm.generators.openai as _; sys.exit(len({'openai', 'torch'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_picture_of_equal_size_and_time_is_sent_anew(serve: Serve, tmp_path: Path) -> None:
    server, generator = serve()
    picture = bitmap(tmp_path / "a.bmp", 0)
    for _ in range(2):
        generator.complete("p", str(picture))
    redraw(picture, 1)
    generator.complete("p", str(picture))
    first, again, other = (chat.body["messages"] for chat in server.exchanges)
    assert first == again != other
