"""What a pre-auth token is good for: for how long, for how many tries, and with which codes."""

import pytest

from tests.builders import House
from tests.flows.invariants import (
    NOBODYS,
    check,
    failures,
    guess,
    pre_auths,
    refusal,
)


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
