"""Tokens at the clients' endpoints (security design §6, F): told, revoked, refreshed, raced, and consent."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.flows import clients as client_flow
from tests.attacks.doors import WEB, Doors, doors
from tests.builders import House
from tests.flows.invariants import RACERS, ROUNDS, check, claims
from tests.pages.portal import CALLBACK, PORTAL, VERIFIER, answer, asked
from tests.pages.visitor import Visitor

OTHER = replace(WEB, id="other")
APP = replace(PORTAL, id="app", grant_types=("authorization_code", "refresh_token"))
THIRD = replace(WEB, first_party=False, scopes=("openid", "email", "offline_access"))


async def families(house: House) -> list[str | None]:
    rows = await house.rows("SELECT end_reason FROM refresh_family ORDER BY id")
    return [row["end_reason"] for row in rows]


async def refreshed(made: Doors, token: str, **more: str) -> httpx.Response:
    return await made.post("/oauth2/token", grant_type="refresh_token", refresh_token=token, **more)


@pytest.mark.case("K-58")
async def test_nobody_hears_of_or_ends_another_clients_token(house: House) -> None:
    made = await doors(house)
    secret = await client_flow.create(house.world, OTHER)
    await client_flow.create(house.world, APP)
    machine = (await made.post("/oauth2/token", grant_type="client_credentials")).json()["access_token"]
    frontend = await made.visitor.person.sign_in()
    strangers = (machine, *(made.tokens[k] for k in ("access_token", "refresh_token", "id_token")))
    for token in (*strangers, frontend["access_token"], frontend["refresh_token"], "x", "dwr_x", "a.b.c"):
        for hint in ("", "access_token", "refresh_token", "nonsense"):
            fields = {"token": token} | ({"token_type_hint": hint} if hint else {})
            told = await house.client.post("/oauth2/introspect", data=fields, auth=("other", secret or ""))
            assert (told.status_code, told.json()) == (200, {"active": False}), (token, hint)
            ended = await house.client.post("/oauth2/revoke", data=fields, auth=("other", secret or ""))
            assert (ended.status_code, ended.content) == (200, b"")
            by_the_app = await made.send("/oauth2/revoke", client_id="app", **fields)
            assert (by_the_app.status_code, by_the_app.content) == (200, b"")
    assert await families(house) == [None, None]
    assert await house.events("client:revocation:ok") == []
    assert await made.me(made.tokens["access_token"])
    assert await made.introspect(machine)
    assert (await made.visitor.person.get("/v1/me", bearer=frontend["access_token"])).status_code == 200


@pytest.mark.case("K-58")
async def test_who_does_not_prove_who_they_are_hears_nothing_at_all(house: House) -> None:
    made = await doors(house)
    await client_flow.create(house.world, APP)
    token = made.tokens["refresh_token"]
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"data": {"client_id": "web"}},
        {"data": {"client_id": "unknown"}},
        {"data": {"client_id": "web", "client_secret": made.secret}},
        {"data": {"client_id": "web", "client_secret": "dwx_wrong"}},
        {"auth": ("web", "dwx_wrong")},
        {"auth": ("web", "")},
        {"auth": ("unknown", made.secret)},
        {"auth": ("other", made.secret)},
        {"headers": {"authorization": f"Bearer {made.tokens['access_token']}"}},
        {"headers": {"authorization": "Basic !"}},
    )
    for path in ("/oauth2/introspect", "/oauth2/revoke", "/oauth2/token", "/oauth2/par"):
        for one in wrong:
            data = {"token": token, "grant_type": "refresh_token", "refresh_token": token}
            sent = await house.client.post(path, **(one | {"data": data | one.get("data", {})}))
            assert (sent.status_code, sent.json()["error"]) == (401, "invalid_client"), (path, one)
            assert sent.headers["www-authenticate"].startswith("Basic")
            assert sent.headers["cache-control"] == "no-store"
    public = await made.send("/oauth2/introspect", client_id="app", token=token)
    assert (public.status_code, public.json()["error"]) == (401, "invalid_client")
    await client_flow.disable(house.world, "web")
    assert (await made.post("/oauth2/introspect", token=token)).json()["error"] == "invalid_client"
    assert (await made.post("/oauth2/revoke", token=token)).json()["error"] == "invalid_client"
    assert await families(house) == [None]


@pytest.mark.case("K-58")
@pytest.mark.parametrize("hint", ["", "access_token", "refresh_token", "nonsense"])
async def test_a_wrong_hint_neither_hides_a_token_nor_saves_it(house: House, hint: str) -> None:
    made = await doors(house)
    more = {"token_type_hint": hint} if hint else {}
    for kind in ("access_token", "refresh_token"):
        tokens = await made.buy()
        told = (await made.post("/oauth2/introspect", token=tokens[kind], **more)).json()
        assert (told["active"], told["client_id"]) == (True, "web")
        assert set(told) <= {
            *("active", "scope", "client_id", "sub", "iss", "exp", "sid"),
            *("token_type", "aud", "iat", "jti", "acr", "amr", "auth_time"),
        }
        assert (await made.post("/oauth2/revoke", token=tokens[kind], **more)).status_code == 200
        for other in ("access_token", "refresh_token"):
            told = (await made.post("/oauth2/introspect", token=tokens[other], **more)).json()
            assert told == {"active": False}, "and nothing beside it"
        assert not await made.me(tokens["access_token"])
        assert not await made.refresh(tokens["refresh_token"])
    identity = (await made.post("/oauth2/introspect", token=made.tokens["id_token"], **more)).json()
    assert identity == {"active": False}, "an ID token opens nothing"
    await check(house)


@pytest.mark.case("K-58")
async def test_a_disabled_persons_tokens_and_a_spent_refresh_token_are_inactive(house: House) -> None:
    made = await doors(house)
    first = made.tokens["refresh_token"]
    second = (await refreshed(made, first)).json()
    assert (await made.post("/oauth2/introspect", token=first)).json() == {"active": False}
    assert await made.introspect(second["refresh_token"])
    await house.rows("UPDATE person SET disabled_at = now() RETURNING 1")
    for kind in ("access_token", "refresh_token"):
        assert (await made.post("/oauth2/introspect", token=second[kind])).json() == {"active": False}
        assert (await made.post("/oauth2/revoke", token=second[kind])).status_code == 200


@pytest.mark.case("K-59")
async def test_a_refresh_token_that_comes_late_ends_the_grant_and_is_told_once(house: House) -> None:
    made = await doors(house)
    bystander = dict(made.tokens)
    first = await made.buy()
    second = (await refreshed(made, first["refresh_token"])).json()
    third = (await refreshed(made, second["refresh_token"])).json()
    house.clock.advance(11)
    for _ in range(3):
        theft = await refreshed(made, first["refresh_token"])
        assert (theft.status_code, theft.json()["error"]) == (400, "invalid_grant")
    for tokens in (first, second, third):
        assert not await made.refresh(tokens["refresh_token"])
        assert not await made.me(tokens["access_token"])
        assert not await made.introspect(tokens["access_token"])
    assert set(await families(house)) == {None, "refresh_reuse"}
    assert len(await house.events("session:refresh:refused")) == 1, "one theft, one event"
    assert (await house.letters(made.visitor.person)).count("refresh_reuse") == 1
    made.tokens = bystander
    assert await made.refresh(bystander["refresh_token"]), "the client's other grant goes on"
    await check(house)


@pytest.mark.case("K-60")
@ROUNDS
@pytest.mark.parametrize("redis", ["up", "forgetting"])
async def test_a_refresh_token_raced_for_has_one_successor(house: House, rounds: int, redis: str) -> None:
    made = await doors(house)
    secret = await client_flow.create(house.world, OTHER)
    token, answers = made.tokens["refresh_token"], []
    for _ in range(rounds):
        if redis == "forgetting":
            await house.world.memory.run(("FLUSHALL",))
        fields = {"grant_type": "refresh_token", "refresh_token": token}
        raced = await asyncio.gather(
            *(refreshed(made, token) for _ in range(RACERS)),
            *(
                house.client.post("/oauth2/token", data=fields, auth=("other", secret or ""))
                for _ in range(4)
            ),
        )
        told = Counter(one.json().get("error", "issued") for one in raced)
        assert told == {"issued": RACERS, "invalid_grant": 4}, told
        (token,) = {one.json()["refresh_token"] for one in raced if one.status_code == 200}
        answers += raced
        house.clock.advance(11)
    assert await made.refresh(token), "whoever holds the leaf goes on"
    assert await families(house) == [None]
    await check(house, answers)


@pytest.mark.case("K-61")
async def test_a_lost_answer_costs_nothing_and_a_wrong_wish_neither(house: House) -> None:
    made = await doors(house)
    secret = await client_flow.create(house.world, OTHER)
    await client_flow.create(house.world, APP)
    token = made.tokens["refresh_token"]
    fields = {"grant_type": "refresh_token", "refresh_token": token}
    for scope in ("openid email account profile", "admin", "reports", "no-such-scope", "openid\nadmin"):
        wider = await refreshed(made, token, scope=scope)
        assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope"), scope
    by_other = await house.client.post("/oauth2/token", data=fields, auth=("other", secret or ""))
    assert by_other.json()["error"] == "invalid_grant"
    assert (await made.send("/oauth2/token", client_id="app", **fields)).json()["error"] == "invalid_grant"
    assert (await made.send("/oauth2/token", client_id="web", **fields)).json()["error"] == "invalid_client"
    by_api = await house.client.post("/v1/tokens/refresh", json={"refresh_token": token})
    assert by_api.status_code == 401
    lost = (await refreshed(made, token)).json()
    again = (await refreshed(made, token)).json()
    assert again["refresh_token"] == lost["refresh_token"], "the retry carries the same successor"
    narrow = (await refreshed(made, lost["refresh_token"], scope="email")).json()
    assert narrow["scope"] == "email"
    assert (await made.bearer("/oauth2/userinfo", narrow["access_token"])).status_code == 403
    whole = (await refreshed(made, narrow["refresh_token"])).json()
    assert set(whole["scope"].split()) == {"openid", "email", "account"}
    assert await families(house) == [None]
    await made.visitor.fill(await made.visitor.get("/account"), "/sign-out")
    after = await refreshed(made, whole["refresh_token"])
    assert (after.status_code, after.json()["error"]) == (400, "invalid_grant")
    assert not await made.me(whole["access_token"])
    await check(house)


@pytest.mark.case("K-61")
async def test_a_client_that_hangs_up_before_its_answer_goes_on_with_the_token_it_has(house: House) -> None:
    made = await doors(house)
    token = made.tokens["refresh_token"]
    for _ in range(8):
        sent = asyncio.create_task(refreshed(made, token))
        await asyncio.sleep(0.002)
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)
        answered = await refreshed(made, token)
        assert answered.status_code == 200, answered.text
        token = answered.json()["refresh_token"]
    assert await families(house) == [None]
    assert await made.refresh(token)


async def third_party(house: House) -> Doors:
    """A third party that the person knows nothing of yet."""
    secret = await client_flow.create(house.world, THIRD)
    visitor = Visitor(await house.a_person())
    return Doors(house, visitor, secret or "")


async def silent(made: Doors, **changes: str) -> dict[str, str]:
    return answer(await made.visitor.get(asked(client_id="web", prompt="none", **changes)))


@pytest.mark.case("K-62")
async def test_nothing_is_given_in_silence_that_was_not_allowed(house: House) -> None:
    made = await third_party(house)
    assert (await silent(made))["error"] == "login_required"
    await made.visitor.sign_in()
    assert (await silent(made))["error"] == "consent_required"
    page = await made.visitor.get(asked(client_id="web", scope="openid"))
    allow = next(form for form in page.forms if form.fields.get("decision") == "allow")
    for wrong in ({"csrf_token": "A" * 43}, {"decision": ""}, {"decision": "ALLOW"}):
        refused = await made.visitor.post(allow, follow=False, **wrong)
        assert refused.answer.status_code in (400, 403)
    assert (await silent(made, scope="openid"))["error"] == "consent_required"
    assert "code" in answer(await made.visitor.post(allow))
    assert "code" in await silent(made, scope="openid")
    assert (await silent(made, scope="openid email"))["error"] == "consent_required", "more was asked for"
    assert (await silent(made, scope="openid offline_access"))["error"] == "consent_required"
    with_consent = await made.visitor.get(asked(client_id="web", scope="openid", prompt="consent"))
    assert [form for form in with_consent.forms if "decision" in form.fields], "asked anew"
    assert "code" in await silent(made, scope="openid"), "and no answer changes nothing"
    await made.visitor.post(next(f for f in with_consent.forms if f.fields.get("decision") == "deny"))
    assert "code" in await silent(made, scope="openid"), "a no to one request takes back nothing"


async def taken_back(made: Doors) -> None:
    own = await made.visitor.person.sign_in()
    sent = await made.house.client.delete(
        "/v1/me/consents/web", headers={"authorization": f"Bearer {own['access_token']}"}
    )
    assert sent.status_code == 204, sent.text


@pytest.mark.case("K-62")
async def test_taking_consent_back_ends_what_it_gave(house: House) -> None:
    made = await third_party(house)
    await made.visitor.sign_in()
    page = await made.visitor.get(asked(client_id="web", scope="openid email offline_access"))
    page = await made.visitor.post(next(f for f in page.forms if f.fields.get("decision") == "allow"))
    tokens = (await made.exchange(answer(page)["code"])).json()
    await taken_back(made)
    assert (await silent(made, scope="openid"))["error"] == "consent_required"
    assert not await made.refresh(tokens["refresh_token"])
    assert not await made.introspect(tokens["access_token"])
    assert not await made.userinfo(tokens["access_token"])


@pytest.mark.case("K-62")
@pytest.mark.parametrize("wish", [{"prompt": "login"}, {"max_age": "0"}, {"max_age": "60"}])
async def test_a_fresh_proof_is_fresh_or_is_not_said(house: House, wish: dict[str, str]) -> None:
    made = await doors(house)
    ada = made.visitor.person
    before = claims(made.tokens["id_token"])["auth_time"]
    house.clock.advance(100)
    page = await made.visitor.get(asked(client_id="web", **wish))
    assert page.path == "/account/reauthentication"
    here = page.answer.request.url
    target = str(here.params["return_to"])
    assert (await made.visitor.get(target)).path == "/account/reauthentication", "going on is no proof"
    wrong = await made.visitor.post(page.form("/account/reauthentication"), password="not the one")
    assert wrong.path == "/account/reauthentication"
    if "max_age" in wish:
        refused = await made.visitor.get(asked(client_id="web", prompt="none", **wish))
        assert answer(refused)["error"] == "login_required"
    assert await house.value("SELECT count(*) FROM session") == 1, "and cancelled it leaves no session"
    assert await house.value("SELECT count(*) FROM authorization_code WHERE used_at IS NULL") == 0
    page = await made.visitor.get(target)
    page = await made.visitor.post(page.form("/account/reauthentication"), password=ada.password)
    issued = claims((await made.exchange(answer(page)["code"])).json()["id_token"])
    assert issued["auth_time"] == before + 100
    await check(house)


@pytest.mark.case("K-62")
async def test_an_age_that_just_passed_is_too_old_and_one_that_has_not_is_not(house: House) -> None:
    made = await doors(house)
    house.clock.advance(59)
    assert "code" in await silent(made, max_age="60")
    house.clock.advance(1)
    assert (await silent(made, max_age="60"))["error"] == "login_required"
    fields = {
        "grant_type": "authorization_code",
        "code": (await silent(made, max_age="61"))["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    issued = claims((await made.post("/oauth2/token", **fields)).json()["id_token"])
    assert issued["auth_time"] == int(house.clock.now().timestamp()) - 60


@pytest.mark.case("K-62")
async def test_a_code_from_before_consent_was_taken_back_buys_nothing(house: House) -> None:
    made = await third_party(house)
    await made.visitor.sign_in()
    page = await made.visitor.get(asked(client_id="web", scope="openid email offline_access"))
    page = await made.visitor.post(next(f for f in page.forms if f.fields.get("decision") == "allow"))
    await taken_back(made)
    late = await made.exchange(answer(page)["code"])
    assert (late.status_code, late.json().get("error")) == (400, "invalid_grant")


@pytest.mark.case("K-62")
async def test_a_request_allowed_before_consent_was_taken_back_asks_again(house: House) -> None:
    made = await third_party(house)
    await made.visitor.sign_in()
    first = await made.visitor.get(asked(client_id="web", scope="openid"))
    second = await made.visitor.get(asked(client_id="web", scope="openid"))
    held, done = (
        next(f for f in one.forms if f.fields.get("decision") == "allow") for one in (first, second)
    )
    underway = await made.visitor.post(held, follow=False)
    await made.visitor.post(done)
    await taken_back(made)
    page = await made.visitor.get(underway.answer.headers["location"])
    assert [form for form in page.forms if "decision" in form.fields], "what was allowed was taken back"


@pytest.mark.case("K-61")
async def test_a_wish_for_scope_tells_nothing_of_another_clients_token(house: House) -> None:
    made = await doors(house)
    token = made.tokens["refresh_token"]
    made_up = token[:-8] + ("A" * 8 if not token.endswith("A" * 8) else "B" * 8)

    async def asked_for(text: str, scope: str) -> httpx.Response:
        return await made.post("/oauth2/token", grant_type="refresh_token", refresh_token=text, scope=scope)

    for scope in ("openid", "openid profile"):
        assert (await asked_for(made_up, scope)).json()["error"] == "invalid_grant", scope
