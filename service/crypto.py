"""Argon2id, digests with a purpose, and sealing. Nothing here keeps a secret or reads the clock."""

import asyncio
import base64
import hashlib
import hmac
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.errors import Unavailable

T = TypeVar("T")


def sha256(token: str) -> bytes:
    """What is kept of an opaque token of 256 random bits: 32 bytes that lead nowhere back."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def digest(key: bytes, purpose: str, data: bytes) -> bytes:
    """HMAC-SHA-256 of `data` under `key`, 32 bytes.

    The purpose goes in first, so that a value made for one use never means anything in another.
    """
    return hmac.digest(key, purpose.encode() + b"\0" + data, "sha256")


def from_b64url(text: str) -> bytes:
    """The bytes of unpadded base64url. Raises ValueError for anything else."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def same(left: bytes, right: bytes) -> bool:
    """Compare in a time that does not tell where the two differ."""
    return hmac.compare_digest(left, right)


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A 256-bit key encryption key with the name that stands in the records it sealed."""

    id: str
    key: bytes


class SealBroken(Exception):
    """A record did not open: another key, another place, or changed bytes."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed record, the id of its row, and the place in which it opens."""

    id: str
    record: bytes
    context: Sequence[str]


class Sealer:
    """AES-256-GCM. The first key seals; every key listed opens, so that keys can be changed live.

    A record is `key id ‖ 0 ‖ nonce (12 bytes) ‖ ciphertext`. `context` is authenticated with it:
    a record copied to another row fails closed instead of opening somebody else's door.
    """

    VERSION = b"v1"

    def __init__(self, keys: Sequence[SealingKey]) -> None:
        self._keys = {key.id: AESGCM(key.key) for key in keys}
        self.active = keys[0].id

    @property
    def prefix(self) -> bytes:
        """How a record begins that the active key sealed."""
        return self.active.encode() + b"\0"

    def seal(self, plain: bytes, nonce: bytes, *context: str) -> bytes:
        sealed = self._keys[self.active].encrypt(nonce, plain, self._context(context))
        return self.prefix + nonce + sealed

    def open(self, record: bytes, *context: str) -> bytes:
        """Return the plain bytes; raise SealBroken where anything at all does not fit."""
        name, _, rest = record.partition(b"\0")
        key = self._keys.get(name.decode("ascii", "replace"))
        if key is None:
            raise SealBroken(f"no encryption key named {name!r} is configured")
        try:
            return key.decrypt(rest[:12], rest[12:], self._context(context))
        except InvalidTag:
            raise SealBroken("the record does not fit its key or its place") from None

    def _context(self, context: Sequence[str]) -> bytes:
        return b"\0".join([self.VERSION, *(part.encode() for part in context)])


@dataclass(frozen=True, slots=True)
class HashCost:
    """Argon2id parameters: memory in KiB, passes, lanes."""

    memory_kib: int = 19_456
    passes: int = 2
    lanes: int = 1


#: What a backup code's hash costs (security §3). Kept codes are found by their hash, so the cost of
#: passwords may be recalibrated at any time and this one never, but with the codes themselves.
CODE_COST = HashCost()


def _give_way() -> None:
    """Let the event loop go first: a hash can wait a moment, everybody else must not wait for it.

    Linux keeps a priority for each thread; elsewhere this would change the whole process.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


#: Hashes for whoever has proved something already: a flood of strangers cannot take these places.
_SPARE = 8


class HashPool:
    """All slow hashes run here: as many threads as cores, a bounded queue, and a deadline.

    Without the bound a flood of sign-ins becomes a queue of minutes; without a pool of its own the
    hash stalls the event loop for every other request. Beyond the bound the answer is 503 at once.
    """

    def __init__(self, cost: HashCost, *, threads: int, queue: int, deadline: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2", initializer=_give_way)
        self._capacity = threads + queue
        self._deadline = deadline
        self._admitted = 0
        self._inside = 0
        self._hasher = PasswordHasher(
            time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes, type=Type.ID
        )
        # A well-formed hash that no password is known to have: it costs what a real one costs.
        salt, tag = (base64.b64encode(bytes(size)).rstrip(b"=").decode() for size in (16, 32))
        self._dummy = f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${tag}"

    async def hash_password(self, password: str) -> str:
        """Return the encoded hash (PHC string) of a normalised password."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify_password(self, encoded: str | None, password: str) -> bool:
        """Tell whether `password` fits. Without a hash to compare, hash anyway and say no: an
        unknown account must cost the same time as a wrong password (K-36)."""

        def verify() -> bool:
            try:
                return self._hasher.verify(encoded or self._dummy, password) and encoded is not None
            except (VerificationError, InvalidHashError):
                return False

        return await self._run(verify)

    def is_outdated(self, encoded: str) -> bool:
        """Tell whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(encoded)

    async def hash_code(self, code: str, salt: bytes) -> bytes:
        """32 bytes of Argon2id of a canonical backup code under its person's one salt."""
        cost = CODE_COST
        return await self._run(
            lambda: hash_secret_raw(
                code.encode(), salt, cost.passes, cost.memory_kib, cost.lanes, 32, Type.ID
            )
        )

    @contextmanager
    def admission(self) -> Iterator[None]:
        """A place for a stranger's request, held until it is answered. Raises Unavailable at once when
        all are taken: asked before anything is judged, so that refusing a flood costs next to nothing."""
        if self._admitted >= self._capacity:
            raise Unavailable("the hash queue is full", retry_after=2)
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def _run(self, work: Callable[[], T]) -> T:
        if self._inside >= self._capacity + _SPARE:
            raise Unavailable("the hash queue is full", retry_after=2)
        self._inside += 1
        loop = asyncio.get_running_loop()
        job = self._pool.submit(work)
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        done, _ = await asyncio.wait([asyncio.wrap_future(job)], timeout=self._deadline)
        if not done and job.cancel():
            raise Unavailable("the hash queue is too slow", retry_after=2)
        return await asyncio.wrap_future(job)

    def _leave(self) -> None:
        self._inside -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
