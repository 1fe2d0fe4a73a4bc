"""The languages of the pages: which one a browser is answered in, and its texts.

The English text of a message is its id (gettext); each other language is one file, `messages/TAG.po`.
"""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

MESSAGES = Path(__file__).parent / "messages"
#: The languages people may choose, each by its own name.
LANGUAGES: Mapping[str, str] = {"en": "English", "de": "Deutsch", "ru": "Русский", "zh": "中文"}
#: Languages of nobody, for whoever tests the pages: longer texts with accents, and right to left.
PSEUDO: Mapping[str, str] = {"en-XA": "Pseudo", "ar-XB": "Pseudo, right to left"}

_QUALITY = re.compile(
    r"([A-Za-z0-9-]{1,35}|\*)\s*(?:;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?", re.ASCII
)
#: What a translator leaves as it is: placeholders, tags and entities.
_FIXED = re.compile(r"(%\(\w+\)s|%%|<[^>]+>|&\w+;)")
_ACCENTS = str.maketrans("aeiouyAEIOUYcnszCNSZ", "áéíóúýÁÉÍÓÚÝçñšžÇÑŠŽ")


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the pages: its BCP 47 tag, its direction, its texts, and how it writes dates."""

    tag: str
    dir: str
    texts: NullTranslations
    locale: Locale


class _Pseudo(NullTranslations):
    """English made strange, so that a text which no translator would see stands out."""

    def __init__(self, strange: Callable[[str], str]) -> None:
        super().__init__()
        self._strange = strange

    def gettext(self, message: str) -> str:
        parts = _FIXED.split(message)
        told = "".join(part if at % 2 else self._strange(part) for at, part in enumerate(parts))
        # Two fifths longer, as German and Russian are.
        return f"⟦{told}{'·' * (2 * len(message) // 5)}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


def N_(message: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text that a template translates later."""
    return message


@lru_cache(maxsize=8)
def language(tag: str) -> Language:
    """A language by its tag, which has to be one of ours."""
    if tag == "en-XA":
        return Language(tag, "ltr", _Pseudo(lambda text: text.translate(_ACCENTS)), Locale("en"))
    if tag == "ar-XB":
        return Language(tag, "rtl", _Pseudo(str), Locale("en"))
    return Language(tag, "ltr", _texts(tag), Locale(tag))


def _texts(tag: str) -> NullTranslations:
    if tag == "en":
        return NullTranslations()
    with (MESSAGES / f"{tag}.po").open("rb") as file:
        catalogue = read_po(file, locale=tag)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)


def supported(tag: str, *, pseudo: bool) -> str | None:
    """The language of ours that answers to a tag, by its first part where the whole is none."""
    known = [*LANGUAGES, *(PSEUDO if pseudo else ())]
    by_name = {one.casefold(): one for one in known}
    return by_name.get(tag.casefold()) or by_name.get(tag.partition("-")[0].casefold())


def chosen(ui_locales: str, kept: str, accepted: str, *, pseudo: bool) -> tuple[str, bool]:
    """The language to answer in, and whether it was asked for by name just now: the first we have of
    `ui_locales` (OpenID Connect Core 1.0 §3.1.2.1), the one the browser `kept`, or the best of
    `Accept-Language` (RFC 9110 §12.5.4). What is of no known form counts for nothing."""
    for tag in ui_locales.split()[:10]:
        if found := supported(tag, pseudo=pseudo):
            return found, True
    for tag in [kept, *_by_quality(accepted)]:
        if found := supported(tag, pseudo=pseudo):
            return found, False
    return "en", False


def _by_quality(accepted: str) -> list[str]:
    found = [_QUALITY.fullmatch(part.strip()) for part in accepted[:500].split(",")]
    wanted = [(float(match[2] or 1), match[1]) for match in found if match]
    # Sorting is stable: of two that are liked alike, the first counts.
    return [tag for quality, tag in sorted(wanted, key=lambda one: -one[0]) if quality > 0]
