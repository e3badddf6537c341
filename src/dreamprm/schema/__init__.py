"""The schemas of the commands' configurations: every key, its default and its meaning, in one place.

Defaults are those of DreamPRM (arXiv 2505.20241) where the paper or its public code names a value.
"""

from dreamprm.schema.benchmark import BenchmarkConfig
from dreamprm.schema.convert import ConvertConfig
from dreamprm.schema.data import DataSettings, TrainFile
from dreamprm.schema.evaluate import EvaluateConfig
from dreamprm.schema.evaluate_steps import EvaluateStepsConfig
from dreamprm.schema.label import LabelConfig
from dreamprm.schema.levels import HypergradSettings, InnerSettings, UpperSettings, WeightSettings
from dreamprm.schema.model import ModelSettings
from dreamprm.schema.score import ScoreConfig
from dreamprm.schema.train import (
    AGGREGATIONS,
    META_LOSSES,
    CheckpointSettings,
    EvaluationSettings,
    LogSettings,
    TrainConfig,
)

__all__ = [
    "AGGREGATIONS",
    "META_LOSSES",
    "BenchmarkConfig",
    "CheckpointSettings",
    "ConvertConfig",
    "DataSettings",
    "EvaluateConfig",
    "EvaluateStepsConfig",
    "EvaluationSettings",
    "HypergradSettings",
    "InnerSettings",
    "LabelConfig",
    "LogSettings",
    "ModelSettings",
    "ScoreConfig",
    "TrainConfig",
    "TrainFile",
    "UpperSettings",
    "WeightSettings",
]
