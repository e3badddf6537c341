"""The Wilson score interval of a share."""

from __future__ import annotations

from math import sqrt


def wilson_interval(right: int, total: int, *, z: float = 1.96) -> tuple[float, float]:
    """The values p that a share right/total does not contradict at z standard errors.

        (f + z^2 / 2n -+ z sqrt(f (1 - f) / n + z^2 / 4n^2)) / (1 + z^2 / n),    f = right / total, n = total

    These are the two p with |f - p| = z sqrt(p (1 - p) / n). Unlike f -+ z sqrt(f (1 - f) / n) it stays in
    [0, 1] and is not of width 0 when all rollouts agree, which is what few rollouts often do.

    Args:
        right: how many rollouts ended right, 0 <= right <= total.
        total: of how many; of none nothing is known, and the interval is (0, 1).
        z: how many standard errors, > 0; 1.96 for 95 %.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: counts or z out of range.

    Source: Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    if not 0 <= right <= total:
        raise ValueError(f"right must be 0 to total={total}, got {right}")
    if not z > 0:
        raise ValueError(f"z must be > 0, got {z}; 1.96 gives an interval of 95 %")
    if total == 0:
        return 0.0, 1.0
    share = right / total
    centre = share + z * z / (2 * total)
    reach = z * sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    # All alike, the far end is exactly 0 or 1; rounding must not carry it past that.
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)
