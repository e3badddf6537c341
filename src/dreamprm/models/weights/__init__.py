"""The weights of the inner losses, learned by the upper level: one per domain, one per CoT, or a network;
or labels that it corrects."""

from dreamprm.models.weights.base import Weights
from dreamprm.models.weights.domain import DOMAIN_WEIGHTS, DomainWeights
from dreamprm.models.weights.instance_net import InstanceNet
from dreamprm.models.weights.instance_table import INSTANCE_WEIGHTS, InstanceTable
from dreamprm.models.weights.label_corrections import CORRECTIONS, LabelCorrections

__all__ = [
    "CORRECTIONS",
    "DOMAIN_WEIGHTS",
    "INSTANCE_WEIGHTS",
    "DomainWeights",
    "InstanceNet",
    "InstanceTable",
    "LabelCorrections",
    "Weights",
]
