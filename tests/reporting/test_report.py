"""The report as a whole: files, page, command."""

import json
from html.parser import HTMLParser
from io import BytesIO

import pytest
from PIL import Image

from dreamprm.config.errors import UserError
from dreamprm.reporting import final_table, run_report, write_report


class Page(HTMLParser):
    """Collects tags and text, and checks that every opened element is closed in order."""

    VOID = {"meta", "img"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.addresses, self.anchors = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for key, value in attributes if key in ("src", "href")]
        self.anchors += [value for key, value in attributes if key == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def plot_files(folder):
    return sorted(path.name for path in (folder / "plots").iterdir())


def test_report_stands_alone_and_shows_all(run_folder, capsys):
    run_report([str(run_folder)])
    printed = capsys.readouterr().out
    summary = json.loads((run_folder / "summary.json").read_text())
    assert final_table(summary) in printed and f"Report: {run_folder / 'report.html'}" in printed
    names = [
        "weights_over_time",
        "final_weights",
        "weights_against_difficulty",
        "losses",
        "accuracy_over_n",
        "best_of_n",
    ]
    assert plot_files(run_folder) == sorted(f"{name}.png" for name in names)
    for name in names:
        Image.open(BytesIO((run_folder / "plots" / f"{name}.png").read_bytes())).verify()

    page = Page((run_folder / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("img") == 6 and "script" not in page.tags and "link" not in page.tags
    assert all(
        address.startswith("data:image/png;base64,") or address.removeprefix("#") in page.anchors
        for address in page.addresses
    )
    assert len(set(page.anchors)) == len(page.anchors)
    text = " ".join(page.text)
    for wanted in (*summary["weights"], *summary["best_of_n"], "All targets are met.", "hypergrad"):
        assert wanted in text
    assert f"{100 * summary['best_of_n']['dreamprm']['mean']:.1f}" in page.text


def test_text_of_the_run_is_escaped(run_folder):
    path = run_folder / "summary.json"
    summary = json.loads(path.read_text())
    bad = "<script>alert('x & y')</script>"
    summary.update(name=bad, notes=[bad], targets={bad: {"target": 1, "measured": 2, "met": True}})
    for key in ("weights", "quality", "best_of_n", "differences"):
        summary[key][bad] = next(iter(summary[key].values()))
    summary["best_of_n"]["oracle"][bad] = 0.5
    path.write_text(json.dumps(summary))
    (run_folder / "config.yaml").write_text(f"name: {bad}\n")
    html = write_report(run_folder).read_text(encoding="utf-8")
    assert "<script" not in html and "x & y" not in html
    assert Page(html).text.count(bad) >= 6


def test_same_run_same_bytes(run_folder):
    first = write_report(run_folder).read_bytes()
    assert write_report(run_folder).read_bytes() == first


def test_a_bare_run_gets_what_it_has(run_folder):
    write_report(run_folder)
    (run_folder / "summary.json").write_text('{"name": "real", "weights": {"gsm8k": 1.2, "math": 0.8}}')
    (run_folder / "metrics.jsonl").write_text(
        '{"step": 5, "inner_loss": 0.3, "status": "ok"}\n'
        '{"step": 10, "inner_loss": NaN, "status": "nonfinite"}\n'
    )
    (run_folder / "domain_weights.jsonl").unlink()
    html = write_report(run_folder).read_text(encoding="utf-8")
    # Plots of the earlier report that this run no longer has are gone.
    assert plot_files(run_folder) == ["final_weights.png", "losses.png"]
    text = Page(html).text
    assert "1 nonfinite, of 2" in text and "planted quality" not in html and "Best-of-N" not in html


def test_nothing_is_written_when_one_folder_is_missing(run_folder, tmp_path):
    with pytest.raises(UserError, match="no run folder at"):
        run_report([str(run_folder), str(tmp_path / "nowhere")])
    assert not (run_folder / "report.html").exists()
    with pytest.raises(UserError, match="no folder given; use `dreamprm report FOLDER...`"):
        run_report([])
