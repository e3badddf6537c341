"""Records of the pipeline's files: readers, tables, samplers, the shortcut audit.

Importing this package imports neither torch nor transformers; batches for the model are in
`dreamprm.data.collate`, converters of other projects' files in `dreamprm.data.convert`.
"""

from dreamprm.data.audit import ShortcutAudit, audit_shortcuts, require_both_classes
from dreamprm.data.files import RecordTable, write_records
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.read_report import ReadReport
from dreamprm.data.readers import (
    read_candidate_records,
    read_meta_records,
    read_step_records,
    require_steps,
)
from dreamprm.data.records import Candidate, CandidateRecord, MetaRecord, QuestionRecord, StepRecord
from dreamprm.data.sampling import DomainSampler, EpochSampler

__all__ = [
    "Candidate",
    "CandidateRecord",
    "DomainSampler",
    "EpochSampler",
    "MetaRecord",
    "QuestionRecord",
    "ReadReport",
    "RecordTable",
    "ShortcutAudit",
    "StepRecord",
    "audit_shortcuts",
    "read_candidate_records",
    "read_meta_records",
    "read_question_records",
    "read_step_records",
    "require_both_classes",
    "require_steps",
    "write_records",
]
