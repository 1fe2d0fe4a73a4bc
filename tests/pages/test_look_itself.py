"""What looks at every page sees what is wrong with one: a page with a fault of each kind."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser

from tests.pages.pictures import differing
from tests.pages.test_look import _LOOK, asked, axe

_BAD = """<!doctype html><html lang="en" dir="ltr"><head><title>Bad</title></head><body>
<h1>One</h1><h1>Two</h1><main><p style="color: #ccc" onclick="x()">Pale ⟦words⟧</p>
<button id="tiny" tabindex="2">x</button><a class="button" href="#y">hidden ring</a>
<div class="wide">wide</div><div class="cut">A text that is cut off in the middle of a long line</div>
<input type="email" id="mail" aria-label="mail"><p>ada@example.com</p><div class="over"></div>
<div class="moving">moves</div></main></body></html>"""
_STYLES = """#tiny { width: 10px; height: 10px; padding: 0 } .wide { width: 2000px }
.cut { width: 60px; overflow: hidden; white-space: nowrap } :focus-visible { outline: 0 }
.over { position: fixed; inset: 0; background: white } .moving { transition: opacity 3s }"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("inline", ["has style", "has onclick", "has no nonce"]),
        ("frame", ["2 h1", "no color-scheme", "no live region", "tabindex 2"]),
        ("keyboard", ["has no ring", "is behind"]),
        ("narrow", ["wide", "is 10 by 10"]),
        ("still", ["moves"]),
        ("untranslated", ["Pale", "One"]),
        ("clipped", ["is cut"]),
        ("mirrored", ["not from the right", "has an address without bdi"]),
    ],
)
async def test_a_fault_is_seen(chromium: Browser, name: str, told: list[str]) -> None:
    page = await chromium.new_page(viewport={"width": 320, "height": 568})
    await page.set_content(_BAD)
    await page.evaluate(_LOOK)
    await page.add_style_tag(content=_STYLES)
    found = "\n".join(await asked(page, name))
    await page.close()
    assert [one for one in told if one not in found] == [], found


async def test_axe_reads_what_it_is_asked_to(chromium: Browser) -> None:
    page = await chromium.new_page()
    await page.set_content(_BAD)
    found = await axe(page, runOnly={"type": "rule", "values": ["color-contrast"]})
    await page.close()
    assert len(found) == 1
    assert found[0].startswith("color-contrast")


def test_pictures_that_differ_are_told_apart(tmp_path: Path) -> None:
    one, other, wider = (tmp_path / f"{name}.png" for name in ("one", "other", "wider"))
    Image.new("RGB", (100, 10), "white").save(one)
    picture = Image.new("RGB", (100, 10), "white")
    picture.putpixel((3, 3), (254, 255, 255))
    picture.save(other)
    Image.new("RGB", (101, 10), "white").save(wider)
    assert differing(one, one) == 0
    assert differing(one, other) == pytest.approx(0.001)
    assert differing(one, wider) == 1
