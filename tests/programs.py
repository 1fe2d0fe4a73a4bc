"""Programs that tests start: a `doorward dev` on an empty folder, and Debian's tools."""

import contextlib
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest

from service.embedded import Servers
from tests.builders import CHEAP, ENCRYPTION_KEYS

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Dev:
    """A running `doorward dev`."""

    url: str
    portal: str
    data: Path
    process: subprocess.Popen[str]

    @property
    def environ(self) -> dict[str, str]:
        return clean_environ() | {"DOORWARD_DATA": str(self.data)}


def clean_environ() -> dict[str, str]:
    """The environment without a setting of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DOORWARD_")}


def _ports() -> Iterator[int]:
    """Numbers below those that the kernel gives to connections, no two alike, and each process of those that
    test at once has its own: nobody may take one between its being found free and its being used."""
    own, of = (os.environ.get(f"PYTEST_XDIST_WORKER{name}") for name in ("", "_COUNT"))
    numbers = range(20_000 + int((own or "gw0")[2:]), 32_000, int(of or 1))
    yield from random.sample(numbers, len(numbers))


_PORTS = _ports()


def free_port() -> int:
    """A port nobody listens on, and that is given once."""
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port was given")


def needs(tool: str) -> str:
    """The path of a Debian tool; without it the test skips with a word, or fails where CI installed it."""
    found = shutil.which(tool)
    if found is None:
        if os.environ.get("DOORWARD_TEST_STRICT"):
            pytest.fail(f"{tool} is missing although it must be installed here")
        pytest.skip(f"needs {tool}: apt-get install {tool}")
    return found


@contextmanager
def dev(data: Path, *options: str, **settings: str) -> Iterator[Dev]:
    """Start `doorward dev` on a folder, wait for its first answer, and stop it as Ctrl+C does."""
    port, beside = free_port(), free_port()
    ports = ["--port", str(port), "--portal-port", str(beside)]
    # Into a file: a pipe that nobody reads is full after some hundred requests, and the service waits then.
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "dev", *ports, "--data", str(data), *options],
            cwd=ROOT,
            env=clean_environ() | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _await_answer(url, process, log)
            yield Dev(url, f"http://127.0.0.1:{beside}", data, process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def serve_environ(servers: Servers, database_url: str, port: int) -> dict[str, str]:
    """What `doorward serve` needs on loopback."""
    return clean_environ() | {
        "DOORWARD_DEV": "true",
        "DOORWARD_ISSUER": f"http://127.0.0.1:{port}",
        "DOORWARD_PORT": str(port),
        "DOORWARD_DATABASE_URL": database_url,
        "DOORWARD_REDIS_URL": servers.redis_url,
        "DOORWARD_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
        **{f"DOORWARD_HASH_{name.upper()}": str(value) for name, value in CHEAP.items()},
    }


@contextmanager
def serving(
    environ: Mapping[str, str],
    log: int | IO[bytes] = subprocess.DEVNULL,
    ended: tuple[int, ...] = (0,),
    trust: Path | None = None,
) -> Iterator[str]:
    """A running `doorward serve`, its standard output in `log`; it must end with one of these codes. With
    `trust`, the file of a CA, it is asked by https."""
    base = f"http://127.0.0.1:{environ['DOORWARD_PORT']}" if trust is None else environ["DOORWARD_ISSUER"]
    verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=trust) if trust else True
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve"],
        cwd=ROOT,
        env=environ,
        stdout=log,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{base}/livez", verify=verify)
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield base
    finally:
        process.terminate()
        assert process.wait(30) in ended


def doorward(*words: str, environ: dict[str, str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "service", *words],
        cwd=ROOT,
        env=environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def _await_answer(url: str, process: subprocess.Popen[str], log: IO[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    process.kill()
    log.seek(0)
    pytest.fail(f"doorward dev did not answer: {log.read()[-2000:]}")
