"""The sections of a report: each function takes the whole Report and yields the sections that apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section
from dreamprm.reporting.sections import (
    choices,
    examples,
    labels,
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
    labels.sections,
    steps.sections,
    examples.sections,
    run.training,
    provenance.sections,
)
"""In page order."""


def sections_of(report: Report) -> list[Section]:
    """All sections of a report, in page order.

    Raises: ValueError if two sections have the same anchor.
    """
    found = [section for sections in SECTIONS for section in sections(report)]
    anchors = [section.anchor for section in found]
    repeated = sorted({anchor for anchor in anchors if anchors.count(anchor) > 1})
    if repeated:
        raise ValueError(f"each section needs its own anchor; repeated: {', '.join(repeated)}")
    return found
