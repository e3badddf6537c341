"""Benchmarks by name, and from a name with settings to the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.config.strategies import build, listing, strategy_settings
from dreamprm.formats.benchmarks.benchmark import Benchmark

BENCHMARKS: Mapping[str, str] = MappingProxyType(
    {
        "wemath": "dreamprm.formats.benchmarks.wemath:WeMath",
        "mathvista": "dreamprm.formats.benchmarks.mathvista:MathVista",
        "mathvision": "dreamprm.formats.benchmarks.mathvision:MathVision",
        "mmvet": "dreamprm.formats.benchmarks.mmvet:MMVet",
        "mmstar": "dreamprm.formats.benchmarks.mmstar:MMStar",
        "mmmu": "dreamprm.formats.benchmarks.mmmu:MMMU",
    }
)
"""`module:class` by name; each class is a frozen dataclass whose fields are its settings."""


def build_benchmark(name: str, **settings: Any) -> Benchmark:
    """The benchmark of this name (a key of `BENCHMARKS`) with its settings.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), or a value that it refuses.
    """
    benchmark: Benchmark = build("benchmark", name, BENCHMARKS, settings)
    return benchmark


def benchmark_settings(name: str) -> dict[str, Any]:
    """The settings of a benchmark with their defaults.

    Raises:
        UserError: an unknown name.
    """
    return strategy_settings("benchmark", name, BENCHMARKS)


def benchmark_listing() -> str:
    """Every benchmark with its settings and defaults, a line each, for `--help`."""
    return listing(BENCHMARKS, benchmark_settings)
