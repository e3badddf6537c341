"""Questions on which selectors disagree: which, how many, and what is kept of them."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
from PIL import Image
from scored_candidates import candidate, random_records, record, write

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.evaluation import evaluate as command
from dreamprm.evaluation.drawn_examples import definite_pick, draw_examples, example_pairs
from dreamprm.evaluation.evaluate import run_evaluate
from dreamprm.evaluation.example_records import MissingImage, read_agreements, read_examples
from dreamprm.evaluation.scored_suite import open_scored_suite
from dreamprm.evaluation.settings import ComparedPair, EvaluateConfig, ExampleSettings

SELECTORS = ["random", "first", "majority", "best_generator", "orm", "vanilla", "dreamprm", "oracle"]
COMPARED = [
    ("orm", "majority"),
    ("dreamprm", "majority"),
    ("dreamprm", "best_generator"),
    ("dreamprm", "orm"),
    ("dreamprm", "vanilla"),
]


def test_the_pairs_by_default_are_dreamprms_with_vanilla_first():
    assert example_pairs(ExampleSettings(), SELECTORS, COMPARED) == [
        ("dreamprm", "vanilla"),
        ("dreamprm", "majority"),
        ("dreamprm", "orm"),
    ]
    assert example_pairs(ExampleSettings(most_pairs=1), SELECTORS, COMPARED) == [("dreamprm", "vanilla")]
    # Without dreamprm the first that can be shown.
    others = [("orm", "best_generator"), ("orm", "majority"), ("vanilla", "orm")]
    assert example_pairs(ExampleSettings(), SELECTORS, others) == [("orm", "majority")]
    assert example_pairs(ExampleSettings(), SELECTORS, others[:1]) == []


def test_the_pairs_asked_for():
    given = [ComparedPair("orm", "first"), ComparedPair("dreamprm", "orm"), ComparedPair("orm", "first")]
    assert example_pairs(ExampleSettings(pairs=given, most_pairs=1), SELECTORS, COMPARED) == [
        ("orm", "first"),
        ("dreamprm", "orm"),
    ]
    with pytest.raises(UserError, match="examples.pairs names 'vanila', did you mean 'vanilla'"):
        example_pairs(ExampleSettings(pairs=[ComparedPair("dreamprm", "vanila")]), SELECTORS, COMPARED)
    for name in ("random", "oracle", "best_generator"):
        with pytest.raises(
            UserError, match=f"names '{name}', which has no rule that picks a candidate.*use one of first"
        ):
            example_pairs(ExampleSettings(pairs=[ComparedPair("dreamprm", name)]), SELECTORS, COMPARED)


def test_a_pick_is_shown_where_all_that_tie_are_right_or_all_are_wrong():
    suite = SimpleNamespace(correct=((1.0, 0.0, 0.0, 1.0, 0.5),))
    assert definite_pick(suite, 0, [3]) == 3
    assert definite_pick(suite, 0, [0, 3]) == 0
    assert definite_pick(suite, 0, [1, 2]) == 1
    assert definite_pick(suite, 0, [0, 1]) is None
    assert definite_pick(suite, 0, [4]) is None
    assert definite_pick(suite, 0, []) is None
    assert definite_pick(suite, 0, None) is None


def drawn(kinds: str, *, seed: int = 0, count: int = 3, suites: int = 1):
    """draw_examples on questions of two candidates, the first one right, with picks as `kinds` says.

    m: only dreamprm right; b: only vanilla right; r: both; w: both wrong; ?: dreamprm ties.
    """
    sides = {"m": ([0], [1]), "b": ([1], [0]), "r": ([0], [0]), "w": ([1], [1]), "?": ([0, 1], [0])}
    picks = [
        {name: {"candidates": side} for name, side in zip(("dreamprm", "vanilla"), sides[kind])}
        for kind in kinds
    ]
    suite = SimpleNamespace(records=list(kinds), correct=((1.0, 0.0),) * len(kinds))
    names = [f"suite{k}" for k in range(suites)]
    evaluation = SimpleNamespace(
        config=SimpleNamespace(examples=ExampleSettings(count=count), seed=seed),
        selectors=["vanilla", "dreamprm"],
        suites=dict.fromkeys(names, suite),
        selections=dict.fromkeys(names, SimpleNamespace(selectors=("vanilla", "dreamprm"))),
    )
    return draw_examples(evaluation, dict.fromkeys(names, picks), [("dreamprm", "vanilla")])


def test_every_question_is_counted_once():
    (agreement,), examples = drawn("mmbrwwmr?wm")
    assert (agreement.suite, agreement.method, agreement.baseline) == ("suite0", "dreamprm", "vanilla")
    assert (
        agreement.both_right,
        agreement.method_only,
        agreement.baseline_only,
        agreement.both_wrong,
        agreement.unclear,
    ) == (2, 4, 1, 3, 1)
    assert agreement.questions == 11
    assert [one.question in (0, 1, 6, 10) for one in examples] == [True] * 3 + [False]
    assert [one.picked for one in examples] == [(0, 1)] * 3 + [(1, 0)]
    assert examples[3].question == 2


def test_the_draw_is_uniform_seeded_and_grows_with_the_count():
    kinds = "mwmbmbwrm"
    times = Counter()
    for seed in range(600):
        one, two, many = (drawn(kinds, seed=seed, count=count)[1] for count in (1, 2, 9))
        questions = [example.question for example in many]
        assert sorted(questions[:4]) == [0, 2, 4, 8] and sorted(questions[4:]) == [3, 5]
        assert [example.question for example in one] == [questions[0], questions[4]]
        assert [example.question for example in two] == questions[:2] + questions[4:]
        times.update(questions[:1])
    # 600 draws of one in four: a standard deviation of 10.6, and four of them.
    assert all(abs(times[question] - 150) < 43 for question in (0, 2, 4, 8)), times
    # Suites have draws of their own.
    first, second = drawn("m" * 20, suites=2)[1][:3], drawn("m" * 20, suites=2)[1][3:]
    assert [one.question for one in first] != [one.question for one in second]
    assert drawn(kinds, count=0) == ([], [])


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch) -> None:
    monkeypatch.setattr(command, "_write_plots", lambda folder, evaluation: None)


def evaluate(folder, *settings):
    run_evaluate(load_config(EvaluateConfig, None, [f"output={folder / 'out'}", "resamples=100", *settings]))
    result = json.loads((folder / "out" / "evaluation.json").read_text())
    return result, read_agreements(result, folder / "out" / "evaluation.json")


def test_counts_and_examples_follow_from_the_picks(tmp_path):
    path = write(tmp_path / "a.jsonl", random_records(1, questions=80, name="a"))
    result, agreements = evaluate(tmp_path, f"suites.a={path}", "examples.count=100")
    examples = read_examples(tmp_path / "out" / "examples.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out" / "per_question.jsonl").read_text().splitlines()]
    assert [(one.method, one.baseline) for one in agreements] == [
        ("dreamprm", "vanilla"),
        ("dreamprm", "majority"),
    ]
    for agreement in agreements:
        own, other = (
            [line["picks"][name]["accuracy"] for line in lines]
            for name in (agreement.method, agreement.baseline)
        )
        wanted = {line["id"] for line, one, two in zip(lines, own, other) if {one, two} == {0.0, 1.0}}
        assert {one.id for one in examples if one.agreement == agreement} == wanted
        assert agreement.method_only == sum((one, two) == (1, 0) for one, two in zip(own, other))
        assert agreement.both_wrong == sum((one, two) == (0, 0) for one, two in zip(own, other))
        assert agreement.unclear == sum({one, two} - {0.0, 1.0} != set() for one, two in zip(own, other))
        assert agreement.questions == 80
    assert agreements[0].unclear == 0 < agreements[1].unclear
    # The counts are those of the paired test.
    row = next(row for row in result["differences"] if row["baseline"] == "vanilla")
    assert (row["better"], row["worse"]) == (agreements[0].method_only, agreements[0].baseline_only)
    # What an example holds is what the files hold.
    suite = open_scored_suite([path])
    for example in examples:
        line = next(line for line in lines if line["id"] == example.id)
        for name, one in zip((example.agreement.method, example.agreement.baseline), example.picked):
            assert one.index == line["picks"][name]["candidates"][0]
            assert one.correct == line["correct"][one.index]
            assert one.aggregates == pytest.approx(
                {scorer: values[one.index] for scorer, values in line["scores"].items()}, abs=1e-6
            )
            question = [record.id for record in suite.records].index(example.id)
            assert one.log_odds == {
                scorer: rows[question][one.index] for scorer, rows in suite.log_odds.items()
            }
            assert one.steps == suite.records[question].candidates[one.index].steps
        assert example.picks == {
            name: None if row["candidates"] is None else tuple(row["candidates"])
            for name, row in line["picks"].items()
        }
        assert example.method_is_right == example.picked[0].correct


def pictured(folder, **images) -> str:
    """A question a list of images; vanilla is always wrong and dreamprm right."""
    rows = [
        record(
            name,
            [
                candidate("4", True, vanilla=[-1.0, 0.0], dreamprm=[1.0, 2.0], generator="g"),
                candidate("7", False, vanilla=[1.0, 1.0], dreamprm=[-1.0, -1.0]),
            ],
            images=paths,
        )
        for name, paths in images.items()
    ]
    return write(folder / "a.jsonl", rows)


def test_images_are_kept_reduced_and_missing_ones_told(tmp_path):
    Image.new("RGB", (800, 200), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    path = pictured(tmp_path, q1=["red.png", "absent.png"], q2=["broken.png"], q3=["red.png"])
    _, (agreement,) = evaluate(
        tmp_path,
        f"suites.a={path}",
        "examples.image_side=100",
        "examples.pairs=[{method: dreamprm, baseline: vanilla}]",
    )
    assert agreement.method_only == 3
    examples = {one.id: one for one in read_examples(tmp_path / "out" / "examples.jsonl")}
    (kept,) = (tmp_path / "out" / "examples").iterdir()
    assert examples["q1"].images == examples["q3"].images == (kept.name,) and examples["q2"].images == ()
    with Image.open(kept) as image:
        assert image.size == (100, 25)
    assert examples["q1"].images_missing == (MissingImage(str(tmp_path / "absent.png"), "no such file"),)
    assert examples["q2"].images_missing[0].reason.startswith("cannot be opened as an image")
    assert examples["q3"].images_missing == ()
    assert (examples["q1"].picked[0].generator, examples["q1"].picked[1].generator) == ("g", None)
    assert examples["q1"].candidates == 2


def test_options_come_from_the_question_file(tmp_path):
    path = pictured(tmp_path, q1=[])
    questions = write(
        tmp_path / "q.jsonl",
        [
            {
                "id": "q1",
                "question": "q1?",
                "images": [],
                "answer": "B",
                "domain": "made up",
                "options": ["3", "4"],
            }
        ],
    )
    evaluate(tmp_path, f"suites.a={{path: {path}, questions: {questions}}}")
    assert read_examples(tmp_path / "out" / "examples.jsonl")[0].options == ("3", "4")


def test_older_examples_are_replaced_and_none_are_kept_where_none_are_wanted(tmp_path):
    for colour in ("red", "blue"):
        Image.new("RGB", (50, 50), colour).save(tmp_path / f"{colour}.png")
    out = tmp_path / "out"
    for colour in ("red", "blue"):
        path = pictured(tmp_path, q1=[f"{colour}.png"])
        evaluate(tmp_path, f"suites.a={path}")
        (example,) = read_examples(out / "examples.jsonl")[:1]
        assert [kept.name for kept in (out / "examples").iterdir()] == list(example.images)
    (out / "examples" / "notes.txt").write_text("a user's")
    result, agreements = evaluate(tmp_path, f"suites.a={path}", "examples.count=0")
    assert (result["examples"], agreements) == ([], ())
    assert not (out / "examples.jsonl").exists()
    assert [kept.name for kept in (out / "examples").iterdir()] == ["notes.txt"]


def test_an_evaluation_that_is_stopped_at_its_images_is_unfinished(tmp_path, monkeypatch):
    Image.new("RGB", (50, 50), "red").save(tmp_path / "red.png")
    path = pictured(tmp_path, q1=["red.png"])
    evaluate(tmp_path, f"suites.a={path}")

    def stopped(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("dreamprm.evaluation.thumbnails.thumbnail", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, f"suites.a={path}")
    assert not (tmp_path / "out" / "evaluation.json").exists()
    assert not (tmp_path / "out" / "examples.jsonl").exists()


def test_a_pair_that_cannot_be_is_refused_before_anything_is_written(tmp_path):
    path = write(tmp_path / "a.jsonl", random_records(1, questions=3))
    with pytest.raises(UserError, match="examples.pairs names 'oracle'"):
        evaluate(tmp_path, f"suites.a={path}", "examples.pairs=[{method: dreamprm, baseline: oracle}]")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda row: row["images"].append("../../secret.png"),
            r"field 'images\[0\]': got '../../secret.png'",
        ),
        (lambda row: row["counts"].update(unclear=-1), "field 'counts.unclear': got -1"),
        (lambda row: row["picked"].pop(), "field 'picked': got '1 objects'"),
        (lambda row: row["picked"][1].update(correct=True), r"field 'picked': got \[True, True\]"),
        (
            lambda row: row["picked"][0]["scores"]["vanilla"].update(log_odds=[1.0, 2.0, 3.0]),
            r"field 'picked\[0\].scores.vanilla'",
        ),
        (
            lambda row: row["picked"][0]["scores"]["vanilla"].update(aggregate=None),
            "vanilla.aggregate': got None",
        ),
        (
            lambda row: row["picked"][0]["scores"]["vanilla"].update(aggregate=float("nan")),
            "vanilla.aggregate': got nan; allowed: a finite number",
        ),
        (
            lambda row: row["picked"][0]["scores"]["vanilla"].update(log_odds=[10**400]),
            "not JSON .a number or a nesting that is too long",
        ),
        (
            lambda row: row["picked"][1].update(index=2),
            r"field 'picked\[1\].index': got 2; allowed: less than the 2",
        ),
        (
            lambda row: row.update(counts=dict.fromkeys(row["counts"], 0)),
            "field 'counts.both_right': got 0; allowed: more than 0 questions",
        ),
        (lambda row: row.update(picks={"dreamprm": "0"}), "field 'picks'"),
        (lambda row: row.update(picks={"dreamprm": [2]}), "field 'picks'"),
        (lambda row: row.update(picks={"dreamprm": [True]}), "field 'picks'"),
        (lambda row: row.update(candidates=True), "field 'candidates': got True"),
        (lambda row: row.pop("question"), "field 'question' is missing"),
        (
            lambda row: row.update(images_missing=[{"path": "a.png"}]),
            r"'images_missing\[0\].reason' is missing",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_line_and_field(tmp_path, change, message):
    path = pictured(tmp_path, q1=[])
    evaluate(tmp_path, f"suites.a={path}")
    file = tmp_path / "out" / "examples.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    change(row)
    file.write_text("\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=rf"examples\.jsonl:2: .*{message}|examples\.jsonl:2: {message}"):
        read_examples(file)
    for content, message in ((b"{\n", "not JSON"), (b'{"id": "\xff"}\n', "not UTF-8 at byte 8 of the line")):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"examples\.jsonl:1: {message}"):
            read_examples(file)


def test_half_of_a_surrogate_pair_is_a_data_error(tmp_path):
    path = pictured(tmp_path, q1=[])
    row = json.loads((tmp_path / "a.jsonl").read_text())
    row["candidates"][1]["final_answer"] = "half of \ud83d"
    write(tmp_path / "a.jsonl", [row])
    with pytest.raises(DataError, match=r"a\.jsonl:1: field 'candidates\[1\]\.final_answer'"):
        evaluate(tmp_path, f"suites.a={path}")
