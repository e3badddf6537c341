"""The foreign formats by name; a new one is one file, one import and one line here."""

from __future__ import annotations

from dreamprm.formats.format import Format
from dreamprm.formats.questions import QUESTION_FORMATS
from dreamprm.formats.records import (
    bigbench_mistake,
    dreamprm15,
    mathv,
    mr_ben,
    processbench,
    trl,
    visualprm,
    vlmevalkit,
)

FORMATS: dict[str, Format] = {
    "processbench": Format("step", processbench.read, processbench.HELP, processbench.write),
    "mr_ben": Format("step", mr_ben.read, mr_ben.HELP, mr_ben.write),
    "bigbench_mistake": Format("step", bigbench_mistake.read, bigbench_mistake.HELP, bigbench_mistake.write),
    "visualprm": Format("step", visualprm.read, visualprm.HELP, visualprm.write),
    "trl": Format("step", trl.read, trl.HELP, trl.write),
    "dreamprm15": Format("meta", dreamprm15.read, dreamprm15.HELP, dreamprm15.write),
    "mathv": Format("candidate", mathv.read, mathv.HELP, mathv.write),
    "vlmevalkit": Format("candidate", vlmevalkit.read, vlmevalkit.HELP, vlmevalkit.write),
    **QUESTION_FORMATS,
}
