"""What holds on every page, looked at on one way through all of them: see walk.py for the way and look.js
for what is looked at."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.async_api import Browser, Page, Response

from tests.pages.checker import checked
from tests.pages.pictures import differing, picture
from tests.pages.walk import Walk
from tests.programs import Dev, dev

_AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
_LOOK = (Path(__file__).parent / "look.js").read_text()
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
#: The rules of axe that read colours; the others see the same in every scheme.
_COLOURS = ["color-contrast", "link-in-text-block"]


@dataclass
class Findings:
    """What was found wrong, each with the page it was found on; and what each page was."""

    wrong: list[tuple[str, str, str]] = field(default_factory=list)
    titles: dict[str, set[str]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    shifts: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """What is wrong, each once, with the first page it was found on and how many there are."""
        pages: dict[tuple[str, str], list[str]] = {}
        for case, name, one in self.wrong:
            pages.setdefault((case, one), []).append(name)
        lines = [f"{case} {one}: {names[0]}, {len(names)} in all" for (case, one), names in pages.items()]
        return "\n".join(lines)

    def of(self, case: str, name: str, found: list[str]) -> None:
        self.wrong += [(case, name, one) for one in found]


@pytest.fixture(scope="session")
def required(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A service that requires a second factor of everybody."""
    with dev(
        tmp_path_factory.mktemp("required") / "data",
        DOORWARD_TWO_FACTOR_REQUIRED="all",
        DOORWARD_TWO_FACTOR_TRUST_DAYS="30",
    ) as found:
        yield found


async def walked(chromium: Browser, free: Dev, strict: Dev, language: str, look: Any) -> Findings:
    """Go through every page in a language, and look at each with `look`."""
    context = await chromium.new_context(
        viewport={"width": 1280, "height": 800},
        extra_http_headers={"Accept-Language": language},
        reduced_motion="reduce",
    )
    context.set_default_timeout(15_000)
    await context.add_init_script(_LOOK)
    page, found, answers = await context.new_page(), Findings(), []

    def heard(message: str) -> None:
        # That an answer is an error is what some stops are for.
        if not message.startswith("Failed to load resource: the server responded with a status of 4"):
            found.of("U-01", page.url, [message])

    page.on("console", lambda message: heard(message.text))
    page.on("pageerror", lambda fault: heard(str(fault)))
    page.on("response", lambda answer: answers.append(answer) if _is_page(answer) else None)

    async def at(name: str, page: Page) -> None:
        await look(found, name, page, answers[-1])

    await Walk(page, at, free, strict, language).through()
    await context.close()
    return found


def _is_page(answer: Response) -> bool:
    return answer.request.is_navigation_request() and not 300 <= answer.status < 400


async def axe(page: Page, **options: object) -> list[str]:
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE)
    words = {"resultTypes": ["violations"]} | options
    result = await page.evaluate("options => axe.run(options)", words)
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in result["violations"]]


async def seen_as(page: Page, **media: Any) -> None:
    """As a reader with these wishes sees it, from the next picture on."""
    await page.emulate_media(**media)
    await page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


async def asked(page: Page, name: str, *words: object) -> Any:
    return await page.evaluate("([name, words]) => look[name](...words)", [name, list(words)])


async def look_closely(found: Findings, name: str, page: Page, answer: Response) -> None:
    found.shifts[name] = await asked(page, "shift")
    found.of("U-01", name, await page.evaluate("look.said"))
    found.of("U-02", name, await asked(page, "inline"))
    found.of("U-03", name, _headers(name, answer))
    found.of("U-04", name, await axe(page, runOnly=_TAGS))
    found.of("U-05", name, await asked(page, "frame"))
    title = await page.title()
    found.titles.setdefault(title.removeprefix("Error: "), set()).add(await page.inner_text("h1"))
    is_wrong = answer.status >= 400 or await page.locator("#notice[role=alert]").count() > 0
    if is_wrong != title.startswith("Error: "):
        found.of("U-05", name, [f"{answer.status} is titled {title}"])
    found.of("U-06", name, await asked(page, "keyboard"))
    await seen_as(page, color_scheme="dark")
    found.of("U-08", name, await axe(page, runOnly={"type": "rule", "values": _COLOURS}))
    found.of("U-09", name, await asked(page, "still"))
    await seen_as(page, color_scheme="light", forced_colors="active")
    found.of("U-04 forced colours,", name, await axe(page, runOnly={"type": "rule", "values": _COLOURS}))
    await seen_as(page, forced_colors="none")
    await page.set_viewport_size({"width": 320, "height": 568})
    found.of("U-07", name, await asked(page, "narrow"))
    await page.set_viewport_size({"width": 1280, "height": 800})


def _headers(name: str, answer: Response) -> list[str]:
    headers, policy = answer.headers, answer.headers.get("content-security-policy", "")
    wanted = {
        "no-store": "no-store" in headers.get("cache-control", "") or name == "error-meaning",
        "referrer-policy": headers.get("referrer-policy") == "same-origin",
        "nosniff": headers.get("x-content-type-options") == "nosniff",
        "frame-ancestors": "frame-ancestors 'none'" in policy,
        "form-action": "form-action 'self'" in policy,
        "default-src": policy.startswith("default-src 'none'"),
        "unsafe": not any(word in policy for word in ("unsafe", "*", "http:", "https:")),
    }
    return [f"header {header}" for header, holds in wanted.items() if not holds]


async def look_for_texts(found: Findings, name: str, page: Page, _: Response) -> None:
    found.of("U-11", name, await asked(page, "untranslated"))
    for width, percent in ((320, 100), (1280, 200)):
        await page.set_viewport_size({"width": width, "height": 800})
        await asked(page, "spread", percent)
        found.of(f"U-12 at {width}", name, await asked(page, "clipped"))
        found.of(f"U-12 at {width}", name, [one for one in await asked(page, "narrow") if "wide" in one])
        await asked(page, "gather")
    await page.set_viewport_size({"width": 1280, "height": 800})


#: A page of each kind.
_PICTURED = ("sign-in", "second-factor", "account-on", "consent")


async def look_twice(found: Findings, name: str, page: Page, folder: Path) -> None:
    """Whoever compares pictures of before and after must see what changed, and nothing else."""
    first, second = folder / f"{name}-1.png", folder / f"{name}-2.png"
    await picture(page, first)
    await page.reload()
    await picture(page, second)
    share = differing(first, second)
    found.of("U-76", name, [f"{share:.2%} of the pixels differ"] if share > 0.001 else [])


async def look_from_the_right(found: Findings, name: str, page: Page, answer: Response) -> None:
    found.sources[name] = await answer.text()
    found.of("U-10", name, await asked(page, "mirrored"))
    await page.set_viewport_size({"width": 320, "height": 568})
    found.of("U-10", name, [one for one in await asked(page, "narrow") if "wide" in one])
    await page.set_viewport_size({"width": 1280, "height": 800})


@pytest.mark.case("U-01")
@pytest.mark.case("U-02")
@pytest.mark.case("U-03")
@pytest.mark.case("U-04")
@pytest.mark.case("U-05")
@pytest.mark.case("U-06")
@pytest.mark.case("U-07")
@pytest.mark.case("U-08")
@pytest.mark.case("U-09")
async def test_every_page_holds_what_all_pages_hold(chromium: Browser, running: Dev, required: Dev) -> None:
    found = await walked(chromium, running, required, "en", look_closely)
    assert not found.wrong, str(found)
    assert {title: said for title, said in found.titles.items() if len(said) > 1} == {}, "U-05"
    name, most = max(found.shifts.items(), key=lambda one: one[1])
    assert most <= 0.02, f"B3: {name} moved by {most:.4f}"


@pytest.mark.case("U-11")
@pytest.mark.case("U-12")
async def test_every_text_is_translated_and_has_room(chromium: Browser, running: Dev, required: Dev) -> None:
    found = await walked(chromium, running, required, "en-XA", look_for_texts)
    assert not found.wrong, str(found)


@pytest.mark.case("U-10")
@pytest.mark.case("U-76")
async def test_every_page_can_be_read_from_the_right_and_is_good_html(
    chromium: Browser, running: Dev, required: Dev, tmp_path: Path
) -> None:
    async def look(found: Findings, name: str, page: Page, answer: Response) -> None:
        await look_from_the_right(found, name, page, answer)
        if name in _PICTURED:
            await look_twice(found, name, page, tmp_path)

    found = await walked(chromium, running, required, "ar-XB", look)
    assert not found.wrong, str(found)
    assert checked(found.sources, tmp_path) == []
