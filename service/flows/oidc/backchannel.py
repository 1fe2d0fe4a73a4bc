"""Telling portals that a session has ended (OpenID Connect Back-Channel Logout 1.0).

Each notice is leased, sent without a database connection in hand, and closed or put off. Whoever dies in
between leaves a lease that runs out, so a portal may be told twice: always with the same `jti`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from service.clock import monotonic
from service.errors import Unavailable
from service.flows import audit
from service.outgoing import NoAnswer
from service.stores import logouts as logout_store
from service.stores.logouts import Failure, Notice
from service.stores.postgres import Connection
from service.world import World

#: Sent at once by a process, and to one client.
AT_ONCE = 8
OF_ONE = 2
#: How long a taken notice is nobody else's: longer than the longest request, and what comes after it.
LEASE = timedelta(seconds=30)
#: Life of a token (§2.4 recommends two minutes at most).
TOKEN = timedelta(seconds=120)
#: The waits after the first, second … try; the last one from then on.
WAITS = [timedelta(seconds=seconds) for seconds in (10, 60, 300, 1800, 7200)]
#: After so long a portal's own session has mostly ended too.
GIVEN_UP = timedelta(days=1)
#: Tries for a portal that says the token is wrong (§2.8): another one will hardly please it more.
REFUSALS = 3
#: How long a portal that let us wait gets no other notice, seconds.
_REST = 10.0
_EVENT = "http://schemas.openid.net/event/backchannel-logout"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Miss:
    """Why a try did not succeed. `tries` is how many there may be for this reason; None for no limit."""

    word: Failure
    private: str
    tries: int | None = None


async def tell_due(world: World) -> int:
    """Send what is due until nothing more is, several at once; how many notices were tried. Raises
    Unavailable when Postgres is away."""
    tried, sending, resting = 0, dict[asyncio.Task[Failure | None], str](), dict[str, float]()
    if world.keyring.missing:
        return 0
    try:
        while True:
            tired = {client for client, until in resting.items() if monotonic() < until}
            notices = await _take(world, AT_ONCE - len(sending), {*sending.values(), *tired})
            tried += len(notices)
            sending |= {asyncio.create_task(_tell(world, notice)): notice.client for notice in notices}
            if not sending:
                return tried
            # What becomes due meanwhile must not wait for the slowest of these.
            done, _ = await asyncio.wait(sending, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                client = sending.pop(one)
                if one.result() == "timed_out":
                    resting[client] = monotonic() + _REST
    finally:
        for one in sending:
            one.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


async def _take(world: World, most: int, busy: set[str]) -> Sequence[Notice]:
    if not most:
        return []
    now = world.clock.now()
    async with world.db.connection() as connection:
        return await logout_store.take(connection, now, now + LEASE, most=most, of_one=OF_ONE, busy=busy)


async def _tell(world: World, notice: Notice) -> Failure | None:
    """Try one notice, and keep what became of it; why it did not succeed."""
    miss = await _try(world, notice)
    word = miss.word if miss else None
    now = world.clock.now()
    again_at = _next(notice, miss, now) if miss else None
    where = {"client": notice.client, "session": str(notice.session), "attempts": notice.attempts}
    if miss:
        _log.warning("logout_notice_failed", **where, word=miss.word, reason=miss.private, again_at=again_at)

    async def act(tx: Connection) -> None:
        if again_at is not None:
            await logout_store.put_off(tx, notice, again_at)
        elif await logout_store.finish(tx, notice, now, word):
            await audit.record(
                world,
                tx,
                "client:logout_notice",
                "failed" if miss else "ok",
                person=notice.person,
                client=notice.client,
                session=notice.session,
                attempts=notice.attempts,
                failure=word,
                reason=miss.private if miss else None,
            )

    try:
        await world.db.transact(act)
    except Unavailable as fault:
        # The lease runs out, and it is sent again.
        _log.warning("logout_notice_kept", **where, reason=fault.private)
    return word


async def _try(world: World, notice: Notice) -> _Miss | None:
    """Send a notice once; None where the client took it."""
    if notice.disabled:
        return _Miss("client_disabled", "the client is disabled", 0)
    if notice.uri is None:
        return _Miss("no_address", "the client has no backchannel_logout_uri any more", 0)
    try:
        answer = await world.outgoing.post_form(notice.uri, {"logout_token": _token(world, notice)})
    except NoAnswer as fault:
        return _Miss(fault.word, fault.private)
    except Exception as fault:  # noqa: BLE001 - one notice that cannot be sent must not hold up the others
        return _Miss("internal", f"{type(fault).__name__}")
    match answer.status:
        case 200 | 204:
            return None
        case 400:
            return _Miss("refused", "status 400", REFUSALS)
        case status if 300 <= status < 400:
            return _Miss("redirected", f"status {status}, which is not followed")
        case status:
            return _Miss("wrong_status", f"status {status}")


def _token(world: World, notice: Notice) -> str:
    """A logout token (§2.4), never with a nonce: it must not pass as an ID token. Its `jti` is the notice's
    own, so that whoever gets it twice can tell."""
    now = world.clock.now()
    claims = {
        "iss": world.settings.issuer,
        "aud": notice.client,
        "iat": int(now.timestamp()),
        "exp": int((now + TOKEN).timestamp()),
        "jti": world.index("logout_jti", f"{notice.session} {notice.client}").hex()[:32],
        "events": {_EVENT: {}},
        "sub": str(notice.sub),
        "sid": str(notice.session),
    }
    return world.keyring.sign(claims, "logout+jwt", now, notice.alg)


def _next(notice: Notice, miss: _Miss, now: datetime) -> datetime | None:
    """When a notice is tried again; None where it is given up."""
    at = now + WAITS[min(notice.attempts, len(WAITS)) - 1]
    spent = miss.tries is not None and notice.attempts >= miss.tries
    return None if spent or at > notice.created_at + GIVEN_UP else at
