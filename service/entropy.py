"""The one source of randomness: the operating system's, and identifiers made from it."""

import secrets
from uuid import UUID, uuid4


class Entropy:
    """Handed around inside `World`, so that a test may hand in another."""

    def token(self, size: int) -> bytes:
        """`size` random bytes, fit for keys and tokens."""
        return secrets.token_bytes(size)

    def subject(self) -> UUID:
        """A random identifier (UUIDv4). It tells nothing, not even when a person joined."""
        return uuid4()

    def row_id(self, unix_ms: int) -> UUID:
        """A UUIDv7 (RFC 9562 §5.7) for `unix_ms` milliseconds: rows of a kind lie in order of birth."""
        value = (unix_ms & (1 << 48) - 1) << 80 | int.from_bytes(self.token(10), "big")
        value = value & ~(0xF << 76) | 0x7 << 76
        return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
