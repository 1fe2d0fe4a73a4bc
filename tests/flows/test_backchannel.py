"""Portals are told of logouts: once where all is well, again where it is not, and nobody waits for them."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psutil
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service import outgoing
from service.domain.oidc.clients import Client, IdTokenAlg
from service.embedded import Servers
from service.errors import Unavailable
from service.flows import clients as client_flow
from service.flows.oidc import backchannel
from service.flows.oidc.backchannel import AT_ONCE, GIVEN_UP, LEASE, OF_ONE, REFUSALS, WAITS, tell_due
from service.jobs.relay import keep_telling
from service.settings import Settings
from service.stores import logouts as logout_store
from service.world import World, make_world
from tests.builders import House
from tests.conftest import settings_of
from tests.portals import Portal, answers, hangs, portal
from tests.programs import serving
from tests.secure import Authority, authority, secure_environ

DUE = "SELECT count(*) FROM logout_notice WHERE done_at IS NULL AND next_at <= $1"
ISSUER = "https://127.0.0.1:8400"
pytestmark = [pytest.mark.case("K-114"), pytest.mark.case("F-20")]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def settings(
    servers: Servers, database_url: str, trusted: Authority, request: pytest.FixtureRequest
) -> Settings:
    """As in production, with portals on this machine that have certificates of an authority of one's own."""
    changes = {
        "dev": False,
        "issuer": ISSUER,
        "outgoing.private_addresses": True,
        "outgoing.ca_file": str(trusted.root),
    }
    return settings_of(servers, database_url, **(changes | getattr(request, "param", {})))


@pytest.fixture
async def second(settings: Settings, house: House) -> AsyncIterator[World]:
    """Another node on the same database, by the same clock."""
    made = make_world(settings, clock=house.clock)
    await made.refresh()
    yield made
    await made.close()


@dataclass
class Owing:
    """A service that owes portals word of logouts."""

    house: House

    @property
    def world(self) -> World:
        return self.house.world

    async def client(self, id: str, there: Portal | None, **more: Any) -> str:
        uri = there.url() if there else None
        await client_flow.create(
            self.world,
            Client(
                id,
                id,
                redirect_uris=("https://portal.example/callback",),
                scopes=("openid",),
                backchannel_logout_uri=uri,
                **more,
            ),
        )
        return id

    async def sessions(self, count: int) -> list[UUID]:
        """Sessions of one person, made as rows: what is told of them is not how they came to be."""
        person = (await self.house.a_person()).id
        rows = await self.house.rows(
            "INSERT INTO session (id, person_id, epoch, amr, auth_time, address, browser, created_at,"
            " ended_at, end_reason)"
            " SELECT gen_random_uuid(), $1, 0, '{pwd}', $2, '192.0.2.1', '', $2, $2, 'signed_out'"
            " FROM generate_series(1, $3) RETURNING id",
            person,
            self.world.clock.now(),
            count,
        )
        return [row["id"] for row in rows]

    async def owe(self, client: str, *sessions: UUID) -> None:
        """What the end of a session does."""
        await self.house.rows(
            "INSERT INTO logout_notice (session_id, client_id, created_at, next_at)"
            " SELECT unnest($1::uuid[]), $2, $3, $3",
            list(sessions),
            client,
            self.world.clock.now(),
        )

    async def notice(self, client: str = "portal") -> Any:
        (row,) = await self.house.rows("SELECT * FROM logout_notice WHERE client_id = $1", client)
        return row

    async def one(self, there: Portal | None, **more: Any) -> UUID:
        """One notice owed to one client, `portal`."""
        await self.client("portal", there, **more)
        (session,) = await self.sessions(1)
        await self.owe("portal", session)
        return session

    async def left(self) -> int:
        return int(await self.house.value("SELECT count(*) FROM logout_notice WHERE done_at IS NULL"))


@pytest.fixture
async def owing(house: House) -> Owing:
    return Owing(house)


async def verified(house: House, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A portal's look at a logout token, by the published keys: header and claims."""
    keys = KeySet.import_key_set((await house.client.get("/oauth2/jwks")).json())
    read = jwt.decode(token, keys, algorithms=["RS256", "ES256", "Ed25519"])
    return read.header, read.claims


async def seen(there: Portal, count: int) -> None:
    """Wait until a portal was asked so often."""
    deadline = time.monotonic() + 10
    while len(there.asked) < count:
        assert time.monotonic() < deadline, f"{len(there.asked)} of {count}"
        await asyncio.sleep(0.02)


# What is told


@pytest.mark.parametrize("alg", ["RS256", "ES256", "Ed25519"])
async def test_a_portal_gets_a_logout_token_that_it_can_prove(
    alg: IdTokenAlg, owing: Owing, trusted: Authority
) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.client("portal", there, id_token_signed_response_alg=alg)
        person = await owing.house.a_person()
        signed_in = jwt.decode(
            (await person.sign_in())["id_token"],
            KeySet.import_key_set((await owing.house.client.get("/oauth2/jwks")).json()),
            algorithms=["ES256"],
        ).claims
        await owing.owe("portal", UUID(signed_in["sid"]))
        assert await tell_due(owing.world) == 1
        assert await tell_due(owing.world) == 0
    (asked,) = there.asked
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/x-www-form-urlencoded")
    header, claims = await verified(owing.house, asked.token)
    assert header == {"alg": alg, "typ": "logout+jwt", "kid": header["kid"]}
    jti = claims.pop("jti")
    assert len(jti) == 32
    now = int(owing.world.clock.now().timestamp())
    assert claims == {
        "iss": ISSUER,
        "aud": "portal",
        "iat": now,
        "exp": now + 120,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        "sub": signed_in["sub"],
        "sid": signed_in["sid"],
    }
    row = await owing.notice()
    assert (row["done_at"], row["failure"], row["attempts"]) == (owing.world.clock.now(), None, 1)
    (event,) = await owing.house.events("client:logout_notice:ok")
    assert (event["client_id"], event["person_id"]) == ("portal", person.id)
    assert (str(event["session_id"]), json.loads(event["detail"])) == (signed_in["sid"], {"attempts": 1})


async def test_no_door_takes_a_logout_token(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there, id_token_signed_response_alg="ES256")
        await tell_due(owing.world)
    token = there.asked[0].token
    for path in ("/v1/me", "/oauth2/userinfo"):
        answer = await owing.house.client.get(path, headers={"authorization": f"Bearer {token}"})
        assert (path, answer.status_code) == (path, 401)


async def test_204_is_as_good_as_200_and_each_client_is_told_by_itself(
    owing: Owing, trusted: Authority
) -> None:
    async with portal(answers(204), trusted) as one, portal(answers(200), trusted) as other:
        await owing.client("one", one)
        await owing.client("other", other)
        (session,) = await owing.sessions(1)
        await owing.owe("one", session)
        await owing.owe("other", session)
        assert await tell_due(owing.world) == 2
    told = [(await verified(owing.house, there.asked[0].token))[1] for there in (one, other)]
    assert [claims["aud"] for claims in told] == ["one", "other"]
    assert told[0]["jti"] != told[1]["jti"]
    assert await owing.left() == 0


# What is told again


async def test_a_portal_that_fails_is_told_again_later_and_later_until_it_takes_it(
    owing: Owing, trusted: Authority
) -> None:
    statuses = (500, 503, 404, 201, 502, 429)
    async with portal(answers(*statuses, 200), trusted) as there:
        await owing.one(there)
        assert await tell_due(owing.world) == 1
        for wait in [*WAITS, WAITS[-1]]:
            row = await owing.notice()
            assert row["next_at"] == owing.world.clock.now() + wait
            assert (row["done_at"], row["failure"]) == (None, None)
            owing.house.clock.advance(wait.total_seconds() - 1)
            assert await tell_due(owing.world) == 0
            owing.house.clock.advance(1)
            assert await tell_due(owing.world) == 1
    row = await owing.notice()
    assert (row["attempts"], row["failure"]) == (len(statuses) + 1, None)
    assert row["done_at"] == owing.world.clock.now()
    tokens = [(await verified_later(owing, asked.token)) for asked in there.asked]
    assert len({claims["jti"] for claims in tokens}) == 1, "a portal can tell that it was told already"
    assert len({claims["iat"] for claims in tokens}) == len(statuses) + 1
    (event,) = await owing.house.events("client:logout_notice:ok")
    assert json.loads(event["detail"]) == {"attempts": len(statuses) + 1}
    assert await owing.house.events("client:logout_notice:failed") == []


async def verified_later(owing: Owing, token: str) -> dict[str, Any]:
    _, claims = await verified(owing.house, token)
    return claims


async def test_a_portal_that_never_takes_it_is_given_up_after_a_day(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(500), trusted) as there:
        await owing.one(there)
        began, tries = owing.world.clock.now(), 0
        while await owing.left():
            tries += await tell_due(owing.world)
            owing.house.clock.advance(1800)
            assert tries < 40
    row = await owing.notice()
    assert (row["failure"], row["attempts"]) == ("wrong_status", tries)
    assert GIVEN_UP - WAITS[-1] <= row["done_at"] - began <= GIVEN_UP
    assert len(there.asked) == tries
    (event,) = await owing.house.events("client:logout_notice:failed")
    detail = json.loads(event["detail"])
    assert detail == {"attempts": tries, "failure": "wrong_status", "reason": "status 500"}
    assert await owing.house.events("client:logout_notice:ok") == []


async def test_a_portal_that_says_the_token_is_wrong_is_told_a_few_times(
    owing: Owing, trusted: Authority
) -> None:
    async with portal(answers(400), trusted) as there:
        await owing.one(there)
        for _ in range(10):
            await tell_due(owing.world)
            owing.house.clock.advance(WAITS[-1].total_seconds())
    assert len(there.asked) == REFUSALS
    assert (await owing.notice())["failure"] == "refused"


async def test_a_redirect_is_not_followed_and_is_told_again(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as other:
        away = answers(307, headers=f"location: {other.url()}\r\n")
        async with portal(away, trusted) as there:
            await owing.one(there)
            await tell_due(owing.world)
            owing.house.clock.advance(WAITS[0].total_seconds())
            assert await tell_due(owing.world) == 1
        assert (len(there.asked), other.connections) == (2, 0)
    assert (await owing.notice())["done_at"] is None


async def test_a_portal_that_is_away_is_told_when_it_is_back(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
    assert await tell_due(owing.world) == 1
    owing.house.clock.advance(WAITS[0].total_seconds())
    async with portal(answers(200), trusted, port=there.port) as back:
        assert await tell_due(owing.world) == 1
    assert len(back.asked) == 1
    assert await owing.left() == 0


@pytest.mark.parametrize("settings", [{"outgoing.private_addresses": False}], indirect=True)
async def test_an_address_in_a_network_of_ours_is_never_asked(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
        while await owing.left():
            await tell_due(owing.world)
            owing.house.clock.advance(1800)
    assert there.connections == 0
    (event,) = await owing.house.events("client:logout_notice:failed")
    detail = json.loads(event["detail"])
    assert detail["failure"] == (await owing.notice())["failure"] == "forbidden_address"
    assert "localhost is at" in detail["reason"]


async def test_an_http_address_is_never_asked(owing: Owing) -> None:
    async with portal(answers(200)) as there:
        await owing.one(there)
        assert await tell_due(owing.world) == 1
    assert there.connections == 0
    assert (await owing.notice())["attempts"] == 1
    assert await owing.left() == 1


@pytest.mark.parametrize("settings", [{"dev": True, "issuer": "http://127.0.0.1:8400"}], indirect=True)
async def test_in_dev_a_portal_on_this_machine_is_told_by_http(owing: Owing) -> None:
    async with portal(answers(200)) as there:
        await owing.one(there)
        await tell_due(owing.world)
    assert len(there.asked) == 1
    assert await owing.left() == 0


# What is not told any more


async def test_a_disabled_client_is_not_told(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
        await client_flow.disable(owing.world, "portal")
        assert await tell_due(owing.world) == 1
        assert await tell_due(owing.world) == 0
    assert there.connections == 0
    row = await owing.notice()
    assert (row["failure"], row["done_at"]) == ("client_disabled", owing.world.clock.now())
    (event,) = await owing.house.events("client:logout_notice:failed")
    assert json.loads(event["detail"])["failure"] == "client_disabled"


async def test_a_client_without_an_address_any_more_is_not_told(owing: Owing) -> None:
    await owing.one(None)
    assert await tell_due(owing.world) == 1
    assert (await owing.notice())["failure"] == "no_address"
    assert await owing.left() == 0


async def test_before_the_keys_are_read_nothing_is_tried(
    owing: Owing, settings: Settings, trusted: Authority
) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
        early = make_world(settings, clock=owing.house.clock)
        assert await tell_due(early) == 0
        await early.close()
    assert (await owing.notice())["attempts"] == 0


# Many at once


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


# Whoever dies


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
