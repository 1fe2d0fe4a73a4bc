"""How sessions end beside each other: no deadlock, each end written once, nothing beyond a life."""

import asyncio
from base64 import b32decode

import pytest

from service.errors import Unavailable
from service.flows import me as me_flow
from tests.builders import House
from tests.flows.invariants import ROUNDS, check, claims, elsewhere, refusal
from tests.pages.visitor import Visitor

END_OTHERS = "/v1/me/sessions/end-others"
DISABLE = "/v1/me/two-factor/disable"


@ROUNDS
async def test_signing_out_while_the_others_are_ended_never_deadlocks(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        await ada.sign_in()
        house.clock.advance(90_000)  # the first one is idle, and nobody has written it down
        tokens = await ada.sign_in()
        bearer = tokens["access_token"]
        answers = await asyncio.gather(
            *(elsewhere(ada).post(END_OTHERS, None, bearer=bearer) for _ in range(4)),
            *(elsewhere(ada).post("/v1/sign-out", None, bearer=bearer) for _ in range(4)),
        )
        assert {answer.status_code for answer in answers} <= {200, 204, 401, 409}
        assert 503 not in {answer.status_code for answer in answers}
        assert (
            await house.value(
                "SELECT count(*) FROM session WHERE person_id = $1 AND ended_at IS NULL", ada.id
            )
            == 0
        )
        await check(house)


@pytest.mark.case("K-112")
async def test_an_end_that_nobody_wrote_down_is_written_with_its_reason_and_its_event(house: House) -> None:
    ada = await house.a_person()
    await ada.sign_in()
    idle = (await ada.sign_in())["session"]["id"]
    house.clock.advance(86_401)
    bearer = (await ada.sign_in())["access_token"]
    assert (await ada.post(END_OTHERS, None, bearer=bearer)).json() == {"ended": 0}
    events = await house.events("session:expiry:ok")
    assert len(events) == 2
    assert idle in {str(event["session_id"]) for event in events}
    rows = await house.rows("SELECT end_reason FROM session WHERE ended_at IS NOT NULL")
    assert {row["end_reason"] for row in rows} == {"idle"}


async def test_an_idle_session_stays_idle_however_late_one_looks(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    house.clock.advance(8 * 86_400)
    bearer = (await ada.sign_in())["access_token"]
    listed = (await ada.get("/v1/me/sessions?active=false", bearer=bearer)).json()["data"]
    assert [one["reason"] for one in listed] == ["idle"]
    await ada.post(END_OTHERS, None, bearer=bearer)
    again = (await ada.get("/v1/me/sessions?active=false", bearer=bearer)).json()["data"]
    assert again == listed


@pytest.mark.case("K-68")
@pytest.mark.parametrize(
    "settings",
    [{"tokens.refresh_absolute_seconds": 600, "tokens.refresh_idle_seconds": 600}],
    indirect=True,
)
async def test_an_access_token_does_not_outlive_its_session(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    house.clock.advance(500)
    renewed = (await ada.refresh(tokens["refresh_token"])).json()
    assert renewed["expires_in"] == 100
    assert claims(renewed["access_token"])["exp"] == int(ada.now.timestamp()) + 100
    bearer = renewed["access_token"]
    assert (await ada.get("/v1/me", bearer=bearer)).status_code == 200
    await house.rows("UPDATE refresh_family SET idle_at = $1, absolute_at = $1", ada.now)
    assert refusal(await ada.get("/v1/me", bearer=bearer)) == (401, "invalid_token")


async def test_an_administrator_who_turns_2fa_on_may_administrate_from_the_next_refresh(house: House) -> None:
    ada = await house.a_person().with_role("admin")
    tokens = await ada.sign_in()
    assert "admin" not in claims(tokens["access_token"])["scope"].split()
    bearer = tokens["access_token"]
    path = "/v1/me/two-factor/authenticators"
    started = (await ada.post(path, {"name": "Phone"}, bearer=bearer)).json()
    ada.secret = b32decode(started["secret"].replace(" ", ""))
    confirmed = await ada.post(f"{path}/{started['id']}/confirm", {"code": ada.code()}, bearer=bearer)
    assert confirmed.status_code == 200
    renewed = (await ada.refresh(tokens["refresh_token"])).json()
    assert "admin" in claims(renewed["access_token"])["scope"].split()


async def test_turning_it_off_with_a_backup_code_sends_one_true_letter(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    off = await ada.post(DISABLE, {"password": ada.password, "code": ada.codes[0]}, bearer=bearer)
    assert off.status_code == 204
    assert await house.letters(ada) == ["two_factor_off"]
    await check(house)


@pytest.mark.case("K-30")
async def test_a_change_makes_a_client_of_the_api_a_stranger_until_its_next_sign_in(house: House) -> None:
    """Its earlier device token may be in other hands: that is why somebody changes a password."""
    ada = await house.a_person()
    tokens = await ada.sign_in()
    new = {"current_password": ada.password, "new_password": "another long one"}
    assert (await ada.post("/v1/me/password", new, bearer=tokens["access_token"])).status_code == 204
    ada.password = "another long one"
    again = await ada.login(device_token=tokens["device_token"])
    await house.rows("UPDATE person SET must_change_password = true WHERE id = $1", ada.id)
    for device, known in ((tokens["device_token"], False), (again.json()["device_token"], True)):
        await ada.pre_auth(device_token=device)
        assert await house.value("SELECT known FROM pre_auth ORDER BY created_at DESC LIMIT 1") is known
        house.clock.advance(1)


@pytest.mark.parametrize("path", ["/v1/reauthentication", DISABLE])
@pytest.mark.parametrize(
    "settings", [{"limits.sign_in_network": 3, "limits.second_factor_network": 3}], indirect=True
)
async def test_a_wrong_proof_is_charged_to_its_own_limit(house: House, path: str) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    for number in range(3):
        proof = {"password": ada.password, "code": ada.wrong_code(but=number)}
        assert refusal(await ada.post(path, proof, bearer=bearer)) == (401, "invalid_code")
    refused = await ada.post(path, {"password": ada.password, "code": ada.code(1)}, bearer=bearer)
    assert (refused.status_code, refused.headers["ratelimit-policy"].split(";")[0]) == (
        429,
        '"second_factor.network"',
    )
    bob.address = ada.address
    assert (await bob.login()).status_code == 200, "the passwords of this network are not concerned"


async def test_a_database_that_goes_away_after_the_sign_in_does_not_cost_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()

    async def away(*_: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(me_flow, "end_session", away)
    assert (await visitor.sign_in()).path == "/account"


@pytest.mark.parametrize("since", ["12", "2026-01-01", "2026-01-01 00:00:00Z", "1e9", "2026-13-01T00:00:00Z"])
async def test_a_time_is_written_as_the_standard_says(house: House, since: str) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    answer = await ada.get(f"/v1/me/sign-ins?since={since}", bearer=bearer)
    assert answer.json()["errors"] == [{"pointer": "/since", "code": "not_a_time"}]


@pytest.mark.parametrize("name", ["Ada\nBcc: x@example.com", "a\u202eb", "a\u2066b", "\x1b[31m"])
async def test_a_name_is_one_line_that_reads_as_it_is(house: House, name: str) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    headers = {"authorization": f"Bearer {bearer}"}
    answer = await ada.client.patch("/v1/me", json={"name": name}, headers=headers)
    assert refusal(answer) == (400, "invalid_request")


@pytest.mark.parametrize("settings", [{"place_header": "CF-IPCountry"}], indirect=True)
async def test_a_place_is_told_by_a_declared_proxy_and_by_nobody_else(house: House) -> None:
    ada = await house.a_person()
    body = {"email": ada.email, "password": ada.password}
    bearer = ""
    for headers in (
        [("cf-ipcountry", "DE")],
        [("cf-ipcountry", "XX"), ("cf-ipcountry", "DE")],
        [("cf-ipcountry", "D\x01E" + "x" * 200)],
        [],
    ):
        house.clock.advance(1)
        answer = await ada.client.post("/v1/sign-in", json=body, headers=headers)
        bearer = answer.json()["access_token"]
    listed = (await ada.get("/v1/me/sign-ins", bearer=bearer)).json()["data"]
    assert [one["place"] for one in listed] == [None, "DE" + "x" * 98, None, "DE"]


@pytest.mark.parametrize(
    "settings", [{"place_header": "CF-IPCountry", "trusted_proxies": "192.0.2.1"}], indirect=True
)
async def test_a_client_cannot_tell_its_own_place(house: House) -> None:
    ada = await house.a_person()
    answer = await ada.post(
        "/v1/sign-in", {"email": ada.email, "password": ada.password}, **{"cf-ipcountry": "DE"}
    )
    listed = await ada.get("/v1/me/sign-ins", bearer=answer.json()["access_token"])
    assert [one["place"] for one in listed.json()["data"]] == [None]
