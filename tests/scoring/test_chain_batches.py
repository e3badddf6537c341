"""Scores of candidates: the same as one at a time, each distinct candidate once, likelihoods by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_cots, tiny_image, tiny_prm

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import DataError
from dreamprm.data import Candidate, CandidateRecord
from dreamprm.evaluation.selection import aggregate_candidates
from dreamprm.models import PRM
from dreamprm.models.aggregation import aggregate_logit
from dreamprm.models.backbone import last_hidden_states
from dreamprm.models.candidate_scoring import PassLimits
from dreamprm.models.images import ImageStore
from dreamprm.scoring.chain_scores import Chain, scored_chains

# Padding changes the order of float64 operations, and float32 is used inside for norms and angles.
ROUNDING = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def prm() -> PRM:
    return tiny_prm(dtype=torch.float64, layers=1, vision_layers=1)


def _candidate(steps: Sequence[str]) -> Candidate:
    return Candidate("\n".join(steps), tuple(steps), "one", True, None)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[CandidateRecord]:
    """Twenty questions, with and without an image, of 1 to 4 candidates of different lengths."""
    folder = tmp_path_factory.mktemp("images")
    records = []
    for i in range(20):
        images = ()
        if i % 3:
            images = (str(folder / f"{i}.png"),)
            tiny_image(i, size=(56, 28 * (i % 3))).save(images[0])
        steps = [cot[2] for cot in tiny_cots(1 + i % 4, seed=10 * i)]
        records.append(
            CandidateRecord(
                f"how many bars ? {i % 6 + 1}", images, "suite", "one", tuple(map(_candidate, steps)), f"q{i}"
            )
        )
    return records


def _values(
    prm: PRM, records: Sequence[CandidateRecord], *, batch_size: int, likelihood: bool = False
) -> list[list[list[float]]]:
    """What each candidate of each record is given."""
    chains = (
        Chain(record.question, record.images, candidate.steps, (q, n))
        for q, record in enumerate(records)
        for n, candidate in enumerate(record.candidates)
    )
    found: list[list[list[float]]] = [[[] for _ in record.candidates] for record in records]
    limits = PassLimits(batch_size)
    for (q, n), values in scored_chains(
        prm, chains, images=ImageStore(), limits=limits, likelihood=likelihood
    ):
        found[q][n] = values
    return found


def _scores(
    prm: PRM,
    records: Sequence[CandidateRecord],
    *,
    batch_size: int = 3,
    aggregation: str = "sum_log_odds",
    temperature: float = 1.0,
) -> list[list[float]]:
    return [
        aggregate_candidates(row, aggregation=aggregation, temperature=temperature).tolist()
        for row in _values(prm, records, batch_size=batch_size)
    ]


def _likelihoods(prm: PRM, records: Sequence[CandidateRecord], *, batch_size: int) -> list[list[float]]:
    rows = _values(prm, records, batch_size=batch_size, likelihood=True)
    return [[value for (value,) in row] for row in rows]


def _assert_close(one: list[list[float]], other: list[list[float]]) -> None:
    assert [len(row) for row in one] == [len(row) for row in other]
    flat, wanted = (torch.tensor([value for row in rows for value in row]) for rows in (one, other))
    torch.testing.assert_close(flat, wanted, **ROUNDING)


@pytest.mark.parametrize("aggregation, temperature", [*((name, 1.0) for name in AGGREGATIONS), ("mean", 2.5)])
def test_scores_are_the_aggregates_of_the_step_scores(
    prm: PRM,
    records: list[CandidateRecord],
    aggregation: str,
    temperature: float,
) -> None:
    wanted = []
    for record in records[:6]:
        row = []
        for candidate in record.candidates:
            z = torch.logit(torch.tensor(prm.score(record.question, record.image, candidate.steps)).double())
            row.append(
                aggregate_logit(
                    z,
                    torch.zeros(len(z), dtype=torch.long),
                    1,
                    aggregation=aggregation,
                    temperature=temperature,
                ).item()
            )
        wanted.append(row)
    scores = _scores(prm, records[:6], aggregation=aggregation, temperature=temperature)
    assert torch.tensor(wanted[3]).std() > 1e-2
    torch.testing.assert_close(torch.tensor(scores[3]), torch.tensor(wanted[3]), rtol=1e-4, atol=1e-4)
    _assert_close(
        scores, _scores(prm, records[:6], batch_size=1, aggregation=aggregation, temperature=temperature)
    )


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_batches_cover_every_candidate_once(
    prm: PRM,
    records: list[CandidateRecord],
    batch_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[list[int]] = []
    collate = prm.processor.collate

    def watched(encoded: Any) -> Any:
        if encoded[0].n_steps:  # not the questions' common prefixes, which nothing is read at
            batches.append([len(item.rows[0].input_ids) for item in encoded])
        return collate(encoded)

    one_by_one = [_scores(prm, [record], batch_size=1)[0] for record in records]
    with monkeypatch.context() as patch:
        patch.setattr(prm.processor, "collate", watched)
        scores = _scores(prm, records, batch_size=batch_size)
    # Several windows and a rest: no score is lost or lands on another candidate.
    _assert_close(scores, one_by_one)
    total = sum(len(record.candidates) for record in records)
    assert sum(map(len, batches)) == total == 50
    assert max(map(len, batches)) <= batch_size
    # Candidates of a pass come by length, and few passes are small.
    assert all(batch == sorted(batch) for batch in batches)
    assert len(batches) <= {1: 50, 2: 30, 7: 16, 100: 2}[batch_size]


def test_equal_candidates_of_a_question_are_scored_once(
    prm: PRM,
    records: list[CandidateRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = _candidate(["one plus two"]), _candidate(["three", "four bars"])
    first = CandidateRecord("what ?", (), "suite", "one", (a, b, a, a, b), "q0")
    second = CandidateRecord("how many ?", (), "suite", "one", (b, a), "q1")
    encoded: list[Any] = []
    encode = prm.processor.encode

    def watched(question: str, *arguments: Any, **options: Any) -> Any:
        encoded.append(question)
        return encode(question, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(prm.processor, "encode", watched)
        scores = _scores(prm, [first, second])
    assert encoded == ["what ?"] * 2 + ["how many ?"] * 2
    x, y = scores[0][:2]
    assert scores[0] == [x, y, x, x, y] and abs(x - y) > 1e-3
    # The same candidate of another question has a score of its own.
    assert abs(scores[1][1] - x) > 1e-4


def test_likelihood_is_the_mean_log_probability_of_the_candidates_tokens(
    prm: PRM,
    records: list[CandidateRecord],
) -> None:
    scores = _likelihoods(prm, records[:6], batch_size=4)
    for record, row in zip(records[:6], scores):
        images = ImageStore().open_all(record.images)
        for candidate, score in zip(record.candidates, row):
            # One row of the whole text, without padding, every token's probability given all before it.
            (whole,) = prm.processor.encode(record.question, images, candidate.steps, readout="step_end").rows
            batch = prm.processor.collate(
                [prm.processor.encode(record.question, images, candidate.steps, readout="step_end")]
            )
            with torch.no_grad():
                log_p = torch.log_softmax(prm(batch, output="token_logits")[0], dim=-1)  # (L, vocab)
            ids = whole.input_ids.tolist()
            terms = [log_p[i - 1, ids[i]].item() for i in range(whole.text_start, len(ids))]
            words = sum(len(prm.processor.tokenizer.tokenize(step + "\n")) for step in candidate.steps)
            assert len(terms) == words  # the question is not part of it
            assert score == pytest.approx(sum(terms) / len(terms), rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_put_back_also_after_an_error(
    records: list[CandidateRecord],
    training: bool,
) -> None:
    prm = tiny_prm(layers=1, vision_layers=1).train(training)
    _scores(prm, records[:1])
    assert prm.training == training
    absent = CandidateRecord("what ?", ("/absent.png",), "suite", "one", (_candidate(["one"]),), "q")
    with pytest.raises(DataError, match=r"absent\.png"):
        _scores(prm, [absent])
    assert prm.training == training


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_likelihoods_do_not_depend_on_the_batch(
    prm: PRM, records: list[CandidateRecord], batch_size: int
) -> None:
    one_by_one = [_likelihoods(prm, [record], batch_size=1)[0] for record in records]
    assert len({value for row in one_by_one for value in row}) == 50
    _assert_close(_likelihoods(prm, records, batch_size=batch_size), one_by_one)


def test_no_question_no_score(prm: PRM, tmp_path: Path) -> None:
    assert _scores(prm, []) == [] and _likelihoods(prm, [], batch_size=2) == []


@pytest.mark.parametrize("likelihood", [False, True])
@pytest.mark.parametrize("shared", [True, False])
def test_what_is_known_takes_its_place_and_the_rest_is_the_same_to_the_last_bit(
    likelihood: bool, shared: bool, records: list[CandidateRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was stopped has some questions of a window; the others must not notice."""
    prm = tiny_prm(layers=1, vision_layers=1, attn_implementation="sdpa")  # float32, whose last bits move
    monkeypatch.setattr("dreamprm.models.candidate_scoring.can_share_prefixes", lambda backbone: shared)
    passes: list[int] = []
    hidden_states = "dreamprm.models.candidate_scoring.last_hidden_states"
    if shared and not likelihood:
        run = last_hidden_states

        def counted(*arguments: Any, **settings: Any) -> torch.Tensor:
            passes.append(1)
            return run(*arguments, **settings)

        monkeypatch.setattr(hidden_states, counted)

    def scored(known: set[int]) -> dict[tuple[int, int], list[float]]:
        chains = (
            Chain(record.question, record.images, candidate.steps, (q, n), known=q in known)
            for q, record in enumerate(records)
            for n, candidate in enumerate(record.candidates)
        )
        return dict(
            scored_chains(prm, chains, images=ImageStore(), limits=PassLimits(3), likelihood=likelihood)
        )

    whole = scored(set())
    needed = len(passes)
    for known in ({0}, set(range(0, 20, 2)), set(range(12)), set(range(19)), set(range(20))):
        passes.clear()
        assert scored(known) == {place: values for place, values in whole.items() if place[0] not in known}
        if len(known) >= 12 and needed:
            assert len(passes) < needed * (20 - len(known) + 5) / 20
