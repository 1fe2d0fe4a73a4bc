"""What a client is, what its record may say, and which addresses are its own.

Where a standard has a name for a field it is that one: OpenID Connect Dynamic Client Registration 1.0 §2,
RFC 7591 §2.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import parse_qsl

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from service.domain.oidc import addresses, colors, logos
from service.domain.oidc.addresses import Said
from service.domain.oidc.logos import Logo
from service.domain.sign_in import FRONTEND, PAGES

#: The type of a client's JWT assertion (RFC 7523 §2.2).
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

AuthMethod: TypeAlias = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
GrantType: TypeAlias = Literal["authorization_code", "refresh_token", "client_credentials"]
IdTokenAlg: TypeAlias = Literal["RS256", "ES256", "Ed25519"]
AccessTokenAlg: TypeAlias = Literal["ES256", "RS256"]

#: What a client secret begins with; 256 random bits follow.
SECRET = "dwx_"
#: How long a replaced secret may live on beside the new one, seconds.
LONGEST_OVERLAP = 30 * 86_400

#: Scopes that tell of a person, or act as one.
OF_A_PERSON = ("openid", "profile", "email", "phone", "address", "offline_access", "account", "admin")
#: Scopes that open a person's own settings, or other people's: never a third party's.
OF_FIRST_PARTIES = ("account", "admin")

#: Characters of an id and of a name; elements of a list; seconds.
_MAX_ID, _MAX_NAME, _MAX_LIST = 100, 100, 100
_MAX_REFRESH = 366 * 86_400
#: Characters of all scopes together, and of an audience.
_MAX_SCOPES, _MAX_AUDIENCE = 1_000, 500
#: The longest life of an access token that a client's record may give, seconds: so long a signing key that
#: signs no more must stay published.
LONGEST_ACCESS = 86_400
#: What we add to the address at the end of an authorization (RFC 6749 §4.1.2, RFC 9207 §2).
_OURS = {"code", "state", "iss", "error", "error_description", "error_uri"}
#: Members of a private or a symmetric key (RFC 7518 §6), and those that a public key here may have.
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_PUBLIC = {"kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"}

#: What a key of each kind may sign an assertion with (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2): the
#: algorithm is the key's, never its header's.
_ALGORITHMS: Mapping[tuple[str, str | None], Sequence[str]] = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("Ed25519", "EdDSA"),
}
#: All of them, as the metadata tells them.
ASSERTION_ALGORITHMS = [name for names in _ALGORITHMS.values() for name in names]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: RFC 6749 §3.3.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


@dataclass(frozen=True, slots=True)
class Client:
    """A portal, an app or a machine that may ask for tokens. Lives are seconds; None is the service's own."""

    id: str
    name: str
    token_endpoint_auth_method: AuthMethod = "client_secret_basic"
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None
    backchannel_logout_session_required: bool = False
    grant_types: tuple[GrantType, ...] = ("authorization_code",)
    scopes: tuple[str, ...] = ()
    first_party: bool = False
    require_pkce: bool = True
    id_token_signed_response_alg: IdTokenAlg = "RS256"
    access_token_signing_alg: AccessTokenAlg = "ES256"
    audience: str | None = None
    access_seconds: int | None = None
    refresh_idle_seconds: int | None = None
    refresh_absolute_seconds: int | None = None
    cors_origins: tuple[str, ...] = ()
    jwks: Mapping[str, Any] | None = None
    client_uri: str | None = None
    policy_uri: str | None = None
    tos_uri: str | None = None
    brand_color: str | None = None
    logo: Logo | None = None
    disabled: bool = False

    @property
    def public(self) -> bool:
        """Whether it can keep no secret (RFC 6749 §2.1): an app on a device, or in a browser."""
        return self.token_endpoint_auth_method == "none"

    @property
    def has_secret(self) -> bool:
        return self.token_endpoint_auth_method in ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a record: where (RFC 6901), a stable word, and a sentence. It never
    quotes the value, which may be a secret in the wrong place."""

    pointer: str
    code: str
    text: str


def is_id(text: str) -> bool:
    """Whether a text can be the id of a client; no other is ever looked for."""
    return len(text) <= _MAX_ID and _ID.fullmatch(text) is not None


def redirect_fits(client: Client, uri: str) -> bool:
    """Whether an authorization may end at `uri`: one of the client's own, character by character
    (RFC 9700 §4.1.1). Of a loopback IP literal the port may be another: an app on a device listens on
    whichever is free (RFC 8252 §7.3)."""
    if uri in client.redirect_uris:
        return True
    asked = addresses.without_port(uri)
    return asked is not None and asked in map(addresses.without_port, client.redirect_uris)


def post_logout_fits(client: Client, uri: str) -> bool:
    """Whether a logout may end at `uri`: one of the client's own, character by character (OpenID Connect
    RP-Initiated Logout 1.0 §3)."""
    return uri in client.post_logout_redirect_uris


def machine_scopes(client: Client) -> Sequence[str]:
    """What a client may do as itself (RFC 6749 §4.4): nothing that is about a person, since there is none."""
    return [one for one in client.scopes if one not in OF_A_PERSON]


def still_held(client: Client, granted: Sequence[str], *, session_over: bool) -> Sequence[str]:
    """What of a grant the client's record still covers: nothing where `offline_access` alone kept it past the
    end of its session, and the record lost that."""
    if session_over and "offline_access" not in client.scopes:
        return []
    return [one for one in granted if one in client.scopes]


def differences(old: Client, new: Client) -> Mapping[str, tuple[object, object]]:
    """Each field in which two records differ: its old and its new value; a picture by its digest."""

    def told(value: object) -> object:
        return str(value) if isinstance(value, Logo) else value

    pairs = {field.name: (getattr(old, field.name), getattr(new, field.name)) for field in fields(Client)}
    return {name: (told(one), told(other)) for name, (one, other) in pairs.items() if one != other}


def faults(client: Client) -> Sequence[Fault]:
    """Everything that is wrong with a client, at once; nothing where it may be registered."""
    return [
        *_identity(client),
        *_choices(client),
        *_grants(client),
        *_scopes(client),
        *_addresses(client),
        *_lives(client),
        *_keys(client),
        *_looks(client),
    ]


def _identity(client: Client) -> Iterator[Fault]:
    if not is_id(client.id):
        yield Fault("/id", "not_an_id", "must be 1 to 100 letters, digits, `.`, `_` and `-`, no sign first")
    if client.id.casefold() in (FRONTEND, PAGES):
        yield Fault("/id", "built_in", "is the id of a client that is built in")
    # It stands on the consent page, where it must not move or hide what is written beside it.
    if not client.name.strip() or len(client.name) > _MAX_NAME or not client.name.isprintable():
        yield Fault("/name", "not_a_name", "must be printable text of 1 to 100 characters")
    if client.audience is not None and not (
        addresses.CHARACTERS.fullmatch(client.audience) and len(client.audience) <= _MAX_AUDIENCE
    ):
        yield Fault("/audience", "not_a_uri", "must be a word or an absolute URI (RFC 7519 §2)")


def _choices(client: Client) -> Iterator[Fault]:
    for name, known in (
        ("token_endpoint_auth_method", AuthMethod),
        ("id_token_signed_response_alg", IdTokenAlg),
        ("access_token_signing_alg", AccessTokenAlg),
    ):
        if getattr(client, name) not in get_args(known):
            yield Fault(f"/{name}", "unknown_value", f"must be one of {', '.join(get_args(known))}")
    if client.public and not client.require_pkce:
        yield Fault("/require_pkce", "public_client", "a public client has nothing else (RFC 9700 §2.1.1)")


def _grants(client: Client) -> Iterator[Fault]:
    grants = client.grant_types
    yield from _each("/grant_types", grants, _grant)
    if not grants:
        yield Fault("/grant_types", "empty", "a client without a grant can do nothing")
    if client.public and "client_credentials" in grants:
        yield Fault("/grant_types", "public_client", "client_credentials needs a client that proves itself")
    if "refresh_token" in grants and "authorization_code" not in grants:
        yield Fault("/grant_types", "unused", "refresh_token needs authorization_code, which gives the first")


def _grant(grant: str) -> Iterator[Said]:
    if grant not in get_args(GrantType):
        yield "unknown_value", f"must be one of {', '.join(get_args(GrantType))}"


def _scopes(client: Client) -> Iterator[Fault]:
    def said(scope: str) -> Iterator[Said]:
        if not _SCOPE.fullmatch(scope) or len(scope) > _MAX_NAME:
            yield "not_a_scope", "must be one word of printable ASCII, at most 100 (RFC 6749 §3.3)"
        if scope == "offline_access" and "refresh_token" not in client.grant_types:
            yield "unused", "offline_access needs the grant refresh_token"
        if scope in OF_A_PERSON and "authorization_code" not in client.grant_types:
            yield "unused", "this is about a person, and no grant of this client has one"
        if scope in OF_FIRST_PARTIES and not client.first_party:
            yield "third_party", "only a first-party client may have this"

    yield from _each("/scopes", client.scopes, said)
    # They stand in every access token, which has to fit into a header.
    if len(" ".join(client.scopes)) > _MAX_SCOPES:
        yield Fault("/scopes", "too_long", f"may have at most {_MAX_SCOPES} characters together")
    if "authorization_code" in client.grant_types and not client.scopes:
        yield Fault("/scopes", "empty", "name what it may ask for, such as openid, profile and email")


def _addresses(client: Client) -> Iterator[Fault]:
    def redirect(uri: str) -> Iterator[Said]:
        yield from addresses.uri_faults(uri, native=client.public)
        query = uri.partition("#")[0].partition("?")[2]
        if _OURS & {name for name, _ in parse_qsl(query, keep_blank_values=True)}:
            yield "response_parameter", f"the query must not hold {', '.join(sorted(_OURS))}"

    def after_logout(uri: str) -> Iterator[Said]:
        return addresses.uri_faults(uri, native=client.public)

    for name, said in (("redirect_uris", redirect), ("post_logout_redirect_uris", after_logout)):
        uris = getattr(client, name)
        yield from _each(f"/{name}", uris, said)
        if uris and "authorization_code" not in client.grant_types:
            yield Fault(f"/{name}", "unused", "only authorization_code sends anybody there")
    if "authorization_code" in client.grant_types and not client.redirect_uris:
        yield Fault("/redirect_uris", "empty", "authorization_code needs at least one")
    if client.backchannel_logout_uri is not None:
        for code, text in addresses.uri_faults(client.backchannel_logout_uri, native=False):
            yield Fault("/backchannel_logout_uri", code, text)
    elif client.backchannel_logout_session_required:
        yield Fault("/backchannel_logout_session_required", "unused", "needs backchannel_logout_uri")
    yield from _each("/cors_origins", client.cors_origins, addresses.origin_faults)


def _lives(client: Client) -> Iterator[Fault]:
    for name, most in (
        ("access_seconds", LONGEST_ACCESS),
        ("refresh_idle_seconds", _MAX_REFRESH),
        ("refresh_absolute_seconds", _MAX_REFRESH),
    ):
        seconds = getattr(client, name)
        if seconds is not None and not 0 < seconds <= most:
            yield Fault(f"/{name}", "out_of_range", f"must be from 1 to {most} seconds")
    idle, absolute = client.refresh_idle_seconds, client.refresh_absolute_seconds
    if idle is not None and absolute is not None and idle > absolute:
        yield Fault("/refresh_idle_seconds", "out_of_range", "must not be above refresh_absolute_seconds")


def _keys(client: Client) -> Iterator[Fault]:
    used = client.token_endpoint_auth_method == "private_key_jwt"
    if client.jwks is None:
        if used:
            yield Fault("/jwks", "missing", "private_key_jwt needs the client's public keys")
        return
    if not used:
        yield Fault("/jwks", "unused", "only private_key_jwt has a use for keys")
    keys = client.jwks.get("keys")
    if set(client.jwks) != {"keys"} or not isinstance(keys, list) or not 0 < len(keys) <= _MAX_LIST:
        yield Fault("/jwks", "not_a_jwks", "must hold `keys`, a list of 1 to 100, and nothing else")
        return
    for place, key in enumerate(keys):
        yield from (Fault(f"/jwks/keys/{place}", code, text) for code, text in _key(key))
    names = [key.get("kid") for key in keys if isinstance(key, Mapping)]
    if len(keys) > 1 and any(name is None or names.count(name) > 1 for name in names):
        yield Fault("/jwks/keys", "duplicate", "of several keys each needs a `kid` of its own")


def _key(key: object) -> Iterator[Said]:
    """What is wrong with one public key (RFC 7517 §4); private parts are looked for first."""
    if not isinstance(key, Mapping):
        yield "not_a_key", "must be a JSON Web Key"
        return
    if _PRIVATE & set(key):
        yield "private_key", "holds private parts; it is compromised if this file was ever passed on"
        return
    if not set(key) <= _PUBLIC:
        yield "unknown", f"may hold {', '.join(sorted(_PUBLIC))} only"
        return
    if not all(
        isinstance(part, str) and part.isprintable() and len(part) <= addresses.MAX for part in key.values()
    ):
        yield "wrong_type", "every member must be printable text of a usual length"
        return
    algorithms = _ALGORITHMS.get((key.get("kty", ""), key.get("crv")))
    if algorithms is None:
        yield "unknown_value", "must be RSA, EC on P-256, or OKP on Ed25519"
        return
    if key.get("alg", algorithms[0]) not in algorithms or key.get("use", "sig") != "sig":
        yield "unknown_value", f"must be for signing with {' or '.join(algorithms)}"
    try:
        weak = key["kty"] == "RSA" and _bits(key["n"]) < 2048
        # Whether a point lies on its curve is the library's to know.
        valid = weak or JWKRegistry.import_key(dict(key)).raw_value is not None
    except (JoseError, ValueError, KeyError):
        valid = False
    if not valid:
        yield "not_a_key", "is not a key of its kind (RFC 7518 §6)"
    elif weak:
        yield "weak", "must have at least 2048 bits (RFC 7518 §3.3)"


def _looks(client: Client) -> Iterator[Fault]:
    """What people see of it on our pages: links (OpenID Connect Dynamic Client Registration 1.0 §2), colour
    and picture."""
    for name in ("client_uri", "policy_uri", "tos_uri"):
        uri = getattr(client, name)
        for code, text in addresses.link_faults(uri) if uri is not None else ():
            yield Fault(f"/{name}", code, text)
    if client.brand_color is not None and not colors.is_color(client.brand_color):
        yield Fault("/brand_color", "not_a_color", "must be # and six hexadecimal digits, such as #0b5a66")
    for code, text in logos.faults(client.logo) if client.logo is not None else ():
        yield Fault("/logo", code, text)


def algorithms_of(key: Mapping[str, Any]) -> Sequence[str]:
    """The algorithms that a registered key may sign an assertion with: its own, or those of its kind."""
    return [key["alg"]] if "alg" in key else _ALGORITHMS[key["kty"], key.get("crv")]


def _bits(number: str) -> int:
    """The length of an integer in base64url (RFC 7518 §2)."""
    return int.from_bytes(base64.urlsafe_b64decode(number + "=="), "big").bit_length()


def _each(pointer: str, values: Sequence[str], said: Callable[[str], Iterator[Said]]) -> Iterator[Fault]:
    """What `said` has to say about each of a list, and that none stands there twice."""
    if len(values) > _MAX_LIST:
        yield Fault(pointer, "too_many", f"may hold at most {_MAX_LIST}")
        return
    for place, value in enumerate(values):
        yield from (Fault(f"{pointer}/{place}", code, text) for code, text in said(value))
        if value in values[:place]:
            yield Fault(f"{pointer}/{place}", "duplicate", "stands there already")
