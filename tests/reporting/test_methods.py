"""The sections about evaluations: figures, marks, bold, ranges, choices; looks are judged by eye."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from evaluated_folders import DIFFICULTY, STRENGTHS, evaluated, write_evaluation, write_suite

from dreamprm.config.errors import DataError
from dreamprm.evaluation.number_text import p_text
from dreamprm.evaluation.significance import baseline_letters
from dreamprm.reporting.contents import Report
from dreamprm.reporting.folders.evaluation import EvaluationFolder, read_evaluation
from dreamprm.reporting.repeats import over_evaluations, repeated_evaluations
from dreamprm.reporting.sections import choices, methods, selectors
from dreamprm.reporting.sections.methods import best_scorers, marks_text

SECTIONS = (methods.sections, selectors.over_n, selectors.differences, choices.sections)


class Tables(HTMLParser):
    """The tables of a page by their labels: {label: {row's name: cells}}, a cell a list of its lines."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.rows, self.line, self.open = {}, {}, None, []
        self.bold = set()
        self.feed(str(html))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        held = dict(attributes)
        if tag not in ("img", "br"):
            self.open.append(tag)
        if tag == "div" and "aria-label" in held:
            self.rows = self.tables[held["aria-label"]] = {}
        elif tag == "tr":
            self.cells = []
        elif tag in ("td", "th"):
            self.cells.append([""])
        elif tag == "small" and self.cells:
            self.cells[-1].append("")
        elif tag == "b" and self.open[-2] == "td":
            self.bold.add((self.cells[0][0].strip(), len(self.cells) - 1))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "tr":
            first, *rest = [[line.strip() for line in cell] for cell in self.cells]
            self.rows[first[0]] = rest
            self.cells = []

    def handle_data(self, data):
        if getattr(self, "cells", None):
            self.cells[-1][-1] += data


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluations")
    return [read_evaluation(write_evaluation(folder / f"seed{seed}", seed=seed)) for seed in range(2)]


@pytest.fixture(scope="module")
def page(folders):
    """{anchor: body} of the first evaluation alone."""
    report = Report(evaluations=(folders[0],))
    return {one.anchor: str(one.body) for sections in SECTIONS for one in sections(report)}


def tiny(best, *, differences=(), **changes):
    """An evaluation of one suite `s` that holds no more than the sections read."""
    by_n = {name: {"s": {"1": value}, "mean": {"1": value}} for name, value in best.items()}
    ends = {name: {"s": [value, value], "mean": [value, value]} for name, value in best.items()}
    suite = {"questions": 9, "candidates": {"4": 9}, "files": ["s.jsonl"]}
    return {
        "suites": {"s": suite},
        "development": {},
        "seed": 3,
        "resamples": 1000,
        "level": 0.9,
        "best_of_n": {name: {"s": value, "mean": value} for name, value in best.items()},
        "intervals": ends,
        "accuracy_by_n": by_n,
        "intervals_by_n": {name: {p: {"1": e} for p, e in row.items()} for name, row in ends.items()},
        "differences": list(differences),
        "generators": {"s": {"accuracy": {}, "best": None}},
        "aggregations": {},
        "checkpoints": {},
        "notes": [],
    } | changes


def folder(tmp_path, result, name="one"):
    return EvaluationFolder(tmp_path / name, result, ())


def test_the_table_holds_every_accuracy_with_its_interval_in_the_papers_order(folders, page):
    result = folders[0].result
    rows = Tables(page["methods"]).tables["Accuracy by selector and suite, seed0"]
    names = [name for name in rows if name in result["best_of_n"]]
    scorers = [name for name in result["best_of_n"] if name in STRENGTHS]
    assert scorers == [
        "base_likelihood",
        "base_head",
        "orm",
        "vanilla",
        "car",
        "s1",
        "meta_only",
        "with_meta",
        "random_weights",
        "doremi",
        "doge",
        "dreamprm",
    ]
    assert names == [
        "random",
        "first",
        "majority",
        *(f"weighted_{name}" for name in scorers),
        "best_generator",
        *scorers,
        "oracle",
    ]
    for name in names:
        for place, cell in zip((*DIFFICULTY, "mean"), rows[name], strict=True):
            if place not in result["best_of_n"][name]:
                assert cell == ["–"] and name == "best_generator" and place != "mathvista"
                continue
            low, high = result["intervals"][name][place]
            assert cell[:2] == [
                f"{100 * result['best_of_n'][name][place]:.1f}",
                f"[{100 * low:.1f}, {100 * high:.1f}]",
            ]
    assert rows["selector"][0] == ["wemath", "40 questions, N = 8"]
    assert rows["selector"][3] == ["mean", "of 3 suites"]


def test_marks_stand_where_the_evaluation_found_significance_and_only_there(folders, page):
    result = folders[0].result
    rows = Tables(page["methods"]).tables["Accuracy by selector and suite, seed0"]
    letters = baseline_letters(result)
    shown = {
        (name, place): set(re.findall(r"[a-z]", cell[2].replace("−", "")) if len(cell) > 2 else ())
        for name in result["best_of_n"]
        for place, cell in zip((*DIFFICULTY, "mean"), rows[name])
    }
    found = {key: set() for key in shown}
    for row in result["differences"]:
        if row["significant"]:
            found[row["method"], row["suite"]].add(letters[row["baseline"]])
    assert shown == found and any(found.values())
    family = len(result["differences"])
    assert f"Holm's correction over all {family} differences" in " ".join(page["methods"].split())


def test_the_best_scorers_are_bold_and_never_the_oracle(folders, page):
    result = folders[0].result
    bold = Tables(page["methods"]).bold
    for column, place in enumerate((*DIFFICULTY, "mean"), start=1):
        held = {name: row[place] for name, row in result["best_of_n"].items() if name in STRENGTHS}
        top = {name for name, value in held.items() if value == pytest.approx(max(held.values()), abs=1e-9)}
        assert {name for name, at in bold if at == column} == top


def test_ties_are_all_best_and_a_single_scorer_is_none():
    held = {"oracle": 0.9, "majority": 0.8, "weighted_b": 0.85, "a": 0.1 + 0.2, "b": 0.3, "c": 0.2}
    assert best_scorers(held) == {"a", "b"}
    assert best_scorers({"a": 0.5, "oracle": 0.9}) == set()


def test_a_vote_above_all_scorers_is_told(tmp_path):
    result = tiny({"random": 0.2, "majority": 0.6, "vanilla": 0.4, "dreamprm": 0.5, "oracle": 0.9})
    (section,) = methods.sections(Report(evaluations=(folder(tmp_path, result),)))
    text = " ".join(str(section.body).split())
    assert "In s, majority is above every scorer." in text
    assert "90 % bootstrap intervals over questions (1,000 resamples, seed 3)" in text
    assert (
        "No two selectors were compared" in text
        and "mean" not in Tables(text).tables["Accuracy by selector and suite, one"]
    )


def test_marks_text():
    assert marks_text([("+", "a"), ("-", "b"), ("+", "c")]) == "+ac −b"
    assert marks_text([("+", "a"), ("+", "bb")]) == "+a,bb"
    assert marks_text([]) == ""


def test_over_n_holds_every_figure_and_the_level(folders, page):
    result, text = folders[0].result, page["over-n"]
    tables = Tables(text).tables
    assert text.count("<img") == 2
    for place in (*DIFFICULTY, "mean"):
        rows = tables[f"Accuracy over N, {place}, seed0"]
        assert rows["selector"] == [["N = 1"], ["N = 2"], ["N = 4"], ["N = 8"]]
        for name, row in result["accuracy_by_n"].items():
            if place in row:
                assert [cell[0] for cell in rows[name]] == [f"{100 * v:.1f}" for v in row[place].values()]
    assert "best_generator, which some suite lacks" in text and "95 %" in text


def test_differences_hold_intervals_counts_and_both_p(folders, page):
    result = folders[0].result
    rows = Tables(page["differences"]).tables["Differences between selectors, seed0"]
    # The first group is dreamprm's; a baseline of several methods stands in each one's group.
    last = [row for row in result["differences"] if row["method"] == "doge" and row["baseline"] == "majority"]
    for row, cell in zip(last, rows["majority"], strict=True):
        low, high = row["interval"]
        drawn = "~" if row["test"] == "sign_flip" else ""
        assert cell == [
            f"{100 * row['difference']:+.1f}" + (" *" if row["significant"] else ""),
            f"[{100 * low:+.1f}, {100 * high:+.1f}]",
            f"{row['better']} better, {row['worse']} worse",
            f"p {drawn}{p_text(row['p'])}, Holm {p_text(row['p_holm'])}",
        ]
    assert list(rows)[:4] == ["pair", "dreamprm minus", "majority", "best_generator"]
    assert page["differences"].count("<img") == 1 and "<details>" in page["differences"]


def test_few_differences_are_not_folded_and_none_make_no_section(tmp_path):
    row = {
        "method": "a",
        "baseline": "b",
        "suite": "s",
        "difference": 0.1,
        "interval": [-0.1, 0.2],
        "better": 3,
        "worse": 1,
        "p": 0.625,
        "test": "mcnemar",
        "p_holm": 1.0,
        "significant": False,
    }
    result = tiny({"a": 0.5, "b": 0.4}, differences=[row])
    (section,) = selectors.differences(Report(evaluations=(folder(tmp_path, result),)))
    assert "<details" not in str(section.body)
    assert Tables(section.body).tables["Differences between selectors, one"]["b"] == [
        ["+10.0", "[-10.0, +20.0]", "3 better, 1 worse", "p 0.625, Holm 1.000"]
    ]
    assert list(selectors.differences(Report(evaluations=(folder(tmp_path, tiny({"a": 0.5})),)))) == []


def test_choices_name_what_was_picked_on_what(folders, page):
    result = folders[0].result
    parsed = Tables(page["choices"])
    rows = parsed.tables["Aggregations tried on development, seed0"]
    choice = result["aggregations"]["vanilla"]
    tried = [cell[0] for cell in rows["scorer"]]
    assert tried == list(choice["development"])
    assert [cell[0] for cell in rows["vanilla"]] == [
        f"{100 * row['accuracy']:.1f}" for row in choice["development"].values()
    ]
    assert ("vanilla", 1 + tried.index(choice["aggregation"])) in parsed.bold
    assert "Picked on the development set dev (40 questions)" in page["choices"]
    assert parsed.tables["Aggregation of each scorer, seed0"]["orm"] == [
        [""],
        ["none: one value per response"],
    ]
    best = result["generators"]["mathvista"]["best"]["name"]
    assert (best, 1) in parsed.bold
    assert f"In mathvista it is {best}, chosen on the test answers themselves" in page["choices"]
    assert all(note in page["choices"] for note in result["notes"])


def test_checkpoints_and_generators_chosen_on_development(tmp_path):
    data = {}
    for k, name in enumerate(("test", "dev")):
        data[name] = write_suite(
            tmp_path / f"{name}.jsonl", k, questions=30, several=True, strengths={"early": 0.2, "late": 0.8}
        )
    out = evaluated(
        tmp_path / "out",
        f"suites.t={data['test']}",
        f"development.d={data['dev']}",
        "checkpoints={dreamprm: [early, late]}",
    )
    one = read_evaluation(out)
    choice = one.result["checkpoints"]["dreamprm"]
    (section,) = choices.sections(Report(evaluations=(one,)))
    parsed = Tables(section.body)
    rows = parsed.tables["Checkpoints tried on development, out"]
    assert [(name, cells[1][0]) for name, cells in rows.items() if name in choice["development"]] == [
        (name, f"{100 * row['accuracy']:.1f}") for name, row in choice["development"].items()
    ]
    assert (choice["picked"], 2) in parsed.bold and f"dreamprm is {choice['picked']}" in rows
    best = one.result["generators"]["t"]["best"]
    assert best["chosen_on"] == "development"
    assert f"In t it is {best['name']}, chosen on development (d)." in section.body


def test_nothing_picked_is_said_once(tmp_path):
    said = "Nothing was picked: every aggregation is fixed in the configuration."  # by `evaluate`
    for notes in ([said], []):  # without scorers it says nothing
        (section,) = choices.sections(Report(evaluations=(folder(tmp_path, tiny({"a": 0.5}, notes=notes)),)))
        assert re.findall("picked|Picked", section.body) == ["picked"] * len(notes)


def test_evaluations_of_the_same_suites_get_a_table_of_means_and_ranges(folders):
    first, second = folders
    lacking = {
        key: {name: row for name, row in second.result[key].items() if name != "doge"}
        for key in ("best_of_n", "intervals", "accuracy_by_n", "intervals_by_n")
    }
    lacking["differences"] = [
        row for row in second.result["differences"] if "doge" not in (row["method"], row["baseline"])
    ]
    second = replace(second, result={**second.result, **lacking})
    (section,) = methods.sections(Report(evaluations=(first, second)))
    parsed = Tables(section.body)
    rows = parsed.tables["Mean accuracy over 2 evaluations, seed0, seed1"]
    for name in ("dreamprm", "weighted_orm", "random"):
        for place, cell in zip((*DIFFICULTY, "mean"), rows[name], strict=True):
            values = [100 * one.result["best_of_n"][name][place] for one in (first, second)]
            assert cell == [f"{sum(values) / 2:.1f}", f"{min(values):.1f} to {max(values):.1f}"]
    only = 100 * first.result["best_of_n"]["doge"]["mean"]
    assert rows["doge"][3] == [f"{only:.1f}", f"{only:.1f} to {only:.1f}", "1 of 2"]
    assert list(parsed.tables)[1:] == [
        "Accuracy by selector and suite, seed0",
        "Accuracy by selector and suite, seed1",
    ]
    assert str(section.body).count("alone, with intervals and significance") == 2


def test_only_evaluations_of_equal_suites_are_repeats(tmp_path):
    same = [folder(tmp_path, tiny({"a": value}), str(value)) for value in (0.25, 0.75)]
    larger = tiny({"a": 0.5})
    larger["suites"] = {"s": {**larger["suites"]["s"], "questions": 10}}
    assert repeated_evaluations([same[0], folder(tmp_path, larger), same[1]]) == [tuple(same)]
    assert repeated_evaluations(same[:1]) == []
    one = over_evaluations([each.result for each in same], "a", "s")
    assert (one.mean, one.least, one.most, one.count) == (0.5, 0.25, 0.75, 2)
    assert over_evaluations([each.result for each in same], "b", "s") is None


def test_several_evaluations_stand_under_their_labels(folders, tmp_path):
    other = folder(tmp_path, tiny({"vanilla": 0.4, "dreamprm": 0.5}), "other")
    report = Report(evaluations=(folders[0], other))
    (section,) = methods.sections(report)
    assert list(re.findall("<h3>(.*?)</h3>", section.body)) == ["seed0", "other"]
    for sections in (selectors.over_n, choices.sections):
        (section,) = sections(report)
        assert "<summary>other</summary>" in section.body


def test_text_of_the_evaluation_is_escaped(tmp_path):
    bad = "<script>x & y</script>"
    result = tiny({bad: 0.5, "dreamprm": 0.25}, notes=[bad])
    report = Report(evaluations=(folder(tmp_path, result),))
    for sections in SECTIONS:
        for section in sections(report):
            assert "<script" not in section.body and "x & y" not in section.body


def test_no_evaluation_no_section():
    assert [list(sections(Report())) for sections in SECTIONS] == [[]] * 4


def test_figures_of_another_version_are_refused(tmp_path):
    result = tiny({"a": 0.5})
    del result["checkpoints"], result["level"]
    (tmp_path / "evaluation.json").write_text(json.dumps(result))
    with pytest.raises(DataError, match=r"evaluation.json: field level is missing; .*evaluate`"):
        read_evaluation(tmp_path)


@pytest.mark.parametrize(
    "change, field",
    [
        (lambda result: result["intervals"].pop("a"), "intervals.a"),
        (lambda result: result["accuracy_by_n"]["a"].clear(), "accuracy_by_n.a.s"),
        (lambda result: result["suites"]["s"].pop("files"), "suites.s.files"),
        (lambda result: result["differences"].append({"method": "a"}), r"differences\[0\].baseline"),
    ],
)
def test_parts_of_another_version_are_refused(tmp_path, change, field):
    result = tiny({"a": 0.5})
    change(result)
    (tmp_path / "evaluation.json").write_text(json.dumps(result))
    with pytest.raises(DataError, match=f"evaluation.json: field {field} is missing; .*evaluate`"):
        read_evaluation(tmp_path)


def test_the_same_folder_gives_the_same_text(folders, page):
    again = {
        one.anchor: str(one.body)
        for sections in SECTIONS
        for one in sections(Report(evaluations=(folders[0],)))
    }
    assert again == page
    assert json.loads((folders[0].folder / "evaluation.json").read_text()) == folders[0].result
