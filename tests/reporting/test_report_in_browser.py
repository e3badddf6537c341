"""The report as a reader sees it: opened in a real browser, light and dark, wide, narrow and in print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import NAMES, VARIABLE, Browser, Opened, browser, find_browser
from illustrated_folders import write_evaluation, write_steps

from dreamprm.reporting import render_report
from dreamprm.reporting.contents import read_report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.document import page as write_page
from dreamprm.reporting.sections import sections_of
from dreamprm.reporting.tables import Cell

PROBE = (Path(__file__).parent / "page_probe.js").read_text(encoding="utf-8")
VIEWS = {
    "wide": {"width": 1100},
    "dark": {"width": 1100, "scheme": "dark"},
    "narrow": {"width": 400},
    "print": {"width": 700, "media": "print"},  # about what A4 leaves between its margins
}
CONTRAST = 4.5  # WCAG 2.2, level AA, for text of any size

pytestmark = [
    pytest.mark.skipif(
        find_browser() is None, reason=f"no browser ({', '.join(NAMES)}); set {VARIABLE} to one"
    ),
    pytest.mark.xdist_group("browser"),  # with --dist loadgroup one process makes the page, once
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, run_writer: Callable[[Path], Path]) -> Path:
    """The page alone in a folder: whatever it needs it must hold."""
    folder = tmp_path_factory.mktemp("folders")
    with pytest.MonkeyPatch.context() as patch:  # the page draws its plots itself
        patch.setattr("dreamprm.evaluation.evaluate._write_plots", lambda *arguments: None)
        patch.setattr("dreamprm.evaluation.steps.evaluate_steps._plot", lambda *arguments: None)
        report = read_report(
            [
                run_writer(folder / "runs" / "sandbox"),
                write_evaluation(folder / "a"),
                write_steps(folder / "b"),
            ]
        )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_report(report), encoding="utf-8")
    path.with_suffix(".anchors").write_text("\n".join(section.anchor for section in sections_of(report)))
    return path


@pytest.fixture(scope="module")
def views(chromium: Browser, page: Path) -> dict[str, Opened]:
    return {name: chromium.opened(page, probe=PROBE, **view) for name, view in VIEWS.items()}


@pytest.fixture(params=VIEWS)
def view(request: pytest.FixtureRequest, views: dict[str, Opened]) -> Opened:
    return views[request.param]


def test_nothing_is_asked_for_and_nothing_goes_wrong(view: Opened) -> None:
    assert view.messages == ()
    assert view.requests == ()
    assert view.found["addresses"] == [] and view.found["styleAddresses"] == []
    assert view.found["scripts"] == 0  # those in the texts are text


def test_the_page_is_as_wide_as_its_window(view: Opened) -> None:
    assert view.found["scrollWidth"] <= view.found["width"]
    assert view.found["outside"] == []


def test_no_text_is_cut(view: Opened) -> None:
    assert view.found["hidden"] == []
    assert [text for text in view.found["texts"] if text["cut"]] == []


def test_text_stands_out_from_its_background(view: Opened) -> None:
    texts = view.found["texts"]
    assert len(texts) > 200
    unknown = {text["kind"] for text in texts if text["contrast"] is None}
    assert unknown == set()
    pale = {
        (text["kind"], round(text["contrast"], 2)): text["text"]
        for text in texts
        if text["contrast"] < CONTRAST
    }
    assert pale == {}


def test_images_are_decoded_and_told_in_words(view: Opened) -> None:
    images = view.found["images"]
    assert len(images) >= 6
    small = [image for image in images if min(image["width"], image["shown"]) < 2]
    assert [image for image in images if not image["decoded"]] == [] and small == []
    assert [image for image in images if not image["alt"].strip()] == []


def test_plots_keep_a_readable_size_on_a_narrow_page(views: dict[str, Opened]) -> None:
    plots = [image for image in views["narrow"].found["images"] if image["plot"]]
    assert len(plots) >= 6
    assert [image["alt"] for image in plots if image["shown"] < 0.4 * image["width"]] == []


def test_every_section_is_there_and_holds_something(views: dict[str, Opened], page: Path) -> None:
    found = views["wide"].found["sections"]
    assert [section["id"] for section in found] == page.with_suffix(".anchors").read_text().split("\n")
    assert len(found) >= 5
    for section in found:
        assert section["title"] and section["height"] > 60
        assert section["text"] > len(section["title"]) + 20, section["id"]


def test_links_lead_to_the_sections(views: dict[str, Opened]) -> None:
    found = views["wide"].found
    assert found["repeated"] == []
    assert [link["address"] for link in found["links"]] == [f"#{one['id']}" for one in found["sections"]]
    assert [link for link in found["links"] if not link["found"]] == []
    assert [link["text"] for link in found["links"]] == [one["title"] for one in found["sections"]]


def test_what_scrolls_can_be_reached_by_the_keyboard_and_has_a_name(views: dict[str, Opened]) -> None:
    boxes = views["narrow"].found["boxes"]
    assert len(boxes) > 3
    assert [box for box in boxes if not box["reachable"] or not box["named"]] == []


def test_paper_shows_all_that_scrolls_on_a_screen(views: dict[str, Opened]) -> None:
    assert views["print"].found["boxes"] == []
    assert len(views["print"].found["texts"]) > 0.9 * len(views["wide"].found["texts"])


def test_wide_tables_do_not_make_the_browser_print_everything_small(
    chromium: Browser,
    tmp_path: Path,
) -> None:
    suites = ["heldout", "combinations", "styles", "reasoner", "two_ops", "mixed", "mean"]
    head = ["run", "trained", "seed", "steps", "estimator", "time", *suites, "rank correlation", "targets"]
    row = [
        "sandbox-with_meta-seed0",
        "baseline with_meta",
        "0",
        "1500",
        "first_order",
        "10:07",
        *[Cell("89.1", ("87.1-91.2",))] * len(suites),
        "0.82",
        "missed",
    ]
    runs = [f"sandbox-{name}-seed0" for name in ("orm", "car", "doge", "with_meta", "vanilla", "s1")]
    bodies = {
        "runs": render(
            "overview.html",
            head=head,
            rows=[row] * 3,
            suites=True,
            correlated=False,
            mean="",
            seeds=[],
            own_suites=False,
        ),
        "provenance": render(
            "provenance.html",
            folders=[["a", "run", "/a"]],
            labels=runs,
            several=True,
            runs=[],
            differing=[["data.train[0].path", *["runs/study/car/selected/train.jsonl"] * 6]],
        ),
    }
    path = tmp_path / "wide.html"
    path.write_text(write_page("wide", [Section(name, name, body) for name, body in bodies.items()]))
    width, figure, interval = chromium.opened(
        path,
        width=700,
        media="print",
        probe="[document.documentElement.scrollWidth, ...['td', 'td small'].map((one) =>"
        " parseFloat(getComputedStyle(document.querySelector(one)).fontSize))]",
    ).found
    assert width == 700
    assert interval < figure


def test_the_keyboard_comes_to_the_navigation_first(chromium: Browser, page: Path) -> None:
    opened = chromium.opened(
        page,
        width=1100,
        keys=["Tab", "Tab"],
        probe="[document.activeElement.getAttribute('href'),"
        " document.activeElement.matches(':focus-visible'),"
        " getComputedStyle(document.activeElement).outlineStyle]",
    )
    address, visible, outline = opened.found
    links = page.with_suffix(".anchors").read_text().split("\n")
    assert address == f"#{links[1]}" and visible and outline != "none"


@pytest.mark.parametrize(
    ("name", "darkest", "lightest"), [("wide", 240, 255), ("dark", 0, 60), ("narrow", 240, 255)]
)
def test_the_page_is_drawn_in_its_scheme(
    name: str,
    darkest: int,
    lightest: int,
    views: dict[str, Opened],
) -> None:
    pixels = np.asarray(views[name].screenshot)
    assert pixels.shape[1] == VIEWS[name]["width"] and pixels.shape[0] > 2000
    margin = pixels[:, 2]
    assert darkest <= margin.min() and margin.max() <= lightest
    assert len(views[name].screenshot.getcolors(pixels.shape[0] * pixels.shape[1])) > 200
    # Something is drawn everywhere: no stretch as high as a window is empty.
    drawn = np.flatnonzero((pixels != pixels[0, 2]).any(axis=(1, 2)))
    assert np.diff(drawn).max() < 900


def test_the_probe_finds_what_is_wrong(chromium: Browser, tmp_path: Path) -> None:
    """A page with one fault of each kind, so that the tests above can fail."""
    path = tmp_path / "faulty.html"
    path.write_text(
        """<!doctype html><meta charset="utf-8"><body style="background: #fff; color: #000">
<nav><a href="#gone">gone</a></nav><main><section id="one"><h2>One</h2>
<p id="one" style="color: #999">pale <span style="opacity: .5; color: #000">faint</span></p>
<p style="width: 900px">wide</p><p style="overflow: hidden; width: 3em; white-space: nowrap">cut off here</p>
<p style="overflow: hidden; text-overflow: ellipsis">short</p>
<div style="overflow-x: auto" tabindex="-1"><div style="width: 1200px">box</div></div>
<img src="data:image/png;base64,AAAA"><img src="http://example.org/x.png" alt="far">
</section></main><script>console.warn("careful"); missing();</script></body>""",
        encoding="utf-8",
    )
    opened = chromium.opened(path, width=400, scheme="dark", probe=PROBE)
    found = opened.found
    assert found["width"] == 400 and found["scrollWidth"] > 900
    assert "p: wide" in found["outside"] and not any("box" in one for one in found["outside"])
    assert found["hidden"] == ["p: cut off here"]
    assert [text["text"] for text in found["texts"] if text["cut"]] == ["short"]
    contrasts = {text["text"]: text["contrast"] for text in found["texts"]}
    # #999 on white: luminance 0.3185, (1 + .05) / (0.3185 + .05); black at half opacity is #808080 on white.
    assert contrasts["pale"] == pytest.approx(2.849, abs=0.001)
    assert contrasts["faint"] == pytest.approx(3.949, abs=0.05)
    assert contrasts["One"] == pytest.approx(21)
    assert found["repeated"] == ["one"] and found["links"][0]["found"] is False
    assert found["boxes"] == [{"kind": "div", "reachable": False, "named": False}]
    assert [image["decoded"] for image in found["images"]] == [False, False]
    assert found["addresses"] == ["http://example.org/x.png"] and found["scripts"] == 1
    assert opened.requests == ("http://example.org/x.png",)
    assert any(one.startswith("warning: careful") for one in opened.messages)
    assert any("missing is not defined" in one for one in opened.messages)
    assert any("ERR_NAME_NOT_RESOLVED" in one for one in opened.messages)


def test_a_failing_probe_and_a_missing_page_are_errors(chromium: Browser, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="did not load: net::ERR_FILE_NOT_FOUND"):
        chromium.opened(tmp_path / "none.html", width=400)
    path = tmp_path / "page.html"
    path.write_text("<p>a page</p>")
    with pytest.raises(RuntimeError, match="the probe failed: .*nothing_of_that_name is not defined"):
        chromium.opened(path, width=400, probe="nothing_of_that_name")


def test_a_browser_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "no-such-browser")
    with pytest.raises(FileNotFoundError, match="must name a program, got 'no-such-browser'"):
        find_browser()
