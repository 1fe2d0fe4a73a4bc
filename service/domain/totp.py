"""Time-based one-time passwords (RFC 6238) as a function of values, and the picture to enrol one."""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TypeAlias

import pyotp
from qrcode.constants import ERROR_CORRECT_M
from qrcode.main import QRCode

#: Time steps accepted on either side of the present one.
WINDOW = 1
#: How many steps back a code is still recognised, to tell that a clock is behind.
SKEW_REACH = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Digits of a code, seconds of a step, and the HMAC's hash: SHA1, SHA256 or SHA512."""

    digits: int = 6
    period: int = 30
    algorithm: str = "SHA1"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The code of a step that is open and unspent."""

    step: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """The code of the last accepted step."""

    step: int


@dataclass(frozen=True, slots=True)
class Behind:
    """The code of a past step, out of the window: the sender's clock is behind by so many seconds."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """The code of no step that matters."""


Verdict: TypeAlias = Accepted | Replayed | Behind | Wrong


def is_code(text: str, digits: int = 6) -> bool:
    """Whether a text is so many ASCII digits; nothing else may reach a comparison."""
    return re.fullmatch(f"[0-9]{{{digits}}}", text, re.ASCII) is not None


def step_at(now: datetime, period: int = 30) -> int:
    """The time step of a moment (RFC 6238 §4.2): whole periods of so many seconds since the epoch.

    Raises TypeError for a naive `now`, which would be read in the machine's own time zone.
    """
    return (now - _EPOCH) // timedelta(seconds=period)


def code_at(secret: bytes, step: int, parameters: Parameters = Parameters()) -> str:
    """The code of a step (RFC 4226 §5.3), as so many ASCII digits.

    Our own four lines, since the library refuses the 80-bit seeds that other systems hand over.
    Raises ValueError for an unknown algorithm, OverflowError for a step before the epoch.
    """
    mac = hmac.digest(secret, step.to_bytes(8, "big"), parameters.algorithm.lower())
    offset = mac[-1] & 0xF
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**parameters.digits).zfill(parameters.digits)


def match(
    secret: bytes,
    code: str,
    now: datetime,
    last_step: int | None,
    parameters: Parameters = Parameters(),
    window: int = WINDOW,
) -> Verdict:
    """Tell what a code (seen by `is_code`) is worth at `now`, when `last_step` was the last spent.

    `now` is aware, `window` in steps on either side. RFC 6238 §5.2: a step is good once, and never
    after a later one. Where one text is the code of several open steps, the earliest is accepted, so
    that no more of them close than must.

    Every step that could matter is compared, always, so that the time taken tells nothing. Never a
    future step beyond the window: whoever could learn that a code will be valid could keep it.
    """
    present = step_at(now, parameters.period)
    burnt = -1 if last_step is None else last_step
    wanted = code.encode("ascii")
    hits = [
        step
        for step in range(max(0, present - max(SKEW_REACH, window)), present + window + 1)
        if hmac.compare_digest(code_at(secret, step, parameters).encode("ascii"), wanted)
    ]
    fresh = [step for step in hits if step > burnt]
    opened = [step for step in fresh if step >= present - window]
    if opened:
        return Accepted(opened[0])
    if burnt in hits:
        return Replayed(burnt)
    if fresh:
        return Behind((present - fresh[-1]) * parameters.period)
    return Wrong()


def provisioning_uri(secret: bytes, account: str, issuer: str, parameters: Parameters = Parameters()) -> str:
    """The `otpauth://` URI that an authenticator app reads; what is usual (SHA1, 6, 30) is left out.

    Raises ValueError for a secret below 112 bits, which we never make and so never show.
    """
    totp = pyotp.TOTP(
        _base32(secret),
        digits=parameters.digits,
        interval=parameters.period,
        digest=getattr(hashlib, parameters.algorithm.lower()),
    )
    return totp.provisioning_uri(name=account, issuer_name=issuer)


def display_key(secret: bytes) -> str:
    """The seed to type by hand: base32 in groups of four, 160 bits as 32 characters."""
    text = _base32(secret)
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def qr_svg(uri: str) -> str:
    """A QR code as compact SVG with a white quiet zone of four modules, one path of runs.

    The mask is fixed: trying all eight costs ten times as much, and every reader takes any. Moves are
    relative, which keeps a usual code near 6 KB. There is no style, no script and no reference, so
    that the strictest content security policy lets it stand in a page.
    """
    qr = QRCode(error_correction=ERROR_CORRECT_M, border=4, mask_pattern=2)
    qr.add_data(uri)
    qr.make(fit=True)
    rows = qr.get_matrix()
    size, runs, pen_x, pen_y = len(rows), "", 0, 0
    for y, row in enumerate(rows):
        x = 0
        for dark, modules in groupby(row):
            length = len(list(modules))
            if dark:
                runs += f"m{x - pen_x} {y - pen_y}h{length}v1h-{length}"
                pen_x, pen_y = x, y + 1
            x += length
    runs = runs.replace(" -", "-")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" role="img" '
        f'shape-rendering="crispEdges"><title>QR code for your authenticator app</title>'
        f'<rect width="{size}" height="{size}" fill="#fff"/><path d="{runs}"/></svg>'
    )


def _base32(secret: bytes) -> str:
    return base64.b32encode(secret).decode().rstrip("=")
