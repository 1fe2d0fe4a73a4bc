"""What the suite demands of every answer; what it only warns of fails here."""

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.conformance.browser import seconds_now

#: Skew that the suite allows a clock, seconds.
SKEW = 300
#: RFC 6749 §5.2: the characters of an error, and of its description.
_ERROR = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")
#: What an ID token may hold (OpenID Connect Core 1.0 §2, §3.1.3.6; Back-Channel Logout 1.0 §2.1). Of the
#: person there is nothing: in the code flow the userinfo endpoint carries what a scope asks for (§5.4).
_ID_TOKEN = frozenset(
    ("iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "sid")
)
#: RFC 6750 §2.1.
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


@dataclass(frozen=True)
class IdToken:
    """An ID token that was found good."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def sub(self) -> str:
        return str(self.claims["sub"])

    @property
    def auth_time(self) -> int:
        found = self.claims["auth_time"]
        assert type(found) is int
        return found


def entropy(text: str) -> float:
    """Shannon's estimate over a text's own characters, bits."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares) * len(text)


def check_secret(text: str) -> None:
    """A code or a token that nobody can guess: 128 bits long, with 96 bits of entropy."""
    assert len(text) * 8 >= 128
    assert entropy(text) >= 96
    assert _B64TOKEN.fullmatch(text)


def check_error(told: Mapping[str, Any], *expected: str) -> None:
    """An error's members are of the standard's alphabet, and the error is one of those expected."""
    assert told["error"] in expected, told
    assert _ERROR.fullmatch(told["error"])
    assert _ERROR.fullmatch(told.get("error_description", "absent"))
    assert "code" not in told or told["code"] == told["error"], "no code beside an error"


def check_token_headers(answer: httpx.Response) -> None:
    """JSON that nobody may keep (RFC 6749 §5.1)."""
    kind, _, charset = answer.headers["content-type"].partition(";")
    assert kind.strip() == "application/json"
    assert charset.strip().lower() in ("", "charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


def check_id_token(
    text: str, keys: Mapping[str, Any], *, issuer: str, client: str, nonce: str | None, access_token: str
) -> IdToken:
    """OpenID Connect Core 1.0 §3.1.3.7 and §3.1.3.8, for the default algorithm."""
    found = jwt.decode(text, KeySet.import_key_set(dict(keys)), algorithms=["RS256"])  # type: ignore[arg-type]
    header, claims = found.header, found.claims
    check_kid(header, keys)
    assert claims["iss"] == issuer
    assert claims["aud"] in (client, [client])
    assert claims.get("azp", client) == client
    now = seconds_now()
    for name in ("iat", "exp", "auth_time"):
        assert type(claims[name]) is int, name
    assert abs(claims["iat"] - now) < SKEW
    assert claims["iat"] < claims["exp"]
    assert now < claims["exp"] < now + 86_400
    assert claims["auth_time"] <= claims["iat"]
    assert type(claims["sub"]) is str
    assert 0 < len(claims["sub"]) <= 255
    assert claims["sub"].isascii()
    assert claims.get("nonce") == nonce
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    assert type(claims["acr"]) is str
    assert all(type(one) is str for one in claims["amr"])
    assert claims.keys() <= _ID_TOKEN, f"unexpected in an ID token: {claims.keys() - _ID_TOKEN}"
    return IdToken(text, header, claims)


def check_kid(header: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
    """RS256 by a key that its `kid` finds alone in the JWKS."""
    assert header["alg"] == "RS256"
    (key,) = [key for key in keys["keys"] if key.get("kid") == header["kid"]]
    assert key["kty"] == "RSA"
    assert key.get("alg", "RS256") == "RS256"
    assert key.get("use", "sig") == "sig"


def check_same_sign_in(first: IdToken, second: IdToken) -> None:
    """The same person by the same sign-in, told by two ID tokens."""
    for name in ("iss", "sub", "aud", "auth_time", "sid", "acr"):
        assert second.claims.get(name) == first.claims.get(name), name


def check_newer_sign_in(first: IdToken, second: IdToken) -> None:
    """The same person, who signed in again meanwhile."""
    assert second.sub == first.sub
    assert second.auth_time > first.auth_time
