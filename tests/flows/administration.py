"""What the tests of administration share: its doors, and people who may use them."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.builders import House, Person
from tests.flows.account import call

USERS = "/v1/admin/users"
#: Every door: the method, what follows the person's path, a body that is right, who may, and whether it needs
#: a fresh proof.
DOORS: list[tuple[str, str, object, tuple[str, ...], bool]] = [
    ("GET", "", None, ("admin", "support", "auditor"), False),
    ("PATCH", "", {"status": "disabled"}, ("admin",), True),
    ("PATCH", "", {"status": "active"}, ("admin",), True),
    ("PATCH", "", {"roles": ["auditor"]}, ("admin",), True),
    ("PATCH", "", {}, ("admin",), True),
    ("POST", "/reset-two-factor", {"reason": "lost phone"}, ("admin",), True),
    ("POST", "/end-sessions", None, ("admin", "support"), False),
    ("POST", "/unlock", None, ("admin",), True),
]


@dataclass
class Administrator:
    """Somebody with a role, signed in with both factors."""

    person: Person
    tokens: dict[str, Any]

    @property
    def bearer(self) -> str:
        token: str = self.tokens["access_token"]
        return token

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        if method == "PATCH":
            headers = {"if-match": "*"} | headers
        return await call(self.person, method, path, body, bearer=self.bearer, **headers)

    async def listed(self, **asked: object) -> dict[str, Any]:
        query = "&".join(f"{name}={value}" for name, value in asked.items())
        answer = await self.call("GET", f"{USERS}?{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def emails(self, **asked: object) -> list[str]:
        return [one["email"] for one in (await self.listed(**asked))["data"]]

    async def of(self, person: Person) -> dict[str, Any]:
        answer = await self.call("GET", f"{USERS}/{person.id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def signed_in(house: House, role: str = "admin") -> Administrator:
    person = await house.a_person().with_totp().with_role(role)
    return Administrator(person, await person.sign_in())


async def crowd(house: House, count: int) -> list[str]:
    """People in bulk: every second with a second factor, every tenth of those with few codes, every seventh
    disabled. Their addresses, in order."""
    filling = f"""
    INSERT INTO person (id, sub, email, name, code_salt, created_at, disabled_at)
      SELECT gen_random_uuid(), gen_random_uuid(), 'crowd' || lpad(n::text, 6, '0') || '@example.com',
        'Grace ' || chr(65 + n % 26) || ' Hopper' || n, '', now() - n * interval '1 minute',
        CASE WHEN n % 7 = 0 THEN now() END FROM generate_series(1, {count}) n;
    INSERT INTO authenticator (id, person_id, name, created_at, started_by, expires_at, confirmed_at)
      SELECT gen_random_uuid(), id, 'Phone', now(), 'x', now(), now() FROM person
      WHERE email LIKE 'crowd%' AND substring(email, 6, 6)::int % 2 = 0;
    INSERT INTO backup_set (id, person_id, created_at) SELECT gen_random_uuid(), id, now() FROM person
      WHERE email LIKE 'crowd%' AND two_factor_since IS NOT NULL;
    INSERT INTO backup_code (set_id, ordinal, person_id, digest, pepper_id)
      SELECT s.id, n, s.person_id, '', 'x' FROM backup_set s JOIN person p ON p.id = s.person_id,
        generate_series(1, 5) n WHERE p.email LIKE 'crowd%';
    UPDATE backup_code c SET used_at = now() FROM person p
      WHERE p.id = c.person_id AND p.email LIKE 'crowd%' AND substring(p.email, 6, 6)::int % 20 = 0
        AND ordinal > 2;
    ANALYZE;
    """
    async with house.world.db.connection() as connection:
        await connection.execute(filling, timeout=60)
    found = await house.rows("SELECT email FROM person WHERE email LIKE 'crowd%' ORDER BY email")
    return [row["email"] for row in found]
