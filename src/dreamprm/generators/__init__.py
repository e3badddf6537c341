"""Generators, which continue chains of thought, behind one method; one file per backend."""

from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.generators.registry import GENERATORS, SERVING, build_generator, generator_settings

__all__ = [
    "GENERATORS",
    "SERVING",
    "Completion",
    "GenerationError",
    "Generator",
    "Request",
    "Sampling",
    "build_generator",
    "generator_settings",
]
