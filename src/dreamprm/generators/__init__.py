"""Generators: whatever continues a chain of thought, behind one method."""

from dreamprm.generators.base import Completion, Generator

__all__ = ["Completion", "Generator"]
