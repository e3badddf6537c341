"""How long to wait before a request that failed is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from dreamprm.config.errors import UserError


@dataclass(frozen=True)
class Retries:
    """Exponential back-off with jitter that never comes before the time the server asked for.

        wait_k = max(asked, min(longest, first 2^k) u),  u uniform in [1/2, 1),  k = 0, 1, ...

    The jitter keeps requests that failed together from coming back together.

    Attributes:
        count: how often one request is sent again, >= 0.
        first: k = 0's wait in seconds before jitter, >= 0.
        longest: bounds a wait in seconds; a server that asks for more ends the request.

    Raises:
        UserError: a value below its bound.
    """

    count: int = 6
    first: float = 1.0
    longest: float = 120.0

    def __post_init__(self) -> None:
        for name in ("count", "first", "longest"):
            value = getattr(self, name)
            if not value >= 0:
                raise UserError(f"retries: {name} must be >= 0, got {value!r}")

    def wait(self, failures: int, *, asked: float | None, uniform: float) -> float | None:
        """Seconds until the next try.

        Args:
            failures: how often the request has failed already, >= 1.
            asked: the server's Retry-After in seconds, or None.
            uniform: a draw from [0, 1).

        Returns:
            The wait; None where no further try should be made: all are spent, or the server asks for more
            than `longest`.
        """
        if failures > self.count or (asked is not None and asked > self.longest):
            return None
        # 2^k overflows a float at k = 1024; long before, every wait is `longest`.
        backoff = min(self.longest, self.first * 2.0 ** min(failures - 1, 64))
        return max(asked or 0.0, backoff * (0.5 + uniform / 2))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for: a number, or an HTTP date (RFC 9110, 10.2.3).

    Args:
        value: the header, or None where there is none.
        now: the time that a date is compared with; None: now.

    Returns:
        Seconds >= 0, or None where the header is missing or neither of the two.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:  # "-0000": a date in UTC of a source that does not know its own zone
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    # A NaN compares False; an infinite wait stays one, and ends the request.
    return max(seconds, 0.0) if seconds == seconds else None
