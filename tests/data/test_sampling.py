"""Steps' rows: explicit, seeded, without replacement in an epoch, and a pure function of the step."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import pytest

from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.data import DomainSampler, EpochSampler
from dreamprm.training.settings import TrainConfig

SIZES = {"a": 5, "b": 3, "c": 8}


def sampler(
    mode: Any = "mixed", batch_size: int = 2, seed: int = 0, sizes: dict[str, int] = SIZES
) -> DomainSampler:
    return DomainSampler(sizes, mode=mode, batch_size=batch_size, seed=seed)


def test_mixed_steps_hold_rows_of_every_domain() -> None:
    rows = sampler(batch_size=2).rows(7)
    assert [index for index, _ in rows] == [0, 0, 1, 1, 2, 2]


def test_single_steps_hold_one_domain_and_a_cycle_holds_all() -> None:
    drawn = sampler("single", batch_size=3)
    for cycle in range(20):
        steps = [drawn.rows(3 * cycle + k) for k in range(3)]
        assert all(len(rows) == 3 and len({index for index, _ in rows}) == 1 for rows in steps)
        assert {rows[0][0] for rows in steps} == {0, 1, 2}
    orders = {tuple(drawn.rows(3 * cycle + k)[0][0] for k in range(3)) for cycle in range(50)}
    assert len(orders) == 6  # every order of three domains occurs: the cycles are shuffled


@pytest.mark.parametrize("mode", ["single", "mixed"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_every_epoch_visits_every_row_once(mode: Any, batch_size: int) -> None:
    """Domain sizes are neither multiples nor divisors of the batch; the largest batch exceeds a domain."""
    drawn = sampler(mode, batch_size)
    visits: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for step in range(240):
        for index, row in drawn.rows(step):
            visits[index].append(row)
    for index, size in enumerate(SIZES.values()):
        epochs = [visits[index][start : start + size] for start in range(0, len(visits[index]), size)]
        assert len(epochs) >= 10
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs if len(epoch) == size)
        assert len({tuple(epoch) for epoch in epochs}) > 1  # epochs differ


@pytest.mark.parametrize("mode", ["single", "mixed"])
def test_rows_are_a_function_of_the_step_alone(mode: Any) -> None:
    in_order = [sampler(mode).rows(step) for step in range(60)]
    backwards = sampler(mode)
    assert [backwards.rows(step) for step in reversed(range(60))] == in_order[::-1]
    resumed = sampler(mode)
    assert resumed.rows(41) == in_order[41]
    assert pickle.loads(pickle.dumps(resumed)).rows(42) == in_order[42]


@pytest.mark.parametrize("mode", ["single", "mixed"])
def test_seeds_differ_and_domains_are_independent(mode: Any) -> None:
    steps = range(12)
    first, same, other = (sampler(mode, seed=seed) for seed in (0, 0, 1))
    assert [first.rows(step) for step in steps] == [same.rows(step) for step in steps]
    assert [first.rows(step) for step in steps] != [other.rows(step) for step in steps]
    twins = sampler(mode, batch_size=50, sizes={"a": 50, "b": 50})
    (one, two) = (
        [row for step in (0, 1) for i, row in twins.rows(step) if i == index][:50] for index in (0, 1)
    )
    assert sorted(one) == sorted(two) and one != two


@pytest.mark.parametrize("mode", ["single", "mixed"])
@pytest.mark.parametrize("step", [0, 1, 4, 17, 31])
def test_positions_say_what_was_visited(mode: Any, step: int) -> None:
    drawn = sampler(mode, batch_size=2)
    counted = Counter(index for earlier in range(step) for index, _ in drawn.rows(earlier))
    for index, (name, size) in enumerate(SIZES.items()):
        position = drawn.positions(step)[name]
        assert position["epoch"] * size + position["offset"] == counted[index]
        assert 0 <= position["offset"] < size


def test_epoch_sampler_visits_every_row_once_an_epoch() -> None:
    drawn = EpochSampler(10, 4, seed=3)
    rows = [row for step in range(25) for row in drawn.rows(step)]
    epochs = [rows[start : start + 10] for start in range(0, 100, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs) and len({*map(tuple, epochs)}) == 10
    assert EpochSampler(10, 4, seed=3).rows(17) == drawn.rows(17)
    assert EpochSampler(10, 4, seed=4).rows(0) != drawn.rows(0)
    assert drawn.positions(3) == {"epoch": 1, "offset": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sizes": {"a": 5, "empty": 0, "none": 0}},
            "no records in domain 'empty', 'none'; every domain needs",
        ),
        ({"sizes": {}}, "there is no training domain"),
        ({"mode": "all"}, "sampling must be 'single' or 'mixed', got 'all'"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_domain_sampler_settings_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sampler(**change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 0), "a set to sample from needs at least one record, got 0"),
        ((5, 0, 0), "batch_size must be >= 1, got 0"),
        ((5, 1, -1), "seed must be >= 0, got -1"),
    ],
)
def test_epoch_sampler_settings_are_checked(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EpochSampler(*arguments)


def test_a_batch_that_would_never_end_is_refused() -> None:
    assert len(EpochSampler(10, 4096, seed=0).rows(0)) == 4096
    with pytest.raises(UserError, match=r"meta_batch_size=1,000,000,000,000 is more than the 10 records"):
        EpochSampler(10, 10**12, seed=0, setting="meta_batch_size")
    for mode in ("single", "mixed"):
        with pytest.raises(
            UserError, match="batch_size=5,000 is more than the 7 records of the largest domain"
        ):
            sampler(mode, 5000, sizes={"a": 3, "b": 7})


@pytest.mark.parametrize("key", ["batch_size", "meta_batch_size", "inner_steps"])
def test_it_is_refused_when_the_configuration_is_read(key: str) -> None:
    given = ["name=x", "data.train=[t.jsonl]", "data.meta=m.jsonl", "steps=1000000000000"]
    with pytest.raises(UserError, match=f"{key}=1,000,000,000,000 are made at once"):
        load_config(TrainConfig, None, [*given, f"{key}=1000000000000"])
