"""The style sheet by itself: every pair of colours that meets on a page can be read, in each scheme."""

import re
from collections.abc import Mapping

import pytest

from tests.programs import ROOT

SHEET = (ROOT / "service" / "http" / "static" / "doorward.css").read_text()
_GROUNDS = ("card", "paper", "sunk", "told")
#: Each of these is written on each of those (WCAG 2.2, 1.4.3).
_TEXT = {
    "ink": (*_GROUNDS, "bad-told", "good-told", "warn-told"),
    "quiet": _GROUNDS,
    "act": _GROUNDS,
    "on-act": ("act",),
    "bad": ("card", "paper", "sunk", "bad-told"),
    "on-bad": ("bad",),
    "good": ("card", "good-told"),
    "warn": ("card", "warn-told"),
}
#: These are lines that somebody must see: borders of fields, rings, signs (1.4.11).
_LINES = {
    "edge": ("card", "paper", "sunk"),
    "act": _GROUNDS,
    "bad": ("card", "bad-told"),
    "good": ("good-told",),
    "warn": ("warn-told",),
}


def block(opening: str, sheet: str = SHEET) -> str:
    """What stands between the braces of the first rule that opens so."""
    start = sheet.index(opening) + len(opening)
    depth, at = 1, start
    while depth:
        depth += {"{": 1, "}": -1}.get(sheet[at], 0)
        at += 1
    return sheet[start : at - 1]


def colors(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6}|var\(--[a-z]+\));", text))


LIGHT = colors(block("\n:root {"))
DARK = LIGHT | colors(block("@media (prefers-color-scheme: dark) {"))
MORE = colors(block("@media (prefers-contrast: more) {"))
SCHEMES = {
    "light": LIGHT,
    "dark": DARK,
    "light, more contrast": LIGHT | MORE,
    "dark, more contrast": DARK | MORE,
}


def channels(name: str, scheme: Mapping[str, str]) -> list[float]:
    """Red, green and blue of a named colour, each from 0 to 1."""
    told = scheme[name]
    if told.startswith("var(--"):
        # `--line: var(--quiet)` means the colour before this rule; a chain of two is the most there is.
        return channels(told[6:-1], scheme)
    digits = told[1:] if len(told) == 7 else "".join(2 * digit for digit in told[1:])
    return [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]


def luminance(rgb: list[float]) -> float:
    """Relative luminance (WCAG 2.2)."""
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: list[float], other: list[float]) -> float:
    """How far two colours stand apart, from 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.case("U-08")
def test_every_text_and_every_line_stands_off_its_ground(scheme: str) -> None:
    named = SCHEMES[scheme]
    weak = [
        f"{front} on {ground}: {found:.2f}"
        for pairs, least in ((_TEXT, 4.5), (_LINES, 3.0))
        for front, grounds in pairs.items()
        for ground in grounds
        if (found := contrast(channels(front, named), channels(ground, named))) < least
    ]
    assert weak == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_button_under_the_pointer_can_still_be_read(scheme: str) -> None:
    named = SCHEMES[scheme]
    (share,) = re.findall(r"background: color-mix\(in srgb, var\(--act\), var\(--ink\) (\d+)%\)", SHEET)
    part = int(share) / 100
    under = [
        act * (1 - part) + ink * part
        for act, ink in zip(channels("act", named), channels("ink", named), strict=True)
    ]
    assert contrast(channels("on-act", named), under) >= 4.5


def test_more_contrast_is_more() -> None:
    """Who asks for more gets seven to one for every text, and lines like letters."""
    for scheme in ("light, more contrast", "dark, more contrast"):
        named = SCHEMES[scheme]
        for text in ("ink", "quiet", "edge", "line"):
            assert contrast(channels(text, named), channels("card", named)) >= 7, (scheme, text)


@pytest.mark.case("U-10")
def test_directions_are_logical_and_colours_are_named() -> None:
    """A side of the screen would not be mirrored, and a colour of its own would stay light in the dark."""
    rules = re.sub(r"/\*.*?\*/|url\([^)]*\)", "", SHEET, flags=re.DOTALL)
    sides = re.findall(
        r"(?:margin|padding|border)-(?:left|right)\b|(?<![-\w])(?:left|right)\s*:|float: (?:left|right)"
        r"|text-align: (?:left|right)|(?:margin|padding):(?: [^\s;]+){4};",
        rules,
    )
    assert sides == []
    named = rules
    for opening in ("\n:root {", "@media (prefers-color-scheme: dark) {", "@media print {"):
        named = named.replace(block(opening, rules), "")
    # A QR code is black on white everywhere: a reader of codes expects no other.
    (code,) = [line for line in named.splitlines() if line.startswith(".qr {")]
    found = re.findall(r"#[0-9a-f]{3,8}\b|rgb\([^)]*\)", named.replace(code, ""))
    assert found == ["rgb(0 0 0 / .2)"], "the shadow of a pressed button"


def test_nothing_is_fetched_by_the_sheet() -> None:
    assert "@import" not in SHEET
    assert "@font-face" not in SHEET
    assert all(address.startswith('"data:image/svg+xml,') for address in re.findall(r"url\(([^)]*)\)", SHEET))
