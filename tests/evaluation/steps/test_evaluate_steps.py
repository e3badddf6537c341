"""The command from scored files to the folder of results: synthetic, real and a tiny PRM's scores.

Plots take most of a run's time; they are drawn only in the tests that ask for them (`with_plots`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scored_records import first_zero, write_scored
from shared_data import shared_file
from tiny_models import tiny_prm

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.data import read_step_records
from dreamprm.data.records import StepRecord
from dreamprm.evaluation.steps import SCOPES
from dreamprm.evaluation.steps import settings as evaluate_steps
from dreamprm.evaluation.steps.evaluate_steps import run_evaluate_steps
from dreamprm.evaluation.steps.settings import EvaluateStepsConfig
from dreamprm.formats.convert import FORMATS, convert_file

CONFIG = Path(__file__).parents[3] / "experiments" / "configs" / "evaluate_steps.yaml"
ORACLE = 4.0  # log-odds of a right step; a wrong one has -4


@pytest.fixture
def with_plots() -> None:
    """Asked for by the tests in which plots are drawn."""


@pytest.fixture(autouse=True)
def _plots_where_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "with_plots" not in request.fixturenames:
        monkeypatch.setattr("dreamprm.evaluation.steps.evaluate_steps._plot", lambda *arguments: None)


def evaluated(folder: Path, files: dict[str, Path], *overrides: str) -> dict[str, Any]:
    """steps.json of a run on the files."""
    names = json.dumps({name: str(path) for name, path in files.items()})
    settings = [f"files={names}", f"output={folder / 'out'}", "resamples=100", *overrides]
    run_evaluate_steps(load_config(EvaluateStepsConfig, None, settings))
    return dict(json.loads((folder / "out" / "steps.json").read_text()))


def records(seed: int, n: int, *, prefix: str = "q") -> Iterator[StepRecord]:
    """Records of up to five steps with a first error somewhere or nowhere."""
    generator = np.random.default_rng(seed)
    for k in range(n):
        steps = int(generator.integers(1, 6))
        first = int(generator.integers(0, 2 * steps))
        yield StepRecord(
            question=f"{prefix}{k}",
            images=(),
            domain="d",
            steps=("a step",) * steps,
            labels=tuple(1.0 if i < first else 0.0 for i in range(steps)),
            rollouts=(None,) * steps,
            id=f"{prefix}{k}",
        )


def oracle(record: StepRecord) -> dict[str, list[float]]:
    """Log-odds that say the labels; null labels count as right."""
    return {"oracle": [-ORACLE if label == 0 else ORACLE for label in record.labels]}


def noisy(record: StepRecord) -> dict[str, list[float]]:
    """An oracle with noise that the record's id decides, and a worse one."""
    generator = np.random.default_rng(sum(record.id.encode()))
    signs = np.array([-1.0 if label == 0 else 1.0 for label in record.labels])
    return {
        "good": list(signs * 2 + generator.normal(size=len(signs))),
        "poor": list(signs * 0.5 + generator.normal(size=len(signs))),
    }


@pytest.mark.parametrize(
    ("format", "name", "known", "unknown"),
    [
        ("processbench", "processbench/gsm8k.json", 400, 0),
        ("mr_ben", "mr_ben/coding.json", 219, 19),
        ("bigbench_mistake", "bigbench_mistake/tracking_shuffled_objects.jsonl", 300, 0),
    ],
)
def test_an_oracle_on_real_files(format: str, name: str, known: int, unknown: int, tmp_path: Path) -> None:
    """F1 and AUC are 1; every probability is off by sigmoid(-4), which is therefore the ECE."""
    own = tmp_path / "own.jsonl"
    convert_file(format, shared_file(name), own)
    path = write_scored(tmp_path / "scored.jsonl", FORMATS[format].read(shared_file(name)), oracle)
    result = evaluated(tmp_path, {"real": path}, "threshold.chosen_on=nothing", "threshold.value=0.5")
    held = result["subsets"]["real"]
    assert held["erroneous"] + held["correct"] == known and held["first_error_unknown"] == unknown
    assert held["test_records"] == known + unknown and held["development_records"] == 0
    judged = [json.loads(line) for line in own.read_text().splitlines()]
    assert held["labelled_steps"] == sum(label is not None for row in judged for label in row["labels"])
    for figure in ("f1", "error_accuracy", "correct_accuracy"):
        assert result["first_error"][figure]["oracle"]["real"] == {"value": 1, "low": 1, "high": 1}
    off = 1 / (1 + np.exp(ORACLE))
    for scope in SCOPES:
        assert result["auc"]["oracle"][scope]["pooled"]["real"]["value"] == 1
        assert result["auc"]["oracle"][scope]["per_record"]["real"]["value"] == 1
        calibration = result["calibration"]["oracle"][scope]["real"]
        assert calibration["brier"]["value"] == pytest.approx(off**2, rel=1e-12)
        for binning in ("equal_width", "equal_mass"):
            assert calibration[binning]["ece"]["value"] == pytest.approx(off, rel=1e-9)
            assert [one["label"] for one in calibration[binning]["bins"]] == [0, 1]
    random = result["first_error"]["error_accuracy"]["random"]["real"]["value"]
    chances = [
        1 / (len(row["labels"]) + 1)
        for row in judged
        if 0 in row["labels"] and None not in row["labels"][: first_zero(row["labels"])]
    ]
    assert random == pytest.approx(np.mean(chances), rel=1e-12)


def test_wrong_predictions_of_real_records_are_counted_exactly(tmp_path: Path) -> None:
    """Every third record's scores are those of another answer, so that F1 follows from counting."""
    given = list(FORMATS["processbench"].read(shared_file("processbench/math.json")))
    spoilt = {record.id for record in given[::3]}

    def score(record: StepRecord) -> dict[str, list[float]]:
        values = np.array(oracle(record)["oracle"])
        if record.id in spoilt:  # all right for a record with an error, the last step wrong for one without
            wrong = first_zero(record.labels) >= 0
            values = np.full(len(values), ORACLE)
            values[-1] = ORACLE if wrong else -ORACLE
        return {"spoilt": list(values)}

    path = write_scored(tmp_path / "scored.jsonl", given, score)
    result = evaluated(tmp_path, {"math": path}, "threshold.chosen_on=nothing", "threshold.value=0.5")
    firsts = {record.id: first_zero(record.labels) for record in given}
    errors = [name for name, first in firsts.items() if first >= 0]
    error = sum(name not in spoilt for name in errors) / len(errors)
    correct = sum(name not in spoilt for name, first in firsts.items() if first < 0) / (1000 - len(errors))
    assert len(errors) == 594 and 0.6 < error < 0.7 and 0.6 < correct < 0.7
    got = {figure: held["spoilt"]["math"]["value"] for figure, held in result["first_error"].items()}
    f1 = 2 * error * correct / (error + correct)
    wanted = {"f1": f1, "error_accuracy": error, "correct_accuracy": correct}
    assert got == pytest.approx(wanted, rel=1e-12)


def test_the_published_way_with_gsm8k_as_development_set(tmp_path: Path) -> None:
    files = {}
    for name, every in (("gsm8k", 1), ("math", 2), ("omnimath", 5)):
        given = FORMATS["processbench"].read(shared_file(f"processbench/{name}.json"))
        files[name] = write_scored(tmp_path / f"{name}.jsonl", islice(given, 0, None, every), noisy)
    result = evaluated(
        tmp_path, files, "threshold.chosen_on=subset", "threshold.subset=gsm8k", "baseline=poor"
    )
    f1 = result["first_error"]["f1"]["good"]
    # On GSM8K the highest F1 of the curve, which is what is reported there; the mean is over the others.
    chosen = result["thresholds"]["good"]["development"]
    assert f1["gsm8k"]["value"] == pytest.approx(chosen["f1"], rel=1e-12)
    mean = (f1["math"]["value"] + f1["omnimath"]["value"]) / 2
    assert f1["mean"]["value"] == pytest.approx(mean, rel=1e-12)
    assert f1["gsm8k"]["value"] > 0.6 > result["first_error"]["f1"]["poor"]["gsm8k"]["value"]
    # Section 3 of the paper, by hand, for the threshold that was written down.
    threshold = result["thresholds"]["good"]["log_odds"]
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for row in map(json.loads, files["math"].read_text().splitlines()):
        below = [i for i, value in enumerate(row["scores"]["good"]["log_odds"]) if value < threshold]
        first = first_zero(row["labels"])
        hits[first >= 0].append((below[0] if below else -1) == first)
    a, b = np.mean(hits[True]), np.mean(hits[False])
    assert f1["math"]["value"] == pytest.approx(2 * a * b / (a + b), rel=1e-12)
    difference = result["differences"]["f1"]["good"]["math"]
    poor = result["first_error"]["f1"]["poor"]["math"]["value"]
    assert difference["value"] == pytest.approx(f1["math"]["value"] - poor, rel=1e-12)
    assert difference["low"] > 0 and "poor" not in result["differences"]["f1"]
    page = (tmp_path / "out" / "steps.md").read_text()
    assert "| gsm8k (development) | hard | 400 | 0 | 400 | 207 | 193 |" in page
    assert "the highest F1 on gsm8k, whose own figures are therefore too good" in page
    assert "not included in the mean (207 erroneous and 193 correct records)." in page


def test_a_tiny_prm_on_real_records(tmp_path: Path) -> None:
    prm = tiny_prm(seed=3)
    given = list(FORMATS["processbench"].read(shared_file("processbench/gsm8k.json")))[::20]
    scores = {record.id: prm.score(record.question, None, record.steps) for record in given}
    path = tmp_path / "scored.jsonl"
    write_scored(path, given, lambda record: {"tiny": [0.0] * len(record.steps)})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["scores"] = {"tiny": {"steps": scores[row["id"]]}}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = evaluated(tmp_path, {"gsm8k": path}, "threshold.fraction=0.5", "seed=1")
    held = result["subsets"]["gsm8k"]
    assert held["development_records"] + held["test_records"] == 20 and held["development_records"] > 3
    threshold = result["thresholds"]["tiny"]["probability"]
    assert 0 < threshold < 1
    everything = evaluated(
        tmp_path,
        {"gsm8k": path},
        "threshold.chosen_on=nothing",
        "overwrite=true",
        f"threshold.value={threshold}",
    )
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for record in given:
        first = first_zero(record.labels)
        predicted = next((i for i, p in enumerate(scores[record.id]) if p < threshold), -1)
        hits[first >= 0].append(predicted == first)
    got = {figure: held["tiny"]["gsm8k"]["value"] for figure, held in everything["first_error"].items()}
    assert got["error_accuracy"] == pytest.approx(np.mean(hits[True]), abs=1e-12)
    assert got["correct_accuracy"] == pytest.approx(np.mean(hits[False]), abs=1e-12)
    flat = [p for record in given for p in scores[record.id]]
    labels = [label for record in given for label in record.labels]
    wanted = np.mean([(p - y) ** 2 for p, y in zip(flat, labels, strict=True) if y is not None])
    got = everything["calibration"]["tiny"]["all"]["gsm8k"]["brier"]["value"]
    assert got == pytest.approx(wanted, rel=1e-6)  # log-odds of probabilities clipped to 1e-7


@pytest.fixture
def scored(tmp_path: Path) -> dict[str, Path]:
    """Two subsets of 120 records each, of different questions."""
    return {
        name: write_scored(tmp_path / f"{name}.jsonl", records(seed, 120, prefix=name), noisy)
        for seed, name in enumerate(("a", "b"))
    }


def test_what_a_run_leaves(
    scored: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    with_plots: None,
) -> None:
    result = evaluated(tmp_path, scored)
    out = tmp_path / "out"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "config.yaml",
        "development_curves.csv",
        "plots/development_f1.png",
        "plots/reliability.png",
        "steps.json",
        "steps.md",
    ]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    again = load_config(EvaluateStepsConfig, out / "config.yaml")
    assert again.files == {name: str(path) for name, path in scored.items()}
    assert result["versions"]["numpy"] == np.__version__
    # Every reported figure counts test records alone.
    development = sum(held["development_records"] for held in result["subsets"].values())
    assert 24 < development < 72
    curve = (out / "development_curves.csv").read_text().splitlines()
    assert curve[0].split(",")[:4] == ["scorer", "threshold_log_odds", "threshold_probability", "f1"]
    good = [line.split(",") for line in curve if line.startswith("good,")]
    assert len(good) == result["thresholds"]["good"]["development"]["thresholds_tried"]
    best = max(good, key=lambda cells: float(cells[3]))
    assert float(best[1]) == result["thresholds"]["good"]["log_odds"]
    page = (out / "steps.md").read_text()
    assert page in capsys.readouterr().out
    f1 = result["first_error"]["f1"]["good"]["mean"]
    assert f"{100 * f1['value']:.1f} [{100 * f1['low']:.1f}, {100 * f1['high']:.1f}]" in page
    assert "always_correct" in page and "blind" in page


def test_the_same_configuration_gives_the_same_figures(scored: dict[str, Path], tmp_path: Path) -> None:
    first, again = evaluated(tmp_path, scored), evaluated(tmp_path, scored, "overwrite=true")
    assert again == first
    other = evaluated(tmp_path, scored, "overwrite=true", "seed=1")
    assert other["subsets"] != first["subsets"]
    given = ["overwrite=true", "threshold.chosen_on=nothing", "threshold.value=0.5"]
    one, two = (
        evaluated(tmp_path, scored, *given, f"seed={seed}")["first_error"]["f1"]["poor"] for seed in (0, 1)
    )
    for name in "ab":  # without a split the seed moves the intervals alone
        assert one[name]["value"] == two[name]["value"] and one[name]["low"] != two[name]["low"]


def test_the_order_of_records_changes_no_figure(scored: dict[str, Path], tmp_path: Path) -> None:
    first = evaluated(tmp_path, scored)
    for path in scored.values():
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    again = evaluated(tmp_path, scored, "overwrite=true")
    assert again["thresholds"] == first["thresholds"] and again["subsets"] == first["subsets"]
    for scorer in ("good", "poor"):
        assert again["first_error"]["f1"][scorer] == first["first_error"]["f1"][scorer]
        assert again["auc"][scorer]["all"]["pooled"] == first["auc"][scorer]["all"]["pooled"]


def test_labels_of_rollouts_are_measured_by_calibration_alone(tmp_path: Path, with_plots: None) -> None:
    soft = [
        StepRecord(
            question=f"q{k}",
            images=(),
            domain="d",
            steps=("a", "b"),
            labels=(0.75, k % 2 / 4),
            rollouts=(4, 4),
            id=f"q{k}",
        )
        for k in range(20)
    ]
    path = write_scored(tmp_path / "soft.jsonl", soft, lambda record: {"s": [np.log(3), -np.log(7)]})
    result = evaluated(tmp_path, {"soft": path})
    assert result["subsets"]["soft"]["labels"] == "soft" and result["thresholds"] == {}
    assert result["first_error"]["f1"] == {} and result["subsets"]["soft"]["first_error_unknown"] == 20
    calibration = result["calibration"]["s"]["all"]["soft"]
    # p = 3/4 where the label is 3/4; p = 1/8 where it is 0 or 1/4.
    assert calibration["equal_width"]["ece"]["value"] == pytest.approx(0, abs=1e-12)
    assert calibration["brier"]["value"] == pytest.approx(0.5 * 0.125**2, rel=1e-12)
    assert result["calibration"]["s"]["up_to_first_error"] == {}
    page = (tmp_path / "out" / "steps.md").read_text()
    assert "no record's first error is known" in page and "Steps counted: all." in page
    assert (tmp_path / "out" / "plots" / "reliability.png").exists()
    assert not (tmp_path / "out" / "plots" / "development_f1.png").exists()
    # Right above 0: the first error is the second step of every other record.
    hard = evaluated(tmp_path, {"soft": path}, "label_threshold=0", "overwrite=true")
    held = hard["subsets"]["soft"]
    assert held["erroneous"] + held["correct"] + held["development_records"] == 20
    assert hard["auc"]["s"]["all"]["pooled"]["soft"]["value"] > 0.5


def test_means_are_over_the_subsets_that_have_the_figure(scored: dict[str, Path], tmp_path: Path) -> None:
    right = [record for record in records(9, 80, prefix="c") if 0 not in record.labels]
    files = scored | {"c": write_scored(tmp_path / "c.jsonl", right, noisy)}
    result = evaluated(tmp_path, files)
    f1 = result["first_error"]["f1"]["poor"]
    assert f1["c"] is None and result["auc"]["poor"]["all"]["pooled"]["c"] is None
    assert f1["mean"]["value"] == pytest.approx((f1["a"]["value"] + f1["b"]["value"]) / 2, rel=1e-12)
    correct = result["first_error"]["correct_accuracy"]["poor"]
    wanted = np.mean([correct[name]["value"] for name in "abc"])
    assert correct["mean"]["value"] == pytest.approx(wanted, rel=1e-12)
    assert "| poor |" in (tmp_path / "out" / "steps.md").read_text()


def test_an_own_development_file(scored: dict[str, Path], tmp_path: Path) -> None:
    chosen = ["threshold.chosen_on=file", f"threshold.file={scored['b']}"]
    result = evaluated(tmp_path, {"a": scored["a"]}, *chosen)
    assert result["subsets"]["a"]["test_records"] == 120
    held = result["development"]
    assert held["records"] == held["questions"] == held["erroneous"] + held["correct"] == 120
    with pytest.raises(
        DataError, match="120 records of a have questions that are also in the development set"
    ):
        evaluated(
            tmp_path,
            {"a": scored["a"]},
            "overwrite=true",
            "threshold.chosen_on=file",
            f"threshold.file={scored['a']}",
        )
    other = write_scored(tmp_path / "other.jsonl", records(5, 30, prefix="o"), oracle)
    with pytest.raises(DataError, match="holds no scores of good, poor"):
        evaluated(
            tmp_path,
            {"a": scored["a"]},
            "overwrite=true",
            "threshold.chosen_on=file",
            f"threshold.file={other}",
        )


def test_bad_records_and_scorers_of_responses_are_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_scored(tmp_path / "a.jsonl", records(0, 100), lambda record: noisy(record) | {"orm": [1.0]})
    path.write_text(path.read_text() + '{"question": "q"}\n')
    with pytest.raises(DataError, match="a.jsonl:101: field 'steps' is missing"):
        evaluated(tmp_path, {"a": path})
    assert not (tmp_path / "out").exists()
    result = evaluated(tmp_path, {"a": path}, "on_error=skip", "scorers=[good, poor]")
    left_out = result["left_out"]["a"]
    assert left_out["bad_records"] == 1 and "jsonl:101" in left_out["reasons"][0]
    path.write_text(
        "".join(
            line
            for line in path.read_text().splitlines(keepends=True)[:-1]
            if len(json.loads(line)["steps"]) > 1
        )
    )
    result = evaluated(tmp_path, {"a": path}, "overwrite=true")
    assert result["left_out"]["a"]["whole_response_scorers"] == ["orm"]
    assert result["scorers"] == ["good", "poor"]
    assert "give one value per response: orm" in capsys.readouterr().out


def test_output_folders(scored: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    evaluated(tmp_path, scored)  # an empty folder is free
    before = (out / "steps.json").read_text()
    with pytest.raises(UserError, match="holds a step evaluation; name another folder, or set overwrite"):
        evaluated(tmp_path, scored, "seed=3")
    assert (out / "steps.json").read_text() == before
    (out / "steps.json").rename(out / "mine.json")
    with pytest.raises(UserError, match="holds something other than a step evaluation"):
        evaluated(tmp_path, scored, "overwrite=true")
    with pytest.raises(UserError, match="output is a file"):
        evaluated(tmp_path, scored, f"output={scored['a']}")


def test_a_failed_run_leaves_the_older_one(
    scored: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluated(tmp_path, scored)
    before = (tmp_path / "out" / "steps.json").read_text()

    def broken(*arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("dreamprm.evaluation.steps.evaluate_steps._plot", broken)
    with pytest.raises(OSError, match="no space"):
        evaluated(tmp_path, scored, "overwrite=true", "seed=3")
    assert (tmp_path / "out" / "steps.json").read_text() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_older_folder_comes_back_where_the_new_one_cannot_take_its_place(
    scored: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluated(tmp_path, scored)
    before = (tmp_path / "out" / "steps.json").read_text()
    rename = os.rename

    def refused(source: Path, target: Path) -> None:
        if source.suffix == ".partial":
            raise OSError("the disk went away")
        rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk went away"):
        patch.setattr(os, "rename", refused)
        evaluated(tmp_path, scored, "overwrite=true", "seed=3")
    assert (tmp_path / "out" / "steps.json").read_text() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["files={}"], "at least one file"),
        (["files={mean: a.jsonl}"], "no subset may be named 'mean'"),
        (["threshold.chosen_on=subset"], "chosen_on=subset needs subset; subset is None"),
        (["threshold.chosen_on=subset", "threshold.subset=c"], "must be one of a, got 'c'"),
        (["threshold.subset=a"], "does not read subset, only chosen_on=subset does; subset is 'a'"),
        (["threshold.value=0.5"], "chosen_on=split does not read value, only chosen_on=nothing does"),
        (["threshold.chosen_on=nothing"], "chosen_on=nothing needs value"),
        (["threshold.chosen_on=file"], "chosen_on=file needs file"),
        (["scorers=[x]", "baseline=y"], "baseline must be one of x, got 'y'"),
        (["threshold.fraction=1"], "threshold.fraction must be > 0 and < 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(EvaluateStepsConfig, None, ["files={a: a.jsonl}", "output=o", *overrides])


def test_files_that_do_not_fit_are_refused(scored: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="baseline must be one of good, poor, got 'best'"):
        evaluated(tmp_path, scored, "baseline=best")
    named = write_scored(
        tmp_path / "named.jsonl", records(5, 30), lambda record: {"random": oracle(record)["oracle"]}
    )
    with pytest.raises(UserError, match="a scorer may not be named 'random': a guess has that name"):
        evaluated(tmp_path, {"named": named})
    other = write_scored(tmp_path / "other.jsonl", records(5, 30, prefix="o"), oracle)
    with pytest.raises(UserError, match="all subsets need the same scorers: a has good, poor, o has oracle"):
        evaluated(tmp_path, {"a": scored["a"], "o": other})


def test_the_schema_names_what_there_is() -> None:
    """It holds its own list, since importing numpy would make `--help` slow."""
    assert evaluate_steps.SCOPES == SCOPES


def test_the_shipped_configuration_loads() -> None:
    config = load_config(EvaluateStepsConfig, CONFIG)
    assert list(config.files) == ["gsm8k", "math", "olympiadbench", "omnimath"]
    assert set(yaml.safe_load(CONFIG.read_text())["threshold"]) == {"chosen_on", "fraction"}


def test_a_scored_file_still_trains(scored: dict[str, Path]) -> None:
    """The reader of step records takes no notice of scores."""
    assert len(list(read_step_records(scored["a"], allow_no_image=True))) == 120
