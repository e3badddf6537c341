"""Process-wide settings that a command makes before it starts."""

from __future__ import annotations

import torch
import transformers


def prepare_process(threads: int | None) -> None:
    """Set the number of CPU threads, flush denormal numbers to zero, and turn off the libraries' own bars.

    Args:
        threads: the number of torch threads; None keeps torch's own choice.
    """
    # Second moments of tiny gradients become denormal and slow a CPU down several-fold; setting them to zero
    # changes nothing.
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
