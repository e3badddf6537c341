"""Monte-Carlo labels of steps: how often is a generator right in the end, from each prefix of a chain?"""

from dreamprm.rollouts.base import Ask, LabelMethod, Plan, StepLabel, Tally
from dreamprm.rollouts.monte_carlo import monte_carlo_labels

__all__ = ["Ask", "LabelMethod", "Plan", "StepLabel", "Tally", "monte_carlo_labels"]
