"""A client's assertion: a JWT by which it proves itself with a key of its record.

`private_key_jwt`: RFC 7523 §3, OpenID Connect Core 1.0 §9. The algorithm comes from the key, never from the
header (RFC 8725 §3.1), and a header that names a key or an address of its own is refused unread.
"""

import base64
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry

from service.domain.oidc.clients import Client, algorithms_of

#: Characters of an assertion, and of its `jti`.
_MAX, _MAX_JTI = 4096, 256
_HEADER = {"alg", "kid", "typ"}
_TYPES = (None, "JWT", "client-authentication+jwt")
#: How far ahead an assertion may end, and how far two clocks may differ.
LONGEST, LEEWAY = timedelta(hours=1), timedelta(seconds=30)


class BadAssertion(Exception):
    """An assertion that proves nothing. The text is private."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """One that holds: it is good once, by its `jti`, which has to be remembered until it ends."""

    jti: str
    expires_at: datetime


def subject(text: str) -> str:
    """Whom an assertion claims to be of, believed by nobody yet; empty where it says nothing."""
    try:
        named = _part(text, 1).get("sub")
    except BadAssertion:
        return ""
    return named if isinstance(named, str) else ""


def judge(text: str, client: Client, audiences: Sequence[str], now: datetime) -> Assertion:
    """An assertion of this client for one of these audiences. Raises BadAssertion."""
    header = _part(text, 0)
    if not set(header) <= _HEADER or header.get("typ") not in _TYPES:
        raise BadAssertion("the header holds more than an algorithm, a key's id and a type")
    key = _key(client, header.get("kid"))
    if header.get("alg") not in algorithms_of(key):
        raise BadAssertion("another algorithm than the key's")
    try:
        imported = JWKRegistry.import_key(dict(key))
        with warnings.catch_warnings():
            # `EdDSA` is deprecated (RFC 9864), but on the one curve that a record may hold it is Ed25519.
            warnings.simplefilter("ignore", SecurityWarning)
            claims = jwt.decode(text, imported, algorithms=[str(header["alg"])]).claims
    except (JoseError, ValueError, RecursionError) as fault:
        raise BadAssertion(f"the signature does not hold: {type(fault).__name__}") from None
    return _judged(claims, client, audiences, now)


def _judged(claims: Mapping[str, Any], client: Client, audiences: Sequence[str], now: datetime) -> Assertion:
    """RFC 7523 §3, in its order."""
    if claims.get("iss") != client.id or claims.get("sub") != client.id:
        raise BadAssertion("issuer and subject have to be the client")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(one in audiences for one in named):
        raise BadAssertion("for another audience")
    ends = _time(claims, "exp")
    if ends is None or ends <= now or ends > now + LONGEST + LEEWAY:
        raise BadAssertion("has no end, has ended, or ends too far ahead")
    if any((at := _time(claims, name)) is not None and at > now + LEEWAY for name in ("nbf", "iat")):
        raise BadAssertion("of a time that has not come")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI:
        raise BadAssertion("has no jti")
    return Assertion(jti, ends)


def _key(client: Client, kid: object) -> Mapping[str, Any]:
    """The one key that signed it: by its id, which only a single key may leave out."""
    keys = (client.jwks or {}).get("keys", [])
    fitting = [key for key in keys if kid is None or key.get("kid") == kid]
    if len(fitting) != 1:
        raise BadAssertion("the kid names no key of the client")
    found: Mapping[str, Any] = fitting[0]
    return found


def _part(text: str, place: int) -> Mapping[str, Any]:
    """A JSON object of a compact JWS (RFC 7515 §3.1), read before anything of it is believed."""
    parts = text.split(".")
    if len(text) > _MAX or not text.isascii() or len(parts) != 3:
        raise BadAssertion("not a compact JWS of a usual length")
    try:
        value = json.loads(base64.urlsafe_b64decode(parts[place] + "=" * (-len(parts[place]) % 4)))
    except (ValueError, RecursionError):
        raise BadAssertion("a part is not JSON") from None
    if not isinstance(value, dict):
        raise BadAssertion("a part is not an object")
    return value


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    """A NumericDate (RFC 7519 §2), or None where the claim is left out."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**33:
        raise BadAssertion(f"{name} is no time")
    return datetime.fromtimestamp(value, UTC)
