"""What the label methods cost and how far off their labels are, on the sandbox, where the truth is known.

    python experiments/rollout_methods.py [questions per domain, 40]

Two CoTs for each question of the fifteen training domains of seeds 0, 1, 2, made in memory; the methods'
settings were chosen on seeds 3 and 4. Every method reads the same 32 rollouts of each prefix, in order, so
that methods differ in what they read and not by chance. True values: dreamprm.sandbox.true_values. Writes
experiments/results/rollouts.{md,png}; takes three minutes on one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rollout_chains import SEEDS, domain_chains
from rollout_figures import Figures, figures
from rollout_page import page

from dreamprm.evaluation.plots.style import MUTED, new_figure, png, tidy, title
from dreamprm.labelling.rollouts import LabelMethod, build_method
from dreamprm.sandbox.domains import DOMAINS

RESULTS = Path(__file__).resolve().parent / "results"
FULL = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32)
BUDGETS = (2.0, 2.5, 3.0, 4.0, 4.8, 5.5, 6.5, 8.0, 11.0, 16.0)
GAINS = (0.02, 0.014, 0.01, 0.008, 0.0067, 0.006, 0.005, 0.004, 0.003, 0.002)
DEFAULT = "adaptive, least_gain 0.0067 (the default)"
CURVES: dict[str, tuple[Callable[[float], LabelMethod], Sequence[float]]] = {
    "full": (lambda n: build_method("full", rollouts=int(n)), FULL),
    "adaptive, share": (
        lambda budget: build_method("adaptive", budget=budget, maximum=32, least_gain=0.0, estimate="share"),
        BUDGETS,
    ),
    "equal rollouts, martingale": (
        lambda n: build_method("adaptive", initial=int(n), budget=n, maximum=int(n)),
        FULL,
    ),
    "adaptive, by budget": (
        lambda budget: build_method("adaptive", budget=budget, maximum=32, least_gain=0.0),
        BUDGETS,
    ),
    "adaptive, by least_gain": (
        lambda gain: build_method("adaptive", budget=32.0, maximum=32, least_gain=gain),
        GAINS,
    ),
}
ROWS: dict[str, LabelMethod] = {
    **{f"full, n = {n}": build_method("full", rollouts=n) for n in (4, 5, 6, 8, 16)},
    DEFAULT: build_method("adaptive"),
    **{f"adaptive, least_gain {g:g}": build_method("adaptive", least_gain=g) for g in (0.01, 0.005, 0.003)},
    **{
        f"adaptive, least_gain 0, budget {b:g}": build_method("adaptive", least_gain=0.0, budget=b)
        for b in (4.0, 4.8, 8.0)
    },
    "adaptive, threshold 0.5": build_method("adaptive", threshold=0.5),
    "equal rollouts n = 5, martingale": build_method("adaptive", initial=5, budget=5.0, maximum=5),
    **{
        f"adaptive, share, least_gain 0, budget {b:g}": build_method(
            "adaptive", budget=b, estimate="share", least_gain=0.0
        )
        for b in (4.8, 6.0, 8.0)
    },
    **{f"first_error, n = {n}": build_method("first_error", rollouts=n) for n in (4, 8, 16)},
    "first_error, n = 8, fill next": build_method("first_error", fill="next"),
}


def main(questions: int) -> None:
    """Sample, label with every method, and write the page and the plot."""
    start = time.monotonic()
    chains = [
        chain
        for seed in SEEDS
        for spec in DOMAINS
        for chain in domain_chains(spec, questions=questions, seed=seed)
    ]
    print(f"{len(chains)} chains after {time.monotonic() - start:.0f} s", flush=True)
    rows = {name: figures(method, chains) for name, method in ROWS.items()}
    print(f"table after {time.monotonic() - start:.0f} s", flush=True)
    curves = {name: [figures(make(x), chains) for x in values] for name, (make, values) in CURVES.items()}
    print(f"curves after {time.monotonic() - start:.0f} s", flush=True)
    crosses = {name: found for name, found in rows.items() if name.startswith("first_error")}
    plot(curves, crosses, RESULTS / "rollouts.png")
    (RESULTS / "rollouts.md").write_text(page(chains, rows, curves, default=DEFAULT, questions=questions))
    print(f"written after {time.monotonic() - start:.0f} s", flush=True)


def plot(curves: dict[str, list[Figures]], points: dict[str, Figures], path: Path) -> None:
    """Error against cost, both axes logarithmic: error falls as one over the root of the rollouts."""
    figure = new_figure(7.6, 4.6)
    axes = figure.add_subplot()
    looks = {
        "full": ("#0072b2", "s", "-"),
        "adaptive, share": ("#009e73", "^", "--"),
        "equal rollouts, martingale": ("#a8498a", "D", "--"),
        "adaptive, by budget": ("#b58900", "v", "--"),
        "adaptive, by least_gain": ("#d55e00", "o", "-"),
    }
    for name, rows in curves.items():
        colour, marker, dash = looks[name]
        axes.plot(
            [row.cost for row in rows],
            [row.error[0] for row in rows],
            color=colour,
            marker=marker,
            linestyle=dash,
            markersize=4,
            linewidth=1.6,
            label=name,
        )
        axes.fill_between(
            [row.cost for row in rows],
            [row.error[1] for row in rows],
            [row.error[2] for row in rows],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    for name, row in points.items():
        axes.plot(row.cost, row.error[0], marker="x", color="#222222", linestyle="none", markersize=6)
        axes.annotate(
            f"{name}\n({row.labelled:.0%} of steps)",
            (row.cost, row.error[0]),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=7.5,
            color=MUTED,
        )
    reference = next(row for row, n in zip(curves["full"], FULL, strict=True) if n == 8)
    axes.axhline(reference.error[0], color=MUTED, linewidth=0.8, linestyle=":")
    axes.annotate(
        "full, n = 8",
        (1.0, reference.error[0]),
        xytext=(2, 3),
        textcoords="offset points",
        fontsize=8,
        color=MUTED,
    )
    axes.set(
        xscale="log", yscale="log", xlabel="rollouts per labelled step", ylabel="mean absolute error of p_i"
    )
    ticks = (1, 2, 3, 4, 6, 8, 12, 16, 32)
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.set_yticks((0.04, 0.06, 0.08, 0.12, 0.16, 0.24), ["0.04", "0.06", "0.08", "0.12", "0.16", "0.24"])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")
    tidy(axes, grid="both")
    title(
        axes,
        "Error of step labels against their cost",
        "sandbox, training domains of seeds 0 to 2; bands: 95 % bootstrap over questions",
    )
    path.write_bytes(png(figure))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
