"""The colour of a probability on the page: a shade of the paper on which text stays readable."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.evaluation.plots.style import QUALITY_COLOURS

LIGHT_PAPER, DARK_PAPER = "#ffffff", "#17191c"
"""--paper of page.css in the two colour schemes; a test holds them together."""

# How much of the colour is laid on the paper, at one half and at 0 or 1. More would tire the eye; text on
# the strongest shade keeps a contrast above 7:1.
_LIGHT, _DARK = (0.12, 0.48), (0.12, 0.6)


@dataclass(frozen=True)
class Shade:
    """Backgrounds as "#rrggbb": in the light and in the dark colour scheme."""

    light: str
    dark: str


def shade(probability: float) -> Shade:
    """Red-brown below one half, next to nothing at it, blue above: the scale of the plots, laid on the paper.

    Args: probability: in [0, 1].
    """
    from matplotlib.colors import to_rgb

    # A whole number would be taken for a place in the scale's table.
    colour, distance = QUALITY_COLOURS(float(probability))[:3], abs(2.0 * probability - 1.0)

    def on(paper: str, least: float, most: float) -> str:
        share = least + (most - least) * distance
        mixed = [share * ink + (1.0 - share) * white for ink, white in zip(colour, to_rgb(paper))]
        return "#" + "".join(f"{round(255 * value):02x}" for value in mixed)

    return Shade(on(LIGHT_PAPER, *_LIGHT), on(DARK_PAPER, *_DARK))
