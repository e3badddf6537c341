"""What every generator can rely on in what it is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from dreamprm.generators import Completion, GenerationError, Generator, Request, Sampling


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature must be >= 0 and finite, got -0.1"),
        ({"temperature": math.nan}, "temperature must be >= 0 and finite, got nan"),
        ({"temperature": math.inf}, "temperature must be >= 0 and finite, got inf"),
        ({"max_tokens": 0}, "max_tokens must be >= 1, got 0"),
        ({"stop": ("a", "")}, "stop contains an empty text"),
    ],
)
def test_sampling_is_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)


def test_a_request_is_for_at_least_one_completion() -> None:
    with pytest.raises(ValueError, match=r"n \(the number of completions\) must be >= 1, got 0"):
        Request("q", n=0)
    with pytest.raises(
        ValueError, match=r"first \(the number of the first completion\) must be >= 0, got -1"
    ):
        Request("q", first=-1)


class _Echo(Generator):
    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        self.seen = requests, sampling
        (request,) = requests
        if request.prompt == "fail":
            return [GenerationError("no")]
        return [[Completion(request.prefix, 1)] * request.n]


@pytest.mark.parametrize(("image", "images"), [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b"))])
def test_complete_is_complete_all_of_one(image: Any, images: tuple[str, ...]) -> None:
    generator = _Echo()
    completions = generator.complete(
        "q", image, prefix="p", n=2, temperature=0.5, max_tokens=7, stop=["s"], seed=3
    )
    assert completions == [Completion("p", 1)] * 2
    assert generator.seen == ([Request("q", images, "p", 2, 3)], Sampling(0.5, 7, ("s",)))
    with pytest.raises(GenerationError, match="^no$"):
        generator.complete("fail")
