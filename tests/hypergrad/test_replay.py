"""Random numbers and buffers: a window draws and changes what plain training does, and no more."""

import copy
import random

import numpy
import pytest
import torch
from checked_rows import each
from estimator_table import ROWS, every_row, exact_rows
from torch.func import functional_call
from torch.nn.functional import batch_norm

from dreamprm.hypergrad import AdamW, Audit, BilevelProblem, Part, build_estimator

STEPS, ROWS_OF_X = 3, 6


class Draws:
    """Uniform numbers from one source of randomness, or those that were drawn before."""

    def __init__(self, source):
        self.source = source
        self.generator = torch.Generator()

    def seed(self, seed):
        torch.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed)
        self.generator.manual_seed(seed)

    def state(self):
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            numpy.random.get_state()[1].tolist(),
            numpy.random.get_state()[2],
            self.generator.get_state().tolist(),
        )

    def __call__(self, shape):
        count = shape.numel()
        if self.source == "torch":
            return torch.rand(shape, dtype=torch.float64)
        if self.source == "generator":
            return torch.rand(shape, dtype=torch.float64, generator=self.generator)
        if self.source == "numpy":
            return torch.from_numpy(numpy.random.rand(*shape))
        return torch.tensor([random.random() for _ in range(count)], dtype=torch.float64).reshape(shape)


def dropout_problem(draw, *, form):
    """Dropout in all losses, and in the weights; `draw(batch, what, shape)` gives its uniform numbers."""

    def hidden(params, batch, what):
        x = torch.tanh(batch["x"] @ params["w"])
        return x * (draw(batch, what, x.shape) > 0.4) / 0.6

    def losses(params, batch):
        return (hidden(params, batch, "losses") @ params["u"] - batch["y"]).square()

    def weights(alpha, batch, given):
        kept = draw(batch, "weights", given.shape) > 0.2
        return (1 + alpha["a"] * kept).exp()

    def rest(params, batch):
        return 0.3 * hidden(params, batch, "rest").square().mean() + 0.01 * params["w"].pow(4).sum()

    def outer(params, alpha, batch):
        return (hidden(params, batch, "outer") @ params["u"] - batch["y"]).square().mean() + alpha[
            "a"
        ].square().sum()

    if form == "plain":
        return BilevelProblem(
            lambda p, a, b: (weights(a, b, (one := losses(p, b)).detach()) * one).mean() + rest(p, b), outer
        )
    return BilevelProblem(outer_loss=outer, inner_losses=losses, weights=weights, unweighted_loss=rest)


def start(rows=ROWS_OF_X):
    make = torch.Generator().manual_seed(3)

    def drawn(*shape):
        return torch.randn(*shape, generator=make, dtype=torch.float64)

    params, alpha = {"w": drawn(4, 5), "u": drawn(5)}, {"a": 0.3 * drawn(rows)}
    batches = [{"x": drawn(rows, 4), "y": drawn(rows)} for _ in range(STEPS + 1)]
    return params, alpha, batches


DRAWN = [("torch", label) for label in ROWS] + [
    (source, label)
    for source in ("generator", "numpy", "python")
    for label in ("adjoint", "adjoint-difference", "first_order", "neumann")
]


@pytest.mark.parametrize("form", ["structured", "plain"])
@each("drawn", DRAWN)
def test_every_estimator_sees_one_draw_of_each_evaluation(drawn, form):
    source, label = drawn
    draws, estimator = Draws(source), ROWS[label].build()
    params, alpha, batches = start()
    optimizer = AdamW(lr=1e-2)
    random_problem = dropout_problem(lambda batch, what, shape: draws(shape), form=form)

    # what plain training draws, and where that leaves the source
    numbers = [{} for _ in batches]

    def recording(batch, what, shape):
        return numbers[batch["at"]].setdefault(what, draws(shape))

    for window in range(3):  # the third is not watched
        draws.seed(window)
        plain = dropout_problem(recording, form=form)
        for kept in numbers:
            kept.clear()
        for at, batch in enumerate(batches[:-1]):
            plain.inner_loss(params, alpha, {**batch, "at": at})
        plain.outer_loss(params, alpha, {**batches[-1], "at": STEPS})
        left = draws.state()

        fixed_problem = dropout_problem(lambda batch, what, shape: batch[what], form=form)
        fixed = [{**batch, **kept} for batch, kept in zip(batches, numbers, strict=True)]
        wanted = estimator.run_window(
            fixed_problem, optimizer, params, optimizer.init(params), alpha,
            inner_batches=fixed[:-1], outer_batch=fixed[-1],
        )  # fmt: skip
        draws.seed(window)
        seen = estimator.run_window(
            random_problem, optimizer, params, optimizer.init(params), alpha,
            inner_batches=batches[:-1], outer_batch=batches[-1],
        )  # fmt: skip
        assert draws.state() == left
        assert torch.equal(seen.inner_losses, wanted.inner_losses)
        assert torch.equal(seen.outer_loss, wanted.outer_loss)
        torch.testing.assert_close(seen.alpha_grad, wanted.alpha_grad, rtol=1e-9, atol=1e-12, equal_nan=True)
        assert seen.status == wanted.status


class Normalised(torch.nn.Module):
    """Batch normalisation, and a mean of its own that the output depends on."""

    def __init__(self, *, running):
        super().__init__()
        self.inside = torch.nn.Linear(4, 5, dtype=torch.float64)
        self.norm = torch.nn.BatchNorm1d(5, dtype=torch.float64)
        self.out = torch.nn.Linear(5, 1, dtype=torch.float64)
        self.register_buffer("running", torch.zeros(5, dtype=torch.float64) if running else None)

    def forward(self, given):
        x = torch.tanh(self.norm(self.inside(given)))
        if self.running is not None:
            if self.training:
                self.running.mul_(0.5).add_(given.mean())
            x = x * self.running.clone()
        return self.out(x)[:, 0]


def normalised_problem(model):
    def losses(params, batch):
        return (functional_call(model, params, (batch["x"],)) - batch["y"]).square()

    return BilevelProblem(
        outer_loss=lambda p, a, b: losses(p, b).mean(),
        inner_losses=losses,
        weights=lambda alpha, batch, given: (1 + alpha["a"]).exp(),
    )


@pytest.mark.parametrize("running", [False, True], ids=["batch_norm", "own_mean"])
@every_row
def test_buffers_are_left_as_plain_training_leaves_them(row, running):
    torch.manual_seed(0)
    model = Normalised(running=running)
    plain, optimizer, estimator = copy.deepcopy(model), AdamW(lr=1e-2), row.build()
    params = {name: p.detach() for name, p in model.named_parameters()}
    _, alpha, batches = start()
    problem, state = normalised_problem(model), optimizer.init(params)
    for _ in range(3):
        reference = build_estimator("none").run_window(
            normalised_problem(plain), optimizer, params, state, alpha,
            inner_batches=batches[:-1], outer_batch=batches[-1],
        )  # fmt: skip
        window = estimator.run_window(
            problem, optimizer, params, state, alpha, inner_batches=batches[:-1], outer_batch=batches[-1]
        )
        for name, buffer in plain.named_buffers():
            assert torch.equal(dict(model.named_buffers())[name], buffer), name
        assert torch.equal(window.outer_loss, reference.outer_loss)
        params, state = window.params, window.state
    assert int(plain.norm.num_batches_tracked) == 3 * (STEPS + 1)


@exact_rows
def test_the_gradient_is_that_of_the_buffers_seen(row):
    torch.manual_seed(0)
    model = Normalised(running=True)
    params = {name: p.detach() for name, p in model.named_parameters()}
    _, alpha, batches = start()
    optimizer, grads = AdamW(lr=1e-2), []
    for estimator in (build_estimator("unrolled"), row.build()):
        problem = normalised_problem(copy.deepcopy(model))
        for _ in range(3):
            window = estimator.run_window(
                problem, optimizer, params, optimizer.init(params), alpha,
                inner_batches=batches[:-1], outer_batch=batches[-1],
            )  # fmt: skip
        grads.append(window.alpha_grad["a"])
    torch.testing.assert_close(grads[1], grads[0], rtol=10 * row.tolerance, atol=0)


@pytest.mark.parametrize("name", ["adjoint", "first_order", "cg"])
def test_a_batch_changed_in_place_is_seen_as_it_was(name):
    def losses(params, batch):
        batch.sub_(1.0)
        return (batch @ params["w"]).square()

    def pure(params, batch):
        return ((batch - 1.0) @ params["w"]).square()

    params, alpha, batches = start()
    grads = []
    for loss in (losses, pure):
        problem = BilevelProblem(
            outer_loss=lambda p, a, b: p["w"].pow(4).mean(),
            inner_losses=lambda p, b, loss=loss: loss(p, b).mean(1),
            weights=lambda a, b, given: a["a"].exp(),
        )
        optimizer = AdamW(lr=1e-3)
        window = build_estimator(name).run_window(
            problem, optimizer, params, optimizer.init(params), alpha,
            inner_batches=[batch["x"].clone() for batch in batches[:-1]], outer_batch=None,
        )  # fmt: skip
        grads.append(window.alpha_grad["a"])
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", ["params", "alpha"])
def test_a_loss_that_changes_params_or_alpha_is_refused(kind):
    def loss(params, alpha, batch):
        chosen = {"params": params["w"], "alpha": alpha["a"]}[kind]
        with torch.no_grad():
            chosen.clamp_(-1.0, 1.0)
        return params["w"].square().sum() * alpha["a"].sum()

    params, alpha, _ = start()
    before = copy.deepcopy((params, alpha))
    optimizer = AdamW()
    with pytest.raises(ValueError, match=rf"inner_loss changes {kind}\['[wa]'\] in place.*clone"):
        build_estimator("adjoint").run_window(
            BilevelProblem(loss, lambda p, a, b: p["w"].sum()), optimizer, params, optimizer.init(params),
            alpha, inner_batches=[None], outer_batch=None,
        )  # fmt: skip
    assert torch.equal(params["w"], before[0]["w"]) and torch.equal(alpha["a"], before[1]["a"])


@pytest.mark.parametrize("name", ["first_order", "unrolled"])
def test_an_audit_changes_nothing_and_compares_under_one_draw(name):
    torch.manual_seed(0)
    model = Normalised(running=True)
    params = {key: p.detach() for key, p in model.named_parameters()}
    _, alpha, batches = start()
    before = copy.deepcopy(model.state_dict())
    draws, optimizer = Draws("generator"), AdamW(lr=1e-2)

    def losses(p, batch):
        x = batch["x"] * (torch.rand(batch["x"].shape) > 0.3) * (draws(batch["x"].shape) > 0.1)
        return (functional_call(model, p, (x,)) - batch["y"]).square()

    problem = BilevelProblem(
        outer_loss=lambda p, a, b: losses(p, b).mean(),
        inner_losses=losses,
        weights=lambda a, b, given: (1 + a["a"]).exp(),
    )
    draws.seed(7)
    state = draws.state()
    result = Audit(every=1).compare(
        build_estimator(name), problem, optimizer, params, optimizer.init(params), alpha,
        inner_batches=batches[:-1], outer_batch=batches[-1],
    )  # fmt: skip
    assert draws.state() == state
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert result.cosine > (1 - 1e-12 if name == "unrolled" else 0.99)


def test_statistics_moved_by_hand_count_as_a_module_does():
    statistics = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    params, alpha, batches = start()

    def losses(p, batch):
        return (batch_norm(batch["x"] @ p["w"], *statistics, training=True) @ p["u"] - batch["y"]).square()

    def window(name):
        for tensor, value in zip(statistics, (0.0, 1.0), strict=True):
            tensor.fill_(value)
        problem = BilevelProblem(
            outer_loss=lambda p, a, b: losses(p, b).mean(),
            inner_losses=losses,
            weights=lambda a, b, given: a["a"].exp(),
        )
        optimizer = AdamW(lr=1e-2)
        build_estimator(name).run_window(
            problem, optimizer, params, optimizer.init(params), alpha,
            inner_batches=batches[:-1], outer_batch=batches[-1],
        )  # fmt: skip
        return [tensor.clone() for tensor in statistics]

    assert all(torch.equal(a, b) for a, b in zip(window("none"), window("adjoint"), strict=True))


@pytest.mark.parametrize("label", ["adjoint", "adjoint-difference", "first_order", "neumann", "unrolled"])
def test_parts_of_a_batch_see_one_draw_each(label):
    """Every part draws once, however often it is evaluated: as if each had numbers of its own."""
    params, alpha, batches = start()
    optimizer, estimator = AdamW(lr=1e-2), ROWS[label].build()
    drawn = {}

    def losses(draw):
        def of(p, batch):
            x = torch.tanh(batch["x"] @ p["w"])
            return (x * (draw(batch, x.shape) > 0.4) @ p["u"] - batch["y"]).square()

        return of

    def split(batch):
        return [
            Part({key: value[rows] for key, value in batch.items()}, share=0.5)
            for rows in (slice(0, 3), slice(3, 6))
        ]

    def recorded(batch, shape):
        key = float(batch["y"][0])
        if key not in drawn:
            drawn[key] = torch.rand(shape, dtype=torch.float64)
        return drawn[key]

    results = []
    for draw in (lambda batch, shape: torch.rand(shape, dtype=torch.float64), recorded):
        torch.manual_seed(5)
        problem = BilevelProblem(
            outer_loss=lambda p, a, b, draw=draw: losses(draw)(p, b).mean(),
            inner_losses=losses(draw),
            weights=lambda a, b, given: (a["a"] + given).softmax(0),
            split=split,
            split_outer=split,
        )
        results.append(
            estimator.run_window(
                problem, optimizer, params, optimizer.init(params), alpha,
                inner_batches=batches[:-1], outer_batch=batches[-1],
            )
        )  # fmt: skip
        torch.rand(1)
    assert torch.equal(results[0].inner_losses, results[1].inner_losses)
    torch.testing.assert_close(results[0].alpha_grad, results[1].alpha_grad, rtol=1e-9, atol=1e-12)
