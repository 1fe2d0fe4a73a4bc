"""The first step of a sign-in in Chromium with its scripts: sent once, counted down, and among tabs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from service.app import create
from service.embedded import Servers
from service.world import World, make_world
from tests.builders import House
from tests.conftest import settings_of
from tests.pages.browsing import PASSWORD, password, person, watched
from tests.pages.fields import SECOND_FACTOR, at_second_factor, take_all
from tests.pages.scripted import Sent, database, paste
from tests.pages.visitor import ORIGIN, Visitor
from tests.pages.visitor import Page as Playing
from tests.programs import Dev

MINE = "@sign-in.example"
#: What a page shows and says while its form is on the way: Playwright itself would wait for the answer.
_LOOK = """() => addEventListener("submit", () => setTimeout(() => {
  const button = document.querySelector("#sign-in");
  sessionStorage.setItem("seen", JSON.stringify([
    button.textContent, button.getAttribute("aria-busy"), button.getAttribute("aria-disabled"),
    document.activeElement === button, document.querySelector("[data-live]").textContent]));
}, 300), {once: true})"""


async def late(route: Route) -> None:
    await asyncio.sleep(1)
    await route.continue_()


async def live(page: Page) -> str:
    return await page.inner_text("[data-live]")


@pytest.mark.case("U-20")
@pytest.mark.case("U-21")
@pytest.mark.case("U-22")
@pytest.mark.case("U-23")
@pytest.mark.case("U-24")
@pytest.mark.case("U-26")
async def test_the_first_step_helps_whoever_types(scripted: BrowserContext, running: Dev) -> None:
    email, page, sent = person(running, f"typing{MINE}"), await scripted.new_page(), Sent()
    said = watched(page)
    await page.goto("/sign-in")
    await sent.watch(page)
    await expect(page.locator("#username")).to_be_focused()

    # Nothing typed: told at the field, without asking the server.
    await page.click("#sign-in")
    assert sent.bodies == []
    await expect(page.locator("#username-fault")).to_have_text("Enter your e-mail address.")
    await expect(page.locator("#password-fault")).to_have_text("Enter your password.")
    await expect(page.locator("#username")).to_be_focused()
    assert await page.get_attribute("#username", "aria-invalid") == "true"
    await paste(page, email)
    await expect(page.locator("#username-fault")).to_be_hidden()
    assert await page.get_attribute("#username", "aria-invalid") is None

    # The password: pasted, shown, hidden again.
    await page.focus("#password")
    await paste(page, "not the password")
    toggle = page.get_by_role("button", name="Show password", exact=True)
    await expect(toggle).to_have_attribute("aria-pressed", "false")
    await toggle.click()
    shown = page.get_by_role("button", name="Hide password", exact=True)
    await expect(shown).to_have_attribute("aria-pressed", "true")
    assert await page.get_attribute("#password", "type") == "text"

    # Caps Lock, as a keyboard tells it.
    press = """on => document.querySelector("#password").dispatchEvent(
      new KeyboardEvent("keydown", {key: "A", modifierCapsLock: on, bubbles: true}))"""
    await expect(page.locator("#password-caps")).to_be_hidden()
    await page.evaluate(press, True)
    await expect(page.locator("#password-caps")).to_be_visible()
    described = (await page.get_attribute("#password", "aria-describedby") or "").split()
    assert "password-caps" in described
    await page.evaluate(press, False)
    await expect(page.locator("#password-caps")).to_be_hidden()
    assert "password-caps" not in (await page.get_attribute("#password", "aria-describedby") or "").split()
    # With the hint there, a click still meets its button.
    await page.fill("#username", email)
    await page.focus("#password")
    await page.evaluate(press, True)

    # A wrong pair.
    hidden_when_sent = page.evaluate(
        """() => new Promise((told) => document.addEventListener("submit",
          () => told(document.querySelector("#password").type)))"""
    )
    _, kind = await asyncio.gather(page.click("#sign-in"), hidden_when_sent)
    assert kind == "password"
    await expect(page.locator("#notice")).to_have_text("The email or password is incorrect.")
    await expect(page.get_by_role("alert")).to_have_count(1)
    await expect(page.locator("#password")).to_be_focused()
    assert await page.input_value("#username") == email
    assert await page.input_value("#password") == ""
    assert len(sent.bodies) == 1
    assert sent.bodies[0]["username"] == [email]

    # Whoever is faster than the page keeps the field they are in.
    slow = await scripted.new_page()
    await slow.route("**/*.js*", late)
    await slow.goto("/sign-in", wait_until="commit")
    await slow.focus("#password")
    await slow.keyboard.type("abc")
    await slow.wait_for_load_state()
    assert await slow.input_value("#password") == "abc"
    await expect(slow.locator("#password")).to_be_focused()
    assert said == []


@pytest.mark.case("U-15")
@pytest.mark.parametrize("scripts", [True, False])
async def test_two_clicks_send_one_request(chromium: Browser, running: Dev, scripts: bool) -> None:
    """Without a script the browser sends both, which shows that this test can see it."""
    email = person(running, f"double-{scripts}{MINE}".lower())
    context = await chromium.new_context(base_url=running.url, java_script_enabled=scripts)
    context.set_default_timeout(15_000)
    page, sent = await context.new_page(), Sent(3)
    await page.goto("/sign-in")
    await sent.watch(page)
    await page.fill("#username", email)
    await page.fill("#password", PASSWORD)
    box = await page.locator("#sign-in").bounding_box()
    assert box is not None
    if scripts:
        await page.evaluate(_LOOK)
    for _ in range(2):
        # Slower than a double click, of which a browser may send one only by itself. The mouse alone does not
        # wait for what comes of a click.
        await page.mouse.click(box["x"] + 20, box["y"] + 20)
        await asyncio.sleep(0.5)
    if scripts:
        await page.keyboard.press("Enter")
    await page.wait_for_url("**/account")
    assert len(sent.bodies) == (1 if scripts else 2)
    if scripts:
        seen = json.loads(await page.evaluate("sessionStorage.getItem('seen')"))
        assert seen == ["Signing in…", "true", "true", True, "Signing in…"]
    await context.close()


@pytest.mark.case("U-16")
async def test_a_service_out_of_reach_keeps_what_is_no_secret(scripted: BrowserContext, running: Dev) -> None:
    email, page, sent = person(running, f"offline{MINE}"), await scripted.new_page(), Sent(4)
    await page.goto("/sign-in")
    await sent.watch(page)

    async def is_told() -> None:
        await expect(page.locator("[data-unreachable]")).to_be_visible()
        assert await page.input_value("#username") == email
        assert await page.input_value("#password") == ""
        await expect(page.locator("#password")).to_be_focused()
        await expect(page.locator("#sign-in")).to_have_text("Sign in")

    await page.fill("#username", email)
    await page.fill("#password", PASSWORD)
    await scripted.set_offline(True)
    await page.click("#sign-in")
    await is_told()
    assert sent.bodies == []
    await scripted.set_offline(False)
    await expect(page.locator("[data-unreachable]")).to_be_hidden()

    # No answer for too long.
    await page.evaluate("document.body.dataset.patience = '1'")
    await page.fill("#password", PASSWORD)
    await page.click("#sign-in")
    await is_told()
    await page.evaluate("document.body.dataset.patience = '20'")
    await page.fill("#password", PASSWORD)
    await page.click("#sign-in")
    await page.wait_for_url("**/account")
    assert len(sent.bodies) == 2


@pytest.mark.case("U-27")
async def test_a_wait_counts_down_and_ends_by_itself(scripted: BrowserContext, running: Dev) -> None:
    email, page = person(running, f"waiting{MINE}"), await scripted.new_page()
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        for _ in range(5):
            await client.post("/v1/sign-in", json={"email": email, "password": "not the password"})
    await page.goto("/sign-in")
    await page.fill("#username", email)
    await page.fill("#password", PASSWORD)
    store = await database(running)
    # Long enough to be seen, short enough for a test.
    await store.execute(
        "UPDATE password_tries SET wait_until = now() + interval '6 seconds' WHERE wait_until > now()"
    )
    await store.close()
    async with page.expect_response(lambda answer: answer.status == 429) as awaited:
        await page.click("#sign-in")
    wait = int((await (await awaited.value).all_headers())["retry-after"])
    timer, button = page.get_by_role("timer"), page.locator("#sign-in")
    assert 0 < int((await timer.inner_text()).removesuffix(" s")) <= wait
    await expect(button).to_be_disabled()
    await expect(page.locator("#password")).to_be_focused()
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(button).to_be_enabled(timeout=15_000)
    await expect(page.locator("#notice")).to_have_text("You can try again now.")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/account")


def in_its_place(page: Playing, times: int = 1) -> Callable[[Route], Awaitable[None]]:
    """Gives Chromium a page that another Doorward made, the first `times` it asks."""
    left = iter(range(times))

    async def answer(route: Route) -> None:
        if route.request.method != "GET" or next(left, None) is None:
            await route.fallback()
            return
        headers = {name: page.answer.headers[name] for name in ("content-security-policy", "content-type")}
        await route.fulfill(status=page.answer.status_code, headers=headers, body=page.answer.text)

    return answer


async def without_its_database(servers: Servers) -> Playing:
    """What a service says that finds no database."""
    world = make_world(settings_of(servers, "postgresql://doorward@127.0.0.1:1/doorward"))
    app: Any = create(world)
    cookies = {"doorward-dev": "dws_" + "A" * 43}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, cookies=cookies) as client:
        found = Playing(await client.get("/account"))
    await world.close()
    return found


async def test_a_busy_service_is_asked_again_without_anybody_watching_the_clock(
    scripted: BrowserContext, house: House, world: World, servers: Servers
) -> None:
    """What the pages of a busy service do in a browser: they are of one in this process, which alone can be
    kept busy for as long as a test needs."""
    visitor, page, sent = Visitor(await house.a_person()), await scripted.new_page(), Sent()
    form = await visitor.get("/sign-in")
    with ExitStack() as places:
        take_all(places, world)
        busy = await visitor.fill(form, "/sign-in", username=f"busy{MINE}", password="typed")
    assert (busy.answer.status_code, busy.answer.headers["retry-after"]) == (503, "2")

    # A form that is sent early goes when it may. The clock stands still but where it is told to run.
    await page.clock.install()
    await page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))
    await sent.watch(page)
    await page.route("**/sign-in", in_its_place(busy))
    await page.goto("/sign-in")
    assert await page.input_value("#username") == f"busy{MINE}"
    await page.fill("#password", "typed again")
    await page.click("#sign-in")
    await expect(page.locator("[data-early]")).to_be_visible()
    await page.clock.run_for(1_500)
    assert sent.bodies == []
    await page.clock.run_for(1_000)
    await expect(page.locator("#notice")).to_have_count(0)
    (body,) = sent.bodies
    assert (body["username"], body["password"]) == ([f"busy{MINE}"], ["typed again"])

    # A page that could not be shown is asked for again, a little later each time.
    away = await without_its_database(servers)
    assert away.answer.status_code == 503
    await page.route("**/account", in_its_place(away, 2))
    await page.goto("/account")
    first = int(away.answer.headers["retry-after"])
    for wait in (first, 2 * first):
        await expect(page.locator("main")).to_contain_text(f"Retrying in {wait} s…")
        await expect(page.locator("#again-in")).to_be_hidden()
        await page.clock.run_for(wait * 1_000 + 300)
    await page.wait_for_url("**/sign-in")


@pytest.mark.case("U-27")
async def test_of_a_long_wait_a_reader_hears_now_and_then(scripted: BrowserContext, house: House) -> None:
    ada = await house.a_person().with_totp()
    for number in range(5):
        await ada.verify(await ada.pre_auth(), ada.wrong_code(but=number))
    visitor, step = await at_second_factor(ada)
    locked = await visitor.fill(step, SECOND_FACTOR, code=ada.code())
    assert locked.answer.headers["retry-after"] == "300"
    page = await scripted.new_page()
    await page.clock.install()
    await page.route("**/sign-in/second-factor", in_its_place(locked))
    await page.goto(SECOND_FACTOR)
    await page.clock.pause_at(await page.evaluate("Date.now() / 1000") + 1)
    await page.evaluate(
        """() => { window.heard = []; const live = document.querySelector("[data-live]");
          new MutationObserver(() => live.textContent && window.heard.push(live.textContent))
            .observe(live, {childList: true}); }"""
    )
    await expect(page.locator("#check")).to_be_disabled()
    await page.clock.run_for(296_000)
    heard = await page.evaluate("window.heard")
    assert heard == [
        f"Too many attempts. Try again in {left}."
        for left in ("4 min 0 s", "3 min 0 s", "2 min 0 s", "1 min 0 s", "30 s", "10 s")
    ]
    await expect(page.locator("#check")).to_be_disabled()
    await page.clock.run_for(3_500)
    await expect(page.locator("#check")).to_be_enabled()
    await expect(page.locator("#notice")).to_have_text("You can try again now.")


@pytest.mark.case("U-31")
async def test_the_tabs_of_a_browser_hear_of_each_other(scripted: BrowserContext, running: Dev) -> None:
    email = person(running, f"tabs{MINE}")
    first, second = await scripted.new_page(), await scripted.new_page()
    await second.goto("/sign-in?return_to=/account/two-factor/enable")
    await password(first, email)
    await first.wait_for_url("**/account")
    said = second.locator("[data-signed-in-elsewhere]")
    await expect(said).to_contain_text("You are signed in in another tab.")
    assert "another tab" in await live(second)
    await said.get_by_role("link").click()
    await second.wait_for_url(f"{running.url}/account/two-factor/enable")
    assert urlsplit(first.url).path == "/account"
    await expect(first.locator("[data-signed-out-elsewhere]")).to_be_hidden()
    await second.click("text=Sign out")
    await second.wait_for_url("**/sign-in")
    await expect(first.locator("[data-signed-out-elsewhere]")).to_contain_text(
        "You signed out in another tab."
    )
