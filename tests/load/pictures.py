"""Pictures of every page, {light, dark} x {ltr, rtl} x {320, 1280}, and what changed between two sets.

`python -m tests.load.pictures take FOLDER` for looking, `… cover FOLDER` with what changes by itself covered,
and `… compare BEFORE AFTER`, which ends with 1 if a picture differs in more than a thousandth of its pixels.
The sets are for one machine: letters are drawn by what it has installed.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.pages.pictures import differing, picture
from tests.pages.walk import Walk
from tests.programs import Dev, dev, needs

_MOST = 0.001
_SCREENS = ((1280, 800), (320, 568))


async def take(
    browser: Browser, free: Dev, strict: Dev, language: str, folder: Path, *, covered: bool
) -> None:
    context = await browser.new_context(
        extra_http_headers={"Accept-Language": language}, reduced_motion="reduce"
    )
    context.set_default_timeout(15_000)

    async def look(name: str, page: Page) -> None:
        side = "rtl" if await page.get_attribute("html", "dir") == "rtl" else "ltr"
        for scheme in ("light", "dark"):
            for width, height in _SCREENS:
                await page.emulate_media(color_scheme=scheme)
                await page.set_viewport_size({"width": width, "height": height})
                await picture(page, folder / f"{name}-{scheme}-{side}-{width}.png", covered=covered)

    await Walk(await context.new_page(), look, free, strict, language).through()
    await context.close()


async def take_all(folder: Path, *, covered: bool) -> None:
    with (
        tempfile.TemporaryDirectory() as data,
        dev(Path(data) / "free") as free,
        dev(
            Path(data) / "strict", DOORWARD_TWO_FACTOR_REQUIRED="all", DOORWARD_TWO_FACTOR_TRUST_DAYS="30"
        ) as strict,
    ):
        async with async_playwright() as playwright:
            path = needs("chromium")
            browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            for language in ("en", "ar-XB"):
                await take(browser, free, strict, language, folder, covered=covered)
            await browser.close()


def compare(before: Path, after: Path) -> int:
    """Print what differs; 1 if anything does."""
    names = sorted({one.name for folder in (before, after) for one in folder.glob("*.png")})
    changed = 0
    for name in names:
        if not ((before / name).exists() and (after / name).exists()):
            print(f"{name}: only in one of them")
        elif (share := differing(before / name, after / name)) > _MOST:
            print(f"{name}: {share:.2%} of its pixels differ")
        else:
            continue
        changed += 1
    print(f"{len(names)} pictures, {changed} changed")
    return 1 if changed else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] in (["take"], ["cover"]):
        Path(words[1]).mkdir(parents=True, exist_ok=True)
        asyncio.run(take_all(Path(words[1]), covered=words[0] == "cover"))
    elif words[:1] == ["compare"]:
        sys.exit(compare(Path(words[1]), Path(words[2])))
    else:
        sys.exit(__doc__)
