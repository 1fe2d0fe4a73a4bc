"""Access tokens forged by whoever knows all that is public, and for some claims even the keys."""

import base64
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from service.keyring import ALGORITHMS, Key, Kind, new_signing_material
from service.world import World
from tests.attacks.forgery import b64

ZERO = "00000000-0000-7000-8000-000000000000"
Forgery: TypeAlias = Callable[["Forger"], str]


class Forger:
    """Knows everything that is public, and for claims of other kinds even the private keys."""

    def __init__(self, world: World, genuine: str) -> None:
        now = world.clock.now()
        self.key, self.rsa, self.ed25519 = (world.keyring.active(kind, now) for kind in ALGORITHMS)
        self.own = Key(*self._made(Kind.SIGN), now, now)
        self.own_rsa = Key(*self._made(Kind.SIGN_RS256), now, now)
        self.parts = genuine.split(".")
        self.header, self.claims = (
            json.loads(base64.urlsafe_b64decode(part + "==")) for part in self.parts[:2]
        )
        self.now = int(now.timestamp())

    def _made(self, kind: Kind) -> tuple[str, Kind, bytes]:
        name, material = new_signing_material(kind)
        return name, kind, material

    def body(self, header: Mapping[str, Any], claims: Mapping[str, Any] | None = None) -> str:
        return f"{b64(header)}.{b64(self.claims if claims is None else claims)}"

    def signed(
        self,
        header: Mapping[str, Any],
        claims: Mapping[str, Any] | None = None,
        *,
        own: bool = False,
        by: Key | None = None,
    ) -> str:
        body = self.body(header, claims)
        key = by or (self.own if own else self.key)
        return f"{body}.{b64(key.signature(body.encode()))}"

    def named(self, key: Key, **more: object) -> Mapping[str, object]:
        """A header that names one of our keys."""
        return {**self.header, "kid": key.id, "alg": key.alg, **more}

    def with_header(self, **more: object) -> str:
        return self.signed(self.header | more)

    def with_claims(self, **more: object) -> str:
        return self.signed(self.header, self.claims | more)

    def without_claim(self, name: str) -> str:
        return self.signed(self.header, {k: v for k, v in self.claims.items() if k != name})

    def hmac(self, key: bytes, alg: str = "HS256", **header: object) -> str:
        body = self.body(self.header | {"alg": alg} | header)
        return f"{body}.{b64(hmac.digest(key, body.encode(), 'sha256'))}"

    def der(self) -> str:
        body = self.body(self.header)
        key = self.key.private_key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return f"{body}.{b64(key.sign(body.encode(), ec.ECDSA(hashes.SHA256())))}"

    def pss(self, alg: str) -> str:
        body = self.body(self.named(self.rsa, alg=alg))
        key = self.rsa.private_key
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = key.sign(body.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        return f"{body}.{b64(signature)}"

    def edwards(self, alg: str) -> str:
        return self.signed(self.named(self.ed25519, alg=alg), by=self.ed25519)

    def pem(self, key: Key) -> bytes:
        return key.private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def forgeries() -> Iterator[tuple[str, Forgery]]:
    for alg in ("none", "None", "NONE", "nOnE", ""):
        yield f"alg {alg!r}", lambda f, alg=alg: f.body(f.header | {"alg": alg}) + "."  # type: ignore[misc]
    yield "alg none with our signature", lambda f: f"{f.body(f.header | {'alg': 'none'})}.{f.parts[2]}"
    yield "an empty signature", lambda f: ".".join(f.parts[:2]) + "."
    yield "no signature", lambda f: ".".join(f.parts[:2])
    yield "four parts", lambda f: ".".join([*f.parts, f.parts[2]])
    yield "a signature of zeros", lambda f: ".".join([*f.parts[:2], b64(bytes(64))])
    yield "a DER signature", lambda f: f.der()
    yield "HS256 by the JWK", lambda f: f.hmac(json.dumps(dict(f.key.public_jwk)).encode())
    yield "HS256 by the PEM", lambda f: f.hmac(f.pem(f.key))
    yield "HS256 by x", lambda f: f.hmac(f.key.public_jwk["x"].encode())
    yield "HS256 by nothing", lambda f: f.hmac(b"")
    yield "HMAC as ES256", lambda f: f.hmac(f.pem(f.key), "ES256")
    for alg in ("RS256", "PS256", "Ed25519", "EdDSA", "es256", "ES256K"):
        yield f"{alg} in the header of our ES256 key", lambda f, alg=alg: f.with_header(alg=alg)  # type: ignore[misc]
    yield "ES256 by the RSA key's name", lambda f: f.signed(f.named(f.rsa, alg="ES256"))
    yield "RS256 by the ES256 key's name", lambda f: f.signed(f.named(f.key, alg="RS256"), by=f.rsa)
    yield "Ed25519 by the ES256 key's name", lambda f: f.signed(f.named(f.key, alg="Ed25519"), by=f.ed25519)
    yield "an RSA key of theirs by our name", lambda f: f.signed(f.named(f.rsa), by=f.own_rsa)
    yield "HS256 by the PEM of the RSA key", lambda f: f.hmac(f.pem(f.rsa), kid=f.rsa.id)
    yield "HS256 by the PEM less its end of line", lambda f: f.hmac(f.pem(f.rsa).strip(), kid=f.rsa.id)
    yield "HS256 by n", lambda f: f.hmac(f.rsa.public_jwk["n"].encode(), kid=f.rsa.id)
    yield "HS256 by the Ed25519 key", lambda f: f.hmac(f.pem(f.ed25519), kid=f.ed25519.id)
    yield "RS256 that is an HMAC", lambda f: f.hmac(f.pem(f.rsa), "RS256", kid=f.rsa.id)
    for alg in ("PS256", "RS256"):
        yield f"PSS as {alg}", lambda f, alg=alg: f.pss(alg)  # type: ignore[misc]
    for alg in ("RS384", "RS512", "RS1", "none", ""):
        yield f"{alg!r} by the RSA key", lambda f, alg=alg: f.signed(f.named(f.rsa, alg=alg), by=f.rsa)  # type: ignore[misc]
    for alg in ("EdDSA", "Ed448", "none"):
        yield f"{alg} by the Ed25519 key", lambda f, alg=alg: f.edwards(alg)  # type: ignore[misc]
    yield "an empty RSA signature", lambda f: f.body(f.named(f.rsa)) + "."
    yield "an RSA signature of one", lambda f: f"{f.body(f.named(f.rsa))}.{b64(bytes(383) + bytes([1]))}"
    yield "an Ed25519 signature of zeros", lambda f: f"{f.body(f.named(f.ed25519))}.{b64(bytes(64))}"
    yield "ES384", lambda f: f.with_header(alg="ES384")
    yield "an unknown kid", lambda f: f.signed(f.header | {"kid": "unknown"}, own=True)
    yield "a kid of another type", lambda f: f.with_header(kid=[f.header["kid"]])
    yield "a kid like a path", lambda f: f.signed(f.header | {"kid": "../../dev/null"}, own=True)
    yield "our kid, their key", lambda f: f.signed(f.header, own=True)
    yield "their key in jwk", lambda f: f.signed(f.header | {"jwk": dict(f.own.public_jwk)}, own=True)
    yield "a jwk beside our signature", lambda f: f.with_header(jwk=dict(f.key.public_jwk))
    yield "jku", lambda f: f.signed(f.header | {"jku": "https://attacker.example/jwks"}, own=True)
    yield "a jku beside our signature", lambda f: f.with_header(jku="https://attacker.example/jwks")
    yield "x5u", lambda f: f.with_header(x5u="https://attacker.example/cert")
    yield "crit", lambda f: f.with_header(crit=["exp"], exp=1)
    yield "b64", lambda f: f.with_header(crit=["b64"], b64=False)
    yield "typ JWT", lambda f: f.with_header(typ="JWT")
    yield "typ logout+jwt", lambda f: f.with_header(typ="logout+jwt")
    yield "no typ", lambda f: f.signed({k: v for k, v in f.header.items() if k != "typ"})
    yield "no kid", lambda f: f.signed({k: v for k, v in f.header.items() if k != "kid"})
    yield "a header that is an array", lambda f: f"{b64(b'[]')}.{f.parts[1]}.{f.parts[2]}"
    yield "a header that is no JSON", lambda f: f"{b64(b'{')}.{f.parts[1]}.{f.parts[2]}"
    yield "a header that is no UTF-8", lambda f: f"{b64(bytes([0xC0, 0xA7]))}.{f.parts[1]}.{f.parts[2]}"
    yield "a deep header", lambda f: f"{b64(b'[' * 2900)}.e30.AA"
    yield "another iss", lambda f: f.with_claims(iss="https://other.example")
    yield "another aud", lambda f: f.with_claims(aud="https://other.example")
    yield "no aud", lambda f: f.without_claim("aud")
    yield "no iss", lambda f: f.without_claim("iss")
    yield "no exp", lambda f: f.without_claim("exp")
    yield "expired", lambda f: f.with_claims(exp=f.now - 1)
    yield "expiring now", lambda f: f.with_claims(exp=f.now)
    yield "exp as text", lambda f: f.with_claims(exp=str(f.now + 300))
    yield "another session", lambda f: f.with_claims(sid=ZERO)
    yield "another grant", lambda f: f.with_claims(grant=ZERO)
    yield "changed claims", lambda f: f"{f.body(f.header, f.claims | {'scope': 'admin'})}.{f.parts[2]}"
    yield "a huge header", lambda f: f.with_header(pad="x" * 5000)
    yield "a huge claim", lambda f: f.with_claims(pad="x" * 5000)
    yield "100 KB", lambda f: "a" * 100_000
    yield "dots", lambda f: ".."
    yield "slashes", lambda f: "/+/=="
