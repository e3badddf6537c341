"""Search methods by name, and how to build one from a name and its settings."""

from __future__ import annotations

from dreamprm.config.strategies import Registry
from dreamprm.search.methods.base import SearchMethod

METHODS: Registry[SearchMethod] = Registry(
    "search method",
    {
        "best_of_n": "dreamprm.search.methods.best_of_n:BestOfN",
        "beam": "dreamprm.search.methods.beam:Beam",
        "dvts": "dreamprm.search.methods.dvts:DiverseTrees",
        "mcts": "dreamprm.search.methods.mcts:TreeSearch",
    },
)
"""Methods by name; each class is a frozen dataclass whose fields are its settings."""

build_method = METHODS.build
"""`build_method(name, **settings)`: the search method of this name; all settings have defaults."""

method_settings = METHODS.settings
"""`method_settings(name)`: a search method's settings with their defaults."""
