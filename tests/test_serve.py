"""`doorward serve`: what it needs to start, and what it does when it comes up before its database."""

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import httpx
import pytest

from service.embedded import Servers
from tests.builders import ENCRYPTION_KEYS
from tests.programs import ROOT, clean_environ, doorward, free_port

OTHER_KEY = "other:" + base64.b64encode(b"another test value, also visible").decode()


@pytest.fixture
async def empty_database(servers: Servers) -> str:
    """A database without a schema."""
    name = f"empty_{time.monotonic_ns()}"
    admin = await asyncpg.connect(servers.postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return servers.postgres_url.replace("/doorward?", f"/{name}?")


def _environ(servers: Servers, database_url: str, port: int) -> dict[str, str]:
    return clean_environ() | {
        "DOORWARD_DEV": "true",
        "DOORWARD_ISSUER": f"http://127.0.0.1:{port}",
        "DOORWARD_PORT": str(port),
        "DOORWARD_DATABASE_URL": database_url,
        "DOORWARD_REDIS_URL": servers.redis_url,
        "DOORWARD_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
    }


@contextmanager
def _serving(environ: dict[str, str]) -> Iterator[str]:
    base = environ["DOORWARD_ISSUER"]
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve"],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{base}/livez")
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield base
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_it_refuses_a_database_without_its_schema(servers: Servers, empty_database: str) -> None:
    refused = doorward("serve", environ=_environ(servers, empty_database, free_port()))
    assert refused.returncode == 1
    assert "doorward migrate up" in refused.stderr


def test_it_refuses_an_encryption_key_that_opens_nothing(servers: Servers, empty_database: str) -> None:
    environ = _environ(servers, empty_database, free_port())
    assert doorward("migrate", "up", environ=environ).returncode == 0
    refused = doorward("serve", environ=environ | {"DOORWARD_ENCRYPTION_KEYS": OTHER_KEY})
    assert refused.returncode == 1
    assert "no encryption key named" in refused.stderr
    assert OTHER_KEY.partition(":")[2] not in refused.stderr


def test_it_refuses_plain_http_outside_dev(servers: Servers, empty_database: str) -> None:
    environ = _environ(servers, empty_database, free_port()) | {"DOORWARD_DEV": "false"}
    refused = doorward("serve", environ=environ)
    assert refused.returncode == 1
    assert "must be https" in refused.stderr


def test_on_a_migrated_database_it_serves_and_stops_cleanly(servers: Servers, empty_database: str) -> None:
    environ = _environ(servers, empty_database, free_port())
    assert doorward("migrate", "up", environ=environ).returncode == 0
    made = doorward(
        "user", "create", "a@example.com", "--password-stdin", environ=environ, stdin="test-value one two"
    )
    assert made.returncode == 0, made.stderr
    with _serving(environ) as base:
        answer = httpx.post(
            f"{base}/v1/sign-in", json={"email": "a@example.com", "password": "test-value one two"}
        )
        assert answer.json()["status"] == "complete"
        assert httpx.get(f"{base}/readyz").status_code == 200


def test_before_its_database_it_is_alive_and_not_ready(servers: Servers, empty_database: str) -> None:
    nowhere = "postgresql://doorward@127.0.0.1:1/doorward"
    with _serving(_environ(servers, nowhere, free_port())) as base:
        assert httpx.get(f"{base}/livez").status_code == 200
        assert httpx.get(f"{base}/readyz").status_code == 503
        for answer in (
            httpx.get(f"{base}/oauth2/jwks"),
            httpx.post(f"{base}/v1/sign-in", json={"email": "a@example.com", "password": "test-value"}),
        ):
            assert answer.status_code == 503
            assert answer.json()["code"] == "temporarily_unavailable"
            assert answer.headers["Retry-After"]
