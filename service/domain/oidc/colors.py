"""The colour of a brand, kept readable: contrast as WCAG 2.2 defines it (§1.4.3, relative luminance)."""

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass

#: What text needs against what is behind it (WCAG 2.2 §1.4.3, level AA).
READABLE = 4.5
#: In how many steps a lightness is looked for: finer than eight bits a channel can tell apart.
_STEPS = 1024

_COLOR = re.compile(r"#[0-9A-Fa-f]{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One look of our pages, light or dark: the colours that stand behind text, all near white or all near
    black, and those that text on a button may have."""

    dark: bool
    grounds: Sequence[str]
    inks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Colors:
    """What links and buttons are drawn in (`act`), and what stands on them (`on_act`)."""

    act: str
    on_act: str


def is_color(text: str) -> bool:
    """Whether a text is a colour as records have it: `#` and six hexadecimal digits."""
    return _COLOR.fullmatch(text) is not None


def luminance(color: str) -> float:
    """Relative luminance, from 0 (black) to 1 (white)."""
    red, green, blue = (_linear(channel / 255) for channel in _channels(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def fitted(color: str, scheme: Scheme) -> Colors:
    """The colours that a scheme takes from a brand's: its own where that is readable on every ground, or of
    the same hue and saturation, as much darker or lighter as it must be and no more."""
    act = color.lower() if _is_readable(color, scheme) else _moved(color, scheme)
    return Colors(act, max(scheme.inks, key=lambda ink: contrast(ink, act)))


def _moved(color: str, scheme: Scheme) -> str:
    """The nearest lightness that is readable. On the way to black or to white every channel changes in one
    direction only, and so does the contrast: halving the way finds the place."""
    near, far, end = 0, _STEPS, 1.0 if scheme.dark else 0.0
    while far - near > 1:
        half = (near + far) // 2
        if _is_readable(_towards(color, end, half / _STEPS), scheme):
            far = half
        else:
            near = half
    return _towards(color, end, far / _STEPS)


def _towards(color: str, end: float, share: float) -> str:
    """A colour whose lightness has moved by a share of the way to its end, 0 or 1."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in _channels(color)))
    moved = colorsys.hls_to_rgb(hue, lightness + (end - lightness) * share, saturation)
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in moved)


def _is_readable(color: str, scheme: Scheme) -> bool:
    return all(contrast(color, ground) >= READABLE for ground in scheme.grounds)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
