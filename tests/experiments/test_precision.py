"""The parts of the precision study: true float64, and its figures."""

import pytest
import torch
from experiment_scripts import load_script
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLRMSNorm

from dreamprm.hypergrad import Status, WindowResult


@pytest.fixture(scope="module")
def script():
    return load_script("precision")


def test_a_norm_that_rounds_to_float32_does_not_inside_the_context(script):
    norm = Qwen2VLRMSNorm(8).double()
    x = torch.randn(4, 8, dtype=torch.float64)
    want = x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
    with script.Float64Inside():
        inside = norm(x)
        assert torch.ones(2).float().dtype == torch.float64
    torch.testing.assert_close(inside, want, rtol=1e-14, atol=0)
    assert (norm(x) - want).abs().max() > 1e-9
    assert torch.ones(2).double().float().dtype == torch.float32


def test_only_floating_point_tensors_become_float64(script):
    tree = script.double([{"x": torch.ones(2), "ids": torch.arange(2)}, "name", 3])
    assert tree[0]["x"].dtype == torch.float64 and tree[0]["ids"].dtype == torch.long
    assert tree[1:] == ["name", 3]


def _window(grad, status=Status.ok):
    return WindowResult(
        params={},
        state=None,
        alpha_grad={"a": torch.tensor(grad)},
        inner_losses=torch.zeros(1),
        outer_loss=torch.zeros(()),
        status=status,
    )


def test_a_cell_holds_median_least_and_most(script):
    truths = [{"a": torch.tensor([3.0, 4.0], dtype=torch.float64)}] * 3
    # off by 0, by 1 of 5 and by 2 of 5 in length, the last at a right angle to none
    ended = [_window([3.0, 4.0]), _window([3.6, 4.8]), _window([4.2, 5.6])]
    assert script.cells(ended, truths) == ("2.0e-01 (0.0e+00 to 4.0e-01)", "1.00000 (1.00000 to 1.00000)")
    assert script.cells([_window([4.0, -3.0])], truths[:1])[1] == "0.00000 (0.00000 to 0.00000)"


def test_a_cell_of_failures_names_them(script):
    ended = [_window([1.0, 1.0]), _window([float("nan")] * 2, Status.diverged)]
    assert script.cells(ended, []) == ("diverged", "diverged")
