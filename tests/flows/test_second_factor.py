"""The second factor under attack: replays, races, guesses, and strangers who would lock the owner out."""

import asyncio
import base64
from typing import Any

import pytest

from service.domain import totp
from tests.builders import House, Person
from tests.flows.invariants import (
    RACERS,
    ROUNDS,
    check,
    elsewhere,
    flush,
    guess,
    pre_auths,
    refusal,
    tally,
    verify_all,
)

#: A code of the right form that nobody has: it is drawn from 2^60.
NOBODYS = "0000-0000-0000"


def nobodys(number: int) -> str:
    """A backup code of the right form that nobody has."""
    return f"ZZZZ-0000-{number:04}"


async def failures(house: House, person: Person, budget: str = "stranger") -> int:
    found: int = await house.value(
        f"SELECT cardinality({budget}_failures) FROM person WHERE id = $1", person.id
    )
    return found


# One success for one step, one for one code


@pytest.mark.case("K-10")
async def test_a_code_that_was_used_is_refused_and_the_next_steps_code_still_opens_the_token(
    house: House,
) -> None:
    ada = await house.a_person().with_totp()
    code = ada.code()
    first = await ada.verify(await ada.pre_auth(), code)
    assert first.status_code == 200, first.text

    token = await ada.pre_auth()
    replay = await ada.verify(token, code)
    assert refusal(replay) == (401, "code_already_used")
    assert replay.json()["attempts_left"] == 4

    house.clock.advance(30)
    after = await ada.verify(token, ada.code())
    assert after.status_code == 200, after.text
    assert await ada.world.limits.step_was_seen(ada.authenticator, totp.step_at(ada.now))  # type: ignore[arg-type]
    await check(house, [first, replay, after])


@pytest.mark.case("K-10")
async def test_a_replay_is_refused_after_redis_forgot_everything(house: House) -> None:
    ada = await house.a_person().with_totp()
    code = ada.code()
    first = await ada.verify(await ada.pre_auth(), code)
    assert first.status_code == 200
    await flush(house)
    replay = await ada.verify(await ada.pre_auth(), code)
    assert refusal(replay) == (401, "code_already_used")
    assert await failures(house, ada) == 1
    await check(house, [first, replay])


async def test_an_older_step_is_refused_once_a_later_one_was_used(house: House) -> None:
    ada = await house.a_person().with_totp()
    assert (await ada.verify(await ada.pre_auth(), ada.code(1))).status_code == 200
    token = await ada.pre_auth()
    for steps in (0, -1):
        refused = await ada.verify(token, ada.code(steps))
        assert refusal(refused) == (401, "invalid_code")
        assert "clock_skew" not in refused.json()
    assert refusal(await ada.verify(token, ada.code(1))) == (401, "code_already_used")
    await check(house)


@pytest.mark.case("K-11")
@ROUNDS
async def test_of_thirty_two_tokens_that_race_one_code_one_succeeds(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        tokens = await pre_auths(ada, RACERS)
        answers = await verify_all(ada, [(token, ada.code()) for token in tokens])
        assert tally(answers)[200] == 1
        assert {refusal(a) for a in answers if a.status_code != 200} <= {
            (401, "code_already_used"),
            (429, "rate_limited"),
        }
        assert await failures(house, ada) == tally(answers)[401] <= 5
        spent = "SELECT count(*) FROM pre_auth WHERE person_id = $1 AND consumed_at IS NOT NULL"
        assert await house.value(spent, ada.id) == 1, "a token whose code was burnt by another lives on"
        assert await house.value("SELECT count(*) FROM session WHERE person_id = $1", ada.id) == 1
        await check(house, answers)


@pytest.mark.case("K-11")
@ROUNDS
async def test_one_token_raced_with_one_code_opens_one_session(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        token = await ada.pre_auth()
        answers = await verify_all(ada, [(token, ada.code())] * RACERS)
        assert tally(answers)[200] == 1
        assert await house.value("SELECT count(*) FROM session WHERE person_id = $1", ada.id) == 1
        await check(house, answers)


@ROUNDS
async def test_the_loser_of_a_race_for_a_token_burns_nothing(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        token = await ada.pre_auth()
        codes = [ada.code(0), ada.code(1), *ada.codes]
        answers = await verify_all(ada, [(token, code) for code in codes])
        assert tally(answers) == {200: 1, 401: len(codes) - 1}
        assert {refusal(a) for a in answers if a.status_code == 401} == {(401, "invalid_pre_auth_token")}
        assert await failures(house, ada) == 0
        await check(house, answers)
        winner = [a.status_code for a in answers].index(200)
        # The newest of the codes that lost is as good as ever.
        code = codes[1] if winner != 1 else codes[2]
        again = await ada.verify(await ada.pre_auth(), code)
        assert again.status_code == 200, again.text
        await check(house, [*answers, again])


@pytest.mark.case("K-13")
@pytest.mark.case("K-88")
async def test_the_code_that_turned_the_second_factor_on_is_refused_at_the_next_sign_in(
    house: House,
) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    started = (await ada.post("/v1/me/two-factor/authenticators", {}, bearer=bearer)).json()
    ada.secret = _secret(started)
    code = ada.code()
    confirm = f"/v1/me/two-factor/authenticators/{started['id']}/confirm"
    confirmed = await ada.post(confirm, {"code": code}, bearer=bearer)
    assert confirmed.status_code == 200

    token = await ada.pre_auth()
    assert refusal(await ada.verify(token, code)) == (401, "code_already_used")
    step_up = await ada.post("/v1/reauthentication", {"password": ada.password, "code": code}, bearer=bearer)
    assert refusal(step_up) == (401, "code_already_used")
    assert refusal(await ada.post(confirm, {"code": code}, bearer=bearer)) == (409, "enrolment_replaced")

    house.clock.advance(30)
    assert (await ada.verify(token, ada.code())).status_code == 200
    await check(house)


@pytest.mark.case("K-13")
async def test_a_code_of_the_sign_in_is_refused_at_the_step_up_and_the_other_way(house: House) -> None:
    ada = await house.a_person().with_totp()
    code = ada.code()
    bearer = (await ada.sign_in())["access_token"]
    proof = {"password": ada.password, "code": code}
    assert refusal(await ada.post("/v1/reauthentication", proof, bearer=bearer)) == (401, "code_already_used")
    proof["code"] = ada.code(1)
    assert (await ada.post("/v1/reauthentication", proof, bearer=bearer)).status_code == 200
    replay = await ada.verify(await ada.pre_auth(), ada.code(1))
    assert refusal(replay) == (401, "code_already_used")
    await check(house, [replay])


@pytest.mark.case("K-14")
@pytest.mark.parametrize("steps", range(-3, 4))
async def test_only_the_steps_next_to_the_present_one_are_open(house: House, steps: int) -> None:
    ada = await house.a_person().with_totp()
    answer = await ada.verify(await ada.pre_auth(), ada.code(steps))
    if abs(steps) <= 1:
        assert answer.status_code == 200, answer.text
        assert await house.value("SELECT last_step FROM authenticator") == totp.step_at(ada.now) + steps
        return
    assert refusal(answer) == (401, "invalid_code")
    assert await failures(house, ada) == 1
    if steps < 0:
        skew = answer.json()["clock_skew"]
        assert skew == {"seconds_behind": -30 * steps, "server_time": ada.now.isoformat(timespec="seconds")}
    else:
        assert "clock_skew" not in answer.json()
    await check(house, [answer])


@pytest.mark.case("K-16")
@ROUNDS
async def test_of_thirty_two_tokens_that_race_one_backup_code_one_succeeds(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        tokens = await pre_auths(ada, RACERS)
        answers = await verify_all(ada, [(token, ada.codes[2]) for token in tokens])
        assert tally(answers)[200] == 1
        assert {refusal(a) for a in answers if a.status_code != 200} <= {
            (401, "code_already_used"),
            (429, "rate_limited"),
        }
        winner = next(a for a in answers if a.status_code == 200)
        assert winner.json()["backup_codes_left"] == 4
        spent = "SELECT count(*) FROM pre_auth WHERE person_id = $1 AND consumed_at IS NOT NULL"
        assert await house.value(spent, ada.id) == 1, "a token whose code was burnt by another lives on"
        unused = "SELECT count(*) FROM backup_code WHERE person_id = $1 AND used_at IS NULL"
        assert await house.value(unused, ada.id) == 4
        await check(house, answers)


async def test_each_of_the_five_backup_codes_works_once_in_any_writing(house: House) -> None:
    ada = await house.a_person().with_totp()
    for number, code in enumerate(ada.codes):
        written = [code, code.lower(), code.replace("-", ""), code.replace("-", " "), f" {code} "][number]
        used = await elsewhere(ada).verify(await ada.pre_auth(), written)
        assert used.status_code == 200, used.text
        assert used.json()["backup_codes_left"] == 4 - number
    owed = (await ada.login()).json()
    assert owed["methods"] == ["totp"]
    assert refusal(await ada.verify(owed["pre_auth_token"], ada.codes[0])) == (401, "code_already_used")
    assert sorted(await house.letters(ada)) == ["backup_code_used"] * 5 + ["second_factor_failed"]
    await check(house)


@pytest.mark.case("K-19")
async def test_anothers_codes_open_nothing_and_still_work_for_their_owner(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    token = await ada.pre_auth()
    for code in (bob.code(), bob.codes[0]):
        refused = await ada.verify(token, code)
        assert refusal(refused) == (401, "invalid_code")
        assert "replaced_at" not in refused.json()
    assert (await failures(house, ada), await failures(house, bob)) == (2, 0)
    for code in (bob.code(), bob.codes[0]):
        opened = await bob.verify(await bob.pre_auth(), code)
        assert opened.status_code == 200, opened.text
    await check(house)


# Guessing, and who pays for it


@pytest.mark.case("K-20")
async def test_a_token_dies_with_its_fifth_wrong_code_and_a_fresh_one_has_to_wait(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    for left in (4, 3, 2, 1, 0):
        wrong = await ada.verify(token, ada.wrong_code(but=left))
        assert refusal(wrong) == (401, "invalid_code")
        assert wrong.json()["attempts_left"] == left
    # The token is looked up before the person's limit (contract §7): it is dead, whatever the code.
    assert refusal(await ada.verify(token, ada.code())) == (401, "invalid_pre_auth_token")
    fresh = (await ada.login()).json()
    assert (fresh["status"], fresh["attempts_left"]) == ("second_factor_required", 0)
    waiting = await ada.verify(fresh["pre_auth_token"], ada.code())
    assert refusal(waiting) == (429, "rate_limited")
    assert waiting.headers["retry-after"] == "300"
    assert waiting.json()["retry_after"] == 300
    # The first token is as dead once the person need not wait any more.
    house.clock.advance(299)
    assert refusal(await ada.verify(fresh["pre_auth_token"], ada.code())) == (429, "rate_limited")
    house.clock.advance(1)
    assert refusal(await ada.verify(token, ada.code())) == (401, "invalid_pre_auth_token")
    assert (await ada.verify(await ada.pre_auth(), ada.code())).status_code == 200
    assert await failures(house, ada) == 5
    await check(house)


@pytest.mark.case("K-21")
async def test_a_new_sign_in_does_not_give_a_guesser_new_tries(house: House) -> None:
    ada = await house.a_person().with_totp()
    old = await ada.pre_auth()
    assert tally(await guess(ada, 5)) == {401: 5}
    for token in (old, await ada.pre_auth()):
        for code in (ada.code(), ada.wrong_code(), ada.codes[0]):
            refused = await elsewhere(ada).verify(token, code)
            assert refusal(refused) == (429, "rate_limited")
            assert 0 < int(refused.headers["retry-after"]) <= 300
    assert await failures(house, ada) == 5
    assert await house.value("SELECT last_step FROM authenticator") == 1
    await check(house)


@pytest.mark.case("K-21")
async def test_a_guesser_gets_twenty_tries_an_hour_and_fifty_a_day(house: House) -> None:
    ada = await house.a_person().with_totp()
    for _ in range(4):
        assert tally(await guess(ada, 5)) == {401: 5}
        house.clock.advance(301)
    refused = await elsewhere(ada).verify(await ada.pre_auth(), ada.code())
    assert refusal(refused) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) == 3600 - 4 * 301
    house.clock.advance(3600)
    for _ in range(4):
        assert tally(await guess(ada, 5)) == {401: 5}
        house.clock.advance(301)
    house.clock.advance(3600)
    for _ in range(2):
        assert tally(await guess(ada, 5)) == {401: 5}
        house.clock.advance(301)
    refused = await elsewhere(ada).verify(await ada.pre_auth(), ada.code())
    assert refusal(refused) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) == 86_400 - (10 * 301 + 2 * 3600)
    house.clock.advance(86_400)
    assert (await elsewhere(ada).verify(await ada.pre_auth(), ada.code())).status_code == 200
    await check(house)


@pytest.mark.case("K-21")
async def test_a_hundred_failures_in_a_row_block_the_second_factor_of_strangers(house: House) -> None:
    ada = await house.a_person().with_totp()
    device = (await ada.sign_in())["device_token"]
    for _ in range(20):
        house.clock.advance(3601 * 6)
        assert tally(await guess(ada, 5)) == {401: 5}
    house.clock.advance(30 * 86_400)
    refused = await ada.verify(await ada.pre_auth(), ada.code())
    assert refusal(refused) == (403, "second_factor_blocked")
    known = await ada.verify(await ada.pre_auth(device_token=device), ada.code())
    assert known.status_code == 200, known.text
    # The owner's success on a known device does not give the strangers a new row.
    assert refusal(await ada.verify(await ada.pre_auth(), ada.code(1))) == (403, "second_factor_blocked")
    assert await house.value("SELECT stranger_streak FROM person WHERE id = $1", ada.id) == 100
    await check(house)


async def test_a_success_ends_the_row_of_failures_but_not_the_wait(house: House) -> None:
    ada = await house.a_person().with_totp()
    await guess(ada, 4)
    assert (await ada.verify(await ada.pre_auth(), ada.code())).status_code == 200
    assert await house.value("SELECT stranger_streak FROM person WHERE id = $1", ada.id) == 0
    assert tally(await guess(ada, 2)) == {401: 1, 429: 1}
    await check(house)


@pytest.mark.case("K-22")
@ROUNDS
async def test_of_sixty_four_guesses_at_once_five_are_judged(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        *tokens, kept = await pre_auths(ada, 65)
        tries = [(token, ada.wrong_code(but=number)) for number, token in enumerate(tokens)]
        answers = await verify_all(ada, [*tries[:63], (tokens[63], ada.code())])
        *wrong, planted = answers
        assert tally(wrong) == {401: 5, 429: 58}
        assert {refusal(a) for a in wrong if a.status_code == 401} == {(401, "invalid_code")}
        assert planted.status_code in (200, 429)
        assert await failures(house, ada) == 5
        # Whatever became of the planted one: beyond the limit a right code is refused like a wrong one.
        after = await elsewhere(ada).verify(kept, ada.code(1))
        assert refusal(after) == (429, "rate_limited")
        await check(house, answers)


@pytest.mark.case("K-22")
@ROUNDS
async def test_of_sixty_four_passwords_at_once_five_are_judged(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        answers = await asyncio.gather(
            *(elsewhere(ada).login(password=f"wrong guess {number}") for number in range(64))
        )
        assert tally(answers) == {401: 5, 429: 59}
        assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 429)
        planted = await elsewhere(ada).login()
        assert refusal(planted) == (429, "rate_limited")
        counted = "SELECT failures, pending FROM password_tries"
        assert [tuple(row) for row in await house.rows(f"{counted} WHERE failures > 0")] == [(5, 0)]
        assert await house.value("SELECT count(*) FROM session WHERE person_id = $1", ada.id) == 0
        house.clock.advance(2)
        assert (await ada.login()).status_code == 200
        assert await house.rows(f"{counted} WHERE failures > 0") == []
        await check(house, answers)


@pytest.mark.case("K-23")
async def test_codes_of_both_kinds_share_the_budget_of_strangers(house: House) -> None:
    ada = await house.a_person().with_totp()
    token, other = await pre_auths(ada, 2)
    wrong = [ada.wrong_code(), NOBODYS, ada.wrong_code(but=1), nobodys(1), ada.wrong_code(but=2)]
    for number, code in enumerate(wrong):
        refused = await ada.verify((token, other)[number % 2], code)
        assert refusal(refused) == (401, "invalid_code")
    for code in (ada.wrong_code(), NOBODYS, ada.code(), ada.codes[0]):
        assert refusal(await ada.verify(other, code)) == (429, "rate_limited")
    assert (await failures(house, ada), await failures(house, ada, "known")) == (5, 0)
    await check(house)


@pytest.mark.case("K-23")
async def test_a_known_device_step_up_and_enrolment_share_the_other_budget(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    bearer = tokens["access_token"]
    started = (await ada.post("/v1/me/two-factor/authenticators", {}, bearer=bearer)).json()
    confirm = f"/v1/me/two-factor/authenticators/{started['id']}/confirm"
    known = await ada.pre_auth(device_token=tokens["device_token"])
    step_up = {"password": ada.password, "code": ada.wrong_code()}

    answers = [
        await ada.verify(known, ada.wrong_code()),
        await ada.verify(known, NOBODYS),
        await ada.post("/v1/reauthentication", step_up, bearer=bearer),
        await ada.post("/v1/reauthentication", step_up | {"code": NOBODYS}, bearer=bearer),
        await ada.post(confirm, {"code": ada.wrong_code()}, bearer=bearer),
    ]
    assert [refusal(a) for a in answers] == [(401, "invalid_code")] * 5
    assert [a.json()["attempts_left"] for a in answers] == [4, 3, 2, 1, 0]
    right = step_up | {"code": ada.code(1)}
    late = [
        await ada.verify(known, ada.code(1)),
        await ada.post("/v1/reauthentication", right, bearer=bearer),
        await ada.post(
            confirm, {"code": totp.code_at(_secret(started), totp.step_at(ada.now))}, bearer=bearer
        ),
    ]
    assert [refusal(a) for a in late] == [(429, "rate_limited")] * 3
    assert (await failures(house, ada), await failures(house, ada, "known")) == (0, 5)
    # Strangers have a budget of their own, and the present session goes on.
    assert (await ada.verify(await ada.pre_auth(), ada.code(1))).status_code == 200
    assert (await ada.get("/v1/me", bearer=bearer)).status_code == 200
    await check(house, [*answers, *late])


@pytest.mark.case("K-23")
@ROUNDS
async def test_guesses_of_all_kinds_at_once_stay_within_the_two_budgets(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        signed_in = await ada.sign_in()
        bearer, device = signed_in["access_token"], signed_in["device_token"]
        started = (await ada.post("/v1/me/two-factor/authenticators", {}, bearer=bearer)).json()
        confirm = f"/v1/me/two-factor/authenticators/{started['id']}/confirm"
        strangers, known = await pre_auths(ada, 12), await pre_auths(ada, 12, device_token=device)
        proof = {"password": ada.password, "code": ada.wrong_code()}
        answers = await asyncio.gather(
            *(elsewhere(ada).verify(t, ada.wrong_code(but=n)) for n, t in enumerate([*strangers, *known])),
            *(elsewhere(ada).verify(t, nobodys(n)) for n, t in enumerate(strangers[:4])),
            *(elsewhere(ada).post("/v1/reauthentication", proof, bearer=bearer) for _ in range(4)),
            *(elsewhere(ada).post(confirm, {"code": ada.wrong_code()}, bearer=bearer) for _ in range(4)),
        )
        assert tally(answers) == {401: 10, 429: len(answers) - 10}
        assert (await failures(house, ada), await failures(house, ada, "known")) == (5, 5)
        await check(house, answers)


@pytest.mark.case("K-27")
async def test_a_spray_from_one_network_is_stopped_and_locks_nobody(house: House) -> None:
    people = [await house.a_person() for _ in range(40)]
    for number, person in enumerate(people):
        person.address = f"2001:db8:77:1::{number + 1:x}"
    answers = await asyncio.gather(*(person.login(password="spring is here") for person in people))
    # Thirty, and what refills by Redis's own clock while they are judged.
    assert 30 <= tally(answers)[401] <= 32
    assert tally(answers)[401] + tally(answers)[429] == 40
    assert {refusal(a) for a in answers if a.status_code == 429} == {(429, "rate_limited")}
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 429)
    home = await asyncio.gather(*(elsewhere(person).login() for person in people))
    assert tally(home) == {200: 40}
    await check(house, answers)


@pytest.mark.case("K-28")
async def test_while_strangers_must_wait_a_session_refreshes_and_steps_up(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    old = await ada.pre_auth()
    assert tally(await guess(ada, 5)) == {401: 5}
    assert refusal(await ada.verify(old, ada.code(1))) == (429, "rate_limited")
    refreshed = await ada.refresh(tokens["refresh_token"])
    assert refreshed.status_code == 200
    proof = {"password": ada.password, "code": ada.code(1)}
    bearer = refreshed.json()["access_token"]
    assert (await ada.post("/v1/reauthentication", proof, bearer=bearer)).status_code == 200
    await check(house, [refreshed])


@pytest.mark.case("K-30")
async def test_a_known_device_signs_in_while_strangers_use_up_both_budgets(house: House) -> None:
    ada = await house.a_person().with_totp()
    device = (await ada.sign_in())["device_token"]
    assert tally(await guess(ada, 5)) == {401: 5}
    flood = [await elsewhere(ada).login(password=f"wrong {number}") for number in range(12)]
    assert tally(flood) == {401: 5, 429: 7}
    assert refusal(await ada.login()) == (429, "rate_limited")

    owed = (await ada.login(device_token=device)).json()
    assert owed["attempts_left"] == 5
    opened = await ada.verify(owed["pre_auth_token"], ada.code(1))
    assert opened.status_code == 200, opened.text
    assert refusal(await ada.login()) == (429, "rate_limited"), "the strangers' wait stands"
    await check(house, [opened])


@pytest.mark.case("K-30")
async def test_another_persons_or_a_forged_or_an_old_device_token_is_a_strangers(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    devices = [(await person.sign_in())["device_token"] for person in (ada, bob)]
    assert tally(await guess(ada, 5)) == {401: 5}
    forged = devices[0][:-3] + ("AAA" if not devices[0].endswith("AAA") else "BBA")
    for device in (devices[1], forged, devices[0] + "=", "dwd_", "nothing"):
        assert (await ada.login(device_token=device)).json()["attempts_left"] == 0
    assert (await ada.login(device_token=devices[0])).json()["attempts_left"] == 5
    house.clock.advance(15_552_000)
    assert tally(await guess(ada, 1, device_token=devices[0])) == {401: 1}
    assert await failures(house, ada, "known") == 0
    await check(house)


@pytest.mark.case("K-31")
async def test_guessing_backup_codes_costs_one_hash_each_and_the_same_budget(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await house.a_person().with_totp()
    hashed: list[str] = []
    real = house.world.pool.hash_code

    async def counting(code: str, salt: bytes) -> bytes:
        hashed.append(code)
        return await real(code, salt)

    monkeypatch.setattr(house.world.pool, "hash_code", counting)
    token, other = await pre_auths(ada, 2)
    for number in range(5):
        assert refusal(await ada.verify(token, nobodys(number))) == (401, "invalid_code")
        assert len(hashed) == number + 1
    for number in range(5, 20):
        refused = await elsewhere(ada).verify(other, nobodys(number))
        assert refusal(refused) == (429, "rate_limited")
    assert len(hashed) == 5, "a guess beyond the budget is not hashed"
    house.clock.advance(301)
    used = await ada.verify(await ada.pre_auth(), ada.codes[4])
    assert used.status_code == 200
    assert len(hashed) == 6
    await check(house)


# What a token is good for


async def test_several_tokens_of_a_person_are_open_at_once(house: House) -> None:
    ada = await house.a_person().with_totp()
    one, other = await pre_auths(ada, 2)
    first, second = await ada.verify(other, ada.code()), await ada.verify(one, ada.code(1))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["session"] != second.json()["session"]
    await check(house, [first, second])


async def test_a_token_that_is_no_good_is_refused_and_nothing_is_counted(house: House) -> None:
    ada = await house.a_person().with_totp()
    owing = await house.a_person().who_must_change_their_password()
    spent = await ada.pre_auth()
    assert (await ada.verify(spent, ada.code())).status_code == 200
    expired = await ada.pre_auth()
    house.clock.advance(300)
    living = await ada.pre_auth()
    other_step = await owing.pre_auth()
    never = "dwp_" + "A" * 43
    for token in (spent, expired, never, other_step, living + "=", living[:-1], "dwp_", "x"):
        for code in (ada.code(), ada.wrong_code(), NOBODYS):
            refused = await ada.verify(token, code)
            assert refusal(refused) == (401, "invalid_pre_auth_token"), token
    refused = await ada.verify(living, ada.code(), client_id="portal")
    assert refusal(refused) == (400, "unauthorized_client")
    for person in (ada, owing):
        assert await failures(house, person) == 0
    assert await house.value("SELECT sum(attempts) FROM pre_auth WHERE consumed_at IS NULL") == 0
    assert (await ada.verify(living, ada.code())).status_code == 200
    await check(house)


async def test_a_token_lives_five_minutes_to_the_second(house: House) -> None:
    ada = await house.a_person().with_totp()
    owed = (await ada.login()).json()
    assert owed["expires_in"] == 300
    house.clock.advance(299)
    assert (await ada.verify(owed["pre_auth_token"], ada.code())).status_code == 200


async def test_a_token_of_a_person_disabled_meanwhile_is_dead(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    await house.rows("UPDATE person SET disabled_at = now() WHERE id = $1", ada.id)
    assert refusal(await ada.verify(token, ada.code())) == (401, "invalid_pre_auth_token")
    assert await failures(house, ada) == 0


async def test_a_code_of_a_replaced_set_tells_when_it_was_replaced_and_counts(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    house.clock.advance(60)
    replaced = await ada.post("/v1/me/two-factor/backup-codes", {}, bearer=bearer)
    assert replaced.status_code == 200
    house.clock.advance(60)
    refused = await ada.verify(await ada.pre_auth(), ada.codes[0])
    assert refusal(refused) == (401, "invalid_code")
    at = await house.value("SELECT replaced_at FROM backup_set WHERE replaced_at IS NOT NULL")
    assert refused.json()["replaced_at"] == at.isoformat()
    assert (ada.now - at).total_seconds() == 60
    assert refused.json()["attempts_left"] == 4
    assert await failures(house, ada) == 1
    used = await ada.verify(await ada.pre_auth(), replaced.json()["codes"][0])
    assert used.json()["backup_codes_left"] == 4
    await check(house, [refused, used])


async def test_a_method_is_kept_to_and_a_mismatch_counts_nothing(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    for method, code in (
        ("totp", ada.codes[0]),
        ("backup_code", ada.code()),
        ("totp", "12345"),
        (None, "1234567"),
        (None, "١٢٣٤٥٦"),
    ):
        more = {"method": method} if method else {}
        refused = await ada.verify(token, code, **more)
        assert refusal(refused) == (400, "invalid_request"), code
        assert refused.json()["errors"] == [{"pointer": "/code", "code": "not_a_code"}]
    assert refusal(await ada.verify(token, ada.code(), method="sms")) == (400, "invalid_request")
    assert await failures(house, ada) == 0
    assert await house.value("SELECT attempts FROM pre_auth") == 0
    used = await ada.verify(token, ada.codes[0], method="backup_code")
    assert used.status_code == 200, used.text
    used = await ada.verify(await ada.pre_auth(), ada.code(), method="totp")
    assert used.status_code == 200, used.text
    await check(house, [used])


async def test_attempts_left_is_the_smaller_of_the_tokens_and_the_persons(house: House) -> None:
    ada = await house.a_person().with_totp()
    first = await ada.pre_auth()
    for left in (4, 3, 2):
        assert (await ada.verify(first, ada.wrong_code(but=left))).json()["attempts_left"] == left
    owed = (await ada.login()).json()
    assert owed["attempts_left"] == 2, "the person's"
    second = owed["pre_auth_token"]
    assert (await ada.verify(second, ada.wrong_code())).json()["attempts_left"] == 1, "the person's"
    house.clock.advance(299)
    # The token opened first is a second from its end; the person's failures are all still counted.
    assert (await ada.verify(second, ada.wrong_code())).json()["attempts_left"] == 0
    house.clock.advance(2)
    assert (await ada.login()).json()["attempts_left"] == 4
    await check(house)


@pytest.mark.parametrize("settings", [{"tokens.pre_auth_attempts": 2}], indirect=True)
async def test_a_token_of_few_tries_dies_before_its_person_must_wait(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    for left in (1, 0):
        assert (await ada.verify(token, ada.wrong_code(but=left))).json()["attempts_left"] == left
    assert refusal(await ada.verify(token, ada.code())) == (401, "invalid_pre_auth_token")
    assert (await ada.verify(await ada.pre_auth(), ada.code())).status_code == 200


async def test_a_burst_of_failures_is_told_in_one_letter_and_written_down_each(house: House) -> None:
    ada = await house.a_person().with_totp()
    answers = await guess(ada, 5)
    assert await house.letters(ada) == ["second_factor_failed"]
    rows = await house.events("account:second_factor:failed")
    assert [(row["person_id"], row["client_id"], row["factor_id"], row["result"]) for row in rows] == [
        (ada.id, "doorward", ada.authenticator, "failed")
    ] * 5
    assert len({str(row["address"]) for row in rows}) == 5
    house.clock.advance(301)
    answers += await guess(ada, 1)
    assert await house.letters(ada) == ["second_factor_failed"] * 2
    await check(house, answers)


def _secret(started: Any) -> bytes:
    return base64.b32decode(started["secret"].replace(" ", ""))
