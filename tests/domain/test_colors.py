"""A brand's colour is readable on our pages, whatever it is, and moved no further than it must be."""

import colorsys
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain.oidc import colors
from service.domain.oidc.colors import Scheme

LIGHT = Scheme(False, ("#eff2f1", "#ffffff", "#e4eff0"), ("#ffffff", "#16262b"))
DARK = Scheme(True, ("#0e1517", "#172023", "#182f34"), ("#ffffff", "#04252b"))
any_color = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")
both = pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])


def worst(color: str, scheme: Scheme) -> float:
    return min(colors.contrast(color, ground) for ground in scheme.grounds)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#ffffff", "#ffffff", 1.0),
        # Known pairs: the lightest grey that passes on white, and the darkest that fails.
        ("#767676", "#ffffff", 4.54),
        ("#777777", "#ffffff", 4.48),
        ("#ff0000", "#ffffff", 4.0),
        ("#0000ff", "#ffffff", 8.59),
    ],
)
def test_contrast_is_as_the_standard_reckons_it(one: str, other: str, ratio: float) -> None:
    assert colors.contrast(one, other) == pytest.approx(ratio, abs=0.005)
    assert colors.contrast(other, one) == colors.contrast(one, other)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("#0b5a66", True),
        ("#ABCDEF", True),
        ("", False),
        ("#fff", False),
        ("0b5a66", False),
        ("#0b5a6g", False),
        ("#0b5a667", False),
        ("#0b5a66\n", False),
        ("#\u0660\u0661\u0662\u0663\u0664\u0665", False),
        ("red", False),
        ("#0b5a66;}*{display:none", False),
    ],
    ids=ascii,
)
def test_a_color_is_six_hexadecimal_digits(text: str, is_one: bool) -> None:
    assert colors.is_color(text) is is_one


@pytest.mark.case("U-17")
@both
@given(color=any_color)
@example(color="#ffff00")
@example(color="#000000")
@example(color="#ffffff")
@example(color="#808080")
def test_every_color_is_readable_as_a_link_and_as_a_button(scheme: Scheme, color: str) -> None:
    fitted = colors.fitted(color, scheme)
    assert colors.is_color(fitted.act)
    assert worst(fitted.act, scheme) >= colors.READABLE
    assert fitted.on_act in scheme.inks
    assert colors.contrast(fitted.on_act, fitted.act) >= colors.READABLE


@both
@given(color=any_color)
def test_a_readable_color_stays_as_it_is_and_a_fitted_one_is_not_moved_again(
    scheme: Scheme, color: str
) -> None:
    fitted = colors.fitted(color, scheme)
    assert (fitted.act == color) == (worst(color, scheme) >= colors.READABLE)
    assert colors.fitted(fitted.act, scheme) == fitted


@both
@given(color=any_color)
def test_a_color_keeps_its_hue_and_moves_no_further_than_it_must(scheme: Scheme, color: str) -> None:
    fitted = colors.fitted(color, scheme).act
    if fitted == color:
        return
    # Just past the border: what is above it comes of rounding to eight bits a channel.
    assert worst(fitted, scheme) < colors.READABLE + 0.25
    hue, lightness, saturation = hls(color)
    moved_hue, moved_lightness, moved_saturation = hls(fitted)
    assert (moved_lightness > lightness) is scheme.dark
    if saturation > 0.2 and 0.1 < lightness < 0.9:
        # Eight bits a channel round both a little.
        assert min(abs(moved_hue - hue), 1 - abs(moved_hue - hue)) < 0.03
        assert abs(moved_saturation - saturation) < 0.08


def test_the_schemes_of_these_tests_differ_as_light_and_dark_do() -> None:
    """The rule is no tautology: what fits one scheme does not fit the other."""
    assert worst(colors.fitted("#3366cc", LIGHT).act, DARK) < colors.READABLE
    assert worst(colors.fitted("#ffd500", DARK).act, LIGHT) < colors.READABLE


def hls(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(pair, 16) / 255 for pair in re.findall("[0-9a-f]{2}", color))
    return colorsys.rgb_to_hls(red, green, blue)
