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
from service.domain.oidc.clients import Client
from service.domain.oidc.progress import Decision, Owed
from service.domain.sign_in import Origin
from service.errors import InvalidRequest
from service.flows import audit
from service.flows import sessions as session_flow
from service.flows.oidc import requests
from service.flows.sessions import Caller
from service.stores import accounts as account_store
from service.stores import clients as client_store
from service.stores import codes as code_store
from service.stores.codes import Underway
from service.stores.postgres import Connection
from service.world import World


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
    """The person has something to do first. `somebody` is signed in, though perhaps not who is wanted;
    `client` and `scopes` are what a consent is about."""

    owed: Owed
    somebody: bool
    login_hint: str | None
    client: Client
    scopes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Ready:
    """Nothing is owed any more: what was asked, by whom, and who answers."""

    asked: AuthorizationRequest
    client: Client
    caller: Caller


@dataclass(frozen=True, slots=True)
class Changed:
    """Between the look and the act the session ended (then it is nobody's) or the consent was taken back: all
    is judged again, for whoever is there now."""

    caller: Caller | None


@dataclass(frozen=True, slots=True)
class Answered:
    """It was answered already, by another tab or an earlier load of the same page."""


Progress: TypeAlias = Answer | Waiting | Answered


async def begin(world: World, browser: str, sent: authorize.Parameters) -> Begun | Answer:
    """Keep a request until somebody has signed in. Raises InvalidRequest, for a page and never a redirect,
    unless client and redirect URI are proved; everything else that is wrong goes back to the client."""
    parameters = await requests.opened(world, sent)
    client, redirect_uri = await requests.proved(world, parameters)
    judged = requests.judged(world, parameters, client, redirect_uri)
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
    client, redirect_uri = await requests.proved(world, found.parameters)
    verdict = await _verdict(world, found, client, redirect_uri, caller)
    if isinstance(verdict, Waiting):
        return verdict

    async def act(tx: Connection) -> Progress | Changed:
        if caller is not None and not await session_flow.stands(tx, caller):
            return Changed(None)
        if isinstance(verdict, Ready) and not await _is_allowed(tx, verdict):
            return Changed(caller)
        if not await code_store.answer(tx, crypto.sha256(handle), crypto.sha256(browser), world.clock.now()):
            return Answered()
        if isinstance(verdict, Ready):
            return await _code(world, tx, origin, verdict)
        return _refused(world, redirect_uri, found.parameters, verdict)

    outcome: Progress | Changed = await world.db.transact(act)
    if isinstance(outcome, Changed):
        return await go_on(world, origin, browser, handle, outcome.caller)
    return outcome


async def takes_trust(world: World, browser: str, handle: str) -> bool:
    """Whether the password in a trusted browser can answer the request. It spares the person a second form;
    what the session is worth is judged when the request goes on."""
    try:
        found = await _underway(world, browser, handle)
        client, redirect_uri = await requests.proved(world, found.parameters)
    except InvalidRequest:
        return True
    asked = requests.judged(world, found.parameters, client, redirect_uri)
    return isinstance(asked, Refusal) or progress.takes_trust(asked)


async def decide(
    world: World, browser: str, handle: str, caller: Caller, decision: Decision, shown: Collection[str]
) -> None:
    """Keep what the person says to a request, in this session alone; an allowed third party is remembered for
    the scopes that the page has `shown`. Raises InvalidRequest for a request of another browser, or one that
    has expired, and as `sessions.acting` does."""
    found = await _underway(world, browser, handle)
    client, redirect_uri = await requests.proved(world, found.parameters)
    judged = requests.judged(world, found.parameters, client, redirect_uri)

    async def act(tx: Connection) -> None:
        digests = crypto.sha256(handle), crypto.sha256(browser)
        waits = await code_store.decide(tx, *digests, caller.session, decision)
        if not waits or client.first_party or decision != "allow":
            # A form that is sent again, after its answer, must not bring back what was taken back meanwhile.
            return
        if isinstance(judged, AuthorizationRequest):
            scopes = [one for one in judged.consent if one in shown]
            await code_store.consent(tx, caller.person, client.id, scopes, world.clock.now())

    await session_flow.acting(world, caller, act)


async def asking(world: World, browser: str, handle: str) -> Client | None:
    """Whose request stands under this handle in this browser, answered and expired ones too; None for a
    handle that is made up or another browser's, and where the client is disabled. Raises Unavailable."""
    async with world.db.connection() as connection:
        found = await code_store.underway(connection, crypto.sha256(handle), crypto.sha256(browser))
        if found is None:
            return None
        client = await client_store.serving(connection, found.client_id, world.clock.now())
    return client.client if client else None


async def _underway(world: World, browser: str, handle: str) -> Underway:
    async with world.db.connection() as connection:
        found = await code_store.underway(connection, crypto.sha256(handle), crypto.sha256(browser))
    if found is None or (found.expires_at <= world.clock.now() and not found.answered):
        raise InvalidRequest("no such request of this browser, or it has expired")
    return found


async def _verdict(
    world: World, found: Underway, client: Client, redirect_uri: str, caller: Caller | None
) -> Waiting | Refusal | Ready:
    """What the request needs of whoever is signed in, why it is refused, or all that its code is made of."""
    asked = requests.judged(world, found.parameters, client, redirect_uri)
    if isinstance(asked, Refusal):
        return asked
    said = progress.Said(found.created_at, asked.hinted, found.chosen_by, found.allowed_by, found.denied_by)
    owed = progress.judge(asked, client, said, await _signed_in(world, caller, client), world.clock.now())
    if isinstance(owed, Refusal):
        return owed
    if owed is not None or caller is None:
        return Waiting(owed or Owed.SIGN_IN, caller is not None, asked.login_hint, client, asked.consent)
    return Ready(asked, client, caller)


async def _signed_in(world: World, caller: Caller | None, client: Client) -> progress.SignedIn | None:
    if caller is None:
        return None
    async with world.db.connection() as connection:
        person = await account_store.by_id(connection, caller.person)
        allowed = await code_store.consented(connection, caller.person, client.id)
    if person is None:
        return None
    return progress.SignedIn(
        caller.session, person.sub, caller.amr, caller.auth_time, person.enrolled, allowed
    )


async def _is_allowed(tx: Connection, ready: Ready) -> bool:
    """Whether a third party has the person's word for all it would get; their row is held."""
    allowed = await code_store.consented(tx, ready.caller.person, ready.client.id)
    return ready.client.first_party or set(ready.asked.consent) <= set(allowed)


async def _code(world: World, tx: Connection, origin: Origin, ready: Ready) -> Answer:
    asked, client, caller = ready.asked, ready.client, ready.caller
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


def _refused(world: World, redirect_uri: str, parameters: authorize.Parameters, refusal: Refusal) -> Answer:
    told = {"error": refusal.error, "error_description": refusal.description}
    mode = authorize.response_mode(parameters)
    return Answer(redirect_uri, mode, _stamped(world, told, authorize.state(parameters)))


def _stamped(world: World, parameters: Mapping[str, str], state: str | None) -> Mapping[str, str]:
    """With the client's state, unchanged, and with who answers (RFC 9207 §2)."""
    carried = {"state": state} if state is not None else {}
    return {**parameters, **carried, "iss": world.settings.issuer}
