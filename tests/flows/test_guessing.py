"""Guessing a second factor, and who pays for it: the guesser, and not the owner."""

import asyncio

import pytest

from service.domain import totp
from tests.builders import House
from tests.flows.account import secret_of
from tests.flows.invariants import (
    NOBODYS,
    ROUNDS,
    check,
    elsewhere,
    failures,
    guess,
    nobodys,
    pre_auths,
    refusal,
    tally,
    verify_all,
)


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
            confirm, {"code": totp.code_at(secret_of(started), totp.step_at(ada.now))}, bearer=bearer
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
