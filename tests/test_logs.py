"""The log: what cannot be written is lost, and nothing else is."""

import errno
import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from service import logs


class _Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def kept() -> Iterator[None]:
    """Whatever a test configures is undone."""
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("kept")
def test_a_full_disk_refuses_no_line_of_ours_and_none_of_a_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", _Full())
    structlog.get_logger().info("request", status=200)
    logging.getLogger("a.library").warning("something")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("kept")
def test_what_can_be_written_is_written_by_both() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    structlog.get_logger().info("request", status=200)
    logging.getLogger("a.library").warning("something")
    assert [
        '"event": "request"' in line or '"event": "something"' in line
        for line in stream.getvalue().splitlines()
    ] == [True, True]
