"""The servers of `doorward dev`: they start, keep data, and never outlive their owner."""

import ctypes
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from service.embedded import Embedded, EmbeddedError, Servers, binaries, find, launch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sysconfig.get_paths()["purelib"]

# Started as a program of its own: it starts the servers, tells their process numbers, and then waits.
OWNER = """
import sys, threading, time
from pathlib import Path
from service.embedded import Embedded
it = Embedded(Path(sys.argv[1]))
starter = threading.Thread(target=it.start)  # a thread that ends, as one of a pool may do
starter.start()
starter.join()
print(it.postgres_pid, it.redis_pid, flush=True)
sys.stdin.read()
it.stop()
"""


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="doorward-test-"))
    yield folder / "data"
    shutil.rmtree(folder)


def start_owner(data: Path, prefix: Sequence[str] = (), user: int | None = None) -> "subprocess.Popen[str]":
    python = sys.executable if user is None else a_python_of(user)
    return subprocess.Popen(
        [*prefix, python, "-c", OWNER, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1"},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def pids_told_by(owner: "subprocess.Popen[str]") -> list[int]:
    assert owner.stdout is not None
    pids = [int(word) for word in owner.stdout.readline().split()]
    assert len(pids) == 2
    return pids


def end(owner: "subprocess.Popen[str]") -> None:
    if owner.poll() is None:
        owner.communicate(timeout=30)  # the end of its input asks it to stop
    for pipe in (owner.stdin, owner.stdout):
        if pipe:
            pipe.close()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


async def ask(servers: Servers, question: str) -> object:
    connection = await asyncpg.connect(servers.postgres_url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_a_second_start_is_warm_and_keeps_the_data(data: Path) -> None:
    with Embedded(data) as servers:
        await ask(servers, "CREATE TABLE kept (word text)")
        await ask(servers, "INSERT INTO kept VALUES ('grüße')")
        async with Redis.from_url(servers.redis_url) as redis:
            await redis.set("kept", "yes")
        assert await ask(servers, "SHOW fsync") == "on"
        assert await ask(servers, "SHOW listen_addresses") == ""
        assert servers.runtime_dir.stat().st_mode & 0o777 == 0o700
    assert not servers.runtime_dir.exists()
    made = (data / "initdb.log").stat().st_mtime_ns
    with Embedded(data) as servers:
        assert (data / "initdb.log").stat().st_mtime_ns == made
        assert await ask(servers, "SELECT word FROM kept") == "grüße"
        async with Redis.from_url(servers.redis_url) as redis:
            assert await redis.get("kept") == b"yes"


def test_a_running_pair_is_found_and_a_stopped_one_is_not(data: Path) -> None:
    assert find(data) is None
    it = Embedded(data)
    servers = it.start()
    assert find(data) == servers
    it.stop()
    it.stop()
    assert find(data) is None
    assert (it.postgres_pid, it.redis_pid) == (None, None)


def test_a_record_of_a_live_process_without_the_lock_is_not_believed(data: Path) -> None:
    data.mkdir()
    (data / "lock").touch()
    urls = {"postgres_url": "a", "redis_url": "b", "runtime_dir": "/tmp/c"}
    (data / "servers.json").write_text(json.dumps({**urls, "pid": os.getpid(), "ready": True}))
    assert find(data) is None


def test_kill_9_of_the_owner_leaves_no_server_and_the_next_start_loses_nothing(data: Path) -> None:
    owner = start_owner(data)
    try:
        pids = pids_told_by(owner)
        assert not any(gone(pid) for pid in pids)
        running = find(data)
        assert running is not None
    finally:
        owner.kill()
        owner.wait()
        end(owner)
    assert wait_until(lambda: all(gone(pid) for pid in pids))
    assert "database system is shut down" in (data / "postgres.log").read_text()
    assert find(data) is None
    with Embedded(data):
        pass
    assert not running.runtime_dir.exists()


def test_a_start_right_after_kill_9_waits_for_the_old_servers(data: Path) -> None:
    owner = start_owner(data)
    old = pids_told_by(owner)
    owner.kill()
    owner.wait()
    end(owner)
    with Embedded(data):
        assert all(gone(pid) for pid in old)


def test_a_second_owner_of_the_same_folder_is_refused(data: Path) -> None:
    with Embedded(data) as servers:
        with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}"):
            Embedded(data).start()
        assert find(data) == servers


async def test_one_server_can_be_killed_and_started_alone(data: Path) -> None:
    it = Embedded(data)
    with it as servers:
        await ask(servers, "CREATE TABLE kept (n int)")
        await ask(servers, "INSERT INTO kept VALUES (7)")
        before = it.postgres_pid
        it.stop_postgres(kill=True)
        assert it.postgres_pid is None
        assert it.redis_pid is not None
        with pytest.raises(OSError, match=r"No such file|refused"):
            await ask(servers, "SELECT 1")
        it.start_postgres()
        assert it.postgres_pid != before
        assert await ask(servers, "SELECT n FROM kept") == 7
        it.stop_redis(kill=True)
        assert it.redis_pid is None
        it.start_redis()
        async with Redis.from_url(servers.redis_url) as redis:
            assert await redis.ping()


def test_an_interrupted_first_start_leaves_nothing_half_made(data: Path) -> None:
    owner = start_owner(data)
    assert wait_until(lambda: (data / "postgres.new" / "global").exists())
    owner.kill()
    owner.wait()
    end(owner)
    assert not (data / "postgres").exists()
    assert find(data) is None
    left = json.loads((data / "servers.json").read_text())["runtime_dir"]
    with Embedded(data):
        assert not Path(left).exists()
        assert (data / "postgres" / "PG_VERSION").exists()
        assert not (data / "postgres.new").exists()


def test_a_pid_file_whose_number_now_belongs_to_another_program_is_removed(data: Path) -> None:
    it = Embedded(data)
    with it:
        pid_file = data / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().split("\n")
        it.stop_postgres(kill=True)
        other = subprocess.Popen(["/bin/sleep", "60"])
        try:
            pid_file.write_text("\n".join([str(other.pid), *lines[1:]]))
            it.start_postgres()
            assert it.postgres_pid is not None
        finally:
            other.kill()
            other.wait()


def test_the_environment_of_the_owner_does_not_reach_the_servers(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOORWARD_MASTER_KEY", "secret")
    monkeypatch.setenv("PGPORT", "6000")
    it = Embedded(data)
    with it:
        for pid in (it.postgres_pid, it.redis_pid):
            assert pid is not None
            assert set(psutil.Process(pid).environ()) - {
                "PG_GRANDPARENT_PID",
                "PGLOCALEDIR",
                "PGSYSCONFDIR",
            } <= {
                "PATH",
                "LANG",
                "TZ",
                "LC_CTYPE",
            }


def test_a_folder_of_another_major_version_is_refused_with_its_number(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 9, and only"):
        Embedded(data).start()
    assert find(data) is None


def test_missing_binaries_are_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "redis", lambda _prefer: data / "missing")
    with pytest.raises(EmbeddedError, match=r"Valkey ended while starting .*could not run .*missing"):
        Embedded(data).start()
    monkeypatch.undo()
    monkeypatch.setattr(binaries, "_postgres_folders", lambda _prefer: iter(()))
    with pytest.raises(EmbeddedError, match="no PostgreSQL binaries"):
        Embedded(data).start()


def test_a_failing_initdb_tells_what_it_said(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = data.parent / "bin"
    broken.mkdir()
    for name, body in (("postgres", 'echo "postgres (PostgreSQL) 18.6"'), ("initdb", "echo no room; exit 1")):
        (broken / name).write_text(f"#!/bin/sh\n{body}\n")
        (broken / name).chmod(0o755)
    monkeypatch.setattr(binaries, "_postgres_folders", lambda _prefer: iter([broken]))
    it = Embedded(data)
    with pytest.raises(EmbeddedError, match="initdb failed: no room"):
        it.start()
    assert it.redis_pid is None


async def test_the_binaries_of_debian_work(data: Path) -> None:
    if not glob.glob("/usr/lib/postgresql/*/bin/postgres"):
        pytest.skip("no PostgreSQL under /usr/lib/postgresql")
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server on PATH")
    it = Embedded(data, prefer="debian")
    with it as servers:
        assert it.redis_pid is not None
        assert Path(psutil.Process(it.redis_pid).exe()).name != "valkey-server"
        major = (data / "postgres" / "PG_VERSION").read_text().strip()
        assert str(await ask(servers, "SHOW server_version")).startswith(f"{major}.")
        await ask(servers, "CREATE TABLE kept (n int)")
    # The folder decides from now on: the wheel's newer version cannot read it.
    it = Embedded(data, prefer="wheels")
    it.start_postgres()
    try:
        assert it.postgres_pid is not None
        assert str(psutil.Process(it.postgres_pid).exe()).startswith(f"/usr/lib/postgresql/{major}/")
    finally:
        it.stop()


def a_python_of(user: int) -> str:
    """A Python 3.11 or later that `user` may run, or skip: root's own may stand where only root can go."""
    for python in (sys.executable, "/usr/bin/python3"):
        test = [python, "-c", "import sys, service.embedded; sys.exit(sys.version_info < (3, 11))"]
        try:
            done = subprocess.run(
                test, user=user, group=user, extra_groups=[], cwd="/", capture_output=True,
                env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip(f"user {user} can run no Python 3.11 here that can read {ROOT}")


def test_a_start_without_root_works(data: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("every other test here already runs without root")
    data.parent.chmod(0o755)
    data.mkdir()
    os.chown(data, 65534, 65534)
    owner = start_owner(data, user=65534)
    try:
        for pid in pids_told_by(owner):
            assert psutil.Process(pid).uids().real == 65534
    finally:
        end(owner)
    assert (data / "postgres").stat().st_uid == 65534


def test_root_works_in_a_folder_that_only_root_may_enter(data: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("this machine's tests do not run as root")
    if ctypes.CDLL(None).unshare(0) != 0 or launch.guise_for(data) != "namespace":
        pytest.skip("this machine refuses user namespaces")
    assert data.parent.stat().st_mode & 0o777 == 0o700
    it = Embedded(data)
    with it:
        assert it.postgres_pid is not None
        assert Path(f"/proc/{it.postgres_pid}/uid_map").read_text().split() == ["65534", "0", "1"]
    assert (data / "postgres").stat().st_uid == 0


def test_root_becomes_nobody_where_user_namespaces_are_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("this machine's tests do not run as root")
    data.parent.chmod(0o755)
    monkeypatch.setattr(launch, "guise_for", lambda _data: "nobody")
    it = Embedded(data)
    with it:
        for pid in (it.postgres_pid, it.redis_pid):
            assert psutil.Process(pid).uids().real == 65534
    monkeypatch.undo()
    assert launch.guise_for(data) == "nobody"  # it stays with those who own the files
    with Embedded(data):
        pass


def test_the_signals_of_the_terminal_do_not_reach_the_servers(data: Path) -> None:
    owner = start_owner(data)
    try:
        pids = pids_told_by(owner)
        assert all(os.getsid(pid) == pid for pid in pids)
        for pid in pids:
            assert os.getpgid(pid) != os.getpgid(owner.pid)
        owner.send_signal(signal.SIGTERM)  # ends the owner without a word to the servers
        owner.wait()
        assert wait_until(lambda: all(gone(pid) for pid in pids))
    finally:
        end(owner)
    with Embedded(data):  # removes the folder of the sockets that the owner could not
        pass
