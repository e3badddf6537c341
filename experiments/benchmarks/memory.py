"""Peak memory of a piece of work above what was in use before, on a CPU (Linux) or a CUDA device."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MIB = 2**20
# For processes that measure memory on a CPU: otherwise glibc raises the size above which it asks the kernel
# for a separate mapping, and keeps freed tensors in its heap, where later ones may or may not fit.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def extra_peak(work: Callable[[], Any], *, device: str = "cpu") -> float:
    """MiB that `work` needed at its peak above what was in use when it began.

    On a CPU this is all resident memory: tensors, the kernels' scratch space, Python. The kernel's high-water
    mark is reset first (/proc/self/clear_refs) and read afterwards; start the process with `ALLOCATOR` in its
    environment and run the same kind of work once before, so that freed memory is returned immediately and
    what libraries allocate on first use is not counted. On CUDA it is the caching allocator's peak.

    Raises:
        OSError: on a CPU without Linux's /proc/self/clear_refs.
    """
    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    before = resident()
    work()
    return peak() - before


def resident() -> float:
    """MiB of this process that are in memory; `peak` counts from now on."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") / MIB


def peak() -> float:
    """The largest `resident` since it was last asked for."""
    return _status("VmHWM") / MIB


def available() -> int:
    """Bytes that this machine can still hand out without swapping."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def limit(data_bytes: int) -> None:
    """Let an allocation past this many bytes fail in this process, before the kernel picks one to kill."""
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, resource.RLIM_INFINITY))


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")
