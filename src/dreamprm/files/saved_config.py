"""A configuration as a file beside the results it led to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamprm.config.loading import config_yaml
from dreamprm.files.atomic import write_atomically


def save_config(path: str | os.PathLike[str], config: Any, *, extra: Mapping[str, str] | None = None) -> None:
    """Write `config_yaml` of the configuration; the file appears whole or not at all."""
    write_atomically(Path(path), config_yaml(config, extra=extra))
