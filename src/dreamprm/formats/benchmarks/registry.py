"""Benchmarks by name, and how to build one from its name and settings."""

from __future__ import annotations

from dreamprm.config.strategies import Registry
from dreamprm.formats.benchmarks.base import Benchmark

BENCHMARKS: Registry[Benchmark] = Registry(
    "benchmark",
    {
        "wemath": "dreamprm.formats.benchmarks.wemath:WeMath",
        "mathvista": "dreamprm.formats.benchmarks.mathvista:MathVista",
        "mathvision": "dreamprm.formats.benchmarks.mathvision:MathVision",
        "mmvet": "dreamprm.formats.benchmarks.mmvet:MMVet",
        "mmstar": "dreamprm.formats.benchmarks.mmstar:MMStar",
        "mmmu": "dreamprm.formats.benchmarks.mmmu:MMMU",
        "mmmu_pro": "dreamprm.formats.benchmarks.mmmu_pro:MMMUPro",
        "m3cot": "dreamprm.formats.benchmarks.m3cot:M3CoTBenchmark",
        "mathverse": "dreamprm.formats.benchmarks.mathverse:MathVerse",
        "dynamath": "dreamprm.formats.benchmarks.dynamath:DynaMath",
    },
)
"""Benchmarks by name; each class is a frozen dataclass whose fields are its settings."""

build_benchmark = BENCHMARKS.build
"""`build_benchmark(name, **settings)`: build the benchmark with this name (`Registry.build`)."""

benchmark_settings = BENCHMARKS.settings
"""`benchmark_settings(name)`: the settings of a benchmark with their defaults."""
