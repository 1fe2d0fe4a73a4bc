"""The second factor under attack: replays and races. A code opens one token, once."""

import pytest

from service.domain import totp
from tests.builders import House
from tests.flows.account import secret_of
from tests.flows.invariants import (
    RACERS,
    ROUNDS,
    check,
    elsewhere,
    failures,
    flush,
    pre_auths,
    refusal,
    tally,
    verify_all,
)

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
    ada.secret = secret_of(started)
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
