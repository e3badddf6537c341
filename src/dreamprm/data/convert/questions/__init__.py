"""Questions of published datasets: one file a dataset, found by name in `QUESTION_FORMATS`."""

from __future__ import annotations

from dreamprm.data.convert.field_map import FieldMap
from dreamprm.data.convert.format import Format
from dreamprm.data.convert.question_layout import question_format
from dreamprm.data.convert.questions.ai2d import AI2D
from dreamprm.data.convert.questions.aokvqa import AOKVQA
from dreamprm.data.convert.questions.chartqa import ChartQA
from dreamprm.data.convert.questions.clevr_math import CLEVRMath
from dreamprm.data.convert.questions.dvqa import DVQA
from dreamprm.data.convert.questions.figureqa import FigureQA
from dreamprm.data.convert.questions.geometry3k import Geometry3K
from dreamprm.data.convert.questions.geoqa_plus import GeoQAPlus
from dreamprm.data.convert.questions.geos import GEOS
from dreamprm.data.convert.questions.iconqa import IconQA
from dreamprm.data.convert.questions.m3cot import M3CoT
from dreamprm.data.convert.questions.mmmu import MMMU
from dreamprm.data.convert.questions.plotqa import PlotQA
from dreamprm.data.convert.questions.scienceqa import ScienceQA
from dreamprm.data.convert.questions.super_clevr import SuperCLEVR
from dreamprm.data.convert.questions.tabmwp import TabMWP
from dreamprm.data.convert.questions.unigeo import UniGeo

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
