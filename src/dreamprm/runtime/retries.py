"""When a request to a server is sent again: exponential back-off, and what the server itself asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from dreamprm.config.errors import UserError


@dataclass(frozen=True)
class Retries:
    """Exponential back-off with jitter, never shorter than the wait that the server asked for.

        wait_k = max(asked, min(longest, first 2^k) u),  u uniform in [1/2, 1),  k = 0, 1, ...

    The jitter keeps requests that failed together from being retried together.

    Attributes:
        count: how often one request is retried, >= 0.
        first: the wait for k = 0 in seconds, before jitter, >= 0.
        longest: longest wait in seconds; if the server asks for more, the request fails.

    Raises:
        UserError: a value is below its bound.
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
            The wait; None if no further try should be made: all are used up, or the server asks for more than
            `longest`.
        """
        if failures > self.count or (asked is not None and asked > self.longest):
            return None
        # 2^k overflows a float at k = 1024; every wait reaches `longest` long before that.
        backoff = min(self.longest, self.first * 2.0 ** min(failures - 1, 64))
        return max(asked or 0.0, backoff * (0.5 + uniform / 2))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for: a number, or an HTTP date (RFC 9110, 10.2.3).

    Args:
        value: the header, or None if it is missing.
        now: the time that a date is compared with; None: the current time.

    Returns:
        Seconds >= 0, or None if the header is missing or neither a number nor a date.
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
        if date.tzinfo is None:  # "-0000": a UTC date from a source that does not know its own time zone
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    # A NaN compares False; an infinite wait stays infinite and makes the request fail.
    return max(seconds, 0.0) if seconds == seconds else None
