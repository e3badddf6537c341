"""The foreign formats by name; adding one takes one file, one import and one line here."""

from __future__ import annotations

from dreamprm.formats.format import Format
from dreamprm.formats.questions.ai2d import AI2D
from dreamprm.formats.questions.aokvqa import AOKVQA
from dreamprm.formats.questions.chartqa import ChartQA
from dreamprm.formats.questions.clevr import CLEVRMath, SuperCLEVR
from dreamprm.formats.questions.dvqa import DVQA
from dreamprm.formats.questions.field_map import FieldMap
from dreamprm.formats.questions.figureqa import FigureQA
from dreamprm.formats.questions.geometry3k import Geometry3K
from dreamprm.formats.questions.geoqa import GeoQAPlus, UniGeo
from dreamprm.formats.questions.geos import GEOS
from dreamprm.formats.questions.iconqa import IconQA
from dreamprm.formats.questions.m3cot import M3CoT
from dreamprm.formats.questions.mmmu import MMMU
from dreamprm.formats.questions.plotqa import PlotQA
from dreamprm.formats.questions.scienceqa import ScienceQA
from dreamprm.formats.questions.tabmwp import TabMWP
from dreamprm.formats.records.bigbench_mistake import BigBenchMistake, BigBenchMistakeWriter
from dreamprm.formats.records.dreamprm15 import DreamPRM15, DreamPRM15Writer
from dreamprm.formats.records.math_shepherd import MathShepherd, MathShepherdWriter
from dreamprm.formats.records.mathv import MathV, MathVWriter
from dreamprm.formats.records.mr_ben import MRBen, MRBenWriter
from dreamprm.formats.records.own_steps import OwnSteps, StepsToMeta
from dreamprm.formats.records.prm800k import PRM800K, PRM800KWriter
from dreamprm.formats.records.prmbench import PRMBench, PRMBenchWriter
from dreamprm.formats.records.processbench import ProcessBench, ProcessBenchWriter
from dreamprm.formats.records.separated import Separated, SeparatedWriter
from dreamprm.formats.records.trl import TRL, TRLWriter
from dreamprm.formats.records.ursa import URSA, URSAWriter
from dreamprm.formats.records.visualprm import VisualPRM, VisualPRMWriter
from dreamprm.formats.records.visualprocessbench import VisualProcessBench, VisualProcessBenchWriter
from dreamprm.formats.records.vlmevalkit import VLMEvalKit, VLMEvalKitWriter

FORMATS: dict[str, Format] = {
    "processbench": Format(ProcessBench, ProcessBenchWriter),
    "mr_ben": Format(MRBen, MRBenWriter),
    "bigbench_mistake": Format(BigBenchMistake, BigBenchMistakeWriter),
    "visualprm": Format(VisualPRM, VisualPRMWriter),
    "trl": Format(TRL, TRLWriter),
    "math_shepherd": Format(MathShepherd, MathShepherdWriter),
    "separated": Format(Separated, SeparatedWriter),
    "prm800k": Format(PRM800K, PRM800KWriter),
    "ursa": Format(URSA, URSAWriter),
    "visualprocessbench": Format(VisualProcessBench, VisualProcessBenchWriter),
    "prmbench": Format(PRMBench, PRMBenchWriter),
    "dreamprm15": Format(DreamPRM15, DreamPRM15Writer),
    "mathv": Format(MathV, MathVWriter),
    "vlmevalkit": Format(VLMEvalKit, VLMEvalKitWriter),
    "steps": Format(OwnSteps),
    "steps_to_meta": Format(StepsToMeta),
    "table": Format(FieldMap),
    "ai2d": Format(AI2D),
    "scienceqa": Format(ScienceQA),
    "m3cot": Format(M3CoT),
    "chartqa": Format(ChartQA),
    "dvqa": Format(DVQA),
    "figureqa": Format(FigureQA),
    "plotqa": Format(PlotQA),
    "geoqa_plus": Format(GeoQAPlus),
    "geometry3k": Format(Geometry3K),
    "unigeo": Format(UniGeo),
    "geos": Format(GEOS),
    "clevr_math": Format(CLEVRMath),
    "super_clevr": Format(SuperCLEVR),
    "iconqa": Format(IconQA),
    "aokvqa": Format(AOKVQA),
    "tabmwp": Format(TabMWP),
    "mmmu": Format(MMMU),
}
