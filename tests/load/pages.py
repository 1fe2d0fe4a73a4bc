"""What the pages weigh and how soon they stand: `python -m tests.load.pages`. Loopback only, a minute.

The network is Lighthouse's "Slow 4G" (150 ms for a round trip, 1.6 Mbit/s down, 750 kbit/s up), laid on each
request by the browser itself, which models no handshake: the two round trips of a new connection (TCP, TLS
1.3) are added to what it measured. The processor is slowed down four times. Of each page the cache is empty.
"""

import asyncio
import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, Request, async_playwright

from tests.pages.walk import Walk
from tests.programs import Dev, dev, needs

_ROUND_TRIP_MS = 150
_NETWORK = {
    "offline": False,
    "latency": _ROUND_TRIP_MS,
    "downloadThroughput": 1.6e6 / 8,
    "uploadThroughput": 750e3 / 8,
}
_LARGEST = """() => new Promise(done => {
  let last = 0;
  new PerformanceObserver(list => { for (const one of list.getEntries()) last = one.startTime; })
    .observe({type: "largest-contentful-paint", buffered: true});
  setTimeout(() => done(last), 300);
})"""


@dataclass(frozen=True)
class Figures:
    """A page as a browser with an empty cache meets it: bytes, requests, milliseconds."""

    name: str
    html: int
    compressed: int
    whole: int
    requests: int
    largest_paint: float

    def __str__(self) -> str:
        return (
            f"{self.name}: HTML {self.html:,} bytes ({self.compressed:,} compressed), whole page"
            f" {self.whole:,} bytes in {self.requests} requests, LCP {self.largest_paint:.0f} ms"
        )


async def measured(browser: Browser, running: Dev, *, rounds: int) -> list[Figures]:
    """Sign-in, second factor and consent, the soonest of some rounds each: what a machine that is busy with
    something else adds is no page's."""

    async def nobody(_: str, __: Page) -> None:
        """Stops are of no interest here."""

    context = await browser.new_context(base_url=running.url)
    context.set_default_timeout(15_000)
    page = await context.new_page()
    walk = Walk(page, nobody, running, running, "weight")
    found = [await _page(page, "sign-in", "/sign-in", rounds)]
    email = await walk.someone("weighed")
    asked = await walk.portal("weighing")
    await walk.sign_in(email, asked)
    found.append(await _page(page, "consent", page.url, rounds))
    await context.clear_cookies()
    enrolled = await walk.someone("weighed.too")
    await walk.sign_in(enrolled, "/sign-in?return_to=/account/two-factor/enable")
    await walk.send(name="Phone")
    await walk.confirm()
    await context.clear_cookies()
    await walk.sign_in(enrolled)
    found.append(await _page(page, "second factor", page.url, rounds))
    await context.close()
    return found


async def _page(page: Page, name: str, address: str, rounds: int) -> Figures:
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Network.enable")
    await devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})
    await devtools.send("Network.emulateNetworkConditions", _NETWORK)
    await devtools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    paints, requests, answer = [], list[Request](), None
    page.on("requestfinished", lambda request: requests.append(request))
    for _ in range(rounds):
        requests.clear()
        answer = await page.goto(address, wait_until="load")
        paints.append(await page.evaluate(_LARGEST) + 2 * _ROUND_TRIP_MS)
    assert answer is not None
    text = await answer.body()
    seen = [one for one in requests if not one.url.startswith("data:")]
    sizes = [await one.sizes() for one in seen]
    await devtools.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    await devtools.detach()
    return Figures(
        name,
        len(text),
        len(gzip.compress(text)),
        sum(one["responseBodySize"] + one["responseHeadersSize"] for one in sizes),
        len(seen),
        min(paints),
    )


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, dev(Path(folder) / "data") as running:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=needs("chromium"), args=["--no-sandbox"]
            )
            for one in await measured(browser, running, rounds=5):
                print(one)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
