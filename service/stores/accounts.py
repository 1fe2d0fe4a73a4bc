"""People and the counters of their passwords."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from service.domain import policy
from service.domain.oidc.claims import Known
from service.domain.sign_in import Standing
from service.stores.postgres import Connection, queries

_sql = queries("accounts")


@dataclass(frozen=True, slots=True)
class Person:
    """A row of `person` without its secrets but the hash, which only the hash pool reads."""

    id: UUID
    sub: UUID
    email: str
    name: str
    language: str | None
    password_hash: str | None
    roles: Sequence[str]
    email_verified: bool
    must_change_password: bool
    disabled: bool
    epoch: int
    enrolled: bool

    def standing(self, amr: Sequence[str]) -> Standing:
        return Standing(
            person=self.id,
            sub=self.sub,
            email=self.email,
            name=self.name,
            roles=self.roles,
            epoch=self.epoch,
            enrolled=self.enrolled,
            email_verified=self.email_verified,
            must_change_password=self.must_change_password,
            amr=amr,
        )


@dataclass(frozen=True, slots=True)
class Hold:
    """A person's row, locked for this transaction."""

    epoch: int
    disabled: bool

    def stands(self, epoch: int) -> bool:
        """Whether nothing has ended what was begun at `epoch`."""
        return self.epoch == epoch and not self.disabled


def _person(row: Record) -> Person:
    fields = {key: row[key] for key in ("id", "sub", "email", "name", "language", "password_hash", "roles")}
    return Person(
        **fields,
        email_verified=row["email_verified_at"] is not None,
        must_change_password=row["must_change_password"],
        disabled=row["disabled_at"] is not None,
        epoch=row["epoch"],
        enrolled=row["enrolled"],
    )


async def create(
    tx: Connection,
    *,
    id: UUID,
    sub: UUID,
    email: str,
    name: str,
    password_hash: str,
    roles: Sequence[str],
    verified_at: datetime | None,
    must_change_password: bool,
    code_salt: bytes,
    now: datetime,
) -> bool:
    """Add a person; False when the address is taken."""
    row = await _sql.create_person(
        tx,
        id=id,
        sub=sub,
        email=email,
        display_name=name,
        password_hash=password_hash,
        roles=list(roles),
        email_verified_at=verified_at,
        must_change_password=must_change_password,
        code_salt=code_salt,
        now=now,
    )
    return row is not None


async def by_email(tx: Connection, email: str) -> Person | None:
    row = await _sql.person_by_email(tx, email=email)
    return row and _person(row)


async def by_id(tx: Connection, person: UUID) -> Person | None:
    row = await _sql.person_by_id(tx, person=person)
    return row and _person(row)


@dataclass(frozen=True, slots=True)
class Profile:
    """What people tell of themselves; `address` is the claim of that name (OpenID Connect Core §5.1.1)."""

    name: str
    language: str | None
    phone_number: str | None
    address: Mapping[str, str] | None


async def profile(tx: Connection, person: Person) -> Profile:
    row = await _sql.profile(tx, person=person.id)
    address = row["address"] and json.loads(row["address"])
    return Profile(person.name, person.language, row["phone_number"], address)


async def known(tx: Connection, person: UUID) -> Known | None:
    """A person as their claims are made from them."""
    found = await by_id(tx, person)
    if found is None:
        return None
    told = await profile(tx, found)
    return Known(
        found.sub,
        found.name,
        found.language,
        found.email,
        found.email_verified,
        told.phone_number,
        told.address,
    )


async def set_profile(tx: Connection, person: UUID, profile: Profile) -> None:
    await _sql.set_profile(
        tx,
        person=person,
        display_name=profile.name,
        language=profile.language,
        phone_number=profile.phone_number,
        address=profile.address and json.dumps(profile.address),
    )


async def disable(tx: Connection, person: UUID, now: datetime) -> None:
    """Bar a person from every door. What they have open is ended by whoever calls this."""
    await _sql.disable_person(tx, person=person, now=now)


async def enable(tx: Connection, person: UUID) -> None:
    await _sql.enable_person(tx, person=person)


async def hold(tx: Connection, person: UUID) -> Hold:
    """Lock the person's row: it is the first in the order of locks."""
    row = await _sql.hold_person(tx, person=person)
    return Hold(row["epoch"], row["disabled"])


async def raise_epoch(tx: Connection, person: UUID) -> int:
    """End, as the second net, whatever carries an older epoch; return the new one."""
    epoch: int = await _sql.raise_epoch(tx, person=person)
    return epoch


async def set_password(tx: Connection, person: UUID, password_hash: str) -> None:
    """Change the password. What stood on the old one is ended by whoever calls this."""
    await _sql.set_password(tx, person=person, password_hash=password_hash)


async def rehash_password(tx: Connection, email: str, old_hash: str, password_hash: str) -> None:
    """Keep the same password under new parameters, unless it was changed meanwhile."""
    await _sql.rehash_password(tx, email=email, old_hash=old_hash, password_hash=password_hash)


async def admit_password(tx: Connection, key: bytes, now: datetime) -> bool:
    """Count a password try as pending; False when this address has to wait first."""
    row = await _sql.admit_password(
        tx,
        key=key,
        now=now,
        free=policy.FREE_PASSWORD_FAILURES,
        stale=now - policy.STALE_AFTER,
        forgotten=now - policy.FORGOTTEN_AFTER,
    )
    return row is not None


async def password_wait(tx: Connection, key: bytes) -> datetime | None:
    """Until when the next try of this address is refused."""
    until: datetime | None = await _sql.password_wait(tx, key=key)
    return until


async def password_failed(tx: Connection, key: bytes, now: datetime) -> None:
    """Turn a pending try into a failure, and lengthen the wait."""
    await _sql.password_failed(
        tx, key=key, now=now, free=policy.FREE_PASSWORD_FAILURES, longest=policy.LONGEST_PASSWORD_WAIT
    )


async def password_held(tx: Connection, key: bytes) -> None:
    """The try was right: forget the failures already judged."""
    await _sql.password_held(tx, key=key)


async def password_unjudged(tx: Connection, key: bytes) -> None:
    """The try could not be judged (no hash was made): it does not count."""
    await _sql.password_unjudged(tx, key=key)
