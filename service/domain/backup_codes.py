"""Backup codes: five single-use codes of twelve characters of Crockford's base32 (60 bits each)."""

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
#: Codes in a set, characters in a code without its hyphens, and the random bytes behind a set.
COUNT = 5
LENGTH = 12
RAW_BYTES = 8 * COUNT
#: At so many codes left, or fewer, a person is warned.
FEW = 2
#: Longer texts (in characters) are no code, however they are spaced.
_LONGEST_TEXT = 64

#: What people and phones put between the groups: space, tab, hyphens and dashes, no-break space.
_BETWEEN = " \t-\u00a0\u2010\u2011\u2012\u2013\u2014"
_READ_AS = str.maketrans(
    {**{char: char for char in ALPHABET}, "O": "0", "I": "1", "L": "1"}
    | {char.lower(): char for char in ALPHABET if char.isalpha()}
    | {"o": "0", "i": "1", "l": "1"}
    | dict.fromkeys(_BETWEEN, "")
)


class DuplicateCodes(ValueError):
    """Two codes of a set came out equal (once in 10^17 sets): the caller draws other bytes."""


def from_bytes(raw: bytes) -> tuple[str, ...]:
    """Make a set of `COUNT` codes such as `K7QM-2XRT-9FHD` from `RAW_BYTES` random bytes.

    Each code takes the low 60 of its 64 bits. Raises ValueError for another length, and
    DuplicateCodes when a code would stand twice: shown as two, it would work once.
    """
    if len(raw) != RAW_BYTES:
        raise ValueError(f"a set is made from {RAW_BYTES} bytes, not {len(raw)}")
    codes = tuple(_text(int.from_bytes(raw[at : at + 8], "big")) for at in range(0, RAW_BYTES, 8))
    if len(set(codes)) != COUNT:
        raise DuplicateCodes("a code came out twice")
    return codes


def canonical(text: str) -> str | None:
    """The twelve characters a typed code stands for, or None when it has not their shape.

    Any case; spaces and hyphens go, and the dashes and no-break space that phones put for them; O
    reads as 0, I and L as 1 (Crockford). Nothing else is normalised: a letter or digit of another
    script makes it no code. The length is bounded before any work, so that a huge field costs nothing.
    """
    if len(text) > _LONGEST_TEXT:
        return None
    plain = text.translate(_READ_AS)
    return plain if len(plain) == LENGTH and all(char in ALPHABET for char in plain) else None


def left_warning(left: int) -> bool:
    """Whether so few codes are left that the person should make a new set: at 2, 1 and 0."""
    return left <= FEW


def _text(number: int) -> str:
    chars = "".join(ALPHABET[number >> 5 * at & 31] for at in range(LENGTH))
    return "-".join(chars[at : at + 4] for at in range(0, LENGTH, 4))
