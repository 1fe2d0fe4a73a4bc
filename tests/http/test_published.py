"""What resource servers are told: the discovery document and the keys, by which they check tokens."""

import base64
import hashlib
import json
import re
from urllib.parse import urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.builders import House

ISSUER = "http://127.0.0.1:8400"
DISCOVERY = "/.well-known/openid-configuration"


async def test_the_discovery_document_is_true(house: House) -> None:
    document = (await house.client.get(DISCOVERY)).json()
    assert (await house.client.get("/.well-known/oauth-authorization-server")).json() == document
    assert document["issuer"] == ISSUER
    for name, value in document.items():
        if name.endswith(("_endpoint", "_uri")):
            assert value.startswith(f"{ISSUER}/"), name
            assert (await house.client.get(urlsplit(value).path)).status_code != 404, name
    assert document["id_token_signing_alg_values_supported"] == ["RS256", "ES256", "Ed25519"]
    ada = await house.a_person()
    tokens = await ada.sign_in()
    header = json.loads(base64.urlsafe_b64decode(tokens["id_token"].split(".")[0] + "=="))
    assert header["alg"] in document["id_token_signing_alg_values_supported"]
    claims = json.loads(base64.urlsafe_b64decode(tokens["id_token"].split(".")[1] + "=="))
    assert set(claims) <= set(document["claims_supported"])
    assert claims["acr"] in document["acr_values_supported"]


async def test_the_published_keys_are_public(house: House) -> None:
    answer = await house.client.get("/oauth2/jwks")
    keys = answer.json()["keys"]
    assert set(answer.json()) == {"keys"}
    kinds = {
        "ES256": ("EC", ["crv", "kty", "x", "y"]),
        "RS256": ("RSA", ["e", "kty", "n"]),
        "Ed25519": ("OKP", ["crv", "kty", "x"]),
    }
    assert sorted(key["alg"] for key in keys) == sorted(kinds)
    assert len({key["kid"] for key in keys}) == len(keys)
    for key in keys:
        kty, required = kinds[key["alg"]]
        # Nothing beside the public numbers: of RSA not even a prime (RFC 7518 §6.3.2).
        assert set(key) == {*required, "use", "alg", "kid"}
        assert (key["kty"], key["use"]) == (kty, "sig")
        thumbprint = json.dumps({n: key[n] for n in required}, separators=(",", ":"))
        digest = base64.urlsafe_b64encode(hashlib.sha256(thumbprint.encode()).digest())
        assert key["kid"] == digest.rstrip(b"=").decode()


@pytest.mark.parametrize("enrolled", [False, True])
async def test_a_resource_server_can_check_the_tokens_by_what_is_published(
    house: House, enrolled: bool
) -> None:
    ada = await (house.a_person().with_totp() if enrolled else house.a_person())
    tokens = await ada.sign_in()
    now = int(house.clock.now().timestamp())
    document = (await house.client.get(DISCOVERY)).json()
    keys = KeySet.import_key_set((await house.client.get(urlsplit(document["jwks_uri"]).path)).json())
    access = jwt.decode(tokens["access_token"], keys, algorithms=["ES256"])
    identity = jwt.decode(tokens["id_token"], keys, algorithms=["ES256"])

    assert set(access.header) == set(identity.header) == {"alg", "typ", "kid"}
    assert (access.header["typ"], identity.header["typ"]) == ("at+jwt", "JWT")
    claims = access.claims
    assert set(claims) == set(
        "iss sub aud exp iat jti client_id scope sid grant auth_time amr acr".split()  # noqa: SIM905
    )
    shared = {
        "iss": ISSUER,
        "sub": str(await house.value("SELECT sub FROM person WHERE id = $1", ada.id)),
        "iat": now,
        "exp": now + tokens["expires_in"],
        "auth_time": now,
        "sid": tokens["session"]["id"],
        "amr": ["pwd", "otp", "mfa"] if enrolled else ["pwd"],
        "acr": f"urn:doorward:acr:{2 if enrolled else 1}fa",
    }
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert claims == shared | {
        "aud": ISSUER,
        "client_id": "doorward",
        "scope": "openid profile email account",
        "grant": str(await house.value("SELECT id FROM refresh_family WHERE person_id = $1", ada.id)),
        "jti": claims["jti"],
    }
    assert identity.claims == shared | {
        "aud": "doorward",
        "azp": "doorward",
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
    }
    assert tokens["expires_in"] == 300
    assert tokens["token_type"] == "Bearer"
    assert re.fullmatch(r"[0-9a-f]{32}", claims["jti"])
    assert str(ada.id) not in (claims["sub"], claims["sid"], claims["grant"])
    again = (await ada.refresh(tokens["refresh_token"])).json()
    assert jwt.decode(again["access_token"], keys, algorithms=["ES256"]).claims["jti"] != claims["jti"]
