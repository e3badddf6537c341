"""GeoQA+: geometry problems with four options and a diagram."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.formats.questions.geo_problems import GeoProblems


@dataclass(frozen=True)
class GeoQAPlus(GeoProblems):
    """GeoQA+ (Cao and Xiao, COLING 2022) and GeoQA (Chen et al., Findings of ACL 2021, arXiv 2105.14517).

    Read are the release's pickles (`train.pk`, `Mix-train.pk`, `new-test.pk`, ...): a list of problems with
    `id`, `subject` (the question, in Chinese), `choices`, `choice_nums`, `label` (the right one's index),
    `image` (an array of grey values), beside `answer` (the solution), `manual_program` and others. The
    fields are those that the projects' own readers use; that every problem has the texts in `choices` was
    not verified, and `choice_nums` are taken where it lacks them. A pickle is read as plain data only, see
    `load_plain_pickle`. Tables (JSON, parquet) with the same fields are read as well.

    Diagrams are written to `image_folder` as PNG files.

    Attributes:
        text: the field with the question; `English_problem` where a translation was added.
        split: of a folder with several splits, which.
    """

    name = "GeoQA+"
    prefix = "geoqa"
    help = "GeoQA and GeoQA+: the release's pickles (read as plain data only), or a table with their fields"
