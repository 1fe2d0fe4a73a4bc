"""A portal sends somebody to sign in: begun, gone on with after each step, answered once.

RFC 6749 §4.1, OpenID Connect Core 1.0 §3.1.2. What was asked is kept as it was sent and judged again when
the sign-in is done: a client that was changed or disabled meanwhile is what it is now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from service import crypto
from service.domain import sessions as session_rules
from service.domain.oidc import authorize, claims
from service.domain.oidc.authorize import AuthorizationRequest, Refusal
from service.domain.oidc.clients import Client, is_id, redirect_fits
from service.domain.sign_in import Origin
from service.errors import InvalidRequest
from service.flows.sessions import Caller
from service.stores import accounts as account_store
from service.stores import audit as audit_store
from service.stores import clients as client_store
from service.stores import codes as code_store
from service.stores.postgres import Connection
from service.world import World


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that is kept under this handle, and whom the client thinks of."""

    handle: str
    login_hint: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is sent at its own address: a code, or why there is none (RFC 6749 §4.1.2)."""

    redirect_uri: str
    response_mode: authorize.ResponseMode
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SignInOwed:
    """Nobody is signed in, or not as lately or as strongly as was asked for."""

    login_hint: str | None


@dataclass(frozen=True, slots=True)
class ConsentOwed:
    """The person has not allowed this yet, or is to be asked again."""

    client: Client
    scopes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """It was answered already, by another tab or an earlier load of the same page."""


Progress: TypeAlias = Answer | SignInOwed | ConsentOwed | Answered


async def begin(world: World, browser: str, parameters: authorize.Parameters) -> Begun | Answer:
    """Keep a request until somebody has signed in. Raises InvalidRequest, for a page and never a redirect,
    unless client and redirect URI are proved; everything else that is wrong goes back to the client."""
    client, redirect_uri = await _proved(world, parameters)
    judged = authorize.judge(parameters, client, redirect_uri)
    if isinstance(judged, Refusal):
        return _refused(world, redirect_uri, parameters, judged)
    handle = session_rules.opaque(session_rules.REQUEST, world.entropy.token(32))
    now = world.clock.now()
    async with world.db.connection() as connection:
        await code_store.open(
            connection,
            digest=crypto.sha256(handle),
            browser=crypto.sha256(browser),
            client=client.id,
            redirect_uri=redirect_uri,
            parameters=parameters,
            now=now,
            expires_at=now + timedelta(seconds=world.settings.tokens.authorization_request_seconds),
        )
    return Begun(handle, judged.login_hint)


async def go_on(
    world: World,
    origin: Origin,
    browser: str,
    handle: str,
    caller: Caller | None,
    *,
    allowed: bool | None = None,
) -> Progress:
    """Whatever the request still needs, or its one answer. `allowed` is what the person just said to the
    client's wishes. Raises InvalidRequest for a request of another browser, or one that has expired."""
    digest, browser_digest, now = crypto.sha256(handle), crypto.sha256(browser), world.clock.now()
    async with world.db.connection() as connection:
        found = await code_store.underway(connection, digest, browser_digest)
    if found is None or (found.expires_at <= now and not found.answered):
        raise InvalidRequest("no such request of this browser, or it has expired")
    if found.answered:
        return Answered()
    client, redirect_uri = await _proved(world, found.parameters)
    judged = authorize.judge(found.parameters, client, redirect_uri)
    owed = (
        judged
        if isinstance(judged, Refusal)
        else await _owed(world, judged, client, caller, found.created_at)
    )
    if isinstance(owed, ConsentOwed) and allowed is True:
        owed = None
    elif isinstance(owed, ConsentOwed) and allowed is False:
        owed = Refusal("access_denied", "the person said no")
    if isinstance(owed, SignInOwed | ConsentOwed):
        return owed

    async def act(tx: Connection) -> Answer | Answered:
        if caller is not None:
            held = await account_store.hold(tx, caller.person)
            if not held.stands(caller.epoch):
                raise InvalidRequest("the session ended meanwhile")
        if not await code_store.answer(tx, digest, browser_digest, now):
            return Answered()
        if isinstance(owed, Refusal) or isinstance(judged, Refusal) or caller is None:
            refusal = owed if isinstance(owed, Refusal) else Refusal("login_required", "nobody is signed in")
            return _refused(world, redirect_uri, found.parameters, refusal)
        if not client.first_party:
            await code_store.consent(tx, caller.person, client.id, judged.scope, now)
        return await _code(world, tx, origin, judged, client, caller)

    return await world.db.transact(act)


async def _owed(
    world: World, asked: AuthorizationRequest, client: Client, caller: Caller | None, begun_at: datetime
) -> SignInOwed | ConsentOwed | Refusal | None:
    """What has to happen before a code may be given; with `prompt=none` nothing may, and that is said."""
    silent = "none" in asked.prompt
    if caller is None or _too_old(asked, caller, begun_at, world.clock.now()):
        refusal = Refusal("login_required", "somebody has to sign in")
        return refusal if silent else SignInOwed(asked.login_hint)
    async with world.db.connection() as connection:
        person = await account_store.by_id(connection, caller.person)
        allowed = await code_store.consented(connection, caller.person, client.id)
    wanted = claims.subject_wanted(asked.claims)
    if person is None or (wanted is not None and wanted != str(person.sub)):
        return Refusal("login_required", "another person is signed in than was asked for")
    essential = claims.acr_essential(asked.claims)
    if essential and session_rules.acr(caller.amr) not in essential:
        return Refusal("unmet_authentication_requirements", "the authentication context cannot be reached")
    if client.first_party and "consent" not in asked.prompt:
        return None
    if "consent" in asked.prompt or not set(asked.scope) <= set(allowed):
        refusal = Refusal("consent_required", "the person has not allowed this")
        return refusal if silent else ConsentOwed(client, asked.scope)
    return None


def _too_old(asked: AuthorizationRequest, caller: Caller, begun_at: datetime, now: datetime) -> bool:
    """Whether a sign-in is older than the request allows. One made since the request began is always
    good: whoever was sent to the form and came back has done what was asked."""
    if caller.auth_time >= begun_at.replace(microsecond=0):
        return False
    if asked.prompt & {"login", "select_account"}:
        return True
    return asked.max_age is not None and caller.auth_time + timedelta(seconds=asked.max_age) <= now


async def _code(
    world: World,
    tx: Connection,
    origin: Origin,
    asked: AuthorizationRequest,
    client: Client,
    caller: Caller,
) -> Answer:
    now = world.clock.now()
    code = session_rules.opaque(session_rules.CODE, world.entropy.token(32))
    await code_store.add(
        tx,
        digest=crypto.sha256(code),
        client=client.id,
        redirect_uri=asked.redirect_uri,
        session=caller.session,
        person=caller.person,
        scope=" ".join(asked.scope),
        nonce=asked.nonce,
        code_challenge=asked.code_challenge,
        claims=asked.claims,
        now=now,
        expires_at=now + timedelta(seconds=world.settings.tokens.code_seconds),
    )
    await audit_store.record(
        tx,
        world.row_id(),
        now,
        "client:authorization",
        "ok",
        origin,
        person=caller.person,
        client=client.id,
        session=caller.session,
        scope=" ".join(asked.scope),
    )
    return Answer(asked.redirect_uri, asked.response_mode, _stamped(world, {"code": code}, asked.state))


async def _proved(world: World, parameters: authorize.Parameters) -> tuple[Client, str]:
    """The client and the redirect URI, once both are certain: one value each, a living client, an address
    of its own. Nothing is redirected before (RFC 9700 §4.11.2)."""
    named, wanted = parameters.get("client_id", ()), parameters.get("redirect_uri", ())
    if len(named) != 1 or len(wanted) != 1 or not is_id(named[0]):
        raise InvalidRequest("client_id and redirect_uri have to stand once each")
    async with world.db.connection() as connection:
        registered = await client_store.by_id(connection, named[0], world.clock.now())
    if registered is None or registered.client.disabled:
        raise InvalidRequest("no such client")
    if not redirect_fits(registered.client, wanted[0]):
        raise InvalidRequest("the redirect URI is not one of the client's")
    return registered.client, wanted[0]


def _refused(world: World, redirect_uri: str, parameters: authorize.Parameters, refusal: Refusal) -> Answer:
    told = {"error": refusal.error, "error_description": refusal.description}
    mode = authorize.response_mode(parameters)
    return Answer(redirect_uri, mode, _stamped(world, told, authorize.state(parameters)))


def _stamped(world: World, parameters: Mapping[str, str], state: str | None) -> Mapping[str, str]:
    """With the client's state, unchanged, and with who answers (RFC 9207 §2)."""
    carried = {"state": state} if state is not None else {}
    return {**parameters, **carried, "iss": world.settings.issuer}
