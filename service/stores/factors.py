"""Authenticators, backup codes, and the counters of a person's second factor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from service.crypto import Sealed
from service.domain.policy import Budget
from service.domain.totp import Parameters
from service.stores.accounts import Hold
from service.stores.postgres import Connection, queries

_sql = queries("factors")
#: Comes before every id.
_FIRST = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Authenticator:
    """A TOTP authenticator with its sealed seed; `last_step` is the last step it was accepted at."""

    id: UUID
    name: str
    seed: bytes
    parameters: Parameters
    last_step: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PendingAuthenticator(Authenticator):
    """One that waits for its first code, and who started it."""

    started_by: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class BackupCode:
    """A code found by its digest; `replaced_at` is set when it belongs to a replaced set."""

    set_id: UUID
    digest: bytes
    used_at: datetime | None
    replaced_at: datetime | None


@dataclass(frozen=True, slots=True)
class BackupSet:
    """The living set: how many of its codes are unused, and when its person said that they saved it."""

    id: UUID
    created_at: datetime
    saved_at: datetime | None
    left: int


@dataclass(frozen=True, slots=True)
class Counted(Hold):
    """A person's row, held, after a guess was admitted: failures of the budget, newest first."""

    failures: Sequence[datetime]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one of the two budgets holds, with the salt of the person's backup codes."""

    code_salt: bytes
    failures: Sequence[datetime]
    streak: int


def _fields(row: Record) -> dict[str, Any]:
    return {
        **{key: row[key] for key in ("id", "name", "seed", "last_step", "created_at")},
        "parameters": Parameters(row["digits"], row["period"], row["algorithm"]),
    }


async def authenticators(tx: Connection, person: UUID) -> Sequence[Authenticator]:
    """The confirmed ones, oldest first."""
    return [Authenticator(**_fields(row)) async for row in _sql.authenticators(tx, person=person)]


async def pending(
    tx: Connection, person: UUID, authenticator: UUID | None, now: datetime
) -> PendingAuthenticator | None:
    """A person's pending enrolment; there is one at most, and None asks for whichever it is."""
    row = await _sql.pending_authenticator(tx, person=person, authenticator=authenticator, now=now)
    return row and PendingAuthenticator(
        **_fields(row), started_by=row["started_by"], expires_at=row["expires_at"]
    )


async def started_by(tx: Connection, person: UUID, authenticator: UUID) -> str | None:
    """Who started this enrolment, whatever has become of it; None when there never was one."""
    starter: str | None = await _sql.started_by(tx, person=person, authenticator=authenticator)
    return starter


async def start(
    tx: Connection,
    *,
    person: UUID,
    authenticator: UUID,
    name: str,
    seed: bytes,
    started_by: str,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Begin an enrolment; the one that was pending is replaced, its seed gone."""
    await _sql.replace_pending(tx, person=person, now=now)
    await _sql.add_pending(
        tx,
        authenticator=authenticator,
        person=person,
        name=name,
        seed=seed,
        started_by=started_by,
        now=now,
        expires_at=expires_at,
    )


async def confirm(tx: Connection, person: UUID, authenticator: UUID, step: int, now: datetime) -> bool:
    """Turn a pending authenticator on and burn the step that proved it; False when it is gone."""
    row = await _sql.confirm_authenticator(tx, person=person, authenticator=authenticator, step=step, now=now)
    return row is not None


async def rename(tx: Connection, person: UUID, authenticator: UUID, name: str) -> bool:
    """Give a confirmed authenticator another name; False when there is none."""
    row = await _sql.rename_authenticator(tx, person=person, authenticator=authenticator, new_name=name)
    return row is not None


async def remove(tx: Connection, person: UUID, authenticator: UUID | None) -> int:
    """Remove a confirmed authenticator, or with None all of them and a pending one; how many."""
    removed = _sql.remove_authenticators(tx, person=person, authenticator=authenticator)
    return len([row async for row in removed])


async def burn_step(tx: Connection, authenticator: UUID, step: int) -> bool:
    """Spend a time step; False when it, or a later one, is spent already."""
    return await _sql.burn_step(tx, authenticator=authenticator, step=step) is not None


async def admit(
    tx: Connection, person: UUID, budget: Budget, *, known: bool, failed: bool, now: datetime
) -> Counted | None:
    """Count one evaluated guess; None when the budget is used up and the guess must not be told."""
    row = await _sql.admit_second_factor(
        tx,
        person=person,
        known=known,
        failed=failed,
        now=now,
        in_a_row=budget.in_a_row,
        per_5_minutes=budget.per_5_minutes,
        per_hour=budget.per_hour,
        per_day=budget.per_day,
    )
    return row and Counted(row["epoch"], row["disabled"], row["failures"])


async def count_failure(tx: Connection, person: UUID, *, known: bool, now: datetime) -> Sequence[datetime]:
    """Count a guess that was admitted as right and lost its race; the failures, newest first."""
    row = await _sql.count_failure(tx, person=person, known=known, now=now)
    failures: Sequence[datetime] = row["failures"]
    return failures


async def spent(tx: Connection, person: UUID, *, known: bool) -> Spent:
    row = await _sql.second_factor_budget(tx, person=person, known=known)
    return Spent(row["code_salt"], row["failures"], row["streak"])


async def backup_code(tx: Connection, person: UUID, digests: Sequence[bytes]) -> BackupCode | None:
    """The person's code with one of these digests, the living set's before a replaced one's."""
    row = await _sql.backup_code_by_digest(tx, person=person, digests=list(digests))
    return row and BackupCode(row["set_id"], row["digest"], row["used_at"], row["replaced_at"])


async def spend_backup_code(tx: Connection, person: UUID, code: BackupCode, now: datetime) -> bool:
    """Use a code up; False when it was used, or its set replaced, meanwhile."""
    row = await _sql.spend_backup_code(tx, person=person, set=code.set_id, digest=code.digest, now=now)
    return row is not None


async def backup_set(tx: Connection, person: UUID) -> BackupSet | None:
    row = await _sql.backup_codes_left(tx, person=person)
    return row and BackupSet(row["id"], row["created_at"], row["saved_at"], row["unused"])


async def save_backup_set(tx: Connection, person: UUID, backup_set: UUID, now: datetime) -> bool:
    """Note that the person saved their codes; False when the set is not their living one."""
    row = await _sql.save_backup_set(tx, person=person, set=backup_set, now=now)
    return row is not None


async def void_backup_codes(tx: Connection, person: UUID, now: datetime) -> None:
    """Kill the living set; its codes are still known as those of a replaced one."""
    await _sql.replace_backup_set(tx, person=person, now=now)


async def replace_backup_codes(
    tx: Connection, person: UUID, new: UUID, digests: Sequence[bytes], pepper_id: str, now: datetime
) -> None:
    """Keep a new set and kill the old one in the same transaction."""
    await _sql.replace_backup_set(tx, person=person, now=now)
    await _sql.add_backup_set(tx, set=new, person=person, now=now)
    await _sql.add_backup_codes(tx, set=new, person=person, digests=list(digests), pepper_id=pepper_id)


async def unused_codes_under(tx: Connection, pepper_id: str) -> int:
    """How many codes of living sets stand unused under a pepper."""
    count: int = await _sql.unused_codes_under(tx, pepper_id=pepper_id)
    return count


async def hold_people_with_codes_under(tx: Connection, pepper_id: str, most: int) -> Sequence[UUID]:
    """Lock the rows of people with unused codes under a pepper, some at a time."""
    found = _sql.hold_people_with_codes_under(tx, pepper_id=pepper_id, most=most)
    return [row["id"] async for row in found]


async def void_codes_under(
    tx: Connection, people: Sequence[UUID], pepper_id: str, now: datetime
) -> Sequence[UUID]:
    """Kill the living sets of these people that have unused codes under a pepper; whose they were."""
    found = _sql.void_codes_under(tx, people=list(people), pepper_id=pepper_id, now=now)
    return [row["person_id"] async for row in found]


async def sealed_otherwise(tx: Connection, prefix: bytes, after: str, most: int) -> Sequence[Sealed]:
    """Authenticators whose seed another encryption key sealed, by id, from the one behind `after`."""
    found = _sql.seeds_sealed_otherwise(tx, prefix=prefix, after=UUID(after or _FIRST), most=most)
    return [
        Sealed(str(row["id"]), row["seed"], ("totp", str(row["person_id"]), str(row["id"])))
        async for row in found
    ]


async def reseal(tx: Connection, changes: Sequence[tuple[Sealed, bytes]]) -> int:
    """Put new records where the old ones still stand; how many did."""
    ids, olds, news = (
        [UUID(one.id) for one, _ in changes],
        [one.record for one, _ in changes],
        [n for _, n in changes],
    )
    return len([row async for row in _sql.reseal_seeds(tx, ids=ids, olds=olds, news=news)])
