"""Limits of networks, and the early refusal of a replayed step. Truth is elsewhere (Postgres)."""

import ipaddress
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil
from uuid import UUID

import structlog

from service.clock import monotonic
from service.errors import InvalidCode, InvalidCredentials, RateLimited
from service.settings import Settings
from service.stores.redis import Memory, RedisAway, Script

_GCRA = Script("gcra")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` failures in `window` seconds, refilled evenly."""

    name: str
    burst: int
    window: int

    @property
    def interval(self) -> int:
        """Microseconds after which one place is free again."""
        return self.window * 1_000_000 // self.burst

    @property
    def policy(self) -> str:
        """The RateLimit-Policy field (draft-ietf-httpapi-ratelimit-headers)."""
        return f'"{self.name}";q={self.burst};w={self.window}'


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request has taken and may be given back if it turns out to be right."""

    taken: Sequence[tuple[str, Limit]]


def networks(address: str) -> Sequence[tuple[str, bool]]:
    """The networks an address counts for, and whether each is the wide one.

    IPv4 counts by address. A household holds an IPv6 /64 and can pick any address of it, a
    provider's customer often a /48; so both count, the wide one with more room.
    """
    ip = ipaddress.ip_address(address)
    if ip.version == 4:
        return [(str(ip), False)]
    return [(str(ipaddress.ip_network((ip, bits), strict=False)), bits == 48) for bits in (64, 48)]


class Limits:
    """GCRA in Redis by its own clock; without Redis in this process, at limit / workers."""

    def __init__(self, settings: Settings, memory: Memory, digest: Callable[[str, str], str]) -> None:
        self._memory = memory
        self._digest = digest
        self._workers = settings.workers
        self._wide = settings.limits.wide_factor
        self._limits = {
            "sign_in.network": Limit("sign_in.network", settings.limits.sign_in_network, 300),
            "second_factor.network": Limit(
                "second_factor.network", settings.limits.second_factor_network, 300
            ),
        }
        self._local: dict[str, float] = {}
        self._warned = 0.0
        self._swept = 0

    async def take(self, name: str, address: str) -> Charge:
        """Charge a request before it is judged. Raises RateLimited with the seconds to wait."""
        limit = self._limits[name]
        wide = Limit(limit.name, limit.burst * self._wide, limit.window)
        buckets = [
            (f"limit:{name}:{{{self._digest(name, network)}}}", wide if is_wide else limit)
            for network, is_wide in networks(address)
        ]
        answers = await self._gcra(buckets, 1)
        taken = [bucket for bucket, answer in zip(buckets, answers, strict=True) if answer[0]]
        if len(taken) < len(buckets):
            await self._gcra(taken, -1)
            refused = max((answer for answer in answers if not answer[0]), key=lambda answer: answer[2])
            wait = ceil(refused[2] / 1_000_000)
            raise RateLimited(
                f"the limit {name} of a network is used up", retry_after=wait, limit=limit.policy
            )
        return Charge(taken)

    @asynccontextmanager
    async def charged(self, name: str, address: str) -> AsyncIterator[None]:
        """Charge what happens inside before it is judged. A wrong secret stays charged, and so does a
        request whose sender hung up: it may have been judged. A success gets its place back, and what
        was never judged (503, a malformed code, a token that opens nothing)."""
        charge = await self.take(name, address)
        try:
            yield
        except BaseException as fault:
            if not isinstance(fault, InvalidCode | InvalidCredentials | CancelledError):
                await self._gcra(charge.taken, -1)
            raise
        await self._gcra(charge.taken, -1)

    async def step_was_seen(self, authenticator: UUID, step: int) -> bool:
        """Whether a success with this step is remembered. No proves nothing."""
        try:
            return bool((await self._memory.run(("EXISTS", _step_key(authenticator, step))))[0])
        except RedisAway as away:
            self._warn(away)
            return False

    async def remember_step(self, authenticator: UUID, step: int) -> None:
        """After the commit: remember a spent step for 120 seconds, longer than any window."""
        try:
            await self._memory.run(("SET", _step_key(authenticator, step), 1, "EX", 120))
        except RedisAway as away:
            self._warn(away)

    async def _gcra(self, buckets: Sequence[tuple[str, Limit]], sign: int) -> Sequence[Sequence[int]]:
        if not buckets:
            return []
        calls = [_GCRA.call(key, limit.burst, limit.interval, sign) for key, limit in buckets]
        try:
            return await self._memory.run(*calls, script=_GCRA)
        except RedisAway as away:
            self._warn(away)
            return [self._gcra_here(key, limit, sign) for key, limit in buckets]

    def _gcra_here(self, key: str, limit: Limit, sign: int) -> Sequence[int]:
        """The same in this process. Other workers do not see it, so each gets its share only."""
        now = int(monotonic() * 1_000_000)
        burst = max(1, limit.burst // self._workers)
        interval = limit.window * 1_000_000 // burst
        room = now + burst * interval
        full = max(int(self._local.get(key, now)) + sign * interval, now)
        if full > room:
            return [0, 0, full - room]
        if len(self._local) > 100_000 and key not in self._local:
            # An attacker with many addresses must not fill the memory, nor make every request sweep it:
            # once a second drop what has refilled, and when nothing has, refuse until something does.
            if now - self._swept >= 1_000_000:
                self._swept = now
                self._local = {k: v for k, v in self._local.items() if v > now}
            if len(self._local) > 100_000:
                return [0, 0, interval]
        self._local[key] = full
        return [1, (room - full) // interval, 0]

    def _warn(self, away: RedisAway) -> None:
        if monotonic() - self._warned >= 10:
            self._warned = monotonic()
            _log.warning("redis_away", reason=str(away))


def _step_key(authenticator: UUID, step: int) -> str:
    return f"step:{{{authenticator}}}:{step}"
