"""A refresh token exchanged for new tokens: rotation, the grace, and theft (contract §2)."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from asyncpg import Record

from service import crypto
from service.domain import sessions as rules
from service.domain.sessions import EndReason, RefreshToken, Verdict
from service.domain.sign_in import Origin
from service.errors import InvalidRefreshToken
from service.flows import audit, tokens
from service.flows import sessions as session_flow
from service.flows.tokens import Grant, Tokens
from service.keyring import Kind
from service.stores import outbox as outbox_store
from service.stores import sessions as session_store
from service.stores.postgres import Connection
from service.world import World


async def refresh(world: World, origin: Origin, text: str, client: str) -> Tokens:
    """Exchange a refresh token of the JSON API for new tokens. Raises InvalidRefreshToken."""
    family, successor = await rotate(world, origin, text, client)
    return tokens.mint(world, grant_of(family, family["scope"]), successor)


def grant_of(family: Record, scope: str) -> Grant:
    """What new tokens of a family are made of."""
    return Grant(
        family["session_id"],
        family["id"],
        family["sub"],
        family["client_id"],
        rules.narrowed(scope, family["roles"], family["amr"]),
        family["amr"],
        family["auth_time"],
        family["absolute_at"],
    )


async def rotate(
    world: World,
    origin: Origin,
    text: str,
    client: str,
    idle_seconds: int | None = None,
    may: Callable[[Record], object] = lambda _: None,
) -> tuple[Record, RefreshToken]:
    """Spend a refresh token (RFC 6749 §6, RFC 9700 §4.14): its family, and the successor.

    Raises InvalidRefreshToken, with the reason when the token is genuine and its client is right; and
    whatever `may` raises of the family, before the token is spent: a refusal must not cost it, or its retry
    would be theft.
    """
    token = rules.parse_refresh(text)
    if token is None:
        raise InvalidRefreshToken("not of a refresh token's form")
    now, life = world.clock.now(), world.settings.tokens
    idle_at = now + timedelta(seconds=idle_seconds or life.refresh_idle_seconds)
    async with world.db.connection() as connection:
        family = await session_store.family(connection, token.family)
        key = _prove(world, family, token, client)
        verdict = _judge(world, family, token, now)
        granted = verdict is Verdict.SAME_SUCCESSOR
        if family and (granted or verdict is Verdict.ROTATE):
            may(family)
        if verdict is Verdict.ROTATE:
            granted = await session_store.rotate(
                connection, token.family, token.generation, idle_at, origin, now
            )
            if not granted:
                # Another presented the same token a moment ago: what it wrote decides what this one gets.
                family = await session_store.family(connection, token.family)
                verdict = _judge(world, family, token, world.clock.now())
                granted = verdict is Verdict.SAME_SUCCESSOR
        if granted and family and family["in_browser"] and not family["offline"]:
            await session_flow.used(world, connection, family["session_id"], family["seen_at"], origin)
    assert family is not None  # _prove refuses a family that is not there
    if not granted:
        raise await _refuse(world, origin, family, token, verdict)
    return family, tokens.refresh_token(key, token.family, token.generation + 1, family["salt"])


async def inspect(world: World, text: str, client: str) -> Record | None:
    """The family of a client's own refresh token if it is the latest one and lives, or None."""
    token = rules.parse_refresh(text)
    if token is None:
        return None
    async with world.db.connection() as connection:
        family = await session_store.family(connection, token.family)
    try:
        _prove(world, family, token, client)
    except InvalidRefreshToken:
        return None
    return family if _judge(world, family, token, world.clock.now()) is Verdict.ROTATE else None


async def revoke(world: World, origin: Origin, text: str, client: str) -> None:
    """End the grant of a client's own refresh token, of whatever generation: whoever holds a copy of an
    earlier one may end it, never go on with it. Any other text changes nothing (RFC 7009 §2.2)."""
    token = rules.parse_refresh(text)
    if token is None:
        return
    async with world.db.connection() as connection:
        family = await session_store.family(connection, token.family)
    with suppress(InvalidRefreshToken):
        _prove(world, family, token, client)
        assert family is not None  # _prove refuses a family that is not there
        await session_flow.end_grant(world, origin, family["person_id"], token.family, client)


def _prove(world: World, family: Record | None, token: RefreshToken, client: str) -> bytes:
    """The family's HMAC key, once the token is proved genuine and the client's own."""
    if family is None:
        raise InvalidRefreshToken("no such family")
    key = world.keyring.get(Kind.TOKEN, family["key_id"])
    if key is None:
        raise InvalidRefreshToken("the family's key has retired")
    genuine = tokens.refresh_token(key.material, token.family, token.generation, family["salt"])
    if not crypto.same(genuine.mac, token.mac):
        raise InvalidRefreshToken("the HMAC does not fit")
    if family["client_id"] != client:
        raise InvalidRefreshToken("another client's token")
    return key.material


def is_session_over(world: World, family: Record) -> bool:
    """Whether the session of a family has ended, written down or not."""
    now, lives = world.clock.now(), (family["session_idle_at"], family["session_absolute_at"])
    return family["session_ended_at"] is not None or any(at is not None and at <= now for at in lives)


def _judge(world: World, family: Record | None, token: RefreshToken, now: datetime) -> Verdict | EndReason:
    assert family is not None  # _prove refuses a family that is not there
    if family["ended_at"]:
        return EndReason(family["end_reason"])
    if family["disabled_at"]:
        return EndReason.USER_DISABLED
    if family["epoch"] != family["person_epoch"]:
        return EndReason.REVOKED
    grace = world.settings.tokens.refresh_grace_seconds
    verdict = rules.judge(token.generation, family["generation"], family["rotated_at"], now, grace)
    if verdict is Verdict.THEFT:
        return verdict
    return rules.expired(family["idle_at"], family["absolute_at"], now) or verdict


async def _refuse(
    world: World, origin: Origin, family: Record, token: RefreshToken, verdict: Verdict | EndReason
) -> InvalidRefreshToken:
    """Write down what a refusal means, and return it to be raised after the commit."""
    if verdict is Verdict.SUPERSEDED or verdict is Verdict.ROTATE:
        return InvalidRefreshToken("superseded a moment ago", reason=EndReason.SUPERSEDED)
    if verdict in (EndReason.IDLE, EndReason.ABSOLUTE) or verdict is Verdict.THEFT:
        reason = EndReason.REFRESH_REUSE if verdict is Verdict.THEFT else EndReason(verdict)
        await world.db.transact(lambda tx: _end(world, tx, origin, family, token, reason))
        return InvalidRefreshToken(f"the family ended: {reason}", reason=reason)
    return InvalidRefreshToken(f"the family had ended: {verdict}", reason=verdict)


async def _end(
    world: World, tx: Connection, origin: Origin, family: Record, token: RefreshToken, reason: EndReason
) -> None:
    now, person = world.clock.now(), family["person_id"]
    if family["in_browser"]:
        ended = await session_store.end_family(tx, family["id"], reason, now)
    else:
        ended = await session_store.end(tx, person, family["session_id"], reason, now)
    if not ended:
        return
    theft = reason is EndReason.REFRESH_REUSE
    await audit.record(
        world,
        tx,
        "session:refresh" if theft else "session:expiry",
        "refused" if theft else "ok",
        origin,
        person=person,
        client=family["client_id"],
        session=family["session_id"],
        reason=reason,
        generation=token.generation,
        current_generation=family["generation"],
        last_address=family["last_address"],
        last_browser=family["last_browser"],
    )
    if theft:
        await outbox_store.put(tx, world.row_id(), "refresh_reuse", person, origin, now)
