"""A password: read in its one normal form, admitted, hashed outside any transaction, judged, changed."""

from asyncio import CancelledError, shield
from math import ceil

import structlog

from service.domain import accounts, policy
from service.errors import DoorwardError, InvalidCredentials, InvalidRequest, RateLimited, Unavailable
from service.flows import proofs
from service.flows.proofs import Attempt
from service.stores import accounts as account_store
from service.stores.accounts import Person
from service.stores.postgres import Connection
from service.world import World

_log = structlog.get_logger()


def read(text: str, pointer: str = "/password") -> str:
    """The one normal form of a password (NFKC). Raises InvalidRequest for a text that cannot be one."""
    normal = accounts.normal_password(text)
    if isinstance(normal, accounts.PasswordFault):
        raise InvalidRequest(f"password {normal}", errors=[{"pointer": pointer, "code": str(normal)}])
    return normal


def key_of(world: World, email: str, *, known: bool) -> bytes:
    """Under which key the failures of an address are counted; known devices have one of their own."""
    return world.index("password", f"{email}\n{'known' if known else 'stranger'}")


async def examine(
    world: World, attempt: Attempt, key: bytes, password_hash: str | None, password: str
) -> bool:
    """Admit a try under `key`, then hash. Raises RateLimited without hashing, or Unavailable.

    The caller owes the try its verdict: `account_store.password_failed` or `password_held`.
    """
    now = world.clock.now()
    async with world.db.connection() as connection:
        if not await account_store.admit_password(connection, key, now):
            until = await account_store.password_wait(connection, key)
            wait = ceil((until - now).total_seconds()) if until and until > now else 1
            refusal = RateLimited(
                "this address has to wait",
                retry_after=wait,
                limit=f'"password.person";q=1;w={policy.LONGEST_PASSWORD_WAIT}',
            )
            await proofs.record_refusal(world, connection, attempt, refusal)
            raise refusal
    try:
        return await world.pool.verify_password(password_hash, password)
    except (Unavailable, CancelledError):
        # No verdict was made. The place goes back even when the sender hung up, or five who did would
        # keep everyone at this address waiting.
        await shield(_unjudged(world, key))
        raise


async def confirm(world: World, attempt: Attempt, person: Person, password: str) -> None:
    """Somebody signed in proves their password again, in the budget of known devices.

    Raises InvalidCredentials, RateLimited or Unavailable as the sign-in does.
    """
    key = key_of(world, person.email, known=True)
    right = await examine(world, attempt, key, person.password_hash, password)

    async def judge(tx: Connection) -> DoorwardError | None:
        if right:
            await account_store.password_held(tx, key)
            return None
        await account_store.password_failed(tx, key, world.clock.now())
        await proofs.record(world, tx, attempt, "failed", method="password")
        return InvalidCredentials("wrong password")

    await world.db.transact(judge)


async def rehash(world: World, email: str, old_hash: str, password: str) -> None:
    """Keep the same password under today's parameters. When there is no room for it now, the next
    sign-in tries again: a session that stands must not be answered with 503."""
    try:
        new_hash = await world.pool.hash_password(password)
        async with world.db.connection() as connection:
            await account_store.rehash_password(connection, email, old_hash, new_hash)
    except Unavailable as fault:
        _log.info("rehash_put_off", reason=fault.private)


def new(text: str, email: str) -> str:
    """The normal form of a new password. Raises InvalidRequest for one that may not be theirs."""
    if fault := accounts.password_fault(text, email):
        raise _refused(str(fault))
    return read(text, "/new_password")


async def new_hash(world: World, present: str | None, password: str) -> str:
    """The hash of a new password of normal form, where `present` is that of the one it replaces. Raises
    InvalidRequest when the password is the same."""
    if await world.pool.verify_password(present, password):
        raise _refused("unchanged")
    return await world.pool.hash_password(password)


def _refused(fault: str) -> InvalidRequest:
    return InvalidRequest(f"password {fault}", errors=[{"pointer": "/new_password", "code": fault}])


async def _unjudged(world: World, key: bytes) -> None:
    async with world.db.connection() as connection:
        await account_store.password_unjudged(connection, key)
