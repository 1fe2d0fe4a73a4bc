"""Step-up: a session proves again everything its person has (contract §3)."""

from collections.abc import Sequence

from service.domain.sign_in import Origin, with_factor
from service.errors import DoorwardError, InvalidCredentials, InvalidRequest, InvalidToken
from service.flows import proofs
from service.flows.sessions import Caller
from service.stores import accounts as account_store
from service.stores import audit as audit_store
from service.stores import factors as factor_store
from service.stores import sessions as session_store
from service.stores.postgres import Connection, Undo
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
            await audit_store.record(
                tx,
                world.row_id(),
                now,
                _ACT,
                "failed",
                origin,
                person=person.id,
                client=caller.client,
                session=caller.session,
            )
            return InvalidCredentials("wrong password")

        if refusal := await world.db.transact(judge_password):
            raise refusal
        if code is None or not person.enrolled:
            await world.db.transact(lambda tx: _strengthen(world, tx, origin, caller, caller.amr))
            return
        proofs.require_budget(world, spent.failures, spent.streak)
        finding = await proofs.examine(world, person.id, spent.code_salt, code, None)

        async def judge_code(tx: Connection) -> DoorwardError | None:
            nonlocal finding
            counted = await factor_store.admit(
                tx, person.id, world.budget, known=True, failed=not finding.right, now=now
            )
            if counted is None:
                return await proofs.over_budget(world, tx, person.id, known=True)
            if not counted.stands(caller.epoch):
                raise Undo(InvalidToken("the person's epoch moved on"))
            failures = counted.failures
            if finding.right:
                finding = await proofs.spend(tx, person.id, finding, now)
                if not finding.right:
                    failures = await factor_store.count_failure(tx, person.id, known=True, now=now)
            if not finding.right:
                await proofs.note_failure(
                    world,
                    tx,
                    _ACT,
                    person.id,
                    finding,
                    failures,
                    origin,
                    client=caller.client,
                    session=caller.session,
                )
                return finding.refusal(proofs.left(world, failures), now)
            await proofs.note_success(
                world, tx, _ACT, person.id, finding, origin, caller.client, session=caller.session
            )
            if not await session_store.strengthen(
                tx, caller.session, auth_time=now, amr=with_factor(finding.kind), epoch=caller.epoch
            ):
                raise Undo(InvalidToken("the session ended meanwhile"))
            return None

        refusal = await world.db.transact(judge_code)
        if finding.right:
            await proofs.remember(world, finding)
        if refusal:
            raise refusal


async def _strengthen(
    world: World, tx: Connection, origin: Origin, caller: Caller, amr: Sequence[str]
) -> None:
    now = world.clock.now()
    held = await account_store.hold(tx, caller.person)
    if not held.stands(caller.epoch) or not await session_store.strengthen(
        tx, caller.session, auth_time=now, amr=amr, epoch=caller.epoch
    ):
        raise InvalidToken("the session ended meanwhile")
    await audit_store.record(
        tx,
        world.row_id(),
        now,
        _ACT,
        "ok",
        origin,
        person=caller.person,
        client=caller.client,
        session=caller.session,
    )
