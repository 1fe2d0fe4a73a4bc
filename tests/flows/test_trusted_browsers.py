"""Trusted browsers: what makes one, whose it is, and what it does not stand in for."""

from dataclasses import replace
from uuid import UUID

import pytest

from service.domain import sessions as session_rules
from service.domain.sessions import TrustToken
from service.domain.sign_in import PAGES
from service.errors import InvalidToken
from service.flows import me as me_flow
from service.flows import reauthentication as reauthentication_flow
from service.flows import sessions as session_flow
from service.flows import sign_in as sign_in_flow
from service.flows import trust as trust_flow
from service.flows import two_factor as two_factor_flow
from service.flows.sign_in import Owed
from service.world import World
from tests.builders import House
from tests.flows.account import NEW_PASSWORD, another, origin
from tests.flows.invariants import check, refusal
from tests.flows.trusting import A_DAY, ALLOWED, asks, complete, ends, password, second_factor, seen, trusting

pytestmark = pytest.mark.case("U-45")

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
