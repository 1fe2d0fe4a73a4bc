"""`doorward serve`: what it needs to start, and what it does when it comes up before its database."""

import base64
import socket
import time

import asyncpg
import httpx
import pytest

from service.embedded import Servers
from tests.programs import doorward, free_port, serve_environ, serving

OTHER_KEY = "other:" + base64.b64encode(b"another test value, also visible").decode()


@pytest.fixture
async def empty_database(servers: Servers) -> str:
    """A database without a schema."""
    name = f"empty_{time.monotonic_ns()}"
    admin = await asyncpg.connect(servers.postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return servers.postgres_url.replace("/doorward?", f"/{name}?")


def test_it_refuses_a_database_without_its_schema(servers: Servers, empty_database: str) -> None:
    refused = doorward("serve", environ=serve_environ(servers, empty_database, free_port()))
    assert refused.returncode == 1
    assert "doorward migrate up" in refused.stderr


def test_it_refuses_an_encryption_key_that_opens_nothing(servers: Servers, empty_database: str) -> None:
    environ = serve_environ(servers, empty_database, free_port())
    assert doorward("migrate", "up", environ=environ).returncode == 0
    refused = doorward("serve", environ=environ | {"DOORWARD_ENCRYPTION_KEYS": OTHER_KEY})
    assert refused.returncode == 1
    assert "no encryption key named" in refused.stderr
    assert OTHER_KEY.partition(":")[2] not in refused.stderr


def test_it_refuses_plain_http_outside_dev(servers: Servers, empty_database: str) -> None:
    environ = serve_environ(servers, empty_database, free_port()) | {"DOORWARD_DEV": "false"}
    refused = doorward("serve", environ=environ)
    assert refused.returncode == 1
    assert "must be https" in refused.stderr


def test_on_a_migrated_database_it_serves_and_stops_cleanly(servers: Servers, empty_database: str) -> None:
    environ = serve_environ(servers, empty_database, free_port())
    assert doorward("migrate", "up", environ=environ).returncode == 0
    made = doorward(
        "user", "create", "a@example.com", "--password-stdin", environ=environ, stdin="test-value one two"
    )
    assert made.returncode == 0, made.stderr
    with serving(environ) as base:
        answer = httpx.post(
            f"{base}/v1/sign-in", json={"email": "a@example.com", "password": "test-value one two"}
        )
        assert answer.json()["status"] == "complete"
        assert httpx.get(f"{base}/readyz").status_code == 200


def test_before_its_database_it_is_alive_and_not_ready(servers: Servers, empty_database: str) -> None:
    nowhere = "postgresql://doorward@127.0.0.1:1/doorward"
    with serving(serve_environ(servers, nowhere, free_port())) as base:
        assert httpx.get(f"{base}/livez").status_code == 200
        assert httpx.get(f"{base}/readyz").status_code == 503
        for answer in (
            httpx.get(f"{base}/oauth2/jwks"),
            httpx.post(f"{base}/v1/sign-in", json={"email": "a@example.com", "password": "test-value"}),
        ):
            assert answer.status_code == 503
            assert answer.json()["code"] == "temporarily_unavailable"
            assert answer.headers["Retry-After"]


def test_it_refuses_a_port_that_somebody_has(servers: Servers, empty_database: str) -> None:
    with socket.socket() as other:
        # As granian itself opens its port: open to be shared with whoever asks.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        refused = doorward("serve", environ=serve_environ(servers, empty_database, other.getsockname()[1]))
    assert refused.returncode == 1
    assert "cannot listen on 127.0.0.1 port" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_it_refuses_dev_mode_beyond_loopback(servers: Servers, empty_database: str) -> None:
    environ = serve_environ(servers, empty_database, free_port())
    refused = doorward("serve", "--host", "0.0.0.0", environ=environ)
    assert refused.returncode == 1
    assert "host: `dev` allows plain http and serves on loopback only" in refused.stderr


def test_it_refuses_the_folder_of_a_dev(servers: Servers, empty_database: str) -> None:
    environ = serve_environ(servers, empty_database, free_port()) | {"DOORWARD_DATA": ".doorward"}
    refused = doorward("serve", environ=environ)
    assert refused.returncode == 1
    assert "DOORWARD_DATA" in refused.stderr
