"""What can be done to a signed token by whoever knows everything but its key: the table of attacks.

RFC 7515 §4 and §10, RFC 8725 §2 and §3. Each is a text made from one genuine token; none may pass anywhere.
"""

import base64
import hmac
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from service.keyring import PrivateKey

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def b64(data: bytes | str | Mapping[str, Any]) -> str:
    raw = json.dumps(data).encode() if isinstance(data, Mapping) else data
    raw = raw.encode() if isinstance(raw, str) else raw
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def opened(part: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return told


def signature(key: PrivateKey, data: bytes) -> bytes:
    """The signature of a JWS (RFC 7518 §3.3 and §3.4, RFC 8037 §3.1)."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@dataclass(frozen=True)
class Genuine:
    """A token that passes, and the key that signed it: what is signed anew shows that a refusal is of its
    one change alone. `listener` is the address of a server that must hear of nothing."""

    text: str
    key: PrivateKey
    jwk: Mapping[str, Any]
    listener: str
    own: PrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def parts(self) -> list[str]:
        return self.text.split(".")

    @property
    def header(self) -> dict[str, Any]:
        return opened(self.parts[0])

    @property
    def claims(self) -> dict[str, Any]:
        return opened(self.parts[1])

    def signed(self, header: Mapping[str, Any] | str, payload: str | None = None, *, by: Any = None) -> str:
        body = f"{b64(header)}.{payload or self.parts[1]}"
        return f"{body}.{b64(signature(by or self.key, body.encode()))}"

    def saying(self, **changes: Any) -> str:
        """Other claims under a right signature; None leaves one out."""
        kept = {name: value for name, value in (self.claims | changes).items() if value is not None}
        return self.signed(self.header, b64(kept))

    def unsigned(self, header: Mapping[str, Any] | str, tail: str = "") -> str:
        return f"{b64(header)}.{self.parts[1]}.{tail}"

    def hmac(self, key: bytes, alg: str = "HS256", **more: Any) -> str:
        body = f"{b64(self.header | {'alg': alg} | more)}.{self.parts[1]}"
        return f"{body}.{b64(hmac.digest(key, body.encode(), alg.replace('HS', 'sha')))}"

    def public(self, encoding: serialization.Encoding) -> bytes:
        return self.key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def forgeries(token: Genuine) -> Iterator[tuple[str, str]]:
    """Every attack by name. What these make never is the genuine token."""
    for made in (_unsigned, _confused, _embedded, _kids, _critical, _signatures, _encodings, _huge):
        yield from made(token)


def _unsigned(t: Genuine) -> Iterator[tuple[str, str]]:
    """K-50."""
    for alg in ("none", "None", "NONE", "nOnE", "", " none", "none\0", None, 0, ["none"]):
        yield f"alg {alg!r}, no signature", t.unsigned(t.header | {"alg": alg})
        yield f"alg {alg!r}, our signature", t.unsigned(t.header | {"alg": alg}, t.parts[2])
    yield "no alg", t.unsigned({k: v for k, v in t.header.items() if k != "alg"}, t.parts[2])
    yield "an empty signature", ".".join(t.parts[:2]) + "."
    yield "two parts", ".".join(t.parts[:2])
    yield "alg none, two parts", t.unsigned(t.header | {"alg": "none"}).rstrip(".")
    twice = json.dumps(t.header)[:-1]
    yield "alg twice, none last", t.unsigned(f'{twice}, "alg": "none"}}')
    yield "alg twice, none first", t.unsigned('{"alg": "none", ' + json.dumps(t.header)[1:], t.parts[2])


def _confused(t: Genuine) -> Iterator[tuple[str, str]]:
    """K-51: what is public as a secret."""
    pem, der = t.public(serialization.Encoding.PEM), t.public(serialization.Encoding.DER)
    secrets = {
        "PEM": pem,
        "PEM without its end of line": pem.strip(),
        "PEM with CRLF": pem.replace(b"\n", b"\r\n"),
        "PEM with another end of line": pem + b"\n",
        "PEM in one line": pem.replace(b"\n", b""),
        "DER": der,
        "JWK": json.dumps(dict(t.jwk)).encode(),
        "compact JWK": json.dumps(dict(t.jwk), separators=(",", ":")).encode(),
        "sorted JWK": json.dumps(dict(t.jwk), separators=(",", ":"), sort_keys=True).encode(),
        "JWKS": json.dumps({"keys": [dict(t.jwk)]}).encode(),
        "kid": str(t.header.get("kid", "")).encode(),
        "nothing": b"",
        "a zero byte": b"\0",
        "x or n": str(t.jwk.get("x", t.jwk.get("n"))).encode(),
    }
    for name, secret in secrets.items():
        yield f"HS256 by {name}", t.hmac(secret)
    for alg in ("HS384", "HS512"):
        yield f"{alg} by PEM", t.hmac(pem, alg)
    right = t.header["alg"]
    body = f"{t.parts[0]}.{t.parts[1]}"
    yield "an HMAC under the right alg", f"{body}.{b64(hmac.digest(pem, body.encode(), 'sha256'))}"
    for alg in (
        "RS256",
        "PS256",
        "ES256",
        "ES384",
        "ES256K",
        "Ed25519",
        "EdDSA",
        "Ed448",
        str(right).lower(),
    ):
        if {alg, right} == {"Ed25519", "EdDSA"} or alg == right:
            continue
        yield f"{alg} in the header", t.signed(t.header | {"alg": alg})


def _embedded(t: Genuine) -> Iterator[tuple[str, str]]:
    """K-52: a key of theirs, or where one would be."""
    numbers = t.own.public_key()
    assert isinstance(numbers, ec.EllipticCurvePublicKey)
    point = numbers.public_numbers()
    own = {
        "kty": "EC",
        "crv": "P-256",
        "x": b64(point.x.to_bytes(32, "big")),
        "y": b64(point.y.to_bytes(32, "big")),
    }
    es = t.header | {"alg": "ES256"}
    yield "their key, our kid", t.signed(es, by=t.own)
    yield "their key in jwk", t.signed(es | {"jwk": own}, by=t.own)
    yield "their key in jwk, its kid", t.signed(es | {"jwk": own, "kid": "theirs"}, by=t.own)
    yield "our key in jwk", t.signed(t.header | {"jwk": dict(t.jwk)})
    yield "an octet key in jwk", t.hmac(b"k" * 32, jwk={"kty": "oct", "k": b64(b"k" * 32)})
    for member in ("jku", "x5u"):
        yield f"their key at {member}", t.signed(es | {member: f"{t.listener}/{member}"}, by=t.own)
        yield f"{member} beside ours", t.signed(t.header | {member: f"{t.listener}/{member}"})
    for member in ("x5c", "x5t", "x5t#S256"):
        value: Any = [base64.b64encode(b"0" * 64).decode()] if member == "x5c" else b64(bytes(32))
        yield f"{member}", t.signed(t.header | {member: value})
        yield f"{member} of theirs", t.signed(es | {member: value}, by=t.own)


def _kids(t: Genuine) -> Iterator[tuple[str, str]]:
    kid = t.header.get("kid")
    for other in (
        "",
        "unknown",
        "../../../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "x' UNION SELECT 'AA'; --",
        f"{t.listener}/kid",
        f"{kid}\0",
        f" {kid}",
        0,
        True,
        1.5,
        [kid],
        {"kid": kid},
    ):
        yield f"kid {other!r}", t.signed(t.header | {"kid": other}, by=t.own)
        yield f"kid {other!r}, our signature", t.signed(t.header | {"kid": other})
    yield "an empty HMAC by a path", t.hmac(b"", kid="/dev/null")


def _critical(t: Genuine) -> Iterator[tuple[str, str]]:
    for crit in (["exp"], [], ["b64"], "exp", ["doorward"], None, [""]):
        yield f"crit {crit!r}", t.signed(t.header | {"crit": crit})
    yield "b64 false", t.signed(t.header | {"crit": ["b64"], "b64": False})
    yield "b64 false without crit", t.signed(t.header | {"b64": False})
    squeezed = zlib.compress(json.dumps(t.claims).encode())[2:-4]
    yield "zip", t.signed(t.header | {"zip": "DEF"}, b64(squeezed))
    yield "a bomb in zip", t.signed(t.header | {"zip": "DEF"}, b64(zlib.compress(b" " * 2_000_000)[2:-4]))
    yield "a JWT in a JWT", t.signed(t.header | {"cty": "JWT"}, b64(t.text))
    yield "a JWT as claims", t.signed(t.header, b64(t.text))
    yield (
        "five parts",
        f"{b64({'alg': 'dir', 'enc': 'A128GCM'})}..{b64(bytes(12))}.{t.parts[1]}.{b64(bytes(16))}",
    )
    for typ in ("logout+jwt", "secevent+jwt", "dpop+jwt", "JOSE", "at+jwt, JWT", "", 1, ["JWT"]):
        yield f"typ {typ!r}", t.signed(t.header | {"typ": typ})


def _signatures(t: Genuine) -> Iterator[tuple[str, str]]:
    body, tail = ".".join(t.parts[:2]), t.parts[2]
    raw = base64.urlsafe_b64decode(tail + "=" * (-len(tail) % 4))

    def with_(data: bytes) -> str:
        return f"{body}.{b64(data)}"

    yield "zeros", with_(bytes(len(raw)))
    yield "ones", with_(bytes([255]) * len(raw))
    yield "one", with_(bytes(len(raw) - 1) + b"\1")
    yield "cut", with_(raw[:-1])
    yield "one byte", with_(raw[:1])
    yield "a byte more", with_(raw + b"\0")
    yield "a byte before", with_(b"\0" + raw)
    yield "twice", with_(raw + raw)
    for place in (0, len(raw) // 2, len(raw) - 1):
        yield f"a bit of byte {place}", with_(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    yield "other claims", f"{t.parts[0]}.{b64(t.claims | {'scope': 'admin'})}.{tail}"
    yield "another header", f"{b64(t.header | {'x': 1})}.{t.parts[1]}.{tail}"
    if isinstance(t.key, ec.EllipticCurvePrivateKey):
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        yield "DER", with_(encode_dss_signature(r, s))
        for name, pair in {
            "r = 0": (0, s),
            "s = 0": (r, 0),
            "r = s = 0": (0, 0),
            "r = s = 1": (1, 1),
            "r = n": (_P256_ORDER, s),
            "s = n": (r, _P256_ORDER),
            "s and r": (s, r),
            "r + n": ((r + _P256_ORDER) % 2**256, s),
        }.items():
            yield name, with_(b"".join(one.to_bytes(32, "big") for one in pair))
    if isinstance(t.key, rsa.RSAPrivateKey):
        pss = t.key.sign(body.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        yield "PSS under RS256", with_(pss)
        yield "SHA-512 under RS256", with_(t.key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA512()))


def _encodings(t: Genuine) -> Iterator[tuple[str, str]]:
    head, payload, tail = t.parts
    yield "padding", f"{head}{'=' * (-len(head) % 4 or 4)}.{payload}.{tail}"
    yield "padding of the signature", f"{head}.{payload}.{tail}{'=' * (-len(tail) % 4 or 4)}"
    yield "the signature in base64's other letters", f"{head}.{payload}.{tail[:-2]}+/"
    for junk in (".", ".x", "A", "\n", " ", "\t", "%00", "\u00e9", ",", "=", f" {t.text}"):
        yield f"{junk[:3]!r} behind", t.text + junk
    yield "a line break inside", f"{head}.\n{payload}.{tail}"
    yield "a blank inside the signature", f"{head}.{payload}.{tail[:4]} {tail[4:]}"
    yield "four parts", f"{t.text}.{tail}"
    yield "JSON serialization", json.dumps({"protected": head, "payload": payload, "signature": tail})
    for name, raw in {
        "an array": b"[]",
        "a number": b"1",
        "null": b"null",
        "no JSON": b"{",
        "no UTF-8": bytes([0xC0, 0xA7]),
        "UTF-16": json.dumps(t.header).encode("utf-16"),
        "a BOM": b"\xef\xbb\xbf" + json.dumps(t.header).encode(),
        "NaN": b'{"alg": NaN}',
        "deep": b"[" * 2000,
    }.items():
        yield f"a header of {name}", f"{b64(raw)}.{payload}.{tail}"
        yield f"claims of {name}, our signature", f"{head}.{b64(raw)}.{tail}"
        if name not in ("UTF-16", "a BOM"):
            signed = f"{head}.{b64(raw)}"
            yield f"claims of {name}", f"{signed}.{b64(signature(t.key, signed.encode()))}"
    for text in ("..", "...", ".", "a.b.c", "null", "{}", "e30.e30.", "e30.e30.e30"):
        yield text, text


def _huge(t: Genuine) -> Iterator[tuple[str, str]]:
    yield "a header of 8 KB", t.signed(t.header | {"pad": "x" * 8_000})
    yield "claims of 8 KB", t.signed(t.header, b64(t.claims | {"pad": "x" * 8_000}))
    yield "12 KB of letters", "a" * 12_000
    yield "12 KB of dots", "." * 12_000
    yield "a number of 3,000 digits", t.signed('{"alg": ' + "1" * 3_000 + "}")
    yield "a deep member", t.signed('{"alg": ' + "[" * 1_400 + "]" * 1_400 + "}")
