"""Turns between the processes that test at once (`pytest -n 2`): what is marked `alone` has no company.

Such a test measures: how long two things take, or what is left for others under load. Beside another test it
would measure that one as well. So every test enters a room that others may be in, and one that wants to be
alone waits until the room is empty; whoever comes meanwhile waits at the gate.
"""

import fcntl
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

_FOLDER: Final = "folder_of_turns"
_MADE: Final = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_MADE] = tempfile.TemporaryDirectory(prefix="doorward-turns-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if made := config.stash.get(_MADE, None):
        made.cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process that will test where the locks are."""
    node.workerinput[_FOLDER] = node.config.stash[_MADE].name


# Outermost, so that the time a test may take begins when its turn does.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    told = getattr(item.config, "workerinput", None)
    with ExitStack() as turn:
        if told is not None:
            turn.enter_context(_turn(Path(told[_FOLDER]), item.get_closest_marker("alone") is not None))
        return (yield)


@contextmanager
def _turn(folder: Path, alone: bool) -> Iterator[None]:
    with (folder / "room").open("a") as room, (folder / "gate").open("a") as gate:
        # Without the gate, two that come and go by turns would never leave the room empty.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield
