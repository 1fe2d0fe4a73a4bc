"""Sessions and their refresh families: forms of tokens, and what a presented generation means."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal
from uuid import UUID

#: What the built-in clients are granted.
FIRST_PARTY_SCOPE = "openid profile email account admin"
PRE_AUTH, REFRESH, DEVICE, BROWSER, TRUST = "dwp_", "dwr_", "dwd_", "dws_", "dwb_"
#: An authorization request under way, and the code that answers it.
REQUEST, CODE = "dwa_", "dwc_"
#: The handle of a pushed authorization request (RFC 9126 §2.2).
PUSHED = "urn:ietf:params:oauth:request_uri:"


class EndReason(StrEnum):
    """Why a session or a family ended; shown to its person."""

    SIGNED_OUT = "signed_out"
    IDLE = "idle"
    ABSOLUTE = "absolute"
    PASSWORD_CHANGED = "password_changed"
    TWO_FACTOR_CHANGED = "two_factor_changed"
    REFRESH_REUSE = "refresh_reuse"
    ADMIN = "admin"
    SESSION_LIMIT = "session_limit"
    USER_DISABLED = "user_disabled"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    CODE_REUSE = "code_reuse"


#: Authentication context classes: one factor, and both.
ACR_1FA, ACR_2FA = "urn:doorward:acr:1fa", "urn:doorward:acr:2fa"

#: Ends of a session that a grant with `offline_access` outlives: it was given to act while nobody is there.
#: Whatever protects the account ends it as well.
OUTLIVED_BY_OFFLINE = frozenset({EndReason.SIGNED_OUT, EndReason.IDLE, EndReason.ABSOLUTE})


class Verdict(StrEnum):
    """What a right refresh token of some generation is owed."""

    ROTATE = "rotate"
    SAME_SUCCESSOR = "same_successor"
    SUPERSEDED = "superseded"
    THEFT = "theft"


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """`dwr_` and base64url of family (16 bytes) ‖ generation (4 bytes) ‖ HMAC (32 bytes)."""

    family: UUID
    generation: int
    mac: bytes

    @property
    def signed(self) -> bytes:
        """The bytes under the HMAC, before the family's salt."""
        return self.family.bytes + self.generation.to_bytes(4, "big")

    def __str__(self) -> str:
        return opaque(REFRESH, self.signed + self.mac)


@dataclass(frozen=True, slots=True)
class DeviceToken:
    """`dwd_` and base64url of person (16 bytes) ‖ epoch (4 bytes) ‖ Unix time (8 bytes) ‖ HMAC (32 bytes).

    It tells that this browser once passed the whole sign-in of this person. It opens nothing: it
    chooses the budget of failures, so that strangers cannot lock the owner out. It ends with the
    epoch: whoever once signed in with a stolen password is a stranger again after it was changed.
    """

    person: UUID
    epoch: int
    issued_at: int
    mac: bytes

    @property
    def signed(self) -> bytes:
        return self.person.bytes + self.epoch.to_bytes(4, "big") + self.issued_at.to_bytes(8, "big")

    def __str__(self) -> str:
        return opaque(DEVICE, self.signed + self.mac)


@dataclass(frozen=True, slots=True)
class TrustToken:
    """`dwb_` and base64url of the trusted browser's id (16 bytes) ‖ a secret (32 bytes).

    It stands in for the second factor of its one person, beside their password and never in its place.
    """

    browser: UUID
    secret: bytes

    def __str__(self) -> str:
        return opaque(TRUST, self.browser.bytes + self.secret)


def opaque(prefix: str, raw: bytes) -> str:
    """A token's text: a prefix that names its kind, and base64url without padding."""
    return prefix + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parse_refresh(text: str) -> RefreshToken | None:
    raw = _raw(REFRESH, text, 52)
    return (raw and RefreshToken(UUID(bytes=raw[:16]), int.from_bytes(raw[16:20], "big"), raw[20:])) or None


def parse_device(text: str) -> DeviceToken | None:
    raw = _raw(DEVICE, text, 60)
    if raw is None:
        return None
    epoch, issued_at = int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:28], "big")
    return DeviceToken(UUID(bytes=raw[:16]), epoch, issued_at, raw[28:])


def parse_trust(text: str) -> TrustToken | None:
    raw = _raw(TRUST, text, 48)
    return (raw and TrustToken(UUID(bytes=raw[:16]), raw[16:])) or None


def is_pre_auth(text: str) -> bool:
    """Whether a text has the form of a pre-auth token: `dwp_` and 256 bits."""
    return _raw(PRE_AUTH, text, 32) is not None


def is_browser(text: str) -> bool:
    """Whether a text has the form of a browser's session cookie: `dws_` and 256 bits."""
    return _raw(BROWSER, text, 32) is not None


def _raw(prefix: str, text: str, size: int) -> bytes | None:
    length = (size * 4 + 2) // 3
    if len(text) != len(prefix) + length or not text.startswith(prefix) or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text[len(prefix) :] + "=" * (-length % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    # Base64 lets the last character vary in bits that decode to nothing: only one text is the token.
    return raw if opaque(prefix, raw) == text else None


def judge(presented: int, current: int, rotated_at: Sequence[datetime], now: datetime, grace: int) -> Verdict:
    """What a token with a right HMAC is owed.

    `rotated_at` tells, newest first, when each generation before `current` was superseded; `grace`
    is in seconds. Two tabs that refresh at once, and a client whose answer was lost, present the
    generation just superseded and get the same successor again as long as nobody used it. Anything
    older is either a straggler of the last seconds or a copy in other hands.
    """
    if presented >= current:
        # A newer one than the row's was handed out before a failover lost the write.
        return Verdict.ROTATE
    age = current - 1 - presented
    # A grace of 0 is strict, also for the loser of a race, whose `now` may be older than the winner's.
    if grace == 0 or age >= len(rotated_at) or rotated_at[age] + timedelta(seconds=grace) <= now:
        return Verdict.THEFT
    return Verdict.SAME_SUCCESSOR if age == 0 else Verdict.SUPERSEDED


def expired(idle_at: datetime, absolute_at: datetime, now: datetime) -> EndReason | None:
    """Which of its two lives ended a session or family: the one that ended first, whenever one asks."""
    if min(idle_at, absolute_at) > now:
        return None
    return EndReason.IDLE if idle_at < absolute_at else EndReason.ABSOLUTE


def acr(amr: Sequence[str]) -> str:
    """The authentication context class of what was proved."""
    return ACR_2FA if "mfa" in amr else ACR_1FA


def method(amr: Sequence[str]) -> Literal["password", "totp", "backup_code"]:
    """What completed a sign-in."""
    if "mfa" not in amr:
        return "password"
    return "totp" if "otp" in amr else "backup_code"


def narrowed(granted: str, roles: Sequence[str], amr: Sequence[str]) -> str:
    """A scope as it was granted to a client, without what the person or the session may not do now: `admin`
    needs a role and both factors, both read live."""
    return granted if roles and "mfa" in amr else " ".join(one for one in granted.split() if one != "admin")
