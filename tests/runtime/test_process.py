"""What a command sets for its process, seen from a process of its own: the settings are global."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import torch, transformers
from dreamprm.runtime.process import prepare_process
before = torch.get_num_threads()
prepare_process(None)
print(torch.get_num_threads() == before)
prepare_process(3)
print(torch.get_num_threads())
print(float(torch.tensor([1e-30]) * torch.tensor([1e-10])))  # 1e-40, a denormal number
print(transformers.utils.logging.is_progress_bar_enabled())
"""


def test_threads_denormal_numbers_and_the_libraries_bars() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "3", "0.0", "False"]
