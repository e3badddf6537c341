"""`dreamprm plan`: the settings of a training, and what it would run on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dreamprm.config.schema import setting
from dreamprm.training.settings import TrainConfig

UNITS = {
    **{name: 1000**power for power, name in enumerate(("B", "kB", "MB", "GB", "TB"))},
    **{name: 1024**power for power, name in enumerate(("KiB", "MiB", "GiB", "TiB"), start=1)},
}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


@dataclass
class PlanConfig(TrainConfig):
    """What a training would take: memory of each process, and time."""

    memory: str | None = setting(
        None,
        "what each process has, such as 80GiB, 24GB or 500MiB; null: what is free on this machine's device. "
        "Given on a machine without a GPU, it is that of a GPU elsewhere, of which no seconds are claimed",
    )
    gpus: int = setting(1, "processes that train together, each with a device of its own", minimum=1)
    json: str | None = setting(None, "file to write the figures to as well, in bytes and seconds")

    def check(self) -> None:
        """Refuse what is no size, then what training would refuse."""
        if self.memory is not None:
            size_of(self.memory)
        super().check()


def size_of(text: str) -> int:
    """The bytes that a text such as 80GiB means.

    Raises:
        ValueError: it is no positive number with a unit.
    """
    found = _SIZE.fullmatch(text)
    units = {name.lower(): size for name, size in UNITS.items()}
    if found is None or found[2].lower() not in units or not float(found[1]):
        raise ValueError(f"memory must be a size with its unit, such as 80GiB, 24GB or 500MiB, got {text!r}")
    return int(float(found[1]) * units[found[2].lower()])


def size_text(size: float) -> str:
    """Bytes in the unit that leaves three digits or more: 43.1 GiB, 512 MiB."""
    for unit in ("GiB", "MiB", "KiB"):
        value = size / UNITS[unit]
        if value >= 1.0:
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{size:.0f} B"
