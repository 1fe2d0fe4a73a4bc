"""The provider, as any portal sees it: what its metadata says, and what it answers."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

import httpx
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from service.clock import Clock

#: How far the two clocks may be apart, and how soon the keys may be read again, seconds.
_LEEWAY, _KEYS_AGAIN = 30, 5
ID_TOKEN, LOGOUT_TOKEN = frozenset({"", "jwt"}), frozenset({"logout+jwt", "application/logout+jwt"})


class Refused(Exception):
    """Something that this portal does not go on with: what happened, for the person, and a status."""

    def __init__(self, title: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.title, self.text, self.status = title, text, status


class Provider:
    """An OpenID provider: what its metadata says, and what it answers."""

    def __init__(
        self, issuer: str, client_id: str, secret: str, clock: Clock, http: httpx.AsyncClient
    ) -> None:
        self.issuer, self.client_id, self.http = issuer, client_id, http
        self._auth, self._clock = httpx.BasicAuth(quote_plus(client_id), quote_plus(secret)), clock
        self._metadata: Mapping[str, Any] = {}
        self._keys, self._keys_at = KeySet([]), 0.0

    async def metadata(self) -> Mapping[str, Any]:
        """Read once. It must be the issuer's own (Discovery §4.3): another could name its own endpoints."""
        if not self._metadata:
            url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = await self._ask("GET", url)
            if found.get("issuer") != self.issuer:
                raise Refused("Not the issuer", "The provider's metadata names another issuer.", 502)
            self._metadata = found
        return self._metadata

    async def tokens(self, **grant: str) -> Mapping[str, Any]:
        """Exchange a grant (RFC 6749 §4.1.3, §6), as the client that this portal is."""
        return await self._ask("POST", (await self.metadata())["token_endpoint"], data=grant, auth=self._auth)

    async def userinfo(self, access_token: str, sub: str) -> Mapping[str, Any]:
        """Who that is. Another person's answer must not be believed (Core §5.3.2)."""
        bearer = {"Authorization": f"Bearer {access_token}"}
        found = await self._ask("GET", (await self.metadata())["userinfo_endpoint"], headers=bearer)
        if found.get("sub") != sub:
            raise Refused("Another person", "The userinfo endpoint told of somebody else.", 502)
        return found

    async def identity(self, answer: Mapping[str, Any], nonce: str | None) -> Mapping[str, Any]:
        """The claims of the ID token that came with an access token (Core §3.1.3.7, §3.1.3.8). A refresh
        has no nonce to fit (§12.2)."""
        access, token = answer.get("access_token"), answer.get("id_token")
        if not (isinstance(access, str) and isinstance(token, str)) or answer.get("token_type") != "Bearer":
            raise Refused("Incomplete tokens", "Doorward's answer has not the tokens that it must have.", 502)
        claims = await self.claims(token, ID_TOKEN)
        if not isinstance(claims.get("sub"), str) or (nonce and claims.get("nonce") != nonce):
            raise Refused("Not our ID token", "The ID token does not belong to this sign-in (nonce).")
        half = hashlib.sha256(access.encode()).digest()[:16]
        if claims.get("at_hash") != b64(half):
            raise Refused("Not our ID token", "The ID token belongs to another access token (at_hash).")
        return claims

    async def claims(self, token: str, kinds: frozenset[str]) -> Mapping[str, Any]:
        """What the provider signed for this client, and for now."""
        try:
            header = jws.extract_compact(token.encode()).headers()
            if str(header.get("typ", "")).lower() not in kinds:
                raise Refused("Not that token", "The token is of another kind (typ).")
            claims = jwt.decode(token, await self._key(header.get("kid")), algorithms=["RS256"]).claims
            required = {name: {"essential": True} for name in ("exp", "iat")}
            now = int(self._clock.now().timestamp())
            jwt.JWTClaimsRegistry(now, _LEEWAY, **required).validate(claims)  # type: ignore[arg-type]
        except (JoseError, ValueError) as fault:
            raise Refused("Not a good token", f"The token does not hold: {fault}.") from None
        if claims.get("iss") != self.issuer:
            raise Refused("Not the issuer", "The token is of another issuer (iss).")
        # A second audience would be somebody who could show the token here; there is nobody whom we trust so.
        if claims.get("aud") not in (self.client_id, [self.client_id]):
            raise Refused("Not our token", "The token is for another client (aud).")
        if claims.get("azp", self.client_id) != self.client_id:
            raise Refused("Not our token", "The token was given to another client (azp).")
        return claims

    async def _key(self, kid: object) -> RSAKey:
        """The key of that name. A new one means that the keys were rotated: they are read once more."""
        for late in (False, True):
            if late and (now := self._clock.now().timestamp()) - self._keys_at >= _KEYS_AGAIN:
                found = await self._ask("GET", (await self.metadata())["jwks_uri"])
                self._keys, self._keys_at = KeySet.import_key_set(found), now  # type: ignore[arg-type]
            for key in self._keys.keys:
                if kid is not None and key.kid == kid and isinstance(key, RSAKey):
                    return key
        raise Refused("An unknown key", "The token is signed by a key that the provider does not publish.")

    async def _ask(self, method: str, url: str, **more: Any) -> Mapping[str, Any]:
        try:
            answer = await self.http.request(method, url, **more)
            body = answer.json()
        except (httpx.HTTPError, ValueError):
            raise Refused("No answer", "Doorward did not answer as it should. Try again.", 502) from None
        if not isinstance(body, dict) or answer.status_code == 429 or answer.status_code >= 500:
            raise Refused("No answer", "Doorward could not answer just now. Try again.", 502)
        if answer.status_code != 200:
            raise Refused("Doorward refused", told(body))
        return body


def told(answer: Mapping[str, Any]) -> str:
    """What the provider says of its refusal (RFC 6749 §4.1.2.1, §5.2)."""
    error, text = str(answer.get("error", "no code"))[:60], str(answer.get("error_description", ""))[:200]
    return f"Doorward says: {error}" + (f" ({text})." if text else ".")


def b64(data: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
