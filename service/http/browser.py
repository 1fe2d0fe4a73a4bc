"""What a browser holds of ours: its cookies, and the proof that a request comes from our own page."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from litestar import Request
from litestar.datastructures import Cookie, State

from service import crypto
from service.errors import CsrfFailed
from service.keyring import Kind, b64url
from service.world import World

Asking: TypeAlias = Request[Any, Any, State]

#: The session; the sign-in under way (its pre-auth token); the device token; a random name of this browser,
#: to which forms are bound; and what the next page shall say.
Held: TypeAlias = Literal["session", "sign-in", "device", "browser", "notice"]
_NAME = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def held(request: Asking, what: Held) -> str | None:
    """The value of one of our cookies, as the browser sent it."""
    return request.cookies.get(_name(_world(request), what))


def give(request: Asking, what: Held, value: str, *, seconds: int | None = None) -> Cookie:
    """One of our cookies; without `seconds` it goes with the browser."""
    return Cookie(
        _name(_world(request), what),
        path="/",
        value=value,
        max_age=seconds,
        secure=_is_secure(_world(request)),
        httponly=True,
        samesite="lax",
    )


def take(request: Asking, *what: Held) -> Sequence[Cookie]:
    """Take cookies away."""
    return [give(request, one, "", seconds=0) for one in what]


def renewed(request: Asking, cookie: str | None) -> Sequence[Cookie]:
    """The session's new cookie, where an act gave one."""
    return [session_cookie(request, cookie)] if cookie else []


def session_cookie(request: Asking, value: str) -> Cookie:
    return give(request, "session", value, seconds=_world(request).settings.tokens.cookie_absolute_seconds)


def browser_name(request: Asking) -> tuple[str, bool]:
    """The random name of this browser, and whether it is new and has to be given."""
    name = held(request, "browser")
    if name is not None and _NAME.fullmatch(name):
        return name, False
    return b64url(_world(request).entropy.token(32)), True


def csrf_token(world: World, browser: str, session: UUID | None) -> str:
    """What a form of ours carries: it fits this browser and this session only, and no other site can read
    or make it. An old session's form fails, so that nothing is done in the name of whoever came after."""
    key = world.active(Kind.TOKEN).material
    return b64url(crypto.digest(key, "csrf", _bound(browser, session)))


def require_own(request: Asking, token: str, session: UUID | None) -> None:
    """Refuse what another site may have sent (CsrfFailed): by what the browser says of its origin, where it
    says something, and always by the token."""
    world = _world(request)
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    if site != "same-origin" or (origin is not None and origin not in _own_origins(world)):
        raise CsrfFailed("sent by another site")
    name = held(request, "browser")
    bound = _bound(name or "", session)
    keys = world.keyring.all(Kind.TOKEN) if name else []
    if not any(
        crypto.same(b64url(crypto.digest(key.material, "csrf", bound)).encode(), token.encode())
        for key in keys
    ):
        raise CsrfFailed("the form is not this browser's, or of another session")


def seal_notice(world: World, browser: str, notice: Mapping[str, Any]) -> str:
    """What the next page shall say, so that only this browser's next page can say it."""
    record = world.sealer.seal(json.dumps(notice).encode(), world.entropy.token(12), "notice", browser)
    return b64url(record)


def open_notice(request: Asking) -> Mapping[str, Any]:
    """What the last answer wanted this page to say, or nothing."""
    name, sealed = held(request, "browser"), held(request, "notice")
    if not name or not sealed:
        return {}
    try:
        record = crypto.from_b64url(sealed)
        notice: Mapping[str, Any] = json.loads(_world(request).sealer.open(record, "notice", name))
    except (ValueError, crypto.SealBroken):
        return {}
    return notice


def _bound(browser: str, session: UUID | None) -> bytes:
    return f"{browser}\n{session or ''}".encode()


def _own_origins(world: World) -> Sequence[str]:
    issuer = world.settings.issuer
    # `doorward dev` answers to both names of this machine.
    return [issuer, issuer.replace("127.0.0.1", "localhost")] if world.settings.dev else [issuer]


def _name(world: World, what: Held) -> str:
    stem = "__Host-doorward" if _is_secure(world) else "doorward-dev"
    return stem if what == "session" else f"{stem}-{what}"


def _is_secure(world: World) -> bool:
    return urlsplit(world.settings.issuer).scheme == "https"


def _world(request: Asking) -> World:
    world: World = request.app.state.world
    return world
