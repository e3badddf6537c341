"""The experiments are modules of the repository, not of the package: its root goes on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
