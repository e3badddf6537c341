"""The scripts under experiments/, which are no package, as modules."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


def load_script(name: str) -> ModuleType:
    """experiments/NAME.py, imported and not run; it finds the modules beside it, as when it is run.

    Args:
        name: of the script, after its folder's and a slash if it is in one.
    """
    path = EXPERIMENTS / name
    sys.path.insert(0, str(path.parent))
    try:
        return importlib.import_module(path.name)
    finally:
        sys.path.remove(str(path.parent))
