"""The data folder: its lock, and the record of who owns it and where the servers listen."""

import contextlib
import fcntl
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from service.embedded.child import EmbeddedError


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two servers listen."""

    postgres_url: str
    redis_url: str
    runtime_dir: Path


@dataclass(frozen=True, slots=True)
class Record:
    """What `servers.json` says: who owns the folder, and whether the servers answer yet."""

    servers: Servers
    pid: int
    ready: bool


def find(data: Path) -> Servers | None:
    """The servers that another program keeps on the folder `data`, or None where none run.

    Process numbers are used again, above all in containers, so the lock must be held as well.
    """
    record = read_record(data)
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


def take_lock(data: Path) -> int:
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
            record = read_record(data)
            patience = 0.5 if record and _alive(record.pid) else 10.0
            if time.monotonic() - began < patience:
                time.sleep(0.02)
                continue
            os.close(lock)
            owner = f" by process {record.pid}" if record else ""
            raise EmbeddedError(f"the data folder {data} is in use{owner}; stop that one first") from None
        return lock


def write_record(data: Path, servers: Servers, *, ready: bool) -> None:
    """Say in `servers.json` that the folder is this process's, and whether its servers answer."""
    record = {**asdict(servers), "runtime_dir": str(servers.runtime_dir), "pid": os.getpid(), "ready": ready}
    fresh = data / "servers.json.new"
    fresh.write_text(json.dumps(record, indent=2) + "\n")
    fresh.rename(data / "servers.json")  # a reader sees the old record or the new one, never half of one


def read_record(data: Path) -> Record | None:
    """What `servers.json` says; None where there is none, or a damaged one."""
    try:
        record = json.loads((data / "servers.json").read_text())
        servers = Servers(record["postgres_url"], record["redis_url"], Path(record["runtime_dir"]))
        return Record(servers, int(record["pid"]), record["ready"] is True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_runtime_dir(folder: Path) -> bool:
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


def clear_stale_pid(home: Path) -> None:
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
