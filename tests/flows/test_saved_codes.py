"""Whether somebody said that they saved their backup codes, and who may turn a second factor on at all."""

import pytest

from tests.builders import House
from tests.flows.account import AUTHENTICATORS, BACKUP_CODES, NOBODY, all_of_it, confirm, start, two_factor
from tests.flows.invariants import check, refusal

SAVED = f"{BACKUP_CODES}/saved"


@pytest.mark.case("U-59")
async def test_a_set_is_unsaved_until_its_person_says_otherwise_and_so_is_the_next(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    codes = (await confirm(ada, bearer, await start(ada, bearer))).json()["backup_codes"]
    assert (await two_factor(ada, bearer))["backup_codes_saved_at"] is None
    assert (await ada.post(SAVED, {"set_id": codes["set_id"]}, bearer=bearer)).status_code == 204
    said = (await two_factor(ada, bearer))["backup_codes_saved_at"]
    assert said is not None
    house.clock.advance(1)
    assert (await ada.post(SAVED, {"set_id": codes["set_id"]}, bearer=bearer)).status_code == 204
    assert (await two_factor(ada, bearer))["backup_codes_saved_at"] == said, "the first time stands"
    assert len(await house.events("two_factor:backup_codes_saved:ok")) == 2
    renewed = (await ada.post(BACKUP_CODES, {}, bearer=bearer)).json()
    assert (await two_factor(ada, bearer))["backup_codes_saved_at"] is None
    late = await ada.post(SAVED, {"set_id": codes["set_id"]}, bearer=bearer)
    assert refusal(late) == (409, "backup_codes_replaced"), (
        "what was said of the old set is not of the new one"
    )
    assert (await ada.post(SAVED, {"set_id": renewed["set_id"]}, bearer=bearer)).status_code == 204
    await check(house)


async def test_nobody_says_it_of_anothers_codes(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    bobs = await house.value("SELECT id FROM backup_set WHERE person_id = $1", bob.id)
    before = await all_of_it(house)
    for one in (bobs, NOBODY):
        assert refusal(await ada.post(SAVED, {"set_id": str(one)}, bearer=bearer)) == (
            409,
            "backup_codes_replaced",
        )
    assert await all_of_it(house) == before


@pytest.mark.case("U-54")
async def test_a_second_factor_needs_a_confirmed_address(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    await house.rows("UPDATE person SET email_verified_at = NULL WHERE id = $1", ada.id)
    assert refusal(await ada.post(AUTHENTICATORS, {}, bearer=bearer)) == (409, "email_not_verified")
    assert await house.value("SELECT count(*) FROM authenticator WHERE person_id = $1", ada.id) == 0
    await house.rows("UPDATE person SET email_verified_at = now() WHERE id = $1", ada.id)
    assert (await ada.post(AUTHENTICATORS, {}, bearer=bearer)).status_code == 201
