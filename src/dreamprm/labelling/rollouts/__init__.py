"""Monte-Carlo step labels: how often does a generator reach a right answer from each prefix of a chain?"""

from dreamprm.labelling.rollouts.base import Ask, LabelMethod, Plan, StepLabel, Tally, run_plan
from dreamprm.labelling.rollouts.registry import METHODS, build_method, method_settings

__all__ = [
    "METHODS",
    "Ask",
    "LabelMethod",
    "Plan",
    "StepLabel",
    "Tally",
    "build_method",
    "method_settings",
    "run_plan",
]
