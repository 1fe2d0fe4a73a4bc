"""Templates made into text, in the reader's language; and the style sheet and the scripts beside them."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from babel.dates import format_date, format_datetime
from babel.lists import format_list
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from litestar import Response, get
from litestar.params import FromPath
from markupsafe import Markup

from service.domain.sessions import EndReason
from service.errors import NotFound
from service.http.browser import Asking
from service.http.language import LANGUAGES, N_, Language
from service.http.user_agent import agent_of

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_WHY = {
    EndReason.SIGNED_OUT: N_("signed out"),
    EndReason.IDLE: N_("not used for too long"),
    EndReason.ABSOLUTE: N_("reached its time limit"),
    EndReason.PASSWORD_CHANGED: N_("the password was changed"),
    EndReason.TWO_FACTOR_CHANGED: N_("two-factor authentication was changed"),
    EndReason.REFRESH_REUSE: N_("a copy of its token was used"),
    EndReason.ADMIN: N_("ended by an administrator"),
    EndReason.SESSION_LIMIT: N_("too many sessions"),
    EndReason.USER_DISABLED: N_("the account was disabled"),
    EndReason.SUPERSEDED: N_("replaced by a newer one"),
    EndReason.REVOKED: N_("ended from another device"),
    EndReason.CODE_REUSE: N_("an application's sign-in was used twice"),
}
_ROLES = {"admin": N_("Administrator"), "support": N_("Support"), "auditor": N_("Auditor")}
#: What a scope lets a client do, in the person's words.
_SCOPES = {
    "openid": N_("Recognise you when you return"),
    "profile": N_("See your name and your language"),
    "email": N_("See your e-mail address"),
    "phone": N_("See your phone number"),
    "address": N_("See your postal address"),
    "offline_access": N_("Act for you while you are away"),
    "account": N_("See and change your account, as you can here"),
    "admin": N_("Administer this service, as far as you may"),
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load; its address changes with it, so that it may be kept for ever."""

    text: bytes
    media_type: str
    version: str


def _asset(path: Path) -> Asset:
    text = path.read_bytes()
    return Asset(text, _TYPES[path.suffix], hashlib.sha256(text).hexdigest()[:12])


ASSETS: Mapping[str, Asset] = {path.name: _asset(path) for path in (_HERE / "static").iterdir()}


def address_of(name: str) -> str:
    """Where a file of `static/` is, by the version it has now."""
    return f"/static/{name}?v={ASSETS[name].version}"


@get("/static/{name:str}", include_in_schema=False)
async def static(request: Asking, name: FromPath[str]) -> Response[bytes]:
    asset = ASSETS.get(name)
    if asset is None:
        raise NotFound("no such file")
    # Of an old address the text is today's, and must not stay.
    is_new = request.query_params.get("v") == asset.version
    kept = "public, max-age=31536000, immutable" if is_new else "public, max-age=300"
    return Response(asset.text, media_type=asset.media_type, headers={"Cache-Control": kept})


# What templates can say


def _language(context: Context) -> Language:
    known: Language = context["language"]
    return known


@pass_context
def _gettext(context: Context, message: str) -> str:
    return _language(context).texts.gettext(message)


@pass_context
def _ngettext(context: Context, one: str, many: str, count: int) -> str:
    return _language(context).texts.ngettext(one, many, count)


def _said(context: Context, message: str, **facts: object) -> str:
    return _language(context).texts.gettext(message) % facts


@pass_context
def _translated(context: Context, message: str) -> str:
    """A text that comes from elsewhere than the template: what is HTML in it is escaped."""
    return _language(context).texts.gettext(message)


@pass_context
def _wait(context: Context, seconds: int) -> str:
    minutes, rest = divmod(int(seconds), 60)
    if not minutes:
        return _said(context, N_("%(seconds)s s"), seconds=rest)
    return _said(context, N_("%(minutes)s min %(seconds)s s"), minutes=minutes, seconds=rest)


@pass_context
def _moment(context: Context, at: datetime | str) -> Markup:
    """A time as an element: in UTC for whoever has no script, which shows it in the zone of the reader."""
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    text = _said(context, N_("%(time)s UTC"), time=_in_words(context, at))
    return Markup('<time datetime="{}" data-moment>{}</time>').format(at.isoformat(timespec="seconds"), text)


@pass_context
def _plain_moment(context: Context, at: datetime) -> str:
    return _said(context, N_("%(time)s UTC"), time=_in_words(context, at))


def _in_words(context: Context, at: datetime) -> str:
    locale = _language(context).locale
    return str(format_datetime(at, "medium", locale=locale))


@pass_context
def _day(context: Context, at: datetime | str) -> str:
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    return str(format_date(at, "medium", locale=_language(context).locale))


def _clock(text: str) -> Markup:
    """A time of day in UTC, to be compared with a phone's."""
    return Markup("<time>{}</time>").format(datetime.fromisoformat(text).strftime("%H:%M:%S"))


@pass_context
def _device(context: Context, user_agent: str) -> str:
    agent = agent_of(user_agent)
    if agent.browser and agent.os:
        return _said(context, N_("%(browser)s on %(system)s"), browser=agent.browser, system=agent.os)
    return agent.browser or agent.os or _said(context, N_("Unknown device"))


@pass_context
def _listed(context: Context, names: Iterable[str]) -> str:
    """Names one after another, with what the language puts between them."""
    return str(format_list(list(names), style="standard", locale=_language(context).locale))


@pass_context
def _told_scope(context: Context, scope: str) -> str:
    if scope in _SCOPES:
        return _said(context, _SCOPES[scope])
    return _said(context, N_("Use “%(scope)s” for you"), scope=scope)


@pass_context
def _told_role(context: Context, role: str) -> str:
    return _said(context, _ROLES[role]) if role in _ROLES else role


@pass_context
def _why(context: Context, reason: EndReason) -> str:
    return _said(context, _WHY[reason])


@pass_context
def _script(context: Context, name: str) -> Markup:
    """A module of `static/`, let run by the nonce of this page."""
    return Markup('<script type="module" src="{}" nonce="{}"></script>').format(
        address_of(f"{name}.js"), context["nonce"]
    )


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {
        "moment": _moment,
        "script": _script,
        "languages": LANGUAGES,
        "style": address_of("doorward.css"),
    }
    made.filters |= {
        "said": _translated,
        "wait": _wait,
        "moment": _plain_moment,
        "day": _day,
        "clock": _clock,
        "device": _device,
        "listed": _listed,
        "told_role": _told_role,
        "told_scope": _told_scope,
        "why": _why,
    }
    return made


_templates = _environment()


class Notice(dict[str, Any]):
    """What the last answer wanted said: reads as attributes in a template, absent ones as nothing."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


def rendered(template: str, language: Language, nonce: str, **facts: Any) -> str:
    """A page's text. A page is of nobody, on nobody's way, and says nothing of the last answer unless
    `facts` tell."""
    known: dict[str, Any] = {
        "person": None,
        "brand": None,
        "notice": Notice(),
        "switches": {},
        # What a page tells the other tabs of the browser, and where it goes on when one of them signs in.
        "session": None,
        "elsewhere": None,
    }
    return _templates.get_template(template).render(known | {"language": language, "nonce": nonce} | facts)
