"""Everything that ends the trust in a browser, and what ends with it."""

import base64
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from service.errors import InvalidToken, NotFound
from service.flows import accounts as account_flow
from service.flows import janitor
from service.flows import me as me_flow
from service.flows import sessions as session_flow
from service.flows import trust as trust_flow
from service.flows import two_factor as two_factor_flow
from service.flows.sessions import Caller
from tests.builders import House, Person
from tests.flows.account import NEW_PASSWORD, NOBODY, TRUSTED, another, call, living, origin
from tests.flows.invariants import check
from tests.flows.trusting import A_DAY, ALLOWED, asks, complete, ends, password, second_factor, seen, trusting

pytestmark = pytest.mark.case("U-45")


@dataclass
class Scene:
    """A person with a trusted browser, and a session of two factors that lately proved them."""

    house: House
    ada: Person
    session: Caller


async def _change_password(scene: Scene) -> None:
    where, new = origin(scene.ada), NEW_PASSWORD
    await me_flow.change_password(scene.ada.world, where, scene.session, scene.ada.password, new)
    scene.ada.password = new


async def _remove_authenticator(scene: Scene) -> None:
    spare = await another(scene.house, scene.ada)
    await two_factor_flow.remove(scene.ada.world, origin(scene.ada), scene.session, spare)


async def _add_authenticator(scene: Scene) -> None:
    ada, where = scene.ada, origin(scene.ada)
    started = await two_factor_flow.start(ada.world, where, scene.session, "Tablet")
    secret = replace(ada, secret=_read(started.secret))
    await two_factor_flow.confirm(ada.world, where, scene.session, started.id, secret.code())


def _read(key: str) -> bytes:
    return base64.b32decode(key.replace(" ", ""))


async def _end_others(scene: Scene) -> None:
    await me_flow.end_other_sessions(scene.ada.world, origin(scene.ada), scene.session)


async def _disable_and_enable(scene: Scene) -> None:
    await account_flow.disable(scene.ada.world, scene.ada.email)
    await account_flow.enable(scene.ada.world, scene.ada.email)


async def _end_sessions(scene: Scene) -> None:
    await account_flow.end_sessions(scene.ada.world, scene.ada.email)


@ALLOWED
@pytest.mark.case("U-63")
@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (_change_password, "password_changed"),
        (_remove_authenticator, "two_factor_changed"),
        (_add_authenticator, "two_factor_changed"),
        (_end_others, "revoked"),
        (_disable_and_enable, "user_disabled"),
        (_end_sessions, "admin"),
    ],
)
async def test_whatever_protects_the_account_ends_trust_in_every_browser(
    house: House, act: Any, reason: str
) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    bobs, _ = await trusting(house, bob)
    first, _ = await trusting(house, ada)
    second, session = await trusting(house, ada)
    await act(Scene(house, ada, session))
    assert await ends(house) == [reason]
    assert await asks(ada, first.token)
    assert await asks(ada, second.token), "also in the browser that acted"
    assert not await asks(bob, bobs.token), "I12"
    rows = await house.rows("SELECT DISTINCT end_reason FROM trusted_browser WHERE person_id = $1", ada.id)
    assert [row["end_reason"] for row in rows] == [reason]
    await check(house)


@ALLOWED
@pytest.mark.case("U-63")
async def test_trust_from_before_the_second_factor_was_turned_off_is_gone_when_it_is_on_again(
    house: House,
) -> None:
    ada = await house.a_person().with_totp()
    trust, session = await trusting(house, ada)
    house.clock.advance(30)
    where = origin(ada)
    await two_factor_flow.disable(ada.world, where, session, ada.password, ada.code())
    assert await ends(house) == ["two_factor_changed"]
    session = await seen(ada, complete(await password(ada, trust.token)))
    started = await two_factor_flow.start(ada.world, where, session, "Phone")
    ada.secret = _read(started.secret)
    await two_factor_flow.confirm(ada.world, where, session, started.id, ada.code())
    assert await asks(ada, trust.token)
    await check(house)


@ALLOWED
@pytest.mark.case("U-70")
async def test_an_administrator_who_resets_the_second_factor_ends_the_trust_that_it_made(
    house: House,
) -> None:
    ada = await house.a_person().with_totp()
    trust, _ = await trusting(house, ada)
    await account_flow.reset_two_factor(ada.world, ada.email, "lost the phone")
    assert await ends(house) == ["two_factor_changed"]
    assert complete(await password(ada, trust.token)).trust is None, "there is nothing to stand in for"
    await check(house)


@ALLOWED
async def test_the_epoch_alone_is_enough_to_end_it(house: House) -> None:
    ada = await house.a_person().with_totp()
    trust, _ = await trusting(house, ada)
    await house.rows("UPDATE person SET epoch = epoch + 1 WHERE id = $1", ada.id)
    assert await asks(ada, trust.token)
    assert await house.value("SELECT ended_at FROM trusted_browser") is None, "the second net held"


@ALLOWED
async def test_signing_out_keeps_the_trust_and_ending_the_session_from_elsewhere_does_not(
    house: House,
) -> None:
    ada = await house.a_person().with_totp()
    where = origin(ada)
    trust, session = await trusting(house, ada)
    await me_flow.end_session(ada.world, where, session, session.session)
    done = complete(await password(ada, trust.token))
    assert done.trust is not None
    standing_on_it = await seen(ada, done)
    other = await seen(ada, complete(await second_factor(ada, await password(ada), ada.code(1), trust=False)))
    await me_flow.end_session(ada.world, where, other, standing_on_it.session)
    assert await asks(ada, done.trust.token), "the session stood on it"
    trust, made_by = await trusting(house, ada, code=ada.code(2))
    await me_flow.end_session(ada.world, where, other, made_by.session)
    assert await asks(ada, trust.token), "the session made it"
    assert await ends(house) == ["revoked", "revoked"]
    await check(house)


@ALLOWED
async def test_revoking_brings_the_second_factor_back_and_ends_what_stood_on_the_trust(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    where = origin(ada)
    trust, _ = await trusting(house, ada)
    kept, acting = await trusting(house, ada)
    done = complete(await password(ada, trust.token))
    assert done.trust is not None
    stood_on_it = await seen(ada, done)
    assert await trust_flow.revoke(ada.world, where, acting, trust.browser) == 1
    assert await trust_flow.revoke(ada.world, where, acting, trust.browser) == 0, "a form that is sent twice"
    assert await asks(ada, done.trust.token)
    with pytest.raises(InvalidToken, match="revoked"):
        await session_flow.browser(ada.world, where, done.opened.cookie)  # type: ignore[union-attr]
    assert str(stood_on_it.session) not in await living(house, ada)
    assert not await asks(ada, kept.token)
    bobs, bobs_session = await trusting(house, bob)
    for browser in (kept.browser, UUID(int=1)):
        with pytest.raises(NotFound):
            await trust_flow.revoke(bob.world, origin(bob), bobs_session, browser)
    (shown,) = await trust_flow.listed(ada.world, acting, None)
    assert shown.used_at is not None
    assert await trust_flow.revoke(ada.world, where, acting, None) == 1
    assert await trust_flow.listed(ada.world, acting, None) == []
    assert not await asks(bob, bobs.token)
    assert str(acting.session) in await living(house, ada), "whoever acts goes on"
    await check(house)


@ALLOWED
async def test_the_api_lists_and_revokes_and_tells_nothing_of_another(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    for _ in range(3):
        trust, _ = await trusting(house, ada)
    bobs, _ = await trusting(house, bob)
    house.clock.advance(30)
    bearer = (await ada.sign_in())["access_token"]
    listed = await ada.get(TRUSTED, bearer=bearer)
    assert listed.json()["data"][0]["id"] == str(trust.browser)
    assert len(listed.json()["data"]) == 3
    assert trust.token not in listed.text
    for path, status in (
        (f"{TRUSTED}/{bobs.browser}", 404),
        (f"{TRUSTED}/{NOBODY}", 404),
        (f"{TRUSTED}/{trust.browser}", 204),
        (f"{TRUSTED}/{trust.browser}", 204),
    ):
        assert (await call(ada, "DELETE", path, bearer=bearer)).status_code == status
    assert await asks(ada, trust.token)
    assert len((await ada.get(TRUSTED, bearer=bearer)).json()["data"]) == 2
    assert (await call(ada, "DELETE", TRUSTED, bearer=bearer)).status_code == 204
    assert (await ada.get(TRUSTED, bearer=bearer)).json() == {"data": []}
    assert not await asks(bob, bobs.token)
    assert (await ada.get("/v1/me", bearer=bearer)).status_code == 200, "whoever acts goes on"
    await check(house)


@ALLOWED
async def test_a_copied_token_ends_the_trust_and_what_the_thief_opened_with_it(house: House) -> None:
    ada = await house.a_person().with_totp()
    trust, _ = await trusting(house, ada)
    stolen = trust.token
    thief = complete(await password(ada, stolen))
    assert thief.trust is not None
    house.clock.advance(5)
    assert await asks(ada, stolen), "another tab's is refused, and no more"
    assert await ends(house) == []
    house.clock.advance(6)
    assert await asks(ada, stolen)
    assert await ends(house) == ["copied"]
    assert await asks(ada, thief.trust.token)
    with pytest.raises(InvalidToken, match="revoked"):
        await seen(ada, thief)
    assert await house.letters(ada) == ["browser_trusted", "browser_trust_copied"]
    await check(house)


@ALLOWED
async def test_what_nobody_may_use_any_more_is_deleted(house: House) -> None:
    ada = await house.a_person().with_totp()
    await trusting(house, ada)
    house.clock.advance(30 * A_DAY)
    await janitor.tidy(house.world)
    assert await house.value("SELECT count(*) FROM trusted_browser") == 1
    house.clock.advance(600)
    await janitor.tidy(house.world)
    assert await house.value("SELECT count(*) FROM trusted_browser") == 0
