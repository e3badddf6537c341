"""`dreamprm evaluate`: scored candidates in, tables with intervals out."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.answers.settings import JudgedAnswers
from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import nearest
from dreamprm.config.names import check_names
from dreamprm.config.schema import GIVEN, LARGEST_SEED, REQUIRED, section, setting
from dreamprm.runtime.settings import BadRecordSettings, ground_colour, image_ground_setting

PICK = "pick"


@dataclass
class SuiteFiles:
    """One suite: candidate records with their scores."""

    path: str = setting(
        REQUIRED, "JSON or JSONL file of candidate records, as `dreamprm score` writes them", shorthand=True
    )
    joined: list[str] = setting(
        [],
        "further files of the same candidates with other scorers' scores, joined by record id; the texts "
        "must be equal",
    )
    questions: str | None = setting(
        None,
        "file of the suite's question records, matched by id: their options and answer types decide how "
        "answers are compared; null: only the candidate records' own question and answer are used",
    )


@dataclass
class ComparedPair:
    """Two selectors whose difference is shown."""

    method: str = setting(REQUIRED, "the selector whose gain is measured, such as dreamprm")
    baseline: str = setting(REQUIRED, "the selector it is compared with, such as majority or vanilla")

    def check(self) -> None:
        """Require two different selectors."""
        if self.method == self.baseline:
            raise ValueError(f"method and baseline are both {self.method}; give two selectors")


@dataclass
class ExampleSettings:
    """Examples of questions on which one selector is right and another wrong, drawn at random."""

    count: int = setting(
        3,
        "examples per suite, pair and kind (only one of the two right, or only the other); 0: none",
        minimum=0,
    )
    pairs: list[ComparedPair] = setting(
        [],
        "pairs to take examples from; empty: dreamprm with each selector it is compared with, vanilla first; "
        "without dreamprm, the first compared pair",
        when={"count": GIVEN},
    )
    most_pairs: int = setting(3, "largest number of pairs", minimum=1, when={"count": GIVEN, "pairs": ([],)})
    image_side: int = setting(
        512,
        "longest side of the saved images in pixels; larger images are scaled down",
        minimum=16,
        when={"count": GIVEN},
    )
    image_ground: str = image_ground_setting(when={"count": GIVEN})
    image_root: str | None = setting(
        None,
        "folder that the images of the scored files have to be in; null: each file's own folder",
        when={"count": GIVEN},
    )
    allow_outside: bool = setting(
        False,
        "accept image paths that lead out of that folder (absolute, by .. or by a link); a file of somebody "
        "else can then have any image of this machine shown",
        when={"count": GIVEN},
    )

    def check(self) -> None:
        """Validate the colour."""
        ground_colour(self.image_ground)


@dataclass
class CandidateAnswers(JudgedAnswers):
    """How candidates whose `correct` is null are judged."""

    kind: str = setting(
        "auto",
        "how candidates without `correct` are judged; the others keep theirs. evaluation.md says how many "
        "were judged, with which verdicts; undecided counts as wrong. auto: inferred from each question's "
        "options, answer_type and answer. answers=null: a candidate without `correct` is an error",
    )


@dataclass
class EvaluateConfig(BadRecordSettings):
    """Which selector is best: best-of-N accuracy of every selector with intervals and tests."""

    output: str = setting(
        REQUIRED,
        "folder for the results; those of an earlier evaluation are replaced, except a judge's replies "
        "(judge.jsonl), so that the same command resumes",
    )
    suites: dict[str, SuiteFiles] = setting(
        REQUIRED, "the test suites by name: plain paths, or sections with the keys below"
    )
    development: dict[str, SuiteFiles] = setting(
        {}, "suites on which open choices are made, if there are any; they may not hold any test question"
    )
    mean_over: list[str] = setting([], "suites over which the reported mean is taken; empty: all")
    scorers: list[str] = setting([], "scorers to compare; empty: all in the suites")
    aggregation: str = setting(
        "sum_log_odds",
        "how the scores of a candidate's steps are combined; pick: for each scorer, the most accurate "
        "aggregation on development",
        choices=(*AGGREGATIONS, PICK),
    )
    aggregations: dict[str, str] = setting(
        {}, "other aggregations for individual scorers, by name", choices=(*AGGREGATIONS, PICK)
    )
    checkpoints: dict[str, list[str]] = setting(
        {},
        "for each name to show, the scorers that are checkpoints of one model: the most accurate one on "
        "development is used",
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
        "generator, and dreamprm against every other scorer",
    )
    sizes: list[int] = setting(
        [], "numbers of candidates n to show; empty: 1, 2, 4, ... and all N", minimum=1
    )
    uneven: str = setting(
        "error",
        "if a suite's questions differ in their number of candidates: stop, or let each question enter at "
        "size n with min(n, its own number)",
        choices=("error", "own"),
    )
    examples: ExampleSettings = section(ExampleSettings)
    seed: int = setting(
        0,
        "seed for the bootstrap, the drawn subsets, the sign flips and the examples",
        minimum=0,
        maximum=LARGEST_SEED,
    )
    resamples: int = setting(2000, "bootstrap samples", minimum=100)
    level: float = setting(
        0.95, "confidence level of the intervals; 1 - level is the error rate of the tests", above=0, below=1
    )
    answers: CandidateAnswers | None = section(CandidateAnswers)

    def check(self) -> None:
        """Validate the suites' names, and require a development set if something is picked."""
        if not self.suites:
            raise ValueError("suites must name at least one file of scored candidates, got {}")
        check_names(self.suites, "suites")
        check_names(self.development, "development")
        check_names(self.checkpoints, "checkpoints")
        for name in (*self.suites, *self.development):
            if name == "mean":
                raise ValueError(
                    "a suite is named mean, the name of the mean over suites; give it another name"
                )
        unknown = [name for name in self.mean_over if name not in self.suites]
        if unknown:
            near = nearest(unknown[0], self.suites)
            raise ValueError(
                f"mean_over names {', '.join(unknown)}; the suites are {', '.join(self.suites)}{near}"
            )
        if len(set(self.mean_over)) < len(self.mean_over):
            raise ValueError(f"mean_over must name each suite once, got {', '.join(self.mean_over)}")
        picked = [self.aggregation, *self.aggregations.values()].count(PICK)
        if picked and not self.development:
            raise ValueError(
                "aggregation=pick needs a development set: give one without test questions, or fix the "
                f"aggregation ({', '.join(AGGREGATIONS)})"
            )
        if self.checkpoints and not self.development:
            raise ValueError(
                "checkpoints are picked on a development set: give one without test questions, or score "
                "with one checkpoint alone"
            )
