"""The tokens of each choice of a chat request, of which servers report the sum."""

from __future__ import annotations

from collections.abc import Sequence

from dreamprm.generators.openai_client import Answer

BYTES_PER_TOKEN = 4
"""Of English text in the vocabularies of today's models, roughly; used where a server reports no tokens."""


def tokens_by_choice(answer: Answer) -> list[int]:
    """Each choice's tokens: the server's sum, divided in proportion to the lengths of the texts in bytes.

    Exact for one choice; for several the sum is. An answer without a sum gets a token for each
    `BYTES_PER_TOKEN` bytes begun.
    """
    sizes = [len(choice.text.encode()) for choice in answer.choices]
    if answer.completion_tokens is None:
        return [-(-size // BYTES_PER_TOKEN) for size in sizes]
    return shares(answer.completion_tokens, sizes)


def shares(total: int, sizes: Sequence[int]) -> list[int]:
    """Whole numbers that add up to `total`, in proportion to `sizes` (by largest remainder).

    Args:
        total: >= 0.
        sizes: each >= 0, at least one of them; where all are 0 the shares are equal.
    """
    weights = list(sizes) if any(sizes) else [1] * len(sizes)
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts
