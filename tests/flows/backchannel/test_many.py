"""Many notices at once: each is sent once, and a portal that hangs holds up nobody."""

import asyncio
import time
from uuid import UUID

import pytest

from service import outgoing
from service.flows.oidc.backchannel import AT_ONCE, LEASE, OF_ONE, tell_due
from service.jobs.relay import keep_telling
from service.stores import logouts as logout_store
from service.world import World
from tests.flows.backchannel.conftest import DUE, Owing, seen, verified
from tests.portals import answers, hangs, portal
from tests.secure import Authority

pytestmark = [pytest.mark.case("K-114"), pytest.mark.case("F-20")]


async def test_two_nodes_send_each_notice_once(owing: Owing, second: World, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as one, portal(answers(200), trusted) as other:
        await owing.client("one", one)
        await owing.client("other", other)
        shares: list[int] = []
        for _ in range(5):
            sessions = await owing.sessions(12)
            for client in ("one", "other"):
                await owing.owe(client, *sessions)
            tried = await asyncio.gather(
                *(tell_due(node) for node in (owing.world, second) for _ in range(2))
            )
            assert sum(tried) == 24
            shares += tried
        assert sum(1 for share in shares if share) > 5, "both nodes took part"
        assert await owing.left() == 0
        sids = [
            [(await verified(owing.house, asked.token))[1]["sid"] for asked in there.asked]
            for there in (one, other)
        ]
    for told in sids:
        assert len(told) == len(set(told)) == 60
    assert await owing.house.value("SELECT max(attempts) FROM logout_notice") == 1
    assert len(await owing.house.events("client:logout_notice:ok")) == 120


async def test_a_notice_is_leased_to_one_however_many_reach_for_it(owing: Owing, second: World) -> None:
    sessions = await owing.sessions(40)
    for client in ("one", "other", "third"):
        await owing.client(client, None)
        await owing.owe(client, *sessions)

    async def taker(world: World) -> list[tuple[UUID, str]]:
        mine: list[tuple[UUID, str]] = []
        while True:
            now = world.clock.now()
            async with world.db.connection() as connection:
                taken = await logout_store.take(connection, now, now + LEASE, most=3, of_one=2, busy=())
            mine += [(notice.session, notice.client) for notice in taken]
            # Whoever finds all that it may have in others' hands looks again.
            if not taken and not await owing.house.value(DUE, now):
                return mine

    taken = await asyncio.gather(*(taker(node) for node in (owing.world, second) for _ in range(8)))
    leased = [notice for mine in taken for notice in mine]
    assert len(leased) == len(set(leased)) == 120


async def test_a_portal_that_hangs_holds_up_no_other(
    owing: Owing, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "SECONDS", 3.0)
    async with portal(hangs, trusted) as slow, portal(answers(200), trusted) as quick:
        await owing.client("a-slow", slow)
        await owing.client("quick", quick)
        sessions = await owing.sessions(30)
        await owing.owe("a-slow", *sessions)
        owing.house.clock.advance(1)
        await owing.owe("quick", *sessions)
        telling = asyncio.create_task(tell_due(owing.world))
        began = time.monotonic()
        await seen(quick, 30)
        assert time.monotonic() - began < 3, "before the first of the slow ones was given up"
        assert slow.open == OF_ONE
        assert await telling == 30 + OF_ONE
    assert slow.at_once == OF_ONE
    assert quick.at_once <= OF_ONE
    done = "SELECT count(*) FROM logout_notice WHERE client_id = $1 AND done_at IS NOT NULL"
    assert [await owing.house.value(done, client) for client in ("a-slow", "quick")] == [0, 30]


async def test_no_more_than_so_many_are_sent_at_once_and_others_get_their_turn(
    owing: Owing, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "SECONDS", 1.0)
    async with portal(hangs, trusted) as slow, portal(answers(200), trusted) as quick:
        sessions = await owing.sessions(10)
        for number in range(AT_ONCE):
            await owing.client(f"slow{number}", slow)
            await owing.owe(f"slow{number}", *sessions)
        owing.house.clock.advance(1)
        await owing.client("quick", quick)
        await owing.owe("quick", sessions[0])
        telling = asyncio.create_task(tell_due(owing.world))
        began = time.monotonic()
        await seen(quick, 1)
        # It had eighty notices of portals that hang before it, of which two each are waited for.
        assert time.monotonic() - began < 4
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
    assert slow.at_once <= AT_ONCE


@pytest.mark.parametrize("settings", [{"database.pool": 2}], indirect=True)
async def test_sign_ins_go_on_while_every_portal_hangs(owing: Owing, trusted: Authority) -> None:
    """With fewer database connections than portals that hang: none is held for them."""
    async with portal(hangs, trusted) as slow:
        for number in range(4):
            await owing.client(f"slow{number}", slow)
            await owing.owe(f"slow{number}", *await owing.sessions(4))
        telling = asyncio.create_task(keep_telling(owing.world, every=0.01))
        await seen(slow, AT_ONCE)
        assert slow.open == AT_ONCE
        for _ in range(3):
            person = await owing.house.a_person().with_totp()
            began = time.monotonic()
            assert (await person.sign_in())["access_token"]
            assert time.monotonic() - began < 2
        assert slow.open == AT_ONCE, "they hung all the while"
        assert not telling.done()
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
