"""A flood of sign-ins costs a bounded number of hashes, and nobody else waits behind it (F-19, K-105)."""

import asyncio
import json
import re
import statistics
import sys
import unicodedata
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.faults.conftest import FIGURES, Rig, in_turn, until

pytestmark = pytest.mark.fault

#: Asks for the JWKS and refreshes, one after the other, until told to stop; prints the seconds of each.
BESIDE = """
import http.client, json, select, sys, time
port, token = int(sys.argv[1]), sys.argv[2]
waited = []
link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
def ask(method, path, body=None):
    began = time.monotonic()
    link.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = link.getresponse()
    text = answer.read()
    waited.append(time.monotonic() - began)
    assert answer.status == 200, text
    return json.loads(text)
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.005)[0]:
    ask("GET", "/oauth2/jwks")
    token = ask("POST", "/v1/tokens/refresh", json.dumps({"refresh_token": token}))["refresh_token"]
print(json.dumps(waited))
"""


@pytest.fixture(scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with Rig(tmp_path_factory.mktemp("overload"), 1).opened() as made:
        yield made


#: Sends two hundred sign-ins at once, from a network of its own for each twenty, each on a connection that
#: is open already; prints their statuses and the 503 answers.
FLOOD = """
import json, socket, sys
port, passwords, network = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
def request(number):
    password = passwords[number % len(passwords)]
    body = json.dumps({"email": f"nobody{number}@example.com", "password": password})
    lines = ("POST /v1/sign-in HTTP/1.1", "Host: 127.0.0.1", "Connection: close",
             "Content-Type: application/json",
             f"X-Forwarded-For: {network}.{number // 20}.2", f"Content-Length: {len(body)}", "", body)
    return "\\r\\n".join(lines).encode()
requests = [request(number) for number in range(200)]
links = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in requests]
for link, request in zip(links, requests):
    link.sendall(request)
answers = [b"".join(iter(lambda: link.recv(65536), b"")).decode() for link in links]
print(json.dumps(answers))
"""

#: The dearest password that is still one: 128 code points, sent as 384 that have to be composed (1152 bytes).
LONGEST = unicodedata.normalize("NFD", "각" * 128)


# Alone: a flood of hashes takes every core, and how long others wait beside it is what is measured.
@pytest.mark.alone
@pytest.mark.case("K-105")
@pytest.mark.case("F-19")
async def test_a_flood_of_sign_ins_is_refused_in_order_and_others_do_not_wait(rig: Rig) -> None:
    ada = await rig.house.a_person()
    refresh = (await ada.sign_in())["refresh_token"]
    assert len(LONGEST.encode()) == 1152
    over = await ada.login(password="x" * 1024)
    assert (over.status_code, over.json()["code"]) == (400, "invalid_request"), "refused, and not hashed"

    # Whoever measures and whoever floods live in processes of their own, and the flood is bytes made
    # beforehand: this process holds the proxy that the refreshes go through.
    beside = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BESIDE, str(rig.port), refresh, stdin=PIPE, stdout=PIPE
    )
    assert beside.stdout is not None
    assert await beside.stdout.readline() == b"ready\n"
    passwords = json.dumps((LONGEST, "x" * 128, "😀" * 128))
    answers: list[str] = []
    for network in ("192.0", "198.18", "198.19"):
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FLOOD, str(rig.port), passwords, network, stdout=PIPE
        )
        answers += json.loads((await flood.communicate())[0])
    told, _ = await beside.communicate(b"stop\n")
    waited: list[float] = json.loads(told)
    statuses = Counter(int(answer.split()[1]) for answer in answers)
    assert set(statuses) <= {401, 429, 503}, statuses
    assert statuses[401] > 0
    assert statuses[503] > 0
    for busy in (answer for answer in answers if " 503 " in answer.partition("\r")[0]):
        assert '"code": "temporarily_unavailable"' in busy
        assert re.search(r"\r\nretry-after: [1-9]\d*\r\n", busy.lower())
    memory = max(process.memory_info().rss for process in rig.processes()) / 1e6
    p99, median = statistics.quantiles(waited, n=100, method="inclusive")[98], statistics.median(waited)
    FIGURES.append(
        f"K-105: 200 sign-ins at once, three times: {dict(statuses)}; {len(waited)} JWKS and refresh beside, "
        f"median {median * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms; {memory:.0f} MB"
    )
    assert p99 < 0.1
    assert memory < 400
    assert (await ada.login()).status_code == 200


@pytest.mark.case("K-105")
async def test_bodies_that_trickle_in_hold_no_place(rig: Rig) -> None:
    ada = await rig.house.a_person()
    head = b"POST /v1/sign-in HTTP/1.1\r\nHost: x\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
    links = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(60)]
    for _, writer in links:
        writer.write(head)
        await writer.drain()
    await asyncio.sleep(0.5)
    assert [(await ada.login()).status_code for _ in range(3)] == [200, 200, 200]
    for _, writer in links:
        writer.transport.abort()


async def test_clients_that_go_away_leave_no_connection_behind(rig: Rig) -> None:
    ada = await rig.house.a_person()

    async def give_up(number: int) -> None:
        """Send a whole request and hang up at some moment of its way, without reading."""
        body = json.dumps({"email": f"gone{number}@example.com", "password": "test-value"})
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"POST /v1/sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"X-Forwarded-For: 198.18.{number}.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        await writer.drain()
        await asyncio.sleep(number % 10 * 0.01)
        writer.transport.abort()

    await in_turn(50, 50, give_up)

    async def signed_in() -> bool:
        return (await ada.login()).status_code == 200

    await until(signed_in, 10)
    # A leaked connection would be missing here: as many requests as the pool has, at once, twice.
    token = (await ada.sign_in())["access_token"]
    served = await in_turn(20, 10, lambda _: ada.get("/v1/me", bearer=token))
    assert {answer.status_code for answer in served} == {200}
    assert 1 <= rig.postgres.connections <= 10, "the pool keeps its bound"
    async with rig.sql() as connection:
        stuck = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'doorward' AND state LIKE 'idle in transaction%'"
        )
    assert stuck == 0
