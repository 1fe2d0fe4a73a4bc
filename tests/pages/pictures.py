"""Pictures of pages that can be compared: what differs by itself, such as a time or a code, is covered."""

from pathlib import Path

from PIL import Image, ImageChops
from playwright.async_api import Page

#: What no two visits share.
_VOLATILE = (
    *("time", ".qr", ".key", ".codes", ".reference", "#facts code"),
    *("[data-countdown]", "[data-left]", "svg.ring"),
)


async def picture(page: Page, path: Path, *, covered: bool = True) -> None:
    """A picture of a whole page without its caret, with what changes by itself covered unless somebody wants
    to see it."""
    volatile = [page.locator(one) for one in _VOLATILE] if covered else []
    await page.screenshot(path=path, full_page=True, animations="disabled", mask=volatile)


def differing(one: Path, other: Path) -> float:
    """The share of pixels, 0 to 1, in which two pictures differ; 1 if they are not of one size."""
    with Image.open(one) as left, Image.open(other) as right:
        if left.size != right.size:
            return 1.0
        between = ImageChops.difference(left.convert("RGB"), right.convert("RGB"))
        red, green, blue = between.split()
        # The channel that differs most counts: grey would round a small difference away.
        most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        width, height = left.size
        return sum(most.histogram()[1:]) / (width * height)
