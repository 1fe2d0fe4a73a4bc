"""The service's keys as values: choose, sign, verify, publish. `stores/keys.py` loads them.

Three kinds live sealed in Postgres, and one outside it (the encryption keys that seal the others):

- `sign`: ES256 key pairs that sign tokens; the public halves stand in the JWKS.
- `token`: HMAC keys of refresh and device tokens. A family keeps the key it was born under.
- `pepper`: HMAC keys over the hashes of backup codes.
- `index`: the HMAC key of look-up digests (an e-mail's failure counter); never rotated alone.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from service.errors import Unavailable


class Kind(StrEnum):
    SIGN = "sign"
    TOKEN = "token"
    PEPPER = "pepper"
    INDEX = "index"


class BadToken(Exception):
    """A JWT that this keyring did not sign, or not for this use. The text is private."""


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Key:
    """One key. `material` is 32 random bytes, or for `sign` the PKCS#8 DER of a P-256 key.

    The id of a signing key is its RFC 7638 thumbprint, and so is its `kid`.
    """

    id: str
    kind: Kind
    material: bytes
    created_at: datetime
    active_from: datetime

    @cached_property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_der_private_key(self.material, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("a signing key must be a P-256 key")
        return key

    @cached_property
    def public_jwk(self) -> Mapping[str, str]:
        numbers = self.private_key.public_key().public_numbers()
        point = {"x": b64url(numbers.x.to_bytes(32, "big")), "y": b64url(numbers.y.to_bytes(32, "big"))}
        return {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, **point}

    @cached_property
    def verifier(self) -> ECKey:
        """The key as joserfc wants it, imported once since that costs more than a verification."""
        return ECKey.import_key(dict(self.public_jwk))

    def header(self, typ: str) -> str:
        return b64url(json.dumps({"alg": "ES256", "typ": typ, "kid": self.id}).encode())


def new_signing_material() -> tuple[str, bytes]:
    """A fresh P-256 key: its thumbprint (RFC 7638) and its PKCS#8 DER."""
    private = ec.generate_private_key(ec.SECP256R1())
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ECKey.import_key(private).thumbprint(), der


class Keyring:
    """Immutable; a reload makes a new one."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._by_kind = {kind: [k for k in keys if k.kind is kind] for kind in Kind}
        self._signers = {key.id: key for key in self._by_kind[Kind.SIGN]}
        self._headers = {(k.id, t): k.header(t) for k in self._signers.values() for t in ("JWT", "at+jwt")}
        self.jwks = json.dumps({"keys": [dict(k.public_jwk) for k in self._signers.values()]}).encode()

    @property
    def missing(self) -> list[Kind]:
        return [kind for kind, keys in self._by_kind.items() if not keys]

    def all(self, kind: Kind) -> Sequence[Key]:
        """Every live key of a kind, newest first."""
        return sorted(self._by_kind[kind], key=lambda key: key.active_from, reverse=True)

    def active(self, kind: Kind, now: datetime) -> Key:
        """The newest key whose time has come; a key may be published before it is used.

        Raises Unavailable in a node that came up before its database and has read no key yet.
        """
        keys = self.all(kind)
        if not keys:
            raise Unavailable(f"no {kind} key has been read yet", retry_after=2)
        return next((key for key in keys if key.active_from <= now), keys[-1])

    def get(self, kind: Kind, key_id: str) -> Key | None:
        return next((key for key in self._by_kind[kind] if key.id == key_id), None)

    def sign(self, claims: Mapping[str, object], typ: str, now: datetime) -> str:
        """A compact JWS, ES256 (RFC 7518 §3.4).

        The signature is made raw because this is on every hot path: the library's way costs half
        as much again as the signature itself. The tests check the result against joserfc.
        """
        key = self.active(Kind.SIGN, now)
        body = f"{self._headers[key.id, typ]}.{b64url(msgspec.json.encode(claims))}"
        der = key.private_key.sign(body.encode("ascii"), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return f"{body}.{b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def verify(self, token: str, typ: str) -> Mapping[str, object]:
        """The claims of a JWS that one of our keys signed, of just this `typ`; BadToken otherwise.

        The algorithm comes from the key, never from the header; `typ` is compared before anything
        else may be believed, so that an ID token never passes as an access token (RFC 9068 §4).
        """
        if len(token) > 4096 or not token.isascii():
            raise BadToken("longer than any token we sign, or not ASCII")
        try:
            header = json.loads(base64.urlsafe_b64decode(token.split(".", 1)[0] + "=="))
        except (ValueError, RecursionError):
            raise BadToken("the header is not JSON") from None
        if not isinstance(header, dict) or set(header) != {"alg", "typ", "kid"} or header["typ"] != typ:
            raise BadToken("the header is not one of ours")
        key = self._signers.get(str(header["kid"]))
        if key is None:
            raise BadToken("the kid is unknown")
        try:
            return jwt.decode(token, key.verifier, algorithms=["ES256"]).claims
        except (JoseError, ValueError) as fault:
            raise BadToken(f"the signature does not hold: {type(fault).__name__}") from None
