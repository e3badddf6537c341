"""Monte-Carlo step labels: how often does a generator reach a right answer from each prefix of a CoT?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dreamprm.generators.base import Generator


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
    """p_i for every step of one chain of thought, as computed by `dreamprm label` with method=full.

        p_i = (1 / n) * sum over n continuations of the prefix step_1..step_i of [final answer is right]

    The complete chain needs no rollout: its label says whether it is right.

    Args:
        steps: the chain's steps; the last one holds the final answer.
        is_correct: judges a text that ends in a final answer.
        rollouts: n, the continuations sampled from each incomplete prefix.
        seed: the prefix of i steps uses seed + i.

    Returns:
        One label in [0, 1] per step.

    Source: DreamPRM (arXiv 2505.20241), section 3; Math-Shepherd (arXiv 2312.08935).

    Raises:
        ValueError: `rollouts` is below 1, or there are no steps.
    """
    if rollouts < 1:
        raise ValueError(f"rollouts must be a whole number >= 1, got {rollouts}")
    if not steps:
        raise ValueError("a chain of thought needs at least one step to be labelled, got none")

    def share_right(i: int) -> float:
        prefix = "\n".join(steps[:i])
        completions = generator.complete(prompt, image, prefix=prefix, n=rollouts, seed=seed + i)
        return sum(is_correct(completion.text) for completion in completions) / len(completions)

    return [share_right(i) for i in range(1, len(steps))] + [float(is_correct(steps[-1]))]
