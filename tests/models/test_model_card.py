"""The model card says what was trained: learned weights, a vanilla PRM or a baseline."""

import pytest
from tiny_models import tiny_prm

from dreamprm.models.model_card import MODELS, model_card, what_was_trained
from dreamprm.training.baselines.registry import BASELINES


@pytest.mark.parametrize(
    ("training", "sentence"),
    [
        (
            {"estimator": "first_order"},
            "Trained with DreamPRM (arXiv 2505.20241): the weights of its training data were learned by "
            "bi-level optimisation, with upper gradients from the estimator `first_order`.",
        ),
        (
            {"estimator": "none"},
            "A vanilla PRM, which DreamPRM is compared with: trained with equal, not learned, weights.",
        ),
        (
            {"estimator": "none", "baseline": "meta_only"},
            "Trained as the baseline `meta_only` that DreamPRM is compared with: PRM trained on the meta set "
            "alone.",
        ),
        # A baseline may leave the estimator's name as it was configured.
        (
            {"estimator": "unrolled", "baseline": "mine"},
            "Trained as the baseline `mine` that DreamPRM is compared with.",
        ),
        ({"data": "a"}, "How it was trained was not recorded."),
    ],
)
def test_the_sentence(training, sentence):
    assert what_was_trained(training) == sentence


def test_the_card_holds_it_and_claims_nothing_else():
    prm, training = tiny_prm(), {"estimator": "none", "baseline": "orm"}
    card = model_card(prm.backbone.config, prm.processor, training, head="hidden", parameters=1234)
    assert "| Parameters | 1,234 |" in card and "| Head | hidden |" in card
    assert "right answer. Trained as the baseline `orm`" in card.replace("\n", " ")
    assert "learned" not in card and "| baseline | orm |" in card


def test_every_baseline_has_a_meaning():
    assert set(BASELINES) - {"none"} == set(MODELS) - {"vanilla", "dreamprm"}
