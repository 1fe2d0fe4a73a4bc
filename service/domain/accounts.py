"""The canonical form of an e-mail address, and what a password may be."""

import re
import string
import unicodedata
from collections.abc import Sequence
from enum import StrEnum

#: Code points of a password's normal form.
MIN_PASSWORD = 8
MAX_PASSWORD = 128
#: Code points of a text that is worth normalising.
_MAX_RAW_PASSWORD = 4 * MAX_PASSWORD
#: Octets of an address and of its local part (RFC 5321 §4.5.3.1).
_MAX_EMAIL, _MAX_LOCAL = 254, 64
#: A local part shorter than this stands in too many good passwords by chance.
_MIN_CONTEXT = 4
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_ATEXT = frozenset("!#$%&'*+/=?^_`{|}~.-0123456789abcdefghijklmnopqrstuvwxyz")
#: Zero-width non-joiner and joiner.
_JOINERS = "\u200c\u200d"
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class PasswordFault(StrEnum):
    """Why a text cannot be a password; the values stand in `errors[].code`."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    CONTEXTUAL = "contextual"


def canonical_email(text: str) -> str | None:
    """The one form of an address, made before validation, limits and look-up; None when it is none.

    ASCII white space at the ends goes, the domain becomes lower-case ASCII (IDNA 2003), and the local
    part is composed (NFC) with its ASCII letters lower-case. Never NFKC, nor the case rules of other
    scripts: they could make one mailbox of two, and give the one's reset link to the other.

    The length is bounded first, and every step is linear, so that no text is costly. An address that
    needs quotes, or an IP address in brackets, is none.
    """
    text = text.strip(string.whitespace)
    if len(text) > _MAX_EMAIL or text.count("@") != 1:
        return None
    local, _, domain = text.partition("@")
    local, domain = unicodedata.normalize("NFC", local).translate(_LOWER), domain.lower()
    if not _is_local(local):
        return None
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    labels = domain.split(".")
    if (len(labels) < 2 and domain != "localhost") or not all(map(_LABEL.fullmatch, labels)):
        return None
    address = f"{local}@{domain}"
    return address if len(address.encode()) <= _MAX_EMAIL else None


def normal_password(text: str, minimum: int = 0) -> str | PasswordFault:
    """The password as it is hashed: NFKC once (NIST SP 800-63B-4 §3.1.1.2), counted in code points.

    The one rule for every password that is sent, at the sign-in too; only a new one has a `minimum`.
    Spaces stay, the case stays. Too long a text is refused, never cut, and before it is normalised:
    normalising costs. NUL and lone surrogates are no text; encoding them would be our 500.
    """
    if len(text) > _MAX_RAW_PASSWORD:
        return PasswordFault.TOO_LONG
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
        return PasswordFault.NOT_TEXT
    normal = unicodedata.normalize("NFKC", text)
    if len(normal) > MAX_PASSWORD:
        return PasswordFault.TOO_LONG
    return normal if len(normal) >= minimum else PasswordFault.TOO_SHORT


def password_fault(
    text: str, email: str, minimum: int = MIN_PASSWORD, words: Sequence[str] = ("doorward",)
) -> PasswordFault | None:
    """Why a text may not become this person's password (canonical `email`); None when it may.

    In any case of letters, it must not hold the local part of the address, nor be the address or one
    of `words`, the names of this service.
    """
    normal = normal_password(text, minimum)
    if isinstance(normal, PasswordFault):
        return normal
    local = _folded(email.partition("@")[0])
    guess = _folded(normal)
    is_known = guess in {_folded(word) for word in (email, *words)}
    return PasswordFault.CONTEXTUAL if is_known or (len(local) >= _MIN_CONTEXT and local in guess) else None


def is_line(text: str) -> bool:
    """Whether a text can stand as a name in one line, in any script.

    Spaces of every width may, and the joiners that Persian and Indic spelling needs. Controls may not, nor
    what turns the direction of the text around it: a name must not make a line read as another.
    """
    return all(
        char in _JOINERS or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        for char in text
    )


def _is_local(local: str) -> bool:
    if not local or local[0] == "." or local[-1] == "." or ".." in local:
        return False
    # White space, controls, quotes, brackets, marks without a letter and lone surrogates fall here.
    if not all(char in _ATEXT or (not char.isascii() and char.isalnum()) for char in local):
        return False
    return len(local.encode()) <= _MAX_LOCAL


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
