"""Token requests in the words of what both servers know: right ones, and everything that may be wrong."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from hypothesis import strategies as st

from service.domain.oidc.clients import Client
from tests.pages.portal import CALLBACK

OTHER = "https://portal.example/other"
SCOPES = ("openid", "profile", "email")
WEB = Client(
    "web",
    "Web",
    redirect_uris=(CALLBACK, OTHER),
    grant_types=("authorization_code", "refresh_token"),
    scopes=SCOPES,
    first_party=True,
)
CLIENTS = (
    WEB,
    replace(WEB, id="app", token_endpoint_auth_method="none"),
    replace(WEB, id="form", token_endpoint_auth_method="client_secret_post", require_pkce=False),
    replace(WEB, id="once", token_endpoint_auth_method="none", grant_types=("authorization_code",)),
    Client(
        "machine", "Machine", grant_types=("client_credentials",), scopes=("reports:read", "reports:write")
    ),
)
#: Whose code or refresh token a foreign one is.
STRANGER = replace(WEB, id="stranger", token_endpoint_auth_method="none")


@dataclass(frozen=True)
class Asked:
    """A token request in the words of the two servers' common state."""

    client: Client
    authentication: str
    grant: str
    code: str
    challenged: bool
    redirect_uri: str
    verifier: str
    refresh: str
    scope: str
    twice: str
    method: str
    again: bool

    @property
    def by_code(self) -> bool:
        return self.grant == "authorization_code"

    @property
    def by_refresh(self) -> bool:
        return self.grant == "refresh_token"


#: What may be wrong with a request, beside its grant type.
WRONG: Mapping[str, Sequence[Any]] = {
    "authentication": (
        "wrong",
        "missing",
        "other method",
        "unknown client",
        "two ways",
        "another client_id",
        "empty",
    ),
    "code": ("unknown", "foreign", "used", "missing", "empty"),
    "challenged": (False,),
    "redirect_uri": ("other", "missing"),
    "verifier": ("wrong", "missing", "short", "long", "unreserved"),
    "refresh": ("unknown", "foreign", "revoked", "missing", "empty"),
    "scope": ("same", "subset", "superset", "unknown", "empty"),
    "twice": ("grant_type", "client_id", "code", "code_verifier", "refresh_token", "scope", "nonsense"),
    "method": ("GET",),
    "again": (True,),
}
GRANTS = ("authorization_code", "refresh_token", "client_credentials", "password", "", "?")


def right(client: Client, grant: str) -> Asked:
    """A request with which nothing is wrong but perhaps its grant type (`?`: none)."""
    return Asked(
        client, "right", grant, "right", True, "right", "right", "right", "missing", "", "POST", False
    )


def relevant(grant: str) -> Sequence[str]:
    """What of `WRONG` a request of this grant type can have."""
    others = {
        "authorization_code": {"refresh"},
        "refresh_token": {"code", "redirect_uri", "verifier"},
    }.get(grant, {"code", "redirect_uri", "verifier", "refresh", "challenged"})
    return [name for name in WRONG if name not in others]


def systematic() -> Iterator[Asked]:
    """Every client with every grant type, each thing that may be wrong alone, and what a grant says with
    what is asked of it."""
    for client in CLIENTS:
        for grant in GRANTS:
            yield right(client, grant)
            for name in relevant(grant) if grant in client.grant_types else ():
                yield from (replace(right(client, grant), **{name: value}) for value in WRONG[name])
    for one, other, grant in (("code", "verifier", GRANTS[0]), ("refresh", "scope", GRANTS[1])):
        for client in CLIENTS[:3]:
            for pair in product(WRONG[one], WRONG[other]):
                yield replace(right(client, grant), **dict(zip((one, other), pair, strict=True)))


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    """A few things wrong at once: which of them is told is part of what both must agree on."""
    grant = draw(st.sampled_from((*GRANTS[:2] * 3, *GRANTS)))
    request = right(draw(st.sampled_from(CLIENTS)), grant)
    for name in draw(st.lists(st.sampled_from(relevant(grant)), min_size=1, max_size=4, unique=True)):
        request = replace(request, **{name: draw(st.sampled_from(WRONG[name]))})
    return request
