"""Each kind of token opens its own door and no other (contract §2)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from service.app import routes
from service.keyring import ALGORITHMS, Key, Kind, new_signing_material
from service.world import World
from tests.builders import House, Person
from tests.http.problems import problem

ZERO = "00000000-0000-7000-8000-000000000000"
#: A body of the right form for each protected route that reads one.
BODIES: Mapping[str, Mapping[str, str]] = {
    "/v1/me/two-factor/authenticators": {"name": "Phone"},
    f"/v1/me/two-factor/authenticators/{ZERO}/confirm": {"code": "000000"},
    f"/v1/me/two-factor/authenticators/{ZERO}": {"name": "Phone"},
    "/v1/me/two-factor/disable": {"password": "test-value correct horse", "code": "000000"},
    "/v1/me/password": {"current_password": "test-value correct horse", "new_password": "another long one"},
    "/v1/me": {"name": "Ada"},
    "/v1/reauthentication": {"password": "test-value correct horse"},
}
INVALID_TOKEN = 'Bearer realm="doorward", error="invalid_token"'
Forgery: TypeAlias = Callable[["Forger"], str]


def protected(world: World) -> list[tuple[str, str]]:
    """Method and path of every route of ours that the OpenAPI document protects. Userinfo, which speaks
    OAuth, is tried by itself."""
    paths = routes(world).openapi_schema.to_schema()["paths"]
    return [
        (method.upper(), path.replace("{authenticator_id}", ZERO).replace("{session_id}", ZERO))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if path.startswith("/v1/") and isinstance(operation, dict) and operation.get("security")
    ]


@pytest.mark.case("K-01")
async def test_a_pre_auth_token_opens_no_protected_route(house: House, world: World) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    found = protected(world)
    assert len(found) >= 7
    assert ("GET", "/v1/me") in found
    for method, path in found:
        body = dict(BODIES.get(path, {}))
        for way in (
            {"headers": {"authorization": f"Bearer {token}"}, "json": body},
            {"headers": {"cookie": f"__Host-doorward={token}; doorward-dev={token}"}, "json": body},
            {"headers": {}, "params": {"access_token": token}, "json": body},
        ):
            answer = await ada.client.request(method, path, **way)  # type: ignore[arg-type]
            refused = problem(answer, 401, "invalid_token")
            assert set(refused) == {"type", "title", "status", "detail", "code", "request_id"}, path
            assert answer.headers["www-authenticate"] == INVALID_TOKEN
        within = await ada.client.request(method, path, json=body | {"access_token": token})
        reads_it = body and method in ("POST", "PATCH")
        assert within.status_code == (400 if reads_it else 401), (method, path)
        assert ada.email not in within.text


@pytest.mark.case("K-01")
async def test_the_routes_that_are_not_protected_are_just_the_public_ones(world: World) -> None:
    paths = routes(world).openapi_schema.to_schema()["paths"]
    opened = {path for path, operations in paths.items() if "security" not in json.dumps(operations)}
    assert {path for path in opened if path.startswith("/v1/")} == {
        "/v1/sign-in",
        "/v1/sign-in/second-factor",
        "/v1/sign-in/enrolment",
        "/v1/sign-in/enrolment/confirm",
        "/v1/sign-in/email-verification",
        "/v1/sign-in/password",
        "/v1/tokens/refresh",
    }


async def kinds_of(person: Person, house: House) -> dict[str, str]:
    """One living token of each kind; the person's next step is unspent."""
    tokens = await person.sign_in()
    house.clock.advance(60)
    return {
        "pre_auth": await person.pre_auth(),
        "access": tokens["access_token"],
        "id": tokens["id_token"],
        "refresh": tokens["refresh_token"],
        "device": tokens["device_token"],
    }


@pytest.mark.case("K-07")
@pytest.mark.parametrize("kind", ["pre_auth", "access", "id", "refresh", "device"])
async def test_a_token_of_one_kind_is_refused_at_every_other_door(house: House, kind: str) -> None:
    ada = await house.a_person().with_totp()
    kinds = await kinds_of(ada, house)
    token = kinds[kind]
    # A text longer than any opaque token is refused by its form.
    status, malformed = (400, "invalid_request") if len(token) > 512 else (401, "")
    sessions = await house.value("SELECT count(*) FROM session")

    if kind != "access":
        problem(await ada.get("/v1/me", bearer=token), 401, "invalid_token")
        answer = await ada.post("/v1/sign-out", None, bearer=token)
        problem(answer, 401, "invalid_token")
    if kind != "pre_auth":
        for answer in (
            await ada.verify(token, ada.code()),
            await ada.verify(token, ada.codes[0]),
            await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token}),
            await ada.post(
                "/v1/sign-in/enrolment/confirm", {"pre_auth_token": token, "id": ZERO, "code": "000000"}
            ),
            await ada.post("/v1/sign-in/email-verification", {"pre_auth_token": token}),
            await ada.post(
                "/v1/sign-in/password", {"pre_auth_token": token, "new_password": "another long one"}
            ),
        ):
            problem(answer, status, malformed or "invalid_pre_auth_token")
    if kind != "refresh":
        refused = problem(await ada.refresh(token), status, malformed or "invalid_refresh_token")
        assert "reason" not in refused
    if kind != "device":
        answer = await ada.login(device_token=token)
        if status == 400:
            problem(answer, 400, "invalid_request")
        else:
            assert answer.json()["status"] == "second_factor_required"
            digest = hashlib.sha256(answer.json()["pre_auth_token"].encode()).digest()
            assert await house.value("SELECT known FROM pre_auth WHERE digest = $1", digest) is False

    assert await house.value("SELECT count(*) FROM session") == sessions
    assert await house.value("SELECT stranger_failures FROM person WHERE id = $1", ada.id) == []
    # The code was burnt by none of it, and each of the others still opens its own door.
    assert (await ada.get("/v1/me", bearer=kinds["access"])).status_code == 200
    assert (await ada.verify(kinds["pre_auth"], ada.code())).status_code == 200
    assert (await ada.refresh(kinds["refresh"])).status_code == 200


@pytest.mark.case("K-07")
async def test_a_device_token_opens_nothing_and_only_its_own_persons_counts(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    device = (await ada.sign_in())["device_token"]
    for person, known in ((ada, True), (bob, False)):
        answer = await person.login(device_token=device)
        assert answer.json()["status"] == "second_factor_required"
        digest = hashlib.sha256(answer.json()["pre_auth_token"].encode()).digest()
        assert await house.value("SELECT known FROM pre_auth WHERE digest = $1", digest) is known
    wrong = await ada.post(
        "/v1/sign-in", {"email": ada.email, "password": "not the one", "device_token": device}
    )
    problem(wrong, 401, "invalid_credentials")


@pytest.mark.case("K-05")
async def test_an_id_token_is_no_access_token_on_any_protected_route(house: House, world: World) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    for method, path in protected(world):
        answer = await ada.client.request(
            method,
            path,
            json=BODIES.get(path, {}),
            headers={"authorization": f"Bearer {tokens['id_token']}"},
        )
        problem(answer, 401, "invalid_token")


def b64(data: bytes | Mapping[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


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


@pytest.mark.case("K-05")
async def test_a_forged_access_token_is_refused_as_invalid(house: House, world: World) -> None:
    ada = await house.a_person()
    genuine = (await ada.sign_in())["access_token"]
    forger = Forger(world, genuine)
    # What the forger signs unchanged is taken, so each refusal is of its change alone.
    for key in (forger.key, forger.rsa, forger.ed25519):
        token = forger.signed(forger.named(key), by=key)
        assert (await ada.get("/v1/me", bearer=token)).status_code == 200, key.alg
    passed = []
    for name, forge in forgeries():
        answer = await ada.get("/v1/me", bearer=forge(forger))
        if answer.status_code != 401 or answer.headers.get("www-authenticate") != INVALID_TOKEN:
            passed.append((name, answer.status_code))
            continue
        problem(answer, 401, "invalid_token")
    assert passed == []


async def test_a_genuine_token_is_refused_once_it_has_expired(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    house.clock.advance(tokens["expires_in"] - 1)
    assert (await ada.get("/v1/me", bearer=tokens["access_token"])).status_code == 200
    house.clock.advance(1)
    problem(await ada.get("/v1/me", bearer=tokens["access_token"]), 401, "invalid_token")


async def test_only_one_authorization_header_in_bearer_form_counts(house: House) -> None:
    ada = await house.a_person()
    token = (await ada.sign_in())["access_token"]

    async def ask(*values: str) -> httpx.Response:
        return await ada.client.get("/v1/me", headers=[("authorization", value) for value in values])

    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (await ask(f"{scheme} {token}")).status_code == 200, scheme
    for values in (
        (f"Bearer {token}", f"Bearer {token}"),
        (f"Bearer {token}", "Basic YTpi"),
        (f"Bearer {token}, Bearer {token}",),
        (f"Bearer {token} {token}",),
        (f"Bearer\t{token}",),
        (f"Bearer{token}",),
        (f"Token {token}",),
        (f"Basic {token}",),
        (token,),
        ("Bearer",),
        ("Bearer ",),
        ("",),
    ):
        answer = await ask(*values)
        problem(answer, 401, "invalid_token")
        assert answer.headers["www-authenticate"] == INVALID_TOKEN
    for name in ("access_token", "token", "bearer"):
        problem(await ada.client.get("/v1/me", params={name: token}), 401, "invalid_token")


async def test_the_www_authenticate_header_tells_apart_why_a_caller_is_refused(
    house: House, world: World
) -> None:
    ada = await house.a_person().with_totp()
    forger = Forger(world, (await ada.sign_in())["access_token"])
    missing = await ada.get("/v1/me")
    assert missing.headers["www-authenticate"] == INVALID_TOKEN

    narrow = await ada.get("/v1/me", bearer=forger.with_claims(scope="openid profile"))
    problem(narrow, 403, "insufficient_scope")
    assert narrow.headers["www-authenticate"] == (
        'Bearer realm="doorward", error="insufficient_scope", scope="account"'
    )
    for part_of_the_name in ("accounts", "account.read", "myaccount", ""):
        answer = await ada.get("/v1/me", bearer=forger.with_claims(scope=part_of_the_name))
        problem(answer, 403, "insufficient_scope")

    wrong = await ada.post("/v1/sign-in", {"email": ada.email, "password": "not the one"})
    problem(wrong, 401, "invalid_credentials")
    unknown = await ada.verify("dwp_" + "A" * 43, "123456")
    problem(unknown, 401, "invalid_pre_auth_token")
    wrong_code = await ada.verify(await ada.pre_auth(), ada.wrong_code())
    problem(wrong_code, 401, "invalid_code")
    stale = await ada.refresh("dwr_" + "A" * 70)
    problem(stale, 401, "invalid_refresh_token")
    for answer in (wrong, unknown, wrong_code, stale):
        assert answer.headers["www-authenticate"] == 'Bearer realm="doorward"'
