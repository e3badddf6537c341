"""Domain-reweighted process reward models by bi-level optimisation (DreamPRM, arXiv 2505.20241)."""

__version__ = "0.2.0"
