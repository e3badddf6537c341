"""The process reward model, its processor and the domain weights.

Importing this package imports neither torch nor transformers: its names are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamprm.models.encoding import EncodedCoT, EncodedRow
    from dreamprm.models.prm import PRM
    from dreamprm.models.processing import PRMProcessor, ProcessorSettings
    from dreamprm.models.weights import DOMAIN_WEIGHTS, DomainWeights

__all__ = [
    "DOMAIN_WEIGHTS",
    "PRM",
    "DomainWeights",
    "EncodedCoT",
    "EncodedRow",
    "PRMProcessor",
    "ProcessorSettings",
]

_HOMES = {
    "DOMAIN_WEIGHTS": "weights",
    "PRM": "prm",
    "DomainWeights": "weights",
    "EncodedCoT": "encoding",
    "EncodedRow": "encoding",
    "PRMProcessor": "processing",
    "ProcessorSettings": "processing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
