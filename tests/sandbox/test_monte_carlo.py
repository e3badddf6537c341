"""Monte-Carlo labels with a generator whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.sandbox.monte_carlo import monte_carlo_labels

STEPS = ("Step 1: look", "Step 2: add", "Step 3: so\nFinal answer: 7")


class CountingGenerator(Generator):
    """Right in `right[number of steps in the prefix]` of its continuations; remembers how it was called."""

    def __init__(self, right: dict[int, int]) -> None:
        self.right, self.calls = right, list[Request]()

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        self.calls.extend(requests)
        (request,) = requests
        right = self.right[request.prefix.count("\n") + 1]
        return [[Completion(f"Final answer: {7 if i < right else 0}", 3) for i in range(request.n)]]


def _label(generator: CountingGenerator, steps: Sequence[str] = STEPS, *, rollouts: int = 8) -> list[float]:
    return monte_carlo_labels(
        generator,
        "what?",
        "i.png",
        steps=steps,
        is_correct=lambda text: text.endswith("answer: 7"),
        rollouts=rollouts,
        seed=100,
    )


@pytest.mark.parametrize("last, label", [(STEPS[2], 1.0), ("Step 3: so\nFinal answer: 8", 0.0)])
def test_a_label_is_the_share_of_right_continuations(last: str, label: float) -> None:
    generator = CountingGenerator({1: 6, 2: 1})
    assert _label(generator, (*STEPS[:2], last)) == [6 / 8, 1 / 8, label]
    # Each proper prefix once, with its own seed; the complete chain is judged as it is.
    assert generator.calls == [
        Request("what?", ("i.png",), STEPS[0], 8, 101),
        Request("what?", ("i.png",), f"{STEPS[0]}\n{STEPS[1]}", 8, 102),
    ]


def test_a_single_step_needs_no_rollout() -> None:
    generator = CountingGenerator({})
    assert _label(generator, STEPS[2:]) == [1.0]
    assert generator.calls == []


def test_fewer_than_one_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match="rollouts must be a whole number >= 1, got 0"):
        _label(CountingGenerator({}), rollouts=0)


def test_a_chain_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        _label(CountingGenerator({}), ())
