"""Examples on the page: what each pick shows, shades that text can be read on, texts that break nothing."""

import json
import re
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamprm.config.loading import load_config
from dreamprm.evaluation import evaluate as command
from dreamprm.evaluation.evaluate import run_evaluate
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.reporting.contents import Report, read_report
from dreamprm.reporting.sections.examples import (
    DARK_PAPER,
    LIGHT_PAPER,
    pieces,
    sections,
    shade,
    shown_probability,
)

TEMPLATES = Path(__file__).parents[2] / "src" / "dreamprm" / "reporting" / "templates"


def channels(colour: str) -> np.ndarray:
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        values = channels(colour)
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def scheme(name: str) -> dict[str, str]:
    """The colours of page.css in the light or the dark scheme."""
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "page.css").read_text(), re.DOTALL)
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocks[("light", "dark").index(name)]))


def test_text_can_be_read_on_every_shade_in_both_schemes():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    light, dark = scheme("light"), scheme("dark")
    assert (light["paper"], dark["paper"]) == (LIGHT_PAPER, DARK_PAPER)
    shades = [shade(p) for p in np.linspace(0, 1, 101)]
    assert min(contrast(one.light, light["ink"]) for one in shades) > 7
    assert min(contrast(one.dark, dark["ink"]) for one in shades) > 7


def test_low_and_high_are_told_apart_also_by_the_colour_blind():
    for name in ("light", "dark"):
        low, middle, high = (channels(getattr(shade(p), name)) for p in (0.05, 0.5, 0.95))
        assert low[0] - low[2] > 0.15 and high[2] - high[0] > 0.15  # red-brown, blue
        assert np.ptp(middle) < 0.03  # grey
        # Protanopia and deuteranopia of full severity: Machado, Oliveira and Fernandes, 2009, in linear RGB.
        for matrix in (
            [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
            [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        ):
            seen = [np.clip(np.array(matrix) @ colour**2.2, 0, 1) ** (1 / 2.2) for colour in (low, high)]
            assert np.abs(seen[0] - seen[1]).max() > 0.25
    assert shade(1) == shade(1.0) != shade(0.99)


@pytest.mark.parametrize(
    "text, tex",
    [
        ("so $x_1 = 2$ and $$y$$.", ["$x_1 = 2$", "$$y$$"]),
        (r"\(a\) or \[b" + "\n" + r"\]", [r"\(a\)", "\\[b\n\\]"]),
        ("it costs $5\nor $6", []),
        ("nothing here", []),
        ("$open and \\( too", []),
    ],
)
def test_mathematics_is_set_apart_and_nothing_is_lost(text, tex):
    parts = pieces(text)
    assert [part.text for part in parts if part.tex] == tex
    assert "".join(part.text for part in parts) == text


def test_a_text_full_of_opening_marks_takes_no_time():
    start = time.monotonic()
    text = "\\[" * 50_000 + "$" + "\\(" * 50_000
    assert "".join(part.text for part in pieces(text)) == text
    assert time.monotonic() - start < 5  # minutes, if each mark were searched for to the end


def test_probabilities_that_round_to_the_ends_say_so():
    values = {
        -30.0: "< 0.01",
        -5.3: "< 0.01",
        -5.29: "0.01",
        0.0: "0.50",
        1.0: "0.73",
        5.29: "0.99",
        5.3: "> 0.99",
        800.0: "> 0.99",
    }
    assert {value: shown_probability(value) for value in values} == values


def candidate(answer, correct, steps=("first step", "second step"), generator=None, **log_odds):
    return {
        "text": "\n".join(steps),
        "steps": list(steps),
        "final_answer": answer,
        "correct": correct,
        "generator": generator,
        "scores": {name: {"log_odds": row} for name, row in log_odds.items()},
    }


def rows(count=1, **changes):
    """Questions on which dreamprm picks 1 and is right, vanilla 2 and is wrong; orm and majority 3."""
    return [
        {
            "id": f"q{k}",
            "question": f"question {k}?",
            "images": [],
            "benchmark": "b",
            "answer": "4",
            "candidates": [
                candidate(
                    "4", True, generator="model g", dreamprm=[1.0, 2.0], vanilla=[-1.0, 0.0], orm=[0.25]
                ),
                candidate("5", False, dreamprm=[-1.0, -6.0], vanilla=[0.5, 0.0], orm=[-0.5]),
                candidate("6", False, dreamprm=[-2.0, -2.0], vanilla=[-3.0, 0.0], orm=[0.75]),
                candidate("6", False, dreamprm=[-2.0, -2.0], vanilla=[-3.0, 0.0], orm=[0.5]),
            ],
        }
        | changes
        for k in range(count)
    ]


@pytest.fixture
def body(tmp_path, monkeypatch):
    """The section of an evaluation of the records given, as HTML."""
    monkeypatch.setattr(command, "_write_plots", lambda *arguments: None)

    def of(records, *settings):
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
        run_evaluate(
            load_config(
                EvaluateConfig,
                None,
                [
                    f"output={tmp_path / 'out'}",
                    f"suites.a={tmp_path / 'a.jsonl'}",
                    "resamples=100",
                    *settings,
                ],
            )
        )
        (section,) = sections(read_report([tmp_path / "out"]))
        assert (section.anchor, section.title) == ("examples-1", "Examples where selectors disagree")
        return str(section.body)

    return of


def pair(method, baseline):
    return f"examples.pairs=[{{method: {method}, baseline: {baseline}}}]"


def words(html: str) -> str:
    """What a reader reads."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def picks(html: str) -> list[str]:
    return [words(part) for part in re.findall(r'<section class="pick">(.*?)</section>', html, re.DOTALL)]


def test_each_pick_shows_its_own_scorer_first_and_every_step(body):
    html = body(rows(), pair("dreamprm", "vanilla"))
    assert picks(html) == [
        "dreamprm picks candidate 1 of 4: ✓ right Final answer: 4 written by model g "
        "dreamprm: sum_log_odds +3.00 vanilla: sum_log_odds -1.00 also picked by first, weighted_dreamprm "
        "Step 1 dreamprm p = 0.73 vanilla p = 0.27 first step "
        "Step 2 dreamprm p = 0.88 vanilla p = 0.50 second step",
        "vanilla picks candidate 2 of 4: ✗ wrong Final answer: 5 "
        "vanilla: sum_log_odds +0.50 dreamprm: sum_log_odds -7.00 also picked by weighted_vanilla "
        "Step 1 vanilla p = 0.62 dreamprm p = 0.27 first step "
        "Step 2 vanilla p = 0.50 dreamprm p < 0.01 second step",
    ]
    assert words(html).endswith(
        "Candidates that other selectors pick: majority: 3 or 4; orm: 3; "
        "weighted_orm: 3 or 4. Only vanilla is right: no question"
    )
    # A step has the shade of the first scorer, each p its own; bars go from the middle.
    own, other = shade(1 / (1 + np.exp(-1.0))), shade(1 / (1 + np.exp(1.0)))
    step = html[html.index('<li class="shaded"') :]
    styles = re.findall(r"--light:(#\w+);--dark:(#\w+)", step)[:3]
    assert styles == [(own.light, own.dark), (own.light, own.dark), (other.light, other.dark)]
    assert re.findall(r"left:([\d.]+)%;width:([\d.]+)%", step)[:2] == [("50.0", "23.1"), ("26.9", "23.1")]


def test_one_score_for_the_whole_response_is_not_one_of_its_steps(body):
    own, other = picks(body(rows(), pair("dreamprm", "orm")))
    assert "orm: +0.25 for the whole response; it has no scores of single steps" in own
    assert "Step 1 dreamprm p = 0.73 first step" in own and "orm p =" not in own + other
    assert "orm picks candidate 3 of 4" in other and "Step 1 dreamprm p = 0.12 first step" in other
    # Without a scorer of steps there is no shade.
    html = body(rows(), pair("orm", "first"))
    assert "Only first is right: the only question" in html and 'class="shaded"' not in html
    assert "Step 1 first step" in picks(html)[0]
    # A response of one step, by a scorer of steps and by one of responses.
    single = rows()
    for one in single[0]["candidates"]:
        one["steps"] = ["all of it"]
        one["scores"] = {
            "dreamprm": {"log_odds": one["scores"]["dreamprm"]["log_odds"][:1]},
            "vanilla": one["scores"]["orm"],
        }
    single += rows(id="q9", question="another?")
    for one in single[1]["candidates"]:
        one["scores"] = {"dreamprm": one["scores"]["dreamprm"], "vanilla": one["scores"]["orm"]}
    html = body(single, pair("dreamprm", "vanilla"), "examples.count=5")
    assert "vanilla p = " not in words(html) and "dreamprm p = " in words(html) and "all of it" in html


def test_a_vote_tells_who_gave_its_answer(body):
    html = body(rows(), pair("dreamprm", "majority"))
    assert (
        "majority picks candidate 3 of 4: ✗ wrong Final answer: 6 "
        "it also names candidate 4, wrong as well; the first is shown "
        "dreamprm: sum_log_odds -4.00"
    ) in picks(html)[1]


def test_a_selector_that_names_several_does_not_seem_to_pick_both(body):
    tied = rows()
    tied[0]["candidates"][3].update(final_answer="7")  # four answers, a vote each
    own, other = picks(body(tied, pair("dreamprm", "vanilla")))
    assert "also picked by first, majority (among others), weighted_dreamprm" in own
    assert "also picked by majority (among others), weighted_vanilla" in other


def test_the_table_counts_every_question(body):
    records = rows(3)
    for one in records[2]["candidates"][2:]:  # the right answer ties with a wrong one
        one.update(final_answer="4" if one is records[2]["candidates"][2] else "5")
    both = rows(id="r")
    both[0]["candidates"][1]["correct"] = True
    html = body([*records, *both], pair("dreamprm", "majority"))
    assert (
        "questions majority right majority wrong dreamprm right 0 0.0 % 3 75.0 % "
        "dreamprm wrong 0 0.0 % 0 0.0 % Of 4 questions"
    ) in words(html)
    assert "Of 4 questions of suite a. 1 are in no cell" in words(html)
    assert "Only dreamprm is right: all 3 questions" in html
    assert "Only majority is right: no question" in html


def test_cards_after_the_second_are_folded_and_the_heading_counts(body):
    html = body(rows(7), pair("dreamprm", "vanilla"), "examples.count=4")
    assert "Only dreamprm is right: 4 of 7 questions" in html
    assert html.count("<article") == 4 and html.count("<details") == 2
    opened, folded = html.split("<details", 1)
    assert opened.count("<article") == 2 and folded.count("<article") == 2


def test_pairs_after_the_first_are_folded_and_tell_their_counts(body):
    pairs = "{method: dreamprm, baseline: vanilla}, {method: dreamprm, baseline: orm}"
    html = body(rows(3), f"examples.pairs=[{pairs}]", "examples.count=1")
    first, others = html.split("<details", 1)
    assert "<h3>dreamprm against vanilla</h3>" in first and first.count("<article") == 1
    assert words(first).endswith("Other pairs") and others.count("<details") == 0
    summary, folded = others.split("</summary>")
    assert summary.split("<summary>")[1] == (
        "dreamprm against orm (only one right: dreamprm 3, orm 0, of 3 questions)"
    )
    assert folded.count("<article") == 1 and "Only dreamprm is right: 1 of 3 questions" in folded
    labels = re.findall(r'aria-label="(Questions by[^"]*)"', html)
    assert labels == [
        "Questions by who is right, dreamprm against vanilla",
        "Questions by who is right, dreamprm against orm",
    ]


def test_images_are_part_of_the_page_and_missing_ones_are_named(body, tmp_path):
    Image.new("RGB", (30, 20), "blue").save(tmp_path / "blue.png")
    html = body(rows(images=["blue.png", "absent.png"]), pair("dreamprm", "vanilla"))
    (kept,) = (tmp_path / "out" / "examples").iterdir()
    assert re.search(r'<img alt="Image 1 of 1 of question q0" src="data:image/png;base64,iVBOR[^"]*">', html)
    assert f"Image not shown: {tmp_path / 'absent.png'} (no such file)" in words(html)
    kept.unlink()
    (section,) = sections(read_report([tmp_path / "out"]))
    assert "<img" not in section.body and f"Image not shown: {kept} (no such file)" in words(section.body)


def test_options_are_listed_where_the_question_lacks_them(body, tmp_path):
    def html(question, options):
        asked = {
            "id": "q0",
            "question": question,
            "images": [],
            "answer": "B",
            "domain": "d",
            "options": options,
        }
        (tmp_path / "q.jsonl").write_text(json.dumps(asked))
        return body(
            rows(question=question), f"suites.a.questions={tmp_path / 'q.jsonl'}", pair("dreamprm", "vanilla")
        )

    assert "how many? A three B $4$ Reference answer: 4" in words(html("how many?", ["three", "$4$"]))
    assert "13 or 4? A 3 B 4 Reference" in words(html("13 or 4?", ["3", "4"]))
    for question in ("how many? (A) three (B) four", "A. three\nB. four", "A: three, B: four"):
        assert '<ul class="options">' not in html(question, ["three", "four"])
    assert '<ul class="options">' not in html("how many?", ["A", "B"])


def test_hostile_texts_stay_texts(body):
    attack = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}</style>&amp;\u202edesrever"
    records = rows(
        id=attack, question=attack + "\n  kept " + "w" * 5000, answer=attack, images=[attack + ".png"]
    )
    for one in records[0]["candidates"]:
        one.update(
            final_answer=attack if one["final_answer"] == "4" else "half \ufffd",
            generator=attack,
            steps=[attack, "  spaces\n\n  and lines"],
        )
    html = body(records, pair("dreamprm", "vanilla"))
    html.encode("utf-8")
    assert "<script" not in html and "<img" not in html and "onerror=" in unescape(html)
    assert "half \ufffd" in html
    # The only elements are those of the template, and no attribute holds what a quote could end.
    tags = {tag.split()[0].strip("/") for tag in re.findall(r"<([^>]*)>", html)}
    assert tags <= {
        "p",
        "h3",
        "h4",
        "h5",
        "h6",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "small",
        "article",
        "section",
        "span",
        "bdi",
        "b",
        "i",
        "ul",
        "ol",
        "li",
        "code",
    }
    # Text that turns the direction round is alone in a block, or isolated.
    for found in re.finditer("\u202e", html):
        before = html[: found.start()]
        opened = max(before.rfind("<bdi"), before.rfind('<div class="kept" dir="auto">'))
        assert opened > max(before.rfind("</bdi>"), before.rfind("</div>"))
    assert "kept " + "w" * 5000 in html
    assert '<div class="kept" dir="auto">  spaces\n\n  and lines</div>' in html


def test_evaluations_without_examples_have_no_section_and_several_have_names(body, tmp_path):
    body(rows(), pair("dreamprm", "vanilla"))
    report = read_report([tmp_path / "out"])
    (folder,) = report.evaluations
    twice = Report(evaluations=(folder, folder))
    found = list(sections(twice))
    assert [one.anchor for one in found] == ["examples-1", "examples-2"]
    assert found[0].title == f"Examples where selectors disagree: {twice.label(folder)}"
    path = tmp_path / "out" / "evaluation.json"
    result = json.loads(path.read_text())
    assert result.pop("examples")[0]["method_only"] == 1
    path.write_text(json.dumps(result))  # as an older evaluation left it
    assert list(sections(read_report([tmp_path / "out"]))) == []
