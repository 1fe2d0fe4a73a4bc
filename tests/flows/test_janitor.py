"""What nobody needs any more goes, and nothing else."""

from datetime import timedelta

from service.flows import clients as client_flow
from service.flows import janitor
from tests.builders import House
from tests.pages.portal import PORTAL, asked, code_for, exchange
from tests.pages.visitor import Visitor


async def test_what_has_ended_goes_and_what_lives_stays(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    code = await code_for(house, visitor)
    assert (await exchange(house, code)).status_code == 200
    now = house.clock.now()
    await house.rows(
        "INSERT INTO client_assertion SELECT 'portal', int4send(n), $1 FROM generate_series(1, 2500) n"
        " RETURNING 1",
        now,
    )
    assert await janitor.tidy(house.world) == 0, "a used code still ends what it bought when it comes again"
    house.clock.advance(timedelta(hours=2).total_seconds())
    assert await janitor.tidy(house.world) == 2501, "and the request"
    house.clock.advance(timedelta(hours=22, minutes=30).total_seconds())
    await visitor.get(asked(state="later"))
    assert await janitor.tidy(house.world) == 1, "the code"
    assert await house.value("SELECT count(*) FROM authorization_request") == 1
    assert await house.value("SELECT end_reason FROM session") == "idle", "nobody came back to it"
