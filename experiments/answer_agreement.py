"""How the `auto` checker agrees with published right/wrong flags, with every disagreement to read.

    python experiments/answer_agreement.py [../shared/data/mathvision] > experiments/results/answers.md

Reads MATH-V testmini (github.com/mathllm/MATH-V: `testmini.jsonl`, and `outputs/*.jsonl` with the responses
of five models, the answer extracted from each, `model_answer`, and a flag, `correct`). In addition, if they
are there: MMMU-Pro responses of DreamPRM-1.5 and the solutions of ProcessBench, which have flags but no
references; there the answer of one response flagged right serves as the reference for the other responses to
the same question.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dreamprm.answers import Checker, Judgement, build_checker, stated_answer
from dreamprm.data import QuestionRecord, read_question_records
from dreamprm.data.records import OPTION_LETTERS

CAUSES = {
    "The option's value is stated, the flag wants its letter": {
        "ChatGPT3.5-CoT_Text_Image_Caption": "748 1546 2588 2636",
        "Gemini-Pro-CoT": "270 748 965",
        "InternLM-XComposer2-VL-CoT": "319 1727 2565",
        "Qwen-VL-Max-CoT": "319 1113 1168 1343 1512 1546",
    },
    "The letter precedes its option's text, and `model_answer` kept both": {
        "GPT4-CoT_Text_Only": "173 254 333 675 748 873 1008 1167 1255 1389 1546 1547 2280 2293 2474",
        "Gemini-Pro-CoT": "1547 1564",
        "Qwen-VL-Max-CoT": "390 1222 1355",
    },
    "`model_answer` kept LaTeX, brackets or a sentence around the letter": {
        "GPT4-CoT_Text_Only": "253",
        "InternLM-XComposer2-VL-CoT": "53 2757",
    },
    "`model_answer` kept the unit or the words after the number": {
        "GPT4-CoT_Text_Only": "1864",
        "Qwen-VL-Max-CoT": "2741",
    },
    "Ambiguous: the box holds 3600 degrees, the last line says (A), 720 degrees; we take the last": {
        "InternLM-XComposer2-VL-CoT": "1284",
    },
}
"""The cause of each disagreement, as read by a person. Those not listed are reported as not read."""

PROCESSBENCH_READ = (
    "The clear disagreements on olympiadbench, read one by one: in three, the flags of two solutions "
    "contradict each other (251: 1156/4913 is flagged wrong, and 4/17, the same number, right; 891: 4.0 and "
    "4.2 are both flagged right; 935: 567 and 567/4 are); 867 is a pair of functions in two notations, "
    "`(n, 1)` and `(f(n) = n, g(n) = 1)`, and our error. The undecided ones that are flagged "
    "right mark no answer, or state it in a sentence or a list with words."
)


@dataclass(frozen=True)
class Row:
    """One response with its published flag and our judgement."""

    model: str
    question: QuestionRecord
    response: str
    model_answer: str
    flag: bool
    judgement: Judgement

    @property
    def agrees(self) -> bool:
        """Whether our judgement equals the flag; an undecided answer counts as not right."""
        return (self.judgement.verdict == "right") == self.flag

    @property
    def cause(self) -> str:
        for cause, models in CAUSES.items():
            if self.question.id in models.get(self.model, "").split():
                return cause
        return "Not read yet"


def mathvision(folder: Path, checker: Checker) -> Iterator[Row]:
    """Judge the published responses of every model."""
    questions = {record.id: record for record in read_question_records(folder / "testmini.jsonl")}
    for path in sorted((folder / "outputs").glob("*.jsonl")):
        for line in path.read_bytes().rstrip().split(b"\n"):  # not splitlines: responses may hold U+2028
            row = json.loads(line)
            question = questions[row["id"]]
            yield Row(
                path.stem,
                question,
                row["response"],
                row["model_answer"],
                row["correct"],
                checker.check(row["response"], question),
            )


def mmmu_pro(path: Path, checker: Checker) -> Counter[tuple[str, bool]]:
    """Verdicts on all responses except the reference itself, by their flag."""
    groups: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in json.loads(path.read_text(encoding="utf-8")):
        groups[row["id"]].append(row)
    found: Counter[tuple[str, bool]] = Counter()
    for name, rows in groups.items():
        text = rows[0]["conversations"][1]["value"]  # type: ignore[index]
        pieces = re.split(r"\s*\(([A-Z])\)\s*", text[text.rfind("Options:") :])
        options: list[str] = []
        for letter, option in zip(pieces[1::2], pieces[2::2], strict=True):
            if letter == OPTION_LETTERS[len(options)]:
                options.append(option.strip())
        if options:
            answers = [(str(row["response"]), bool(row["true_false"])) for row in rows]
            found += _against_a_right_one(name, answers, tuple(options), checker)
    return found


def processbench(path: Path, checker: Checker) -> Counter[tuple[str, bool]]:
    """Verdicts on solutions of a problem against one that is flagged right and marks its answer."""
    groups: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for row in json.loads(path.read_text(encoding="utf-8")):
        groups[row["problem"]].append(("\n\n".join(row["steps"]), row["final_answer_correct"]))
    found: Counter[tuple[str, bool]] = Counter()
    for name, answers in groups.items():
        found += _against_a_right_one(name, answers, (), checker)
    return found


def _against_a_right_one(
    name: str, answers: list[tuple[str, bool]], options: tuple[str, ...], checker: Checker
) -> Counter[tuple[str, bool]]:
    for index, (response, flag) in enumerate(answers):
        stated = stated_answer(response)
        # A conclusion is a sentence, which cannot serve as a reference.
        if not flag or stated is None or not stated.marked or stated.doubt or stated.how == "conclusion":
            continue
        answer = stated.text
        if options:
            first = QuestionRecord(name, (), "A", options, "", None, None, None, name)
            letter = checker.check(response, first).extracted or ""
            if letter not in first.letters:
                continue
            answer = letter
        question = QuestionRecord(name, (), answer, options, "", None, None, None, name)
        return Counter(
            (checker.check(other, question).verdict, right)
            for place, (other, right) in enumerate(answers)
            if place != index
        )
    return Counter()


def report(rows: list[Row], others: dict[str, Counter[tuple[str, bool]]], command: str) -> str:
    """The page: a table of models, every disagreement by its cause, the other files."""
    lines = [
        "# Answers: agreement with published flags",
        "",
        f"`{command}`, {date.today()}, checker `auto` without a judge. An answer that is undecided counts as "
        "not right.",
        "",
        "## MATH-V testmini, published responses",
        "",
        "| model | n | agree | flagged right: right, not right | flagged wrong: wrong, undecided, right |",
        "|---|---|---|---|---|",
    ]
    for model in sorted({row.model for row in rows}):
        mine = [row for row in rows if row.model == model]
        count = Counter((row.flag, row.judgement.verdict) for row in mine)
        agree = sum(row.agrees for row in mine)
        lines.append(
            f"| {model} | {len(mine)} | {agree} ({100 * agree / len(mine):.1f} %) | {count[True, 'right']}, "
            f"{count[True, 'wrong'] + count[True, 'undecided']} | {count[False, 'wrong']}, "
            f"{count[False, 'undecided']}, {count[False, 'right']} |"
        )
    against = [row for row in rows if not row.agrees]
    lines += ["", f"## All {len(against)} disagreements, by cause", ""]
    for cause in [*CAUSES, "Not read yet"]:
        mine = [row for row in against if row.cause == cause]
        if mine:
            lines += [
                f"### {cause} ({len(mine)})",
                "",
                "| question | model | reference | `model_answer` | flag | ours | why |",
                "|---|---|---|---|---|---|---|",
            ]
            lines += [_line(row) for row in mine] + [""]
    if others:
        lines += [
            "## Flags without references",
            "",
            "The answer of one response that is flagged right serves as the reference for the other "
            "responses to the same question. Where nothing marks an answer, the response's last sentence "
            "is read.",
            "",
            "| file | flagged right: right, wrong, undecided | flagged wrong: right, wrong, undecided |",
            "|---|---|---|",
        ]
        for name, count in others.items():
            cells = (
                ", ".join(str(count[verdict, flag]) for verdict in ("right", "wrong", "undecided"))
                for flag in (True, False)
            )
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += ["", PROCESSBENCH_READ, ""]
    return "\n".join(lines)


def _line(row: Row) -> str:
    question, judgement = row.question, row.judgement
    reference = question.answer
    if question.options:
        reference += f": {question.options[question.letters.index(question.answer)]}"
    cells = (
        question.id,
        row.model,
        _code(reference),
        _code(row.model_answer),
        "right" if row.flag else "wrong",
        f"{judgement.verdict}, {_code(judgement.extracted or '-')}",
        judgement.reason,
    )
    return "| " + " | ".join(cells) + " |"


def _code(text: str) -> str:
    """A short text as Markdown code in a table's cell."""
    text = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def main(folder: str = "../shared/data/mathvision") -> str:
    """The page as text, from MATH-V's folder and the folders next to it."""
    checker = build_checker("auto")
    try:
        rows = list(mathvision(Path(folder), checker))
        others = {}
        path = Path(folder).parent / "dreamprm15" / "meta_MMMU_Pro.json"
        if path.exists():
            others["dreamprm15/meta_MMMU_Pro.json"] = mmmu_pro(path, checker)
        for path in sorted((Path(folder).parent / "processbench").glob("*.json")):
            others[f"processbench/{path.name}"] = processbench(path, checker)
    finally:
        checker.close()
    return report(rows, others, f"python experiments/answer_agreement.py {folder}")


if __name__ == "__main__":
    print(main(*sys.argv[1:]), end="")
