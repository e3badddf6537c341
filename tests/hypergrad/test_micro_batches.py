"""Batches in parts: every estimator gives what it gives on whole batches."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from bilevel_problems import PROBLEMS, Case, mlp_plain
from estimator_table import ROWS, every_row
from oracles import relative_error

from dreamprm.hypergrad import AdamW, Audit, BilevelProblem, Part, Status, build_estimator


def _rows(rows: torch.Tensor) -> list[Part]:
    """Three rows, then the others."""
    return [Part(rows[:3], 3 / len(rows)), Part(rows[3:], 1 - 3 / len(rows))]


def _one_by_one(batch: dict[str, torch.Tensor]) -> list[Part]:
    """Each loss of the batch by itself; the parts' losses one after the other."""
    n = len(batch["domains"])
    return [Part({key: v[i : i + 1] for key, v in batch.items()}, share=1 / n) for i in range(n)]


def _across(batch: dict[str, torch.Tensor]) -> list[Part]:
    """All losses of the batch in each part, by a share of their rows. The rest reads the first two rows."""
    n, width = batch["rows"].shape
    parts = []
    for columns, rest in ((slice(0, 3), 1.0), (slice(3, width), 0.0)):
        rows = batch["rows"][:, columns]
        losses = [(i, rows.shape[1] / width) for i in range(n)]
        parts.append(Part({"rows": rows, "domains": batch["domains"]}, share=rest, losses=losses))
    return parts


def _outer_dict(rows: torch.Tensor) -> list[Part]:
    return [Part(rows[:5], 5 / len(rows)), Part(rows[5:9], 4 / len(rows)), Part(rows[9:], 1 - 9 / len(rows))]


# problem -> (split, split_outer)
SPLITS: dict[str, tuple[Any, Any]] = {
    "logistic": (_rows, _rows),
    "ridge": (_rows, None),
    "domains_mixed": (_one_by_one, _outer_dict),
    "domains_mixed_with_rest": (_one_by_one, _rows),
    "domains_varying": (_one_by_one, None),
    "domain_single": (_across, _rows),
    "domain_single_with_rest": (_across, None),
    "tied": (
        lambda tokens: [tokens[:1], tokens[1:]],
        lambda tokens: [Part(row[None], 0.5) for row in tokens],
    ),
    "frozen": (_across, _rows),
    "sample_net": (lambda rows: rows.split(3), None),
}
every_split = pytest.mark.parametrize("name", SPLITS)


def in_parts(case: Case, split: Any, split_outer: Any = None) -> Case:
    """The case with its batches split."""
    problem = case.problem
    options = {"split": split, "split_outer": split_outer}
    if not problem.structured:
        return replace(case, problem=BilevelProblem(problem.inner_loss, problem.outer_loss, **options))
    rest = problem.unweighted_loss if problem.has_unweighted_loss else None
    return replace(
        case,
        problem=BilevelProblem(
            outer_loss=problem.outer_loss,
            inner_losses=problem.inner_losses,
            weights=problem.weights,
            unweighted_loss=rest,
            **options,
        ),
    )


def _batch_softmax(**options: Any) -> Case:
    """`sample_net` with weights that compare the losses of the whole batch."""
    case = PROBLEMS["sample_net"](**options)
    problem = case.problem

    def weights(alpha: Any, rows: Any, losses: torch.Tensor) -> torch.Tensor:
        assert losses.shape == rows.shape and not losses.requires_grad
        return (alpha["in"].sum() * losses + alpha["out"].sum()).softmax(0) * len(rows)

    case.problem = BilevelProblem(
        outer_loss=problem.outer_loss, inner_losses=problem.inner_losses, weights=weights
    )
    return case


def _tolerance(row: Any) -> float:
    if "one_sided" in row.settings.values() or "forward_difference" in row.settings.values():
        return 1e-5  # rounding of the losses, 1e-16, over the radius 1e-7, and slopes a hundredth of the loss
    if row.name == "finite_difference" or row.tolerance == 1e-6:
        return 1e-8  # the same over the radius 1e-4
    return 1e-10


def _assert_same(row: Any, case: Case, split: Case) -> None:
    want, got = case.run(row.build()), split.run(row.build())
    assert got.status is Status.ok
    torch.testing.assert_close(got.inner_losses, want.inner_losses, rtol=1e-12, atol=0)
    torch.testing.assert_close(got.outer_loss, want.outer_loss, rtol=1e-12, atol=0)
    assert relative_error(got.params, want.params) < 1e-12
    assert relative_error(got.state.moments["exp_avg_sq"], want.state.moments["exp_avg_sq"]) < 1e-12
    if row.name != "none":
        assert relative_error(got.alpha_grad, want.alpha_grad) < _tolerance(row)
    for one, other in zip(got.stats.get("influences", []), want.stats.get("influences", [])):
        torch.testing.assert_close(one, other, rtol=max(1e-9, 100 * _tolerance(row)), atol=1e-12)


@every_split
@every_row
def test_a_window_in_parts_equals_the_window_of_whole_batches(row, name):
    case = PROBLEMS[name](optimizer=AdamW(lr=1e-2, max_grad_norm=1.0, weight_decay=0.1))
    _assert_same(row, case, in_parts(case, *SPLITS[name]))


@every_row
def test_weights_that_compare_losses_see_those_of_the_whole_batch(row):
    case = _batch_softmax()
    _assert_same(row, case, in_parts(case, lambda rows: rows.split(3)))


@every_row
def test_all_losses_of_a_batch_in_each_part(row):
    case = PROBLEMS["domains_mixed"]()
    _assert_same(row, case, in_parts(case, _across))


@pytest.mark.parametrize("name", ["logistic", "domains_mixed_with_rest", "domain_single"])
def test_one_part_takes_the_same_bits_and_passes_as_no_split(name):
    case = PROBLEMS[name]()
    for label in ("adjoint", "first_order", "none", "cg"):
        estimator = ROWS[label].build()
        want, got = case.run(estimator), in_parts(case, lambda b: [b], lambda b: [b]).run(estimator)
        assert got.stats["forward"] == want.stats["forward"]
        assert all(torch.equal(got.alpha_grad[key], want.alpha_grad[key]) for key in want.alpha_grad)
        assert all(torch.equal(got.params[key], want.params[key]) for key in want.params)


def test_the_forward_passes_that_weights_need_are_counted():
    case = _batch_softmax()
    for label, passes in (("none", 11), ("adjoint", 11 + 5), ("first_order", 11 + 10)):
        window = in_parts(case, lambda rows: rows.split(3)).run(ROWS[label].build())
        assert window.stats["forward"] == passes
    single = in_parts(PROBLEMS["domain_single"](), _across)
    assert single.run(build_estimator("first_order")).stats["forward"] == 6


@pytest.mark.parametrize("estimator", ["adjoint", "first_order", "none", "finite_difference"])
def test_one_part_of_the_batch_is_evaluated_at_a_time(estimator):
    case, seen = PROBLEMS["domains_mixed"](), set()
    problem = case.problem

    def losses(params, batch):
        seen.add(len(batch["domains"]))
        return problem.inner_losses(params, batch)

    case.problem = BilevelProblem(
        outer_loss=problem.outer_loss, inner_losses=losses, weights=problem.weights, split=_one_by_one
    )
    case.run(build_estimator(estimator))
    assert seen == {1}


def test_an_audit_of_some_params_keeps_the_split():
    case = in_parts(PROBLEMS["domains_mixed_with_rest"](), _one_by_one, _rows)
    result = Audit(every=1, params=("w*",)).compare(
        build_estimator("adjoint"),
        case.problem,
        case.optimizer,
        case.params,
        case.state,
        case.alpha,
        inner_batches=case.batches[:3],
        outer_batch=case.outer_batch,
    )
    assert result.cosine == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    "split, message",
    [
        (lambda rows: [rows[:4], rows[4:]], "without a share"),
        (lambda rows: [Part(rows[:4], 4), Part(rows[4:], 4)], "sum to 8, not to 1"),
        (lambda rows: [Part(rows[:4], -0.5), Part(rows[4:], 1.5)], r"finite number >= 0, got -0.5"),
        (lambda rows: [], "no part"),
        (lambda rows: 3, "list of parts"),
    ],
)
def test_wrong_parts_of_a_plain_problem_are_refused(split, message):
    with pytest.raises(ValueError, match=message):
        in_parts(PROBLEMS["logistic"](), split).run(build_estimator("adjoint"))


@pytest.mark.parametrize(
    "losses, message",
    [
        ([[(0, 0.5)], None], "1 of 2 parts have `losses`"),
        ([[(0, 0.5)], [(0, 0.4)]], "loss 0 sum to 0.9, not to 1"),
        ([[(1, 0.5)], [(1, 0.5)]], "no part has a share of the batch's loss 0"),
        ([[(-1, 0.5)], [(0, 0.5)]], "pairs"),
        ([[(0, 0.5), (1, 1.0)], [(0, 0.5)]], "returned 1 inner losses, but its `losses` has 2"),
    ],
)
def test_wrong_losses_of_parts_are_refused(losses, message):
    def split(batch):
        return [
            Part({**batch, "rows": rows}, losses=of)
            for rows, of in zip(batch["rows"].split(4, dim=1), losses)
        ]

    with pytest.raises(ValueError, match=message):
        in_parts(PROBLEMS["domain_single"](), split).run(build_estimator("adjoint"))


def test_split_that_is_not_callable_is_refused():
    with pytest.raises(ValueError, match="split must be callable, got int"):
        in_parts(PROBLEMS["logistic"](), 4)


def test_losses_that_are_sums_take_shares_of_one():
    case = PROBLEMS["ridge"]()
    inner = case.problem.inner_loss
    case.problem = BilevelProblem(
        lambda params, alpha, rows: len(rows) * inner(params, alpha, rows), case.problem.outer_loss
    )
    _assert_same(ROWS["adjoint"], case, in_parts(case, lambda rows: [Part(rows[:3], 1), Part(rows[3:], 1)]))


@every_split
def test_check_split_passes_right_parts(name):
    case = in_parts(PROBLEMS[name](), *SPLITS[name])
    case.problem.check_split(case.params, case.alpha, case.batches[0], case.outer_batch)


def test_check_split_names_the_loss_that_is_no_sum_over_parts():
    case = in_parts(mlp_plain(), _rows_in_pairs)
    with pytest.raises(ValueError, match="inner_loss of the whole batch differs"):
        case.problem.check_split(case.params, case.alpha, case.batches[0])
    case = in_parts(PROBLEMS["domain_single"](), lambda b: [{**b, "rows": r} for r in b["rows"].split(4, 1)])
    with pytest.raises(ValueError, match="its parts give"):
        case.problem.check_split(case.params, case.alpha, case.batches[0])
    case = in_parts(PROBLEMS["logistic"](), _rows, lambda rows: [Part(rows[:3], 0.5), Part(rows[3:], 0.5)])
    with pytest.raises(ValueError, match="outer_loss of the whole batch differs"):
        case.problem.check_split(case.params, case.alpha, case.batches[0], case.outer_batch)


def _rows_in_pairs(rows: torch.Tensor) -> list[Part]:
    return [Part(rows[:4], 0.5), Part(rows[4:], 0.5)]
