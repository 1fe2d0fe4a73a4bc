"""An authorization server made of Authlib's grants over plain dictionaries: the oracle of the token endpoint.

It keeps what Doorward keeps of clients, codes and refresh tokens, each with a value of its own, and decides
by code that is not ours.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request, TokenMixin, grants
from authlib.oauth2.rfc6749.errors import InvalidScopeError
from authlib.oauth2.rfc6749.requests import OAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge

_METHODS = ["none", "client_secret_basic", "client_secret_post"]
_serial = itertools.count(1)


@dataclass
class Registered(ClientMixin):
    """A client by Authlib's questions, with the answers of Doorward's record."""

    client_id: str
    method: str
    secret: str | None
    grant_types: Sequence[str]
    scopes: Sequence[str]
    redirect_uris: Sequence[str]

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return ""

    def get_allowed_scope(self, scope: Collection[str] | str) -> str:
        asked = str(scope).split() if scope else self.scopes
        return " ".join(one for one in self.scopes if one in asked)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return self.secret is not None and client_secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grant_types


@dataclass
class Code:
    """A code that was given, and what it was asked for with."""

    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str | None
    code_challenge_method: str | None = "S256"
    code: str = field(default_factory=lambda: f"code-{next(_serial)}")

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


@dataclass
class Refresh(TokenMixin):
    client_id: str
    scope: str
    revoked: bool = False
    token: str = field(default_factory=lambda: f"refresh-{next(_serial)}")

    def get_scope(self) -> str:
        return self.scope

    def check_client(self, client: ClientMixin) -> bool:
        assert isinstance(client, Registered)
        return client.client_id == self.client_id


class _Payload(OAuth2Payload):
    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    @property
    def data(self) -> dict[str, str]:
        # The first of several counts, as in the frameworks that Authlib is integrated with.
        return dict(reversed(self._pairs))

    @property
    def datalist(self) -> dict[str, list[Any]]:
        return {name: [v for n, v in self._pairs if n == name] for name, _ in self._pairs}


class _Request(OAuth2Request):
    def __init__(self, method: str, headers: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> None:
        super().__init__(method, "https://oracle.example/oauth2/token", headers=headers)
        self.payload = _Payload(pairs)

    @property
    def form(self) -> dict[str, str]:
        assert self.payload is not None
        return self.payload.data


class Oracle(AuthorizationServer):
    """`ask` is the whole of it: a token request in, status and body out."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: dict[str, Registered] = {}
        self.codes: dict[str, Code] = {}
        self.refreshes: dict[str, Refresh] = {}
        self.register_grant(_AuthorizationCode, [CodeChallenge(required=True)])
        self.register_grant(_RefreshToken)
        self.register_grant(_ClientCredentials)

    def add_code(self, code: Code) -> Code:
        self.codes[code.code] = code
        return code

    def add_refresh(self, token: Refresh) -> Refresh:
        self.refreshes[token.token] = token
        return token

    def ask(
        self, method: str, headers: Mapping[str, str], pairs: Sequence[tuple[str, str]]
    ) -> tuple[int, Mapping[str, Any]]:
        status, body = cast(Any, self.create_token_response(_Request(method, headers, pairs)))
        return status, body

    def query_client(self, client_id: str) -> ClientMixin:
        return self.clients.get(client_id)  # type: ignore[return-value]

    def create_oauth2_request(self, request: Any) -> OAuth2Request:
        assert isinstance(request, OAuth2Request)
        return request

    def handle_response(self, status: int, body: Mapping[str, object], headers: object) -> object:
        return status, body

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""

    def generate_token(
        self,
        grant_type: str,
        client: ClientMixin,
        user: object = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, str | int]:
        assert isinstance(client, Registered)
        told = client.get_allowed_scope(scope or "")
        token: dict[str, str | int] = {"access_token": f"access-{next(_serial)}", "scope": told}
        if include_refresh_token:
            token["refresh_token"] = self.add_refresh(Refresh(client.client_id, told)).token
        return token

    def save_token(self, token: dict[str, str | int], request: OAuth2Request) -> None:
        """Access tokens are not asked for again."""


class _AuthorizationCode(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

    def query_authorization_code(self, code: str, client: ClientMixin) -> Code | None:
        assert isinstance(client, Registered)
        found: Code | None = self.server.codes.get(code)
        return found if found and found.client_id == client.client_id else None

    def delete_authorization_code(self, authorization_code: Code) -> None:
        del self.server.codes[authorization_code.code]

    def authenticate_user(self, authorization_code: Code) -> str:
        return "somebody"


class _RefreshToken(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> TokenMixin:
        found: Refresh | None = self.server.refreshes.get(refresh_token)
        return found if found and not found.revoked else None  # type: ignore[return-value]

    def authenticate_user(self, refresh_token: Refresh) -> str:
        return "somebody"

    def revoke_old_credential(self, refresh_token: TokenMixin) -> None:
        assert isinstance(refresh_token, Refresh)
        refresh_token.revoked = True


class _ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

    def validate_requested_scope(self) -> None:
        """Authlib leaves to the server which scopes a client may have (RFC 6749 §3.3)."""
        assert self.request.payload is not None
        if not set((self.request.payload.scope or "").split()) <= set(self.client.scopes):
            raise InvalidScopeError()
