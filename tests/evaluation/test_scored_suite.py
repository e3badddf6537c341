"""Reading, joining and judging scored candidates."""

import json

import pytest
from scored_candidates import candidate, random_records, record, write

from dreamprm.answers import build_checker
from dreamprm.config.errors import DataError
from dreamprm.evaluation.development_choices import BestGenerator, best_generator
from dreamprm.evaluation.scored_suite import open_scored_suite, shared_questions
from dreamprm.evaluation.selection import generator_outcomes


def split_by_scorer(records, name):
    """The same records with the scores of one scorer alone."""
    return [
        one | {"candidates": [c | {"scores": {name: c["scores"][name]}} for c in one["candidates"]]}
        for one in records
    ]


def test_files_of_different_scorers_join_to_the_file_of_all(tmp_path):
    records = random_records(0, questions=7)
    whole = open_scored_suite([write(tmp_path / "all.jsonl", records)])
    one = write(tmp_path / "one.jsonl", split_by_scorer(records, "vanilla"))
    other = write(tmp_path / "other.jsonl", split_by_scorer(records, "dreamprm")[::-1])
    joined = open_scored_suite([one, other])
    assert dict(joined.log_odds) == dict(whole.log_odds) and set(joined.log_odds) == {"vanilla", "dreamprm"}
    assert (joined.correct, joined.votes) == (whole.correct, whole.votes)
    # A file joined to itself changes nothing; its order is that of the first.
    assert open_scored_suite([one, other, one]).records == joined.records


def test_a_verdict_known_in_one_file_holds_in_both(tmp_path):
    records = random_records(0, questions=3)
    blank = [one | {"candidates": [c | {"correct": None} for c in one["candidates"]]} for one in records]
    paths = [write(tmp_path / "a.jsonl", blank), write(tmp_path / "b.jsonl", records)]
    assert open_scored_suite(paths).correct == open_scored_suite(paths[1:]).correct


def test_options_in_a_question_count_without_a_question_file(tmp_path):
    """For verdicts and votes alike, if they are listed as in our prompts and the answer is a letter."""
    texts = ("B", "(B) food", "B. food", "food", "C")
    listed = "Which?\nOptions:\n(A) water\n(B) food\n(C) air"
    records = [
        record("q", [candidate(None, None, text=text) for text in texts], question=listed, answer="B"),
        record("p", [candidate(None, None, text=text) for text in texts], question="Which?", answer="food"),
    ]

    def check(pairs):
        return [build_checker("auto").check(*pair) for pair in pairs]

    suite = open_scored_suite([write(tmp_path / "a.jsonl", records)], check=check)
    assert suite.correct[0] == (True, True, True, True, False)
    assert suite.votes[0] == ("option B",) * 4 + ("option C",)
    assert len(set(suite.votes[1])) > 2  # without options, a letter and a word are two answers


def test_candidates_without_a_verdict_are_judged_and_counted(tmp_path):
    candidates = [
        candidate("4.0", None),
        candidate("5", None),
        candidate("5", True),
        candidate(None, None, text="I cannot tell. It depends on many things that are not shown."),
    ]
    path = write(tmp_path / "a.jsonl", [record("q", candidates)])
    asked = []

    def check(pairs):
        asked.extend(pairs)
        return [build_checker("auto").check(*pair) for pair in pairs]

    suite = open_scored_suite([path], check=check)
    assert [response for response, _ in asked] == [candidates[k]["text"] for k in (0, 1, 3)]
    # A verdict that is there is not judged again.
    assert suite.correct == ((True, False, True, False),)
    assert suite.judged == {"right": 1, "wrong": 1, "undecided": 1}
    with pytest.raises(DataError, match="candidate 0 of record q has no 'correct'.*answers.kind=auto"):
        open_scored_suite([path])


def test_questions_give_options_to_the_judge_and_to_the_votes(tmp_path):
    candidates = [candidate("(B)", None), candidate("two parrots", None), candidate("A", None)]
    path = write(tmp_path / "a.jsonl", [record("q", candidates, answer="B")])
    questions = write(
        tmp_path / "q.jsonl",
        [
            {
                "id": "q",
                "question": "How many?",
                "images": [],
                "answer": "B",
                "domain": "birds",
                "options": ["one parrot", "two parrots"],
            }
        ],
    )
    suite = open_scored_suite(
        [path],
        questions=questions,
        check=lambda pairs: [build_checker("auto").check(*pair) for pair in pairs],
    )
    assert suite.votes == (("option B", "option B", "option A"),)
    assert suite.correct == ((True, True, False),)
    other = write(tmp_path / "other.jsonl", [record("z", candidates)])
    with pytest.raises(DataError, match="no question for 1 of 1 records.*'z'"):
        open_scored_suite([other], questions=questions)


def test_bad_records_may_be_left_out_and_are_counted(tmp_path):
    records = random_records(0, questions=5)
    records[2]["answer"] = None
    said = []
    suite = open_scored_suite(
        [write(tmp_path / "a.jsonl", records)], on_error="skip", max_bad_fraction=0.2, say=said.append
    )
    assert (len(suite.records), suite.left_out) == (4, 1)
    assert "left out 1 of 5" in said[0]


def test_images_that_are_missing_do_not_matter(tmp_path):
    records = [one | {"image": "nowhere.png"} for one in random_records(0, questions=2)]
    said = []
    assert len(open_scored_suite([write(tmp_path / "a.jsonl", records)], say=said.append).records) == 2
    assert said == []


def test_credits_stand_in_for_right_and_wrong(tmp_path):
    rows = [
        record("q1", [candidate("4", True) | {"credit": 0.7}, candidate("5", False) | {"credit": 0.2}]),
        record("q2", [candidate("4", True) | {"credit": None}, candidate("5", False)]),
    ]
    path = write(tmp_path / "a.jsonl", rows)
    suite = open_scored_suite([path])
    assert (suite.correct, suite.graded) == (((0.7, 0.2), (1.0, 0.0)), 2)
    # What is in one of the joined files holds.
    plain = [
        one | {"candidates": [{k: v for k, v in c.items() if k != "credit"} for c in one["candidates"]]}
        for one in rows
    ]
    assert open_scored_suite([write(tmp_path / "b.jsonl", plain), path]).correct == suite.correct
    rows[0]["candidates"][0]["credit"] = 0.8
    other = write(tmp_path / "c.jsonl", rows)
    with pytest.raises(
        DataError,
        match="a.jsonl and .*c.jsonl: candidate 0 of record q1: 'credit' is 0.7 in one and 0.8 in the other",
    ):
        open_scored_suite([path, other])
    rows[0]["candidates"][0]["credit"] = 7
    with pytest.raises(DataError, match=r"field 'candidates\[0\].credit': got 7; allowed: a number in"):
        open_scored_suite([write(tmp_path / "d.jsonl", rows)])


def change(records, **changes):
    """A copy with the first candidate of the second record changed."""
    copy = json.loads(json.dumps(records))
    copy[1]["candidates"][0] |= changes
    return copy


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda r: [r, r[1:]], "1 ids occur in only one of them, such as 'q0', which .*b1.jsonl lacks"),
        (lambda r: [r[1:], r], "such as 'q0', which .*b0.jsonl lacks"),
        (lambda r: [r, change(r, text="another")], "record q1 has different candidates in the two files"),
        (
            lambda r: [r, change(r, correct=not r[1]["candidates"][0]["correct"])],
            "candidate 0 of record q1: 'correct' is",
        ),
        (
            lambda r: [r, change(r, scores={"vanilla": {"log_odds": [1.0, 2.0, 3.0]}})],
            "both files hold scores of 'vanilla', and they differ",
        ),
        # What the first file says would count in silence, and the second one's scores would have no steps.
        (
            lambda r: [r, change(r, final_answer="77")],
            "candidate 0 of record q1: 'final_answer' is .* in one and '77' in the other",
        ),
        (
            lambda r: [change(r, generator="g"), change(r, generator="h")],
            "'generator' is 'g' in one and 'h' in",
        ),
        (
            lambda r: [r, change(r, steps=["one", "two"], scores={"orm": {"log_odds": [1.0, 2.0]}})],
            "candidate 0 of record q1: has 3 steps in one and 2 different ones in the other; "
            "join files that were",
        ),
        (
            lambda r: [r, [r[0], r[1] | {"question": "Another?"}, *r[2:]]],
            "record q1 has question 'q1[?]' in one and 'Another[?]' in the other",
        ),
        (
            lambda r: [r, [r[0], r[1] | {"answer": "5"}, *r[2:]]],
            "record q1 has answer '4' in one and '5'",
        ),
        (lambda r: [[*r, r[0]]], "1 ids occur in several records [(]the first: 'q0'[)]"),
        (
            lambda r: [[r[0], r[1] | {"candidates": r[1]["candidates"][:2]}]],
            "record q1 has 2 candidates, the first has 6; .* uneven=own",
        ),
        (
            lambda r: [change(r, scores={"vanilla": {"log_odds": [1.0]}})],
            "candidate 0 of record q1 has no score by 'dreamprm', which other candidates have",
        ),
    ],
)
def test_records_that_contradict_each_other_are_refused(tmp_path, make, message):
    files = make(random_records(0, questions=3))
    paths = [write(tmp_path / f"b{k}.jsonl", records) for k, records in enumerate(files)]
    with pytest.raises(DataError, match=message):
        open_scored_suite(paths)


def test_shared_questions_are_found_by_id_and_text_or_text_and_image(tmp_path):
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_bytes(b"")
    one = [
        record("a", [candidate("4", True)]),
        record("b", [candidate("4", True)]),
        record("c", [candidate("4", True)], image="x.png", question="What is shown?"),
        record("d", [candidate("4", True)], image="y.png", question="What is shown?"),
    ]
    other = [one[0], record("b", [candidate("4", True)], question="another"), one[2] | {"id": "e"}]
    suites = [
        open_scored_suite(
            [
                write(
                    tmp_path / f"{k}.jsonl",
                    [
                        {key: value for key, value in r.items() if key != "images" or "image" not in r}
                        for r in records
                    ],
                )
            ]
        )
        for k, records in enumerate((one, other))
    ]
    assert shared_questions(*suites) == ["a", "c"]


def test_best_single_generator(tmp_path):
    rows = [
        record(
            f"q{k}",
            [
                candidate("4", k < 6, generator="a"),
                candidate("4", k < 2, generator="b"),
                candidate("4", k < 4, generator="b"),
                *([candidate("4", True, generator="c")] if k else []),
            ],
        )
        for k in range(10)
    ]
    suite = open_scored_suite([write(tmp_path / "a.jsonl", rows)], uneven=True)
    outcomes = generator_outcomes(suite)
    assert outcomes["a"].mean() == 0.6
    assert outcomes["b"].tolist() == [1, 1, 0.5, 0.5, 0, 0, 0, 0, 0, 0]
    # c is always right where it answered, but did not answer everything.
    assert best_generator(suite) == BestGenerator("a", "test")
    turned = [
        record(f"d{k}", [candidate("4", k == 0, generator="a"), candidate("4", True, generator="b")])
        for k in range(3)
    ]
    development = open_scored_suite([write(tmp_path / "d.jsonl", turned)])
    assert best_generator(suite, [development]) == BestGenerator("b", "development")
    # A development set without one of the generators cannot decide.
    alone = [record("e", [candidate("4", True, generator="b"), candidate("4", True, generator="x")])]
    lacking = open_scored_suite([write(tmp_path / "e.jsonl", alone)])
    assert best_generator(suite, [lacking]) == BestGenerator("a", "test")


@pytest.mark.parametrize("generators", [(None, None), ("a", "a"), ("a", None)])
def test_one_generator_has_no_best(tmp_path, generators):
    rows = [record("q", [candidate("4", True, generator=name) for name in generators])]
    suite = open_scored_suite([write(tmp_path / "a.jsonl", rows)])
    assert generator_outcomes(suite) == {} and best_generator(suite) is None
