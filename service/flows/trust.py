"""Trusted browsers: made by a second factor, used in its place, listed, and ended. The other flows call this
one.

The person's row is held by whoever makes, uses or ends one: their trust, their epoch and their session are
judged in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from service import crypto
from service.domain import trust as rules
from service.domain.sessions import EndReason, TrustToken, parse_trust
from service.domain.sign_in import PAGES, Origin, Pending, Standing, Step, next_step, with_factor
from service.errors import DoorwardError, NotFound
from service.flows import audit
from service.flows import sessions as session_flow
from service.flows.sessions import AnySession, BrowserSession, Caller
from service.stores import outbox as outbox_store
from service.stores import sessions as session_store
from service.stores import trust as trust_store
from service.stores.postgres import Connection
from service.world import World


@dataclass(frozen=True, slots=True)
class Trust:
    """What a trusted browser is to keep, and for how long (s): the token of its next sign-in."""

    browser: UUID
    token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Browser:
    """A trusted browser as its person sees it; `current` is the one that asks."""

    id: UUID
    current: bool
    browser: str
    address: str
    place: str | None
    seen_address: str
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime


def offered(world: World, pending: Pending) -> int:
    """For how many days a sign-in that owes a second factor may make its browser a trusted one; 0 where it
    may not, as where more is owed than that."""
    proved = replace(pending.standing, amr=with_factor("totp"))
    days = world.settings.two_factor.trust_days
    done = next_step(proved, world.settings.two_factor.required) is Step.COMPLETE
    return days if done and rules.may_be_made(proved.amr, days) else 0


async def make(
    world: World, tx: Connection, origin: Origin, standing: Standing, opened: AnySession, present: str | None
) -> Trust | None:
    """Make the browser of a session that was just opened a trusted one, where its sign-in may. `present` is
    the token it had, which is replaced where it was this person's."""
    now, person, days = world.clock.now(), standing.person, world.settings.two_factor.trust_days
    if not isinstance(opened, BrowserSession) or not rules.may_be_made(standing.amr, days):
        return None
    made = TrustToken(world.row_id(), world.entropy.token(32))
    if (earlier := parse_trust(present or "")) is not None:
        replaced = await trust_store.end(tx, person, EndReason.SUPERSEDED, now, browser=earlier.browser)
        await _record_end(world, tx, origin, person, EndReason.SUPERSEDED, replaced)
    await trust_store.add(
        tx,
        id=made.browser,
        person=person,
        digest=crypto.sha256(str(made)),
        epoch=standing.epoch,
        session=opened.session,
        origin=origin,
        now=now,
        expires_at=now + timedelta(days=days),
    )
    crowded = await trust_store.end_oldest(tx, person, EndReason.SUPERSEDED, now, kept=rules.MOST)
    await _record_end(world, tx, origin, person, EndReason.SUPERSEDED, crowded)
    await audit.record(
        world,
        tx,
        "two_factor:trust",
        "ok",
        origin,
        person=person,
        client=PAGES,
        session=opened.session,
        trusted_browser=made.browser,
        days=days,
    )
    await outbox_store.put(tx, world.row_id(), "browser_trusted", person, origin, now, days=days)
    return Trust(made.browser, str(made), days * 86_400)


async def use(
    world: World, tx: Connection, origin: Origin, standing: Standing, client: str, text: str | None
) -> Trust | None:
    """Let a trusted browser stand in for the second factor, where that alone is owed; what it keeps from now
    on. A token of somebody else, an ended and a made-up one are all the same: None.

    The password was right, and the person's row is held at the epoch of `standing`.
    """
    token, most = parse_trust(text or ""), world.settings.two_factor.trust_days * 86_400
    if token is None or client != PAGES or not standing.enrolled:
        return None
    trusted = replace(standing, trusted=token.browser)
    if next_step(trusted, world.settings.two_factor.required) is not Step.COMPLETE:
        return None
    now, successor = world.clock.now(), TrustToken(token.browser, world.entropy.token(32))
    until = await trust_store.use(
        tx,
        token.browser,
        standing.person,
        crypto.sha256(str(token)),
        crypto.sha256(str(successor)),
        epoch=standing.epoch,
        origin=origin,
        most=most,
        now=now,
    )
    if until is None:
        await _end_copied(world, tx, origin, standing, token)
        return None
    return Trust(token.browser, str(successor), int((until - now).total_seconds()))


async def _end_copied(
    world: World, tx: Connection, origin: Origin, standing: Standing, token: TrustToken
) -> None:
    """End the trust whose token was used before: it is in two hands, and nobody can tell which is right. What
    the other one opened with it ends too, and the person hears of it."""
    now = world.clock.now()
    copied = await trust_store.end_copied(
        tx,
        token.browser,
        standing.person,
        crypto.sha256(str(token)),
        epoch=standing.epoch,
        most=world.settings.two_factor.trust_days * 86_400,
        straggler=now - rules.STRAGGLERS,
        now=now,
    )
    if copied:
        await _end_sessions(world, tx, standing.person, copied, kept=None)
        await _record_end(world, tx, origin, standing.person, "copied", copied)
        await outbox_store.put(tx, world.row_id(), "browser_trust_copied", standing.person, origin, now)


async def end_with(world: World, tx: Connection, origin: Origin, caller: Caller, session: UUID) -> None:
    """End the trust that a session made or stands on: whoever ends it from elsewhere does not know it."""
    reason, now = EndReason.REVOKED, world.clock.now()
    ended = await trust_store.end_of_session(tx, caller.person, session, reason, now)
    await _end_sessions(world, tx, caller.person, ended, kept=caller.session)
    await _record_end(world, tx, origin, caller.person, reason, ended, caller)


async def listed(world: World, caller: Caller, token: str | None) -> Sequence[Browser]:
    """The browsers that the person trusts, the latest used first; `token` is what this one holds."""
    most, digest = world.settings.two_factor.trust_days * 86_400, crypto.sha256(token or "")
    async with world.db.connection() as connection:
        rows = await trust_store.of_person(connection, caller.person, most, world.clock.now())
    return [
        Browser(
            id=row["id"],
            current=crypto.same(row["digest"], digest),
            browser=row["browser"],
            address=str(row["address"]),
            place=row["place"],
            seen_address=str(row["seen_address"]),
            created_at=row["created_at"],
            used_at=row["used_at"],
            expires_at=row["expires_at"],
        )
        for row in rows
    ]


async def revoke(world: World, origin: Origin, caller: Caller, browser: UUID | None) -> int:
    """Trust a browser of one's own no longer, or with None any of them; how many. The sessions that stand on
    it end, but the acting one. One that has ended stays so. Raises NotFound for another's."""

    async def act(tx: Connection) -> int | DoorwardError:
        if browser is not None and await trust_store.owner(tx, browser) != caller.person:
            return NotFound("no trusted browser of this person")
        reason = EndReason.REVOKED
        ended = await trust_store.end(tx, caller.person, reason, world.clock.now(), browser=browser)
        await _end_sessions(world, tx, caller.person, ended, kept=caller.session)
        await _record_end(world, tx, origin, caller.person, reason, ended, caller)
        return len(ended)

    return await session_flow.acting(world, caller, act)


async def _end_sessions(
    world: World, tx: Connection, person: UUID, browsers: Sequence[UUID], *, kept: UUID | None
) -> None:
    now = world.clock.now()
    for session in await trust_store.sessions_on(tx, person, browsers, kept=kept):
        await session_store.end(tx, person, session, EndReason.REVOKED, now)


async def _record_end(
    world: World,
    tx: Connection,
    origin: Origin,
    person: UUID,
    reason: str,
    browsers: Sequence[UUID],
    caller: Caller | None = None,
) -> None:
    if browsers:
        await audit.record(
            world,
            tx,
            "two_factor:trust_end",
            "ok",
            origin,
            person=person,
            client=caller.client if caller else PAGES,
            session=caller.session if caller else None,
            reason=reason,
            browsers=browsers,
        )
