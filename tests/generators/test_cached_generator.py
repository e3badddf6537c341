"""A generator that is asked nothing twice: by threads at once, by later runs, never for another's replies."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from loopback_servers import ScriptedServer
from replaced_files import bitmap, flip_last_bit, redraw, touch

from dreamprm.config.errors import DataError, UserError
from dreamprm.files.content import FileDigests
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.generators.cached_generator import CachedGenerator, ReplyJournal, cached_generator, digest_of
from dreamprm.generators.registry import generator_identity

GREEDY = Sampling(temperature=0.0, max_tokens=8)


@dataclass
class Scribe(Generator):
    """Replies with the prompt reversed; keeps the size of each call and what was asked."""

    parallel: int = 1
    together: int = 1
    before: Callable[[Sequence[Request]], None] = lambda requests: None
    fails: dict[str, Exception] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    closed: int = 0

    def complete_all(self, requests: Sequence[Request], sampling: Sampling) -> list[Any]:
        self.calls.append([request.prompt for request in requests])
        self.before(requests)
        results: list[Any] = []
        for request in requests:
            error = self.fails.get(request.prompt)
            if isinstance(error, UserError):
                raise error
            reply = Completion(request.prompt[::-1], len(request.prompt), False)
            results.append(error or [replace(reply, tokens=k) for k in range(request.n)])
        return results

    def close(self) -> None:
        self.closed += 1

    @property
    def asked(self) -> list[str]:
        return [prompt for call in self.calls for prompt in call]


@dataclass
class Opened:
    """A remembered scribe on a journal."""

    path: Path
    scribe: Scribe
    who: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> CachedGenerator:
        self.journal = ReplyJournal(self.path)
        return CachedGenerator(self.scribe, self.journal, self.who)

    def __exit__(self, *error: object) -> None:
        self.journal.close()


def test_a_later_run_asks_for_nothing_again(tmp_path: Path) -> None:
    path, requests = tmp_path / "new" / "judge.jsonl", [Request("ab"), Request("cd", n=2), Request("ab")]
    wanted = [[Completion("ba", 0, False)], [Completion("dc", 0, False), Completion("dc", 1, False)]]
    with Opened(path, scribe := Scribe()) as generator:
        assert generator.complete_all(requests, GREEDY) == [*wanted, wanted[0]]
        assert scribe.calls == [["ab", "cd"]]
        assert generator.complete_all(requests[:1], GREEDY) == wanted[:1]
    with Opened(path, again := Scribe()) as generator:
        assert generator.complete_all(requests, GREEDY) == [*wanted, wanted[0]]
        assert len(generator.journal) == 2
    assert (scribe.asked, again.calls) == (["ab", "cd"], [])


REQUEST = Request("p", ("i.png",), "s", 1, 0)


@pytest.mark.parametrize(
    "who, request_, sampling",
    [
        ({"model": "b"}, REQUEST, GREEDY),
        ({"model": "a", "dtype": "float32"}, REQUEST, GREEDY),
        ({"model": "a"}, replace(REQUEST, prompt="q"), GREEDY),
        ({"model": "a"}, replace(REQUEST, images=("j.png",)), GREEDY),
        ({"model": "a"}, replace(REQUEST, images=(), prefix="i.pngs"), GREEDY),
        ({"model": "a"}, replace(REQUEST, prefix="t"), GREEDY),
        ({"model": "a"}, replace(REQUEST, n=2), GREEDY),
        ({"model": "a"}, replace(REQUEST, seed=1), GREEDY),
        ({"model": "a"}, REQUEST, replace(GREEDY, temperature=0.5)),
        ({"model": "a"}, REQUEST, replace(GREEDY, max_tokens=9)),
        ({"model": "a"}, REQUEST, replace(GREEDY, stop=("x",))),
    ],
)
def test_a_reply_belongs_to_one_generator_and_one_request(
    tmp_path: Path, who: dict[str, Any], request_: Request, sampling: Sampling
) -> None:
    assert digest_of({"model": "a"}, REQUEST, GREEDY) == digest_of({"model": "a"}, replace(REQUEST), GREEDY)
    with Opened(tmp_path / "j.jsonl", Scribe(), {"model": "a"}) as generator:
        generator.complete_all([REQUEST], GREEDY)
    with Opened(tmp_path / "j.jsonl", other := Scribe(), who) as generator:
        generator.complete_all([request_], sampling)
        assert other.asked == [request_.prompt]


def test_equal_requests_of_several_threads_are_asked_once(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    def before(requests: Sequence[Request]) -> None:
        begun.set()
        assert go.wait(30)

    with Opened(tmp_path / "j.jsonl", scribe := Scribe(parallel=4, before=before)) as generator:
        assert generator.parallel == 4
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(generator.complete, "ab")
            assert begun.wait(30)
            others = [pool.submit(generator.complete, "ab") for _ in range(3)]
            go.set()
            assert [one.result() for one in (first, *others)] == [[Completion("ba", 0, False)]] * 4
    assert scribe.asked == ["ab"]


def test_failures_are_told_and_not_kept(tmp_path: Path) -> None:
    scribe = Scribe(fails={"cd": GenerationError("busy")})
    with Opened(tmp_path / "j.jsonl", scribe) as generator:
        good, bad = generator.complete_all([Request("ab"), Request("cd")], GREEDY)
        assert good == [Completion("ba", 0, False)] and str(bad) == "busy"
        scribe.fails.clear()
        assert generator.complete("cd", temperature=0.0, max_tokens=8) == [Completion("dc", 0, False)]
    assert scribe.asked == ["ab", "cd", "cd"]
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 2


def test_who_batches_gets_what_waits_in_one_call(tmp_path: Path) -> None:
    """While the first call is served three more threads come; they are served together."""
    first, rest = threading.Event(), threading.Event()

    def before(requests: Sequence[Request]) -> None:
        if requests[0].prompt == "p0":
            first.set()
            assert rest.wait(30)

    with Opened(tmp_path / "j.jsonl", scribe := Scribe(together=4, before=before)) as generator:
        assert generator.parallel == 4
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(generator.complete, "p0")]
            assert first.wait(30)
            futures += [pool.submit(generator.complete, f"p{k}") for k in (1, 2, 3)]
            while len(generator._waiting) < 3:
                pass
            rest.set()
            texts = [future.result()[0].text for future in futures]
    assert texts == ["0p", "1p", "2p", "3p"]
    assert [sorted(call) for call in scribe.calls] == [["p0"], ["p1", "p2", "p3"]]


def test_nothing_is_asked_after_the_end(tmp_path: Path) -> None:
    """A batch is under way when the run is stopped: what waits for its turn is not asked any more."""
    busy, free = threading.Event(), threading.Event()

    def before(requests: Sequence[Request]) -> None:
        busy.set()
        assert free.wait(20)

    with Opened(tmp_path / "j.jsonl", scribe := Scribe(together=4, before=before)) as generator:
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(generator.complete_all, [Request("ab")], GREEDY)
            assert busy.wait(20)
            others = [pool.submit(generator.complete_all, [Request(name)], GREEDY) for name in ("cd", "ef")]
            while len(generator._waiting) < 2:
                time.sleep(0.001)
            generator.close()
            free.set()
            assert first.result() == [[Completion("ba", 0, False)]]
            assert [str(other.result()[0]) for other in others] == ["the run was stopped"] * 2
        assert "stopped" in str(generator.complete_all([Request("gh")], GREEDY)[0])
    assert (scribe.calls, scribe.closed) == ([["ab"]], 1)
    assert (tmp_path / "j.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize("together", [1, 3])
def test_what_no_request_can_survive_reaches_every_thread(tmp_path: Path, together: int) -> None:
    fails = dict.fromkeys(("a", "b", "c"), UserError("no such model"))
    scribe = Scribe(parallel=3, together=together, fails=fails)
    with Opened(tmp_path / "j.jsonl", scribe) as generator, ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(generator.complete, prompt) for prompt in ("a", "b", "c", "a")]:
            with pytest.raises(UserError, match="no such model"):
                future.result()
        assert len(generator.journal) == 0
        scribe.fails.clear()
        assert generator.complete("a")[0].text == "a"


def test_a_line_cut_short_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Opened(path, Scribe()) as generator:
        generator.complete_all([Request("ab"), Request("cd")], GREEDY)
    path.write_bytes(path.read_bytes()[:-5])
    with Opened(path, scribe := Scribe()) as generator:
        generator.complete_all([Request("ab"), Request("cd")], GREEDY)
    assert scribe.asked == ["cd"]
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 2


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"asked": 1, "replies": []}',
        "[]",
        "null",
        '{"asked": "x", "replies": [{"text": 1, "tokens": 1, "finished": true}]}',
        '{"asked": "x", "replies": []}',
        '{"asked": "x", "replies": [{"text": "", "tokens": null, "finished": true}]}',
        '{"asked": "x", "replies": [{"text": "", "tokens": 1, "finished": "no"}]}',
    ],
)
def test_another_file_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "j.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match="j.jsonl:1: not a line of a journal of replies .*remove it to ask"):
        ReplyJournal(tmp_path / "j.jsonl")
    (tmp_path / "j.jsonl").unlink()
    with ReplyJournal(tmp_path / "j.jsonl"), pytest.raises(UserError, match="written by another process"):
        ReplyJournal(tmp_path / "j.jsonl")


def test_a_server_may_move_but_another_model_is_asked(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the openai extra is not installed")
    path = tmp_path / "j.jsonl"

    def ask(server: ScriptedServer, model: str, **settings: Any) -> list[Completion]:
        with cached_generator("openai", path, base_url=server.url, model=model, **settings) as judge:
            return judge.complete("Right?", temperature=0.0, max_tokens=8)

    with ScriptedServer().serving() as one, ScriptedServer().serving() as other:
        first = ask(one, "m")
        assert ask(other, "m", concurrency=3, timeout=5, retries=0) == first
        assert (len(one.chats), len(other.chats)) == (1, 0)
        ask(other, "m2")
        ask(other, "m", extra_body={"top_p": 0.5})
        assert (len(one.chats), len(other.chats)) == (1, 2)


def test_the_generator_is_closed_also_where_the_journal_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe = Scribe()
    monkeypatch.setattr(
        "dreamprm.generators.cached_generator.build_generator", lambda name, **settings: scribe
    )
    with cached_generator("openai", tmp_path / "j.jsonl", model="m") as judge:
        with (
            pytest.raises(UserError, match="another process"),
            cached_generator("openai", tmp_path / "j.jsonl"),
        ):
            pass
        assert scribe.closed == 1
        judge.complete("ab")
    assert scribe.closed == 2
    ReplyJournal(tmp_path / "j.jsonl").close()  # let go of


def _kept(path: Path, images: tuple[str, ...]) -> int:
    """How many requests of one about these images have to be asked."""
    scribe = Scribe()
    with ReplyJournal(path) as journal:
        CachedGenerator(scribe, journal, {}).complete_all([Request("ab", images)], GREEDY)
    return len(scribe.asked)


def test_images_are_known_by_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    one, other = (bitmap(tmp_path / "pictures" / name, seed) for seed, name in enumerate(("a.bmp", "b.bmp")))
    images = (str(one), str(other))
    assert [_kept(path, images) for _ in range(2)] == [1, 0]
    assert [_kept(path, images[::-1]) for _ in range(2)] == [1, 0]
    touch(one)
    assert _kept(path, images) == 0
    (tmp_path / "pictures").rename(tmp_path / "drawings")
    moved = tuple(image.replace("pictures", "drawings") for image in images)
    assert _kept(path, moved) == 0
    redraw(Path(moved[0]), 7)
    assert [_kept(path, moved) for _ in range(2)] == [1, 0]


def test_an_image_replaced_while_it_is_asked_about_is_refused(tmp_path: Path) -> None:
    picture = bitmap(tmp_path / "a.bmp", 0)
    scribe = Scribe(before=lambda requests: redraw(picture, 1))
    with Opened(tmp_path / "j.jsonl", scribe) as generator:
        with pytest.raises(DataError, match=r"a\.bmp was changed while this command was running"):
            generator.complete_all([Request("ab", (str(picture),))], GREEDY)
        assert len(generator.journal) == 0


def test_a_local_judge_is_known_by_its_files(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Not by its folder: a moved model is the same one, other weights at its path are not."""
    model = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    (model / "chat_template.jinja").write_text("{% for message in messages %}one {% endfor %}")
    path = tmp_path / "j.jsonl"

    def asked(model: Path, **settings: Any) -> int:
        with cached_generator("transformers", path, model=str(model), **settings) as judge:
            (reply,) = judge.complete("one plus two", temperature=0.0, max_tokens=2)
            assert reply.tokens > 0
            return judge.asked

    assert [asked(model) for _ in range(2)] == [1, 0]
    touch(model / "model.safetensors")
    assert asked(model, batch_size=2, dtype="auto") == 0  # how it is served, and a default
    moved = model.rename(tmp_path / "moved")
    assert asked(moved) == 0
    assert [asked(moved, dtype="float64") for _ in range(2)] == [1, 0]
    flip_last_bit(moved / "model.safetensors")
    assert [asked(moved) for _ in range(2)] == [1, 0]


def _as_version_0_2_0(path: Path, who: dict[str, Any], images: tuple[str, ...] = ()) -> None:
    content = [who, "ab", images, "", 1, 0, 0.0, 8, []]
    asked = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    reply = {"text": "kept", "tokens": 3, "finished": True}
    path.write_text(json.dumps({"asked": asked, "replies": [reply]}) + "\n")


def test_older_replies_of_a_server_to_texts_say_all_and_serve(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the openai extra is not installed")
    path = tmp_path / "j.jsonl"
    _as_version_0_2_0(path, {"generator": "openai", "model": "m", "prefix": "auto"})
    said: list[str] = []
    with ScriptedServer().serving() as server:
        settings = {"base_url": server.url, "model": "m", "prefix": "auto"}
        with cached_generator("openai", path, say=said.append, **settings) as judge:
            assert judge.complete("ab", temperature=0.0, max_tokens=8) == [Completion("kept", 3)]
    assert said == ["judge: 0 requests were answered with 0 tokens; 1 replies were already in the journal"]


@pytest.mark.parametrize("what", ["files", "images"])
def test_older_replies_that_do_not_say_all_are_kept_and_not_used(what: str, tmp_path: Path) -> None:
    path, picture = tmp_path / "j.jsonl", str(bitmap(tmp_path / "a.bmp", 0))
    images = (picture,) if what == "images" else ()
    who = {"generator": "g", "model": "m"}
    _as_version_0_2_0(path, who, images)
    before = path.read_bytes()
    scribe = Scribe()
    with ReplyJournal(path) as journal:
        generator = CachedGenerator(scribe, journal, who, formerly=who if what == "images" else None)
        if what == "files":
            generator._who["model"] = {"model.safetensors": "1"}
        generator.complete_all([Request("ab", images)], GREEDY)
        assert (
            "1 replies were already in the journal, of which 1 are of version 0.2.0 or older"
            in generator.costs()
        )
    assert scribe.asked == ["ab"] and path.read_bytes().startswith(before)


@pytest.mark.parametrize(
    "settings, same",
    [
        ({"prefix": "auto", "send_seed": True, "extra_body": None}, True),  # the defaults
        ({"base_url": "http://other/v1", "concurrency": 3}, True),  # how it is served
        ({"prefix": "instruct"}, False),
        ({"send_seed": False}, False),
        ({"extra_body": {"top_p": 0.9}}, False),
        ({"model": "n"}, False),
    ],
)
def test_who_replies_is_known_by_what_is_not_a_default(settings: dict[str, Any], same: bool) -> None:
    """A setting that a later version adds must not make paid replies another judge's."""
    known = generator_identity("openai", {"model": "m"}, Scribe(), FileDigests())
    other = generator_identity("openai", {"model": "m", **settings}, Scribe(), FileDigests())
    assert (known == other) == same and known == {"generator": "openai", "model": "m"}
