"""Trusted browsers: what makes one, what it stands in for, and everything that ends it."""

import asyncio
import base64
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from service.domain import policy
from service.domain import sessions as session_rules
from service.domain.sessions import TrustToken
from service.domain.sign_in import PAGES, Step
from service.errors import InvalidToken, NotFound
from service.flows import accounts as account_flow
from service.flows import janitor
from service.flows import me as me_flow
from service.flows import reauthentication as reauthentication_flow
from service.flows import sessions as session_flow
from service.flows import sign_in as sign_in_flow
from service.flows import trust as trust_flow
from service.flows import two_factor as two_factor_flow
from service.flows.sessions import BrowserSession, Caller
from service.flows.sign_in import Complete, Outcome, Owed
from service.flows.trust import Trust
from service.world import World
from tests.builders import House, Person
from tests.flows.account import NEW_PASSWORD, NOBODY, TRUSTED, another, call, living, origin
from tests.flows.invariants import RACERS, ROUNDS, check, elsewhere, refusal

#: The operator allows it, for so many days.
ALLOWED = pytest.mark.parametrize("settings", [{"two_factor.trust_days": 30}], indirect=True)
A_DAY = 86_400
pytestmark = pytest.mark.case("U-45")


async def password(person: Person, token: str | None = None, client: str = PAGES) -> Outcome:
    """The first step, in a browser that holds this trust token."""
    where = origin(person)
    return await sign_in_flow.sign_in(person.world, where, person.email, person.password, client, None, token)


async def second_factor(
    person: Person, owed: Outcome, code: str | None = None, *, trust: bool = True, token: str | None = None
) -> Outcome:
    """The second step, with the box ticked."""
    assert isinstance(owed, Owed)
    assert owed.step is Step.SECOND_FACTOR
    return await sign_in_flow.second_factor(
        person.world,
        origin(person),
        owed.pre_auth_token,
        code or person.code(),
        None,
        PAGES,
        trust=trust,
        trust_token=token,
    )


def complete(outcome: Outcome) -> Complete:
    assert isinstance(outcome, Complete)
    return outcome


async def trusting(house: House, person: Person, **more: Any) -> tuple[Trust, Caller]:
    """Sign in with both factors and the box ticked: what the browser keeps, and its session."""
    house.clock.advance(30)
    done = complete(await second_factor(person, await password(person), **more))
    assert done.trust is not None
    return done.trust, await seen(person, done)


async def seen(person: Person, done: Complete) -> Caller:
    """What a flow knows of a browser's session that was just opened."""
    assert isinstance(done.opened, BrowserSession)
    return await session_flow.browser(person.world, origin(person), done.opened.cookie)


async def asks(person: Person, token: str | None) -> bool:
    """Whether a second factor is asked for in spite of this token."""
    outcome = await password(person, token)
    return isinstance(outcome, Owed) and outcome.step is Step.SECOND_FACTOR


async def ends(house: House) -> list[Any]:
    """The reasons for which trust ended, oldest first."""
    found = await house.rows(
        "SELECT detail ->> 'reason' AS reason FROM audit_event "
        "WHERE name = 'two_factor:trust_end:ok' ORDER BY id"
    )
    return [row["reason"] for row in found]


# Made


@ALLOWED
async def test_a_trusted_browser_needs_a_password_alone_and_its_session_is_of_one_factor(
    house: House,
) -> None:
    ada = await house.a_person().with_totp()
    trust, made_by = await trusting(house, ada)
    assert trust.token.startswith("dwb_")
    assert trust.expires_in == 30 * A_DAY
    assert trust.token not in str(await house.rows("SELECT * FROM trusted_browser"))
    house.clock.advance(29 * A_DAY)
    done = complete(await password(ada, trust.token))
    assert done.trust is not None
    assert done.trust.token != trust.token, "each use replaces it"
    assert done.trust.expires_in == A_DAY, "and prolongs nothing"
    session = await seen(ada, done)
    assert list(session.amr) == ["pwd"]
    assert session_rules.acr(session.amr) == session_rules.ACR_1FA
    (told,) = await house.events("two_factor:trust:ok")
    assert (told["person_id"], told["session_id"]) == (ada.id, made_by.session)
    row = await house.value("SELECT trusted_browser_id FROM session WHERE id = $1", session.session)
    assert row == trust.browser
    assert await house.letters(ada) == ["browser_trusted"]
    await check(house)
    house.clock.advance(A_DAY)
    assert await asks(ada, done.trust.token), "the days are over"
    await check(house)


async def test_nothing_is_trusted_unless_the_operator_allows_it(house: House) -> None:
    ada = await house.a_person().with_totp()
    owed = await password(ada)
    assert isinstance(owed, Owed)
    pending = await sign_in_flow.owed(ada.world, owed.pre_auth_token, PAGES)
    assert trust_flow.offered(ada.world, pending) == 0
    assert complete(await second_factor(ada, owed)).trust is None
    assert await house.value("SELECT count(*) FROM trusted_browser") == 0
    await check(house)


@ALLOWED
async def test_a_shorter_or_withdrawn_allowance_counts_at_once(house: House) -> None:
    ada = await house.a_person().with_totp()
    trust, session = await trusting(house, ada)
    house.clock.advance(8 * A_DAY)
    for days, asked in ((7, True), (0, True), (9, False)):
        _allow(ada.world, days)
        assert await asks(ada, trust.token) is asked, days
    assert len(await trust_flow.listed(ada.world, session, None)) == 1
    _allow(ada.world, 8)
    assert not await trust_flow.listed(ada.world, session, None)


def _allow(world: World, days: int) -> None:
    """The operator changes the setting and starts the service anew."""
    two_factor = world.settings.two_factor.model_copy(update={"trust_days": days})
    world.settings = world.settings.model_copy(update={"two_factor": two_factor})


@ALLOWED
async def test_only_a_right_code_of_an_authenticator_and_a_ticked_box_make_a_browser_trusted(
    house: House,
) -> None:
    ada = await house.a_person().with_totp()
    assert complete(await second_factor(ada, await password(ada), trust=False)).trust is None
    backup = complete(await second_factor(ada, await password(ada), ada.codes[0]))
    assert backup.trust is None, "a backup code is for an emergency"
    with pytest.raises(Exception, match="wrong code"):
        await second_factor(ada, await password(ada), ada.wrong_code())
    assert await house.value("SELECT count(*) FROM trusted_browser") == 0
    await check(house)


@ALLOWED
async def test_a_sign_in_that_owes_more_is_not_offered_it(house: House) -> None:
    for being in (house.a_person().unverified(), house.a_person().who_must_change_their_password()):
        ada = await being.with_totp()
        owed = await password(ada)
        assert isinstance(owed, Owed)
        pending = await sign_in_flow.owed(ada.world, owed.pre_auth_token, PAGES)
        assert trust_flow.offered(ada.world, pending) == 0
        assert isinstance(await second_factor(ada, owed), Owed)
    bob = await house.a_person().with_totp()
    owed = await password(bob)
    assert isinstance(owed, Owed)
    assert trust_flow.offered(bob.world, await sign_in_flow.owed(bob.world, owed.pre_auth_token, PAGES)) == 30
    assert await house.value("SELECT count(*) FROM trusted_browser") == 0


@ALLOWED
async def test_a_browser_that_is_trusted_again_is_listed_once_and_a_person_has_twenty(house: House) -> None:
    ada = await house.a_person().with_totp()
    first, _ = await trusting(house, ada)
    second, _ = await trusting(house, ada, token=first.token)
    assert await asks(ada, first.token)
    for _ in range(20):
        last, session = await trusting(house, ada)
    shown = await trust_flow.listed(ada.world, session, last.token)
    assert len(shown) == 20
    assert [one.current for one in shown] == [True] + [False] * 19
    assert await asks(ada, second.token), "the oldest gave way"
    assert await ends(house) == ["superseded", "superseded"]
    await check(house)


# Whose it is


@ALLOWED
async def test_anothers_token_is_as_good_as_none_and_stays_theirs(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    trust, _ = await trusting(house, ada)
    house.clock.advance(60)
    token = session_rules.parse_trust(trust.token)
    assert token is not None
    forged = str(TrustToken(token.browser, bytes(32)))
    for text in (trust.token, forged, str(TrustToken(UUID(int=1), bytes(32))), "dwb_", "", trust.token + "="):
        with_it, without = await password(bob, text), await password(bob)
        assert isinstance(with_it, Owed)
        assert isinstance(without, Owed)
        assert replace(with_it, pre_auth_token="") == replace(without, pre_auth_token="")
    assert not await asks(ada, trust.token)
    assert await ends(house) == []
    await check(house)


@ALLOWED
async def test_a_token_in_place_of_the_password_opens_nothing(house: House) -> None:
    ada = await house.a_person().with_totp()
    trust, _ = await trusting(house, ada)
    before = await house.rows("SELECT * FROM trusted_browser")
    for wrong in ("test-value wrong horse", trust.token):
        with pytest.raises(Exception, match="wrong password"):
            await password(replace(ada, password=wrong), trust.token)
    assert await house.rows("SELECT * FROM trusted_browser") == before, "nobody looked at it"


@ALLOWED
async def test_the_json_api_neither_takes_nor_gives_it(house: House) -> None:
    ada = await house.a_person().with_totp()
    trust, _ = await trusting(house, ada)
    cookies = {"cookie": f"doorward-dev-trust={trust.token}"}
    answer = await ada.post("/v1/sign-in", {"email": ada.email, "password": ada.password}, **cookies)
    assert answer.json()["status"] == "second_factor_required"
    assert refusal(await ada.login(trust_token=trust.token)) == (400, "invalid_request")
    assert isinstance(await password(ada, trust.token, client="doorward"), Owed)
    assert not await asks(ada, trust.token), "and it is unused"


@ALLOWED
async def test_a_trust_token_opens_no_other_door(house: House) -> None:
    ada = await house.a_person().with_totp()
    trust, _ = await trusting(house, ada)
    assert refusal(await ada.refresh(trust.token)) == (401, "invalid_refresh_token")
    assert refusal(await ada.verify(trust.token, ada.code())) == (401, "invalid_pre_auth_token")
    assert (await ada.get("/v1/me", bearer=trust.token)).status_code == 401
    with pytest.raises(InvalidToken):
        await session_flow.browser(ada.world, origin(ada), trust.token)
    assert not (await ada.login(device_token=trust.token)).json().get("access_token")


# What it does not stand in for


@ALLOWED
async def test_a_change_that_is_owed_needs_both_factors(house: House) -> None:
    ada = await house.a_person().with_totp()
    trust, _ = await trusting(house, ada)
    for owes in ("must_change_password = true", "must_change_password = false, email_verified_at = NULL"):
        await house.rows(f"UPDATE person SET {owes} WHERE id = $1", ada.id)
        assert await asks(ada, trust.token)
    await house.rows("UPDATE person SET email_verified_at = now() WHERE id = $1", ada.id)
    assert not await asks(ada, trust.token), "nothing used it up meanwhile"


@ALLOWED
async def test_a_session_of_a_trusted_browser_is_never_stepped_up_until_it_proves_both(house: House) -> None:
    ada = await house.a_person().with_totp().with_role("admin")
    trust, _ = await trusting(house, ada)
    house.clock.advance(30)
    where = origin(ada)
    session = await seen(ada, complete(await password(ada, trust.token)))
    assert "admin" not in session.scope
    assert not session_flow.has_stepped_up(ada.world, session, enrolled=True)
    spare = await another(house, ada)
    for act in (
        two_factor_flow.start(ada.world, where, session, "Tablet 2"),
        two_factor_flow.remove(ada.world, where, session, spare),
        two_factor_flow.regenerate(ada.world, where, session),
        me_flow.change_password(ada.world, where, session, ada.password, NEW_PASSWORD),
    ):
        with pytest.raises(Exception, match="too old"):
            await act
    with pytest.raises(Exception, match="no code"):
        await reauthentication_flow.reauthenticate(ada.world, where, session, ada.password, None)
    with pytest.raises(Exception, match="not shaped like a code"):
        await two_factor_flow.disable(ada.world, where, session, ada.password, trust.token)
    await check(house)
    renewal = await reauthentication_flow.reauthenticate(ada.world, where, session, ada.password, ada.code())
    assert renewal is not None
    stepped_up = await session_flow.browser(ada.world, where, renewal.cookie)
    assert "admin" in stepped_up.scope
    assert session_flow.has_stepped_up(ada.world, stepped_up, enrolled=True)
    await check(house)


# Ended


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


# Races


@pytest.fixture
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of passwords of an address at once: its limit is not what is measured."""
    monkeypatch.setattr(policy, "FREE_PASSWORD_FAILURES", 10_000)


@ALLOWED
@ROUNDS
@pytest.mark.usefixtures("_no_wait")
async def test_one_value_of_a_token_opens_one_session_however_many_send_it(house: House, rounds: int) -> None:
    ada = await house.a_person().with_totp()
    for _ in range(rounds):
        trust, _ = await trusting(house, ada)
        house.clock.advance(60)
        away = [elsewhere(ada) for _ in range(RACERS)]
        outcomes = await _at_once([password(one, trust.token) for one in away])
        assert sum(isinstance(one, Complete) for one in outcomes) == 1
        assert await ends(house) == [], "the others were just late"
        await check(house)


@ALLOWED
@ROUNDS
@pytest.mark.usefixtures("_no_wait")
async def test_no_sign_in_passes_a_trust_that_was_ended_before_it_was_done(house: House, rounds: int) -> None:
    ada = await house.a_person().with_totp()
    for _ in range(rounds):
        pairs = [await trusting(house, ada) for _ in range(4)]
        _, acting = pairs[-1]
        where = origin(ada)
        acts: list[Any] = [password(elsewhere(ada), trust.token) for trust, _ in pairs for _ in range(8)]
        acts[16:16] = [trust_flow.revoke(ada.world, where, acting, None)]
        outcomes = await _at_once(acts)
        opened = [one for one in outcomes if isinstance(one, Complete)]
        assert len(opened) <= 4
        left = await house.value(
            "SELECT count(*) FROM session s JOIN trusted_browser t ON t.id = s.trusted_browser_id "
            "WHERE s.ended_at IS NULL AND s.person_id = $1",
            ada.id,
        )
        assert left == 0, "a session outlived the trust that it stands on"
        for one in opened:
            assert one.trust is not None
            assert await asks(ada, one.trust.token)
        await check(house)


@ALLOWED
@ROUNDS
@pytest.mark.usefixtures("_no_wait")
async def test_a_password_change_at_the_same_time_leaves_no_session_of_the_old_one(
    house: House, rounds: int
) -> None:
    ada = await house.a_person().with_totp()
    for number in range(rounds):
        trust, acting = await trusting(house, ada)
        new = f"test-value new horse {number}"
        change = me_flow.change_password(ada.world, origin(ada), acting, ada.password, new)
        acts: list[Any] = [password(elsewhere(ada), trust.token) for _ in range(RACERS)]
        acts[6:6] = [change]
        outcomes = await _at_once(acts)
        assert not isinstance(outcomes[6], Exception), outcomes[6]
        ada.password = new
        assert await living(house, ada) == {str(acting.session)}
        assert await asks(ada, trust.token)
        await check(house)


#: What a sign-in may meet that was overtaken by the change at the same time.
_OVERTAKEN = ("the person's epoch moved on", "wrong password", "the session ended meanwhile")


async def _at_once(acts: list[Any]) -> list[Any]:
    """What each led to."""
    done = await asyncio.gather(*acts, return_exceptions=True)
    for one in done:
        assert not isinstance(one, BaseException) or str(one) in _OVERTAKEN, one
    return done
