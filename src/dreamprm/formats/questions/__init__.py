"""Questions of published datasets: one file a dataset, found by name in `QUESTION_FORMATS`."""

from __future__ import annotations

from dreamprm.formats.format import Format
from dreamprm.formats.questions.ai2d import AI2D
from dreamprm.formats.questions.aokvqa import AOKVQA
from dreamprm.formats.questions.chartqa import ChartQA
from dreamprm.formats.questions.clevr_math import CLEVRMath
from dreamprm.formats.questions.dvqa import DVQA
from dreamprm.formats.questions.field_map import FieldMap
from dreamprm.formats.questions.figureqa import FigureQA
from dreamprm.formats.questions.geometry3k import Geometry3K
from dreamprm.formats.questions.geoqa_plus import GeoQAPlus
from dreamprm.formats.questions.geos import GEOS
from dreamprm.formats.questions.iconqa import IconQA
from dreamprm.formats.questions.layout import question_format
from dreamprm.formats.questions.m3cot import M3CoT
from dreamprm.formats.questions.mmmu import MMMU
from dreamprm.formats.questions.plotqa import PlotQA
from dreamprm.formats.questions.scienceqa import ScienceQA
from dreamprm.formats.questions.super_clevr import SuperCLEVR
from dreamprm.formats.questions.tabmwp import TabMWP
from dreamprm.formats.questions.unigeo import UniGeo

QUESTION_FORMATS: dict[str, Format] = {
    "table": question_format(FieldMap),
    "ai2d": question_format(AI2D),
    "scienceqa": question_format(ScienceQA),
    "m3cot": question_format(M3CoT),
    "chartqa": question_format(ChartQA),
    "dvqa": question_format(DVQA),
    "figureqa": question_format(FigureQA),
    "plotqa": question_format(PlotQA),
    "geoqa_plus": question_format(GeoQAPlus),
    "geometry3k": question_format(Geometry3K),
    "unigeo": question_format(UniGeo),
    "geos": question_format(GEOS),
    "clevr_math": question_format(CLEVRMath),
    "super_clevr": question_format(SuperCLEVR),
    "iconqa": question_format(IconQA),
    "aokvqa": question_format(AOKVQA),
    "tabmwp": question_format(TabMWP),
    "mmmu": question_format(MMMU),
}
"""The formats by name; a new one is one file and one line here."""
