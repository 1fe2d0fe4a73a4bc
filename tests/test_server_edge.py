"""The edge of a real `doorward serve`, over raw sockets: what arrives slowly, broken or not at all."""

import json
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from service.embedded import Servers
from tests.programs import doorward, free_port, serve_environ, serving

HEAD = b"POST /v1/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Edge:
    port: int
    log: Path

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(20)
        return connection

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def logged(self, count: int) -> list[dict[str, Any]]:
        """The events from the `count`th on, as soon as there are any."""
        deadline = time.monotonic() + 10
        while len(found := self.events()[count:]) == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


async def _migrated(servers: Servers, name: str) -> dict[str, str]:
    """The environment of a `doorward serve` on a migrated database of its own."""
    admin = await asyncpg.connect(servers.postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    url = servers.postgres_url.replace("/doorward?", f"/{name}?")
    environ = serve_environ(servers, url, free_port())
    assert doorward("migrate", "up", environ=environ).returncode == 0
    return environ


@pytest.fixture(scope="module")
async def environ(servers: Servers) -> dict[str, str]:
    return await _migrated(servers, "server_edge")


@pytest.fixture(scope="module")
def edge(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    log = tmp_path_factory.mktemp("edge") / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # As few open files as a login shell gives: the server inherits that.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        with log.open("wb") as output, serving(environ, output):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            yield Edge(int(environ["DOORWARD_PORT"]), log)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    """The status and everything until the server closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return int(received.split(b" ", 2)[1]), received


def test_a_body_that_trickles_in_is_cut_off_after_ten_seconds(edge: Edge) -> None:
    with edge.connect() as slow:
        slow.sendall(HEAD + b"Content-Length: 60\r\n\r\n")
        began = time.monotonic()
        for _ in range(4):
            slow.sendall(b"{")
            time.sleep(1)
        status, answer = _answer(slow)
        took = time.monotonic() - began
    assert status == 408
    assert 8 < took < 15
    assert b"application/problem+json" in answer
    assert b'"code": "request_timeout"' in answer
    assert b"connection: close" in answer.lower()


def test_a_head_that_never_ends_is_cut_off_after_ten_seconds(edge: Edge) -> None:
    with edge.connect() as slow:
        slow.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        began = time.monotonic()
        while slow.recv(65536):
            pass
        assert 8 < time.monotonic() - began < 15


@pytest.mark.parametrize("path", [b"/v1/sign-in", b"/v1/tokens/refresh", b"/v1/sign-out"])
def test_a_body_in_broken_chunks_is_a_wrong_request(edge: Edge, path: bytes) -> None:
    before = len(edge.events())
    with edge.connect() as broken:
        head = HEAD.replace(b"/v1/sign-in", path)
        broken.sendall(head + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n")
        status, answer = _answer(broken)
    assert status == 400
    assert b'"code": "invalid_request"' in answer
    (event,) = edge.logged(before)
    assert (event["event"], event["level"], event["status"]) == ("request", "info", 400)
    assert event["reason"] == "the body did not arrive whole"


def test_hanging_up_in_mid_body_is_no_fault_of_ours(edge: Edge) -> None:
    before = len(edge.events())
    with edge.connect() as gone:
        gone.sendall(HEAD + b"Content-Length: 60\r\n\r\n{")
        time.sleep(0.3)
    (event,) = edge.logged(before)
    assert (event["event"], event["level"], event["status"]) == ("request", "info", 400)


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/oauth2/jwks", "/.well-known/openid-configuration", "/errors/not_found"]
)
def test_the_head_of_what_can_be_got_is_the_same_without_a_body(edge: Edge, path: str) -> None:
    whole = httpx.get(f"http://127.0.0.1:{edge.port}{path}")
    head = httpx.head(f"http://127.0.0.1:{edge.port}{path}")
    assert (head.status_code, head.content) == (200, b"")
    # What each answer makes anew; a page's policy holds a nonce.
    own = ("x-request-id", "date", "content-security-policy")
    assert [pair for pair in head.headers.items() if pair[0] not in own] == [
        pair for pair in whole.headers.items() if pair[0] not in own
    ]
    assert head.headers["content-length"] == str(len(whole.content))


def test_what_cannot_be_got_has_no_head(edge: Edge) -> None:
    refused = httpx.head(f"http://127.0.0.1:{edge.port}/v1/sign-in")
    assert refused.status_code == 405
    assert "HEAD" not in refused.headers["allow"]
    for path in ("/continue", "//continue", "/continue/", "/oauth2//authorize"):
        once = httpx.head(f"http://127.0.0.1:{edge.port}{path}")
        assert once.status_code == 405, "nor has what is answered once, however it is written"
    told = httpx.delete(f"http://127.0.0.1:{edge.port}/livez")
    assert told.status_code == 405
    assert {"GET", "HEAD"} <= set(told.headers["allow"].split(", "))
    page = httpx.put(f"http://127.0.0.1:{edge.port}/sign-in", headers={"Accept": "text/html"})
    assert (page.status_code, set(page.headers["allow"].split(", "))) == (
        405,
        {"GET", "HEAD", "OPTIONS", "POST"},
    )


def test_http_2_without_tls_is_not_spoken(edge: Edge) -> None:
    with edge.connect() as other:
        other.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        assert not other.recv(65536).startswith(bytes([0, 0]))


def test_its_workers_may_open_as_many_files_as_the_system_allows(edge: Edge) -> None:
    # granian raises the soft limit itself when it is loaded, which is nowhere promised.
    (server,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.laddr and one.laddr[1] == edge.port and one.status == "LISTEN" and one.pid
    }
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert psutil.Process(server).rlimit(psutil.RLIMIT_NOFILE)[0] == hard


def test_a_log_on_a_full_disk_refuses_nobody(environ: dict[str, str]) -> None:
    port = free_port()
    # Without Redis there is something to log in the middle of a request.
    other = environ | {
        "DOORWARD_PORT": str(port),
        "DOORWARD_ISSUER": f"http://127.0.0.1:{port}",
        "DOORWARD_REDIS_URL": "redis://127.0.0.1:1",
    }
    with open("/dev/full", "wb") as full, serving(other, full, ended=(0, 120)) as base:
        for _ in range(3):
            assert httpx.get(f"{base}/livez").status_code == 200
            refused = httpx.post(
                f"{base}/v1/sign-in", json={"email": "a@example.com", "password": "test-value"}
            )
            assert refused.status_code == 401


@pytest.fixture(scope="module")
def behind_https(environ: dict[str, str]) -> Iterator[str]:
    """A server as it runs behind a proxy that ends TLS."""
    other = environ | {
        "DOORWARD_PORT": str(free_port()),
        "DOORWARD_DEV": "false",
        "DOORWARD_ISSUER": "https://identity.example",
    }
    with serving(other) as base:
        yield base


@pytest.mark.parametrize("path", ["/livez", "/errors/not_found", "/nowhere", "/v1/me"])
def test_every_answer_carries_its_headers_and_names_no_program(behind_https: str, path: str) -> None:
    headers = httpx.get(behind_https + path).headers
    assert headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"]
    assert headers.get_list("server") == ["doorward"]
    assert len(headers.get_list("x-request-id")) == 1


def test_plain_http_on_loopback_promises_no_https(edge: Edge) -> None:
    assert "strict-transport-security" not in httpx.get(f"http://127.0.0.1:{edge.port}/livez").headers


def test_a_request_id_is_taken_over_once_and_of_two_neither(behind_https: str) -> None:
    one, two = ("x-request-id", "of-the-caller-1"), ("x-request-id", "of-the-caller-2")
    assert httpx.get(f"{behind_https}/livez", headers=[one]).headers["x-request-id"] == one[1]
    for given in ([one, two], [one, one], [("x-request-id", "short")], [("x-request-id", "a b c d e f g h")]):
        headers = httpx.get(f"{behind_https}/livez", headers=given).headers
        assert headers.get_list("x-request-id") != [value for _, value in given]
        assert len(headers["x-request-id"]) == 24
