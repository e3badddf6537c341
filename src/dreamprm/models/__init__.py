"""The process reward model, its processor and the domain weights."""

from dreamprm.models.encoding import EncodedCoT, EncodedRow
from dreamprm.models.prm import HEADS, PRM
from dreamprm.models.processing import READOUTS, PRMProcessor, ProcessorSettings
from dreamprm.models.weights import DOMAIN_WEIGHTS, NORMALISATIONS, DomainWeights

__all__ = [
    "DOMAIN_WEIGHTS",
    "HEADS",
    "NORMALISATIONS",
    "PRM",
    "READOUTS",
    "DomainWeights",
    "EncodedCoT",
    "EncodedRow",
    "PRMProcessor",
    "ProcessorSettings",
]
