"""A flood of sign-ins costs a bounded number of hashes, and nobody else waits behind it (F-19, K-105)."""

import asyncio
import json
import statistics
import sys
import unicodedata
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator

import httpx
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


#: The dearest password that is still one: 128 code points, sent as 384 that have to be composed (1152 bytes).
LONGEST = unicodedata.normalize("NFD", "각" * 128)


@pytest.mark.case("K-105")
@pytest.mark.case("F-19")
async def test_a_flood_of_sign_ins_is_refused_in_order_and_others_do_not_wait(rig: Rig) -> None:
    ada = await rig.house.a_person()
    refresh = (await ada.sign_in())["refresh_token"]
    assert len(LONGEST.encode()) == 1152
    over = await ada.login(password="x" * 1024)
    assert (over.status_code, over.json()["code"]) == (400, "invalid_request"), "refused, and not hashed"

    async def flood(number: int) -> httpx.Response:
        body = {
            "email": f"nobody{number}@example.com",
            "password": (LONGEST, "x" * 128, "😀" * 128)[number % 3],
        }
        return await ada.post("/v1/sign-in", body, **{"x-forwarded-for": f"192.0.{number // 20}.2"})

    # Whoever measures lives in a process of its own: beside two hundred requests in this one, it would
    # measure this one.
    beside = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BESIDE, str(rig.port), refresh, stdin=PIPE, stdout=PIPE
    )
    assert beside.stdout is not None
    assert await beside.stdout.readline() == b"ready\n"
    answers = await in_turn(200, 200, flood)
    told, _ = await beside.communicate(b"stop\n")
    waited: list[float] = json.loads(told)
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {401, 429, 503}, statuses
    assert statuses[401] > 0
    assert statuses[503] > 0
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["code"] == "temporarily_unavailable"
            assert int(answer.headers["retry-after"]) >= 1
    memory = max(process.memory_info().rss for process in rig.processes()) / 1e6
    p99, median = statistics.quantiles(waited, n=100)[98], statistics.median(waited)
    FIGURES.append(
        f"K-105: 200 sign-ins at once: {dict(statuses)}; {len(waited)} JWKS and refresh beside them, "
        f"median {median * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms; {memory:.0f} MB"
    )
    assert median < 0.1
    assert p99 < 1
    assert memory < 400
    assert (await ada.login()).status_code == 200


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
