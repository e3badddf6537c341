"""Which runs differ in their seeds alone, and what the settings of others differ in."""

import math

import pytest

from dreamprm.config.errors import DataError
from dreamprm.reporting import read_run
from dreamprm.reporting.repeats import differing_settings, mean_and_range, seed_groups, settings, shared_label


def names(groups):
    return [[run.name for run in group] for group in groups]


def test_runs_that_differ_in_their_seeds_belong_together(make_run):
    other = {"steps": 900}
    runs = [
        read_run(make_run(name, seed, config=config))
        for name, seed, config in (
            ("a-seed0", 0, None),
            ("b-seed0", 0, other),
            ("a-seed1", 1, {"threads": 4}),
            ("alone", 2, {"lr": 1}),
            ("b-seed1", 1, other),
            ("a-seed12", 12, {"evaluation": {"batch_size": 3}, "output": "x"}),
        )
    ]
    # data.meta is data/seed0/meta.jsonl in one, data/seed1/meta.jsonl in the next: the run's own seed.
    assert names(seed_groups(runs)) == [["a-seed0", "a-seed1", "a-seed12"], ["b-seed0", "b-seed1"]]
    assert shared_label(runs[::2], ["a-seed0", "a-seed1", "b-seed1"]) == "a-seed0, a-seed1, b-seed1"
    assert shared_label([runs[0], runs[5]], ["a-seed0", "a-seed12"]) == "a-seed*"


@pytest.mark.parametrize(
    "meta, alike",
    [
        ("data/seed1/meta.jsonl", True),
        ("data/seed0/meta.jsonl", False),
        ("data/seed11/meta.jsonl", False),
        ("other/seed1/meta.jsonl", False),
    ],
)
def test_another_path_is_another_training(make_run, meta, alike):
    runs = [read_run(make_run("a", 0)), read_run(make_run("b", 1, config={"data": {"meta": meta}}))]
    assert bool(seed_groups(runs)) == alike


def test_the_same_seed_twice_is_no_group(make_run):
    assert seed_groups([read_run(make_run(name)) for name in ("a", "b")]) == []


def test_a_run_without_configuration_is_in_no_group(make_run):
    folders = [make_run("a", 0), make_run("b", 1), make_run("c", 2)]
    (folders[1] / "config.yaml").unlink()
    assert names(seed_groups([read_run(folder) for folder in folders])) == [["a", "c"]]


def test_settings_that_differ(make_run):
    other = {"hypergrad": {"name": "cg", "terms": 3}}
    runs = [read_run(make_run("a", 0)), read_run(make_run("b", 1, config=other))]
    assert differing_settings(runs) == {"hypergrad.name": ["first_order", "cg"], "hypergrad.terms": [None, 3]}
    assert settings(runs[1])["data.meta"] == "data/seed*/meta.jsonl"
    assert settings(runs[1], star_seed=False)["data.meta"] == "data/seed1/meta.jsonl"


def test_lists_are_told_by_their_places(make_run):
    run = read_run(make_run("a", config={"data": {"train": [{"path": "x"}, {"path": "y"}], "none": []}}))
    held = settings(run)
    assert (held["data.train[0].path"], held["data.train[1].path"], held["data.none"]) == ("x", "y", [])


@pytest.mark.parametrize("text, message", [("a: [", "not YAML"), ("- 1\n", "must be a mapping .* got list")])
def test_a_damaged_configuration(run_folder, text, message):
    (run_folder / "config.yaml").write_text(text)
    with pytest.raises(DataError, match=f"config.yaml: {message}"):
        settings(read_run(run_folder))


def test_mean_and_range():
    assert mean_and_range([0.1, math.nan, 0.3, 0.11], 2) == "0.17 (0.10 to 0.30)"
    assert mean_and_range([math.nan], 2) == "n/a"
