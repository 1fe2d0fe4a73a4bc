"""One server with everything it forked: started, awaited, stopped."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from service.embedded.launch import ENVIRONMENT, Guise, command_of

_START_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 20.0


class EmbeddedError(RuntimeError):
    """A server could not be had. The message is one line, meant for the developer's terminal."""


class Child:
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
                    command_of(command, farewell, guise),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=ENVIRONMENT,
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
