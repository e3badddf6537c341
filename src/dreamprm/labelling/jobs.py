"""The work for one question: which rollouts are needed next, and what results from them.

A job is a Python generator: it yields a round of `Want`s, is sent their rollouts in the same order, and
returns the question's result. It samples nothing and reads no files, so that an interrupted job can be
replayed from the journal and reaches the same point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator as PythonGenerator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dreamprm.answers.base import Verdict
from dreamprm.data.records import Candidate, QuestionRecord
from dreamprm.generators.prompting import PROMPTS, expected_steps
from dreamprm.labelling.journal import Key, Rollout
from dreamprm.labelling.rollouts import Ask, LabelMethod, Plan, StepLabel, Tally
from dreamprm.responses import parse_response, split_steps


@dataclass(frozen=True)
class Chain:
    """A chain of thought.

    Attributes:
        text: the whole response.
        steps: the text of each step.
        ends: the positions in `text` where the steps end.
        final_answer: the answer that it states, or None.
        split: how it was split (`headings`, `paragraphs`, `sentences`, `whole`; `given`: it came in steps).
        malformed: what is wrong with its form; names from `dreamprm.responses.MALFORMED`.
        correct: whether its final answer is right; None if that is not known yet.
        reasoning: what the model thought before it, if the server keeps that apart; no part of any step.
    """

    text: str
    steps: tuple[str, ...]
    ends: tuple[int, ...]
    final_answer: str | None
    split: str
    malformed: tuple[str, ...] = ()
    correct: bool | None = None
    reasoning: str = ""

    def prefix(self, step: int) -> str:
        """The text up to the end of step `step` (1 is the first), without trailing white space."""
        return self.text[: self.ends[step - 1]].rstrip()


def sampled_chain(text: str, *, split: str, expected_steps: int | None, finished: bool) -> Chain:
    """The chain of a response sampled in this run."""
    response = parse_response(text, split=split, expected_steps=expected_steps, finished=finished)
    return Chain(
        text, response.steps, response.ends, response.final_answer, response.split, response.malformed
    )


def candidate_chain(candidate: Candidate, *, split: str, expected_steps: int | None) -> Chain:
    """The chain of a candidate record: its own steps if it has any, otherwise its text, split as specified.

    A reader splits a text without steps at its headings; such steps do not count as the record's own.
    """
    chain = sampled_chain(candidate.text, split=split, expected_steps=expected_steps, finished=True)
    if candidate.steps in ((), chain.steps, split_steps(candidate.text)):
        return replace(
            chain, final_answer=candidate.final_answer or chain.final_answer, correct=candidate.correct
        )
    text, ends = _located(candidate.text, candidate.steps)
    return Chain(text, candidate.steps, ends, candidate.final_answer, "given", (), candidate.correct)


def _located(text: str, steps: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The text and the ends of the steps in it; if the text does not consist of them, their concatenation."""
    ends: list[int] = []
    position = 0
    for step in steps:
        found = text.find(step.strip(), position)
        if found < 0:
            return _joined(steps)
        position = found + len(step.strip())
        ends.append(position)
    return text, tuple(ends)


def _joined(steps: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    text, ends = "", []
    for step in steps:
        text += ("\n\n" if text else "") + step.strip()
        ends.append(len(text))
    return text, tuple(ends)


@dataclass(frozen=True)
class Want:
    """Rollouts of one prefix.

    Attributes:
        keys: one for each rollout.
        prefix: the text that they continue; "" for a whole response.
        given: an existing response, which only has to be judged; it has a single key.
        correct: whether `given` is right, if its source says so; then it is not judged either.
    """

    keys: tuple[Key, ...]
    prefix: str = ""
    given: str | None = None
    correct: bool | None = None


@dataclass(frozen=True)
class LabelledChain:
    """A chain with a label for each of its steps; the last label says whether the chain itself is right.

    Attributes:
        chain: an empty chain has neither steps nor labels.
        labels: one per step.
        verdict: of the chain itself.
        number: the chain's index among those of its question.
        rollouts: number of rollouts spent on its prefixes, including those that do not count.
        tokens: number of tokens in these rollouts.
    """

    chain: Chain
    labels: tuple[StepLabel, ...]
    verdict: Verdict
    number: int
    rollouts: int
    tokens: int


SampleJob = PythonGenerator[Sequence[Want], Sequence[Sequence[Rollout]], list[tuple[Chain, Verdict]]]
LabelJob = PythonGenerator[Sequence[Want], Sequence[Sequence[Rollout]], list[LabelledChain]]


@dataclass(frozen=True)
class Instructions:
    """What all questions of a run have in common.

    Attributes:
        prompt: a name in `dreamprm.generators.prompting.PROMPTS`.
        split: how a response is split into steps.
        leave_out_undecided: whether an undecided rollout is left out; otherwise it counts as wrong.
    """

    prompt: str
    split: str
    leave_out_undecided: bool = False

    @property
    def expected_steps(self) -> int | None:
        """How many steps the prompt asks for; None if it asks for no particular number."""
        return expected_steps(self.prompt, self.split)

    def prompt_of(self, question: QuestionRecord) -> str:
        """The prompt for the generator."""
        return PROMPTS[self.prompt](question.question, question.options)

    def correct(self, verdict: Verdict) -> bool | None:
        """Whether a response counts as right; None if it is left out."""
        if verdict == "undecided":
            return None if self.leave_out_undecided else False
        return verdict == "right"


def sample_job(question: QuestionRecord, instructions: Instructions, *, n: int) -> SampleJob:
    """Sample n chains of thought for a question.

    Returns:
        (by the job) the chains, each with its verdict.
    """
    keys = tuple(Key(question.id, cot, 0, 0) for cot in range(n))
    (rollouts,) = yield [Want(keys)]
    return [(_chain(rollout, instructions), _verdict(rollout)) for rollout in rollouts]


def label_job(
    question: QuestionRecord,
    instructions: Instructions,
    method: LabelMethod,
    *,
    cots: int,
    chains: Sequence[Chain] | None = None,
) -> LabelJob:
    """Label the steps of a question's chains of thought.

        p_i = (1 / n_i) * sum over n_i continuations of step_1..step_i of [final answer is right]

    Args:
        method: decides how many rollouts each prefix gets.
        cots: how many chains are sampled first if `chains` is None.
        chains: existing chains to label, or None.

    Returns:
        (by the job) the chains with their labels; an empty chain is not continued.

    Source: DreamPRM (arXiv 2505.20241), section 3.
    """
    if chains is None:
        sampled = yield from sample_job(question, instructions, n=cots)
    else:
        sampled = []
        wants = [
            Want((Key(question.id, number, 0, 0),), given=chain.text, correct=chain.correct)
            for number, chain in enumerate(chains)
        ]
        if wants:
            judged = yield wants
            sampled = [(chain, _verdict(one)) for chain, (one,) in zip(chains, judged, strict=True)]

    plans = {
        number: method.plan(len(chain.steps) - 1, correct=instructions.correct(verdict))
        for number, (chain, verdict) in enumerate(sampled)
        if chain.steps
    }
    labels, spent = yield from _run_plans(question.id, plans, [chain for chain, _ in sampled], instructions)
    return [
        LabelledChain(
            chain,
            (*labels[number], _last_label(instructions.correct(verdict))) if number in labels else (),
            verdict,
            number,
            len(spent[number]),
            sum(rollout.tokens for rollout in spent[number]),
        )
        for number, (chain, verdict) in enumerate(sampled)
    ]


def _run_plans(
    question: str, plans: Mapping[int, Plan], chains: Sequence[Chain], instructions: Instructions
) -> PythonGenerator[
    Sequence[Want], Sequence[Sequence[Rollout]], tuple[dict[int, list[StepLabel]], list[list[Rollout]]]
]:
    """Run the plans of all chains in parallel, so that the asks of a round can be served together.

    Returns:
        (by the generator) the labels by chain number, and each chain's rollouts.
    """
    labels: dict[int, list[StepLabel]] = {}
    spent: list[list[Rollout]] = [[] for _ in chains]
    done: Counter[tuple[int, int]] = Counter()  # rollouts so far, by chain and step
    asked: dict[int, Sequence[Ask]] = {}

    def step(number: int, tallies: Sequence[Tally] | None) -> None:
        try:
            asked[number] = next(plans[number]) if tallies is None else plans[number].send(tallies)
        except StopIteration as stop:
            asked.pop(number, None)
            labels[number] = stop.value

    for number in plans:
        step(number, None)
    while asked:
        wants = []
        for number, asks in asked.items():
            for ask in asks:
                first = done[number, ask.step]
                done[number, ask.step] += ask.count
                keys = tuple(Key(question, number, ask.step, first + k) for k in range(ask.count))
                wants.append(Want(keys, chains[number].prefix(ask.step)))
        answers = iter((yield wants))
        for number, asks in list(asked.items()):
            rollouts = [next(answers) for _ in asks]
            spent[number] += (rollout for brought in rollouts for rollout in brought)
            step(number, [_tally(one, instructions) for one in rollouts])
    return labels, spent


def _tally(rollouts: Sequence[Rollout], instructions: Instructions) -> Tally:
    """What the rollouts of one prefix say; nothing if not one of them has an answer that could be judged.

    An undecided rollout may count as wrong next to others. But if all are undecided or empty, it is the
    server (or the reader of answers) that fails, and a label of 0 would blame the step.
    """
    if all(rollout.empty or _verdict(rollout) == "undecided" for rollout in rollouts):
        return Tally(0, 0)
    counted = [
        correct for rollout in rollouts if (correct := instructions.correct(_verdict(rollout))) is not None
    ]
    return Tally(sum(counted), len(counted))


def _chain(rollout: Rollout, instructions: Instructions) -> Chain:
    chain = sampled_chain(
        rollout.text,
        split=instructions.split,
        expected_steps=instructions.expected_steps,
        finished=rollout.finished,
    )
    correct = instructions.correct(_verdict(rollout))
    return replace(chain, correct=correct, reasoning=rollout.reasoning)


def _verdict(rollout: Rollout) -> Verdict:
    """The rollout's verdict; a job is sent only rollouts that have been judged."""
    assert rollout.verdict is not None
    return rollout.verdict


def _last_label(correct: bool | None) -> StepLabel:
    """The label of the complete chain, which is itself its only rollout."""
    return StepLabel(None, 0) if correct is None else StepLabel(float(correct), 1)
