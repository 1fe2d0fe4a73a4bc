"""A portal sends somebody to sign in: begun, gone on with after each step, answered once.

RFC 6749 §4.1, OpenID Connect Core 1.0 §3.1.2. What was asked is kept as it was sent and judged again when
the sign-in is done: a client that was changed or disabled meanwhile is what it is now.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from service import crypto
from service.domain import sessions as session_rules
from service.domain.oidc import authorize, progress
from service.domain.oidc.authorize import AuthorizationRequest, Refusal
from service.domain.oidc.clients import Client, is_id, redirect_fits
from service.domain.oidc.progress import Decision, Owed
from service.domain.sign_in import Origin
from service.errors import InvalidRequest
from service.flows import audit, tokens
from service.flows import sessions as session_flow
from service.flows.oidc.par import opened
from service.flows.sessions import Caller
from service.keyring import BadToken
from service.stores import accounts as account_store
from service.stores import clients as client_store
from service.stores import codes as code_store
from service.stores import sessions as session_store
from service.stores.codes import Underway
from service.stores.postgres import Connection
from service.world import World

_NOBODY = Refusal("login_required", "nobody is signed in")


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that is kept under this handle; a `silent` one may show nothing (`prompt=none`)."""

    handle: str
    silent: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is sent at its own address: a code, or why there is none (RFC 6749 §4.1.2)."""

    redirect_uri: str
    response_mode: authorize.ResponseMode
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The person has something to do first. `client` and `scopes` are what a consent is about."""

    owed: Owed
    login_hint: str | None
    client: Client
    scopes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """It was answered already, by another tab or an earlier load of the same page."""


Progress: TypeAlias = Answer | Waiting | Answered


async def begin(world: World, browser: str, sent: authorize.Parameters) -> Begun | Answer:
    """Keep a request until somebody has signed in. Raises InvalidRequest, for a page and never a redirect,
    unless client and redirect URI are proved; everything else that is wrong goes back to the client."""
    parameters = await opened(world, sent)
    client, redirect_uri = await _proved(world, parameters)
    judged = _judged(world, parameters, client, redirect_uri)
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
    return Begun(handle, "none" in judged.prompt)


async def go_on(world: World, origin: Origin, browser: str, handle: str, caller: Caller | None) -> Progress:
    """Whatever the request still needs, or its one answer. Raises InvalidRequest for a request of another
    browser, or one that has expired."""
    found = await _underway(world, browser, handle)
    if found.answered:
        return Answered()
    client, redirect_uri = await _proved(world, found.parameters)
    judged = _judged(world, found.parameters, client, redirect_uri)
    verdict = judged if isinstance(judged, Refusal) else await _verdict(world, judged, client, caller, found)
    if isinstance(verdict, Owed) and not isinstance(judged, Refusal):
        return Waiting(verdict, judged.login_hint, client, judged.consent)

    async def act(tx: Connection) -> Progress:
        if caller is not None:
            held = await account_store.hold(tx, caller.person)
            if not held.stands(caller.epoch) or await session_store.living(tx, caller.session) is None:
                raise InvalidRequest("the session ended meanwhile")
            allowed = await code_store.consented(tx, caller.person, client.id)
            if not isinstance(judged, Refusal) and verdict is None and not _covers(allowed, judged, client):
                # Taken back since it was read.
                return Waiting(Owed.CONSENT, judged.login_hint, client, judged.consent)
        if not await code_store.answer(tx, crypto.sha256(handle), crypto.sha256(browser), world.clock.now()):
            return Answered()
        if isinstance(verdict, Refusal) or isinstance(judged, Refusal) or caller is None:
            refusal = verdict if isinstance(verdict, Refusal) else _NOBODY
            return _refused(world, redirect_uri, found.parameters, refusal)
        return await _code(world, tx, origin, judged, client, caller)

    return await world.db.transact(act)


def _covers(allowed: Sequence[str], asked: AuthorizationRequest, client: Client) -> bool:
    return client.first_party or set(asked.consent) <= set(allowed)


async def decide(
    world: World, browser: str, handle: str, caller: Caller, decision: Decision, shown: Collection[str]
) -> None:
    """Keep what the person says to a request, in this session alone; an allowed third party is remembered for
    the scopes that the page has `shown`. Raises InvalidRequest for a request of another browser, or one that
    has expired, and as `sessions.acting` does."""
    found = await _underway(world, browser, handle)
    client, redirect_uri = await _proved(world, found.parameters)
    judged = _judged(world, found.parameters, client, redirect_uri)

    async def act(tx: Connection) -> None:
        digests = crypto.sha256(handle), crypto.sha256(browser)
        await code_store.decide(tx, *digests, caller.session, decision)
        if decision == "allow" and not client.first_party and isinstance(judged, AuthorizationRequest):
            scopes = [one for one in judged.consent if one in shown]
            await code_store.consent(tx, caller.person, client.id, scopes, world.clock.now())

    await session_flow.acting(world, caller, act)


async def _underway(world: World, browser: str, handle: str) -> Underway:
    async with world.db.connection() as connection:
        found = await code_store.underway(connection, crypto.sha256(handle), crypto.sha256(browser))
    if found is None or (found.expires_at <= world.clock.now() and not found.answered):
        raise InvalidRequest("no such request of this browser, or it has expired")
    return found


async def _verdict(
    world: World, asked: AuthorizationRequest, client: Client, caller: Caller | None, found: Underway
) -> progress.Verdict:
    signed_in: progress.SignedIn | None = None
    if caller is not None:
        async with world.db.connection() as connection:
            person = await account_store.by_id(connection, caller.person)
            allowed = await code_store.consented(connection, caller.person, client.id)
        if person is not None:
            signed_in = progress.SignedIn(
                caller.session, person.sub, caller.amr, caller.auth_time, person.enrolled, allowed
            )
    return progress.judge(
        progress.Asked(
            asked,
            client,
            found.created_at,
            asked.id_token_hint and str(tokens.read_id_token(world, asked.id_token_hint)["sub"]),
            found.chosen_by,
            found.allowed_by,
            found.denied_by,
        ),
        signed_in,
        world.clock.now(),
    )


def _judged(
    world: World, parameters: authorize.Parameters, client: Client, redirect_uri: str
) -> AuthorizationRequest | Refusal:
    """The request as it is read, and a hint that is one of our ID tokens."""
    judged = authorize.judge(parameters, client, redirect_uri)
    if isinstance(judged, AuthorizationRequest) and judged.id_token_hint is not None:
        try:
            tokens.read_id_token(world, judged.id_token_hint)
        except BadToken:
            return Refusal("invalid_request", "id_token_hint is not an ID token of this service")
    return judged


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
    await audit.record(
        world,
        tx,
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
