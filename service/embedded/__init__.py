"""A private PostgreSQL and Valkey for `doorward dev` and the tests: only the binaries, our own supervisor.

Nothing listens on the network: both servers have a Unix socket each in a folder of mode 0700.

The servers must never outlive the program that wanted them, not even after kill -9. So each one is a
child that asks Linux for a signal when its parent dies, and holds the lock of the data folder open:
whoever comes next waits until the last process has gone, rather than write into its files.
"""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import quote

from service.embedded import binaries, folder, launch
from service.embedded.binaries import Prefer
from service.embedded.child import Child, EmbeddedError
from service.embedded.folder import Servers, find
from service.embedded.launch import NOBODY, Guise

__all__ = ["Embedded", "EmbeddedError", "Prefer", "Servers", "find"]

_SOCKET_BYTES: Final = 107  # the room in `sockaddr_un`, less the closing NUL
_POSTGRES_SOCKET: Final = ".s.PGSQL.5432"


class Embedded:
    """Both servers on one data folder: `with Embedded(data) as servers`, or `start()` and `stop()`.

    Not safe to use from two threads at once. Whatever may go wrong raises EmbeddedError.
    """

    def __init__(self, data: Path, *, prefer: Prefer = "wheels") -> None:
        self._data = data.absolute()
        self._prefer: Prefer = prefer
        self._guise: Guise = "self"
        self._lock: int | None = None
        self._servers: Servers | None = None
        self._postgres: Child | None = None
        self._redis: Child | None = None
        # The signal of PR_SET_PDEATHSIG comes when the *thread* that forked ends. This one thread forks
        # every child and lives until `stop`, so a caller may start us from a thread that soon ends.
        self._forks: ThreadPoolExecutor | None = None

    def __enter__(self) -> Servers:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def postgres_pid(self) -> int | None:
        """The process number of the running PostgreSQL, or None."""
        return self._postgres.pid if self._postgres and self._postgres.runs() else None

    @property
    def redis_pid(self) -> int | None:
        """The process number of the running Valkey or Redis, or None."""
        return self._redis.pid if self._redis and self._redis.runs() else None

    def start(self) -> Servers:
        """Start both servers side by side and wait until they answer: at first about 1 s, later 0.1 s."""
        try:
            servers = self._enter()
            self._spawn_redis(servers)
            self._spawn_postgres(servers)
            self._await_postgres()
            self._await_redis(servers)
            folder.write_record(self._data, servers, ready=True)
        except BaseException:
            self.stop()  # a half-started pair helps nobody, and Ctrl-C must not leave one server behind
            raise
        return servers

    def stop(self) -> None:
        """Stop both in order (running transactions are rolled back) and wait. May be called again."""
        if self._lock is not None:
            (self._data / "servers.json").unlink(missing_ok=True)
        for child in (self._postgres, self._redis):
            if child:
                child.signal(child.farewell)  # both first, so that they stop side by side
        self.stop_postgres()
        self.stop_redis()
        if self._servers:
            shutil.rmtree(self._servers.runtime_dir, ignore_errors=True)
            self._servers = None
        if self._forks:
            self._forks.shutdown()
            self._forks = None
        if self._lock is not None:
            os.close(self._lock)  # not LOCK_UN, which would also take it from a child that still ends
            self._lock = None

    def start_postgres(self) -> None:
        """Start PostgreSQL alone, or again, on the same socket. Does nothing while it runs."""
        self._spawn_postgres(self._enter())
        self._await_postgres()

    def stop_postgres(self, *, kill: bool = False) -> None:
        """Stop PostgreSQL alone; with `kill` by SIGKILL, as a crash would. Waits for its workers, too."""
        if self._postgres:
            self._postgres.end(kill=kill)
            self._postgres = None

    def start_redis(self) -> None:
        """Start Valkey alone, or again, on the same socket. Does nothing while it runs."""
        servers = self._enter()
        self._spawn_redis(servers)
        self._await_redis(servers)

    def stop_redis(self, *, kill: bool = False) -> None:
        """Stop Valkey alone; with `kill` by SIGKILL, which may lose the last second of writes."""
        if self._redis:
            self._redis.end(kill=kill)
            self._redis = None

    def _enter(self) -> Servers:
        """Take the data folder, and make the folder of the sockets."""
        if self._servers:
            return self._servers
        try:
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = folder.take_lock(self._data)
        except OSError as error:
            raise EmbeddedError(f"the data folder {self._data} cannot be used: {error}") from error
        self._forks = ThreadPoolExecutor(1, "embedded-servers")
        self._guise = launch.guise_for(self._data)
        if self._guise == "nobody":
            self._data.chmod(0o711)  # our own folder: nobody must pass through it to reach its own below
        base = Path(tempfile.gettempdir())
        if (stale := folder.read_record(self._data)) and folder.is_runtime_dir(stale.servers.runtime_dir):
            shutil.rmtree(
                stale.servers.runtime_dir, ignore_errors=True
            )  # its owner was killed: the lock is ours
        if len(os.fsencode(base / "dw-01234567" / f"{_POSTGRES_SOCKET}.lock")) > _SOCKET_BYTES:
            base = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of mode 0700 with a name nobody can guess
        runtime = Path(tempfile.mkdtemp(prefix="dw-", dir=base))
        self._give(runtime)
        self._servers = Servers(
            # The port names the socket's file; without it, a PGPORT of the caller's would be taken.
            postgres_url=f"postgresql://doorward@/doorward?host={quote(str(runtime))}&port=5432",
            redis_url=f"unix://{quote(str(runtime / 'redis.sock'))}",
            runtime_dir=runtime,
        )
        # Recorded before it is of use to anybody, so that a start killed half-way leaves no folder for good.
        folder.write_record(self._data, self._servers, ready=False)
        return self._servers

    def _give(self, path: Path) -> None:
        if self._guise == "nobody":
            os.chown(path, NOBODY, NOBODY)

    def _spawn(self, command: Sequence[str], log: str, farewell: signal.Signals) -> "Child":
        assert self._forks is not None
        assert self._lock is not None
        return self._forks.submit(
            Child, command, self._data / log, farewell, self._guise, self._lock
        ).result()

    def _spawn_postgres(self, servers: Servers) -> None:
        if self.postgres_pid:
            return
        self.stop_postgres()  # collects a server that ended by itself
        home = self._data / "postgres"
        programs, major = binaries.postgres(self._prefer, home)
        if not home.exists():
            self._initialise(programs, major, home)
        folder.clear_stale_pid(home)
        for leftover in servers.runtime_dir.glob(f"{_POSTGRES_SOCKET}*"):
            leftover.unlink()
        settings = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": str(servers.runtime_dir),
            "unix_socket_permissions": "0700",
            "shared_buffers": "64MB",
            "max_connections": "200",
            "log_destination": "stderr",
            "logging_collector": "off",
        }
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(home), *flags, *_io_flags(major)]
        self._postgres = self._spawn(command, "postgres.log", signal.SIGINT)  # SIGINT is its fast shutdown

    def _initialise(self, programs: Path, major: int, home: Path) -> None:
        """Make the cluster beside its place, then rename it: an interruption leaves nothing half made."""
        fresh = home.with_name("postgres.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        collation = (
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else ["--locale=C.UTF-8"]
        )
        user = ["-U", "doorward", "-A", "trust"]  # the mode of the socket's folder is the password
        initdb = [str(programs / "initdb"), "-D", str(fresh), "-E", "UTF8", "--no-sync", *user, *collation]
        self._spawn(initdb, "initdb.log", signal.SIGTERM).finish("initdb failed", b"")
        single = [str(programs / "postgres"), "--single", "-D", str(fresh), *_io_flags(major), "postgres"]
        creation = self._spawn(single, "initdb.log", signal.SIGTERM)
        # `--single` ends with status 0 even where the statement failed; its log then says ERROR.
        creation.finish("CREATE DATABASE failed", b"CREATE DATABASE doorward;\n", refuse="ERROR:")
        fresh.rename(home)

    def _await_postgres(self) -> None:
        # Line 8 of the server's own pid file is what pg_ctl waits for; line 1 tells it from an old file.
        pid_file = self._data / "postgres" / "postmaster.pid"

        def ready(pid: int) -> bool:
            with contextlib.suppress(FileNotFoundError):
                lines = pid_file.read_text().split("\n")
                return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
            return False

        assert self._postgres is not None
        self._postgres.await_ready("PostgreSQL", ready)

    def _spawn_redis(self, servers: Servers) -> None:
        if self.redis_pid:
            return
        self.stop_redis()
        home = self._data / "redis"
        if not home.exists():
            home.mkdir(mode=0o700)
            self._give(home)
        options = {
            "port": "0",
            "unixsocket": str(servers.runtime_dir / "redis.sock"),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "dir": str(home),
            "save": "",
            "daemonize": "no",
        }
        flags = [flag for name, value in options.items() for flag in (f"--{name}", value)]
        self._redis = self._spawn([str(binaries.redis(self._prefer)), *flags], "redis.log", signal.SIGTERM)

    def _await_redis(self, servers: Servers) -> None:
        def ready(_pid: int) -> bool:
            # It answers -LOADING while it reads its log of writes, which is not yet ready.
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(str(servers.runtime_dir / "redis.sock"))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
            return False

        assert self._redis is not None
        self._redis.await_ready("Valkey", ready)


def _io_flags(major: int) -> list[str]:
    """PostgreSQL 18 would keep three more processes for its reads, which a small database never needs."""
    return ["-c", "io_method=sync"] if major >= 18 else []
