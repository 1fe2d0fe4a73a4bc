"""`/v1/admin/users`: who may, what is refused, and what an act does (security K-90 … K-95, K-112)."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from service.domain.administration import ROLES
from tests.builders import House
from tests.flows.account import ME, NOBODY, call, step_up, without_step_up
from tests.flows.administration import DOORS, USERS, Administrator, signed_in
from tests.http.problems import invalid, problem
from tests.pages.visitor import Visitor


async def knock(house: House, bearer: str | None, path: str, **headers: str) -> dict[str, httpx.Response]:
    """Every door, as whoever holds the token."""
    person = await house.a_person()
    answers = {"list": await call(person, "GET", USERS, bearer=bearer, **headers)}
    for method, after, body, _, _ in DOORS:
        sent = {"if-match": "*"} | headers if method == "PATCH" else headers
        answers[f"{method} {after} {body}"] = await call(
            person, method, path + after, body, bearer=bearer, **sent
        )
    return answers


async def standing(house: House) -> list[Any]:
    """What an act on an account could change."""
    return [
        await house.rows("SELECT * FROM person ORDER BY id"),
        await house.rows("SELECT id, confirmed_at FROM authenticator ORDER BY id"),
        await house.rows("SELECT id, replaced_at FROM backup_set ORDER BY id"),
        await house.rows("SELECT id, ended_at FROM session ORDER BY id"),
        await house.rows("SELECT * FROM outbox ORDER BY id"),
    ]


# Who may


@pytest.mark.case("K-90")
async def test_nobody_without_a_token_comes_in(house: House) -> None:
    ada = await house.a_person().with_totp()
    for bearer in (None, "nothing", "dwr_AAAA"):
        for answer in (await knock(house, bearer, f"{USERS}/{ada.id}")).values():
            problem(answer, 401, "invalid_token")


@pytest.mark.case("K-90")
async def test_a_person_without_a_role_is_refused_at_every_door(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    token = (await ada.sign_in())["access_token"]
    before = await standing(house)
    for person in (ada, bob):
        for answer in (await knock(house, token, f"{USERS}/{person.id}")).values():
            problem(answer, 403, "insufficient_scope")
    assert (await standing(house))[1:] == before[1:]


@pytest.mark.case("K-90")
async def test_an_administrator_of_one_factor_is_refused_at_every_door(house: House) -> None:
    ada, bob = await house.a_person().with_role("admin"), await house.a_person().with_totp()
    token = (await ada.sign_in())["access_token"]
    for answer in (await knock(house, token, f"{USERS}/{bob.id}")).values():
        problem(answer, 403, "insufficient_scope")


@pytest.mark.case("K-90")
async def test_a_token_counts_in_its_header_only(house: House) -> None:
    boss = await signed_in(house)
    for path in (f"{USERS}?access_token={boss.bearer}", USERS):
        headers = {"authorization": f"Basic {boss.bearer}"} if path == USERS else {}
        problem(await call(boss.person, "GET", path, **headers), 401, "invalid_token")
    headers = {"cookie": f"doorward-dev={boss.bearer}"}
    problem(await call(boss.person, "GET", USERS, **headers), 401, "invalid_token")


@pytest.mark.case("K-90")
async def test_a_cookie_needs_the_token_of_its_page_to_act(house: House) -> None:
    ada, bob = await house.a_person().with_totp().with_role("admin"), await house.a_person().with_totp()
    visitor = Visitor(ada)
    await visitor.sign_in()
    assert (await visitor.client.get(USERS)).status_code == 200
    for method, after, body, _, _ in DOORS[1:]:
        answer = await visitor.client.request(
            method, f"{USERS}/{bob.id}{after}", json=body, headers={"if-match": "*"}
        )
        problem(answer, 403, "csrf_failed")


@pytest.mark.case("K-91")
@pytest.mark.parametrize("role", ROLES)
async def test_each_role_opens_just_its_doors(house: House, role: str) -> None:
    boss = await signed_in(house, role)
    assert (await boss.call("GET", USERS)).status_code == 200
    for method, after, body, roles, _ in DOORS:
        bob = await house.a_person().with_totp()
        answer = await boss.call(method, f"{USERS}/{bob.id}{after}", body)
        if role in roles:
            assert answer.status_code in (200, 204), (after, body, answer.text)
        else:
            problem(answer, 403, "forbidden")
            assert await house.value("SELECT epoch FROM person WHERE id = $1", bob.id) == 0


@pytest.mark.case("K-91")
async def test_a_role_that_is_taken_away_opens_nothing_at_the_next_request(house: House) -> None:
    boss = await signed_in(house)
    await house.rows("UPDATE person SET roles = '{auditor}' WHERE id = $1", boss.person.id)
    bob = await house.a_person().with_totp()
    problem(await boss.call("POST", f"{USERS}/{bob.id}/unlock"), 403, "forbidden")
    assert (await boss.call("GET", USERS)).status_code == 200
    await house.rows("UPDATE person SET roles = '{}' WHERE id = $1", boss.person.id)
    problem(await boss.call("GET", USERS), 403, "insufficient_scope")


async def test_what_opens_more_needs_a_fresh_proof(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person().with_totp()
    boss.tokens = await without_step_up(house, boss.person, boss.tokens)
    before = await standing(house)
    for method, after, body, _, fresh in DOORS:
        if fresh:
            answer = await boss.call(method, f"{USERS}/{bob.id}{after}", body)
            problem(answer, 403, "reauthentication_required")
    assert await standing(house) == before
    assert (await step_up(boss.person, boss.bearer, boss.person.code())).status_code == 200
    answer = await boss.call("POST", f"{USERS}/{bob.id}/reset-two-factor", {"reason": "lost phone"})
    assert answer.json() == {"removed": 1}


# What is refused


async def test_nobody_acts_on_themselves(house: House) -> None:
    boss = await signed_in(house)
    before = await standing(house)
    for method, after, body, _, _ in DOORS[1:]:
        problem(await boss.call(method, f"{USERS}/{boss.person.id}{after}", body), 409, "own_account")
    assert await standing(house) == before


async def test_an_unknown_person_is_not_found(house: House) -> None:
    boss = await signed_in(house)
    for method, after, body, _, _ in DOORS:
        problem(await boss.call(method, f"{USERS}/{NOBODY}{after}", body), 404, "not_found")
        answer = await boss.call(method, f"{USERS}/nobody{after}", body)
        problem(answer, 404, "not_found")


@pytest.mark.case("K-94")
async def test_a_change_takes_what_it_says_and_nothing_else(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person()
    before = await standing(house)
    for name, value, pointer in (
        ("is_admin", True, "/is_admin"),
        ("password", "test-value", "/password"),
        ("password_hash", "x", "/password_hash"),
        ("email", "x@example.com", "/email"),
        ("email_verified", True, "/email_verified"),
        ("two_factor", {"status": "activated"}, "/two_factor"),
        ("totp_enabled", True, "/totp_enabled"),
        ("status", None, "/status"),
        ("status", "deleted", "/status"),
        ("status", True, "/status"),
        ("roles", None, "/roles"),
        ("roles", "admin", "/roles"),
        ("roles", ["root"], "/roles/0"),
        ("roles", ["admin", "admin"], "/roles"),
        ("roles", {"admin": True}, "/roles"),
    ):
        invalid(await boss.call("PATCH", f"{USERS}/{bob.id}", {name: value}), pointer)
    assert await standing(house) == before


@pytest.mark.case("K-108")
async def test_a_reason_is_a_line_of_text(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person().with_totp()
    path = f"{USERS}/{bob.id}/reset-two-factor"
    for reason in ("", " ", "a\nb", "a\r\n{", "a\0", "\u202e", "\ud800", 7, None, "x" * 301):
        answer = await boss.person.client.post(
            path,
            content=json.dumps({"reason": reason}),
            headers={"authorization": f"Bearer {boss.bearer}", "content-type": "application/json"},
        )
        invalid(answer, "/reason")
    invalid(await boss.call("POST", path, {}), "/reason")
    assert (await boss.of(bob))["user"]["two_factor"]["status"] == "activated"


async def test_a_change_needs_the_tag_of_what_was_read(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person()
    path = f"{USERS}/{bob.id}"
    tag = (await boss.call("GET", path)).headers["etag"]
    answer = await call(boss.person, "PATCH", path, {"roles": ["support"]}, bearer=boss.bearer)
    problem(answer, 428, "precondition_required")
    for wrong in ('"nothing"', f"W/{tag}", tag.strip('"'), tag[:-1], '""', "nothing, at all"):
        answer = await boss.call("PATCH", path, {"roles": ["support"]}, **{"if-match": wrong})
        problem(answer, 412, "precondition_failed")
    changed = await boss.call("PATCH", path, {"roles": ["support"]}, **{"if-match": f'"x", {tag}'})
    assert changed.json()["user"]["roles"] == ["support"]
    assert changed.headers["etag"] != tag
    problem(await boss.call("PATCH", path, {"roles": []}, **{"if-match": tag}), 412, "precondition_failed")
    answer = await boss.call("PATCH", path, {"roles": []}, **{"if-match": changed.headers["etag"]})
    assert answer.json()["user"]["roles"] == []


async def test_of_two_changes_to_what_both_read_one_is_refused(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person()
    path = f"{USERS}/{bob.id}"
    tag = (await boss.call("GET", path)).headers["etag"]
    bodies = [{"roles": ["support"]}, {"roles": ["auditor"]}, {"status": "disabled"}]
    answers = await asyncio.gather(*(boss.call("PATCH", path, body, **{"if-match": tag}) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]


# What an act does


@pytest.mark.case("K-92")
@pytest.mark.case("U-70")
async def test_no_answer_holds_a_secret(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person().with_totp()
    row = (await house.rows("SELECT * FROM person WHERE id = $1", bob.id))[0]
    seed = await house.value("SELECT seed FROM authenticator WHERE person_id = $1", bob.id)
    digests = await house.rows("SELECT digest FROM backup_code WHERE person_id = $1", bob.id)
    said = (await boss.call("GET", f"{USERS}/{bob.id}")).text + (await boss.call("GET", USERS)).text
    for secret in (row["password_hash"], seed.hex(), bob.secret.hex(), row["code_salt"].hex(), *bob.codes):
        assert secret not in said
    for digest in digests:
        assert digest["digest"].hex() not in said
    for name in ("password", "hash", "seed", "secret", "codes", "salt"):
        assert f'"{name}"' not in said
    assert "password" not in said.replace("must_change_password", "")


@pytest.mark.case("U-70")
@pytest.mark.case("K-112")
async def test_a_reset_takes_everything_away_and_tells_the_person(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person().with_totp()
    tokens = await bob.sign_in()
    under_way = await bob.pre_auth()
    await house.rows("UPDATE person SET stranger_streak = 100 WHERE id = $1", bob.id)
    answer = await boss.call("POST", f"{USERS}/{bob.id}/reset-two-factor", {"reason": " lost phone "})
    assert answer.json() == {"removed": 1}
    problem(await bob.get(ME, bearer=tokens["access_token"]), 401, "invalid_token")
    body = problem(await bob.refresh(tokens["refresh_token"]), 401, "invalid_refresh_token")
    assert body["reason"] == "two_factor_changed"
    problem(await bob.verify(under_way, bob.code(1)), 401, "invalid_pre_auth_token")
    assert await house.letters(bob) == ["two_factor_reset"]
    letter = await house.value("SELECT data FROM outbox WHERE person_id = $1", bob.id)
    assert json.loads(letter) == {}
    (event,) = await house.events("two_factor:reset:ok")
    assert (event["person_id"], event["actor_id"]) == (bob.id, boss.person.id)
    assert event["session_id"] == UUID(boss.tokens["session"]["id"])
    assert (event["client_id"], str(event["address"])) == ("doorward", boss.person.address)
    assert json.loads(event["detail"]) == {"reason": "lost phone", "removed": 1, "ended": 1}
    told = (await boss.of(bob))["user"]["two_factor"]
    assert (told["status"], told["since"], told["backup_codes_left"]) == ("not_activated", None, 0)
    assert (told["blocked"], (await boss.of(bob))["authenticators"]) == (False, [])
    # They sign in with the password alone, and may enrol anew.
    assert (await bob.login()).json()["status"] == "complete"
    again = await boss.call("POST", f"{USERS}/{bob.id}/reset-two-factor", {"reason": "lost phone"})
    assert again.json() == {"removed": 0}
    assert len(await house.events("two_factor:reset:ok")) == 1
    assert len(await house.letters(bob)) == 1


@pytest.mark.parametrize("settings", [{"two_factor.required": "all"}], indirect=True)
async def test_whoever_was_reset_has_to_enrol_anew_where_it_is_required(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person().with_totp()
    assert (await boss.of(bob))["user"]["two_factor"]["pending"] is False
    await boss.call("POST", f"{USERS}/{bob.id}/reset-two-factor", {"reason": "lost phone"})
    assert (await bob.login()).json()["status"] == "enrolment_required"
    told = (await boss.of(bob))["user"]["two_factor"]
    assert (told["pending"], told["overdue"]) == (True, True)
    assert await boss.emails(two_factor="pending") == [bob.email]
    assert await boss.emails(two_factor="overdue") == [bob.email]


@pytest.mark.case("K-69")
async def test_a_disabled_person_is_out_at_once_and_comes_back_when_enabled(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person().with_totp()
    tokens = await bob.sign_in()
    answer = await boss.call("PATCH", f"{USERS}/{bob.id}", {"status": "disabled"})
    assert answer.json()["user"]["status"] == "disabled"
    problem(await bob.get(ME, bearer=tokens["access_token"]), 401, "invalid_token")
    problem(await bob.login(), 401, "invalid_credentials")
    assert await boss.emails(status="disabled") == [bob.email]
    await boss.call("PATCH", f"{USERS}/{bob.id}", {"status": "disabled"})
    assert len(await house.events("account:disable:ok")) == 1
    answer = await boss.call("PATCH", f"{USERS}/{bob.id}", {"status": "active"})
    assert (answer.json()["user"]["status"], answer.json()["user"]["disabled_at"]) == ("active", None)
    assert (await bob.login()).json()["status"] == "second_factor_required"
    problem(await bob.get(ME, bearer=tokens["access_token"]), 401, "invalid_token")
    (event,) = await house.events("account:enable:ok")
    assert (event["person_id"], event["actor_id"]) == (bob.id, boss.person.id)


async def test_support_acts_upon_nobody_who_has_a_role(house: House) -> None:
    helper, boss = await signed_in(house, "support"), await signed_in(house)
    other = await signed_in(house, "auditor")
    for one in (boss, other):
        problem(await helper.call("POST", f"{USERS}/{one.person.id}/end-sessions"), 403, "forbidden")
        assert (await one.call("GET", USERS)).status_code == 200
    assert (await boss.call("POST", f"{USERS}/{other.person.id}/end-sessions")).status_code == 200


async def test_sessions_end_at_a_word_of_support(house: House) -> None:
    helper, bob = await signed_in(house, "support"), await house.a_person()
    tokens, under_way = await bob.sign_in(), await bob.sign_in()
    answer = await helper.call("POST", f"{USERS}/{bob.id}/end-sessions")
    assert answer.json() == {"ended": 2}
    for one in (tokens, under_way):
        body = problem(await bob.refresh(one["refresh_token"]), 401, "invalid_refresh_token")
        assert body["reason"] == "admin"
    (event,) = await house.events("account:end_sessions:ok")
    assert (event["person_id"], event["actor_id"]) == (bob.id, helper.person.id)
    assert (await helper.call("POST", f"{USERS}/{bob.id}/end-sessions")).json() == {"ended": 0}


async def test_an_unlock_gives_a_blocked_second_factor_its_tries_back(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person().with_totp()
    await house.rows("UPDATE person SET stranger_streak = 100, known_streak = 100 WHERE id = $1", bob.id)
    token = await bob.pre_auth()
    problem(await bob.verify(token, bob.code()), 403, "second_factor_blocked")
    assert (await boss.of(bob))["user"]["two_factor"]["blocked"] is True
    answer = await boss.call("POST", f"{USERS}/{bob.id}/unlock")
    assert answer.status_code == 204
    assert (await boss.of(bob))["user"]["two_factor"]["blocked"] is False
    assert (await bob.verify(await bob.pre_auth(), bob.code())).json()["status"] == "complete"
    (event,) = await house.events("account:unlock:ok")
    assert (event["person_id"], event["actor_id"]) == (bob.id, boss.person.id)


async def test_a_role_that_is_given_counts_from_the_next_request(house: House) -> None:
    boss, bob = await signed_in(house), await house.a_person().with_totp()
    token = (await bob.sign_in())["access_token"]
    problem(await bob.get(USERS, bearer=token), 403, "insufficient_scope")
    await boss.call("PATCH", f"{USERS}/{bob.id}", {"roles": ["support", "auditor"]})
    fresh = Administrator(bob, {"access_token": token})
    problem(await fresh.call("GET", USERS), 403, "insufficient_scope")
    bob_again = Administrator(bob, await _again(house, bob))
    assert (await bob_again.call("GET", USERS)).status_code == 200
    (event,) = await house.events("account:roles:ok")
    assert json.loads(event["detail"]) == {"roles": ["auditor", "support"]}


async def _again(house: House, person: Any) -> dict[str, Any]:
    house.clock.advance(60)
    tokens: dict[str, Any] = await person.sign_in()
    return tokens


# Two at once


async def test_of_two_administrators_who_disable_each_other_one_remains(house: House) -> None:
    for _ in range(3):
        pair = [await signed_in(house), await signed_in(house)]
        answers = await asyncio.gather(
            *(
                one.call("PATCH", f"{USERS}/{other.person.id}", {"status": "disabled"})
                for one, other in (pair, pair[::-1])
            )
        )
        # The one who came too late is stopped at the door or at the rows: the session ended, or the role.
        won, lost = sorted(answer.status_code for answer in answers)
        assert won == 200
        assert lost in (401, 403)
        left = await house.value(
            "SELECT count(*) FROM person WHERE 'admin' = ANY(roles) AND disabled_at IS NULL AND id = ANY($1)",
            [one.person.id for one in pair],
        )
        assert left == 1


async def test_of_a_ring_of_administrators_who_demote_each_other_one_remains(house: House) -> None:
    ring = [await signed_in(house) for _ in range(4)]
    answers = await asyncio.gather(
        *(
            one.call("PATCH", f"{USERS}/{ring[at - 1].person.id}", {"roles": []})
            for at, one in enumerate(ring)
        )
    )
    assert {answer.status_code for answer in answers} <= {200, 403}
    assert await house.value("SELECT count(*) FROM person WHERE 'admin' = ANY(roles)") >= 1
    assert 200 in {answer.status_code for answer in answers}
