"""Signing keys of each algorithm, and our tokens against an independent library."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from service.errors import Unavailable
from service.keyring import ALGORITHMS, SIGNING, Alg, BadToken, Key, Keyring, Kind, new_signing_material

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVERY_ALG: Sequence[Alg] = get_args(Alg)
each_alg = pytest.mark.parametrize("alg", EVERY_ALG)


def _key(alg: Alg, active_from: datetime = NOW) -> Key:
    name, material = new_signing_material(SIGNING[alg])
    return Key(name, SIGNING[alg], material, NOW, active_from)


@pytest.fixture(scope="module")
def keys() -> dict[Alg, Key]:
    """One test key of each algorithm: an RSA key takes a while to make."""
    return {alg: _key(alg) for alg in EVERY_ALG}


@pytest.fixture(scope="module")
def ring(keys: dict[Alg, Key]) -> Keyring:
    return Keyring(list(keys.values()))


@each_alg
def test_what_is_not_signed_by_the_key_it_names_is_refused(ring: Keyring, alg: Alg) -> None:
    token = ring.sign({"sub": "ada"}, "JWT", NOW, alg)
    body, _, signature = token.rpartition(".")
    for forged in (f"{body}.", body, f"{body}.{signature[:-4]}AAAA", "", "..", "a.b.c", "ü.ü.ü", token * 40):
        with pytest.raises(BadToken):
            ring.verify(forged, "JWT")
    with pytest.raises(BadToken):
        ring.verify(token, "at+jwt")
    with pytest.raises(BadToken, match="unknown"):
        Keyring([_key("ES256")]).verify(token, "JWT")


@each_alg
@pytest.mark.parametrize("claimed", ["none", "HS256", "ES384", "PS256", "EdDSA", *EVERY_ALG])
def test_a_header_does_not_choose_the_algorithm(keys: dict[Alg, Key], alg: Alg, claimed: str) -> None:
    key = keys[alg]
    header, body = key.header("JWT"), "eyJzdWIiOiJhZGEifQ"
    changed = json.loads(base64.urlsafe_b64decode(header + "==")) | {"alg": claimed}
    start = f"{base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b'=').decode()}.{body}"
    token = f"{start}.{base64.urlsafe_b64encode(key.signature(start.encode())).rstrip(b'=').decode()}"
    if claimed == alg:
        assert Keyring([key]).verify(token, "JWT") == {"sub": "ada"}
        return
    with pytest.raises(BadToken):
        Keyring([key]).verify(token, "JWT")


@pytest.mark.parametrize("kind", list(ALGORITHMS))
def test_material_of_another_algorithm_is_no_key_of_this_kind(keys: dict[Alg, Key], kind: Kind) -> None:
    for alg, key in keys.items():
        if SIGNING[alg] is not kind:
            with pytest.raises(TypeError, match=ALGORITHMS[kind]):
                _ = replace(key, kind=kind).private_key


def test_a_key_on_another_curve_is_no_es256_key() -> None:
    other = ECKey.generate_key("P-384").as_der(private=True)
    with pytest.raises(TypeError, match="ES256"):
        _ = Key("x", Kind.SIGN, other, NOW, NOW).private_key


def test_without_a_key_of_its_algorithm_nothing_is_signed(keys: dict[Alg, Key]) -> None:
    with pytest.raises(Unavailable):
        Keyring([keys["ES256"]]).sign({}, "JWT", NOW, "RS256")


@each_alg
def test_a_token_of_ours_verifies_with_an_independent_library(ring: Keyring, alg: Alg) -> None:
    token = ring.sign({"sub": "ada", "exp": 5}, "at+jwt", NOW, alg)
    published = KeySet.import_key_set(json.loads(ring.jwks))
    found = jwt.decode(token, published, algorithms=[alg])
    assert found.claims == {"sub": "ada", "exp": 5}
    assert found.header == {"alg": alg, "typ": "at+jwt", "kid": found.header["kid"]}
    named: Any = next(key for key in published.keys if key.kid == found.header["kid"])
    assert found.header["kid"] == named.thumbprint()
    assert ring.verify(token, "at+jwt") == {"sub": "ada", "exp": 5}


def test_an_access_token_is_es256_where_nothing_is_said(ring: Keyring) -> None:
    header = json.loads(base64.urlsafe_b64decode(ring.sign({}, "at+jwt", NOW).split(".")[0] + "=="))
    assert header["alg"] == "ES256"


def test_an_rsa_key_has_3072_bits(ring: Keyring) -> None:
    (key,) = (key for key in json.loads(ring.jwks)["keys"] if key["kty"] == "RSA")
    assert len(base64.urlsafe_b64decode(key["n"] + "==")) == 3072 // 8
    assert key["e"] == "AQAB"


def test_what_is_published_has_no_private_part_and_no_key_twice(ring: Keyring) -> None:
    published = json.loads(ring.jwks)["keys"]
    assert not {"d", "p", "q", "dp", "dq", "qi", "k", "oth"} & set().union(*published)
    assert len({key["kid"] for key in published}) == len(published) == len(EVERY_ALG)
    assert {(key["kty"], key["use"], key["alg"]) for key in published} == {
        ("EC", "sig", "ES256"),
        ("RSA", "sig", "RS256"),
        ("OKP", "sig", "Ed25519"),
    }


def test_a_key_is_published_before_it_is_used() -> None:
    old, new = _key("ES256"), _key("ES256", NOW + timedelta(hours=1))
    ring = Keyring([old, new])
    assert ring.active(Kind.SIGN, NOW) == old
    assert ring.active(Kind.SIGN, NOW + timedelta(hours=1)) == new
    assert {key["kid"] for key in json.loads(ring.jwks)["keys"]} == {old.id, new.id}
    assert Keyring([new]).active(Kind.SIGN, NOW) == new


def test_the_next_key_of_one_algorithm_does_not_sign_for_another(keys: dict[Alg, Key]) -> None:
    ring = Keyring([*keys.values(), _key("Ed25519", NOW + timedelta(seconds=1))])
    later = NOW + timedelta(seconds=1)
    assert ring.active(Kind.SIGN, later) == keys["ES256"]
    assert ring.active(Kind.SIGN_ED25519, later) != keys["Ed25519"]
