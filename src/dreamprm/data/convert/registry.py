"""The foreign formats by name; a new one is one file, one import and one line here."""

from __future__ import annotations

from dreamprm.data.convert import dreamprm15, processbench
from dreamprm.data.convert.format import Format

FORMATS: dict[str, Format] = {
    "processbench": Format("step", processbench.convert, processbench.HELP),
    "dreamprm15": Format("meta", dreamprm15.convert, dreamprm15.HELP),
}
