"""Hypergradients of bilevel problems through windows of inner optimizer steps.

Usable without the rest of dreamprm.
"""

from dreamprm.hypergrad.adam import Adam
from dreamprm.hypergrad.adamw import AdamW, AdamWState
from dreamprm.hypergrad.adjoint import Adjoint
from dreamprm.hypergrad.audit import Audit, AuditResult
from dreamprm.hypergrad.base import Estimator, Status, WindowResult, WindowTask
from dreamprm.hypergrad.cg import ConjugateGradient
from dreamprm.hypergrad.derivatives import (
    DERIVATIVES,
    CentralDifference,
    Derivative,
    Difference,
    DoubleBackward,
    ForwardDifference,
    ForwardMode,
)
from dreamprm.hypergrad.finite_difference import FiniteDifference
from dreamprm.hypergrad.first_order import FirstOrder
from dreamprm.hypergrad.forward_gradient import ForwardGradient
from dreamprm.hypergrad.gradients import gradient_list, gradients, leaves
from dreamprm.hypergrad.implicit import SOLVERS, Implicit
from dreamprm.hypergrad.inner_optimizer import (
    Cotangents,
    InnerOptimizer,
    Moments,
    OptimizerState,
    StepContext,
    TensorStep,
)
from dreamprm.hypergrad.linear_solver import LinearSolver, Solution
from dreamprm.hypergrad.lion import Lion
from dreamprm.hypergrad.long_windows import LongWindow
from dreamprm.hypergrad.micro_batches import Part
from dreamprm.hypergrad.muon import Muon
from dreamprm.hypergrad.neumann import NeumannSeries
from dreamprm.hypergrad.none import NoHypergradient
from dreamprm.hypergrad.penalty import Penalty
from dreamprm.hypergrad.plain_steps import plain_steps
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.registry import (
    ESTIMATORS,
    build_estimator,
    estimator_settings,
    register_estimator,
    register_solver,
)
from dreamprm.hypergrad.settings import check_settings, setting
from dreamprm.hypergrad.sgd import SGD
from dreamprm.hypergrad.sharding import Sharding, Together
from dreamprm.hypergrad.torch_optim import from_torch, to_torch
from dreamprm.hypergrad.unrolled import Unrolled

__all__ = [
    "DERIVATIVES",
    "ESTIMATORS",
    "SOLVERS",
    "SGD",
    "Adam",
    "AdamW",
    "AdamWState",
    "Adjoint",
    "Audit",
    "AuditResult",
    "BilevelProblem",
    "CentralDifference",
    "ConjugateGradient",
    "Cotangents",
    "Derivative",
    "Difference",
    "DoubleBackward",
    "Estimator",
    "FiniteDifference",
    "FirstOrder",
    "ForwardDifference",
    "ForwardGradient",
    "ForwardMode",
    "Implicit",
    "InnerOptimizer",
    "LinearSolver",
    "LongWindow",
    "Lion",
    "Moments",
    "Muon",
    "NeumannSeries",
    "NoHypergradient",
    "Part",
    "Penalty",
    "OptimizerState",
    "Sharding",
    "Status",
    "StepContext",
    "TensorStep",
    "Together",
    "Unrolled",
    "WindowResult",
    "Solution",
    "WindowTask",
    "build_estimator",
    "check_settings",
    "estimator_settings",
    "gradient_list",
    "gradients",
    "leaves",
    "plain_steps",
    "register_estimator",
    "register_solver",
    "setting",
    "from_torch",
    "to_torch",
]
