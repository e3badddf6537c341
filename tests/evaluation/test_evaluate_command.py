"""`dreamprm evaluate` from files to files."""

import json
from pathlib import Path

import numpy as np
import pytest
from scored_candidates import candidate, random_records, record, write
from shared_data import shared_file

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.evaluation import best_of_n_accuracy, bootstrap_interval
from dreamprm.evaluation import evaluate as command
from dreamprm.evaluation.evaluate import run_evaluate
from dreamprm.evaluation.scored_suite import open_scored_suite
from dreamprm.evaluation.selection import scores_of
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.evaluation.significance import holm, mcnemar_p
from dreamprm.formats.convert import convert_file


def evaluate(folder: Path, *settings: str) -> dict:
    config = load_config(EvaluateConfig, None, [f"output={folder / 'out'}", "resamples=200", *settings])
    run_evaluate(config)
    return json.loads((folder / "out" / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two test suites, one of them of two generators, and a development suite."""
    folder = tmp_path_factory.mktemp("data")
    write(folder / "a.jsonl", random_records(1, questions=80, name="a"))
    write(folder / "b.jsonl", random_records(2, questions=60, name="b", total=4, generators=["g", "h"]))
    write(folder / "dev.jsonl", random_records(3, questions=60, name="d", generators=["g", "h"]))
    return folder


@pytest.fixture(scope="module")
def result(data, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("evaluated")
    return evaluate(
        folder,
        f"suites={{a: {data}/a.jsonl, b: {data}/b.jsonl}}",
        f"development.dev={data}/dev.jsonl",
        "aggregations.vanilla=pick",
    ) | {"folder": folder / "out"}


@pytest.fixture(autouse=True)
def _plots_once(monkeypatch) -> None:
    """Only `result`, made before this, has its plots drawn: they take most of the time."""
    monkeypatch.setattr(command, "_write_plots", lambda folder, evaluation: None)


def test_accuracies_are_the_means_of_the_closed_forms(data, result):
    suite = open_scored_suite([f"{data}/a.jsonl"])
    scores = np.stack(scores_of(suite, "dreamprm", "sum_log_odds"))
    for n in (1, 2, 4, 6):
        wanted = best_of_n_accuracy(scores, np.array(suite.correct), n)
        assert result["accuracy_by_n"]["dreamprm"]["a"][str(n)] == pytest.approx(wanted.mean())
        # The interval draws the same questions: seed (0, first suite).
        assert result["intervals_by_n"]["dreamprm"]["a"][str(n)] == pytest.approx(
            bootstrap_interval([wanted], seed=0, resamples=200)
        )
    assert result["best_of_n"]["dreamprm"]["a"] == pytest.approx(wanted.mean())
    row = result["best_of_n"]["dreamprm"]
    assert row["mean"] == pytest.approx((row["a"] + row["b"]) / 2)
    assert list(result["accuracy_by_n"]["dreamprm"]["mean"]) == ["1", "2", "4"]
    assert result["suites"]["a"]["candidates"] == {"6": 80}
    assert result["suites"]["a"]["right"] == sum(map(sum, suite.correct))


def test_differences_carry_paired_tests_and_holm_of_all_that_are_shown(data, result):
    rows = result["differences"]
    pairs = [(row["method"], row["baseline"], row["suite"]) for row in rows]
    assert pairs == [
        ("vanilla", "majority", "a"),
        ("vanilla", "majority", "b"),
        ("vanilla", "majority", "mean"),
        ("dreamprm", "majority", "a"),
        ("dreamprm", "majority", "b"),
        ("dreamprm", "majority", "mean"),
        ("vanilla", "best_generator", "b"),
        ("dreamprm", "best_generator", "b"),
        ("dreamprm", "vanilla", "a"),
        ("dreamprm", "vanilla", "b"),
        ("dreamprm", "vanilla", "mean"),
    ]
    assert [row["p_holm"] for row in rows] == holm([row["p"] for row in rows])
    assert [row["significant"] for row in rows] == [row["p_holm"] < 0.05 for row in rows]
    row = rows[8]
    suite = open_scored_suite([f"{data}/a.jsonl"])
    right = {
        name: [c[int(np.argmax(s))] for c, s in zip(suite.correct, scores_of(suite, name, aggregation))]
        for name, aggregation in (
            ("dreamprm", "sum_log_odds"),
            ("vanilla", result["aggregations"]["vanilla"]["aggregation"]),
        )
    }
    better = sum(x > y for x, y in zip(right["dreamprm"], right["vanilla"]))
    worse = sum(x < y for x, y in zip(right["dreamprm"], right["vanilla"]))
    assert (row["better"], row["worse"], row["test"]) == (better, worse, "mcnemar")
    assert row["p"] == mcnemar_p(better, worse)
    assert row["difference"] == pytest.approx((better - worse) / 80)
    assert row["interval"][0] < row["difference"] < row["interval"][1]


def test_the_pick_is_the_best_on_development_and_all_its_figures_are_shown(data, result):
    choice = result["aggregations"]["vanilla"]
    suite = open_scored_suite([f"{data}/dev.jsonl"])
    figures = {
        name: best_of_n_accuracy(
            np.stack(scores_of(suite, "vanilla", name)), np.array(suite.correct), 6
        ).mean()
        for name in AGGREGATIONS
    }
    assert choice["chosen"] == "development"
    assert {name: row["accuracy"] for name, row in choice["development"].items()} == pytest.approx(figures)
    best = max(figures.values())
    assert choice["aggregation"] == next(n for n in AGGREGATIONS if figures[n] == pytest.approx(best))
    assert min(figures.values()) < best  # there was something to choose
    assert result["aggregations"]["dreamprm"] == {"aggregation": "sum_log_odds", "chosen": "fixed"}
    page = (result["folder"] / "evaluation.md").read_text()
    assert f"**{100 * best:.1f} [" in page and "picked on dev" in page


def test_test_answers_do_not_touch_what_is_picked(data, tmp_path, result):
    records = random_records(1, questions=80, name="a")
    for one in records:
        for row in one["candidates"]:
            row["correct"] = not row["correct"]
    path = write(tmp_path / "turned.jsonl", records)
    turned = evaluate(
        tmp_path,
        f"suites={{a: {path}, b: {data}/b.jsonl}}",
        f"development.dev={data}/dev.jsonl",
        "aggregations.vanilla=pick",
    )
    assert turned["aggregations"] == result["aggregations"]
    assert turned["generators"]["b"]["best"] == result["generators"]["b"]["best"]
    assert turned["best_of_n"]["random"]["a"] == pytest.approx(1 - result["best_of_n"]["random"]["a"])


def test_the_checkpoint_is_picked_on_development_alone(tmp_path):
    # Early is the better one on development, late the better one on the test suite.
    test = random_records(1, name="t", strength={"early": 0.2, "late": 1.0, "orm": 0.1})
    held = random_records(2, name="d", strength={"early": 1.0, "late": 0.2, "orm": 0.1})
    result = evaluate(
        tmp_path,
        f"suites.t={write(tmp_path / 't.jsonl', test)}",
        f"development.d={write(tmp_path / 'd.jsonl', held)}",
        "checkpoints={dreamprm: [late, early]}",
        "aggregations.dreamprm=pick",
    )
    choice = result["checkpoints"]["dreamprm"]
    assert choice["picked"] == "early"
    accuracy = {name: row["accuracy"] for name, row in choice["development"].items()}
    assert list(accuracy) == ["late", "early"] and accuracy["early"] > accuracy["late"]
    assert list(result["best_of_n"]) == [
        "random",
        "first",
        "majority",
        "orm",
        "dreamprm",
        "weighted_orm",
        "weighted_dreamprm",
        "oracle",
    ]
    aggregation = result["aggregations"]["dreamprm"]["aggregation"]
    assert aggregation == choice["development"]["early"]["aggregation"]
    suite = open_scored_suite([str(tmp_path / "t.jsonl")])
    wanted = best_of_n_accuracy(
        np.stack(scores_of(suite, "early", aggregation)), np.array(suite.correct), 6
    ).mean()
    assert result["best_of_n"]["dreamprm"]["t"] == pytest.approx(wanted)
    assert any(
        "dreamprm is early, the most accurate of 2 checkpoints on d" in note for note in result["notes"]
    )


def test_the_best_single_generator_is_shown_where_there_are_several(result):
    generators = result["generators"]
    assert generators["a"] == {"accuracy": {}, "best": None}
    assert generators["b"]["best"]["chosen_on"] == "development"
    best = generators["b"]["accuracy"][generators["b"]["best"]["name"]]
    assert result["best_of_n"]["best_generator"] == {"b": pytest.approx(best["accuracy"])}
    assert best["questions"] == 60


def test_one_line_a_question_tells_what_each_selector_picks(data, result):
    lines = [json.loads(line) for line in (result["folder"] / "per_question.jsonl").read_text().splitlines()]
    assert [line["suite"] for line in lines] == ["a"] * 80 + ["b"] * 60
    for selector in result["best_of_n"]:
        picked = [line["picks"][selector] for line in lines if line["suite"] == "b"]
        mean = np.mean([pick["accuracy"] for pick in picked])
        assert mean == pytest.approx(result["best_of_n"][selector]["b"]), selector
    line = lines[7]
    (chosen,) = line["picks"]["dreamprm"]["candidates"]
    assert chosen == int(np.argmax(line["scores"]["dreamprm"]))
    assert line["picks"]["dreamprm"]["accuracy"] == line["correct"][chosen]


def test_the_page_and_the_plots_are_there(result):
    page = (result["folder"] / "evaluation.md").read_text()
    row = result["best_of_n"]["oracle"]
    low, high = result["intervals"]["oracle"]["a"]
    assert f"| **oracle** | {100 * row['a']:.1f} [{100 * low:.1f}, {100 * high:.1f}] |" in page
    for selector in result["best_of_n"]:
        assert f"\n- {selector}: " in page
    assert sorted(path.name for path in (result["folder"] / "plots").iterdir()) == [
        "accuracy_over_n.png",
        "best_of_n.png",
        "suites_over_n.png",
    ]
    assert (result["folder"] / "plots" / "best_of_n.png").read_bytes()[:4] == b"\x89PNG"
    assert {path.name for path in result["folder"].iterdir()} == {
        "evaluation.json",
        "evaluation.md",
        "per_question.jsonl",
        "examples.jsonl",
        "config.yaml",
        "plots",
    }


def test_the_same_settings_give_the_same_files(data, tmp_path, capsys):
    settings = [f"suites.a={data}/a.jsonl", "sizes=[2, 3]"]
    first = evaluate(tmp_path, *settings)
    files = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert evaluate(tmp_path, *settings) == first
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == files
    assert list(first["accuracy_by_n"]["dreamprm"]["a"]) == ["2", "3", "6"]
    # One suite: the mean repeats it and is tested once.
    assert {row["suite"] for row in first["differences"]} == {"a"}
    assert "| **dreamprm** |" in capsys.readouterr().out
    # A saved configuration is one that can be run.
    again = load_config(EvaluateConfig, tmp_path / "out" / "config.yaml")
    assert again.sizes == [2, 3] and again.suites["a"].path == f"{data}/a.jsonl"


def test_only_the_pairs_and_scorers_asked_for(data, tmp_path):
    result = evaluate(
        tmp_path,
        f"suites.a={data}/a.jsonl",
        "scorers=[dreamprm]",
        "weighted=false",
        "level=0.9",
        "compare=[{method: dreamprm, baseline: random}, {method: oracle, baseline: dreamprm}]",
    )
    assert list(result["best_of_n"]) == ["random", "first", "majority", "dreamprm", "oracle"]
    assert [(row["method"], row["baseline"]) for row in result["differences"]] == [
        ("dreamprm", "random"),
        ("oracle", "dreamprm"),
    ]
    row = result["best_of_n"]
    assert result["differences"][0]["difference"] == pytest.approx(row["dreamprm"]["a"] - row["random"]["a"])


def test_a_scorer_that_one_suite_lacks_has_no_mean(data, tmp_path):
    path = write(tmp_path / "c.jsonl", random_records(5, questions=10, name="c", strength={"dreamprm": 1.0}))
    result = evaluate(tmp_path, f"suites={{a: {data}/a.jsonl, c: {path}}}")
    assert list(result["best_of_n"]["vanilla"]) == ["a"]
    assert list(result["best_of_n"]["dreamprm"]) == ["a", "c", "mean"]
    assert any("c has 10 questions" in note for note in result["notes"])


def test_an_outcome_model_needs_no_aggregation(data, tmp_path):
    rows = [
        record(
            f"q{k}",
            [
                candidate("4", True, orm=[0.1], prm=[0.2, 0.1, 3.0]),
                candidate("5", False, orm=[-0.1], prm=[1.0, 1.0, 1.0]),
            ],
        )
        for k in range(3)
    ]
    result = evaluate(tmp_path, f"suites.a={write(tmp_path / 'a.jsonl', rows)}", "aggregation=min")
    assert result["aggregations"] == {
        "orm": {"aggregation": "sum_log_odds", "chosen": "one value a response"},
        "prm": {"aggregation": "min", "chosen": "fixed"},
    }
    assert (result["best_of_n"]["orm"]["a"], result["best_of_n"]["prm"]["a"]) == (1.0, 0.0)
    # All questions alike: the interval is a point, and the page says what that is worth.
    assert any("every question has the same outcome under" in note for note in result["notes"])


def test_unjudged_candidates_are_judged_counted_and_told(tmp_path):
    rows = [
        record("q1", [candidate("4.0", None, prm=[1.0]), candidate("7", None, prm=[2.0])]),
        record(
            "q2",
            [candidate(None, None, text="Hard to say. " * 9, prm=[1.0]), candidate("4", True, prm=[0.0])],
        ),
    ]
    result = evaluate(tmp_path, f"suites.a={write(tmp_path / 'a.jsonl', rows)}", "answers.kind=auto")
    assert result["suites"]["a"]["judged"] == {"right": 1, "wrong": 1, "undecided": 1}
    assert any(
        "3 candidates came without a verdict" in note and "undecided counts as wrong" in note
        for note in result["notes"]
    )
    # Nothing but this tells a vote that is wrong from one that nobody could give.
    assert any(
        "1 of 4 candidates state no final answer; they have no vote" in note for note in result["notes"]
    )
    assert result["best_of_n"]["random"]["a"] == 0.5
    assert result["best_of_n"]["prm"]["a"] == 0.0


def test_uneven_questions_enter_with_their_own(tmp_path):
    rows = random_records(4, questions=6, total=4)
    rows[0]["candidates"] = rows[0]["candidates"][:1]
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError, match="uneven=own"):
        evaluate(tmp_path, f"suites.a={path}")
    result = evaluate(tmp_path, f"suites.a={path}", "uneven=own")
    assert result["suites"]["a"]["candidates"] == {"1": 1, "4": 5}
    assert "1 (1 questions), 4 (5 questions)" in (tmp_path / "out" / "evaluation.md").read_text()


@pytest.mark.parametrize(
    "settings, message",
    [
        (["suites={{}}"], "suites must name at least one file"),
        (["suites.mean={a}"], "a suite is named mean"),
        (["suites.a={a}", "aggregation=pick"], "aggregation=pick needs a development set"),
        (["suites.a={a}", "aggregation=sum"], "aggregation must be one of sum_log_odds"),
        (["suites.a={a}", "aggregations.dreamprm=sum"], "aggregations.dreamprm must be one of sum_log_odds"),
        (
            ["suites.a={a}", "aggregations.dreamrpm=min"],
            "no suite holds scores of 'dreamrpm', did you mean 'dreamprm'",
        ),
        (
            ["suites.a={a}", "checkpoints={{x: [vanilla, dreamprm]}}"],
            "checkpoints are picked on a development",
        ),
        (
            ["suites.a={a}", "development.d={plain}", "checkpoints={{x: [vanilla]}}"],
            "checkpoints.x names 'vanilla', but development suite 'd' holds no scores of it; "
            "its scorers are orm",
        ),
        (["suites.a={a}", "development.d={plain}", "checkpoints={{x: []}}"], "checkpoints.x is empty"),
        (
            ["suites.a={a}", "development.d={plain}", "checkpoints={{vanilla: [dreamprm]}}"],
            "checkpoints.vanilla has the name of a scorer of test suite 'a' that is not among them",
        ),
        (
            ["suites.a={a}", "scorers=[orm]"],
            "no suite holds scores of 'orm'.*the scorers are vanilla, dreamprm",
        ),
        (["suites.a={a}", "sizes=[2, 16]"], "sizes holds 16, but suite a has 6 candidates"),
        (
            ["suites.a={a}", "compare=[{{method: dreamprm, baseline: first_one}}]"],
            "compare names 'first_one', did you mean 'first'",
        ),
        (
            ["suites.a={a}", "compare=[{{method: dreamprm, baseline: dreamprm}}]"],
            "method and baseline are both dreamprm",
        ),
        (
            ["suites.a={a}", "development.d={a}"],
            "80 questions of test suite a are also in development suite d [(]the first: 'a0'[)]",
        ),
        (
            ["suites.a={a}", "development.d={plain}", "aggregation=pick"],
            "development suite 'd' holds no scores of it",
        ),
        (["suites.a={named}"], "a scorer is named 'weighted_x', which is the name of a selector"),
        (["suites.a=missing.jsonl"], "missing.jsonl"),
        (["suites.a={a}", "answers.kind=judge"], "kind=judge needs judge.name"),
    ],
)
def test_what_cannot_work_is_refused(data, tmp_path, settings, message):
    places = {
        "a": data / "a.jsonl",
        "plain": write(tmp_path / "p.jsonl", random_records(9, questions=3, name="p", strength={"orm": 1.0})),
        "named": write(
            tmp_path / "n.jsonl", random_records(9, questions=3, name="n", strength={"weighted_x": 1.0})
        ),
    }
    with pytest.raises(UserError, match=message):
        evaluate(tmp_path, *(one.format(**places) for one in settings))
    assert not (tmp_path / "out").exists()


def test_five_real_models_on_math_vision(tmp_path):
    """The published answers of five models: no scores, but votes, generators, ceiling and the best one."""
    outputs = shared_file("mathvision/outputs")
    path = tmp_path / "mathv.jsonl"
    convert_file("mathv", outputs, path, questions=str(shared_file("mathvision/testmini.jsonl")))
    result = evaluate(tmp_path, f"suites.mathv={path}")
    # The flags of the published files, counted here directly.
    flags = {
        file.stem: [json.loads(line)["correct"] for line in file.read_text().splitlines()]
        for file in sorted(outputs.glob("*.jsonl"))
    }
    shares = sorted(np.mean(row) for row in flags.values())
    generators = result["generators"]["mathv"]
    assert sorted(row["accuracy"] for row in generators["accuracy"].values()) == pytest.approx(shares)
    assert generators["best"]["chosen_on"] == "test"
    assert result["best_of_n"]["best_generator"]["mathv"] == pytest.approx(shares[-1])
    assert result["best_of_n"]["random"]["mathv"] == pytest.approx(np.mean(shares))
    by_question = np.array([flags[name] for name in flags])
    assert result["best_of_n"]["oracle"]["mathv"] == pytest.approx(by_question.any(axis=0).mean())
    assert min(abs(result["best_of_n"]["first"]["mathv"] - share) for share in shares) < 1e-12
    assert any("chosen on the test answers" in note for note in result["notes"])


def test_candidates_without_a_verdict_are_judged_by_default(tmp_path: Path) -> None:
    """answers.kind is auto; only answers=null makes a missing verdict an error."""
    rows = [
        {
            "id": f"q{k}",
            "question": f"How many, {k}?",
            "benchmark": "b",
            "answer": "7",
            "candidates": [
                {
                    "text": f"Final answer: {answer}",
                    "steps": ["s"],
                    "generator": "g",
                    "scores": {"prm": {"log_odds": [score]}},
                }
                for answer, score in (("7", 1.0), ("8", 0.5), ("none at all, I am afraid", 0.1))
            ],
        }
        for k in range(3)
    ]
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [f"suites.a={path}", f"output={tmp_path}/out", "examples.count=0"]
    run_evaluate(load_config(EvaluateConfig, None, given))
    result = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert (
        sum(result["suites"]["a"]["judged"].values()) == 9 and result["suites"]["a"]["judged"]["right"] == 3
    )
    assert any("9 candidates came without a verdict and were judged" in note for note in result["notes"])
    with pytest.raises(DataError, match="has no 'correct'.*answers.kind=auto"):
        run_evaluate(load_config(EvaluateConfig, None, [*given, "answers=null"]))
