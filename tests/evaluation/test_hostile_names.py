"""Names from files in whole pages: a Markdown parser finds the structure of a page of plain names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from scored_candidates import random_records, write

from dreamprm.config.loading import load_config
from dreamprm.evaluation import evaluate
from dreamprm.evaluation.benchmark import Scored, scores_page
from dreamprm.evaluation.page import evaluation_page
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.evaluation.steps import evaluate_steps
from dreamprm.evaluation.steps.page import page as steps_page
from dreamprm.evaluation.steps.settings import EvaluateStepsConfig
from dreamprm.formats.benchmarks.registry import build_benchmark
from dreamprm.models.model_card import model_card

# The package comes with import-linter, of the extra `lint`.
markdown_it = pytest.importorskip("markdown_it")

NAME = "NAME"  # in the pages below, where a name of a file or of a user stands
HOSTILE = (
    "<script>alert(1)</script>",
    "<!-- <img src=x onerror=alert(1)>",
    "[x](javascript:alert(1)) ![i](http://e.vil/x.png) <http://e.vil>",
    "https://e.vil/x www.e.vil a.b@e.vil",
    "[x]: http://e.vil",
    "`code` **bold** _it_ ~~no~~ ```",
    "a|b \\| c \\\\| d\\",
    "| a | b |\n|---|---|\n| c |",
    "x\n\n# heading\r\n## heading\u2028### heading\u0085---",
    "- x\n- y",
    "1. x",
    "+",
    "***",
    "> quote",
    "&lt;b&gt; &amp; &#60;i&#62;",
    "    indented\n\tcode",
    "\u202eabc\u2066 \u200b\ufeff\u200d \x1b[2J\x07",
    "\u05d0\u05d1 \u0627\u0644",
)


def structure(page: str) -> list[str]:
    """The kinds of everything in the page, without what its texts say."""
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found: list[str] = []
    for token in parser.parse(page):
        found.append(token.type)
        kinds = [child.type for child in token.children or () if child.type != "text"]
        found += kinds
    return found


def shown(page: str) -> str:
    """All texts of the page, as a reader sees them."""
    parser = markdown_it.MarkdownIt("commonmark").enable("table")
    return "\n".join("".join(child.content for child in token.children or ()) for token in parser.parse(page))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """evaluation.json with all sections, as text."""
    folder = tmp_path_factory.mktemp("evaluated")
    strength = {f"{NAME}1": 0.4, f"{NAME}2": 1.0, "other": 0.7}
    made = {"generators": [f"{NAME}3", "g", f"{NAME}4"], "strength": strength, "questions": 12}
    config = load_config(
        EvaluateConfig,
        None,
        [
            f"suites.{NAME}5={write(folder / f'{NAME}6.jsonl', random_records(1, **made))}",
            f"suites.s={write(folder / 'b.jsonl', random_records(2, name='s', **made))}",
            f"development.{NAME}7={write(folder / 'c.jsonl', random_records(3, name='d', **made))}",
            f"output={folder / 'out'}",
            "aggregation=pick",
            f"checkpoints={{{NAME}8: [{NAME}1, other]}}",
            f"mean_over=[{NAME}5]",
            "resamples=100",
            "examples.count=0",
        ],
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluate, "_write_plots", lambda *given: None)
        evaluate.run_evaluate(config)
    return (folder / "out/evaluation.json").read_text()


@pytest.fixture(scope="module")
def judged_steps(tmp_path_factory: pytest.TempPathFactory) -> str:
    """steps.json with all sections, as text."""
    folder = tmp_path_factory.mktemp("steps")
    rows = [
        {
            "question": f"question {k}",
            "steps": ["one", "two"],
            "labels": [1, k % 2],
            "scores": {name: {"log_odds": [1.0, k % 3 - 1.0]} for name in (f"{NAME}1", f"{NAME}2")},
        }
        for k in range(20)
    ]
    rows.append({"question": f"{NAME}9", "steps": [], "labels": []})
    path = write(folder / f"{NAME}3.jsonl", rows)
    settings = [f"files.{NAME}4={path}", f"output={folder / 'out'}", f"baseline={NAME}1", "resamples=100"]
    settings += ["on_error=skip", "max_bad_fraction=0.5"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluate_steps, "_plot", lambda *given: None)
        evaluate_steps.run_evaluate_steps(load_config(EvaluateStepsConfig, None, settings))
    return (folder / "out/steps.json").read_text()


def scores(name: str) -> str:
    """scores.md of two generators."""
    one = Scored(0.5, 0.25, 0.75)
    benchmark = build_benchmark("mathvista")
    figures = {f"{name}1": {benchmark.headline: one, f"{name}/2": one}, "g": {f"{name}/3": one}}
    counts = {f"{name}1": 3, name: 1}
    return scores_page(benchmark, 9, figures, counts, undecided=counts, level=0.95)


def card(name: str) -> str:
    """A model card whose settings are the name."""
    text = SimpleNamespace(hidden_size=8, num_hidden_layers=1, vocab_size=9)
    config: Any = SimpleNamespace(model_type=name, get_text_config=lambda: text)
    settings = SimpleNamespace(readout=name, step_separator=name, max_length=None)
    images = SimpleNamespace(size={"shortest_edge": 1, "longest_edge": 2})
    processor: Any = SimpleNamespace(settings=settings, image_processor=images)
    training = {"baseline": name, name: name, "estimator": name}
    return model_card(config, processor, training, head=name, parameters=1)


@pytest.fixture(params=["evaluation.md", "steps.md", "scores.md", "card"])
def page_of(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Makes a page of a name."""

    def named(fixture: str) -> Callable[[str], Any]:
        text = request.getfixturevalue(fixture)
        return lambda name: json.loads(text.replace(NAME, json.dumps(name)[1:-1]))

    if request.param == "evaluation.md":
        evaluation = named("evaluated")
        return lambda name: evaluation_page(evaluation(name))
    if request.param == "steps.md":
        steps = named("judged_steps")
        return lambda name: steps_page(steps(name))
    return {"scores.md": scores, "card": card}[request.param]


def test_names_make_nothing_but_text(page_of: Callable[[str], str]) -> None:
    plain = structure(page_of("plain"))
    assert "table_open" in plain and "heading_open" in plain
    for name in HOSTILE:
        page = page_of(name)
        assert structure(page) == plain, name
        if "a.b@" in name:  # what GitHub makes links of without any mark
            assert not re.search(r"https?://e|www\.e|b@e", re.sub(r"`[^`\n]*`", "", page)), name
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]", page), name
        seen = re.sub("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", name)
        assert " ".join(seen.split()) in shown(page), name
