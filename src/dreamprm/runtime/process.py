"""What a command knows of its own process before it starts, and the settings it makes for it."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launched:
    """This process among those that a launcher started for one command."""

    rank: int
    count: int


def launched_processes() -> Launched:
    """What torchrun, accelerate launch and their like have told this process; without one, it is alone."""
    try:
        return Launched(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    except (KeyError, ValueError):
        return Launched(0, 1)


def prepare_process(threads: int | None) -> None:
    """Set the number of CPU threads, flush denormal numbers to zero, and turn off the libraries' own bars.

    Args:
        threads: the number of torch threads; None keeps torch's own choice.
    """
    import torch
    import transformers

    # Second moments of tiny gradients become denormal and slow a CPU down several-fold; setting them to zero
    # changes nothing.
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
