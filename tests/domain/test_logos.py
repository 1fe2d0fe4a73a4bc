"""Logos: pictures that draw, and nothing that could act, fetch or grow."""

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.oidc import logos
from service.domain.oidc.logos import Logo

SVG = 'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"'
XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(inside: str, root: str = SVG) -> str:
    return f"<svg {root}>{inside}</svg>"


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png(width: int = 1, height: int = 1, *between: bytes) -> bytes:
    """A picture of nothing, of this size."""
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress((b"\0" + b"\0" * width) * height)
    parts = [chunk(b"IHDR", header), *between, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def said(content: str | bytes) -> set[str]:
    """The codes of what is wrong with a picture of the kind it looks like."""
    held = content.encode() if isinstance(content, str) else content
    return said_of(logos.from_uri(logos.to_uri(held)))


def said_of(logo: Logo | None) -> set[str]:
    assert logo is not None
    return {code for code, _ in logos.faults(logo)}


@pytest.mark.parametrize(
    "picture",
    [
        svg(""),
        '<?xml version="1.0" encoding="UTF-8"?>' + svg("<title>Ü &amp; &#x1F6AA;</title>"),
        "\ufeff" + svg('<path d="M0 0h8v8z" fill="#fff" style="stroke:red"/>'),
        svg('<defs><linearGradient id="a"/></defs><rect fill="url(#a)" mask="url( \'#a\' )"/>'),
        svg("<style>.a { fill: url(#b) } /* plain */</style><g class='a'/>"),
        svg('<symbol id="s"/><use xlink:href="#s"/><use href="#s"/>', f"{SVG} {XLINK}"),
        # As a drawing program leaves it.
        svg(
            '<metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></metadata>'
            '<sodipodi:namedview xmlns:sodipodi="http://sodipodi.sourceforge.net/DTD/sodipodi-0.dtd"/>'
            '<g xmlns:i="http://www.inkscape.org/namespaces/inkscape" i:export-filename="C:\\logo@2.png"/>'
        ),
        png(),
        png(2048, 1),
    ],
    ids=range(9),
)
def test_a_picture_that_draws_is_taken(picture: str | bytes) -> None:
    assert said(picture) == set()


@pytest.mark.case("U-17")
@pytest.mark.parametrize(
    ("picture", "code"),
    [
        # What acts.
        (svg("<script>alert(1)</script>"), "element"),
        (svg('<s:script xmlns:s="http://www.w3.org/2000/svg">alert(1)</s:script>'), "element"),
        (svg('<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>'), "element"),
        (svg('<h:script xmlns:h="http://www.w3.org/1999/xhtml">alert(1)</h:script>'), "element"),
        (svg("", SVG + ' onload="alert(1)"'), "script"),
        (svg('<g ONCLICK="alert(1)"/>'), "script"),
        (svg('<g xmlns:e="http://www.w3.org/2001/xml-events" e:onend="alert(1)"/>'), "script"),
        (svg("<foreignObject><p/></foreignObject>"), "element"),
        (svg('<a href="javascript:alert(1)"><path d=""/></a>'), "element"),
        (svg('<set attributeName="href" to="javascript:alert(1)"/>'), "element"),
        (svg('<animate attributeName="xlink:href" values="javascript:alert(1)"/>'), "element"),
        (svg('<use href="#s"><animate attributeName="href"/></use>'), "element"),
        (svg("<title><iframe/></title>"), "element"),
        (svg('<handler type="application/ecmascript">alert(1)</handler>'), "element"),
        # What fetches.
        (svg('<image href="https://evil.example/a.png"/>'), "reference"),
        (svg('<image href="data:image/png;base64,AAAA"/>'), "element"),
        (svg('<feImage href="#a"/>'), "element"),
        (svg('<use href="https://evil.example/a.svg#a"/>'), "reference"),
        (svg('<use xlink:href="//evil.example/#a"/>', f"{SVG} {XLINK}"), "reference"),
        (svg('<use href="data:image/svg+xml,&lt;svg/&gt;#a"/>'), "reference"),
        (svg('<use href=" #a"/>'), "reference"),
        (svg('<use href=""/>'), "reference"),
        (svg('<g xml:base="https://evil.example/"/>'), "reference"),
        (svg("<style>@import 'https://evil.example/';</style>"), "style"),
        (svg("<style><![CDATA[@import 'https://evil.example/';]]></style>"), "style"),
        (svg("<style>@im<!-- x -->port 'a';</style>"), "style"),
        (svg("<style>&#64;import 'a';</style>"), "style"),
        (svg("<style>\\40 import 'a';</style>"), "style"),
        (svg("<style>@font-face { src: local(a) }</style>"), "style"),
        (svg("<style>a { fill: url( https://evil.example/) }</style>"), "style"),
        (svg("<style>a { fill: u\\72l(https://evil.example/) }</style>"), "style"),
        (svg("<style>a { background: image-set('https://evil.example/' 1x) }</style>"), "style"),
        (svg("<style>a { fill: <g/>url(https://evil.example/) }</style>"), "style"),
        (svg('<rect style="fill:url(https://evil.example/)"/>'), "style"),
        (svg('<rect fill="url(https://evil.example/#a)"/>'), "style"),
        (svg("<rect fill=\"URL( 'https://evil.example/#a')\"/>"), "style"),
        (svg('<rect fill="\\75rl(https://evil.example/)"/>'), "style"),
        (svg('<rect filter="url(data:image/svg+xml,a#b)"/>'), "style"),
        # What reads otherwise than it looks, or grows.
        ('<!DOCTYPE svg [<!ENTITY a "aa">]>' + svg("&a;"), "doctype"),
        ('<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + svg("&a;"), "doctype"),
        ('<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "https://evil.example/a.dtd">' + svg(""), "doctype"),
        ('<?xml-stylesheet href="https://evil.example/a.css"?>' + svg(""), "instruction"),
        ('<?xml version="1.0" encoding="utf-7"?>' + svg(""), "encoding"),
        ('<?xml version="1.0" encoding="iso-8859-1"?>' + svg(""), "encoding"),
        (svg('<g id="a"/>' + '<use href="#a"/>' * 31), "too_many"),
        # What is no picture at all.
        ("", "not_a_picture"),
        ("logo.svg", "not_a_picture"),
        (svg("<g>"), "not_a_picture"),
        (svg("") + "<script/>", "not_a_picture"),
        (svg("&nbsp;"), "not_a_picture"),
        ("<svg/>", "not_a_picture"),
        ('<html xmlns="http://www.w3.org/1999/xhtml"/>', "not_a_picture"),
        (svg("").encode("utf-16"), "not_a_picture"),
        (svg("\xff").encode("latin-1"), "not_a_picture"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not_a_picture"),
        (b"GIF89a", "not_a_picture"),
        (svg("", 'xmlns="http://www.w3.org/2000/svg" width="8" height="8"'), "no_size"),
        (svg("<desc>" + "a" * logos.LARGEST + "</desc>"), "too_long"),
        # PNG.
        (png()[:-1], "not_a_picture"),
        (png()[:40] + b"\0" + png()[41:], "not_a_picture"),
        (png() + b"<script>", "not_a_picture"),
        (b"\x89PNG\r\n\x1a\n", "not_a_picture"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"short") + chunk(b"IEND", b""), "not_a_picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR", "not_a_picture"),
        (png(0, 1), "out_of_range"),
        (png(1, 2049), "out_of_range"),
        (png(1, 1, chunk(b"acTL", bytes(8))), "moves"),
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_a_picture_that_does_more_is_refused(picture: str | bytes, code: str) -> None:
    assert code in said(picture)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda tail: png() + tail)))
def test_no_bytes_make_the_reader_fail(content: bytes) -> None:
    assert content == png() or said(content)


@given(st.text(alphabet='<>/="!?[]&;# svgonurl@\\()x:', max_size=60))
def test_no_text_within_a_picture_makes_the_reader_fail(inside: str) -> None:
    for code, text in logos.faults(logos.of(svg(inside).encode(), "image/svg+xml")):
        assert code
        assert text


GOOD = logos.to_uri(png())


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "logo.svg",
        "data:,",
        "https://portal.example/logo.png",
        GOOD + "\n",
        " " + GOOD,
        GOOD.upper(),
        GOOD.replace("image/png", "image/jpeg"),
        GOOD.replace("image/png", "image/png;charset=utf-8"),
        GOOD.replace(";base64", ""),
        GOOD + "A",
        "data:image/png;base64,A",
        "data:image/png;base64,A===",
        "data:image/png;base64," + "A" * 2 * logos.LARGEST,
    ],
    ids=lambda uri: ascii(uri)[-30:],
)
def test_only_a_data_uri_of_a_picture_is_one(uri: str) -> None:
    assert logos.from_uri(uri) is None
    assert logos.from_uri(GOOD) is not None


def test_a_logo_is_its_bytes_and_not_where_they_were_read() -> None:
    content = svg("").encode()
    logo = logos.from_uri(logos.to_uri(content))
    assert logo is not None
    assert logo.content == content
    assert logo == Logo("image/svg+xml", logo.digest)
    assert logo != logos.of(content + b"\n", "image/svg+xml")
    assert base64.b64encode(content).decode() in logos.to_uri(content)
    assert logos.of(png(), "image/png") == logos.from_uri(logos.to_uri(png()))
    # It was judged when its bytes were kept.
    assert said_of(Logo("image/png", "0" * 64)) == set()
