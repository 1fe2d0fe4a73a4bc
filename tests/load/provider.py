"""What the provider's endpoints cost: `python -m tests.load.provider`. Loopback only, some minutes.

CPU is the kernel's accounting of the processes of a real `doorward serve`, and of its Postgres apart. Every
answer is read, and must be the one that was wanted: a refusal ends the run, since it is cheaper than what it
refuses. The requests are bytes over connections that are kept, because a client library costs more than the
service does, on the same cores.
"""

import asyncio
import base64
import hashlib
import json
import os
import platform
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import psutil

from service.domain.oidc.clients import Client
from service.embedded import Embedded
from service.flows import clients as client_flow
from service.settings import Settings, variable
from service.stores import keys as key_store
from service.stores import schema
from service.world import World, make_world
from tests.builders import ENCRYPTION_KEYS, House
from tests.conformance.browser import Browser, Left
from tests.programs import ROOT, clean_environ, free_port

#: Runs of the whole table; the median of each figure is told, with the least and the most.
RUNS = 3
#: Connections at once, each of a person of its own: else all would wait for one person's row.
LANES = 4
#: Requests of a row, and how many of them come before the figures begin.
REQUESTS, WARM = 2000, 200
#: A row without Postgres is so cheap that the kernel's clock (10 ms) needs more of them.
CHEAP = 6000
CALLBACK = "https://portal.example/callback"
SCOPE = "openid profile email"
VERIFIER = "test-value-a-verifier-that-is-long-enough-for-rfc-7636"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ES256, RS256, MACHINE = "portal-es256", "portal-rs256", "machine"


@dataclass
class Lane:
    """A connection to the service, the signed-in browser of its person, and what its portal holds."""

    secrets: Mapping[str, str]
    cookie: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    codes: list[str] = field(default_factory=list)
    access: str = ""
    #: The latest refresh token of each client.
    refresh: dict[str, str] = field(default_factory=dict)
    #: Seconds that each request took, from its first byte out to the last one in.
    took: list[float] = field(default_factory=list)

    async def ask(self, method: str, target: str, body: str = "", **headers: str) -> "Answer":
        """Send a request and read its whole answer."""
        told = {"host": "127.0.0.1", **headers}
        if body:
            told |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        sent = f"{method} {target} HTTP/1.1\r\n{head}\r\n{body}".encode("ascii")
        began = time.perf_counter()
        self.writer.write(sent)
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        found = await self.reader.readexactly(int(fields["content-length"]))
        self.took.append(time.perf_counter() - began)
        return Answer(int(status.split(" ")[1]), fields.get("location", ""), found)

    async def post(self, client: str, target: str, **fields: str) -> Mapping[str, Any]:
        """Send a form as a client that proves itself by its secret; the JSON of a good answer."""
        proof = base64.b64encode(f"{client}:{self.secrets[client]}".encode()).decode()
        answer = await self.ask("POST", target, urlencode(fields), authorization=f"Basic {proof}")
        return answer.json()


@dataclass(frozen=True)
class Answer:
    status: int
    location: str
    body: bytes

    def json(self) -> Mapping[str, Any]:
        """The body of a good answer."""
        assert self.status == 200, (self.status, self.body)
        told: Mapping[str, Any] = json.loads(self.body)
        return told


Act: TypeAlias = Callable[[Lane], Awaitable[None]]


# What is asked, and what must come of it


async def discovery(lane: Lane) -> None:
    told = (await lane.ask("GET", "/.well-known/openid-configuration")).json()
    assert told["token_endpoint"].endswith("/oauth2/token")


async def jwks(lane: Lane) -> None:
    told = (await lane.ask("GET", "/oauth2/jwks")).json()
    assert {"ES256", "RS256"} <= {key["alg"] for key in told["keys"]}


async def authorize(lane: Lane, client: str = ES256) -> None:
    """A code at once, which the lane keeps: the browser is signed in, and the portal is of the house."""
    asked = {
        "client_id": client,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": SCOPE,
        "state": "test-value-of-a-state",
        "nonce": "test-value-of-a-nonce",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "prompt": "none",
    }
    answer = await lane.ask("GET", f"/oauth2/authorize?{urlencode(asked)}", cookie=lane.cookie)
    assert answer.status == 303, (answer.status, answer.body)
    assert answer.location.startswith(CALLBACK), answer.location
    (code,) = parse_qs(urlsplit(answer.location).query)["code"]
    lane.codes.append(code)


async def exchange(lane: Lane, client: str = ES256) -> None:
    told = await lane.post(
        client,
        "/oauth2/token",
        grant_type="authorization_code",
        code=lane.codes.pop(0),
        redirect_uri=CALLBACK,
        code_verifier=VERIFIER,
    )
    _signed_by(told["access_token"], "ES256")
    _signed_by(told["id_token"], client.removeprefix("portal-").upper())
    lane.access, lane.refresh[client] = told["access_token"], told["refresh_token"]


async def userinfo(lane: Lane) -> None:
    told = (await lane.ask("GET", "/oauth2/userinfo", authorization=f"Bearer {lane.access}")).json()
    assert told["sub"]
    assert told["email"].endswith("@example.com")


async def introspect(lane: Lane) -> None:
    told = await lane.post(ES256, "/oauth2/introspect", token=lane.access)
    assert told["active"] is True
    assert told["client_id"] == ES256


async def client_credentials(lane: Lane) -> None:
    told = await lane.post(MACHINE, "/oauth2/token", grant_type="client_credentials")
    _signed_by(told["access_token"], "ES256")


async def refresh(lane: Lane, client: str = ES256) -> None:
    before = lane.refresh[client]
    told = await lane.post(client, "/oauth2/token", grant_type="refresh_token", refresh_token=before)
    _signed_by(told["access_token"], "ES256")
    _signed_by(told["id_token"], client.removeprefix("portal-").upper())
    assert told["refresh_token"] != before
    lane.refresh[client] = told["refresh_token"]


async def refresh_rs256(lane: Lane) -> None:
    await refresh(lane, RS256)


def _signed_by(token: str, alg: str) -> None:
    head = token.partition(".")[0]
    found = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    assert found["alg"] == alg, found


#: In the order in which they run: `authorize` mints the codes that `exchange` spends.
ROWS: Mapping[str, tuple[Act, int]] = {
    "discovery": (discovery, CHEAP),
    "JWKS": (jwks, CHEAP),
    "authorize, `prompt=none`, signed in": (authorize, REQUESTS),
    "code exchange, ID token ES256": (exchange, REQUESTS),
    "userinfo": (userinfo, REQUESTS),
    "introspection of an access token": (introspect, REQUESTS),
    "client_credentials, ES256": (client_credentials, REQUESTS),
    "refresh with ID token, ES256": (refresh, REQUESTS),
    "refresh with ID token, RS256": (refresh_rs256, REQUESTS),
}


# How it is measured


@dataclass(frozen=True)
class Figure:
    """Of one request: microseconds of the service's and Postgres's CPU, milliseconds of latency."""

    service: float
    postgres: float
    median: float
    p99: float


async def measure(lanes: list[Lane], act: Act, requests: int, service: int, postgres: int) -> Figure:
    """All lanes at once, each one request after the other; the first `WARM` of them do not count."""

    async def each(times: int) -> None:
        async def one(lane: Lane) -> None:
            for _ in range(times // len(lanes)):
                await act(lane)

        await asyncio.gather(*map(one, lanes))

    await each(WARM)
    for lane in lanes:
        lane.took.clear()
    before = spent(service), spent(postgres)
    await each(requests)
    after = spent(service), spent(postgres)
    took = [seconds * 1000 for lane in lanes for seconds in lane.took]
    assert len(took) == requests
    mine, theirs = ((new - old) / requests * 1e6 for new, old in zip(after, before, strict=True))
    return Figure(mine, theirs, statistics.median(took), statistics.quantiles(took, n=100)[98])


def spent(pid: int) -> float:
    """CPU seconds so far of a process and its children, those that ended with them."""
    parent = psutil.Process(pid)
    ended = parent.cpu_times()
    total: float = ended.children_user + ended.children_system
    for process in (parent, *parent.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


async def figures() -> None:
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp())
        stack.callback(shutil.rmtree, folder)
        embedded = Embedded(folder / "data")
        servers = embedded.start()
        stack.callback(embedded.stop)
        await schema.up(servers.postgres_url)
        port = free_port()
        over = {
            "dev": True,
            "issuer": f"http://127.0.0.1:{port}",
            "port": port,
            "encryption_keys": ENCRYPTION_KEYS,
            "database.url": servers.postgres_url,
            "redis.url": servers.redis_url,
            "log_level": "warning",
        }
        world = make_world(Settings.load(over, environ={}))
        stack.push_async_callback(world.close)
        await world.db.transact(
            lambda tx: key_store.ensure(tx, world.sealer, world.entropy, world.clock.now())
        )
        await world.refresh()
        environ = clean_environ() | {variable(name): str(value) for name, value in over.items()}
        server = subprocess.Popen([sys.executable, "-m", "service", "serve"], cwd=ROOT, env=environ)
        # In a thread: the server waits for our connections, which this loop has still to close.
        stack.push_async_callback(asyncio.to_thread, server.wait, 30)
        stack.callback(server.terminate)
        lanes = await _lanes(stack, world, port)
        found: dict[str, list[Figure]] = {name: [] for name in ROWS}
        assert embedded.postgres_pid is not None
        for _ in range(RUNS):
            for name, (act, requests) in ROWS.items():
                figure = await measure(lanes, act, requests, server.pid, embedded.postgres_pid)
                found[name].append(figure)
        _print(found)


async def _lanes(stack: AsyncExitStack, world: World, port: int) -> list[Lane]:
    """Connections, each with a signed-in browser and a first refresh token of the RS256 portal."""
    issuer = world.settings.issuer
    outside = await stack.enter_async_context(httpx.AsyncClient(base_url=issuer, trust_env=False))
    while True:
        try:
            if (await outside.get("/readyz")).status_code == 200:
                break
        except httpx.HTTPError:
            await asyncio.sleep(0.05)
    secrets = await _register(world)
    house, trust = House(world, outside), ssl.create_default_context()
    lanes = []
    for _ in range(LANES):
        browser = Browser(issuer, await house.a_person().with_totp(), trust)
        await stack.enter_async_context(browser.client)
        asked = {"client_id": RS256, "redirect_uri": CALLBACK, "response_type": "code", "scope": SCOPE}
        asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        left = await browser.through(await browser.open(f"{issuer}/oauth2/authorize?{urlencode(asked)}"))
        assert isinstance(left, Left)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)
        cookie = "; ".join(f"{name}={value}" for name, value in browser.client.cookies.items())
        lanes.append(Lane(secrets, cookie, reader, writer, [left.parameters["code"]]))
        await exchange(lanes[-1], RS256)
    return lanes


async def _register(world: World) -> Mapping[str, str]:
    """Two portals of the house, which differ in the algorithm of their ID tokens, and a machine: the secret
    of each."""
    portal: dict[str, Any] = {
        "redirect_uris": (CALLBACK,),
        "grant_types": ("authorization_code", "refresh_token"),
        "scopes": tuple(SCOPE.split()),
        "first_party": True,
    }
    secrets = {}
    for client in (
        Client(ES256, "Portal", id_token_signed_response_alg="ES256", **portal),
        Client(RS256, "Portal", id_token_signed_response_alg="RS256", **portal),
        Client(MACHINE, "Machine", grant_types=("client_credentials",), scopes=("reports:read",)),
    ):
        secret = await client_flow.create(world, client)
        assert secret is not None
        secrets[client.id] = secret
    return secrets


def _print(found: Mapping[str, list[Figure]]) -> None:
    """The table as it stands in docs/measurements.md."""
    print("| request | CPU of the service, µs | CPU of Postgres, µs | median, ms | p99, ms |")
    print("| --- | --- | --- | --- | --- |")
    for name, figures in found.items():
        cells = [
            _told([one.service for one in figures], 0),
            _told([one.postgres for one in figures], 0),
            _told([one.median for one in figures], 1),
            _told([one.p99 for one in figures], 1),
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def _told(values: list[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def main() -> None:
    python = platform.python_version()
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.machine()}, Python {python}")
    print(f"{REQUESTS:,} requests a row ({CHEAP:,} of the first two), {LANES} connections, {RUNS} runs:")
    asyncio.run(figures())


if __name__ == "__main__":
    main()
