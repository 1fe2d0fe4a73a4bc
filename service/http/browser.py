"""What a browser holds of ours: its cookies, and the proof that a request comes from our own page."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import Cookie, State

from service import crypto
from service.errors import CsrfFailed
from service.flows.sessions import Renewal
from service.keyring import Kind, b64url
from service.world import World

Asking: TypeAlias = Request[Any, Any, State]

#: The session; the sign-in under way (its pre-auth token); the device token; the trust token; a random name
#: of this browser, to which forms are bound; what the next page shall say; and the language its person chose.
Held: TypeAlias = Literal["session", "sign-in", "device", "trust", "browser", "notice", "language"]
#: How long a browser remembers who was signing in, seconds.
_SIGN_IN_REMEMBERED = 3600
_NAME = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def world_of(request: Asking) -> World:
    world: World = request.app.state.world
    return world


def held(request: Asking, what: Held) -> str | None:
    """The value of one of our cookies, as the browser sent it."""
    return sent(world_of(request), request.scope["headers"], what)


def sent(world: World, headers: Iterable[tuple[bytes, bytes]], what: Held) -> str | None:
    """The value of one of our cookies among the headers of a request.

    Names are compared byte for byte, and one that stands twice counts as none. A lenient reader (which
    strips `\\xa0`, say) lets a neighbouring host plant a cookie under a name that only looks like ours,
    past the rule of the `__Host-` prefix.
    """
    name = _name(world, what).encode()
    cookies = [value for key, value in headers if key == b"cookie"]
    parts = [part.strip(b" \t").partition(b"=") for cookie in cookies for part in cookie.split(b";")]
    values = [value for key, _, value in parts if key == name]
    return values[0].decode("latin-1") if len(values) == 1 and values[0] else None


def give(request: Asking, what: Held, value: str, *, seconds: int | None = None) -> Cookie:
    """One of our cookies; without `seconds` it goes with the browser."""
    return Cookie(
        _name(world_of(request), what),
        path="/",
        value=value,
        max_age=seconds,
        secure=_is_secure(world_of(request)),
        httponly=True,
        samesite="lax",
    )


def take(request: Asking, *what: Held) -> Sequence[Cookie]:
    """Take cookies away."""
    return [give(request, one, "", seconds=0) for one in what]


def keep_language(request: Asking, tag: str) -> Cookie:
    """The language that somebody chose, for a year."""
    return give(request, "language", tag, seconds=365 * 86_400)


def renewed(request: Asking, renewal: Renewal | None) -> Sequence[Cookie]:
    """The cookies of a session that lives on under new ones, where an act gave some: the browser stays
    known, since the device token of an earlier epoch is a stranger's."""
    if renewal is None:
        return []
    life = world_of(request).settings.tokens
    return [
        give(request, "session", renewal.cookie, seconds=life.cookie_absolute_seconds),
        give(request, "device", renewal.device_token, seconds=life.device_seconds),
    ]


def pre_auth(request: Asking) -> str:
    """The pre-auth token of the sign-in under way in this very browser; another's is none."""
    token, mac, _ = _sign_in_parts(request)
    name = held(request, "browser") or ""
    genuine = _macs(world_of(request), "sign_in", f"{name}\n{token}")
    return (
        token if any(crypto.same(one.encode(), mac.encode("latin-1", "replace")) for one in genuine) else ""
    )


def pre_auth_cookie(request: Asking, token: str, email: str, *, done: bool = False) -> Cookie:
    """The cookie of a sign-in under way, good in this browser only. It outlives the token: whoever comes back
    too late is told so, and begins again under their address; of one that is `done`, not that it was late."""
    world, name = world_of(request), held(request, "browser") or ""
    mac = _macs(world, "sign_in", f"{name}\n{token}")[0]
    text = json.dumps({"email": _short(email), "done": done}, ensure_ascii=False).encode()
    sealed = b64url(world.sealer.seal(text, world.entropy.token(12), "sign_in", name))
    return give(request, "sign-in", f"{token}.{mac}.{sealed}", seconds=_SIGN_IN_REMEMBERED)


def signing_in(request: Asking) -> tuple[str, bool]:
    """Whose address began the sign-in of this browser, and whether it is done; nobody's, of another one."""
    _, _, sealed = _sign_in_parts(request)
    try:
        text = world_of(request).sealer.open(
            crypto.from_b64url(sealed), "sign_in", held(request, "browser") or ""
        )
        told = json.loads(text)
    except (ValueError, crypto.SealBroken):
        return "", False
    return told["email"], told["done"]


def typed(email: str) -> dict[str, str]:
    """What the form of a sign-in is filled in with again."""
    return {"username": _short(email)}


def browser_name(request: Asking) -> tuple[str, bool]:
    """The random name of this browser, and whether it is new and has to be given."""
    name = held(request, "browser")
    if name is not None and _NAME.fullmatch(name):
        return name, False
    return b64url(world_of(request).entropy.token(32)), True


def csrf_token(world: World, browser: str, bound_to: str) -> str:
    """What a form of ours carries: it fits this browser and what it is bound to only (a session, a sign-in
    under way, or neither), and no other site can read or make it. The form of an earlier one fails, so
    that nothing is done in the name of whoever came after."""
    return _macs(world, "csrf", f"{browser}\n{bound_to}")[0]


def require_own(request: Asking, token: str, bound_to: str) -> None:
    """Refuse what another site may have sent (CsrfFailed): by what the browser says of its origin, where it
    says something, and always by the token."""
    world = world_of(request)
    if not is_from_us(request):
        raise CsrfFailed("sent by another site")
    name = held(request, "browser")
    genuine = _macs(world, "csrf", f"{name}\n{bound_to}") if name else []
    if not any(crypto.same(one.encode(), token.encode()) for one in genuine):
        raise CsrfFailed("the form is not this browser's, or of another session or sign-in")


def is_from_us(request: Asking) -> bool:
    """Whether the browser says nothing against a request having come from our own page."""
    site, origin = request.headers.get("sec-fetch-site", "same-origin"), request.headers.get("origin")
    return site == "same-origin" and (origin is None or origin in _own_origins(world_of(request)))


def seal_notice(world: World, browser: str, path: str, notice: Mapping[str, Any]) -> str:
    """What the page at `path` shall say next, so that only that page in this browser can say it."""
    text = json.dumps(notice, ensure_ascii=False).encode()
    return b64url(world.sealer.seal(text, world.entropy.token(12), "notice", browser, path))


def open_notice(request: Asking) -> Mapping[str, Any]:
    """What the last answer wanted this page to say, or nothing."""
    name, sealed = held(request, "browser"), held(request, "notice")
    if not name or not sealed:
        return {}
    try:
        record = crypto.from_b64url(sealed)
        text = world_of(request).sealer.open(record, "notice", name, request.scope["path"])
        notice: Mapping[str, Any] = json.loads(text)
    except (ValueError, crypto.SealBroken):
        return {}
    return notice


def _sign_in_parts(request: Asking) -> Sequence[str]:
    parts = (held(request, "sign-in") or "").split(".")
    return parts if len(parts) == 3 else ("", "", "")


def _short(email: str) -> str:
    # In bytes, as the cookie that carries it is measured.
    return email.encode()[:320].decode(errors="ignore")


def _macs(world: World, purpose: str, text: str) -> Sequence[str]:
    """The HMAC of a text under each living key, the active one's first."""
    active = world.active(Kind.TOKEN)
    keys = [active, *(key for key in world.keyring.all(Kind.TOKEN) if key is not active)]
    return [b64url(crypto.digest(key.material, purpose, text.encode())) for key in keys]


def _own_origins(world: World) -> Sequence[str]:
    issuer = world.settings.issuer
    # `doorward dev` answers to both names of this machine.
    return [issuer, issuer.replace("127.0.0.1", "localhost")] if world.settings.dev else [issuer]


def _name(world: World, what: Held) -> str:
    stem = "__Host-doorward" if _is_secure(world) else "doorward-dev"
    return stem if what == "session" else f"{stem}-{what}"


def _is_secure(world: World) -> bool:
    return urlsplit(world.settings.issuer).scheme == "https"
