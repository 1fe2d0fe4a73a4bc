"""An authorization request: what it says, and everything that may be wrong with it, in one order.

RFC 6749 §4.1.1, RFC 7636 §4.3, OpenID Connect Core 1.0 §3.1.2. Client and redirect URI are proved before
any of this: until then nothing may be redirected, not even an error (RFC 9700 §4.11.2).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from service.domain.oidc import claims
from service.domain.oidc.clients import Client

ResponseMode: TypeAlias = Literal["query", "form_post"]
Parameters: TypeAlias = Mapping[str, Sequence[str]]

#: The most that `max_age` may be, seconds, and a nonce, bytes.
_MAX_AGE, _MAX_NONCE = 315_360_000, 512
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request that may be answered. `scope` is what the client may have of what it asked for."""

    redirect_uri: str
    response_mode: ResponseMode
    scope: Sequence[str]
    state: str | None
    nonce: str | None
    code_challenge: str | None
    prompt: frozenset[str]
    max_age: int | None
    acr_values: Sequence[str]
    login_hint: str | None
    id_token_hint: str | None
    #: By place (`userinfo`, `id_token`) and name: whether it is essential, and the values that would do.
    claims: Mapping[str, Any]
    #: What a third party needs the person's word for: the scope, and the scopes of the claims asked by name.
    consent: Sequence[str]
    #: The `sub` of the hint, once it is proved that we issued it.
    hinted: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the client is told at its redirect URI: a code of the standard, and why in words."""

    error: str
    description: str


Check: TypeAlias = Callable[[Parameters, Client], Refusal | None]


def _each_once(parameters: Parameters, _: Client) -> Refusal | None:
    """A name that stands twice is refused (RFC 6749 §3.1): two readers could take different ones."""
    if any(len(values) > 1 for values in parameters.values()):
        return Refusal("invalid_request", "a parameter stands twice")
    return None


def _no_request_object(parameters: Parameters, _: Client) -> Refusal | None:
    """Ignoring one would answer another question than was asked (OpenID Connect Core §6.1, §3.1.2.6)."""
    if "request" in parameters:
        return Refusal("request_not_supported", "request objects are not supported")
    if "request_uri" in parameters:
        return Refusal("request_uri_not_supported", "request_uri is not supported")
    return None


def _response_type(parameters: Parameters, _: Client) -> Refusal | None:
    wanted = value(parameters, "response_type")
    if wanted is None:
        return Refusal("invalid_request", "response_type is missing")
    return None if wanted == "code" else Refusal("unsupported_response_type", "only `code` is supported")


def _response_mode(parameters: Parameters, _: Client) -> Refusal | None:
    if value(parameters, "response_mode") in (None, "query", "form_post"):
        return None
    return Refusal("invalid_request", "response_mode must be query or form_post")


def _grant(_: Parameters, client: Client) -> Refusal | None:
    if "authorization_code" in client.grant_types:
        return None
    return Refusal("unauthorized_client", "the client may not use the code flow")


def _openid(parameters: Parameters, client: Client) -> Refusal | None:
    """A provider of identities is asked for one, or for nothing (OpenID Connect Core §3.1.2.1)."""
    if "openid" in (value(parameters, "scope") or "").split(" ") and "openid" in client.scopes:
        return None
    return Refusal("invalid_scope", "scope must hold openid, and the client must be allowed it")


def _pkce(parameters: Parameters, client: Client) -> Refusal | None:
    """S256 only (RFC 9700 §2.1.1): `plain` shows the verifier to whoever sees the request. A client whose
    record lets it may leave PKCE out, but not send half of it."""
    challenge, method = value(parameters, "code_challenge"), value(parameters, "code_challenge_method")
    if challenge is None and method is None:
        return Refusal("invalid_request", "code_challenge is missing") if client.require_pkce else None
    if challenge is None or method != "S256":
        return Refusal("invalid_request", "PKCE needs code_challenge and code_challenge_method=S256")
    if not _CHALLENGE.fullmatch(challenge):
        return Refusal("invalid_request", "code_challenge must be a SHA-256 in base64url, 43 characters")
    return None


def _nonce(parameters: Parameters, _: Client) -> Refusal | None:
    """It stands in the ID token, which has to fit into an address when it comes back as a hint."""
    if len((value(parameters, "nonce") or "").encode("utf-8", "replace")) > _MAX_NONCE:
        return Refusal("invalid_request", "nonce is too long")
    return None


def _prompt(parameters: Parameters, _: Client) -> Refusal | None:
    prompts = _words(parameters, "prompt")
    if not set(prompts) <= _PROMPTS:
        return Refusal("invalid_request", "prompt holds an unknown value")
    if "none" in prompts and len(set(prompts)) > 1:
        return Refusal("invalid_request", "prompt=none stands alone")
    return None


def _max_age(parameters: Parameters, _: Client) -> Refusal | None:
    text = value(parameters, "max_age")
    if text is None or (re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) and int(text) <= _MAX_AGE):
        return None
    return Refusal("invalid_request", "max_age must be a number of seconds")


def _claims(parameters: Parameters, _: Client) -> Refusal | None:
    text = value(parameters, "claims")
    if text is None or claims.read(text) is not None:
        return None
    return Refusal("invalid_request", "claims must be a JSON object of `userinfo` and `id_token`")


#: The order in which a request is judged; the first fault is the answer.
CHECKS: tuple[Check, ...] = (
    _each_once,
    _no_request_object,
    _response_type,
    _response_mode,
    _grant,
    _openid,
    _pkce,
    _nonce,
    _prompt,
    _max_age,
    _claims,
)


def judge(parameters: Parameters, client: Client, redirect_uri: str) -> AuthorizationRequest | Refusal:
    """Read a request of a proved client and redirect URI. Parameters that nobody knows are ignored, and so
    are scopes beyond the client's: the token answer says which were given (RFC 6749 §3.3)."""
    for check in CHECKS:
        if refusal := check(parameters, client):
            return refusal
    asked = set(_words(parameters, "scope"))
    asked_by_name = claims.opened_by(claims.read(value(parameters, "claims") or "{}") or {}, client.scopes)
    age = value(parameters, "max_age")
    return AuthorizationRequest(
        redirect_uri=redirect_uri,
        response_mode=response_mode(parameters),
        scope=[one for one in client.scopes if one in asked],
        state=value(parameters, "state"),
        nonce=value(parameters, "nonce"),
        code_challenge=value(parameters, "code_challenge"),
        prompt=frozenset(_words(parameters, "prompt")),
        max_age=None if age is None else int(age),
        acr_values=_words(parameters, "acr_values"),
        login_hint=value(parameters, "login_hint"),
        id_token_hint=value(parameters, "id_token_hint"),
        claims=asked_by_name,
        consent=[one for one in client.scopes if one in asked | claims.scopes_reached(asked_by_name)],
    )


def response_mode(parameters: Parameters) -> ResponseMode:
    """How the answer travels, also that of a refusal; what is not understood is `query`."""
    return "form_post" if value(parameters, "response_mode") == "form_post" else "query"


def state(parameters: Parameters) -> str | None:
    """The client's own value, which every answer carries unchanged; None where it stands twice."""
    values = parameters.get("state", ())
    return values[0] if len(values) == 1 and values[0] else None


def proves(verifier: str | None, challenge: str | None) -> bool:
    """Whether who redeems the code is who asked for it (RFC 7636 §4.6). A verifier where no challenge was
    sent is refused as well: the request that it belongs to was another, or lost half of itself on its way
    (RFC 9700 §4.8.2)."""
    if challenge is None or verifier is None:
        return challenge is None and verifier is None
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=")
    return hmac.compare_digest(made, challenge.encode())


def value(parameters: Parameters, name: str) -> str | None:
    """The value of a parameter; one sent without a value counts as left out (RFC 6749 §3.1)."""
    values = parameters.get(name, ())
    return (values[0] or None) if values else None


def _words(parameters: Parameters, name: str) -> Sequence[str]:
    return [word for word in (value(parameters, name) or "").split(" ") if word]
