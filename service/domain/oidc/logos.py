"""The picture of a client: a PNG, or an SVG that draws and does nothing else.

Our pages show it as an image only, in which no browser runs scripts or fetches anything, and it is served
under a policy of its own. What is checked here keeps both from being the only wall.
"""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from xml.parsers import expat

from service.domain.oidc.addresses import Said

MediaType: TypeAlias = Literal["image/png", "image/svg+xml"]

#: Bytes of a picture; pixels of each side of a PNG.
LARGEST, _MAX_SIDE = 64 * 1024, 2048
#: As a record writes it (RFC 2397), in base64 always.
_URI = re.compile(r"data:(image/png|image/svg\+xml);base64,([A-Za-z0-9+/]*={0,2})", re.ASCII)
_LONGEST_URI = 2 * LARGEST

_PNG = b"\x89PNG\r\n\x1a\n"

_SVG = "http://www.w3.org/2000/svg"
#: What draws. Whatever else SVG has is for scripts, for other documents, for links or for motion.
_ELEMENTS = re.compile(
    r"svg|g|defs|symbol|use|title|desc|metadata|style|path|rect|circle|ellipse|line|polyline|polygon|text|tspan"
    r"|textPath|linearGradient|radialGradient|stop|pattern|clipPath|mask|marker|filter"
    r"|fe(?:Blend|ColorMatrix|ComponentTransfer|Composite|DropShadow|Flood|Func[ABGR]|GaussianBlur|Merge"
    r"|MergeNode|Morphology|Offset)"
)
#: Where drawing programs write notes for themselves: browsers know no such elements.
_NOTES = frozenset(
    [
        "http://www.inkscape.org/namespaces/inkscape",
        "http://sodipodi.sourceforge.net/DTD/sodipodi-0.dtd",
        "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "http://creativecommons.org/ns#",
        "http://web.resource.org/cc/",
        "http://purl.org/dc/elements/1.1/",
    ]
)
#: Copies of what stands elsewhere in the picture: copies of copies grow beyond all bounds.
_MOST_COPIES = 30
#: In CSS, which most attributes are: what is fetched, but for a part of the picture itself.
_FETCHES = re.compile(r"(?:url|src|image|image-set|cross-fade|element)\(\s*+(?!['\"]?#)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture by its kind and the SHA-256 of its bytes, in hexadecimal, which are beside it where it is to
    be kept. Two are the same by what they show, wherever they were read."""

    media_type: MediaType
    digest: str
    content: bytes | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.media_type} sha256:{self.digest}"


def of(content: bytes, media_type: MediaType) -> Logo:
    """The logo that these bytes are."""
    return Logo(media_type, hashlib.sha256(content).hexdigest(), content)


def from_uri(text: str) -> Logo | None:
    """The logo in a `data:` URI; None for whatever is none, or is far too large to be looked at."""
    parts = _URI.fullmatch(text) if len(text) <= _LONGEST_URI else None
    if parts is None:
        return None
    try:
        content = base64.b64decode(parts[2], validate=True)
    except binascii.Error:
        return None
    return of(content, "image/png" if parts[1] == "image/png" else "image/svg+xml")


def to_uri(content: bytes) -> str:
    """Bytes as a record writes them, of the kind that they look like."""
    kind = "image/png" if content.startswith(_PNG) else "image/svg+xml"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def faults(logo: Logo) -> Iterator[Said]:
    """What keeps a picture from being shown. One without its bytes was judged when they were kept."""
    if logo.content is None:
        return
    if len(logo.content) > LARGEST:
        yield "too_long", f"may have at most {LARGEST // 1024} KiB"
    elif logo.media_type == "image/png":
        yield from _png(logo.content)
    else:
        yield from _svg(logo.content)


def _png(content: bytes) -> Iterator[Said]:
    """A still picture of a usual size (PNG, Third Edition §5), whole, and with nothing behind its end."""
    chunks: list[tuple[bytes, bytes]] = []
    at = len(_PNG)
    while content.startswith(_PNG) and at + 12 <= len(content) and (not chunks or chunks[-1][0] != b"IEND"):
        length = int.from_bytes(content[at : at + 4])
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if content[at + 8 + length : at + 12 + length] != zlib.crc32(kind + data).to_bytes(4):
            break
        chunks.append((kind, data))
        at += 12 + length
    kinds = [kind for kind, _ in chunks]
    if kinds[:1] != [b"IHDR"] or len(chunks[0][1]) != 13 or kinds[-1:] != [b"IEND"] or at != len(content):
        yield "not_a_picture", "must be a whole PNG and nothing else"
        return
    sides = [int.from_bytes(chunks[0][1][place : place + 4]) for place in (0, 4)]
    if not all(0 < side <= _MAX_SIDE for side in sides):
        yield "out_of_range", f"must be from 1 to {_MAX_SIDE} pixels wide and high"
    if b"acTL" in kinds:
        yield "moves", "must not move"


def _svg(content: bytes) -> Iterator[Said]:
    """One fault of each kind, in the order of the text."""
    reader = _Reader()
    try:
        # A browser goes by our header, which says UTF-8; what declared another would be two pictures.
        reader.parser.Parse(content.decode("utf-8"), True)
    except (expat.ExpatError, UnicodeDecodeError):
        yield "not_a_picture", "must be a PNG, or an SVG in UTF-8 that is well-formed"
    except _Refused:
        pass
    yield from reader.found.items()


class _Refused(Exception):
    """What stands here makes the rest unreadable for us."""


class _Reader:
    """Looks at each part of an SVG as it comes; `found` is what is wrong."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._open: list[str] = []
        self._style: list[str] = []
        self._copies = 0
        self.parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        self.parser.XmlDeclHandler = self._declared
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.ProcessingInstructionHandler = self._instruction
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            self.found["encoding"] = "must be in UTF-8, and say no other encoding"

    def _doctype(self, *_: object) -> None:
        # Its entities are read by nobody: nested they grow beyond all bounds, and they may name files.
        self.found["doctype"] = "must have no DOCTYPE: take that line out"
        raise _Refused

    def _instruction(self, *_: object) -> None:
        self.found["instruction"] = (
            "must have no processing instruction, such as one that names a style sheet"
        )

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if not self._open:
            self._root(space, local, attributes)
        self._open.append(name)
        if space not in _NOTES and (space != _SVG or not _ELEMENTS.fullmatch(local)):
            self.found["element"] = "may only draw: no script, link, foreign document, picture or motion"
        self._copies += local == "use"
        if self._copies > _MOST_COPIES:
            self.found["too_many"] = f"may hold at most {_MOST_COPIES} `use`"
        for attribute, value in attributes.items():
            self._attribute(*attribute.rpartition(" ")[::2], value)

    def _root(self, space: str, local: str, attributes: Mapping[str, str]) -> None:
        if (space, local) != (_SVG, "svg"):
            self.found["not_a_picture"] = "must be a PNG or an SVG"
            raise _Refused
        if "viewBox" not in attributes:
            self.found["no_size"] = "must have a viewBox, by which it is drawn in any size"

    def _attribute(self, space: str, local: str, value: str) -> None:
        if local.lower().startswith("on"):
            self.found["script"] = "must not have an attribute that acts (on…)"
        elif local.lower() in ("href", "src", "base") and (
            local.lower() != "href" or not value.startswith("#")
        ):
            # `base` would turn a reference to the picture itself into one to somewhere else.
            self.found["reference"] = "may refer to parts of itself (#…) only"
        elif space not in _NOTES:
            self._css(value, at="@" if local == "style" else "")

    def _css(self, text: str, at: str) -> None:
        """What CSS could fetch; names that are written with a backslash hide from us."""
        if _FETCHES.search(text) or "\\" in text or (at and at in text):
            self.found["style"] = "must fetch nothing: no @ rule, no backslash, and url(#…) only"

    def _text(self, text: str) -> None:
        if self._open and self._open[-1] == f"{_SVG} style":
            self._style.append(text)

    def _end(self, name: str) -> None:
        if self._open.pop() == f"{_SVG} style":
            self._css("".join(self._style), at="@")
            self._style.clear()
