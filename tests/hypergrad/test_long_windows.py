"""`LongWindow`: the bits of `Adjoint` in segments, within its storage, whenever it is killed and resumed."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from bilevel_problems import PROBLEMS, Case
from estimator_table import CASES
from test_micro_batches import in_parts

from dreamprm.hypergrad import (
    SGD,
    Adam,
    AdamW,
    Adjoint,
    BilevelProblem,
    CentralDifference,
    ForwardDifference,
    ForwardMode,
    LongWindow,
    Status,
    WindowResult,
)
from dreamprm.hypergrad.checkpoint_schedule import Schedule, best_schedule, repeats


def _long(case: Case, steps: int, *, batch: Any = None, **settings: Any) -> WindowResult:
    return LongWindow(**settings).run_window(
        case.problem,
        case.optimizer,
        case.params,
        case.state,
        case.alpha,
        steps=steps,
        batch=batch or (lambda t: case.batches[t % 20]),
        outer_batch=case.outer_batch,
    )


def _whole(case: Case, steps: int, adjoint: Adjoint | None = None) -> WindowResult:
    case = replace(case, batches=[case.batches[t % 20] for t in range(steps)])
    return case.run(adjoint or Adjoint(), steps=steps)


def _assert_same_bits(got: WindowResult, want: WindowResult) -> None:
    pairs = [(got.params, want.params), (got.alpha_grad, want.alpha_grad)]
    pairs += [(got.state.moments[kind], want.state.moments[kind]) for kind in want.state.moments]
    for mine, theirs in pairs:
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert got.state.step == want.state.step
    assert torch.equal(got.inner_losses, want.inner_losses) and torch.equal(got.outer_loss, want.outer_loss)
    assert (got.status, got.message) == (want.status, want.message)
    ours, theirs = got.stats.get("influences"), want.stats.get("influences")
    assert (ours is None) == (theirs is None)
    assert all(torch.equal(a, b) for a, b in zip(ours or [], theirs or [], strict=True))


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
@pytest.mark.parametrize(
    "name", ["logistic", "mlp_plain-all", "domains_varying", "domain_single_with_rest", "sample_net"]
)
def test_the_bits_of_the_whole_window(name, steps):
    case = CASES[name]()
    for storage in (110, 300):
        got = _long(case, steps, storage=storage)
        _assert_same_bits(got, _whole(case, steps))
        assert (
            got.stats["gradients"]
            == LongWindow(storage=storage).schedule(case.optimizer, case.params, steps=steps).gradients
        )


@pytest.mark.parametrize(
    "adjoint",
    [
        Adjoint(derivative=CentralDifference()),
        Adjoint(derivative=ForwardDifference(), offload="disk"),
        Adjoint(derivative=ForwardMode(), checkpoint="keep"),
        Adjoint(keep_graphs=5),
    ],
)
@pytest.mark.parametrize("optimizer", [AdamW(lr=1e-2), SGD(lr=1e-2), Adam(lr=1e-2, amsgrad=True)])
def test_every_kind_of_product_and_optimizer(adjoint, optimizer):
    case = PROBLEMS["domains_mixed"](optimizer=optimizer, warm_steps=0)
    _assert_same_bits(_long(case, 23, adjoint=adjoint, storage=200), _whole(case, 23, adjoint))


def test_batches_in_parts():
    case = in_parts(PROBLEMS["sample_net"](), lambda rows: rows.split(3))
    _assert_same_bits(_long(case, 23), _whole(case, 23))


def _noisy() -> tuple[Case, torch.nn.Module]:
    """Dropout, and a buffer that moves with every evaluation."""
    case = PROBLEMS["mlp_plain"]()
    norm = torch.nn.BatchNorm1d(5, affine=False, dtype=torch.float64)
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def loss(params: Any, alpha: Any, rows: torch.Tensor) -> torch.Tensor:
        hidden = torch.nn.functional.dropout(norm(x[rows] @ params["w1"]), 0.4)
        return (torch.tanh(hidden) @ params["w2"] - alpha["raw"].sum()).square().mean()

    case.problem = BilevelProblem(loss, loss)
    return case, norm


def test_random_numbers_and_buffers_are_those_of_plain_training(tmp_path):
    found = []
    for run in (
        lambda case: _whole(case, 30),
        lambda case: _long(case, 30, storage=120),
        lambda case: _resumed(case, 30, tmp_path / "noisy", storage=240, kills=range(3, 60, 7)),
    ):
        case, norm = _noisy()
        torch.manual_seed(5)
        window = run(case)
        found.append((window, torch.get_rng_state(), norm.running_var.clone(), int(norm.num_batches_tracked)))
    for window, rng, variance, count in found[1:]:
        _assert_same_bits(window, found[0][0])
        assert torch.equal(rng, found[0][1]) and torch.equal(variance, found[0][2])
        assert count == found[0][3] == 3 + 31 or count == found[0][3]


class _Killed(BaseException):
    pass


def _resumed(case: Case, steps: int, folder: Any, *, kills: Any, **settings: Any) -> WindowResult:
    """The window, its process killed at these numbers of batches asked for."""
    for kill in kills:
        asked = []

        def batch(t: int, asked: list[int] = asked, kill: int = kill) -> Any:
            asked.append(t)
            if len(asked) > kill:
                raise _Killed
            return case.batches[t % 20]

        try:
            return _long(case, steps, batch=batch, folder=folder, **settings)
        except _Killed:
            pass
    return _long(case, steps, folder=folder, **settings)


@pytest.mark.parametrize("checkpoint", ["recompute", "keep"])
def test_resumes_wherever_it_is_killed(tmp_path, checkpoint):
    case = PROBLEMS["domains_mixed_with_rest"]()
    want = _whole(case, 20)
    storage = {"recompute": 170, "keep": 260}[checkpoint]
    options: Any = {"storage": storage, "adjoint": Adjoint(checkpoint=checkpoint)}
    for kill in range(1, 70, 6):
        _assert_same_bits(_resumed(case, 20, tmp_path / "run", kills=[kill], **options), want)
        assert list((tmp_path / "run").iterdir()) == []
    # killed again and again, it still gets through: what was reached is not done again
    whole = LongWindow(**options, folder="-").schedule(case.optimizer, case.params, steps=20).gradients
    again = _resumed(case, 20, tmp_path / "again", kills=[30] * 20, **options)
    _assert_same_bits(again, want)
    assert again.stats["gradients"] < whole


@pytest.mark.parametrize("name", ["state-3", "sweep", "end", "window"])
def test_killed_while_a_file_is_written(tmp_path, name, monkeypatch):
    case = PROBLEMS["domains_mixed"]()
    want, save = _whole(case, 20), torch.save

    def killed(value: Any, file: Any) -> None:
        if file.name.endswith(f"{name}.partial"):
            file.write(b"half of")
            raise _Killed
        save(value, file)

    monkeypatch.setattr(torch, "save", killed)
    try:
        _long(case, 20, folder=tmp_path, storage=260)
    except _Killed:
        pass
    monkeypatch.undo()
    _assert_same_bits(_long(case, 20, folder=tmp_path, storage=260), want)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"params": lambda case: {**case.params, "b1": case.params["b1"] + 1}},
        {"alpha": lambda case: {"raw": case.alpha["raw"] + 1}},
        {"optimizer": lambda case: AdamW(lr=2e-2)},
        {"optimizer": lambda case: AdamW(lr=lambda step: 1e-2 if step < 15 else 2e-2)},
        {"outer_batch": lambda case: case.outer_batch[1:]},
        {"problem": lambda case: PROBLEMS["domains_mixed_with_rest"]().problem},
        {"batches": lambda case: case.batches[1:]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_files_of_another_window_are_refused(tmp_path, change):
    case = PROBLEMS["domains_mixed"]()
    with pytest.raises(_Killed):
        _interrupt(case, tmp_path)
    other = replace(case, **{key: make(case) for key, make in change.items()}, state=case.state)
    other.batches = [other.batches[t % len(other.batches)] for t in range(20)]
    with pytest.raises(ValueError, match="files of another window"):
        _long(other, 20, folder=tmp_path, storage=260)


def _interrupt(case: Case, folder: Any) -> None:
    def batch(t: int) -> Any:
        if t == 9:
            raise _Killed
        return case.batches[t]

    _long(case, 20, folder=folder, batch=batch, storage=260)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt, which are no files of a long window"):
        _long(PROBLEMS["domains_mixed"](), 5, folder=tmp_path, storage=260)


def test_a_thousand_steps_in_150_bytes_a_parameter(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3000, generator=generator)

    def loss(params: Any, alpha: Any, rows: Any) -> torch.Tensor:
        fit = (torch.tanh(x[rows] @ params["w"] * 0.02) - 0.1).square().mean()
        return fit + alpha["penalty"].exp() * params["w"].square().mean()

    optimizer = AdamW(lr=1e-3)
    params = {"w": torch.randn(3000, generator=generator)}
    case = Case(
        BilevelProblem(loss, lambda params, alpha, rows: loss(params, {"penalty": torch.tensor(-9.0)}, rows)),
        params=params,
        alpha={"penalty": torch.tensor(-2.0)},
        batches=[slice(3 * t, 3 * t + 3) for t in range(20)],
        outer_batch=slice(60, 64),
        optimizer=optimizer,
        state=optimizer.init(params),
    )
    sizes = []

    def batch(t: int) -> Any:
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
        return case.batches[t % 20]

    schedule = LongWindow(folder=tmp_path).schedule(optimizer, params, steps=1000)
    window = _long(case, 1000, folder=tmp_path, batch=batch)
    _assert_same_bits(window, _whole(case, 1000))
    in_segment = 4 * schedule.length + 12 * math.ceil(math.log2(schedule.length))
    # of each file: names, and 13 kB of random states of torch, Python and numpy, whatever the model's size
    overhead = 15_000 * (schedule.slots + 3)
    # the sweep's progress is written next to the file that it replaces
    assert max(sizes) + 3000 * (12 + in_segment) <= 150 * 3000 + overhead
    assert window.stats["gradients"] == schedule.gradients < 7 * 1000


def test_statuses_and_messages_are_those_of_the_whole_window():
    case = PROBLEMS["domains_mixed"]()
    problem = case.problem
    case.problem = BilevelProblem(
        outer_loss=problem.outer_loss,
        inner_losses=lambda params, batch: (
            problem.inner_losses(params, batch) * (math.nan if batch is bad else 1)
        ),
        weights=problem.weights,
    )
    bad = case.batches[6]
    got, want = _long(case, 12), _whole(case, 12)
    assert got.status is want.status is Status.nonfinite and got.message == want.message
    with pytest.raises(FloatingPointError, match="step 6 is nan"):
        LongWindow().run_window(
            case.problem,
            case.optimizer,
            case.params,
            case.state,
            case.alpha,
            steps=12,
            batch=lambda t: case.batches[t],
            outer_batch=case.outer_batch,
            on_failure="raise",
        )


def test_arguments_are_left_as_they_are():
    case = PROBLEMS["domains_mixed"]()
    before = {name: p.clone() for name, p in case.params.items()}
    moments = {name: m.clone() for name, m in case.state.exp_avg.items()}
    _long(case, 20)
    assert all(torch.equal(before[name], case.params[name]) for name in before)
    assert all(torch.equal(moments[name], case.state.exp_avg[name]) for name in moments)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"storage": 0}, "storage must be > 0"),
        ({"adjoint": "adjoint"}, "adjoint must be an Adjoint"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        LongWindow(**settings)


def test_too_little_storage_and_no_steps():
    case = PROBLEMS["domains_mixed"]()
    with pytest.raises(ValueError, match="storage=5 bytes per entry is too small; one step .* takes 8"):
        _long(case, 20, storage=5)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        _long(case, 0)


def test_the_schedule_repeats_the_fewest_segments():
    @cache
    def fewest(n: int, slots: int) -> int:
        if n == 1:
            return 0
        if slots == 0:
            return n * (n - 1) // 2
        return min(at + fewest(n - at, slots - 1) + fewest(at, slots) for at in range(1, n))

    for n in range(1, 30):
        for slots in range(6):
            assert repeats(n, slots) == fewest(n, slots)


@pytest.mark.parametrize("slots", [0, 1, 3, 9])
@pytest.mark.parametrize("steps, length", [(1, 1), (12, 1), (50, 4), (100, 3)])
def test_following_the_schedule_takes_the_gradients_it_says(steps, length, slots):
    schedule = Schedule(steps, length, slots)
    kept, end, passes, most = [0], schedule.segments, 0, 0
    while end:
        following = schedule.next_state(kept[-1], end, used=len(kept) - 1)
        if following is not None:
            passes += following - kept[-1]
            kept.append(following)
            most = max(most, len(kept) - 1)
            continue
        passes += end - 1 - kept[-1]
        end -= 1
        if end and kept[-1] == end:
            kept.pop()
    assert passes == repeats(schedule.segments, slots) and most <= slots
    assert schedule.gradients == steps + length * passes
    assert best_schedule(steps, room=1e9, state=3, gradient=1, checkpoint="recompute").gradients == steps
