"""How many failures a person may have, and how long to wait. Times are aware UTC, waits seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Literal

#: Password failures without a wait, the longest wait (s), and when failures are forgotten.
FREE_PASSWORD_FAILURES = 5
LONGEST_PASSWORD_WAIT = 30
FORGOTTEN_AFTER = timedelta(days=1)
#: A password try that is pending longer than this belongs to a process that died (s).
STALE_AFTER = timedelta(seconds=15)
#: Letters of one kind that a person may be sent in a day at others' wish.
LETTERS_A_DAY = 5
#: Refusals of one kind that are written down: one for each so long.
REFUSALS_APART = timedelta(minutes=5)
#: Authenticators of a person.
MOST_AUTHENTICATORS = 8


@dataclass(frozen=True, slots=True)
class Budget:
    """A person's second-factor failures: in five minutes, an hour, a day, and in a row."""

    per_5_minutes: int = 5
    per_hour: int = 20
    per_day: int = 50
    in_a_row: int = 100

    @property
    def windows(self) -> Sequence[tuple[int, timedelta]]:
        return (
            (self.per_5_minutes, timedelta(minutes=5)),
            (self.per_hour, timedelta(hours=1)),
            (self.per_day, timedelta(days=1)),
        )

    def wait(self, failures: Sequence[datetime], now: datetime) -> int:
        """Seconds until another guess is allowed; 0 when it is now. `failures` is newest first."""
        return max(
            (
                ceil((failures[limit - 1] + window - now).total_seconds())
                for limit, window in self.windows
                if len(failures) >= limit and failures[limit - 1] + window > now
            ),
            default=0,
        )

    def recent(self, failures: Sequence[datetime], now: datetime) -> int:
        """Failures in the shortest window: at 1 a burst begins."""
        return sum(at + self.windows[0][1] > now for at in failures)

    def left(self, failures: Sequence[datetime], now: datetime) -> int:
        """How many more guesses may fail before a wait."""
        return max(
            0, min(limit - sum(at + window > now for at in failures) for limit, window in self.windows)
        )


def since(failures: Sequence[datetime], window: timedelta, now: datetime) -> int:
    """How many failures are younger than a window."""
    return sum(at + window > now for at in failures)


def requires_two_factors(required: Literal["off", "all"]) -> bool:
    """Whether the policy asks a second factor of somebody."""
    return required == "all"


def attempts_left(token_attempts: int, token_limit: int, person_left: int) -> int:
    """The smaller of the token's and the person's."""
    return max(0, min(token_limit - token_attempts, person_left))


def stepped_up(
    *, auth_time: datetime, two_factors: bool, enrolled: bool, now: datetime, seconds: int
) -> bool:
    """Whether this session has proved everything its person has, at most `seconds` ago."""
    return auth_time + timedelta(seconds=seconds) > now and (two_factors or not enrolled)
