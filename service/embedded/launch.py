"""Become a server: the rights it runs with, and its death with the program that wanted it.

This file is run by itself as the parent of each server (see `_become`), without the package and without
site-packages, and so it imports the standard library only.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NoReturn

#: Whose rights a server runs with: the caller's own, root's mapped to nobody in a user namespace, nobody's.
Guise = Literal["self", "namespace", "nobody"]
NOBODY: Final = 65534
# The caller's environment may hold keys and passwords, and PG* variables that would change the server.
ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_PDEATHSIG: Final = 1


def guise_for(data: Path) -> Guise:
    """Root may not run PostgreSQL: take a user namespace if the machine allows it, otherwise be nobody."""
    if os.geteuid() != 0:
        return "self"
    folders = [folder for folder in (data / "postgres", data / "redis") if folder.exists()]
    if any(folder.stat().st_uid == NOBODY for folder in folders):
        return "nobody"  # made where namespaces are refused, and inside of one root could not read it
    probe = command_of(["/bin/true"], signal.SIGKILL, "namespace")
    done = subprocess.run(probe, env=ENVIRONMENT, capture_output=True, check=False)
    if done.returncode == 0:
        return "namespace"
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return "nobody"


def command_of(command: Sequence[str], farewell: signal.Signals, guise: Guise) -> list[str]:
    """What to run to become `command`, and to get the signal `farewell` when this process dies."""
    # -I and -S keep the environment, the working folder, site-packages and this file's own folder out:
    # nothing there may be found in the place of a module of the standard library.
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    return [*launcher, guise, str(int(farewell)), str(os.getpid()), *command]


def _become(guise: str, farewell: int, parent: int, command: Sequence[str]) -> NoReturn:
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
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")
    elif guise == "nobody":
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    if sys.platform == "linux":
        # A change of credentials clears this, so it comes after them. The parent may have died before
        # this line, in which case no signal will ever come, so we look once it is in force.
        if libc.prctl(_PR_SET_PDEATHSIG, farewell, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl is refused")
        if os.getppid() != parent:
            sys.exit("the parent process has gone")
    os.umask(0o077)
    os.execv(command[0], list(command))  # noqa: S606 - no shell is wanted, and the path is ours


if __name__ == "__main__":
    try:
        _become(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    except OSError as fault:
        sys.exit(f"could not run {sys.argv[4]} ({sys.argv[1]}): {fault}")
