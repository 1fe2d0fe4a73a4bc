"""One's own account: who may open it, the profile, and a new password."""

from typing import Any

import httpx
import pytest

from tests.builders import House, Person
from tests.flows.account import (
    AUTHENTICATORS,
    BACKUP_CODES,
    DOORS,
    END_OTHERS,
    ME,
    NEW_PASSWORD,
    PASSWORD,
    SESSIONS,
    all_of_it,
    another,
    call,
    in_browser,
    step_up,
    without_step_up,
)
from tests.flows.invariants import check, refusal


async def change(person: Person, bearer: str, **body: object) -> httpx.Response:
    return await call(person, "PATCH", ME, body, bearer=bearer)


# Who may


async def test_nobody_is_told_anything_and_nothing_changes(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    before = await all_of_it(house)
    for method, path, body in DOORS:
        for bearer in (None, "not a token", tokens["refresh_token"], tokens["id_token"]):
            answer = await call(ada, method, path, body, bearer=bearer)
            assert refusal(answer) == (401, "invalid_token"), (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="doorward", error="invalid_token"'
            assert ada.email not in answer.text
    assert await all_of_it(house) == before
    await check(house)


@pytest.mark.case("K-86")
async def test_a_cookie_alone_may_look_and_may_do_nothing(house: House) -> None:
    ada = await house.a_person().with_totp()
    ada_s, bobs = await in_browser(house, ada), await in_browser(house, await house.a_person())
    before = await all_of_it(house)
    right = await ada_s.csrf()
    forged: list[dict[str, Any]] = [
        {},
        {"csrf": ""},
        {"csrf": "A" * 43},
        {"csrf": await bobs.csrf()},
        {"csrf": right[:-1]},
        {"csrf": right, "origin": "https://evil.example"},
        {"csrf": right, "origin": "null"},
        {"csrf": right, "sec-fetch-site": "cross-site"},
        {"csrf": right, "sec-fetch-site": "same-site"},
        {"csrf": right, "sec-fetch-site": "none"},
    ]
    for method, path, body in DOORS:
        if method == "GET":
            continue
        for more in forged:
            answer = await ada_s.send(method, path, body, **more)
            assert refusal(answer) == (403, "csrf_failed"), (method, path, more)
            assert "set-cookie" not in answer.headers
    assert await all_of_it(house) == before
    assert (await ada_s.send("GET", ME)).json()["email"] == ada.email
    await check(house)


@pytest.mark.case("K-86")
async def test_the_proof_of_our_own_page_fits_its_browser_and_its_session_only(house: House) -> None:
    ada = await house.a_person()
    one, other = await in_browser(house, ada), await in_browser(house, ada)
    token = await one.csrf()
    assert refusal(await other.send("PATCH", ME, {"name": "Eve"}, csrf=token)) == (403, "csrf_failed")
    one.name, kept = other.name, one.name
    assert refusal(await one.send("PATCH", ME, {"name": "Eve"}, csrf=token)) == (403, "csrf_failed")
    one.name = kept
    same = {"origin": "http://127.0.0.1:8400", "sec-fetch-site": "same-origin"}
    assert (await one.send("PATCH", ME, {"name": "Ada"}, csrf=token, **same)).json()["name"] == "Ada"
    await check(house)


async def test_a_bearer_counts_alone_whatever_cookie_stands_beside_it(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    browser, bobs = await in_browser(house, ada), (await bob.sign_in())["access_token"]
    for bad in ("Bearer nothing", "Basic YTpi", "Bearer", ""):
        answer = await browser.send("GET", ME, authorization=bad)
        assert refusal(answer) == (401, "invalid_token"), bad
    assert (await browser.send("GET", ME, authorization=f"Bearer {bobs}")).json()["email"] == bob.email
    assert (await browser.send("GET", ME)).json()["email"] == ada.email
    await check(house)


async def test_whatever_weakens_an_account_needs_a_fresh_proof_of_this_session(house: House) -> None:
    ada = await house.a_person().with_totp()
    second = await another(house, ada)
    bearer = (await without_step_up(house, ada, await ada.sign_in()))["access_token"]
    house.clock.advance(30)
    fresh = (await ada.sign_in())["access_token"]
    before = await all_of_it(house)
    owing: list[tuple[str, str, dict[str, object] | None]] = [
        ("POST", AUTHENTICATORS, {}),
        ("DELETE", f"{AUTHENTICATORS}/{second}", None),
        ("POST", BACKUP_CODES, None),
        ("POST", PASSWORD, {"current_password": ada.password, "new_password": NEW_PASSWORD}),
    ]
    for method, path, body in owing:
        answer = await call(ada, method, path, body, bearer=bearer)
        assert refusal(answer) == (403, "reauthentication_required"), (method, path)
    assert await all_of_it(house) == before
    # What weakens nothing needs none.
    assert (await change(ada, bearer, name="Ada")).status_code == 200
    renamed = await call(ada, "PATCH", f"{AUTHENTICATORS}/{second}", {"name": "Pad"}, bearer=bearer)
    assert renamed.status_code == 204
    assert (await ada.get(SESSIONS, bearer=bearer)).status_code == 200
    assert (await ada.get(ME, bearer=fresh)).status_code == 200
    assert (await ada.post(END_OTHERS, None, bearer=bearer)).status_code == 200
    await check(house)


async def test_five_minutes_after_the_proof_it_is_owed_again_to_the_second(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await without_step_up(house, ada, await ada.sign_in())
    assert (await step_up(ada, tokens["access_token"], ada.code())).status_code == 200
    house.clock.advance(299)
    assert (await ada.post(BACKUP_CODES, None, bearer=tokens["access_token"])).status_code == 200
    house.clock.advance(1)
    tokens = await without_step_up(house, ada, tokens)
    refused = await ada.post(BACKUP_CODES, None, bearer=tokens["access_token"])
    assert refusal(refused) == (403, "reauthentication_required")
    await check(house)


# The profile


@pytest.mark.case("K-94")
async def test_a_field_that_is_not_the_profiles_is_refused_and_nothing_of_it_is_kept(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    before = await all_of_it(house)
    foreign: dict[str, object] = {
        "email": "eve@example.com",
        "email_verified": False,
        "roles": ["admin"],
        "sub": "00000000-0000-4000-8000-000000000000",
        "password_hash": "x",
        "epoch": 7,
        "disabled_at": None,
        "must_change_password": False,
        "two_factor": {"status": "not_activated"},
        "id": "x",
    }
    for field, value in foreign.items():
        answer = await change(ada, bearer, **{"name": "Eve", field: value})
        assert refusal(answer) == (400, "invalid_request"), field
        assert answer.json()["errors"] == [{"pointer": f"/{field}", "code": "extra_forbidden"}]
    nested = await change(ada, bearer, address={"locality": "Here", "verified": True})
    assert nested.json()["errors"] == [{"pointer": "/address/verified", "code": "extra_forbidden"}]
    assert await all_of_it(house) == before
    await check(house)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"name": "A\0da"}, "/name"),
        ({"name": "A\x1b[31mda"}, "/name"),
        ({"name": "\u202eada"}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": 7}, "/name"),
        ({"language": "german"}, "/language"),
        ({"language": ""}, "/language"),
        ({"language": "de\n"}, "/language"),
        ({"phone_number": "030 901820"}, "/phone_number"),
        ({"phone_number": "+4930901820\n"}, "/phone_number"),
        ({"phone_number": "+٤٩٣٠٩٠١٨٢٠"}, "/phone_number"),
        ({"phone_number": "+" + "1" * 16}, "/phone_number"),
        ({"address": "Here"}, "/address"),
        ({"address": {"locality": "He\0re"}}, "/address/locality"),
        ({"address": {"locality": "x" * 501}}, "/address/locality"),
        ({"address": {"locality": 7}}, "/address/locality"),
        ({"address": {"locality": ""}}, "/address/locality"),
    ],
)
@pytest.mark.case("K-98")
async def test_what_is_no_text_of_its_kind_is_refused_by_its_pointer(
    house: House, body: dict[str, object], pointer: str
) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    before = await all_of_it(house)
    answer = await change(ada, bearer, **body)
    assert refusal(answer) == (400, "invalid_request"), answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await all_of_it(house) == before


@pytest.mark.case("K-98")
async def test_half_a_surrogate_pair_is_no_text_of_a_profile(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    for body, pointer in (
        (b'{"name": "A\\ud800da"}', "/name"),
        (b'{"address": {"locality": "\\udc00"}}', "/address/locality"),
    ):
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        answer = await house.client.patch(ME, content=body, headers=headers)
        assert refusal(answer) == (400, "invalid_request")
        assert answer.json()["errors"] == [{"pointer": pointer, "code": "not_text"}]


async def test_what_is_left_out_stays_and_null_clears(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    empty = (await ada.get(ME, bearer=bearer)).json()
    assert [empty[field] for field in ("language", "phone_number", "address")] == [None] * 3
    address = {"street_address": "Allee 1\nHinterhaus", "locality": "Köln", "country": "DE"}
    told = {"name": "Ada", "language": "de-AT", "phone_number": "+4930901820", "address": address}
    full = await change(ada, bearer, **told)
    assert full.status_code == 200, full.text
    assert full.json() == empty | told
    assert (await change(ada, bearer)).json() == full.json()
    assert (await change(ada, bearer, name="Ada L.")).json() == full.json() | {"name": "Ada L."}
    for field in ("language", "phone_number", "address"):
        assert (await change(ada, bearer, **{field: None})).json()[field] is None
    assert (await ada.get(ME, bearer=bearer)).json() == empty | {"name": "Ada L."}
    assert (await change(ada, bearer, address={"locality": None})).json()["address"] is None
    one = await change(ada, bearer, address={"locality": "Köln", "region": None})
    assert one.json()["address"] == {"locality": "Köln"}, "the address is changed as a whole"
    assert await house.value("SELECT name FROM person WHERE id = $1", bob.id) == ""
    written = await house.events("account:profile:ok")
    assert {row["person_id"] for row in written} == {ada.id}
    assert "Köln" not in str([tuple(row.values()) for row in written]), "which fields, and not what"
    await check(house)


@pytest.mark.parametrize(
    "name",
    [
        "Zoë O’Brien-Łukasiewicz",
        "山田 太郎",
        "محمد بن سلمان",
        "Zoe\u0308",
        "🦊",
        "Robert'); DROP TABLE person;--",
        "<script>alert(1)</script>",
        "علی\u200cرضا",
        "山田\u3000太郎",
    ],
)
async def test_a_name_of_any_script_comes_back_as_it_was_sent(house: House, name: str) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    answer = await change(ada, bearer, name=name)
    assert answer.status_code == 200, answer.text
    assert answer.json()["name"] == name
    assert (await ada.get(ME, bearer=bearer)).json()["name"] == name
