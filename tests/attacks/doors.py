"""Every place of the service that reads a signed token, and what a refusal is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import JWKRegistry

from service.domain.oidc.clients import JWT_BEARER
from service.flows import clients as client_flow
from service.keyring import ALGORITHMS, PrivateKey
from tests.attacks.forgery import Genuine, b64, signature
from tests.builders import House, Person
from tests.pages.portal import CALLBACK, CHALLENGE, PORTAL, VERIFIER, answer, asked
from tests.pages.visitor import Visitor

ISSUER = "http://127.0.0.1:8400"
AFTER = "https://portal.example/signed-out"
WEB = replace(
    PORTAL,
    id="web",
    token_endpoint_auth_method="client_secret_basic",
    grant_types=("authorization_code", "refresh_token", "client_credentials"),
    scopes=("openid", "profile", "email", "account", "reports"),
    post_logout_redirect_uris=(AFTER,),
)


@dataclass
class Listener:
    """A server that counts who calls."""

    address: str = ""
    calls: int = 0


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    heard = Listener()

    async def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.calls += 1
        writer.close()

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    heard.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield heard


@dataclass
class Doors:
    """One person signed in at a confidential client; their tokens, and each door that reads one."""

    house: House
    visitor: Visitor
    secret: str
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def auth(self) -> httpx.BasicAuth:
        return httpx.BasicAuth("web", self.secret)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """As the client, with its secret."""
        return await self.house.client.post(path, data=fields, auth=self.auth)

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """As whoever the fields say."""
        return await self.house.client.post(path, data=fields)

    async def code(self, **changes: str) -> str:
        page = await self.visitor.get(
            asked(**({"client_id": "web", "scope": "openid email account"} | changes))
        )
        return answer(page)["code"]

    async def exchange(self, code: str, **changes: str) -> httpx.Response:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        return await self.post("/oauth2/token", **(fields | changes))

    async def buy(self) -> dict[str, str]:
        """Tokens of a new grant, which become the ones in hand."""
        answer = await self.exchange(await self.code())
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json()
        return self.tokens

    def genuine(self, kind: str, listener: str) -> Genuine:
        """One of the tokens in hand, with the key that signed it."""
        text = self.tokens[kind]
        kid = Genuine(text, ec.generate_private_key(ec.SECP256R1()), {}, listener).header["kid"]
        ring = self.house.world.keyring
        (key,) = [one for kind_ in ALGORITHMS for one in ring.all(kind_) if one.id == kid]
        return Genuine(text, key.private_key, key.public_jwk, listener)

    # An access token

    async def me(self, token: str) -> bool:
        sent = await self.bearer("/v1/me", token)
        return sent.status_code == 200 or _unless(sent.status_code == 401, sent)

    async def userinfo(self, token: str) -> bool:
        sent = await self.bearer("/oauth2/userinfo", token)
        return sent.status_code == 200 or _unless(sent.status_code == 401, sent)

    async def userinfo_by_form(self, token: str) -> bool:
        sent = await self.send("/oauth2/userinfo", access_token=token)
        return sent.status_code == 200 or _unless(sent.status_code == 401 or _malformed(sent, token), sent)

    async def introspect(self, token: str) -> bool:
        sent = await self.post("/oauth2/introspect", token=token, token_type_hint="access_token")
        return sent.json().get("active") is True or _unless(
            sent.json() == {"active": False} or _malformed(sent, token), sent
        )

    async def revoke(self, token: str) -> bool:
        """Whether it ended the grant."""
        sent = await self.post("/oauth2/revoke", token=token)
        assert (sent.status_code, sent.content) == (200, b"") or _malformed(sent, token), sent.text
        family = await self.house.value(
            "SELECT ended_at FROM refresh_family WHERE client_id = 'web' ORDER BY id DESC LIMIT 1"
        )
        return family is not None

    async def bearer(self, path: str, token: str) -> httpx.Response:
        header = b"Bearer " + token.encode("utf-8")
        return await self.house.client.get(path, headers={b"authorization": header.replace(b"\n", b"\x0b")})

    # An ID token

    async def hint(self, token: str) -> bool:
        sent = await self.visitor.client.get(
            "/oauth2/authorize?" + self.request(id_token_hint=token, prompt="none")
        )
        if len(token) > 8000 and sent.status_code == 400:
            return False  # a page: no portal's request is that long
        assert sent.status_code == 303, (sent.status_code, sent.text)
        if "error" not in (told := parse_qs(urlsplit(sent.headers["location"]).query)):
            return True
        return _unless(told["error"] == ["invalid_request"], sent)

    async def pushed_hint(self, token: str) -> bool:
        fields = {name: one[0] for name, one in parse_qs(self.request(id_token_hint=token)).items()}
        sent = await self.post("/oauth2/par", **fields)
        return sent.status_code == 201 or _unless(
            (sent.status_code, sent.json()["error"]) == (400, "invalid_request") or sent.status_code == 413,
            sent,
        )

    async def logout_hint(self, token: str) -> bool:
        sent = await self.visitor.client.get(
            "/oauth2/logout?" + urlencode({"id_token_hint": token, "post_logout_redirect_uri": AFTER})
        )
        living = await self.house.value("SELECT count(*) FROM session WHERE ended_at IS NULL")
        if sent.status_code == 303 or living == 0:
            return True
        return _unless(sent.status_code == 400 and "location" not in sent.headers, sent)

    def request(self, **more: str) -> str:
        fields = {
            "client_id": "web",
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return urlencode(fields | more)

    # A refresh token

    async def refresh(self, token: str) -> bool:
        sent = await self.post("/oauth2/token", grant_type="refresh_token", refresh_token=token)
        return sent.status_code == 200 or _unless(
            sent.json()["error"] == "invalid_grant" or _malformed(sent, token), sent
        )

    async def refresh_by_api(self, token: str) -> bool:
        sent = await self.house.client.post("/v1/tokens/refresh", json={"refresh_token": token})
        return sent.status_code == 200 or _unless(sent.status_code in (400, 401), sent)

    # A client's assertion

    async def assertion(self, path: str, token: str, client: str) -> bool:
        fields = {"client_assertion": token, "client_assertion_type": JWT_BEARER, "client_id": client}
        if path == "/oauth2/token":
            fields |= {"grant_type": "client_credentials"}
        elif path == "/oauth2/par":
            fields |= {n: v[0] for n, v in parse_qs(self.request(client_id=client)).items()}
        else:
            fields |= {"token": self.tokens["refresh_token"]}
        sent = await self.send(path, **fields)
        if sent.status_code in (200, 201):
            return True
        return _unless(
            (sent.status_code, sent.json()["error"]) == (401, "invalid_client") or sent.status_code == 413,
            sent,
        )


def _malformed(sent: httpx.Response, token: str) -> bool:
    """Refused before it was looked at: too long, or with a NUL."""
    return sent.status_code in (400, 413) and (len(token) > 4096 or "\0" in token or token.strip() == "")


def _unless(refused: bool, sent: httpx.Response) -> bool:
    """False for a refusal of the right kind; a failed test for any other answer."""
    assert refused, (sent.status_code, sent.text[:300])
    return False


async def doors(house: House, person: Person | None = None) -> Doors:
    """The client registered, the person signed in, and tokens bought."""
    secret = await client_flow.create(house.world, WEB)
    visitor = Visitor(person or await house.a_person())
    await visitor.sign_in()
    made = Doors(house, visitor, secret or "")
    await made.buy()
    return made


class Signer:
    """A client that proves itself by a key: its assertions."""

    def __init__(self, house: House, alg: str) -> None:
        self.house, self.alg = house, alg
        self.key: PrivateKey
        if alg == "ES256":
            self.key = ec.generate_private_key(ec.SECP256R1())
        elif alg == "RS256":
            self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        else:
            self.key = Ed25519PrivateKey.generate()
        pem = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        kty = {"ES256": "EC", "RS256": "RSA", "Ed25519": "OKP"}[alg]
        numbers: Any = JWKRegistry.import_key(pem, kty).as_dict(private=False)
        self.jwk = {**{k: v for k, v in numbers.items() if k != "kid"}, "kid": "one"}

    async def register(self) -> None:
        record = replace(
            WEB, id="signer", token_endpoint_auth_method="private_key_jwt", jwks={"keys": [self.jwk]}
        )
        await client_flow.create(self.house.world, record)

    def genuine(self, listener: str = "") -> Genuine:
        """A new assertion, good once."""
        now = int(self.house.clock.now().timestamp())
        claims = {
            "iss": "signer",
            "sub": "signer",
            "aud": ISSUER,
            "iat": now,
            "nbf": now,
            "exp": now + 60,
            "jti": self.house.world.entropy.token(8).hex(),
        }
        body = f"{b64({'alg': self.alg, 'typ': 'JWT', 'kid': 'one'})}.{b64(claims)}"
        text = f"{body}.{b64(signature(self.key, body.encode()))}"
        return Genuine(text, self.key, self.jwk, listener)
