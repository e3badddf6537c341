"""The sections of a report: each a function of the whole Report that yields those that apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section
from dreamprm.reporting.sections import (
    choices,
    examples,
    methods,
    overview,
    provenance,
    run,
    selectors,
    steps,
    weights,
)

SECTIONS: tuple[Callable[[Report], Iterator[Section]], ...] = (
    run.verdict,
    methods.sections,
    selectors.over_n,
    selectors.differences,
    choices.sections,
    overview.sections,
    run.accuracy,
    weights.sections,
    steps.sections,
    examples.sections,
    run.training,
    provenance.sections,
)
"""In the order of the page."""


def sections_of(report: Report) -> list[Section]:
    """All that a report shows, in the order of the page.

    Raises: ValueError where two sections have one anchor.
    """
    found = [section for sections in SECTIONS for section in sections(report)]
    anchors = [section.anchor for section in found]
    repeated = sorted({anchor for anchor in anchors if anchors.count(anchor) > 1})
    if repeated:
        raise ValueError(f"sections must have anchors of their own; repeated: {', '.join(repeated)}")
    return found
