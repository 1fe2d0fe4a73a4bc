"""Trusted browsers under races: one session for one value, and none that outlives the trust."""

import asyncio
from typing import Any

import pytest

from service.domain import policy
from service.flows import me as me_flow
from service.flows import trust as trust_flow
from service.flows.sign_in import Complete
from tests.builders import House
from tests.flows.account import living, origin
from tests.flows.invariants import RACERS, ROUNDS, check, elsewhere
from tests.flows.trusting import ALLOWED, asks, ends, password, trusting

pytestmark = pytest.mark.case("U-45")


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
