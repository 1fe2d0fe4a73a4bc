"""The log: one JSON line for each event, on standard output, with the request's id.

Nothing here sees a body, a header or a query, at any level: what is not handed to the log cannot
leak from it.
"""

import io
import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


def configure(level: str, stream: TextIO | None = None) -> None:
    """Set up structlog on `stream` (standard output); libraries log the same way, from warnings on.

    Libraries stay at `warning` whatever our level is: some log tokens and statements at debug.
    """
    out = cast(TextIO, _Lossy(stream or sys.stdout))
    chain: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*chain, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class _Lossy(io.TextIOBase):
    """A stream that loses what it cannot write: a full disk or a closed pipe must not refuse a sign-in."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()
