"""What answers never repeat, and which answers may be kept (security K-04, K-109)."""

import base64
import re
from html import unescape

import httpx
import pytest

from service.errors import CATALOGUE, NotFound
from service.http import pages
from tests.builders import PASSWORD, House, Person
from tests.http.problems import problem

WRONG = "test-value wrong horse"
AUTHENTICATORS = "/v1/me/two-factor/authenticators"


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
    for path in (
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/oauth2/jwks",
    ):
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
