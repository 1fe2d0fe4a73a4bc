"""Refresh tokens: one leaf, one successor, two lives, and what a copy in other hands leads to."""

import asyncio
import base64
from typing import Any
from uuid import UUID

import pytest

from service.domain import sessions as rules
from tests.builders import House, Person
from tests.flows.invariants import RACERS, ROUNDS, check, claims, elsewhere, refusal, tally

DAY = 86_400


def parsed(token: str) -> rules.RefreshToken:
    found = rules.parse_refresh(token)
    assert found is not None
    return found


async def family(house: House, token: str) -> Any:
    """The row behind a token, every column."""
    rows = await house.rows("SELECT * FROM refresh_family WHERE id = $1", parsed(token).family)
    return rows[0]


async def rotated(person: Person, token: str) -> str:
    """The successor."""
    answer = await person.refresh(token)
    assert answer.status_code == 200, answer.text
    successor: str = answer.json()["refresh_token"]
    return successor


async def refused(person: Person, token: str, **more: object) -> str | None:
    """The reason of a refusal."""
    answer = await person.refresh(token, **more)
    assert refusal(answer) == (401, "invalid_refresh_token"), answer.text
    reason: str | None = answer.json().get("reason")
    return reason


async def test_each_refresh_gives_the_next_generation_and_tokens_of_the_same_session(house: House) -> None:
    ada = await house.a_person().with_totp()
    first = await ada.sign_in()
    house.clock.advance(60)
    answer = await ada.refresh(first["refresh_token"])
    assert answer.status_code == 200, answer.text
    second = answer.json()
    assert set(second) == {
        "access_token",
        "refresh_token",
        "id_token",
        "token_type",
        "expires_in",
        "session",
    }
    assert second["session"] == first["session"]
    old, new = parsed(first["refresh_token"]), parsed(second["refresh_token"])
    assert (old.family, old.generation + 1) == (new.family, new.generation)
    before, after = claims(first["access_token"]), claims(second["access_token"])
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"iat", "exp", "jti"}, "what was proved, and when, stays"
    assert (await ada.get("/v1/me", bearer=second["access_token"])).status_code == 200
    await check(house, [answer])


@pytest.mark.case("K-59")
async def test_a_copy_used_after_the_grace_kills_the_family_and_tells_the_person_once(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    first = tokens["refresh_token"]
    second = await rotated(ada, first)
    house.clock.advance(10)
    thief = elsewhere(ada)
    for token in (first, second, first, first, second):
        assert await refused(thief, token) == "refresh_reuse"
    assert (await ada.get("/v1/me", bearer=tokens["access_token"])).status_code == 401
    row = await family(house, first)
    assert (row["end_reason"], row["ended_at"]) == ("refresh_reuse", ada.now)
    session = (await house.rows("SELECT * FROM session"))[0]
    assert (session["end_reason"], session["ended_at"]) == ("refresh_reuse", ada.now)
    assert await house.letters(ada) == ["refresh_reuse"]
    (event,) = await house.events("session:refresh:refused")
    assert (event["person_id"], event["client_id"], event["session_id"]) == (
        ada.id,
        "doorward",
        session["id"],
    )
    assert str(event["address"]) == thief.address
    assert ada.address in event["detail"], "the event carries the last good use as well"
    await check(house)


@pytest.mark.case("K-59")
@ROUNDS
async def test_a_copy_replayed_thirty_two_ways_is_one_event_and_one_letter(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada, bob = await house.a_person(), await house.a_person()
        first, bobs = (await ada.sign_in())["refresh_token"], (await bob.sign_in())["refresh_token"]
        second = await rotated(ada, first)
        house.clock.advance(11)
        answers = await asyncio.gather(
            *(elsewhere(ada).refresh((first, second)[n % 8 == 7]) for n in range(RACERS))
        )
        # The owner's own refresh may have come first; whoever held the copy got nothing.
        assert tally(answers[:7]) == {401: 7}
        assert {a.json()["reason"] for a in answers if a.status_code == 401} == {"refresh_reuse"}
        assert await refused(ada, second) == "refresh_reuse"
        assert await house.letters(ada) == ["refresh_reuse"]
        written = "SELECT count(*) FROM audit_event WHERE person_id = $1 AND name = 'session:refresh:refused'"
        assert await house.value(written, ada.id) == 1
        await rotated(bob, bobs)
        await check(house, answers)


@pytest.mark.case("K-60")
@ROUNDS
async def test_thirty_two_refreshes_at_once_get_one_successor(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        first = (await ada.sign_in())["refresh_token"]
        answers = await asyncio.gather(*(elsewhere(ada).refresh(first) for _ in range(RACERS)))
        assert tally(answers) == {200: RACERS}
        (second,) = {a.json()["refresh_token"] for a in answers}
        assert len({claims(a.json()["access_token"])["jti"] for a in answers}) == RACERS
        row = await family(house, first)
        assert (row["generation"], len(row["rotated_at"])) == (1, 1)
        third = await rotated(ada, second)
        assert parsed(third).generation == 2
        assert await refused(ada, first) == "superseded"
        assert parsed(await rotated(ada, third)).generation == 3
        await check(house, answers)


@pytest.mark.case("K-61")
async def test_a_lost_answer_is_asked_for_again_in_the_grace_and_nothing_changes(house: House) -> None:
    ada = await house.a_person()
    first = (await ada.sign_in())["refresh_token"]
    second = await rotated(ada, first)
    before = await family(house, first)
    for _ in range(3):
        house.clock.advance(3)
        assert await rotated(ada, first) == second
    assert await family(house, first) == before
    house.clock.advance(1)
    assert await refused(ada, first) == "refresh_reuse"
    await check(house)


@pytest.mark.case("K-61")
async def test_after_the_sign_out_the_reason_is_told(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    assert (await ada.post("/v1/sign-out", None, bearer=tokens["access_token"])).status_code == 204
    for _ in range(2):
        assert await refused(ada, tokens["refresh_token"]) == "signed_out"
    house.clock.advance(31 * DAY)
    assert await refused(ada, tokens["refresh_token"]) == "signed_out", "the reason that ended it stays"
    (event,) = await house.events("session:sign_out:ok")
    assert str(event["session_id"]) == tokens["session"]["id"]
    assert await house.letters(ada) == []
    await check(house)


@pytest.mark.case("K-61")
async def test_another_client_is_refused_and_changes_nothing(house: House) -> None:
    ada = await house.a_person()
    first = (await ada.sign_in())["refresh_token"]
    before = await family(house, first)
    assert refusal(await ada.refresh(first, client_id="portal")) == (400, "unauthorized_client")
    assert await family(house, first) == before
    await house.rows("UPDATE refresh_family SET client_id = 'portal'")
    before = await family(house, first)
    assert await refused(ada, first) is None, "a client that is not the token's is told no reason"
    assert await family(house, first) == before
    await check(house)


async def test_a_straggler_of_two_generations_back_is_superseded_and_changes_nothing(house: House) -> None:
    ada = await house.a_person()
    first = (await ada.sign_in())["refresh_token"]
    second = await rotated(ada, first)
    house.clock.advance(5)
    third = await rotated(ada, second)
    before = await family(house, first)
    house.clock.advance(4)
    assert await refused(ada, first) == "superseded"
    assert await family(house, first) == before
    assert await house.letters(ada) == []
    assert await rotated(ada, second) == third
    house.clock.advance(1)
    assert await refused(ada, first) == "refresh_reuse"
    assert await refused(ada, third) == "refresh_reuse"
    await check(house)


async def test_a_generation_older_than_the_row_remembers_is_theft(house: House) -> None:
    ada = await house.a_person()
    token = first = (await ada.sign_in())["refresh_token"]
    for _ in range(9):
        token = await rotated(ada, token)
    assert len((await family(house, first))["rotated_at"]) == 8
    assert await refused(ada, first) == "refresh_reuse"
    await check(house)


async def test_an_unused_family_ends_after_a_day(house: House) -> None:
    ada = await house.a_person()
    first = (await ada.sign_in())["refresh_token"]
    house.clock.advance(DAY - 1)
    second = await rotated(ada, first)
    house.clock.advance(DAY)
    for _ in range(2):
        assert await refused(ada, second) == "idle"
    row = await family(house, first)
    assert (row["end_reason"], row["generation"]) == ("idle", 1)
    assert len(await house.events("session:expiry:ok")) == 1
    assert await house.letters(ada) == []
    await check(house)


@pytest.mark.case("K-68")
async def test_a_family_in_use_ends_after_thirty_days_and_no_refresh_lengthens_that(house: House) -> None:
    ada = await house.a_person()
    token = (await ada.sign_in())["refresh_token"]
    born = await family(house, token)
    for _ in range(30):
        house.clock.advance(DAY - 10)
        token = await rotated(ada, token)
        row = await family(house, token)
        assert row["absolute_at"] == born["absolute_at"]
        assert row["idle_at"] <= row["absolute_at"]
    assert row["idle_at"] == row["absolute_at"]
    house.clock.advance(300)
    assert await refused(ada, token) == "absolute"
    assert (await family(house, token))["end_reason"] == "absolute"
    await check(house)


async def test_a_lost_write_is_made_good_by_the_newer_token(house: House) -> None:
    ada = await house.a_person()
    first = (await ada.sign_in())["refresh_token"]
    token = first
    for _ in range(3):
        house.clock.advance(60)
        token = await rotated(ada, token)
    await house.rows("UPDATE refresh_family SET generation = 1, rotated_at = rotated_at[3:3]")
    after = await rotated(ada, token)
    assert parsed(after).generation == 4
    assert (await family(house, first))["generation"] == 4
    assert await rotated(ada, token) == after, "within the grace the successor is the same"
    assert parsed(await rotated(ada, after)).generation == 5
    await check(house)


@pytest.mark.case("K-61")
async def test_a_token_changed_anywhere_is_refused_without_a_reason(house: House) -> None:
    ada = await house.a_person()
    bob = await house.a_person()
    first, bobs = (await ada.sign_in())["refresh_token"], (await bob.sign_in())["refresh_token"]
    mine, his = parsed(first), parsed(bobs)
    altered = [
        str(rules.RefreshToken(mine.family, mine.generation, bytes([mine.mac[0] ^ 1]) + mine.mac[1:])),
        str(rules.RefreshToken(mine.family, mine.generation, mine.mac[:-1] + bytes([mine.mac[-1] ^ 128]))),
        str(rules.RefreshToken(mine.family, mine.generation + 1, mine.mac)),
        str(rules.RefreshToken(his.family, mine.generation, mine.mac)),
        str(rules.RefreshToken(UUID(int=0), mine.generation, mine.mac)),
        first + "=",
        first + "==",
        first[:-1],
        first + "A",
        " " + first,
        first.replace("dwr_", "dwp_"),
        first.replace("dwr_", "DWR_"),
        first.removeprefix("dwr_"),
        "dwr_" + base64.b64encode(b"\xff" * 52).decode().rstrip("="),
        "dwr_",
        "dwr_" + "\u0430" * 70,
    ]
    # The last character has two bits that decode to nothing: only one of the four texts is the token.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = alphabet.index(first[-1])
    altered += [first[:-1] + alphabet[at ^ bits] for bits in (1, 2, 3)]
    for token in altered:
        assert await refused(ada, token) is None, token
    for person, token in ((ada, first), (bob, bobs)):
        row = await family(house, token)
        assert (row["generation"], row["ended_at"]) == (0, None)
        await rotated(person, token)
    await check(house)


@pytest.mark.case("K-07")
async def test_no_other_kind_of_token_refreshes(house: House) -> None:
    ada = await house.a_person().with_totp()
    pre_auth = await ada.pre_auth()
    tokens = await ada.sign_in()
    for token in (pre_auth, tokens["access_token"], tokens["id_token"], tokens["device_token"]):
        answer = await ada.refresh(token)
        assert answer.status_code in (400, 401), answer.text
        assert "reason" not in answer.json()
    for token in (pre_auth, tokens["refresh_token"], tokens["id_token"], tokens["device_token"]):
        assert refusal(await ada.get("/v1/me", bearer=token)) == (401, "invalid_token")
    await rotated(ada, tokens["refresh_token"])


@pytest.mark.parametrize("settings", [{"tokens.refresh_grace_seconds": 0}], indirect=True)
async def test_without_a_grace_every_second_use_is_theft(house: House) -> None:
    ada = await house.a_person()
    first = (await ada.sign_in())["refresh_token"]
    second = await rotated(ada, first)
    assert await refused(ada, first) == "refresh_reuse"
    assert await refused(ada, second) == "refresh_reuse"
    assert await house.letters(ada) == ["refresh_reuse"]
    await check(house)


@pytest.mark.case("K-69")
async def test_a_person_disabled_meanwhile_gets_no_tokens(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    await house.rows("UPDATE person SET disabled_at = now()")
    assert await refused(ada, tokens["refresh_token"]) == "user_disabled"
    assert (await ada.get("/v1/me", bearer=tokens["access_token"])).status_code == 401
    assert (await family(house, tokens["refresh_token"]))["generation"] == 0


async def test_an_epoch_raised_meanwhile_ends_refresh_and_access(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    await house.rows("UPDATE person SET epoch = epoch + 1")
    assert await refused(ada, tokens["refresh_token"]) == "revoked"
    assert (await ada.get("/v1/me", bearer=tokens["access_token"])).status_code == 401


@ROUNDS
async def test_nothing_is_refreshed_once_a_sign_out_was_acknowledged(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        tokens = await ada.sign_in()

        racers = [elsewhere(ada).refresh(tokens["refresh_token"]) for _ in range(RACERS)]
        out = ada.post("/v1/sign-out", None, bearer=tokens["access_token"])
        *answers, ended = await asyncio.gather(*racers, out)
        assert ended.status_code == 204
        assert {a.json()["reason"] for a in answers if a.status_code == 401} <= {"signed_out"}
        for token in {tokens["refresh_token"]} | {
            a.json()["refresh_token"] for a in answers if a.status_code == 200
        }:
            assert await refused(ada, token) == "signed_out"
        await check(house, answers)
