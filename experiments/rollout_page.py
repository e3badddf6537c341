"""experiments/results/rollouts.md: the tables of rollout_methods.py and what they show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import comb

import numpy as np
from rollout_chains import (
    PREFIXES,
    SEEDS,
    Chain,
    closed_form_check,
    domain_chains,
    independent_chains,
)
from rollout_figures import Figures, figures, first_errors, paired, truth

from dreamprm.labelling.rollouts import build_method
from dreamprm.sandbox.domains import DOMAINS

CHECKED = 40  # prefixes


def page(
    chains: Sequence[Chain],
    rows: dict[str, Figures],
    curves: dict[str, list[Figures]],
    *,
    default: str,
    questions: int,
) -> str:
    """The whole page; `default` names the row of `adaptive` with its default settings."""
    furthest, square = closed_form_check(CHECKED, rollouts=20_000)
    text = f"""# Label methods: error against cost

`python experiments/rollout_methods.py {questions}`: {len(chains):,} CoTs ({questions} questions in each of
the 15 training domains of seeds 0, 1, 2, two CoTs each), {len(chains) * PREFIXES:,} incomplete prefixes.
Their true p_i are known in closed form (`dreamprm.sandbox.true_values`); 20,000 rollouts from each of
{CHECKED} prefixes agree with it (the furthest {furthest:.1f} standard errors off, mean square {square:.2f}).
Intervals: 95 % bootstrap over questions.

Settings were chosen on the same domains of seeds 3 and 4. They were chosen there twice: a first run of this
page, with stay 0.2, concentration 0.5 and least_gain 0.007, met the 60 % below with 4.78 rollouts, too close
to the bound to be distinguished from a miss.

![error against cost](rollouts.png)

Beyond 8 rollouts per step the curves of `adaptive` flatten: `half_width` 0.2 ends a prefix after 6 rollouts
that agree, and the remaining error stays.

## Does adaptive reach full's error at 60 % of its rollouts?

{answer(chains, rows, curves, default=default)}
## Methods

`labelled`: share of the incomplete prefixes that get a label. Costs are per labelled step; tokens are the
sandbox's words. `wrong side`: labels on the other side of 0.5 from the truth (a label at 0.5 counts half).
`slope`: of the label against the truth, below 1 where labels are shrunk.

{table("method", "rollouts", "tokens", "labelled", "mean absolute error", "wrong side", "bias", "slope")}
{lines(line(name, found) for name, found in rows.items())}

`adaptive` is shrunk: its labels vary less than the true values do; on the whole it is hardly biased. Shares
from adaptive stopping are biased by the amount in the table; those of `full` are not. `threshold` spends
less where the side of 0.5 is clear. `first_error` labels few steps, which are not a random sample: its error
holds for them alone.

## By kind of domain

{table("domains", "prefixes", "full, n = 8: error", "adaptive: rollouts", "adaptive: error")}
{lines(by_kind(chains))}

Where all rollouts agree, the posterior stays below 1, while shares are exact.

## Where the CoT is not the generator's own

`estimate=martingale` rests on V_i being the mean of V_{{i+1}}. Two worlds where that is not so: CoTs by
another reasoner with other errors, continued by this one; and values drawn uniformly and independently. There
its labels are shrunk further, and shares are the ones to trust.

{table("world", "method", "rollouts", "mean absolute error", "bias", "slope")}
{lines(foreign(max(1, questions // 2)))}

## The first error

Of the wrong CoTs, how often `first_error` ends on the first step from which the true p_i is 0, and on the
first that more than halves it (the end counts as 0). The search looks for the first of these; n rollouts
mistake a step with a small p_i for one with none.

{table("n", "wrong CoTs", "visited prefixes", "first with p_i = 0", "first that more than halves p_i")}
{lines(searches(chains))}
"""
    return text


def answer(
    chains: Sequence[Chain],
    rows: dict[str, Figures],
    curves: dict[str, list[Figures]],
    *,
    default: str,
) -> str:
    """Whether 60 % of the rollouts are enough, and what contributes to it."""
    full, own = rows["full, n = 8"], rows[default]
    needed = {
        name: cost_at([x.cost for x in found], [x.error[0] for x in found], full.error[0])
        for name, found in curves.items()
    }
    best = needed["adaptive, by least_gain"]
    expected = expected_error(truth(chains), rollouts=8)
    found = curves["adaptive, by least_gain"]
    against_expected = cost_at([x.cost for x in found], [x.error[0] for x in found], expected)
    difference = paired(chains, build_method("adaptive"), build_method("full"))
    spread = truth(chains) * (1 - truth(chains))
    oracle = (spread ** (1 / 3)).mean() ** 3 / np.sqrt(spread).mean() ** 2
    parts = {
        "shares, equal rollouts (`full`)": "full",
        "shares, adaptive rollouts (`estimate=share`, `least_gain=0`)": "adaptive, share",
        "the martingale's posterior, equal rollouts": "equal rollouts, martingale",
        "the same, a budget shared over the CoT (`least_gain=0`)": "adaptive, by budget",
        "the same, and clear CoTs cost less (`least_gain`, as by default)": "adaptive, by least_gain",
    }
    return f"""{"Yes" if best <= 0.6 * 8 else "No"}: `full` with n = 8 has a mean absolute error of
{full.error[0]:.4f}; `adaptive` needs {best:.2f} rollouts per step for it, {best / 8:.0%} of 8 (its curve by
least_gain, between the points). By default it takes {own.cost:.2f} rollouts ({own.cost / 8:.0%}; tokens
{own.tokens / full.tokens:.0%}, as early prefixes have the longest rollouts) and has an error of
{own.error[0]:.4f}; the difference to `full` on the same questions is {with_interval(difference, "+")}.

All methods use the same sampled rollouts. In expectation the error of `full` is {expected:.4f} (in closed
form); for that `adaptive` needs {against_expected:.2f} ({against_expected / 8:.0%}).

What that is due to, by leaving parts out:

{table("what", "rollouts per step for that error", "of 8")}
{lines(row(what, f"{needed[name]:.2f}", f"{needed[name] / 8:.0%}") for what, name in parts.items())}

Most of it comes from the estimate, which uses the CoT's other prefixes and its own end. Allocation alone
cannot do it: an allocation that knew every p_i, n_i proportional to (p_i (1 - p_i))^(1/3), would still need
{oracle:.0%} of equal rollouts for the same error of shares (for large n).
"""


def expected_error(values: np.ndarray, *, rollouts: int) -> float:
    """The mean over all draws of |k / n - p|, k ~ Binomial(n, p)."""
    return float(
        np.mean(
            [
                sum(
                    comb(rollouts, k) * p**k * (1 - p) ** (rollouts - k) * abs(k / rollouts - p)
                    for k in range(rollouts + 1)
                )
                for p in values.ravel()
            ]
        )
    )


def cost_at(costs: Sequence[float], errors: Sequence[float], wanted: float) -> float:
    """The cost at which a curve's error falls to `wanted`; between points, error is linear in log cost.

    The points come in order of falling error.
    """
    return float(np.exp(np.interp(-wanted, -np.array(errors), np.log(costs))))


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(*cells: str) -> str:
    """A table's header."""
    return row(*cells) + "\n|" + " --- |" * len(cells)


def lines(rows: Iterable[str]) -> str:
    return "\n".join(rows)


def with_interval(values: tuple[float, float, float], sign: str = "") -> str:
    return "{:{s}.4f} ({:{s}.4f} to {:{s}.4f})".format(*values, s=sign)


def line(name: str, found: Figures) -> str:
    return row(
        name,
        f"{found.cost:.2f}",
        f"{found.tokens:.1f}",
        f"{found.labelled:.0%}",
        with_interval(found.error),
        f"{found.wrong_side:.1%}",
        with_interval(found.bias, "+"),
        f"{found.slope:.3f}",
    )


def by_kind(chains: Sequence[Chain]) -> Iterator[str]:
    kinds = {
        "ordinary questions (clean, shuffled, swapped)": ("clean", "shuffled", "swapped"),
        "hard questions, wrong key": ("wrong_key",),
        "easy: always right": ("easy",),
    }
    for name, faults in kinds.items():
        own = [chain for chain in chains if chain.fault in faults]
        full, adaptive = (figures(build_method(method), own) for method in ("full", "adaptive"))
        yield row(
            name,
            f"{len(own) * PREFIXES:,}",
            with_interval(full.error),
            f"{adaptive.cost:.2f}",
            with_interval(adaptive.error),
        )


def foreign(questions: int) -> Iterator[str]:
    worlds = {
        "CoTs of another reasoner": [
            chain
            for seed in SEEDS
            for spec in DOMAINS
            if spec.fault == "clean"
            for chain in domain_chains(spec, questions=questions, seed=seed, strangers=True)
        ],
        "unrelated values": list(independent_chains(100 * questions, seed=0)),
    }
    methods = {
        "full, n = 8": build_method("full"),
        "full, n = 5": build_method("full", rollouts=5),
        "adaptive": build_method("adaptive"),
        "adaptive, share": build_method("adaptive", estimate="share"),
    }
    for world, chains in worlds.items():
        for name, method in methods.items():
            found = figures(method, chains)
            yield row(
                world,
                name,
                f"{found.cost:.2f}",
                with_interval(found.error),
                with_interval(found.bias, "+"),
                f"{found.slope:.3f}",
            )


def searches(chains: Sequence[Chain]) -> Iterator[str]:
    for n in (2, 4, 8, 16, 32):
        dead, fell, visited, count = first_errors(chains, n)
        yield row(n, f"{count:,}", f"{visited:.2f}", f"{dead:.1%}", f"{fell:.1%}")
