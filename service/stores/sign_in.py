"""Pre-auth tokens: opened, found, tried and spent."""

from datetime import datetime
from uuid import UUID

from service.domain.sign_in import Pending, Standing, Step
from service.stores.postgres import Connection, queries

_sql = queries("sign_in")


async def open(  # noqa: A001 - read as sign_in_store.open
    tx: Connection,
    *,
    digest: bytes,
    id: UUID,
    standing: Standing,
    step: Step,
    client: str,
    auth_time: datetime,
    known: bool,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Keep a new pre-auth token by its digest."""
    await _sql.open_pre_auth(
        tx,
        digest=digest,
        id=id,
        person=standing.person,
        client=client,
        step=step,
        epoch=standing.epoch,
        amr=list(standing.amr),
        auth_time=auth_time,
        known=known,
        now=now,
        expires_at=expires_at,
    )


async def pending(tx: Connection, digest: bytes, client: str, limit: int, now: datetime) -> Pending | None:
    """The sign-in behind a token that is alive for this client; None for every other, all alike."""
    row = await _sql.pending_sign_in(tx, digest=digest)
    if row is None or row["consumed_at"] or row["expires_at"] <= now or row["attempts"] >= limit:
        return None
    if row["client_id"] != client or row["disabled_at"] or row["epoch"] != row["person_epoch"]:
        return None
    standing = Standing(
        person=row["person_id"],
        sub=row["sub"],
        email=row["email"],
        name=row["name"],
        roles=row["roles"],
        epoch=row["epoch"],
        enrolled=row["enrolled"],
        email_verified=row["email_verified_at"] is not None,
        must_change_password=row["must_change_password"],
        amr=row["amr"],
    )
    return Pending(
        step=Step(row["step"]),
        digest=digest,
        id=row["pre_auth_id"],
        standing=standing,
        client=client,
        known=row["known"],
        attempts=row["attempts"],
        auth_time=row["auth_time"],
        expires_at=row["expires_at"],
        failures=row["failures"],
        streak=row["streak"],
        code_salt=row["code_salt"],
        password_hash=row["password_hash"],
    )


async def take_try(tx: Connection, digest: bytes, *, spend: bool, limit: int, now: datetime) -> int | None:
    """Claim one of the token's tries (and the token, to `spend` it): how many are taken, or None."""
    attempts: int | None = await _sql.try_pre_auth(tx, digest=digest, spend=spend, limit=limit, now=now)
    return attempts


async def spend(tx: Connection, digest: bytes, now: datetime) -> bool:
    """Claim a living token without a try; False when another was faster."""
    return await _sql.spend_pre_auth(tx, digest=digest, now=now) is not None


async def unspend(tx: Connection, digest: bytes) -> None:
    """Give a token back whose code turned out to be burnt."""
    await _sql.unspend_pre_auth(tx, digest=digest)


async def prolong(
    tx: Connection, digest: bytes, *, seconds: int, most: int, limit: int, now: datetime
) -> bool:
    """Give a living token `seconds` from now, but no more than `most` from its birth."""
    row = await _sql.prolong_pre_auth(tx, digest=digest, seconds=seconds, most=most, limit=limit, now=now)
    return row is not None
