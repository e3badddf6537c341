"""UniGeo: the calculation problems of a geometry benchmark, in English."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.questions.geo_problems import GeoProblems


@dataclass(frozen=True)
class UniGeo(GeoProblems):
    """UniGeo (Chen et al., EMNLP 2022, arXiv 2212.02746).

    Read are the release's `calculation_train.pk`, `calculation_val.pk`, `calculation_test.pk`: pickled lists
    with GeoQA's fields (see `GeoQAPlus`) and `English_problem`, the question in English. Tables (JSON,
    parquet) with the same fields are read as well.

    The proving problems (`proving_*.pk`: `input_text`, `proving_sequence`) ask for a proof, which no checker
    of final answers can judge: they are left out and counted.

    Attributes:
        text: the field with the question; `subject` is the Chinese one.
        split: of a folder with several splits, which.
    """

    name = "UniGeo"
    prefix = "unigeo"
    help = "UniGeo: the release's calculation_SPLIT.pk (read as plain data only), or a table with its fields"

    text: str = "English_problem"

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        if "proving_sequence" in row.values:
            raise NotChosen("a proof, which has no final answer")
        return super().record(row, images)
