"""Sessions: opened, found by their token, refreshed, ended. The other flows may call this one."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from asyncpg import Record

from service import crypto
from service.domain import policy
from service.domain import sessions as rules
from service.domain.sessions import DeviceToken, EndReason, RefreshToken, Verdict
from service.domain.sign_in import FRONTEND, Origin, Standing
from service.errors import InvalidRefreshToken, InvalidToken, ReauthenticationRequired, UnauthorizedClient
from service.keyring import BadToken, Kind
from service.stores import audit as audit_store
from service.stores import outbox as outbox_store
from service.stores import sessions as session_store
from service.stores.postgres import Connection, Undo
from service.world import World

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that stands in Postgres, and what its tokens are made of."""

    session: UUID
    family: UUID
    person: UUID
    sub: UUID
    client: str
    scope: str
    amr: Sequence[str]
    auth_time: datetime
    refresh_token: RefreshToken


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client is given. `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    id_token: str
    expires_in: int
    session: UUID


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever an access token stands for, as Postgres knows them now."""

    person: UUID
    session: UUID
    client: str
    scope: Sequence[str]
    amr: Sequence[str]
    auth_time: datetime
    epoch: int
    roles: Sequence[str]


def require_frontend(client: str) -> None:
    """The JSON API's sign-in is for first-party frontends; everyone else redirects (contract §3)."""
    if client != FRONTEND:
        raise UnauthorizedClient(f"client {client!r} is not a first-party frontend")


async def open_session(
    world: World, tx: Connection, standing: Standing, client: str, auth_time: datetime, origin: Origin
) -> Opened:
    """Insert the session and its refresh family. The person's row is held by the caller."""
    now, session, family = world.clock.now(), world.row_id(), world.row_id()
    key, salt, life = world.active(Kind.TOKEN), world.entropy.token(16), world.settings.tokens
    scope = rules.scope(standing.roles, standing.amr)
    await session_store.open(
        tx,
        session=session,
        family=family,
        person=standing.person,
        epoch=standing.epoch,
        amr=standing.amr,
        auth_time=auth_time,
        client=client,
        scope=scope,
        salt=salt,
        key_id=key.id,
        origin=origin,
        now=now,
        idle_at=now + timedelta(seconds=life.refresh_idle_seconds),
        absolute_at=now + timedelta(seconds=life.refresh_absolute_seconds),
    )
    token = _refresh_token(key.material, family, 0, salt)
    return Opened(
        session, family, standing.person, standing.sub, client, scope, standing.amr, auth_time, token
    )


def mint(world: World, opened: Opened) -> Tokens:
    """Sign the access token (RFC 9068 §2.2) and the ID token (OpenID Connect Core §2)."""
    now, life = world.clock.now(), world.settings.tokens.access_seconds
    shared = {
        "iss": world.settings.issuer,
        "sub": str(opened.sub),
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + life,
        "sid": str(opened.session),
        "auth_time": int(opened.auth_time.timestamp()),
        "amr": list(opened.amr),
        "acr": rules.acr(opened.amr),
    }
    access = world.keyring.sign(
        shared
        | {
            "aud": world.settings.issuer,
            "client_id": opened.client,
            "scope": opened.scope,
            "grant": str(opened.family),
            "jti": world.entropy.token(16).hex(),
        },
        "at+jwt",
        now,
    )
    half = hashlib.sha256(access.encode()).digest()[:16]
    at_hash = base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    identity = world.keyring.sign(
        shared | {"aud": opened.client, "azp": opened.client, "at_hash": at_hash}, "JWT", now
    )
    return Tokens(access, str(opened.refresh_token), identity, life, opened.session)


def device_token(world: World, person: UUID) -> str:
    """A token by which this browser is known later: strangers have another budget of failures."""
    token = DeviceToken(person, int(world.clock.now().timestamp()), b"")
    mac = crypto.digest(world.active(Kind.TOKEN).material, "device", token.signed)
    return str(DeviceToken(person, token.issued_at, mac))


def is_known_device(world: World, person: UUID, text: str | None) -> bool:
    """Whether a text is a device token of this person that still counts."""
    token = rules.parse_device(text) if text else None
    if token is None or token.person != person:
        return False
    genuine = any(
        crypto.same(token.mac, crypto.digest(key.material, "device", token.signed))
        for key in world.keyring.all(Kind.TOKEN)
    )
    age = world.clock.now().timestamp() - token.issued_at
    return genuine and age < world.settings.tokens.device_seconds


async def caller(world: World, token: str) -> Caller:
    """Who an access token stands for. Raises InvalidToken, also when its session or grant has ended."""
    now = world.clock.now()
    try:
        claims = world.keyring.verify(token, "at+jwt")
    except BadToken as fault:
        raise InvalidToken(str(fault)) from None
    if claims.get("iss") != world.settings.issuer or claims.get("aud") != world.settings.issuer:
        raise InvalidToken("the token is for another audience")
    expires_at = claims.get("exp")
    try:
        scope = str(claims["scope"]).split()
        session, family = UUID(str(claims["sid"])), UUID(str(claims["grant"]))
    except (KeyError, ValueError):
        raise InvalidToken("a claim is missing or not of its form") from None
    if type(expires_at) is not int or expires_at <= now.timestamp():
        raise InvalidToken("the token has expired")
    async with world.db.connection() as connection:
        row = await session_store.bearer(connection, session, family)
    if row is None or row["ended_at"] or row["family_ended_at"] or row["disabled_at"]:
        raise InvalidToken("the session, its grant or the person has ended")
    if row["epoch"] != row["person_epoch"]:
        raise InvalidToken("the session is of an older epoch")
    return Caller(
        row["person_id"],
        session,
        str(claims.get("client_id")),
        scope,
        row["amr"],
        row["auth_time"],
        row["epoch"],
        row["roles"],
    )


def require_step_up(world: World, caller: Caller, *, enrolled: bool) -> None:
    """Refuse what this session may do only shortly after proving everything its person has."""
    if not policy.stepped_up(
        auth_time=caller.auth_time,
        two_factors="mfa" in caller.amr,
        enrolled=enrolled,
        now=world.clock.now(),
        seconds=world.settings.tokens.step_up_seconds,
    ):
        raise ReauthenticationRequired("the session's last full proof is too old")


async def prove_anew(world: World, tx: Connection, caller: Caller, amr: Sequence[str], epoch: int) -> None:
    """Write down that the session proved itself just now. Undoes the act when it has ended meanwhile."""
    now = world.clock.now()
    if not await session_store.strengthen(tx, caller.session, auth_time=now, amr=amr, epoch=epoch):
        raise Undo(InvalidToken("the session ended meanwhile"))


async def refresh(world: World, origin: Origin, text: str, client: str) -> Tokens:
    """Exchange a refresh token for new tokens (RFC 6749 §6, RFC 9700 §4.14).

    Raises InvalidRefreshToken, with the reason when the token is genuine and its client is right.
    """
    require_frontend(client)
    token = rules.parse_refresh(text)
    if token is None:
        raise InvalidRefreshToken("not of a refresh token's form")
    now, life = world.clock.now(), world.settings.tokens
    idle_at = now + timedelta(seconds=life.refresh_idle_seconds)
    async with world.db.connection() as connection:
        family = await session_store.family(connection, token.family)
        key = _prove(world, family, token, client)
        verdict = _judge(world, family, token, now)
        granted = verdict is Verdict.SAME_SUCCESSOR
        if verdict is Verdict.ROTATE:
            granted = await session_store.rotate(
                connection, token.family, token.generation, idle_at, origin, now
            )
            if not granted:
                # Another presented the same token a moment ago: what it wrote decides what this one gets.
                family = await session_store.family(connection, token.family)
                verdict = _judge(world, family, token, now)
                granted = verdict is Verdict.SAME_SUCCESSOR
    assert family is not None  # _prove refuses a family that is not there
    if not granted:
        raise await _refuse(world, origin, family, token, verdict)
    successor = _refresh_token(key, token.family, token.generation + 1, family["salt"])
    return mint(
        world,
        Opened(
            family["session_id"],
            token.family,
            family["person_id"],
            family["sub"],
            client,
            family["scope"],
            family["amr"],
            family["auth_time"],
            successor,
        ),
    )


async def sign_out(world: World, origin: Origin, caller: Caller) -> None:
    """End the caller's session and its families."""
    now = world.clock.now()

    async def act(tx: Connection) -> None:
        await session_store.end(tx, caller.person, caller.session, EndReason.SIGNED_OUT, now)
        await audit_store.record(
            tx,
            world.row_id(),
            now,
            "session:sign_out",
            "ok",
            origin,
            person=caller.person,
            client=caller.client,
            session=caller.session,
        )

    await world.db.transact(act)


def _refresh_token(key: bytes, family: UUID, generation: int, salt: bytes) -> RefreshToken:
    token = RefreshToken(family, generation, b"")
    return RefreshToken(family, generation, crypto.digest(key, "refresh", token.signed + salt))


def _prove(world: World, family: Record | None, token: RefreshToken, client: str) -> bytes:
    """The family's HMAC key, once the token is proved genuine and the client's own."""
    if family is None:
        raise InvalidRefreshToken("no such family")
    key = world.keyring.get(Kind.TOKEN, family["key_id"])
    if key is None:
        raise InvalidRefreshToken("the family's key has retired")
    genuine = _refresh_token(key.material, token.family, token.generation, family["salt"])
    if not crypto.same(genuine.mac, token.mac):
        raise InvalidRefreshToken("the HMAC does not fit")
    if family["client_id"] != client:
        raise InvalidRefreshToken("another client's token")
    return key.material


def _judge(world: World, family: Record | None, token: RefreshToken, now: datetime) -> Verdict | EndReason:
    assert family is not None  # _prove refuses a family that is not there
    if family["ended_at"] or family["session_ended_at"]:
        return EndReason(family["end_reason"] or family["session_end_reason"])
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
    if not await session_store.end(tx, person, family["session_id"], reason, now):
        return
    theft = reason is EndReason.REFRESH_REUSE
    await audit_store.record(
        tx,
        world.row_id(),
        now,
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
