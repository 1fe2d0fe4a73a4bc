"""The one clock. Nothing else in the service asks the machine for the time.

All nodes must agree on what "now" is, or a TOTP step could be open on one and closed on another.
So a node's time is its monotonic clock plus an offset to Postgres's `clock_timestamp()`: a jump of
the machine's wall clock changes nothing, and every node lives by the database's time.
"""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """`now()` is an aware UTC time. `set_to(true, uncertainty)` is called about every ten seconds."""

    def __init__(self) -> None:
        self._zero = datetime.now(UTC) - timedelta(seconds=time.monotonic())
        #: How far the machine's own wall clock is from Postgres's, in seconds; None before a sync.
        self.skew: float | None = None

    def now(self) -> datetime:
        return self._zero + timedelta(seconds=time.monotonic())

    def set_to(self, true: datetime) -> None:
        """Adopt `true` (aware UTC) as the present moment."""
        self.skew = (datetime.now(UTC) - true).total_seconds()
        self._zero = true - timedelta(seconds=time.monotonic())


def monotonic() -> float:
    """Seconds of a clock that never jumps, for budgets, breakers and durations."""
    return time.monotonic()
