"""Trusted browsers: which sign-in may make one."""

from collections.abc import Sequence
from datetime import timedelta

#: Living ones of a person; the oldest gives way.
MOST = 20
#: A token that was replaced so lately is another tab's, not a thief's.
STRAGGLERS = timedelta(seconds=10)


def may_be_made(amr: Sequence[str], days: int) -> bool:
    """Whether a sign-in that proved `amr` may make its browser a trusted one for so many days.

    Only an authenticator's code can: a backup code is for when the device is lost, often on somebody else's
    machine, and what is good once must not leave behind what is good for weeks.
    """
    return days > 0 and "otp" in amr
