"""Step-up: a session proves again everything its person has (contract §3)."""

from service.domain.sign_in import Origin, with_factor
from service.errors import InvalidRequest, InvalidToken
from service.flows import passwords, proofs
from service.flows import sessions as session_flow
from service.flows.proofs import Finding, Trial
from service.flows.sessions import Caller, Renewal
from service.stores import accounts as account_store
from service.stores import factors as factor_store
from service.stores.postgres import Connection
from service.world import World


async def reauthenticate(
    world: World, origin: Origin, caller: Caller, password: str, code: str | None
) -> Renewal | None:
    """Check the password and, where there is a second factor, a code. What a browser's session then lives
    on under is returned.

    Wrong secrets answer as at the sign-in, and are counted in the budget of known devices.
    """
    normal = passwords.read(password)
    kind = None if code is None else proofs.read_code(code, None)
    trial = proofs.trial_of("session:reauthentication", caller, origin, stale=InvalidToken)
    async with world.db.connection() as connection:
        person = await account_store.by_id(connection, caller.person)
        spent = await factor_store.spent(connection, caller.person, known=True)
    if person is None:
        raise InvalidToken("the person is gone")
    if person.enrolled and code is None:
        raise InvalidRequest("no code", errors=[{"pointer": "/code", "code": "missing"}])
    async with world.limits.charged("sign_in.network", origin.address):
        await passwords.confirm(world, trial, person, normal)
    if code is None or kind is None or not person.enrolled:
        return await session_flow.acting(world, caller, lambda tx: _by_password(world, tx, caller, trial))

    async def by_code(tx: Connection, right: Finding) -> Renewal | None:
        await proofs.accept(world, tx, trial, right)
        now, amr = world.clock.now(), with_factor(right.kind)
        return await session_flow.renew(world, tx, caller, epoch=caller.epoch, amr=amr, proved_at=now)

    async with world.limits.charged("second_factor.network", origin.address):
        await proofs.require_budget(world, trial, spent.failures, spent.streak)
        finding = await proofs.examine(world, person.id, spent.code_salt, code, kind)
        return await proofs.spend(world, trial, finding, by_code)


async def _by_password(world: World, tx: Connection, caller: Caller, trial: Trial) -> Renewal | None:
    await proofs.record(world, tx, trial, "ok", method="password")
    return await session_flow.renew(world, tx, caller, epoch=caller.epoch, proved_at=world.clock.now())
