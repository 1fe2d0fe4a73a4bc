"""A node follows time and keys, whatever goes wrong in between."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

import service.jobs
from service import crypto
from service.errors import Unavailable
from service.jobs.world import keep_current
from service.world import World


async def _rounds(
    world: World, monkeypatch: pytest.MonkeyPatch, faults: Sequence[BaseException | None]
) -> list[float]:
    """Let `keep_current` run through these faults; how long it slept before each."""
    slept: list[float] = []
    left, done = list(faults), asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    async def refresh() -> None:
        if not left:
            done.set()
            await asyncio.Event().wait()
        fault = left.pop(0)
        if fault is not None:
            raise fault

    monkeypatch.setattr(service.jobs, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(world, "refresh", refresh)
    running = asyncio.create_task(keep_current(world))
    try:
        waiting = asyncio.create_task(done.wait())
        await asyncio.wait({running, waiting}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), "it went on"
    finally:
        running.cancel()
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return slept


async def test_whatever_goes_wrong_a_node_goes_on_following(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [
        Unavailable("postgres: away"),
        crypto.SealBroken("another key"),
        ValueError("a test-value that no log may hold"),
        KeyError("kind"),
        RuntimeError("out of step"),
        None,
    ]
    slept = await _rounds(world, monkeypatch, faults)
    assert slept == [10] * 7
    said = capsys.readouterr().out
    assert "postgres_away" in said
    assert "encryption_key_wrong" in said
    assert said.count("refresh_failed") == 3
    assert "ValueError" in said
    assert "test-value that no log" not in said


async def test_being_cancelled_is_no_fault_to_go_on_after(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refresh() -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(service.jobs, "asyncio", SimpleNamespace(sleep=lambda _: asyncio.sleep(0)))
    monkeypatch.setattr(world, "refresh", refresh)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(keep_current(world), 5)


async def test_a_refresh_that_failed_leaves_the_keys_of_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.keyring
    async with world.db.connection() as connection:
        await connection.execute("UPDATE service_key SET sealed = 'no seal' WHERE kind = 'token'")
    with pytest.raises(crypto.SealBroken):
        await world.refresh()
    assert world.keyring is before
