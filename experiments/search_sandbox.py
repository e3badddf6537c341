r"""What search is worth on the sandbox: every method at equal tokens, against votes and best-of-N.

    python experiments/search_sandbox.py [seeds=0,1,2] [questions=300] [steps=1000] [prm=FOLDER{seed}]
                                         [runs=runs/search_study]

For each seed: a PRM, questions of the world's kind that no training, development or test set holds, and every
method of `dreamprm search` at several sizes on them. The baselines are read from one pool of 64 chains per
question: best-of-N, majority and weighted majority over n of them, and the oracle, means over all subsets
(2,000 random ones for the weighted majority), at n times a chain's mean tokens; between two n they are
interpolated in the logarithm of tokens. Every command is printed before it runs; what is there is kept, so
that the same command resumes. Writes experiments/results/search.{md,png}.

prm: the folder of each seed's PRM, such as prm=runs/sandbox after `make train` (seeds=0). By default one is
trained: on the five clean domains of the seed's world, for `steps` steps. That one is quick; the pipeline of
`make train` is not what is measured here.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamprm.cli import main as dreamprm
from dreamprm.config.errors import UserError
from dreamprm.data.record_table import write_records
from dreamprm.data.records import QuestionRecord
from dreamprm.evaluation.bootstrap import Bootstrap, Estimate, Floats, PairedOutcomes, mean_of
from dreamprm.evaluation.number_text import markdown_table, percent_interval, signed_points
from dreamprm.evaluation.plots import style
from dreamprm.evaluation.plots.tokens import curves
from dreamprm.evaluation.scored_suite import open_scored_suite
from dreamprm.evaluation.search_curves import read_search
from dreamprm.evaluation.selection import Selection
from dreamprm.evaluation.selector_names import WEIGHTED
from dreamprm.files.atomic import atomic_folder, write_atomically
from dreamprm.sandbox.domains import DOMAINS
from dreamprm.sandbox.scene_file import SCENES, write_scenes
from dreamprm.sandbox.scenes import draw
from dreamprm.sandbox.suites import SuiteSpec, generate_suite

RESULTS = Path(__file__).resolve().parent / "results"
LEVEL = 0.95
POOL = 64
SIZES = tuple(2**k for k in range(7))
ANSWERS = {
    "best-of-N": "prm",
    "majority": "majority",
    "weighted majority": f"{WEIGHTED}prm",
    "oracle": "oracle",
}
"""The baselines: selectors among the pool's chains."""
SEARCHES: dict[str, tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    "early stopping": ("best_of_n", (), (8, 16, 32, 64)),
    "beam": ("beam", (), (4, 8, 16, 32)),
    "beam, weighted vote": ("beam", ("method.choose=weighted_vote",), (8, 16, 32)),
    "dvts": ("dvts", (), (4, 8, 16, 32)),
    "mcts": ("mcts", (), (2, 4, 8, 16)),
}
"""By name: the method, its settings, and its sizes."""


LOOKS = {
    "best-of-N": "vanilla",
    "weighted majority": f"{WEIGHTED}majority",
    "early stopping": "base_likelihood",
    "beam": "orm",
    "beam, weighted vote": "with_meta",
    "dvts": "dreamprm",
    "mcts": "s1",
}
"""Whose style each line of the plot takes; lines of one name keep theirs."""


@dataclass(frozen=True)
class Point:
    """What a search or a baseline earned on each question of a seed, and its mean cost."""

    right: Floats
    generated: float
    scored: float | None = None


def run(*words: str) -> None:
    """A command of ours, printed first.

    Raises:
        SystemExit: it failed.
    """
    print(f"$ {shlex.join(('dreamprm', *words))}", flush=True)
    code = dreamprm(list(words))
    if code:
        raise SystemExit(code)


def make_questions(folder: Path, *, questions: int, seed: int) -> None:
    """Fresh questions of the training kind, with the images and scenes that the reasoner looks up."""
    if folder.is_dir():
        return
    problems, _ = generate_suite(SuiteSpec("searched"), questions=questions, candidates=1, seed=seed)
    with atomic_folder(folder) as partial:
        (partial / "sealed").mkdir()
        (partial / "images" / "searched").mkdir(parents=True)
        for problem in problems:
            draw(problem.scene).save(partial / problem.image)
        write_scenes(partial / SCENES, {problem.image: problem.scene for problem in problems})
        write_records(
            partial / "questions.jsonl",
            (
                QuestionRecord(
                    problem.question.text,
                    (problem.image,),
                    str(problem.answer),
                    (),
                    "searched",
                    "integer",
                    None,
                    None,
                    f"searched-{number:05d}",
                )
                for number, problem in enumerate(problems)
            ),
        )


def quick_prm(folder: Path, *, seed: int, steps: int) -> Path:
    """A PRM trained on the clean domains of a seed's world."""
    world = f"data/sandbox/seed{seed}"
    if not (folder / "summary.json").exists():
        run("sandbox", "experiments/configs/sandbox/world.yaml", f"seed={seed}")
        clean = [f"{world}/train/{spec.name}.jsonl" for spec in DOMAINS if spec.fault == "clean"]
        run(
            "train",
            "experiments/configs/sandbox/train.yaml",
            *(f"seed={seed}", f"output={folder}", f"steps={steps}", f"data.train=[{','.join(clean)}]"),
            *("hypergrad={name: none}", "log.progress=lines", "resume=auto"),
        )
    return folder


def search(
    runs: Path, name: str, method: str, settings: Sequence[str], n: int, *, seed: int, prm: Path
) -> Path:
    """One search, if it has not been done; returns its folder."""
    output = runs / f"{name.replace(', ', '_').replace(' ', '_')}-{n}"
    if not (output / "accuracy_over_tokens.json").exists():
        world = runs / "questions"
        run(
            "search",
            "experiments/configs/search_sandbox.yaml",
            *(f"output={output}", f"seed={seed}", f"method.name={method}", f"budget.n={n}", *settings),
            *(f"questions.files=[{world}/questions.jsonl]", f"questions.image_root={world}"),
            *("questions.limit=null", f"generator.folder={world}", f"generator.seed={seed}"),
            *(f"scorer.model={prm}", "scorer_name=prm", "log.progress=lines"),
        )
    return output


def baselines(folder: Path) -> dict[str, dict[int, Point]]:
    """Accuracies over the number of chains, from the pool."""
    path = folder / "candidates.jsonl"
    suite = open_scored_suite([str(path)], say=lambda line: None)
    chain = float(np.mean([one.generated for one in read_search(path)])) / POOL
    selection = Selection(suite, {"prm": "mean_log_odds"})
    return {
        name: {n: Point(selection.outcome(selector, n), n * chain) for n in SIZES}
        for name, selector in ANSWERS.items()
    }


def searched(folder: Path) -> Point:
    """What a search earned."""
    questions = read_search(folder / "candidates.jsonl")
    return Point(
        np.array([one.course[-1][1] for one in questions]),
        float(np.mean([one.generated for one in questions])),
        float(np.mean([one.scored for one in questions])),
    )


def at_tokens(points: Mapping[int, Point], tokens: float) -> Floats | None:
    """A baseline's accuracy on each question at these tokens, linear in their logarithm; None outside."""
    ordered = sorted(points.values(), key=lambda point: point.generated)
    for low, high in zip(ordered, ordered[1:], strict=False):
        if low.generated <= tokens <= high.generated:
            share = np.log(tokens / low.generated) / np.log(high.generated / low.generated)
            return np.asarray((1 - share) * low.right + share * high.right)
    return None


def estimate(points: Sequence[Floats]) -> Estimate:
    """The mean over seeds, with questions drawn within each."""
    bootstrap = Bootstrap(0, 2000, LEVEL)
    return mean_of(
        [
            PairedOutcomes({"": right}, bootstrap.draws(len(right), index))[""]
            for index, right in enumerate(points)
        ]
    )


def interval(points: Sequence[Floats]) -> str:
    found = estimate(points)
    return percent_interval(found.value, found.interval(LEVEL))


def difference(points: Sequence[Floats]) -> str:
    found = estimate(points)
    low, high = found.interval(LEVEL)
    return f"{signed_points(found.value)} [{signed_points(low)}, {signed_points(high)}]"


Seeds = Mapping[int, Mapping[str, Mapping[int, Point]]]
"""By seed and name: the points by size."""


def tables(measured: Seeds) -> list[str]:
    """The lines of the page's tables: the baselines, and each search against them at equal tokens."""
    first = next(iter(measured.values()))
    lines = ["## Baselines, over the number of chains", ""]
    rows = []
    for n in SIZES:
        tokens = np.mean([one["oracle"][n].generated for one in measured.values()])
        cells = [interval([one[name][n].right for one in measured.values()]) for name in ANSWERS]
        rows.append([n, f"{tokens:.0f}", *cells])
    lines += markdown_table(["chains", "tokens", *ANSWERS], rows)
    lines += ["", "## Searches, and their difference from the baselines at equal tokens", ""]
    rows = []
    for name, sizes in first.items():
        for n in () if name in ANSWERS else sizes:
            points = {seed: one[name][n] for seed, one in measured.items()}
            gains = []
            for baseline in ("best-of-N", "majority", "weighted majority"):
                at = {s: at_tokens(measured[s][baseline], point.generated) for s, point in points.items()}
                if any(right is None for right in at.values()):
                    gains.append("outside")
                    continue
                gains.append(difference([points[seed].right - right for seed, right in at.items()]))
            cost = [np.mean([getattr(point, what) for point in points.values()]) for what in _COSTS]
            accuracy = interval([point.right for point in points.values()])
            by_seed = " / ".join(f"{100 * point.right.mean():.1f}" for point in points.values())
            rows.append([name, n, *(f"{tokens:.0f}" for tokens in cost), accuracy, by_seed, *gains])
    seeds = " / ".join(map(str, measured))
    head = ["search", "n", "tokens", "tokens scored", "accuracy (%)", f"seeds {seeds}"]
    return lines + markdown_table([*head, "against best-of-N", "majority", "weighted majority"], rows)


_COSTS = ("generated", "scored")


def plot(measured: Seeds) -> bytes:
    """Accuracy over tokens, mean over the seeds."""
    lines: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for name, sizes in next(iter(measured.values())).items():
        lines[name] = sorted(
            (
                (
                    float(np.mean([one[name][n].generated for one in measured.values()])),
                    estimate([one[name][n].right for one in measured.values()]).to_json(LEVEL) or {},
                )
                for n in sizes
            ),
            key=lambda point: point[0],
        )
    axis = "tokens generated per question (mean)"
    seeds = ", ".join(map(str, measured))
    of = f"mean of seeds {seeds}" if len(measured) > 1 else f"seed {seeds}"
    what = f"sandbox, {of}; each marker is a size n"
    return style.png(curves(lines, level=LEVEL, axis=axis, detail=what, marked=True, looks=LOOKS))


def main(arguments: Sequence[str]) -> None:
    """Measure every seed, and write the page and the plot."""
    given = dict(one.split("=", 1) for one in arguments)
    seeds = [int(seed) for seed in given.pop("seeds", "0,1,2").split(",")]
    questions, steps = int(given.pop("questions", "300")), int(given.pop("steps", "1000"))
    root, prms = Path(given.pop("runs", "runs/search_study")), given.pop("prm", None)
    if given:
        raise UserError(f"unknown arguments {', '.join(given)}; they are seeds, questions, steps, prm, runs")
    measured: dict[int, dict[str, dict[int, Point]]] = {}
    for seed in seeds:
        runs = root / f"seed{seed}"
        prm = (
            quick_prm(runs / "prm", seed=seed, steps=steps) if prms is None else Path(prms.format(seed=seed))
        )
        make_questions(runs / "questions", questions=questions, seed=seed)
        drawn = ("method.error=null", "method.choose=score")
        measured[seed] = baselines(search(runs, "pool", "best_of_n", drawn, POOL, seed=seed, prm=prm))
        for name, (method, settings, sizes) in SEARCHES.items():
            measured[seed][name] = {
                n: searched(search(runs, name, method, settings, n, seed=seed, prm=prm)) for n in sizes
            }
    trained = f"of {steps} steps on the clean domains" if prms is None else f"`{prms}`"
    command = " ".join(["python experiments/search_sandbox.py", *arguments])
    lines = [
        "# Search on the sandbox",
        "",
        f"{questions} fresh questions per seed (seeds {', '.join(map(str, seeds))}), scripted reasoner, PRM "
        f"{trained}; brackets: {100 * LEVEL:g} % intervals over questions. Made by `{command}`.",
        "",
        "![Accuracy over tokens](search.png)",
        "",
        *tables(measured),
        "",
    ]
    write_atomically(RESULTS / "search.png", plot(measured))
    write_atomically(RESULTS / "search.md", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
