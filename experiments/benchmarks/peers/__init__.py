"""Other libraries' hypergradients of the same window, each in an adapter of its own.

An adapter module has `prepare(workload, **settings) -> run`, where `run()` takes the window once and returns
alpha's gradient. It imports its library inside, so that a library that is not installed costs a row, not the
benchmark. Versions: requirements-peers.txt.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

from experiments.benchmarks.workload import Workload


@dataclass(frozen=True)
class Peer:
    """One way of one library, by the module that adapts it."""

    module: str
    model: str
    """The model variant: "sdpa" where first-order gradients are enough, else "eager"."""
    settings: dict[str, Any] = field(default_factory=dict)

    def prepare(self, workload: Workload) -> Callable[[], dict[str, Tensor]]:
        """The window, ready to run once.

        Raises:
            ImportError: the library is not installed.
        """
        adapter = importlib.import_module(f"experiments.benchmarks.peers.{self.module}")
        run: Callable[[], dict[str, Tensor]] = adapter.prepare(workload, **self.settings)
        return run


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        "TorchOpt unroll": Peer("torchopt_unroll", "eager"),
        "higher unroll": Peer("higher_adam", "eager"),
        "bergson": Peer("bergson_magic", "eager"),
        "bergson, 4 micro-batches": Peer("bergson_magic", "eager", {"micro_batches": 4}),
        "Betty darts": Peer("betty_engine", "sdpa", {"method": "darts"}),
        "Betty sama": Peer("betty_engine", "sdpa", {"method": "sama"}),
        "Betty neumann": Peer("betty_engine", "eager", {"method": "neumann"}),
        "Betty cg": Peer("betty_engine", "eager", {"method": "cg"}),
    }
)
