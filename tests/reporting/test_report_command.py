"""`dreamprm report`: where the page and the plots go, and what is refused before anything is written."""

import errno
import json
import os
from pathlib import Path

import pytest

from dreamprm.config.errors import UserError
from dreamprm.evaluation.plots import style
from dreamprm.reporting import plots, run_report
from dreamprm.reporting.contents import Report, read_report
from dreamprm.reporting.report import write_report


@pytest.fixture(autouse=True)
def two_plots_only(monkeypatch):
    """Where files go does not depend on what is drawn, and drawing takes long."""
    monkeypatch.setattr(plots, "PLOTS", {name: plots.PLOTS[name] for name in ("final_weights", "audit")})
    monkeypatch.setattr(style, "png", lambda figure: b"PNG")


def test_one_page_over_several_runs_and_the_plots_of_each(make_run, capsys):
    folders = [make_run("a", 0), make_run("b", 1)]
    run_report([str(folder) for folder in folders])
    page = folders[0].parent / "report.html"
    assert capsys.readouterr().out == f"Report: {page}\n"
    assert "<h1>2 training runs</h1>" in page.read_text(encoding="utf-8")
    for folder in folders:
        assert [path.name for path in (folder / "plots").iterdir()] == ["final_weights.png"]
        assert not (folder / "report.html").exists()


def test_a_folder_inside_another_does_not_take_its_page(make_run, make_vanilla):
    outer, inner = make_run("a"), make_vanilla("a/vanilla")
    run_report([str(outer), str(inner)])
    assert (outer.parent / "report.html").exists() and not (outer / "report.html").exists()


def test_output_names_the_page(run_folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    run_report([f"output={page}", str(run_folder)])
    assert page.exists() and not (run_folder / "report.html").exists()
    assert capsys.readouterr().out.endswith(f"\n\nReport: {page}\n")
    assert (run_folder / "plots" / "final_weights.png").exists()


@pytest.mark.parametrize(
    "setting, message",
    [
        ("outptu=x.html", "report has no setting 'outptu'; it knows output=PAGE.html"),
        ("output={folder}/summary.json", "must be a file that ends in .html"),
        ("output=", "must be a file that ends in .html"),
        ("output={folder}/x.html", "x.html is a folder; name a file in it, such as output=.*report.html"),
        ("output={folder}/nowhere/x.html", "nowhere does not exist; name a folder that exists"),
    ],
)
def test_what_output_may_be(run_folder, setting, message):
    (run_folder / "x.html").mkdir()
    with pytest.raises(UserError, match=message):
        run_report([str(run_folder), setting.format(folder=run_folder)])
    assert not (run_folder / "plots").exists()


def test_a_folder_whose_name_holds_an_equals_sign(make_run):
    folder = make_run("lr=1")
    run_report([str(folder)])
    assert (folder / "report.html").exists()


def test_folders_that_share_no_parent(make_run, monkeypatch):
    folders = [str(make_run("a")), str(make_run("b"))]
    monkeypatch.setattr(os.path, "commonpath", lambda paths: "/")
    with pytest.raises(UserError, match="no parent folder except /; name the page's path with output=PAGE"):
        run_report(folders)


def test_a_parent_that_cannot_be_written_to(make_run, monkeypatch):
    folders = [make_run("a"), make_run("b")]
    parent = folders[0].parent
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != parent)
    with pytest.raises(UserError, match="runs cannot be written to; name its path with output=PAGE.html"):
        run_report([str(folder) for folder in folders])
    assert not (folders[0] / "plots").exists()


def test_a_run_that_cannot_be_written_to_keeps_its_plots(make_run, monkeypatch, capsys):
    folders = [make_run("a"), make_run("b")]
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folders[0])
    run_report([str(folder) for folder in folders])
    assert f"{folders[0]} cannot be written to; its plots folder stays as it is" in capsys.readouterr().out
    assert not (folders[0] / "plots").exists() and (folders[1] / "plots").exists()


def test_a_report_that_is_read_can_be_written_anywhere(make_run, tmp_path):
    report = read_report([make_run("a"), make_run("b")])
    assert isinstance(report, Report)
    assert write_report(report, tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def renamed(folder, name):
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    return folder


def test_labels_tell_folders_of_one_name_apart(make_run):
    names = {"a": "same", "b": "same", "c": "other", "other": "d", "x/e": "f", "y/e": "f"}
    report = read_report([renamed(make_run(folder), name) for folder, name in names.items()])
    # "other" is also the name of another run's folder.
    assert [report.label(run) for run in report.runs] == ["a", "b", "c", "d", "x/e", "y/e"]
    assert report.title == "6 training runs"


@pytest.mark.parametrize("place", ["report.html", "plots/final_weights.png"])
def test_a_full_disk_is_told_and_leaves_what_was_there(make_run, monkeypatch, place):
    folder = make_run("a")
    (folder / "plots").mkdir()
    (folder / place).write_bytes(b"before")

    replace = os.replace

    def full(one, other):
        if Path(other).name == (folder / place).name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(one, other)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=f"No space left on device: .*{place}"):
        run_report([str(folder)])
    assert (folder / place).read_bytes() == b"before"
    assert [path.name for path in folder.rglob(".*")] == []


def test_a_folder_of_another_command_is_refused_with_the_three_kinds(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(
        UserError,
        match=r"not a folder that a report can be made of.*metrics.jsonl.*evaluation.json.*steps.json",
    ):
        read_report([tmp_path])
