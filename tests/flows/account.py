"""What the tests of one's own account share: its doors, a session seen from inside, and a browser's."""

import base64
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from service.domain import totp
from service.domain.sign_in import PAGES, Origin
from service.flows import sessions as session_flow
from service.flows import sign_in as sign_in_flow
from service.flows.sessions import Caller
from service.http.browser import csrf_token
from tests.builders import House, Person

ME = "/v1/me"
PASSWORD = "/v1/me/password"
AUTHENTICATORS = "/v1/me/two-factor/authenticators"
BACKUP_CODES = "/v1/me/two-factor/backup-codes"
DISABLE = "/v1/me/two-factor/disable"
SESSIONS = "/v1/me/sessions"
END_OTHERS = "/v1/me/sessions/end-others"
SIGN_INS = "/v1/me/sign-ins"
TRUSTED = "/v1/me/trusted-browsers"
STEP_UP = "/v1/reauthentication"
NOBODY = "00000000-0000-7000-8000-000000000000"
NEW_PASSWORD = "a new horse and its battery"
#: Every door of the account: the method, the path, and a body that could be right.
DOORS: list[tuple[str, str, dict[str, object] | None]] = [
    ("GET", ME, None),
    ("PATCH", ME, {"name": "Ada"}),
    ("POST", PASSWORD, {"current_password": "test-value", "new_password": NEW_PASSWORD}),
    ("POST", AUTHENTICATORS, {}),
    ("GET", f"{AUTHENTICATORS}/{NOBODY}", None),
    ("POST", f"{AUTHENTICATORS}/{NOBODY}/confirm", {"code": "123456"}),
    ("PATCH", f"{AUTHENTICATORS}/{NOBODY}", {"name": "Phone"}),
    ("DELETE", f"{AUTHENTICATORS}/{NOBODY}", None),
    ("POST", BACKUP_CODES, None),
    ("POST", f"{BACKUP_CODES}/saved", {"set_id": NOBODY}),
    ("POST", DISABLE, {"password": "test-value", "code": "123456"}),
    ("GET", SESSIONS, None),
    ("DELETE", f"{SESSIONS}/{NOBODY}", None),
    ("POST", END_OTHERS, None),
    ("GET", SIGN_INS, None),
    ("GET", TRUSTED, None),
    ("DELETE", f"{TRUSTED}/{NOBODY}", None),
    ("DELETE", TRUSTED, None),
    ("POST", STEP_UP, {"password": "test-value"}),
    ("POST", "/v1/sign-out", None),
]


async def call(
    person: Person, method: str, path: str, body: object = None, *, bearer: str | None = None, **headers: str
) -> httpx.Response:
    """Any method as this person, from their address."""
    sent = {"x-forwarded-for": person.address, **headers}
    if bearer:
        sent["authorization"] = f"Bearer {bearer}"
    if body is None:
        return await person.client.request(method, path, headers=sent)
    return await person.client.request(method, path, json=body, headers=sent)


async def refreshed(person: Person, tokens: dict[str, Any]) -> dict[str, Any]:
    answer = await person.refresh(tokens["refresh_token"])
    assert answer.status_code == 200, answer.text
    fresh: dict[str, Any] = answer.json()
    return fresh


async def without_step_up(house: House, person: Person, tokens: dict[str, Any]) -> dict[str, Any]:
    """The same session when its last full proof is too old."""
    house.clock.advance(301)
    return await refreshed(person, tokens)


async def step_up(person: Person, bearer: str, code: str | None = None) -> httpx.Response:
    proof = {"password": person.password} | ({"code": code} if code else {})
    return await person.post(STEP_UP, proof, bearer=bearer)


async def rename(person: Person, bearer: str, authenticator: object, name: object) -> httpx.Response:
    return await call(person, "PATCH", f"{AUTHENTICATORS}/{authenticator}", {"name": name}, bearer=bearer)


async def remove(person: Person, bearer: str, authenticator: object) -> httpx.Response:
    return await call(person, "DELETE", f"{AUTHENTICATORS}/{authenticator}", bearer=bearer)


async def disable(person: Person, bearer: str, code: str, **more: object) -> httpx.Response:
    return await person.post(DISABLE, {"password": person.password, "code": code} | more, bearer=bearer)


async def start(person: Person, bearer: str, name: str | None = None) -> dict[str, Any]:
    answer = await person.post(AUTHENTICATORS, {"name": name} if name else {}, bearer=bearer)
    assert answer.status_code == 201, answer.text
    started: dict[str, Any] = answer.json()
    return started


def secret_of(started: Any) -> bytes:
    """The seed as an app would read it from the key that is shown."""
    return base64.b32decode(started["secret"].replace(" ", ""))


def shown(person: Person, started: Any, steps: int = 0) -> str:
    """What an app that read the key shows."""
    return totp.code_at(secret_of(started), totp.step_at(person.now) + steps)


async def confirm(person: Person, bearer: str, started: Any, code: str | None = None) -> httpx.Response:
    path = f"{AUTHENTICATORS}/{started['id']}/confirm"
    return await person.post(path, {"code": code or shown(person, started)}, bearer=bearer)


async def two_factor(person: Person, bearer: str) -> Any:
    return (await person.get(ME, bearer=bearer)).json()["two_factor"]


async def successes(house: House, person: Person) -> int:
    """How many codes of an app were accepted for a person, at any door."""
    found: int = await house.value(
        "SELECT count(*) FROM audit_event WHERE person_id = $1 AND result = 'ok' "
        "AND name LIKE ANY (ARRAY['account:second_factor:%', 'session:reauth%', 'two_factor:%']) "
        "AND detail ? 'step' AND detail ->> 'step' <> 'null'",
        person.id,
    )
    return found


async def another(house: House, person: Person, name: str = "Tablet") -> Any:
    """A second confirmed authenticator, put there as if it had been done yesterday; its id."""
    added = house.world.row_id()
    secret = house.world.entropy.token(20)
    seed = house.world.sealer.seal(secret, house.world.entropy.token(12), "totp", str(person.id), str(added))
    await house.rows(
        "INSERT INTO authenticator "
        "(id, person_id, name, seed, created_at, started_by, expires_at, confirmed_at) "
        "VALUES ($1, $2, $3, $4, $5, 'session:test', $5, $5)",
        added,
        person.id,
        name,
        seed,
        person.now,
    )
    return added


async def authenticators(house: House, person: Person) -> dict[str, str]:
    """The names of a person's confirmed authenticators by id."""
    found = await house.rows(
        "SELECT id, name FROM authenticator WHERE person_id = $1 AND confirmed_at IS NOT NULL", person.id
    )
    return {str(row["id"]): row["name"] for row in found}


async def backup_codes(house: House, person: Person) -> list[Any]:
    """The rows of a person's living set."""
    return await house.rows(
        "SELECT c.* FROM backup_code c JOIN backup_set s ON s.id = c.set_id "
        "WHERE c.person_id = $1 AND s.replaced_at IS NULL ORDER BY ordinal",
        person.id,
    )


async def living(house: House, person: Person) -> set[str]:
    """The sessions of a person that have not ended."""
    found = await house.rows("SELECT id FROM session WHERE person_id = $1 AND ended_at IS NULL", person.id)
    return {str(row["id"]) for row in found}


async def all_of_it(house: House) -> list[list[tuple[Any, ...]]]:
    """Every row an act of the account could change, but the counters and the log."""
    columns = {
        "person": "id, name, language, password_hash, roles, epoch, phone_number, address, disabled_at"
    }
    tables = ("person", "authenticator", "backup_set", "backup_code", "session", "refresh_family")
    return [
        [
            tuple(row)
            for row in await house.rows(f"SELECT {columns.get(table, '*')} FROM {table} ORDER BY 1, 2")
        ]
        for table in tables
    ]


def origin(person: Person) -> Origin:
    return Origin(person.address, "A Browser/1.0", "a-request-id")


async def caller(house: House, bearer: str) -> Caller:
    """What a flow knows of a session, as it was read at the beginning of a request."""
    return await session_flow.caller(house.world, bearer)


async def sessions(person: Person, bearer: str, query: str = "") -> list[Any]:
    answer = await person.get(f"{SESSIONS}{query}", bearer=bearer)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["data"]
    return found


async def end(person: Person, bearer: str, session: str) -> Any:
    return await call(person, "DELETE", f"{SESSIONS}/{session}", bearer=bearer)


async def pages(house: House, path: str, bearer: str) -> list[Any]:
    """Every page of a list, two rows at a time."""
    rows: list[Any] = []
    cursor = ""
    for _ in range(20):
        join = "&" if "?" in path else "?"
        answer = await house.client.get(
            f"{path}{join}limit=2{cursor}", headers={"authorization": f"Bearer {bearer}"}
        )
        assert answer.status_code == 200, answer.text
        rows += answer.json()["data"]
        if answer.json()["next_cursor"] is None:
            return rows
        cursor = f"&cursor={answer.json()['next_cursor']}"
    raise AssertionError("the list never ends")


_names = itertools.count(1)


@dataclass
class Browser:
    """A browser that is signed in by a cookie. It sends what it is told and keeps the newest cookie."""

    house: House
    person: Person
    cookie: str
    name: str

    async def send(
        self, method: str, path: str, body: object = None, *, csrf: str | None = None, **headers: str
    ) -> httpx.Response:
        """Send the cookies, and with `csrf` the header that our own page sends."""
        cookies = f"doorward-dev={self.cookie}; doorward-dev-browser={self.name}"
        sent = {"cookie": cookies, **headers} | ({"x-csrf-token": csrf} if csrf is not None else {})
        answer = await call(self.person, method, path, body, **sent)
        self.house.client.cookies.clear()
        self.cookie = self.newest(answer) or self.cookie
        return answer

    async def own(self, method: str, path: str, body: object = None) -> httpx.Response:
        """What our own page sends."""
        return await self.send(method, path, body, csrf=await self.csrf())

    async def csrf(self) -> str:
        seen = await session_flow.browser(self.house.world, origin(self.person), self.cookie)
        return csrf_token(self.house.world, self.name, str(seen.session))

    @staticmethod
    def newest(answer: httpx.Response) -> str | None:
        """The value of the session's cookie that an answer sets."""
        for line in answer.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            if name == "doorward-dev":
                return rest.partition(";")[0]
        return None


async def in_browser(house: House, person: Person) -> Browser:
    """Sign in as the pages do; an enrolled person's present code is spent."""
    where = origin(person)
    done = await sign_in_flow.sign_in(house.world, where, person.email, person.password, PAGES, None)
    if isinstance(done, sign_in_flow.Owed):
        done = await sign_in_flow.second_factor(
            house.world, where, done.pre_auth_token, person.code(), None, PAGES
        )
    assert isinstance(done, sign_in_flow.Complete)
    assert isinstance(done.opened, session_flow.BrowserSession)
    return Browser(house, person, done.opened.cookie, f"{next(_names):043}")


def codes_of(answers: Iterable[httpx.Response]) -> set[tuple[int, str]]:
    """The refusals among some answers."""
    return {(one.status_code, one.json()["code"]) for one in answers if one.status_code >= 400}
