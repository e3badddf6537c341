"""Weights by other rules than the hypergradient, against closed forms on problems that are linear."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamprm.config.errors import DataError, UserError
from dreamprm.hypergrad import AdamW, BilevelProblem, Estimator, WindowResult, build_estimator
from dreamprm.models.weights import DOMAIN_WEIGHTS, DomainWeights
from dreamprm.training.baselines import Weighting, build_baseline
from dreamprm.training.baselines.doge import GradientAlignment
from dreamprm.training.baselines.doremi import ExcessLoss
from dreamprm.training.baselines.exponentiated import ExponentiatedGradient
from dreamprm.training.baselines.random_weights import of_spread
from dreamprm.training.baselines.regmix import fitted

K = 3
SLOPES = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, 4.0]], dtype=torch.float64)
META = torch.tensor([2.0, -1.0], dtype=torch.float64)
START = {"phi": torch.tensor([0.3, -0.7], dtype=torch.float64)}
ALPHA = {DOMAIN_WEIGHTS: torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64)}


def linear_problem() -> BilevelProblem:
    """L_k = <s_k, phi> + constant of the batch, L_meta = <m, phi>: gradients are the same everywhere."""

    def losses(params: Any, batch: Any) -> Tensor:
        values: Tensor = SLOPES[batch["domains"]] @ params["phi"] + batch["constant"]
        return values

    return BilevelProblem(
        outer_loss=lambda params, alpha, batch: META @ params["phi"],
        inner_losses=losses,
        weights=DomainWeights(["a", "b", "c"], "none").weights,
    )


def batch(*domains: int, constant: float = 0.0) -> dict[str, Any]:
    return {"domains": torch.tensor(domains), "constant": constant}


def run(estimator: Estimator, *batches: dict[str, Any], lr: float = 0.01) -> WindowResult:
    optimizer = AdamW(lr=lr, weight_decay=0.0)
    return estimator.run_window(
        linear_problem(),
        optimizer,
        START,
        optimizer.init(START),
        ALPHA,
        inner_batches=batches,
        outer_batch=None,
        on_failure="raise",
    )


def test_the_alignment_is_the_inner_product_of_the_gradients() -> None:
    want = -(SLOPES @ META)
    exact = run(GradientAlignment(normalise=False, slopes="exact"), batch(0, 1, 2), batch(2, 0, 1))
    torch.testing.assert_close(exact.alpha_grad[DOMAIN_WEIGHTS], want, rtol=1e-14, atol=1e-14)
    # central differences of a linear function have no truncation; they move the loss by eps^(1/3) / 4 =
    # 1.5e-6 of itself, so that rounding is 1e-16 / 1.5e-6 for each of its terms
    close = run(GradientAlignment(normalise=False), batch(0, 1, 2), batch(2, 0, 1))
    torch.testing.assert_close(close.alpha_grad[DOMAIN_WEIGHTS], want, rtol=1e-9, atol=1e-9)
    assert (exact.stats["forward"], exact.stats["backward"]) == (2 + 1 + 2, 2 + 1 + 6)
    assert (close.stats["forward"], close.stats["backward"]) == (2 + 1 + 6, 2 + 1)


def test_the_normalised_alignment_of_the_meta_set_itself_is_one() -> None:
    grad = run(GradientAlignment(slopes="exact"), batch(0, 1, 2)).alpha_grad[DOMAIN_WEIGHTS]
    torch.testing.assert_close(grad, -(SLOPES @ META) / 5, rtol=1e-14, atol=1e-14)  # |m|^2 = 5


def test_domains_that_no_batch_holds_are_not_moved_by_the_gradient() -> None:
    want = -(SLOPES @ META)
    for batches, held in (("last", [2]), ("all", [0, 2])):
        estimator = GradientAlignment(normalise=False, batches=batches, slopes="exact")
        grad = run(estimator, batch(0), batch(2)).alpha_grad[DOMAIN_WEIGHTS]
        for k in range(K):
            assert float(grad[k]) == pytest.approx(float(want[k]) if k in held else 0.0, abs=1e-14)


@pytest.mark.parametrize(
    "estimator",
    [GradientAlignment(slopes="exact"), ExcessLoss({"phi": START["phi"] * 2})],
    ids=["doge", "doremi"],
)
def test_the_steps_are_those_of_plain_training(estimator: Estimator) -> None:
    ours = run(estimator, batch(0, 1), batch(2, 1))
    plain = run(build_estimator("none"), batch(0, 1), batch(2, 1))
    assert torch.equal(ours.params["phi"], plain.params["phi"])
    assert torch.equal(ours.inner_losses, plain.inner_losses)
    assert float(ours.outer_loss) == pytest.approx(float(plain.outer_loss), rel=1e-15)
    assert ours.state.step == plain.state.step == 2


def test_the_excess_loss_is_that_over_the_reference_and_never_negative() -> None:
    reference = torch.tensor([0.6, -0.75], dtype=torch.float64)
    window = run(ExcessLoss({"phi": reference}), batch(0, 1, 2, constant=7.0), batch(1, constant=-3.0))
    # the batches' constants cancel: L_k(phi) - L_k(reference) = <s_k, phi - reference>
    excess = SLOPES @ (window.params["phi"] - reference)
    assert (excess > 0).any() and (excess < 0).any()
    torch.testing.assert_close(
        window.alpha_grad[DOMAIN_WEIGHTS], -excess.clamp_min(0), rtol=1e-12, atol=1e-12
    )
    assert window.stats == {"forward": 2 + 4 + 1, "backward": 2}


def test_the_model_has_no_excess_over_itself() -> None:
    window = run(ExcessLoss({"phi": START["phi"]}), batch(0, 1, 2), lr=0.0)
    assert window.alpha_grad[DOMAIN_WEIGHTS].abs().tolist() == [0.0] * K


def test_an_exponentiated_step_in_closed_form() -> None:
    weights = {"w": torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64)}
    grads = {"w": torch.tensor([0.0, math.log(3.0), -math.log(2.0)], dtype=torch.float64)}
    # with lr = 1: 1/2, 1/2, 2; their sum is 3, so they have mean 1 already
    rule = ExponentiatedGradient(lr=1.0)
    moved, state = rule.step(weights, grads, state=rule.init(weights))
    torch.testing.assert_close(moved["w"], torch.tensor([0.5, 0.5, 2.0], dtype=torch.float64))
    assert (state.step, state.exp_avg, state.exp_avg_sq) == (1, {}, {})
    # lr = 2: 1/2, 1/6, 4; sum 14/3, times 3 / (14/3) = 9/14; then a tenth of the uniform weights
    rule = ExponentiatedGradient(lr=2.0, smoothing=0.1)
    moved, _ = rule.step(weights, grads, state=state)
    want = [0.9 * 9 / 14 * value + 0.1 for value in (1 / 2, 1 / 6, 4.0)]
    torch.testing.assert_close(moved["w"], torch.tensor(want, dtype=torch.float64))
    assert rule.learning_rate(5) == 2.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "lr must be > 0, got 0.0"),
        ({"lr": 1.0, "smoothing": 1.5}, "smoothing must be >= 0 and <= 1, got 1.5"),
    ],
)
def test_an_optimizer_of_no_sense_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExponentiatedGradient(**settings)


def test_weights_follow_the_rule_from_uniform_ones() -> None:
    baseline = build_baseline("doge", lr=0.2, smoothing=0.0, normalise=False, slopes="exact")
    assert isinstance(baseline, Weighting)
    level = baseline.upper_level(["a", "b", "c"], seed=0, prm=torch.nn.Identity())
    assert level.moves and level.weights.named(level.alpha) == {"a": 1.0, "b": 1.0, "c": 1.0}
    grad = run(level.estimator, batch(0, 1, 2)).alpha_grad
    alpha, _ = level.optimizer.step(level.alpha, grad, state=level.optimizer.init(level.alpha))
    powers = torch.exp(0.2 * SLOPES @ META)
    torch.testing.assert_close(alpha[DOMAIN_WEIGHTS].double(), 3 * powers / powers.sum(), rtol=1e-6, atol=0)


def test_random_weights_have_the_spread_and_mean_one() -> None:
    for seed in range(5):
        for spread in (0.05, 0.25, 1.5):
            values = np.array(of_spread(np.random.default_rng(seed).standard_normal(15), spread))
            assert values.mean() == pytest.approx(1, abs=1e-12) and values.min() > 0
            assert values.std() == pytest.approx(spread, rel=1e-9)


def test_two_random_weights_in_closed_form() -> None:
    # softmax of (s, 0) times 2, standard deviation d: 1 +- d
    assert of_spread(np.array([2.0, 1.0]), 0.3) == pytest.approx([1.3, 0.7], abs=1e-12)


@pytest.mark.parametrize(("count", "spread"), [(1, 0.1), (2, 1.0), (5, 2.5)])
def test_a_spread_that_no_weights_have_is_refused(count: int, spread: float) -> None:
    with pytest.raises(UserError, match=f"spread={spread:g} is too large for {count} domain"):
        of_spread(np.arange(count, dtype=np.float64), spread)


def past_run(folder: Path, *rows: dict[str, float]) -> str:
    folder.mkdir()
    lines = [json.dumps({"step": 5 * i, "weights": row}) for i, row in enumerate(rows, start=1)]
    (folder / "domain_weights.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def upper_weights(
    name: str, *, seed: int = 0, domains: tuple[str, ...] = ("a", "b", "c"), **settings: Any
) -> list[float]:
    baseline = build_baseline(name, **settings)
    assert isinstance(baseline, Weighting)
    level = baseline.upper_level(domains, seed=seed, prm=torch.nn.Identity())
    assert not level.moves
    return list(level.weights.named(level.alpha).values())


def test_weights_of_a_past_run(tmp_path: Path) -> None:
    run = past_run(tmp_path / "run", {"b": 3.0, "a": 1.0, "c": 2.0}, {"b": 0.5, "a": 1.0, "c": 1.5})
    # in the order of the domains, not the file's; scaled to mean 1
    assert upper_weights("fixed_weights", run=run) == [1.0, 0.5, 1.5]
    mean = [1 / 1.5, 1.75 / 1.5, 1.75 / 1.5]
    assert upper_weights("fixed_weights", run=run, take="mean") == pytest.approx(mean, rel=1e-6)
    drawn = [tuple(upper_weights("random_weights", run=run, seed=seed)) for seed in range(20)]
    assert all(sorted(values) == [0.5, 1.0, 1.5] for values in drawn) and len(set(drawn)) == 6
    assert upper_weights("random_weights", run=run, seed=3) == list(drawn[3])


def test_past_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    run = past_run(tmp_path / "run", {"a": 1.0, "b": 1.0})
    with pytest.raises(UserError, match="weights of other domains .* only in one of them: c"):
        upper_weights("fixed_weights", run=run)
    with pytest.raises(UserError, match="no weights of a run in"):
        upper_weights("fixed_weights", run=str(tmp_path))
    zero = past_run(tmp_path / "zero", {"a": 1.0, "b": -1.0})
    with pytest.raises(UserError, match="have mean 0.0; it must be positive"):
        upper_weights("random_weights", run=zero, domains=("a", "b"))
    empty = past_run(tmp_path / "empty", {"a": 1.0})
    (Path(empty) / "domain_weights.jsonl").write_text("")
    with pytest.raises(UserError, match="is empty: the run has made no upper step yet"):
        upper_weights("fixed_weights", run=empty)
    (Path(empty) / "domain_weights.jsonl").write_text('{"step": 1, "wei')
    with pytest.raises(DataError, match="jsonl:1: must be an object with 'weights' by domain"):
        upper_weights("fixed_weights", run=empty)
    for line in (b"\xff", b"[]", b'{"weights": 3}', b'{"weights": {"a": NaN}}', b'{"weights": {"a": 1e999}}'):
        (Path(empty) / "domain_weights.jsonl").write_bytes(line)
        with pytest.raises(DataError, match="jsonl:1: must be an object with 'weights' by domain"):
            upper_weights("fixed_weights", run=empty)
    odd = past_run(tmp_path / "odd", {"a": 1.0}, {"b": 1.0})
    with pytest.raises(DataError, match="2: has other domains than the first line"):
        upper_weights("fixed_weights", run=odd)


def proxies(folder: Path, losses: Any, *, count: int = 8, windows: int = 10) -> None:
    """Finished runs with random weights of three domains, whose meta loss is a function of them."""
    for number in range(count):
        weights = of_spread(np.random.default_rng(number).standard_normal(K), 0.4)
        run = folder / f"proxy-{number}"
        run.mkdir()
        named = dict(zip("abc", weights))
        (run / "domain_weights.jsonl").write_text(json.dumps({"step": 5, "weights": named}) + "\n")
        # early windows say nothing of the mixture
        rows = [9.0] * (windows - 2) + [losses(weights) - 0.01, losses(weights) + 0.01]
        (run / "metrics.jsonl").write_text("".join(json.dumps({"meta_loss": row}) + "\n" for row in rows))
        (run / "summary.json").write_text("{}")


def regmix(folder: Path, **settings: Any) -> list[float]:
    baseline = build_baseline("regmix", runs=str(folder / "proxy-*"), **settings)
    assert isinstance(baseline, Weighting)
    level = baseline.upper_level(["a", "b", "c"], seed=0, prm=torch.nn.Linear(1, 1))
    assert not level.moves
    values: list[float] = level.alpha[DOMAIN_WEIGHTS].tolist()
    return values


def test_regmix_weighs_by_the_slopes_of_the_meta_loss(tmp_path: Path) -> None:
    proxies(tmp_path, lambda w: 1.0 - 0.2 * w[0] + 0.1 * w[2])
    weights = regmix(tmp_path)
    assert weights[0] > weights[1] > weights[2] > 0
    assert sum(weights) == pytest.approx(K, rel=1e-5)  # float32
    assert weights == regmix(tmp_path) != regmix(tmp_path, samples=50)


def test_the_regression_of_regmix_is_least_squares_and_tests_itself_on_runs_left_out() -> None:
    generator = np.random.default_rng(0)
    mixtures = np.array([of_spread(generator.standard_normal(K), 0.4) for _ in range(9)])
    exact, explained = fitted(mixtures, 2.0 + mixtures @ np.array([0.5, -0.25, 0.0]))
    assert exact - exact.mean() == pytest.approx([0.41666667, -0.33333333, -0.08333333], abs=1e-7)
    assert explained == pytest.approx(1.0, abs=1e-12)
    noise = generator.standard_normal(9)
    errors = []
    for one in range(9):
        others = np.arange(9) != one
        design = np.column_stack([np.ones(8), mixtures[others] - 1])
        found = np.linalg.lstsq(design, noise[others], rcond=None)[0]
        errors.append(noise[one] - found[0] - (mixtures[one] - 1) @ found[1:])
    around = [noise[one] - np.delete(noise, one).mean() for one in range(9)]
    wanted = 1 - np.square(errors).sum() / np.square(around).sum()
    assert fitted(mixtures, noise)[1] == pytest.approx(wanted, rel=1e-9)


def test_what_regmix_refuses(tmp_path: Path) -> None:
    noise = iter(np.random.default_rng(1).standard_normal(40))
    drawn: dict[float, float] = {}
    proxies(tmp_path, lambda w: drawn.setdefault(w[0], float(next(noise))), count=6)
    with pytest.raises(UserError, match="predicts a run that was left out no better than the mean"):
        regmix(tmp_path)
    (tmp_path / "proxy-3" / "summary.json").unlink()
    with pytest.raises(UserError, match="proxy-3 is not a finished run"):
        regmix(tmp_path)
    with pytest.raises(UserError, match="names 1 folders; a regression on 3 domains needs at least 5"):
        build = build_baseline("regmix", runs=str(tmp_path / "proxy-1"))
        assert isinstance(build, Weighting)
        build.upper_level(["a", "b", "c"], seed=0, prm=torch.nn.Linear(1, 1))
    (tmp_path / "proxy-3" / "summary.json").write_text("{}")
    (tmp_path / "proxy-2" / "metrics.jsonl").write_text('{"meta_loss": null}\n')
    with pytest.raises(DataError, match="no finite meta_loss in the last 0.2"):
        regmix(tmp_path)
