"""The texts of the pages, for translators: `make messages` brings each language's file up to date.

A text that changed is a new one; what nobody says any more goes. Files hold no dates and no line numbers, so
that they change only where a text does.
"""

from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

from service.errors import CATALOGUE
from service.http.language import LANGUAGES, MESSAGES

_PAGES = MESSAGES.parent
_KINDS = [("templates/**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
_OPTIONS = {"templates/**.html": {"trimmed": "true", "newstyle_gettext": "true"}}


def said() -> Catalog:
    """Every text that a page can say, in English."""
    catalogue = Catalog()
    for message in _messages():
        catalogue.add(message)
    return catalogue


def _messages() -> Iterator[str | tuple[str, ...]]:
    keywords = DEFAULT_KEYWORDS | {"N_": None}
    for found in extract_from_dir(str(_PAGES), _KINDS, _OPTIONS, keywords=keywords):
        yield found[2]
    for error in CATALOGUE.values():
        yield error.title
        yield error.detail


def kept(tag: str) -> Catalog:
    """What a language's file holds."""
    with path_of(tag).open("rb") as file:
        return read_po(file, locale=tag)


def path_of(tag: str) -> Path:
    return MESSAGES / f"{tag}.po"


def main() -> None:
    now = said()
    for tag in LANGUAGES:
        if tag == "en":
            continue
        catalogue = kept(tag)
        catalogue.update(now, no_fuzzy_matching=True)
        with path_of(tag).open("wb") as file:
            write_po(
                file,
                catalogue,
                width=110,
                no_location=True,
                omit_header=True,
                ignore_obsolete=True,
                sort_output=True,
            )


if __name__ == "__main__":
    main()
