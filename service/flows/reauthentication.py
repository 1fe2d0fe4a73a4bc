"""Step-up: a session proves again everything its person has (contract §3)."""

from service.domain.sign_in import Origin, with_factor
from service.errors import DoorwardError, InvalidCredentials, InvalidRequest, InvalidToken
from service.flows import proofs
from service.flows import sessions as session_flow
from service.flows.proofs import Trial
from service.flows.sessions import Caller
from service.stores import accounts as account_store
from service.stores import audit as audit_store
from service.stores import factors as factor_store
from service.stores.postgres import Connection
from service.world import World

_ACT = "session:reauthentication"


async def reauthenticate(
    world: World, origin: Origin, caller: Caller, password: str, code: str | None
) -> None:
    """Check the password and, where there is a second factor, a code. Wrong secrets answer as at the
    sign-in, and are counted in the budget of known devices."""
    normal, now = proofs.read_password(password), world.clock.now()
    async with world.limits.charged("sign_in.network", origin.address):
        async with world.db.connection() as connection:
            person = await account_store.by_id(connection, caller.person)
            spent = await factor_store.spent(connection, caller.person, known=True)
        if person is None:
            raise InvalidToken("the person is gone")
        if person.enrolled and code is None:
            raise InvalidRequest("no code", errors=[{"pointer": "/code", "code": "missing"}])
        key = proofs.password_key(world, person.email, known=True)
        right = await proofs.examine_password(world, key, person.password_hash, normal)

        async def judge_password(tx: Connection) -> DoorwardError | None:
            if right:
                await account_store.password_held(tx, key)
                return None
            await account_store.password_failed(tx, key, now)
            await _record(world, tx, caller, origin, "failed")
            return InvalidCredentials("wrong password")

        if refusal := await world.db.transact(judge_password):
            raise refusal
        if code is None or not person.enrolled:
            await world.db.transact(lambda tx: _strengthen(world, tx, caller, origin))
            return
        proofs.require_budget(world, spent.failures, spent.streak)
        finding = await proofs.examine(world, person.id, spent.code_salt, code, None)
        trial = Trial(
            _ACT, person.id, caller.epoch, True, origin, caller.client, InvalidToken, session=caller.session
        )

        async def judge_code(tx: Connection) -> DoorwardError | None:
            settled = await proofs.settle(world, tx, trial, finding)
            if isinstance(settled, DoorwardError):
                return settled
            await proofs.accept(world, tx, trial, settled)
            await session_flow.prove_anew(world, tx, caller, with_factor(settled.kind), caller.epoch)
            return None

        if refusal := await world.db.transact(judge_code):
            raise refusal
        await proofs.remember(world, finding)


async def _strengthen(world: World, tx: Connection, caller: Caller, origin: Origin) -> None:
    held = await account_store.hold(tx, caller.person)
    if not held.stands(caller.epoch):
        raise InvalidToken("the person's epoch moved on")
    await session_flow.prove_anew(world, tx, caller, caller.amr, caller.epoch)
    await _record(world, tx, caller, origin, "ok")


async def _record(
    world: World, tx: Connection, caller: Caller, origin: Origin, result: audit_store.Result
) -> None:
    await audit_store.record(
        tx,
        world.row_id(),
        world.clock.now(),
        _ACT,
        result,
        origin,
        person=caller.person,
        client=caller.client,
        session=caller.session,
    )
