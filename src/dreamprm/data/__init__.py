"""Records of the pipeline's files: readers, tables, samplers, the shortcut audit.

Importing this package imports neither torch nor transformers; batches for the model are in
`dreamprm.models.collation`, converters of other projects' files in `dreamprm.formats.convert`.
"""

from dreamprm.data.question_reader import read_question_records
from dreamprm.data.read_report import ReadReport
from dreamprm.data.readers import read_candidate_records, read_meta_records, read_step_records, require_steps
from dreamprm.data.record_table import RecordTable, write_records
from dreamprm.data.records import Candidate, CandidateRecord, MetaRecord, QuestionRecord, StepRecord
from dreamprm.data.sampling import DomainSampler, EpochSampler
from dreamprm.data.shortcut_audit import ShortcutAudit, audit_shortcuts, require_both_classes

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
