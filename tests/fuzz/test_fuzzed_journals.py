"""Files that commands resume from, cut or damaged at random: what is whole is used, the rest refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import fuzz, outcome
from hypothesis import strategies as st
from mutations import by_seed, change, damage, json_text

from dreamprm.config.errors import UserError
from dreamprm.data.image_checks import ImageFacts, ImageFactsFile
from dreamprm.files.append_only import AppendOnlyFile
from dreamprm.generators.base import Completion
from dreamprm.generators.cached_generator import ReplyJournal
from dreamprm.labelling.journal import Journal, Key, Rollout
from dreamprm.scoring.journal import ScoreJournal

IDENTITY = {"model": "m", "files": {"model": {"a.json": "1" * 64, "b.json": None}}}
_ROLLOUT = {
    "question": "q\u2028",
    "cot": 0,
    "step": 0,
    "rollout": 0,
    "input": "a" * 32,
    "text": "So 4.",
    "tokens": 3,
    "finished": True,
    "verdict": "right",
    "answer": "4",
    "reason": "numeric",
    "reasoning": "Hm.",
}
_NEW = Rollout(Key("n", 0, 0, 0), "c" * 32, "t", 1, True, "right", None, "r")


@dataclass(frozen=True)
class Kept:
    """An append-only file of one kind: how it is opened, its valid lines, and what it then holds."""

    open: Callable[[Path], Any]
    lines: list[Any]
    held: Callable[[Any], Any]
    append: Callable[[Any], None]
    first: int = 0  # lines before those of entries


def _rollouts(journal: Journal) -> Any:
    found = {(rollout.key, rollout.input): rollout.verdict for rollout in journal}
    for (key, input), verdict in found.items():
        assert journal.find(key, input).verdict == verdict  # type: ignore[union-attr]
        assert journal.sampled(key, input[:16]) is not None
    journal.chains()
    return found


def _scores(journal: ScoreJournal) -> Any:
    keys = [key for key in ("k1", "k2", "k3", "new") if key in journal]
    return {key: (journal.read(key), journal.images(key)) for key in keys}


KINDS = {
    "rollouts": Kept(
        Journal,
        [
            _ROLLOUT,
            {**_ROLLOUT, "step": 1, "rollout": 2, "verdict": "unjudged", "answer": None},
            {**_ROLLOUT, "step": 1, "rollout": 2, "verdict": "wrong"},
            {**_ROLLOUT, "cot": 1, "input": "b" * 16, "text": "", "finished": False, "verdict": "undecided"},
        ],
        _rollouts,
        lambda journal: journal.append([_NEW]),
    ),
    "scores": Kept(
        lambda path: ScoreJournal(path, IDENTITY),
        [
            {"format": 2, "made_by": IDENTITY},
            {"row": 0, "key": "k1", "log_odds": [[0.5, -2], None], "images": {"lost": "i.png: no such file"}},
            {"row": 1, "key": "k2", "left_out": "no steps"},
            {"row": 2, "key": "k3", "log_odds": []},
        ],
        _scores,
        lambda journal: journal.append("new", [[1.0]], row=3),
        first=1,
    ),
    "replies": Kept(
        ReplyJournal,
        [
            {"form": 2, "asked": "a", "replies": [{"text": "yes", "tokens": 1, "finished": True}]},
            {"asked": "b", "replies": [{"text": "\u0085", "tokens": 0, "finished": False}] * 2},
        ],
        lambda journal: {asked: journal.find(asked) for asked in ("a", "b", "new") if journal.find(asked)},
        lambda journal: journal.append("new", [Completion("no", 1, True)]),
    ),
}  # fmt: skip


def _log(rows: list[Any]) -> bytes:
    """A file of one JSON value per line."""
    text = "".join(json_text(row, plain=False) + "\n" for row in rows)
    return text.encode("utf-8", "surrogatepass")


def _opened(kept: Kept, path: Path) -> Any:
    """What the file holds, or the user error that refuses it."""

    def read() -> Any:
        journal: AppendOnlyFile = kept.open(path)
        with journal:
            return kept.held(journal)

    return outcome(read)


@pytest.mark.parametrize("name", KINDS)
def test_journal_cut(name: str, tmp_path: Path) -> None:
    """Cut at any byte, a journal holds its whole lines, and goes on after them."""
    kept, path = KINDS[name], tmp_path / "journal.jsonl"
    whole = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept.lines).encode()

    def check(place: int) -> None:
        lines = whole[:place].count(b"\n")
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]))
        expected = _opened(kept, path)
        path.write_bytes(whole[:place])
        assert _opened(kept, path) == expected
        with kept.open(path) as journal:
            kept.append(journal)
            held = kept.held(journal)
        assert len(held) == len(expected) + 1
        assert _opened(kept, path) == held

    fuzz(check, few=15, place=st.integers(0, len(whole)))


@pytest.mark.parametrize("name", KINDS)
def test_journal_damaged(name: str, tmp_path: Path) -> None:
    """A journal is refused, and left as it is; or what it holds can be used."""
    kept, path = KINDS[name], tmp_path / "journal.jsonl"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        held = _opened(kept, path)
        if isinstance(held, UserError):
            assert path.read_bytes() == content and path.name in str(held)
            return
        with kept.open(path) as journal:
            if len(kept.held(journal)) == len(held) and "new" not in held:
                kept.append(journal)
                assert len(kept.held(journal)) == len(held) + 1

    def content(chance: Random) -> bytes:
        lines = [chance.choice(kept.lines) for _ in range(chance.randint(0, 4))]
        rows = change(chance, kept.lines[: kept.first] + lines)
        return damage(chance, _log(rows if isinstance(rows, list) else [rows]), most=1)

    fuzz(check, few=25, content=by_seed(content))


def test_image_facts(tmp_path: Path) -> None:
    """A cache of what images are like: read as far as it is right, made anew otherwise; never in the way."""
    path, said = tmp_path / "images.json", list[str]()
    ImageFactsFile(path, say=said.append).add({"a": ImageFacts(3, 4), "b": ImageFacts(problem="broken")})
    valid = json.loads(path.read_bytes())

    def check(content: bytes) -> None:
        path.write_bytes(content)
        file = ImageFactsFile(path, say=said.append)
        for digest in ("a", "b"):
            facts = file.get(digest)
            if facts is not None:
                assert (
                    type(facts.width) is int
                    and type(facts.height) is int
                    and min(facts.width, facts.height) >= 0
                )
                assert all(text is None or isinstance(text, str) for text in (facts.problem, facts.cut_off))
                assert facts.problem is not None or facts.width * facts.height > 0
        file.add({"c": ImageFacts(1, 1)})
        assert ImageFactsFile(path, say=said.append).get("c") == ImageFacts(1, 1) and not said

    made_by = valid["made_by"]
    rows = [
        [-1, 4, None, None],
        [0, 0, True, None],
        [0, 0, None, None],
        [float("inf"), 1, None, None],
        [1, 1],
    ]
    known = [{"content": _log([{"made_by": made_by, "images": {"a": row}}])} for row in rows]
    drawn = by_seed(lambda chance: damage(chance, _log([change(chance, valid)]), most=1))
    fuzz(check, few=25, content=drawn, known=known)


_UNUSABLE_METRICS = (
    b'{"step": 5, "status": 3}\n',
    b'{"step": "5", "status": "ok"}\n',
    b'{"step": 5, "inner_loss": "a"}\n',
    b'{"step": 5,\r "inner_loss": 1}\n',
    b'{"step": 1e999}\n',
    b'{"step": 5, "audit_cosine": 1}\n',
    b'{"step": 5, "audit_cosine": 1, "audit_norm_ratio": null, "audit_exact": "u"}\n',
    '{"step": 5}\n'.encode("utf-16"),
    b'\xef\xbb\xbf{"step": 5}\n',
    b'{"step": ' + b"[" * 3000 + b"]" * 3000 + b"}\n",
    b'{"step": 1' + b"0" * 400 + b"}\n",
)
_UNUSABLE_WEIGHTS = (
    b'{"step": 5}\n',
    b'{"step": 5, "weights": [1]}\n',
    b'{"step": 5, "weights": {"a": NaN}}\n',
)


def test_logs(tmp_path: Path) -> None:
    """A resumed run's logs: whole lines up to the checkpoint's step, which all that reads them can use."""
    from dreamprm.training.run_folder import RunFolder
    from dreamprm.training.run_warnings import WindowWarnings, loss_warnings
    from dreamprm.training.summary import window_summary

    folder = RunFolder(tmp_path)
    metric = {
        "window": 1,
        "step": 5,
        "status": "ok",
        "inner_loss": 0.5,
        "meta_loss": 0.7,
        "alpha_grad_norm": 0.1,
        "alpha_grad_error": None,
        "seconds": 1.5,
        "audit_cosine": 0.9,
        "audit_norm_ratio": 1.1,
        "audit_exact": "u",
    }
    rows = {
        "metrics.jsonl": [metric, {**metric, "step": 10, "status": "imprecise", "audit_cosine": None}],
        "domain_weights.jsonl": [
            {"step": 5, "weights": {"a\u2028": 1.0, "b": 0.5}},
            {"step": 10, "weights": {"a": 1}},
        ],
    }

    def check(contents: dict[str, bytes]) -> None:
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        dropped = folder.rewind(5)
        assert dropped <= sum(content.count(b"\n") for content in contents.values())
        metrics, weights = list(folder.metrics()), list(folder.weights())
        assert all(row["step"] <= 5 for row in (*metrics, *weights))
        folder.changed_logs({})
        assert folder.rewind(5) == 0 and (list(folder.metrics()), list(folder.weights())) == (
            metrics,
            weights,
        )
        window_summary(metrics)
        loss_warnings(metrics * 20)
        warnings = WindowWarnings(0.9, 0.01, learns=True)
        for row, line in zip(metrics, weights, strict=False):
            warnings.of(row, line["weights"])

    def logs(chance: Random) -> dict[str, bytes]:
        contents = {}
        for name, valid in rows.items():
            lines = [change(chance, chance.choice(valid)) for _ in range(chance.randrange(4))]
            contents[name] = damage(chance, _log(lines), most=1)
        return contents

    known = [
        *({"metrics.jsonl": line} for line in _UNUSABLE_METRICS),
        *({"domain_weights.jsonl": line} for line in _UNUSABLE_WEIGHTS),
    ]
    fuzz(check, few=20, contents=by_seed(logs), known=[{"contents": one} for one in known])


def test_selection(tmp_path: Path) -> None:
    """The report of a baseline's selection: what it says of images, or nothing where it is damaged."""
    from dreamprm.training.run_folder import RunFolder
    from dreamprm.training.selected_set import images_before_selection

    path = tmp_path / "selected" / "report.json"
    path.parent.mkdir()
    valid = {"selected_by": {"seed": 0}, "kept": 3, "images": {"records": 3, "lost": 1, "lost_first": ["a"]}}

    def check(content: bytes) -> None:
        path.write_bytes(content)
        images = images_before_selection(RunFolder(tmp_path))
        assert images is None or all(isinstance(line, str) for line in images.lines())

    fuzz(
        check,
        few=20,
        content=by_seed(lambda chance: damage(chance, _log([change(chance, valid)]), most=1)),
        known=[{"content": _log([valid | {"images": one}])} for one in ({"records": "3", "lost": 1}, 0, {})],
    )


def test_checkpoint(tmp_path: Path) -> None:
    """A checkpoint of which any byte has changed is refused; one of an old version needs whole numbers."""
    import torch

    from dreamprm.training.checkpoint import load_checkpoint, save_checkpoint

    state = {"inner_step": 5, "skipped": 0, "inputs": {"files": {}, "images": "x"}}
    path = save_checkpoint(
        tmp_path, 5, tensors={"params.w": torch.arange(6.0)}, state=state, run={"settings": {"lr": 1}}
    )
    valid = {file.name: file.read_bytes() for file in path.iterdir()}
    older = {"step": 5, "state": state}

    def check(files: dict[str, bytes]) -> None:
        for name, content in {**valid, **files}.items():
            (path / name).write_bytes(content)
        found = outcome(lambda: load_checkpoint(path))
        if not isinstance(found, UserError):
            assert files.items() <= valid.items() or b"sha256" not in files["state.json"]
            assert found[1].get("inner_step", 5) == 5

    def files(chance: Random) -> dict[str, bytes]:
        if chance.random() < 0.3:
            return {"state.json": _log([change(chance, older)])}
        return {name: damage(chance, content, most=1) for name, content in valid.items()}

    fuzz(check, few=30, files=by_seed(files))
