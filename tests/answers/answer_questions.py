"""Question records for the tests of checkers."""

from dreamprm.data.records import QuestionRecord


def question(
    answer: str,
    *,
    options: tuple[str, ...] = (),
    answer_type: str | None = None,
    precision: int | None = None,
    unit: str | None = None,
) -> QuestionRecord:
    return QuestionRecord(
        question="What is shown?",
        images=(),
        answer=answer,
        options=options,
        domain="test",
        answer_type=answer_type,
        precision=precision,
        unit=unit,
        id="q1",
    )
