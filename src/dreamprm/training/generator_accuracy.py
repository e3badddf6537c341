"""How hard each training domain is for the generator that its chains of thought come from."""

from __future__ import annotations

from collections.abc import Iterable

from dreamprm.data.records import StepRecord


def generator_accuracy(records: Iterable[StepRecord]) -> dict[str, float]:
    """The share of completions that end right, by domain: the mean over its CoTs of the first known label.

    A CoT's first labelled step stands at (or next to) the question, and over CoTs that were sampled, not
    chosen, E[p_1] = E[p_0]: the mean is the generator's accuracy on the domain's questions. It is that of the
    labels as they are: a wrong answer key lowers it like a hard question, and CoTs that were chosen by their
    outcome shift it.

    Args:
        records: step records; those without a single label do not count.
    Returns:
        accuracy in [0, 1] by domain, in order of first appearance; a domain without labels is absent.
    """
    total: dict[str, float] = {}
    count: dict[str, int] = {}
    for record in records:
        first = next((label for label in record.labels if label is not None), None)
        if first is not None:
            total[record.domain] = total.get(record.domain, 0.0) + first
            count[record.domain] = count.get(record.domain, 0) + 1
    return {domain: total[domain] / count[domain] for domain in total}
