"""Measure what the documentation claims: `python -m tests.load.measure`. Loopback only, a minute or two.

CPU is that of the server's process, from the kernel's accounting, for one request; round trips are
counted in a process of its own. Wall-clock is told for starts only.
"""

import asyncio
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
from argon2 import PasswordHasher, Type

from service import crypto
from service.app import create
from service.embedded import Embedded
from service.settings import Settings, variable
from service.stores import keys as key_store
from service.stores import schema
from service.stores.redis import Memory
from service.world import World, make_world
from tests.builders import ENCRYPTION_KEYS, FixedClock, House, Person
from tests.programs import ROOT, clean_environ, free_port

ROUNDS = 200


def starts() -> None:
    """Cold and warm start of `doorward dev` to the first answer, seconds."""
    folder = Path(tempfile.mkdtemp())
    port = free_port()
    for name in ("cold", "warm"):
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "dev", "--port", str(port), "--data", str(folder / "data")],
            cwd=ROOT,
            env=clean_environ(),
            stdout=subprocess.DEVNULL,
        )
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.005)
        print(f"doorward dev, {name}: {time.monotonic() - began:.2f} s to the first answer")
        process.terminate()
        process.wait(20)
    shutil.rmtree(folder)


async def figures() -> None:
    with Embedded(Path(tempfile.mkdtemp())) as servers:
        await schema.up(servers.postgres_url)
        port = free_port()
        over = {
            "dev": True,
            "issuer": f"http://127.0.0.1:{port}",
            "port": port,
            "encryption_keys": ENCRYPTION_KEYS,
            "database.url": servers.postgres_url,
            "redis.url": servers.redis_url,
            "trusted_proxies": "127.0.0.1",
            "log_level": "warning",
        }
        settings = Settings.load(over, environ={})
        world = make_world(settings)
        await world.db.transact(
            lambda tx: key_store.ensure(tx, world.sealer, world.entropy, world.clock.now())
        )
        await world.refresh()
        await _server(world, over, port)
        await _round_trips(settings)
        await world.close()


async def _server(world: World, over: dict[str, Any], port: int) -> None:
    environ = clean_environ() | {variable(name): str(value) for name, value in over.items()}
    began = time.monotonic()
    server = subprocess.Popen([sys.executable, "-m", "service", "serve"], cwd=ROOT, env=environ)
    base = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=base) as client:
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    break
            except httpx.HTTPError:
                await asyncio.sleep(0.005)
        print(f"doorward serve: {time.monotonic() - began:.2f} s to the first 200 on a migrated database")
        worker = max(psutil.Process(server.pid).children(recursive=True), key=lambda p: p.memory_info().rss)
        print(f"memory of one worker, idle: {worker.memory_info().rss / 1e6:.0f} MB")
        house = House(world, client)
        hashing = _hash_cpu()
        print(f"Argon2id as configured: {hashing:.0f} µs")
        people = [await house.a_person().with_totp() for _ in range(ROUNDS)]
        tokens: list[str] = []
        refresh: list[str] = []

        async def sign_in(person: Person) -> None:
            tokens.append(await person.pre_auth())

        async def second_factor(person: Person) -> None:
            answer = await person.verify(tokens[people.index(person)], person.code())
            assert answer.status_code == 200, answer.text
            refresh.append(answer.json()["refresh_token"])

        async def renew(person: Person) -> None:
            assert (await person.refresh(refresh[people.index(person)])).status_code == 200

        async def jwks(_person: Person) -> None:
            for _ in range(10):
                assert (await client.get("/oauth2/jwks")).status_code == 200

        whole = await _cpu(worker, people, sign_in)
        print(f"sign-in: {whole:.0f} µs, minus the hash {whole - hashing:.0f} µs")
        print(f"second factor (TOTP): {await _cpu(worker, people, second_factor):.0f} µs")
        print(f"refresh: {await _cpu(worker, people, renew):.0f} µs")
        print(f"JWKS: {await _cpu(worker, people, jwks) / 10:.0f} µs")
        print(f"memory of one worker, after {13 * ROUNDS} requests: {worker.memory_info().rss / 1e6:.0f} MB")
    server.terminate()
    server.wait(30)


async def _cpu(
    worker: psutil.Process, people: list[Person], act: Callable[[Person], Awaitable[None]]
) -> float:
    """Microseconds of the worker's CPU for one request."""
    before = worker.cpu_times()
    for person in people:
        await act(person)
    after = worker.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return spent / len(people) * 1e6


def _hash_cpu() -> float:
    """Microseconds of CPU of one password hash in this process, the median of twenty."""
    cost = crypto.HashCost()
    hasher = PasswordHasher(
        time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes, type=Type.ID
    )
    spent = []
    for _ in range(20):
        began = time.process_time()
        hasher.hash("a password")
        spent.append((time.process_time() - began) * 1e6)
    return statistics.median(spent)


async def _round_trips(settings: Settings) -> None:
    """Statements to Postgres (BEGIN and COMMIT counted) and trips to Redis of each request."""
    counts = {"postgres": 0, "redis": 0}
    trip = Memory._trip

    async def counted(self: Memory, commands: Any) -> Any:
        counts["redis"] += 1
        return await trip(self, commands)

    Memory._trip = counted  # type: ignore[method-assign]
    world = make_world(settings, clock=FixedClock())
    await world.refresh()
    app: Any = create(world)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=("127.0.0.1", 1)), base_url=settings.issuer
    ) as client:
        house = House(world, client)
        person = await house.a_person().with_totp()
        async with world.db.connection():
            pool: Any = world.db._pool
        for holder in pool._holders:
            if holder._con is not None:
                holder._con.add_query_logger(lambda _: counts.update(postgres=counts["postgres"] + 1))

        async def told(name: str, act: Awaitable[Any]) -> Any:
            counts.update(postgres=0, redis=0)
            answer = await act
            print(f"{name}: {counts['postgres']} statements to Postgres, {counts['redis']} trips to Redis")
            return answer

        token = await told("sign-in", person.pre_auth())
        tokens = await told("second factor", person.verify(token, person.code()))
        await told("refresh", person.refresh(tokens.json()["refresh_token"]))
        await told("JWKS", client.get("/oauth2/jwks"))
    await world.close()
    Memory._trip = trip  # type: ignore[method-assign]


def main() -> None:
    python = platform.python_version()
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.machine()}, Python {python}")
    starts()
    asyncio.run(figures())


if __name__ == "__main__":
    main()
