"""The cost of hashes changed while people have passwords and backup codes."""

import pytest

from service.errors import Unavailable
from service.flows import sign_in as sign_in_flow
from service.sections import HashSettings
from service.settings import Settings
from service.world import make_world
from tests.builders import DEAR, House
from tests.flows.account import BACKUP_CODES, in_browser, origin
from tests.flows.invariants import check, claims

costly = pytest.mark.parametrize(
    "settings",
    [DEAR | {"hash.passes": 3}, DEAR | {"hash.memory_kib": 8192}, DEAR | {"hash.lanes": 2}],
    indirect=True,
    ids=["passes", "memory", "lanes"],
)


def _todays(settings: Settings) -> Settings:
    """The same settings after a recalibration: the default cost."""
    default = HashSettings().model_dump(include={"passes", "memory_kib", "lanes"})
    changed = settings.model_copy(update={"hash": settings.hash.model_copy(update=default)})
    assert changed.hash != settings.hash
    return changed


@costly
async def test_backup_codes_made_under_one_cost_hold_under_another(house: House, settings: Settings) -> None:
    ada = await house.a_person().with_totp()
    other = make_world(_todays(settings), clock=house.clock)
    try:
        await other.refresh()
        first = await sign_in_flow.sign_in(other, origin(ada), ada.email, ada.password, "doorward", None)
        assert isinstance(first, sign_in_flow.Owed)
        opened = await sign_in_flow.second_factor(
            other, origin(ada), first.pre_auth_token, ada.codes[0], None, "doorward"
        )
        assert isinstance(opened, sign_in_flow.Complete)
        assert opened.backup_codes_left == 4
    finally:
        await other.close()
    # And codes of the first process, seen by it again, are still its own.
    assert (await ada.verify(await ada.pre_auth(), ada.codes[1])).json()["backup_codes_left"] == 3
    used = await ada.verify(await ada.pre_auth(), ada.codes[0])
    assert (used.status_code, used.json()["code"]) == (401, "code_already_used")
    await check(house)


@costly
async def test_codes_of_a_set_replaced_under_another_cost_are_known_as_replaced(
    house: House, settings: Settings
) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    replaced = await ada.post(BACKUP_CODES, None, bearer=bearer)
    assert replaced.status_code == 200
    other = make_world(_todays(settings), clock=house.clock)
    try:
        await other.refresh()
        first = await sign_in_flow.sign_in(other, origin(ada), ada.email, ada.password, "doorward", None)
        assert isinstance(first, sign_in_flow.Owed)
        with pytest.raises(Exception, match="replaced set") as refused:
            await sign_in_flow.second_factor(
                other, origin(ada), first.pre_auth_token, ada.codes[0], None, "doorward"
            )
        assert refused.value.public["replaced_at"] == ada.now.isoformat()  # type: ignore[attr-defined]
    finally:
        await other.close()
    new = replaced.json()["codes"][0]
    assert (await ada.verify(await ada.pre_auth(), new)).status_code == 200
    await check(house)


@costly
async def test_a_password_is_hashed_anew_under_todays_cost(house: House, settings: Settings) -> None:
    ada = await house.a_person()
    kept = "SELECT password_hash FROM person"
    old = await house.value(kept)
    other = make_world(_todays(settings), clock=house.clock)
    try:
        await other.refresh()
        for number in range(2):
            done = await sign_in_flow.sign_in(other, origin(ada), ada.email, ada.password, "doorward", None)
            assert isinstance(done, sign_in_flow.Complete)
            new = await house.value(kept)
            assert new != old, number
            assert not other.pool.is_outdated(new)
        with pytest.raises(Exception, match="wrong password"):
            await sign_in_flow.sign_in(other, origin(ada), ada.email, "not it", "doorward", None)
        assert await house.value(kept) == new, "hashed anew once, and by a right password only"
    finally:
        await other.close()
    assert (await ada.login()).status_code == 200, "and this process hashes it back"
    await check(house)


async def test_a_hash_that_finds_no_room_to_be_made_anew_leaves_the_sign_in_as_it_is(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await house.a_person()
    before, pool = await house.value("SELECT password_hash FROM person"), house.world.pool
    asked = []

    async def no_room(password: str) -> str:
        asked.append(password)
        raise Unavailable("the hash queue is full", retry_after=2)

    monkeypatch.setattr(pool, "is_outdated", lambda encoded: True)
    monkeypatch.setattr(pool, "hash_password", no_room)
    answer = await ada.login()
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "complete"
    assert claims(answer.json()["access_token"])["sid"] == answer.json()["session"]["id"]
    assert (await ada.refresh(answer.json()["refresh_token"])).status_code == 200
    await in_browser(house, ada)
    assert len(asked) == 2
    assert await house.value("SELECT password_hash FROM person") == before
    monkeypatch.undo()
    assert (await ada.login()).status_code == 200
    await check(house, [answer])
