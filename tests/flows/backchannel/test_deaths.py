"""Whoever dies or fails while it tells a portal: the notice is sent again, and holds up no other."""

import asyncio
import signal
from datetime import timedelta

import psutil
import pytest

from service.embedded import Servers
from service.errors import Unavailable
from service.flows.oidc import backchannel
from service.flows.oidc.backchannel import LEASE, WAITS, tell_due
from service.jobs.relay import keep_telling
from service.stores import logouts as logout_store
from service.world import World
from tests.flows.backchannel.conftest import Owing, seen, verified
from tests.portals import answers, hangs, portal
from tests.programs import serving
from tests.secure import Authority, secure_environ

pytestmark = [pytest.mark.case("K-114"), pytest.mark.case("F-20")]


async def test_what_a_dead_node_was_sending_is_sent_again_when_its_lease_has_run_out(
    owing: Owing, second: World, trusted: Authority
) -> None:
    async with portal(hangs, trusted) as there:
        await owing.one(there)
        dying = asyncio.create_task(tell_due(owing.world))
        await there.arrived.wait()
        dying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dying
        there.manner = answers(200)
        owing.house.clock.advance(LEASE.total_seconds() - 1)
        assert await tell_due(second) == 0
        owing.house.clock.advance(1)
        assert await tell_due(second) == 1
    row = await owing.notice()
    assert (row["attempts"], row["failure"], row["done_at"] is not None) == (2, None, True)
    first, again = [(await verified(owing.house, asked.token))[1]["jti"] for asked in there.asked]
    assert first == again


async def test_what_a_server_was_sending_when_it_was_killed_is_sent_again(
    owing: Owing, servers: Servers, database_url: str, trusted: Authority
) -> None:
    environ = secure_environ(
        servers, database_url, trusted, outgoing_private_addresses="true", outgoing_ca_file=str(trusted.root)
    )
    async with portal(hangs, trusted) as there:
        with serving(environ, ended=(-signal.SIGKILL,), trust=trusted.root) as issuer:
            await owing.one(there)
            await asyncio.wait_for(there.arrived.wait(), 20)
            (server,) = (
                child
                for child in psutil.Process().children()
                if child.environ().get("DOORWARD_ISSUER") == issuer
            )
            for process in (server, *server.children(recursive=True)):
                process.kill()
        there.manner = answers(200)
        # The server lives by the real time, and this clock began a little before it.
        owing.house.clock.advance(90)
        assert await tell_due(owing.world) == 1
    first, again = [(await verified(owing.house, asked.token))[1] for asked in there.asked]
    assert first["sid"] == again["sid"]
    assert first["jti"] == again["jti"]
    row = await owing.notice()
    assert (row["attempts"], row["failure"], row["done_at"] is not None) == (2, None, True)


async def test_what_was_sent_while_postgres_went_away_is_sent_again(
    owing: Owing, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*rest: object, **more: object) -> bool:
        raise Unavailable("postgres: away")

    async with portal(answers(200), trusted) as there:
        await owing.one(there)
        with monkeypatch.context() as changed:
            changed.setattr(logout_store, "finish", away)
            assert await tell_due(owing.world) == 1
        assert await owing.left() == 1
        owing.house.clock.advance(LEASE.total_seconds())
        assert await tell_due(owing.world) == 1
    assert len(there.asked) == 2
    assert await owing.left() == 0


async def test_a_node_whose_lease_ran_out_puts_off_nothing_of_anothers(
    owing: Owing, second: World, trusted: Authority
) -> None:
    now = owing.world.clock.now()
    await owing.one(None)

    async def take(world: World) -> logout_store.Notice:
        async with world.db.connection() as connection:
            moment = world.clock.now()
            (notice,) = await logout_store.take(connection, moment, moment + LEASE, most=1, of_one=1, busy=())
            return notice

    late = await take(owing.world)
    owing.house.clock.advance(LEASE.total_seconds())
    early = await take(second)
    async with owing.world.db.connection() as connection:
        assert not await logout_store.put_off(connection, late, now + timedelta(days=3))
        assert (await owing.notice())["next_at"] == owing.world.clock.now() + LEASE
        # That it was taken in the end is true, whoever sent it.
        assert await logout_store.finish(connection, late, owing.world.clock.now())
        assert not await logout_store.put_off(connection, early, now + timedelta(days=3))
        assert not await logout_store.finish(connection, early, owing.world.clock.now(), "refused")
    assert (await owing.notice())["failure"] is None


async def test_a_notice_that_cannot_be_made_holds_up_no_other(
    owing: Owing, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = backchannel._token

    def failing(world: World, notice: logout_store.Notice) -> str:
        if notice.client == "broken":
            raise KeyError("a test-value that no log may hold")
        return made(world, notice)

    monkeypatch.setattr(backchannel, "_token", failing)
    async with portal(answers(200), trusted) as there:
        for client in ("broken", "portal"):
            await owing.client(client, there)
            await owing.owe(client, *await owing.sessions(1))
        assert await tell_due(owing.world) == 2
    assert len(there.asked) == 1
    assert (await owing.notice("broken"))["next_at"] == owing.world.clock.now() + WAITS[0]
    assert (await owing.notice("portal"))["done_at"] is not None


async def test_the_job_goes_on_whatever_goes_wrong(
    owing: Owing, trusted: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left: list[Exception] = [Unavailable("postgres: away"), ValueError("a test-value that no log may hold")]
    told = tell_due

    async def failing(world: World) -> int:
        if left:
            raise left.pop(0)
        return await told(world)

    monkeypatch.setattr(backchannel, "tell_due", failing)
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
        running = asyncio.create_task(keep_telling(owing.world, every=0.01, after_a_fault=0.01))
        await seen(there, 1)
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    said = capsys.readouterr().out
    assert "logout_notices_put_off" in said
    assert "logout_notices_failed" in said
    assert "test-value" not in said
