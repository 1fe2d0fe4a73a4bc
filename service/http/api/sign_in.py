"""`/v1/sign-in`: the steps of a sign-in (contract §3)."""

from litestar import Router, post
from litestar.params import JSONBody

from service.errors import (
    EnrolmentReplaced,
    InvalidCredentials,
    InvalidPreAuthToken,
    NotFound,
    RateLimited,
    UnauthorizedClient,
    Unavailable,
)
from service.flows import sign_in as flow
from service.http.api import bodies
from service.http.api.documented import BODY, CODE, problems
from service.http.browser import Asking
from service.http.guards import Admission, frontend, origin_of, world_of


@post(
    "",
    status_code=200,
    operation_id="signIn",
    summary="The first step: e-mail and password",
    responses=problems(*BODY, UnauthorizedClient, InvalidCredentials, RateLimited, Unavailable),
    middleware=[Admission()],
)
async def sign_in(request: Asking, data: JSONBody[bodies.SignIn]) -> bodies.SignInAnswer:
    """Answers the same, at the same time and cost, for a wrong password, an unknown address and a
    disabled person."""
    client = frontend(data.client_id)
    outcome = await flow.sign_in(
        world_of(request),
        origin_of(request),
        data.email,
        data.password,
        client,
        data.device_token,
    )
    return bodies.sign_in_answer(outcome)


@post(
    "/second-factor",
    status_code=200,
    operation_id="secondFactor",
    summary="The second step: a TOTP code or a backup code",
    responses=problems(*BODY, UnauthorizedClient, InvalidPreAuthToken, *CODE, Unavailable),
)
async def second_factor(request: Asking, data: JSONBody[bodies.SecondFactor]) -> bodies.SignInAnswer:
    client = frontend(data.client_id)
    outcome = await flow.second_factor(
        world_of(request),
        origin_of(request),
        data.pre_auth_token,
        data.code,
        data.method,
        client,
    )
    return bodies.sign_in_answer(outcome)


@post(
    "/enrolment",
    status_code=200,
    operation_id="startForcedEnrolment",
    summary="Forced enrolment: begin it",
    responses=problems(*BODY, UnauthorizedClient, InvalidPreAuthToken, Unavailable),
)
async def start_enrolment(
    request: Asking, data: JSONBody[bodies.StartEnrolment]
) -> bodies.PendingAuthenticator:
    client = frontend(data.client_id)
    enrolment = await flow.start_enrolment(
        world_of(request), origin_of(request), data.pre_auth_token, data.name, client
    )
    return bodies.PendingAuthenticator.of(enrolment)


@post(
    "/enrolment/confirm",
    status_code=200,
    operation_id="confirmForcedEnrolment",
    summary="Forced enrolment: the first code turns it on",
    responses=problems(
        *BODY, UnauthorizedClient, InvalidPreAuthToken, *CODE, NotFound, EnrolmentReplaced, Unavailable
    ),
)
async def confirm_enrolment(request: Asking, data: JSONBody[bodies.ConfirmEnrolment]) -> bodies.SignInAnswer:
    client = frontend(data.client_id)
    outcome = await flow.confirm_enrolment(
        world_of(request),
        origin_of(request),
        data.pre_auth_token,
        data.id,
        data.code,
        client,
    )
    return bodies.sign_in_answer(outcome)


@post(
    "/email-verification",
    status_code=200,
    operation_id="verifyEmailInSignIn",
    summary="Send the verification letter again, or go on once verified",
    responses=problems(*BODY, UnauthorizedClient, InvalidPreAuthToken, Unavailable),
)
async def verify_email(request: Asking, data: JSONBody[bodies.VerifyEmail]) -> bodies.SignInAnswer:
    client = frontend(data.client_id)
    outcome = await flow.verify_email(world_of(request), origin_of(request), data.pre_auth_token, client)
    return bodies.sign_in_answer(outcome)


@post(
    "/password",
    status_code=200,
    operation_id="changePasswordInSignIn",
    summary="Set the new password that is owed",
    responses=problems(*BODY, UnauthorizedClient, InvalidPreAuthToken, Unavailable),
)
async def change_password(request: Asking, data: JSONBody[bodies.ChangePassword]) -> bodies.SignInAnswer:
    client = frontend(data.client_id)
    outcome = await flow.change_password(
        world_of(request),
        origin_of(request),
        data.pre_auth_token,
        data.new_password,
        client,
    )
    return bodies.sign_in_answer(outcome)


router = Router(
    "/sign-in",
    route_handlers=[
        sign_in,
        second_factor,
        start_enrolment,
        confirm_enrolment,
        verify_email,
        change_password,
    ],
    tags=["sign-in"],
)
