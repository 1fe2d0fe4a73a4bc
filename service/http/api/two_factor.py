"""`/v1/me`: oneself and one's second factor (contract §4)."""

from uuid import UUID

from litestar import Router, get, post
from litestar.params import FromPath, JSONBody

from service.flows import two_factor as flow
from service.http.api import bodies
from service.http.api.documented import BEARER, problems
from service.http.guards import Asking, caller_of, origin_of, world_of


@get("", operation_id="getMe", summary="Oneself", responses=problems(401, 403, 503))
async def me(request: Asking) -> bodies.Me:
    caller = await caller_of(request, "account")
    return bodies.Me.of(await flow.overview(world_of(request), caller))


@post(
    "/two-factor/authenticators",
    status_code=201,
    operation_id="startAuthenticator",
    summary="Begin to add an authenticator (step-up)",
    responses=problems(400, 401, 403, 409, 413, 415, 503),
)
async def start(
    request: Asking, data: JSONBody[bodies.StartAuthenticator | None] = None
) -> bodies.PendingAuthenticator:
    caller = await caller_of(request, "account")
    name = (data or bodies.StartAuthenticator()).name
    return bodies.PendingAuthenticator.of(
        await flow.start(world_of(request), origin_of(request), caller, name)
    )


@get(
    "/two-factor/authenticators/{authenticator_id:uuid}",
    operation_id="getPendingAuthenticator",
    summary="A pending authenticator again, for the session that started it",
    responses=problems(401, 403, 404, 409, 503),
)
async def pending(request: Asking, authenticator_id: FromPath[UUID]) -> bodies.PendingAuthenticator:
    caller = await caller_of(request, "account")
    return bodies.PendingAuthenticator.of(await flow.pending(world_of(request), caller, authenticator_id))


@post(
    "/two-factor/authenticators/{authenticator_id:uuid}/confirm",
    status_code=200,
    operation_id="confirmAuthenticator",
    summary="The first code turns an authenticator on",
    responses=problems(400, 401, 403, 404, 409, 413, 415, 429, 503),
)
async def confirm(
    request: Asking, authenticator_id: FromPath[UUID], data: JSONBody[bodies.ConfirmAuthenticator]
) -> bodies.AuthenticatorConfirmed:
    """The other sessions end. With the first authenticator come five backup codes, shown this once."""
    caller = await caller_of(request, "account")
    turned_on = await flow.confirm(world_of(request), origin_of(request), caller, authenticator_id, data.code)
    return bodies.AuthenticatorConfirmed(
        authenticator=bodies.Authenticator(id=turned_on.authenticator, name=turned_on.name),
        backup_codes=bodies.BackupCodes.of(turned_on.codes) if turned_on.codes else None,
    )


@post(
    "/two-factor/backup-codes",
    status_code=200,
    operation_id="regenerateBackupCodes",
    summary="A new set of backup codes; the old one is dead (step-up)",
    responses=problems(401, 403, 409, 503),
)
async def regenerate(request: Asking) -> bodies.BackupCodes:
    caller = await caller_of(request, "account")
    return bodies.BackupCodes.of(await flow.regenerate(world_of(request), origin_of(request), caller))


router = Router(
    "/me",
    route_handlers=[me, start, pending, confirm, regenerate],
    security=BEARER,
    tags=["account"],
)
