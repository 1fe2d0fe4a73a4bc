"""The service's keys as values: choose, sign, verify, publish. `stores/keys.py` loads them.

They live sealed in Postgres, and one outside it (the encryption keys that seal the others):

- `sign`, `sign_rs256`, `sign_ed25519`: key pairs that sign tokens, a kind for each algorithm; the public
  halves stand in the JWKS.
- `token`: HMAC keys of refresh and device tokens. A family keeps the key it was born under.
- `pepper`: HMAC keys over the hashes of backup codes.
- `index`: the HMAC key of look-up digests (an e-mail's failure counter); never rotated alone.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Literal, TypeAlias, assert_never

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from service.errors import Unavailable

#: The JOSE names of what we sign with (RFC 7518 §3.1, RFC 9864 §2.2).
Alg: TypeAlias = Literal["ES256", "RS256", "Ed25519"]
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey
PublicJwk: TypeAlias = ECKey | RSAKey | OKPKey

#: How long anybody may keep the JWKS, as its Cache-Control says.
JWKS_MAX_AGE = timedelta(minutes=5)
#: The `typ` of what we sign: ID, access (RFC 9068) and logout tokens.
_TYPES = ("JWT", "at+jwt", "logout+jwt")


class Kind(StrEnum):
    SIGN = "sign"
    SIGN_RS256 = "sign_rs256"
    SIGN_ED25519 = "sign_ed25519"
    TOKEN = "token"
    PEPPER = "pepper"
    INDEX = "index"


#: Each kind of signing key with its one algorithm. The algorithm is a property of the key: a header that
#: names another is a forgery, not a choice (RFC 8725 §3.1).
ALGORITHMS: Mapping[Kind, Alg] = {
    Kind.SIGN: "ES256",
    Kind.SIGN_RS256: "RS256",
    Kind.SIGN_ED25519: "Ed25519",
}
SIGNING: Mapping[Alg, Kind] = {alg: kind for kind, alg in ALGORITHMS.items()}


class BadToken(Exception):
    """A JWT that this keyring did not sign, or not for this use. The text is private."""


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Key:
    """One key. `material` is 32 random bytes, or the PKCS#8 DER of a signing key.

    The id of a signing key is its RFC 7638 thumbprint, and so is its `kid`.
    """

    id: str
    kind: Kind
    material: bytes
    created_at: datetime
    active_from: datetime

    @property
    def alg(self) -> Alg:
        return ALGORITHMS[self.kind]

    @cached_property
    def private_key(self) -> PrivateKey:
        # The seal has authenticated these bytes as ours. To prove an RSA key's primes once more takes 84 ms
        # of the event loop, in every worker and at every reload.
        key = serialization.load_der_private_key(
            self.material, password=None, unsafe_skip_rsa_key_validation=True
        )
        match self.alg, key:
            case ("ES256", ec.EllipticCurvePrivateKey()) if isinstance(key.curve, ec.SECP256R1):
                return key
            case ("RS256", rsa.RSAPrivateKey()):
                return key
            case ("Ed25519", Ed25519PrivateKey()):
                return key
        raise TypeError(f"not a key of {self.alg}")

    @cached_property
    def public_jwk(self) -> Mapping[str, str]:
        """The public half alone (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2)."""
        numbers = _imported(self.private_key).as_dict(private=False)
        return {
            **{name: str(value) for name, value in numbers.items() if name != "kid"},
            "use": "sig",
            "alg": self.alg,
            "kid": self.id,
        }

    @cached_property
    def verifier(self) -> PublicJwk:
        """The public half as joserfc wants it, imported once since that costs more than a verification."""
        return _imported(self.private_key.public_key())

    def header(self, typ: str) -> str:
        return b64url(json.dumps({"alg": self.alg, "typ": typ, "kid": self.id}).encode())

    def signature(self, data: bytes) -> bytes:
        """The signature of a JWS (RFC 7518 §3.3 and §3.4, RFC 8037 §3.1)."""
        key = self.private_key
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return key.sign(data)


def _imported(key: PrivateKey | PublicKeyTypes) -> PublicJwk:
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return ECKey.import_key(key)
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return RSAKey.import_key(key)
    if isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        return OKPKey.import_key(key)
    raise TypeError("a key that nothing is signed with")


def new_signing_material(kind: Kind) -> tuple[str, bytes]:
    """A fresh key of a signing kind: its thumbprint (RFC 7638) and its PKCS#8 DER.

    RSA with 3072 bits takes some tenths of a second: not for the event loop.
    """
    private: PrivateKey
    match ALGORITHMS[kind]:
        case "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
        case "RS256":
            private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        case "Ed25519":
            private = Ed25519PrivateKey.generate()
        case unknown:
            assert_never(unknown)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _imported(private).thumbprint(), der


class Keyring:
    """Immutable; a reload makes a new one."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._by_kind = {
            kind: sorted(
                (k for k in keys if k.kind is kind), key=lambda k: (k.active_from, k.id), reverse=True
            )
            for kind in Kind
        }
        self._signers = {key.id: key for key in keys if key.kind in ALGORITHMS}
        self._headers = {(key.id, typ): key.header(typ) for key in self._signers.values() for typ in _TYPES}
        self.jwks = json.dumps({"keys": [dict(k.public_jwk) for k in self._signers.values()]}).encode()

    @property
    def missing(self) -> list[Kind]:
        return [kind for kind, keys in self._by_kind.items() if not keys]

    def all(self, kind: Kind) -> Sequence[Key]:
        """Every living key of a kind, newest first."""
        return self._by_kind[kind]

    def active(self, kind: Kind, now: datetime) -> Key:
        """The newest key whose time has come; a key may be published before it is used.

        Raises Unavailable in a node that came up before its database and has read no key yet.
        """
        keys = self._by_kind[kind]
        if not keys:
            raise Unavailable(f"no {kind} key has been read yet", retry_after=2)
        return next((key for key in keys if key.active_from <= now), keys[-1])

    def get(self, kind: Kind, key_id: str) -> Key | None:
        return next((key for key in self._by_kind[kind] if key.id == key_id), None)

    def find(self, key_id: str) -> Key | None:
        """A living key of whatever kind."""
        return next((key for kind in Kind for key in self._by_kind[kind] if key.id == key_id), None)

    def superseded_at(self, key: Key) -> datetime | None:
        """When the next key of its kind takes over from one, or took over; None for the newest."""
        newer = self._by_kind[key.kind][: self._by_kind[key.kind].index(key)]
        return newer[-1].active_from if newer else None

    def sign(self, claims: Mapping[str, object], typ: str, now: datetime, alg: Alg = "ES256") -> str:
        """A compact JWS (RFC 7515 §3.1) by the active key of an algorithm.

        The signature is made raw because this is on every hot path: the library's way costs half
        as much again as the signature itself. The tests check the result against joserfc.
        """
        key = self.active(SIGNING[alg], now)
        body = f"{self._headers[key.id, typ]}.{b64url(msgspec.json.encode(claims))}"
        return f"{body}.{b64url(key.signature(body.encode('ascii')))}"

    def verify(self, token: str, typ: str, most: int = 4096) -> Mapping[str, object]:
        """The claims of a JWS that one of our keys signed, of just this `typ`; BadToken otherwise.

        The algorithm comes from the key that `kid` names, never from the header: whoever may choose it
        signs with what is public (RFC 8725 §2.1). `typ` is compared before anything else may be believed,
        so that an ID token never passes as an access token (RFC 9068 §4).
        """
        if len(token) > most or not token.isascii():
            raise BadToken("longer than may come here, or not ASCII")
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
            return jwt.decode(token, key.verifier, algorithms=[key.alg]).claims
        except (JoseError, ValueError, RecursionError) as fault:
            raise BadToken(f"the signature does not hold: {type(fault).__name__}") from None
