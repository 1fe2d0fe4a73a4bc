"""What a User-Agent tells people: "Firefox 128" on "Windows 10"."""

from dataclasses import dataclass
from functools import lru_cache

from ua_parser import OS, UserAgent, parse


@dataclass(frozen=True, slots=True)
class Agent:
    """A browser (or another program) and its operating system, where they are known."""

    browser: str | None
    os: str | None


@lru_cache(maxsize=1024)
def agent_of(text: str) -> Agent:
    """Read a User-Agent of at most 300 characters, as sessions and events keep it."""
    found = parse(text)
    return Agent(*map(_told, (found.user_agent, found.os)))


def _told(part: UserAgent | OS | None) -> str | None:
    return " ".join(filter(None, [part.family, part.major])) if part else None
