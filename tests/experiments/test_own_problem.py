"""The example of an own bilevel problem: it runs, it works, and the documentation shows it."""

import pytest
from experiment_scripts import EXPERIMENTS, load_script


@pytest.fixture(scope="module")
def script():
    return load_script("own_problem")


def test_equal_weights_without_a_hypergradient(script):
    weights, accuracy = script.main("none")
    assert weights == [1.0] * 4
    # three of eight labels are wrong: far from the 90 % of right ones
    assert accuracy == pytest.approx(0.63, abs=0.05)


@pytest.mark.parametrize("estimator", ["adjoint", "first_order"])
def test_the_right_sources_are_found(script, estimator):
    weights, accuracy = script.main(estimator)
    assert weights[0] > 3.5 and max(weights[2:]) < 0.1
    assert accuracy == pytest.approx(0.90, abs=0.02)


def test_the_documentation_shows_the_whole_script():
    page = (EXPERIMENTS.parent / "docs" / "hypergradients.md").read_text(encoding="utf-8")
    code = (EXPERIMENTS / "own_problem.py").read_text(encoding="utf-8")
    assert f"```python\n{code}```" in page
