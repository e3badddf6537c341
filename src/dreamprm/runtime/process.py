"""What a command sets for its whole process before it starts."""

from __future__ import annotations

import torch
import transformers


def prepare_process(threads: int | None) -> None:
    """Set the number of CPU threads, flush denormal numbers to zero, and quiet the libraries' own bars.

    Args:
        threads: torch's threads; None leaves torch's own choice.
    """
    # Second moments of tiny gradients become denormal and slow a CPU several-fold; as zeros they change
    # nothing.
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
