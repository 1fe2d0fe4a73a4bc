"""What answers tell, to whom, and what they never tell (security K-04, K-35 … K-40, K-109)."""

import base64
import hashlib
import json
import re
from html import unescape
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service.errors import CATALOGUE, NotFound
from service.http import pages
from tests.builders import PASSWORD, House, Person
from tests.http.problems import problem

ISSUER = "http://127.0.0.1:8400"
DISCOVERY = "/.well-known/openid-configuration"
WRONG = "test-value wrong horse"
AUTHENTICATORS = "/v1/me/two-factor/authenticators"


async def attempt(
    house: House, email: str, address: str, password: str = WRONG, **headers: str
) -> httpx.Response:
    body = {"email": email, "password": password}
    return await house.client.post("/v1/sign-in", json=body, headers={"x-forwarded-for": address} | headers)


async def everybody(house: House) -> dict[str, str]:
    """An address for each standing that a stranger must not tell apart."""
    blocked = await house.a_person().with_totp()
    await house.rows("UPDATE person SET stranger_streak = 100, known_streak = 100 WHERE id = $1", blocked.id)
    without_password = await house.a_person()
    await house.rows("UPDATE person SET password_hash = NULL WHERE id = $1", without_password.id)
    return {
        "unknown": "nobody@example.com",
        "unknown, long": f"{'n' * 60}@{'long.' * 20}example.com",
        "U0": (await house.a_person()).email,
        "U1": (await house.a_person().with_totp()).email,
        "disabled": (await house.a_person().disabled()).email,
        "disabled and enrolled": (await house.a_person().with_totp().disabled()).email,
        "unverified": (await house.a_person().unverified()).email,
        "administrator": (await house.a_person().with_totp().with_role("admin")).email,
        "must change": (await house.a_person().who_must_change_their_password()).email,
        "blocked": blocked.email,
        "without a password": without_password.email,
    }


@pytest.mark.case("K-35")
@pytest.mark.case("K-40")
async def test_a_wrong_password_is_answered_alike_for_everybody(house: House) -> None:
    answers = {
        who: await attempt(house, email, f"198.51.100.{at}", **{"x-request-id": "the-same-for-all"})
        for at, (who, email) in enumerate((await everybody(house)).items(), 1)
    }
    first = answers["unknown"]
    problem(first, 401, "invalid_credentials")
    assert first.json()["request_id"] == "the-same-for-all"
    for who, answer in answers.items():
        assert answer.content == first.content, who
        assert answer.headers.raw == first.headers.raw, who
    assert "attempts_left" not in first.json()


@pytest.mark.case("K-35")
async def test_a_disabled_persons_right_password_is_answered_as_a_wrong_one(house: House) -> None:
    same = {"x-request-id": "the-same-for-all"}
    ada, bob = await house.a_person().disabled(), await house.a_person().with_totp().disabled()
    wrong = await attempt(house, "nobody@example.com", "198.51.100.1", **same)
    for person in (ada, bob):
        right = await attempt(house, person.email, "198.51.100.1", PASSWORD, **same)
        assert right.content == wrong.content
        assert right.headers.raw == wrong.headers.raw


@pytest.mark.case("K-35")
async def test_answers_of_their_own_request_id_have_one_length(house: House) -> None:
    lengths, ids = set(), set()
    for email in (await everybody(house)).values():
        answer = await attempt(house, email, "198.51.100.1")
        lengths.add((answer.headers["content-length"], len(answer.content)))
        ids.add(problem(answer, 401, "invalid_credentials")["request_id"])
    assert len(lengths) == 1
    assert len(ids) == 11


@pytest.mark.case("K-40")
async def test_whether_there_is_a_second_factor_is_told_after_the_right_password_only(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person().with_totp()
    same = {"x-request-id": "the-same-for-all"}
    wrong = [await attempt(house, person.email, "198.51.100.1", **same) for person in (ada, bob)]
    assert wrong[0].content == wrong[1].content
    assert (await ada.login()).json()["status"] == "complete"
    told = (await bob.login()).json()
    assert set(told) - {"backup_codes", "backup_codes_left"} == {
        "status",
        "pre_auth_token",
        "expires_in",
        "methods",
        "attempts_left",
    }
    assert told["status"] == "second_factor_required"
    assert not told.get("backup_codes")
    assert told.get("backup_codes_left") is None


@pytest.mark.case("K-38")
async def test_the_wait_of_an_address_is_the_same_for_known_and_unknown(house: House) -> None:
    people = await everybody(house)
    del people["unknown, long"]
    waits, served = [], 0
    for turn in range(14):
        answers = {}
        for who, email in people.items():
            served += 1
            address = f"203.0.{served // 250}.{served % 250}"
            answers[who] = await attempt(house, email, address, **{"x-request-id": "the-same-for-all"})
        first = answers["unknown"]
        for who, answer in answers.items():
            assert answer.content == first.content, (turn, who)
            assert answer.headers.raw == first.headers.raw, (turn, who)
        if first.status_code == 429:
            told = problem(first, 429, "rate_limited")
            assert first.headers["retry-after"] == str(told["retry_after"])
            assert first.headers["ratelimit-policy"].startswith('"password.person"')
            assert first.headers["ratelimit"].startswith('"password.person";r=0;t=')
            house.clock.advance(told["retry_after"])
            waits.append(told["retry_after"])
        else:
            problem(first, 401, "invalid_credentials")
            waits.append(0)
    assert waits == [0, 0, 0, 0, 0, 1, 0, 2, 0, 4, 0, 8, 0, 16]


@pytest.mark.case("K-38")
async def test_during_the_wait_a_right_password_is_answered_as_a_wrong_one(house: House) -> None:
    ada = await house.a_person()
    for turn in range(5):
        await attempt(house, ada.email, f"203.0.113.{turn}")
    same = {"x-request-id": "the-same-for-all"}
    wrong = await attempt(house, ada.email, "203.0.113.8", **same)
    right = await attempt(house, ada.email, "203.0.113.9", PASSWORD, **same)
    problem(wrong, 429, "rate_limited")
    assert right.content == wrong.content
    house.clock.advance(1)
    assert (await attempt(house, ada.email, "203.0.113.9", PASSWORD)).status_code == 200


@pytest.mark.case("K-38")
@pytest.mark.parametrize("settings", [{"limits.sign_in_network": 8}], indirect=True)
async def test_the_limit_of_a_network_comes_at_the_same_count_for_known_and_unknown(house: House) -> None:
    known = [(await house.a_person().with_totp()).email, (await house.a_person()).email]
    unknown = ["nobody1@example.com", "nobody2@example.com"]
    seen = []
    for address, emails in (("198.51.100.1", known), ("198.51.100.2", unknown)):
        answers = [await attempt(house, emails[turn % 2], address) for turn in range(10)]
        for answer in answers[8:]:
            assert 0 < problem(answer, 429, "rate_limited")["retry_after"] <= 300
            assert answer.headers["ratelimit-policy"] == '"sign_in.network";q=8;w=300'
        seen.append(
            [(answer.status_code, answer.json()["code"], sorted(answer.headers)) for answer in answers]
        )
    assert seen[0] == seen[1]
    assert [status for status, _, _ in seen[0]] == [401] * 8 + [429] * 2


# K-04: seeds, codes, hashes


class Heard:
    """Every answer that a person's client has had."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.answers: list[httpx.Response] = []
        client.event_hooks["response"].append(self._hear)

    async def _hear(self, answer: httpx.Response) -> None:
        await answer.aread()
        self.answers.append(answer)

    @property
    def text(self) -> str:
        return "\n".join(f"{answer.headers}\n{answer.text}" for answer in self.answers)

    def has_code(self, code: str) -> bool:
        return re.search(rf"(?<![0-9A-Za-z_-]){code}(?![0-9A-Za-z_-])", self.text) is not None


async def secrets_of(house: House, person: Person) -> set[str]:
    """The texts that stand for what is secret of a person, but for the codes of the app."""
    row = (await house.rows("SELECT * FROM person WHERE id = $1", person.id))[0]
    seeds = await house.rows("SELECT seed FROM authenticator WHERE person_id = $1", person.id)
    digests = await house.rows("SELECT digest FROM backup_code WHERE person_id = $1", person.id)
    raw = [person.secret, row["code_salt"], *(seed["seed"] for seed in seeds if seed["seed"])]
    raw += [digest["digest"] for digest in digests]
    texts = {row["password_hash"], person.password, *person.codes, str(person.id), "argon2"}
    for secret in filter(None, raw):
        key = base64.b32encode(secret).decode().rstrip("=")
        texts |= {
            secret.hex(),
            key,
            base64.b64encode(secret).decode(),
            base64.urlsafe_b64encode(secret).decode(),
        }
        texts.add(" ".join(re.findall("..?.?.?", key)))
    return texts


@pytest.mark.case("K-04")
async def test_no_answer_repeats_a_seed_a_code_a_password_or_a_hash(house: House) -> None:
    ada = await house.a_person().with_totp()
    heard, sent = Heard(house.client), []
    token = await ada.pre_auth()
    for wrong in (ada.wrong_code(), ada.wrong_code(but=1), "K7QM-2XRT-9FHD", "no code at all"):
        sent.append(wrong)
        assert (await ada.verify(token, wrong)).status_code in (400, 401)
    sent.append(ada.code())
    tokens = (await ada.verify(token, ada.code())).json()
    bearer = tokens["access_token"]
    assert (await ada.get("/v1/me", bearer=bearer)).status_code == 200
    assert (await ada.refresh(tokens["refresh_token"])).status_code == 200
    problem(await ada.verify(await ada.pre_auth(), ada.code()), 401, "code_already_used")
    sent.append(ada.codes[0])
    assert (await ada.verify(await ada.pre_auth(), ada.codes[0])).status_code == 200
    problem(await ada.verify(await ada.pre_auth(), ada.codes[0]), 401, "code_already_used")
    body = {"password": WRONG, "code": ada.codes[1]}
    problem(await ada.post("/v1/reauthentication", body, bearer=bearer), 401, "invalid_credentials")
    house.clock.advance(30)
    body = {"password": PASSWORD, "code": ada.code()}
    assert (await ada.post("/v1/reauthentication", body, bearer=bearer)).status_code == 200
    sent.append(ada.code())

    assert len(heard.answers) >= 14
    text = heard.text
    for secret in {*await secrets_of(house, ada), WRONG, "no code at all"}:
        assert secret not in text, secret
    assert [code for code in sent if heard.has_code(code)] == []
    # The search does find what stands there.
    assert ada.email in text


@pytest.mark.case("K-04")
@pytest.mark.case("K-82")
async def test_a_seed_is_shown_to_the_session_that_started_it_until_it_is_confirmed(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    mine, other = (await ada.sign_in())["access_token"], (await ada.sign_in())["access_token"]
    stranger = (await bob.sign_in())["access_token"]
    started = await ada.post(AUTHENTICATORS, {"name": "Phone"}, bearer=mine)
    assert started.status_code == 201, started.text
    one = started.json()
    ada.secret = base64.b32decode(one["secret"].replace(" ", ""))
    assert len(ada.secret) == 20
    path = f"{AUTHENTICATORS}/{one['id']}"

    shown = await ada.get(path, bearer=mine)
    assert shown.status_code == 200
    assert shown.json() == one
    heard = Heard(house.client)
    for bearer in (other, stranger):
        missing = await ada.get(path, bearer=bearer)
        problem(missing, 404, "not_found")
        confirm = await ada.post(f"{path}/confirm", {"code": ada.code()}, bearer=bearer)
        problem(confirm, 404, "not_found")
    problem(await ada.get(path), 401, "invalid_token")
    # Nothing is activated by a pending one.
    me = (await ada.get("/v1/me", bearer=mine)).json()
    assert (me["two_factor"]["status"], me["two_factor"]["authenticators"]) == ("not_activated", [])
    assert (await ada.login()).json()["status"] == "complete"
    problem(await ada.post(f"{path}/confirm", {"code": ada.wrong_code()}, bearer=mine), 401, "invalid_code")

    confirmed = await ada.post(f"{path}/confirm", {"code": ada.code()}, bearer=mine)
    assert confirmed.status_code == 200, confirmed.text
    codes = confirmed.json()["backup_codes"]["codes"]
    problem(await ada.get(path, bearer=mine), 409, "enrolment_replaced")
    assert (await ada.get("/v1/me", bearer=mine)).json()["two_factor"]["backup_codes_left"] == 5
    for secret in await secrets_of(house, ada):
        assert secret not in heard.text, secret
    # The backup codes were shown once, by the confirmation.
    for code in codes:
        assert sum(code in answer.text for answer in heard.answers) == 1


@pytest.mark.case("K-04")
@pytest.mark.case("K-82")
async def test_a_seed_is_never_shown_again_once_replaced_or_expired(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    first = (await ada.post(AUTHENTICATORS, {}, bearer=bearer)).json()
    second = (await ada.post(AUTHENTICATORS, {}, bearer=bearer)).json()
    assert first["secret"] != second["secret"]
    problem(await ada.get(f"{AUTHENTICATORS}/{first['id']}", bearer=bearer), 409, "enrolment_replaced")
    ada.secret = base64.b32decode(first["secret"].replace(" ", ""))
    old = await ada.post(f"{AUTHENTICATORS}/{first['id']}/confirm", {"code": ada.code()}, bearer=bearer)
    problem(old, 409, "enrolment_replaced")
    assert await house.value("SELECT seed FROM authenticator WHERE id::text = $1", first["id"]) is None

    tokens = await ada.sign_in()
    house.clock.advance(15 * 60)
    bearer = (await ada.refresh(tokens["refresh_token"])).json()["access_token"]
    # It expired, and it is another session's besides.
    problem(await ada.get(f"{AUTHENTICATORS}/{second['id']}", bearer=bearer), 404, "not_found")
    third = (await ada.post(AUTHENTICATORS, {}, bearer=(await ada.sign_in())["access_token"])).json()
    assert third["id"] != second["id"]


@pytest.mark.case("K-04")
async def test_an_expired_seed_is_not_shown_to_its_own_session_either(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    one = (await ada.post(AUTHENTICATORS, {}, bearer=tokens["access_token"])).json()
    house.clock.advance(15 * 60 - 1)
    tokens = (await ada.refresh(tokens["refresh_token"])).json()
    path = f"{AUTHENTICATORS}/{one['id']}"
    assert (await ada.get(path, bearer=tokens["access_token"])).json()["secret"] == one["secret"]
    house.clock.advance(1)
    answer = await ada.get(path, bearer=tokens["access_token"])
    problem(answer, 409, "enrolment_replaced")
    assert one["secret"] not in answer.text


# K-109: caching, and the headers of every answer


@pytest.mark.case("K-109")
async def test_no_answer_with_a_token_or_a_persons_data_may_be_kept(house: House) -> None:
    ada = await house.a_person()
    heard = Heard(house.client)
    tokens = await ada.sign_in()
    bearer = tokens["access_token"]
    started = (await ada.post(AUTHENTICATORS, {}, bearer=bearer)).json()
    ada.secret = base64.b32decode(started["secret"].replace(" ", ""))
    path = f"{AUTHENTICATORS}/{started['id']}"
    await ada.get(path, bearer=bearer)
    await ada.post(f"{path}/confirm", {"code": ada.wrong_code()}, bearer=bearer)
    await ada.post(f"{path}/confirm", {"code": ada.code()}, bearer=bearer)
    await ada.get("/v1/me", bearer=bearer)
    await ada.get("/v1/me")
    await ada.post("/v1/me/two-factor/backup-codes", {}, bearer=bearer)
    await ada.refresh(tokens["refresh_token"])
    await ada.refresh("dwr_" + "A" * 70)
    house.clock.advance(30)
    token = await ada.pre_auth()
    await ada.verify(token, ada.wrong_code())
    await ada.verify(token, ada.code())
    await ada.post("/v1/sign-in", {"email": ada.email, "password": WRONG})
    await ada.post("/v1/sign-in", {"email": 1})
    await ada.post("/v1/sign-in", {"email": "x" * 20_000})
    await house.client.post("/v1/sign-in", content=b"x", headers={"content-type": "text/plain"})
    await ada.post("/v1/reauthentication", {"password": PASSWORD, "code": "000000"}, bearer=bearer)
    await ada.get("/v1/nowhere")
    await house.client.put("/v1/me")
    await ada.post("/v1/sign-out", None, bearer=bearer)
    statuses = {answer.status_code for answer in heard.answers}
    assert statuses == {200, 201, 204, 400, 401, 404, 405, 413, 415}
    for answer in heard.answers:
        assert answer.headers.get_list("cache-control") == ["no-store"], answer.request.url
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("referrer-policy") == ["same-origin"]
        assert len(answer.headers.get_list("x-request-id")) == 1
        assert "set-cookie" not in answer.headers
        assert answer.headers.get_list("server") == ["doorward"]


@pytest.mark.case("K-109")
async def test_what_is_the_same_for_everyone_may_be_kept(house: House) -> None:
    for path in (DISCOVERY, "/.well-known/oauth-authorization-server", "/oauth2/jwks"):
        answer = await house.client.get(path)
        assert answer.status_code == 200
        found = re.fullmatch(r"public, max-age=(\d+)", answer.headers["cache-control"])
        assert found is not None, path
        assert 0 < int(found[1]) <= 3600
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/livez", "/readyz"):
        assert (await house.client.get(path)).headers["cache-control"] == "no-store"


async def test_an_unknown_route_is_a_problem_like_any_other(house: House) -> None:
    for path in ("/nowhere", "/v1", "/v1/nowhere", "/v1/me/", "/V1/me", "//v1/me", "/.env", "/errors/"):
        answer = await house.client.get(path)
        if path == "/v1/me/":
            assert answer.status_code in (401, 404)
            continue
        problem(answer, 404, "not_found")
    problem(await house.client.post("/v1/nowhere", json={}), 404, "not_found")


async def test_a_wrong_method_is_a_problem_that_names_the_right_ones(house: House) -> None:
    for method, path, allowed in (
        ("GET", "/v1/sign-in", "POST"),
        ("DELETE", "/v1/sign-in", "POST"),
        ("PUT", "/v1/me", "GET"),
        ("GET", "/v1/tokens/refresh", "POST"),
        ("POST", "/oauth2/jwks", "GET"),
        ("TRACE", "/v1/me", "GET"),
    ):
        answer = await house.client.request(method, path)
        problem(answer, 405, "method_not_allowed")
        # RFC 9110 §15.5.6: an origin server MUST name the methods.
        assert allowed in answer.headers.get("allow", ""), (method, path)


async def test_every_error_code_has_a_page_and_an_unknown_one_has_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, error in CATALOGUE.items():
        page = await house.client.get(f"/errors/{code}")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for text in (code, str(error.status), error.title, error.detail):
            assert text in unescape(page.text)
    for part in ("nothing", "<script>alert(1)</script>", "%3Cscript%3E", "__class__", "INVALID_TOKEN"):
        missing = await house.client.get(f"/errors/{part}")
        problem(missing, 404, "not_found")
        assert "script" not in missing.text

    class Marked(NotFound):
        title = "<b>title</b>"
        detail = "<img src=x onerror=alert(1)> & more"

    monkeypatch.setattr(pages, "CATALOGUE", {"marked": Marked})
    page = await house.client.get("/errors/marked")
    assert "<b>" not in page.text
    assert "<img" not in page.text
    assert "&lt;img src=x" in page.text


# What resource servers are told


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
