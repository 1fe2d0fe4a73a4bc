"""What the tests of trusted browsers share: the two forms in a browser, and who is asked for a code."""

from typing import Any

import pytest

from service.domain.sign_in import PAGES, Step
from service.flows import sessions as session_flow
from service.flows import sign_in as sign_in_flow
from service.flows.sessions import BrowserSession, Caller
from service.flows.sign_in import Complete, Outcome, Owed
from service.flows.trust import Trust
from tests.builders import House, Person
from tests.flows.account import origin

#: The operator allows it, for so many days.
ALLOWED = pytest.mark.parametrize("settings", [{"two_factor.trust_days": 30}], indirect=True)
A_DAY = 86_400


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
