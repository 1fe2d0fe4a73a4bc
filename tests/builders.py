"""People, and the doors they use. Builders read as prose: `await house.a_person().with_totp()`."""

import itertools
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import httpx

from service.clock import Clock
from service.domain import totp
from service.flows import accounts as account_flow
from service.flows import enrolment
from service.sections import HashSettings
from service.stores import factors as factor_store
from service.world import World

ENCRYPTION_KEYS = "test:dGVzdCB2YWx1ZSwgbmV2ZXIgdXNlIGl0ISAwMTIzNDU="
#: The least a hash may cost: most tests make people and sign them in, and prove nothing about that.
CHEAP = {"memory_kib": 8192, "passes": 1}
#: What it costs unless a setting says otherwise, for the tests of just that.
DEAR = {f"hash.{name}": value for name, value in HashSettings().model_dump(include=set(CHEAP)).items()}
PASSWORD = "test-value correct horse"
_serial = itertools.count(1)


class FixedClock(Clock):
    """Stands still until a test moves it. It begins at the machine's time, at the start of a step."""

    def __init__(self) -> None:
        super().__init__()
        real = datetime.now(UTC)
        self._now = real.replace(microsecond=0) - timedelta(seconds=real.timestamp() % 30 - 5)

    def now(self) -> datetime:
        return self._now

    def set_to(self, true: datetime) -> None:
        self.skew = 0.0

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@dataclass
class Person:
    """Somebody with a password and, where they have one, an authenticator app of their own."""

    world: World
    client: httpx.AsyncClient
    email: str
    id: UUID
    secret: bytes = b""
    authenticator: UUID | None = None
    codes: list[str] = field(default_factory=list)
    password: str = PASSWORD
    address: str = "198.51.100.1"

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    def code(self, steps: int = 0) -> str:
        """What the app shows now, or so many steps later."""
        return totp.code_at(self.secret, totp.step_at(self.now) + steps)

    def wrong_code(self, *, but: int = 0) -> str:
        """Six digits that belong to no step near the present; `but` picks another."""
        near = {self.code(steps) for steps in range(-25, 4)}
        wrong = (f"{(but * 7919 + 101) % 10**6:06}" for but in itertools.count(but))
        return next(code for code in wrong if code not in near)

    async def post(
        self, path: str, body: Any, *, bearer: str | None = None, **headers: str
    ) -> httpx.Response:
        """POST as this person's browser, from their address."""
        sent = {"x-forwarded-for": self.address, **headers}
        if bearer:
            sent["authorization"] = f"Bearer {bearer}"
        return await self.client.post(path, json=body, headers=sent)

    async def get(self, path: str, *, bearer: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return await self.client.get(path, headers=headers)

    async def login(self, **more: object) -> httpx.Response:
        return await self.post("/v1/sign-in", {"email": self.email, "password": self.password} | more)

    async def pre_auth(self, **more: object) -> str:
        """A pre-auth token."""
        answer = await self.login(**more)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["pre_auth_token"]
        return token

    async def verify(self, token: str, code: str, **more: object) -> httpx.Response:
        return await self.post("/v1/sign-in/second-factor", {"pre_auth_token": token, "code": code} | more)

    async def sign_in(self, **more: object) -> dict[str, Any]:
        """The whole sign-in; the tokens. An enrolled person's next step must be unspent."""
        answer = await self.login(**more)
        if answer.json()["status"] == "second_factor_required":
            answer = await self.verify(answer.json()["pre_auth_token"], self.code())
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "complete", answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def refresh(self, token: str, **more: object) -> httpx.Response:
        return await self.post("/v1/tokens/refresh", {"refresh_token": token} | more)


class Being:
    """A person in the making; awaiting it makes them."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._totp = False
        self._changes: dict[str, str] = {}
        self._roles: list[str] = []

    def with_totp(self) -> Self:
        """One confirmed authenticator and five backup codes."""
        self._totp = True
        return self

    def with_role(self, role: str) -> Self:
        self._roles.append(role)
        return self

    def disabled(self) -> Self:
        self._changes["disabled_at"] = "now()"
        return self

    def unverified(self) -> Self:
        self._changes["email_verified_at"] = "NULL"
        return self

    def who_must_change_their_password(self) -> Self:
        self._changes["must_change_password"] = "true"
        return self

    def __await__(self) -> Generator[Any, None, Person]:
        return self._make().__await__()

    async def _make(self) -> Person:
        world, number = self._house.world, next(_serial)
        email = f"person{number}@example.com"
        made = await account_flow.create(world, email, PASSWORD, roles=self._roles)
        person = Person(
            world, self._house.client, email, made, address=f"198.51.{number // 250 % 250}.{number % 250}"
        )
        if self._totp:
            await _enrol(world, person)
        if self._changes:
            assignments = ", ".join(f"{column} = {value}" for column, value in self._changes.items())
            async with world.db.connection() as connection:
                await connection.execute(f"UPDATE person SET {assignments} WHERE id = $1", made)
        return person


async def _enrol(world: World, person: Person) -> None:
    """Turn the second factor on as if it had been done yesterday: no step of today is spent."""
    person.secret, person.authenticator = world.entropy.token(20), world.row_id()
    seed = world.sealer.seal(
        person.secret, world.entropy.token(12), "totp", str(person.id), str(person.authenticator)
    )
    async with world.db.connection() as connection:
        salt = (await factor_store.spent(connection, person.id, known=False)).code_salt
    codes = await enrolment.new_codes(world, salt)
    person.codes = list(codes.texts)

    async def act(tx: Any) -> None:
        await factor_store.start(
            tx,
            person=person.id,
            authenticator=person.authenticator,  # type: ignore[arg-type]
            name="Phone",
            seed=seed,
            started_by="session:test",
            now=person.now,
            expires_at=person.now + timedelta(minutes=15),
        )
        await factor_store.confirm(tx, person.id, person.authenticator, 1, person.now)  # type: ignore[arg-type]
        await enrolment.keep_codes(tx, person.id, codes)

    await world.db.transact(act)


@dataclass
class House:
    """Makes people, and looks into the database as an auditor would."""

    world: World
    client: httpx.AsyncClient

    def a_person(self) -> Being:
        return Being(self)

    @property
    def clock(self) -> FixedClock:
        assert isinstance(self.world.clock, FixedClock)
        return self.world.clock

    async def rows(self, query: str, *arguments: object) -> list[Any]:
        async with self.world.db.connection() as connection:
            return list(await connection.fetch(query, *arguments))

    async def value(self, query: str, *arguments: object) -> Any:
        async with self.world.db.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def events(self, name: str) -> list[Any]:
        """The audit rows of a name, oldest first."""
        return await self.rows("SELECT * FROM audit_event WHERE name = $1 ORDER BY id", name)

    async def letters(self, person: Person) -> list[str]:
        """The kinds of letters owed to a person, oldest first."""
        found = await self.rows("SELECT kind FROM outbox WHERE person_id = $1 ORDER BY id", person.id)
        return [row["kind"] for row in found]
