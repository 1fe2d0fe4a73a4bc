"""`/v1/me/two-factor`: one's own second factor (contract §4)."""

from uuid import UUID

from litestar import Response, Router, delete, get, patch, post
from litestar.params import FromPath, JSONBody

from service.errors import (
    BackupCodesReplaced,
    Conflict,
    EmailNotVerified,
    EnrolmentReplaced,
    InvalidCredentials,
    LastAuthenticator,
    NoAuthenticator,
    NotFound,
    ReauthenticationRequired,
    TooManyAuthenticators,
    TwoFactorRequiredByPolicy,
)
from service.flows import two_factor as flow
from service.http.api import account_bodies, bodies
from service.http.api.documented import ACTING, BEARER, CALLER, CODE, BodyOptional, problems
from service.http.browser import Asking, renewed
from service.http.guards import caller_of, origin_of, world_of


@post(
    "/authenticators",
    status_code=201,
    operation_id="startAuthenticator",
    summary="Begin to add an authenticator (step-up)",
    operation_class=BodyOptional,
    responses=problems(*ACTING, ReauthenticationRequired, Conflict, EmailNotVerified, TooManyAuthenticators),
)
async def start(
    request: Asking, data: JSONBody[account_bodies.StartAuthenticator | None] = None
) -> bodies.PendingAuthenticator:
    caller = await caller_of(request, "account")
    # Without a name it gets a free one; whoever gives a name gets that one or is told that it is taken.
    name = data.name if data and "name" in data.model_fields_set else None
    return bodies.PendingAuthenticator.of(
        await flow.start(world_of(request), origin_of(request), caller, name)
    )


@get(
    "/authenticators/{authenticator_id:uuid}",
    operation_id="getPendingAuthenticator",
    summary="A pending authenticator again, for the session that started it",
    responses=problems(*CALLER, NotFound, EnrolmentReplaced),
)
async def pending(request: Asking, authenticator_id: FromPath[UUID]) -> bodies.PendingAuthenticator:
    caller = await caller_of(request, "account")
    return bodies.PendingAuthenticator.of(await flow.pending(world_of(request), caller, authenticator_id))


@post(
    "/authenticators/{authenticator_id:uuid}/confirm",
    status_code=200,
    operation_id="confirmAuthenticator",
    summary="The first code turns an authenticator on",
    responses=problems(*ACTING, *CODE, NotFound, Conflict, EnrolmentReplaced),
)
async def confirm(
    request: Asking, authenticator_id: FromPath[UUID], data: JSONBody[account_bodies.ConfirmAuthenticator]
) -> Response[account_bodies.AuthenticatorConfirmed]:
    """The other sessions end. With the first authenticator come five backup codes, shown this once."""
    caller = await caller_of(request, "account")
    turned_on = await flow.confirm(world_of(request), origin_of(request), caller, authenticator_id, data.code)
    body = account_bodies.AuthenticatorConfirmed(
        authenticator=account_bodies.Authenticator(id=turned_on.authenticator, name=turned_on.name),
        backup_codes=bodies.BackupCodes.of(turned_on.codes) if turned_on.codes else None,
    )
    return Response(body, cookies=renewed(request, turned_on.renewal))


@patch(
    "/authenticators/{authenticator_id:uuid}",
    status_code=204,
    operation_id="renameAuthenticator",
    summary="Give an authenticator another name",
    responses=problems(*ACTING, NotFound, Conflict),
)
async def rename(
    request: Asking, authenticator_id: FromPath[UUID], data: JSONBody[account_bodies.RenameAuthenticator]
) -> None:
    caller = await caller_of(request, "account")
    await flow.rename(world_of(request), origin_of(request), caller, authenticator_id, data.name)


@delete(
    "/authenticators/{authenticator_id:uuid}",
    status_code=204,
    operation_id="removeAuthenticator",
    summary="Remove an authenticator, but not the last one (step-up)",
    responses=problems(*ACTING, ReauthenticationRequired, NotFound, Conflict, LastAuthenticator),
)
async def remove(request: Asking, authenticator_id: FromPath[UUID]) -> Response[None]:
    """The other sessions end."""
    caller = await caller_of(request, "account")
    cookie = await flow.remove(world_of(request), origin_of(request), caller, authenticator_id)
    return Response(None, status_code=204, cookies=renewed(request, cookie))


@post(
    "/backup-codes",
    status_code=200,
    operation_id="regenerateBackupCodes",
    summary="A new set of backup codes; the old one is dead (step-up)",
    responses=problems(*ACTING, ReauthenticationRequired, Conflict, NoAuthenticator),
)
async def regenerate(request: Asking) -> bodies.BackupCodes:
    caller = await caller_of(request, "account")
    return bodies.BackupCodes.of(await flow.regenerate(world_of(request), origin_of(request), caller))


@post(
    "/backup-codes/saved",
    status_code=204,
    operation_id="sayBackupCodesSaved",
    summary="The person says that they saved their codes",
    responses=problems(*ACTING, Conflict, BackupCodesReplaced),
)
async def say_saved(request: Asking, data: JSONBody[account_bodies.BackupCodesSaved]) -> None:
    """Only of the living set. Until it is said, our pages remind the person."""
    caller = await caller_of(request, "account")
    await flow.say_saved(world_of(request), origin_of(request), caller, data.set_id)


@post(
    "/disable",
    status_code=204,
    operation_id="disableTwoFactor",
    summary="Turn the second factor off, with password and code",
    responses=problems(
        *ACTING, InvalidCredentials, *CODE, Conflict, NoAuthenticator, TwoFactorRequiredByPolicy
    ),
)
async def disable(request: Asking, data: JSONBody[account_bodies.DisableTwoFactor]) -> Response[None]:
    """Password and code (a backup code counts) are its own step-up. The other sessions end."""
    caller = await caller_of(request, "account")
    cookie = await flow.disable(world_of(request), origin_of(request), caller, data.password, data.code)
    return Response(None, status_code=204, cookies=renewed(request, cookie))


router = Router(
    "/me/two-factor",
    route_handlers=[start, pending, confirm, rename, remove, regenerate, say_saved, disable],
    security=BEARER,
    tags=["two-factor"],
)
