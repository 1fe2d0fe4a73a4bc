"""Sessions: opened, found by their token or cookie, renewed, listed, ended. The other flows call this one."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from asyncpg import Record

from service import crypto
from service.domain import policy
from service.domain import sessions as rules
from service.domain.sessions import EndReason, RefreshToken
from service.domain.sign_in import PAGES, Origin, Standing
from service.errors import Conflict, DoorwardError, InvalidToken, ReauthenticationRequired
from service.flows import audit, tokens
from service.flows.tokens import Grant
from service.keyring import BadToken
from service.stores import accounts as account_store
from service.stores import sessions as session_store
from service.stores import trust as trust_store
from service.stores.postgres import Connection
from service.world import World

T = TypeVar("T")
#: A browser's session is written down as used at most once in so long: a page must not cost a write.
_SEEN_APART = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Opened(Grant):
    """An API session that was just opened, and the first refresh token of its family."""

    person: UUID
    epoch: int
    refresh_token: RefreshToken


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A browser's session that stands in Postgres, and the only copy of its cookie's value."""

    session: UUID
    person: UUID
    epoch: int
    cookie: str


AnySession: TypeAlias = Opened | BrowserSession


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a browser is given when its session lives on under a new cookie."""

    cookie: str
    device_token: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever an access token or a browser's cookie stands for, as Postgres knows them now."""

    person: UUID
    session: UUID
    client: str
    scope: Sequence[str]
    amr: Sequence[str]
    auth_time: datetime
    epoch: int
    #: What its client asked to be told by name (OpenID Connect Core §5.5).
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def in_browser(self) -> bool:
        """Whether the session lives by a cookie, which gets a new value at every rise in privilege."""
        return self.client == PAGES


# Opened


async def open_session(
    world: World, tx: Connection, standing: Standing, client: str, auth_time: datetime, origin: Origin
) -> AnySession:
    """Insert the session, with a cookie for a browser and a refresh family for everyone else. The person's
    row is held by the caller."""
    make = _open_in_browser if client == PAGES else _open_family
    opened = await make(world, tx, standing, client, auth_time, origin)
    await audit.record(
        world,
        tx,
        "session:start",
        "ok",
        origin,
        person=standing.person,
        client=client,
        session=opened.session,
        method=rules.method(standing.amr),
        trusted_browser=standing.trusted,
    )
    return opened


async def _open_in_browser(
    world: World, tx: Connection, standing: Standing, client: str, auth_time: datetime, origin: Origin
) -> BrowserSession:
    now, life = world.clock.now(), world.settings.tokens
    opened = BrowserSession(world.row_id(), standing.person, standing.epoch, _cookie(world))
    await session_store.open_in_browser(
        tx,
        _session(opened.session, standing, client, auth_time),
        crypto.sha256(opened.cookie),
        origin,
        now,
        idle_at=now + timedelta(seconds=life.cookie_idle_seconds),
        absolute_at=now + timedelta(seconds=life.cookie_absolute_seconds),
    )
    return opened


async def _open_family(
    world: World, tx: Connection, standing: Standing, client: str, auth_time: datetime, origin: Origin
) -> Opened:
    session, granted = world.row_id(), rules.FIRST_PARTY_SCOPE
    family, first = tokens.new_family(world, session, standing.person, client, granted)
    await session_store.open(
        tx, _session(session, standing, client, auth_time), family, origin, world.clock.now()
    )
    return Opened(
        session,
        family.id,
        standing.sub,
        client,
        rules.narrowed(granted, standing.roles, standing.amr),
        standing.amr,
        auth_time,
        family.absolute_at,
        standing.person,
        standing.epoch,
        first,
    )


def _session(id: UUID, standing: Standing, client: str, auth_time: datetime) -> session_store.Session:
    return session_store.Session(
        id, standing.person, standing.epoch, standing.amr, auth_time, client, standing.trusted
    )


# Found


async def caller(world: World, token: str) -> Caller:
    """Who an access token stands for. Raises InvalidToken, also when its session or grant has ended."""
    now = world.clock.now()
    try:
        claims = world.keyring.verify(token, "at+jwt")
    except BadToken as fault:
        raise InvalidToken(str(fault)) from None
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != world.settings.issuer or world.settings.issuer not in audiences:
        raise InvalidToken("the token is for another audience")
    expires_at = claims.get("exp")
    try:
        scope = str(claims["scope"])
        session, family = UUID(str(claims["sid"])), UUID(str(claims["grant"]))
    except (KeyError, ValueError):
        raise InvalidToken("a claim is missing or not of its form") from None
    if type(expires_at) is not int or expires_at <= now.timestamp():
        raise InvalidToken("the token has expired")
    async with world.db.connection() as connection:
        row = await session_store.bearer(connection, session, family)
    if row is None or row["ended_at"] or row["disabled_at"]:
        raise InvalidToken("the session or its grant has ended, or the person or the client is disabled")
    if row["epoch"] != row["person_epoch"] or rules.expired(row["idle_at"], row["absolute_at"], now):
        raise InvalidToken("the session is of an older epoch, or its grant has expired")
    return Caller(
        row["person_id"],
        session,
        str(claims.get("client_id")),
        rules.narrowed(scope, row["roles"], row["amr"]).split(),
        row["amr"],
        row["auth_time"],
        row["epoch"],
        json.loads(row["claims"]),
    )


async def browser(world: World, origin: Origin, cookie: str) -> Caller:
    """Who a browser's cookie stands for. Raises InvalidToken, with the reason when its session has ended:
    whoever holds the cookie of an ended session may know why."""
    if not rules.is_browser(cookie):
        raise InvalidToken("not of a session cookie's form")
    now = world.clock.now()
    async with world.db.connection() as connection:
        row = await session_store.browser(connection, crypto.sha256(cookie))
        if row is None:
            raise InvalidToken("no session has this cookie")
        reason = _why_ended(row, now)
        if reason is None:
            await used(world, connection, row["id"], row["seen_at"], origin)
    if reason in (EndReason.IDLE, EndReason.ABSOLUTE) and row["ended_at"] is None:
        await world.db.transact(lambda tx: expire(world, tx, row["person_id"]))
    if reason is not None:
        raise InvalidToken(f"the session had ended: {reason}", reason=reason)
    return Caller(
        row["person_id"],
        row["id"],
        row["client_id"],
        rules.narrowed(rules.FIRST_PARTY_SCOPE, row["roles"], row["amr"]).split(),
        row["amr"],
        row["auth_time"],
        row["epoch"],
    )


async def used(world: World, tx: Connection, session: UUID, seen_at: datetime, origin: Origin) -> None:
    """Let a browser's session live on from now: by its own pages, or by a portal that it opened."""
    now, idle = world.clock.now(), timedelta(seconds=world.settings.tokens.cookie_idle_seconds)
    if seen_at + min(_SEEN_APART, idle / 10) <= now:
        await session_store.see(tx, session, origin, now + idle, now)


def _why_ended(row: Record, now: datetime) -> EndReason | None:
    if row["ended_at"]:
        return EndReason(row["end_reason"])
    if row["disabled_at"]:
        return EndReason.USER_DISABLED
    if row["epoch"] != row["person_epoch"]:
        return EndReason.REVOKED
    return rules.expired(row["idle_at"], row["absolute_at"], now)


def require_step_up(world: World, caller: Caller, *, enrolled: bool) -> None:
    """Refuse what this session may do only shortly after proving everything its person has."""
    if not has_stepped_up(world, caller, enrolled=enrolled):
        raise ReauthenticationRequired("the session's last full proof is too old")


def has_stepped_up(world: World, caller: Caller, *, enrolled: bool) -> bool:
    """Whether this session proved everything its person has, lately enough."""
    return policy.stepped_up(
        auth_time=caller.auth_time,
        two_factors="mfa" in caller.amr,
        enrolled=enrolled,
        now=world.clock.now(),
        seconds=world.settings.tokens.step_up_seconds,
    )


# Acting


async def acting(
    world: World,
    caller: Caller,
    act: Callable[[Connection], Awaitable[T | DoorwardError]],
    *,
    beside: UUID | None = None,
) -> T:
    """Run an act of somebody signed in, in one transaction that holds their row and their session. The row
    of a person `beside` them is held too, in the order of the ids: two who act on each other must not wait
    for each other.

    Raises InvalidToken when the session ended meanwhile, and Conflict when it lives through a change that
    it does not know of: what it saw is no longer so.
    """

    async def held(tx: Connection) -> T | DoorwardError:
        rows = {
            one: await account_store.hold(tx, one) for one in sorted({caller.person, beside or caller.person})
        }
        person, epoch = rows[caller.person], await session_store.living(tx, caller.session)
        if person.disabled or epoch != person.epoch:
            return InvalidToken("the session ended meanwhile")
        if epoch != caller.epoch:
            return Conflict("the person's epoch moved on")
        return await act(tx)

    return await world.db.transact(held)


async def stands(tx: Connection, caller: Caller) -> bool:
    """Hold somebody's row and session: whether both still are what the caller saw."""
    held = await account_store.hold(tx, caller.person)
    return held.stands(caller.epoch) and await session_store.living(tx, caller.session) == caller.epoch


async def end_others(
    world: World, tx: Connection, person: UUID, reason: EndReason, *, kept: UUID | None
) -> tuple[int, int]:
    """End whatever the person has open but the session `kept`: how many sessions, and the new epoch, which
    kills what is under way as well (pre-auth tokens, device tokens). No browser is trusted any more, not even
    that of `kept`. The person's row is held."""
    await expire(world, tx, person)
    ended = await session_store.end_all(tx, person, reason, world.clock.now(), kept=kept)
    await _end_trust(world, tx, person, reason)
    return ended, await account_store.raise_epoch(tx, person)


async def _end_trust(world: World, tx: Connection, person: UUID, reason: EndReason) -> None:
    """End the trust in every browser of a person, whose row is held."""
    if ended := await trust_store.end(tx, person, reason, world.clock.now()):
        await audit.record(
            world, tx, "two_factor:trust_end", "ok", person=person, reason=reason, browsers=ended
        )


async def end_grant(world: World, origin: Origin, person: UUID, family: UUID, client: str) -> None:
    """End what one client holds, as it asked itself; the session goes on. One that ended stays so."""

    async def act(tx: Connection) -> None:
        await account_store.hold(tx, person)
        if await session_store.end_family(tx, family, EndReason.REVOKED, world.clock.now()):
            await audit.record(
                world, tx, "client:revocation", "ok", origin, person=person, client=client, grant=family
            )

    await world.db.transact(act)


async def expire(world: World, tx: Connection, person: UUID) -> None:
    """Write down the end of every session of a person that outlived a life, with the reason it had then."""
    now = world.clock.now()
    for row in await session_store.expire(tx, person, now):
        await audit.record(
            world,
            tx,
            "session:expiry",
            "ok",
            person=person,
            client=row["client_id"],
            session=row["id"],
            reason=row["end_reason"],
        )


async def renew(
    world: World,
    tx: Connection,
    caller: Caller,
    *,
    epoch: int,
    amr: Sequence[str] | None = None,
    proved_at: datetime | None = None,
) -> Renewal | None:
    """Let the acting session live on at `epoch`, with the new `amr` and time of a full proof where there is
    one. A browser's session gets a new cookie, which is returned (None for any other): a copy of the old
    one opens nothing."""
    cookie = _cookie(world) if caller.in_browser else None
    if not await session_store.renew(
        tx,
        caller.session,
        auth_time=proved_at or caller.auth_time,
        amr=amr or caller.amr,
        epoch=epoch,
        cookie=crypto.sha256(cookie) if cookie else None,
    ):
        raise InvalidToken("the session ended meanwhile")
    return Renewal(cookie, tokens.device_token(world, caller.person, epoch)) if cookie else None


def _cookie(world: World) -> str:
    return rules.opaque(rules.BROWSER, world.entropy.token(32))
