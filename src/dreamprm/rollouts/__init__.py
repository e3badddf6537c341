"""Monte-Carlo labels of steps: how often is a generator right in the end, from each prefix of a chain?"""

from dreamprm.rollouts.base import Ask, LabelMethod, Plan, StepLabel, Tally
from dreamprm.rollouts.drive import run_plan
from dreamprm.rollouts.monte_carlo import monte_carlo_labels
from dreamprm.rollouts.registry import METHODS, build_method, method_settings

__all__ = [
    "METHODS",
    "Ask",
    "LabelMethod",
    "Plan",
    "StepLabel",
    "Tally",
    "build_method",
    "method_settings",
    "monte_carlo_labels",
    "run_plan",
]
