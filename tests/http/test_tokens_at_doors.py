"""Each kind of token opens its own door and no other (contract §2)."""

import hashlib
import json
import re
from collections.abc import Mapping

import httpx
import pytest
from litestar import Litestar

from service.world import World
from tests.builders import House, Person
from tests.http.forger import ZERO, Forger, forgeries
from tests.http.problems import problem

#: A body of the right form for each protected route that reads one.
BODIES: Mapping[str, Mapping[str, str]] = {
    "/v1/me/two-factor/authenticators": {"name": "Phone"},
    f"/v1/me/two-factor/authenticators/{ZERO}/confirm": {"code": "000000"},
    f"/v1/me/two-factor/authenticators/{ZERO}": {"name": "Phone"},
    "/v1/me/two-factor/backup-codes/saved": {"set_id": ZERO},
    f"/v1/admin/users/{ZERO}": {"status": "active"},
    f"/v1/admin/users/{ZERO}/reset-two-factor": {"reason": "lost the phone"},
    "/v1/me/two-factor/disable": {"password": "test-value correct horse", "code": "000000"},
    "/v1/me/password": {"current_password": "test-value correct horse", "new_password": "another long one"},
    "/v1/me": {"name": "Ada"},
    "/v1/reauthentication": {"password": "test-value correct horse"},
}
INVALID_TOKEN = 'Bearer realm="doorward", error="invalid_token"'


def protected(routed: Litestar) -> list[tuple[str, str]]:
    """Method and path of every route of ours that the OpenAPI document protects. Userinfo, which speaks
    OAuth, is tried by itself."""
    paths = routed.openapi_schema.to_schema()["paths"]
    return [
        (method.upper(), re.sub(r"\{(?:authenticator|session|user|browser)_id\}", ZERO, path))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if path.startswith("/v1/") and isinstance(operation, dict) and operation.get("security")
    ]


@pytest.mark.case("K-01")
async def test_a_pre_auth_token_opens_no_protected_route(house: House, routed: Litestar) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    found = protected(routed)
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
async def test_the_routes_that_are_not_protected_are_just_the_public_ones(routed: Litestar) -> None:
    paths = routed.openapi_schema.to_schema()["paths"]
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
async def test_an_id_token_is_no_access_token_on_any_protected_route(house: House, routed: Litestar) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    for method, path in protected(routed):
        answer = await ada.client.request(
            method,
            path,
            json=BODIES.get(path, {}),
            headers={"authorization": f"Bearer {tokens['id_token']}"},
        )
        problem(answer, 401, "invalid_token")


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
