"""Benchmarks by name, and from a name with settings to the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.benchmarks.benchmark import Benchmark
from dreamprm.registry import build, listing, strategy_settings

BENCHMARKS: Mapping[str, str] = MappingProxyType(
    {
        "wemath": "dreamprm.benchmarks.wemath:WeMath",
        "mathvista": "dreamprm.benchmarks.mathvista:MathVista",
        "mathvision": "dreamprm.benchmarks.mathvision:MathVision",
        "mmvet": "dreamprm.benchmarks.mmvet:MMVet",
        "mmstar": "dreamprm.benchmarks.mmstar:MMStar",
        "mmmu": "dreamprm.benchmarks.mmmu:MMMU",
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
