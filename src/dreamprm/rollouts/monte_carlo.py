"""Monte-Carlo step labels: how often does a generator end up right from each prefix of a chain of thought?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dreamprm.generators.base import Generator
from dreamprm.rollouts.base import Ask, Tally
from dreamprm.rollouts.drive import run_plan
from dreamprm.rollouts.full import Full


def monte_carlo_labels(
    generator: Generator,
    prompt: str,
    image: str | None,
    *,
    steps: Sequence[str],
    is_correct: Callable[[str], bool],
    rollouts: int,
    seed: int,
) -> list[float]:
    """p_i for every step of one chain of thought, by `Full`.

        p_i = (1 / n) * sum over n continuations of the prefix step_1..step_i of [final answer is right]

    The complete chain needs no rollout: its label is whether it is right itself.

    Args:
        steps: the chain's steps; the last one holds the final answer.
        is_correct: judges a text that ends in a final answer.
        rollouts: n, the continuations sampled from each incomplete prefix.
        seed: the prefix of i steps uses seed + i.

    Returns:
        one label in [0, 1] for each step.

    Source: DreamPRM (arXiv 2505.20241), section 3; Math-Shepherd (arXiv 2312.08935).

    Raises:
        ValueError: `rollouts` is below 1, or there is no step.
    """
    method = Full(rollouts)
    if not steps:
        raise ValueError("a chain of thought needs at least one step to be labelled, got none")

    def roll_out(ask: Ask) -> Tally:
        completions = generator.complete(
            prompt, image, prefix="\n".join(steps[: ask.step]), n=ask.count, seed=seed + ask.step
        )
        return Tally(sum(is_correct(completion.text) for completion in completions), len(completions))

    correct = is_correct(steps[-1])
    labels = run_plan(method.plan(len(steps) - 1, correct=correct), lambda asks: [roll_out(a) for a in asks])
    return [float(label.p or 0.0) for label in labels] + [float(correct)]
