"""`dreamprm evaluate`: scored candidates in, tables with intervals out."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.answers.settings import JudgedAnswers
from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.schema import GIVEN, REQUIRED, section, setting
from dreamprm.runtime.settings import BadRecordSettings

PICK = "pick"


@dataclass
class SuiteFiles:
    """One suite: candidate records with their scores."""

    path: str = setting(
        REQUIRED, "JSON or JSONL file of candidate records, as `dreamprm score` writes them", shorthand=True
    )
    joined: list[str] = setting(
        [],
        "further files of the same candidates with other scorers, joined by record id; texts must agree",
    )
    questions: str | None = setting(
        None,
        "file of the suite's question records, found by id: their options and answer types tell how answers "
        "are compared; null: the candidate records' question and answer alone",
    )


@dataclass
class ComparedPair:
    """Two selectors whose difference is shown."""

    method: str = setting(REQUIRED, "the selector whose gain is asked for, such as dreamprm")
    baseline: str = setting(REQUIRED, "the selector it is set against, such as majority or vanilla")

    def check(self) -> None:
        """A selector is not compared with itself."""
        if self.method == self.baseline:
            raise ValueError(f"method and baseline are both {self.method}; give two selectors")


@dataclass
class ExampleSettings:
    """Examples of questions on which one selector is right and another wrong, drawn at random."""

    count: int = setting(
        3, "examples a suite, pair and kind: only the one right, only the other right; 0: none", minimum=0
    )
    pairs: list[ComparedPair] = setting(
        [],
        "pairs to take examples of; empty: dreamprm against those it is compared with, vanilla first; "
        "without dreamprm the first pair that is compared",
        when={"count": GIVEN},
    )
    most_pairs: int = setting(3, "at most so many", minimum=1, when={"count": GIVEN, "pairs": ([],)})
    image_side: int = setting(
        512,
        "longest side of the kept images in pixels; larger images are reduced",
        minimum=16,
        when={"count": GIVEN},
    )


@dataclass
class EvaluateConfig(BadRecordSettings):
    """Which selector is best: best-of-N accuracy of every selector with intervals and tests."""

    output: str = setting(
        REQUIRED,
        "folder of the results; those of an earlier evaluation are replaced, but for a "
        "judge's replies (judge.jsonl), so that the same command goes on",
    )
    suites: dict[str, SuiteFiles] = setting(
        REQUIRED, "the test suites by name: plain paths, or sections with the keys below"
    )
    development: dict[str, SuiteFiles] = setting(
        {}, "suites that choices are made on, where any is left open; no test question may be among them"
    )
    mean_over: list[str] = setting([], "suites that the reported mean is over; empty: all")
    scorers: list[str] = setting([], "scorers to compare; empty: all that the suites hold")
    aggregation: str = setting(
        "sum_log_odds",
        "score of a candidate from its steps; pick: for each scorer the most accurate one on development",
        choices=(*AGGREGATIONS, PICK),
    )
    aggregations: dict[str, str] = setting(
        {}, "aggregation of single scorers, by name, where it is another", choices=(*AGGREGATIONS, PICK)
    )
    checkpoints: dict[str, list[str]] = setting(
        {},
        "by the name it is shown under, a model's scorers of several checkpoints: the most accurate one on "
        "development stands for it",
    )
    temperature: float = setting(
        1.0,
        "divides the aggregate before the sigmoid in weighted self-consistency",
        above=0,
        when={"weighted": GIVEN},
    )
    weighted: bool = setting(True, "also show weighted self-consistency by each scorer")
    compare: list[ComparedPair] = setting(
        [],
        "pairs whose difference is tested; empty: each scorer against majority and the best single "
        "generator, and dreamprm against each other scorer",
    )
    sizes: list[int] = setting(
        [], "numbers of candidates n to show; empty: 1, 2, 4, ... and all N", minimum=1
    )
    uneven: str = setting(
        "error",
        "questions of one suite with different numbers of candidates: stop, or let each enter at size n with "
        "min(n, its own number)",
        choices=("error", "own"),
    )
    examples: ExampleSettings = section(ExampleSettings)
    seed: int = setting(
        0, "seed of the bootstrap, of drawn subsets and sign flips, and of the examples", minimum=0
    )
    resamples: int = setting(2000, "bootstrap samples", minimum=100)
    level: float = setting(
        0.95, "of the intervals; 1 - level is the error rate of the tests", above=0, below=1
    )
    answers: JudgedAnswers | None = setting(
        None, "fills in `correct` where it is null; null: such a candidate is an error"
    )

    def check(self) -> None:
        """Suites with names of their own, and a development set where something is picked."""
        if not self.suites:
            raise ValueError("suites must name at least one file of scored candidates, got {}")
        for name in (*self.suites, *self.development):
            if name == "mean":
                raise ValueError("a suite is named mean, as the mean over suites is; give it another name")
        unknown = [name for name in self.mean_over if name not in self.suites]
        if unknown:
            raise ValueError(f"mean_over names {', '.join(unknown)}; the suites are {', '.join(self.suites)}")
        if len(set(self.mean_over)) < len(self.mean_over):
            raise ValueError(f"mean_over must name each suite once, got {', '.join(self.mean_over)}")
        picked = [self.aggregation, *self.aggregations.values()].count(PICK)
        if picked and not self.development:
            raise ValueError(
                "aggregation=pick needs a development set: name one that no test question is in, or fix the "
                f"aggregation ({', '.join(AGGREGATIONS)})"
            )
        if self.checkpoints and not self.development:
            raise ValueError(
                "checkpoints are picked on a development set: name one that no test question is in, or score "
                "with one checkpoint alone"
            )
