"""Turning the second factor on, the codes and their thirty seconds, and off again, with scripts on."""

import io
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import zxingcpp
from axe_playwright_python.async_playwright import Axe
from PIL import Image
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.pages.browsing import PASSWORD, Authenticator, backup_codes, password, person, watched
from tests.programs import Dev

ENABLE = "/account/two-factor/enable"
#: What a screen reader is told while the dialog is open, as it comes.
_LISTEN = """() => {
  window.heard = [];
  for (const place of document.querySelectorAll("[data-heard], [data-told]"))
    new MutationObserver(() => place.textContent && window.heard.push(place.textContent))
      .observe(place, {childList: true});
  const warning = document.querySelector("[role=alert][data-warn]");
  if (warning) new MutationObserver(() => warning.hidden || window.heard.push("alert: " + warning.innerText))
    .observe(warning, {attributes: true, attributeFilter: ["hidden"]});
}"""


@pytest.fixture
async def scripted(chromium: Browser, running: Dev) -> AsyncIterator[BrowserContext]:
    made = await chromium.new_context(
        base_url=running.url, permissions=["clipboard-read", "clipboard-write"], accept_downloads=True
    )
    made.set_default_timeout(15_000)
    yield made
    await made.close()


async def at_the_code(page: Page, running: Dev, email: str) -> Authenticator:
    """A new person at the second half of the set-up, and what they scanned."""
    await password(page, person(running, email))
    await page.wait_for_url("**/account")
    await page.click("text=Enable 2FA")
    await page.click("main form button")
    await page.wait_for_selector("#code")
    return Authenticator((await page.inner_text("#key")).replace(" ", ""))


async def standing_still(page: Page) -> None:
    """From here on time goes on by `page.clock.run_for` only."""
    await page.clock.pause_at(await page.evaluate("Date.now() / 1000") + 1)
    await page.evaluate(_LISTEN)


async def seconds_left(page: Page) -> int:
    text = await page.inner_text("[role=timer]")
    return int("".join(char for char in text if char.isdigit()))


def read(picture: bytes) -> str:
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))
    return found.text


@pytest.mark.case("U-55")
@pytest.mark.case("U-56")
@pytest.mark.case("U-57")
@pytest.mark.case("U-58")
@pytest.mark.case("U-60")
@pytest.mark.case("U-61")
async def test_a_phone_reads_the_picture_wherever_it_is_shown(
    chromium: Browser, scripted: BrowserContext, running: Dev, shots: Path
) -> None:
    page = await scripted.new_page()
    said = watched(page)
    await password(page, person(running, "picture@factor.example"))
    await page.wait_for_url("**/account")
    await page.click("text=Enable 2FA")
    assert await page.input_value("#name") == "Authenticator"
    assert await page.get_attribute("#name", "maxlength") == "64"
    apps = [await link.get_attribute("aria-label") for link in await page.locator("main ol ul a").all()]
    assert [name.partition(" for ")[0] for name in apps if name] == [
        name for name in ("Google Authenticator", "Microsoft Authenticator", "Authy") for _ in range(2)
    ]
    await page.fill("#name", "<b>Ada's</b> phone")
    await page.click("main form button")
    secret = (await page.inner_text("#key")).replace(" ", "")
    groups = (await page.inner_text("#key")).split(" ")
    assert {len(group) for group in groups} == {4}
    await page.click("text=Copy the key")
    await expect(page.locator("[data-told]")).to_have_text("The key was copied")
    assert await page.evaluate("navigator.clipboard.readText()") == secret

    kept = await scripted.storage_state()
    for name, scheme, scale, width in (
        ("plain", "light", 1, 1280),
        ("small", "light", 1, 320),
        ("fine", "light", 2, 320),
        ("dark", "dark", 1, 1280),
    ):
        other = await chromium.new_context(
            base_url=running.url,
            storage_state=kept,
            color_scheme=scheme,  # type: ignore[arg-type]
            device_scale_factor=scale,
            viewport={"width": width, "height": 720},
        )
        looked = await other.new_page()
        await looked.goto(ENABLE)
        picture = await looked.screenshot(path=shots / f"qr-{name}.png", full_page=True)
        uri = urlsplit(read(picture))
        told = parse_qs(uri.query)
        assert (uri.scheme, uri.netloc, told["secret"]) == ("otpauth", "totp", [secret])
        assert "picture@factor.example" in uri.path.replace("%40", "@")
        code = looked.locator(".qr svg")
        box = await code.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 200, name
        drawn = Image.open(io.BytesIO(await code.screenshot())).convert("RGB")
        # Four modules of a quiet zone, white in the dark as well.
        edge = int(4 * drawn.width / int((await code.get_attribute("viewBox") or "").split()[2])) - 1
        border = drawn.crop((2, 2, drawn.width - 2, edge))
        assert border.getextrema() == ((255, 255),) * 3, name
        await other.close()
    picture_named = page.get_by_role("img", name="QR code for your authenticator app")
    assert await picture_named.count() == 1
    text = await page.inner_text("main")
    for told_text in (
        running.url.partition("://")[2],
        "picture@factor.example",
        "TOTP",
        "6",
        "30 s",
        "SHA-1",
    ):
        assert told_text in text
    assert secret in (await page.get_attribute("a[href^=otpauth]", "href") or "")

    # A wrong code changes nothing, and a reload turns nothing on.
    await page.fill("#code", "000000")
    await page.click("main form:has(#code) button")
    assert "not valid" in await page.inner_text("#notice")
    assert await page.evaluate("document.activeElement.id") == "code"
    assert await page.input_value("#code") == ""
    assert (await page.inner_text("#key")).replace(" ", "") == secret
    await page.reload()
    assert await page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert secret not in page.url
    await page.goto("/account")
    assert "Not activated" in await page.inner_text("#two-factor")
    await page.goto(ENABLE)
    await page.click("text=Start again")
    await page.wait_for_selector("#key")
    assert (await page.inner_text("#key")).replace(" ", "") != secret
    await page.fill("#code", Authenticator(secret).code())
    await page.click("main form:has(#code) button")
    assert "not valid" in await page.inner_text("#notice"), "the old picture opens nothing"
    assert said == []


@pytest.mark.case("U-46")
@pytest.mark.case("U-47")
@pytest.mark.case("U-48")
@pytest.mark.case("U-49")
@pytest.mark.case("U-59")
async def test_the_thirty_seconds_of_the_codes(scripted: BrowserContext, running: Dev, shots: Path) -> None:
    page = await scripted.new_page()
    said = watched(page)
    await page.clock.install()
    app = await at_the_code(page, running, "seconds@factor.example")
    await page.fill("#code", app.code())
    await page.click("main form:has(#code) button")
    await page.wait_for_selector("dialog:modal")
    await standing_still(page)
    codes = await backup_codes(page)
    await page.screenshot(path=shots / "codes-modal.png")

    # A real dialog: focus is in it, it has its name, and nothing behind it takes part.
    assert await page.evaluate("document.activeElement.closest('dialog') !== null")
    assert await page.get_by_role("dialog", name="Your backup codes").count() == 1
    reached = await page.evaluate(
        "() => { const link = document.querySelector('[data-onward]'); link.focus();"
        " return document.activeElement === link; }"
    )
    assert not reached
    begun = await seconds_left(page)
    assert 27 <= begun <= 30

    # Escape closes it; the codes come again, as long as the time lasts.
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Show the codes again")).to_be_focused()
    await page.keyboard.press("Enter")
    assert await page.locator("dialog:modal").count() == 1
    assert await backup_codes(page) == codes
    await page.click("text=Close")
    await expect(page.locator("[data-opener]")).to_be_focused()
    await page.keyboard.press("Enter")

    # At twenty seconds a warning, and one key for more: as often as somebody needs.
    await page.clock.run_for((begun - 21) * 1000)
    assert await page.locator("[data-warn]").is_hidden()
    for _ in range(11):
        while await page.locator("[data-warn]").is_hidden():
            await page.clock.run_for(1000)
        assert await seconds_left(page) == 20
        await page.keyboard.press("Enter")
        assert await seconds_left(page) == 50
    # Who has closed the dialog meanwhile hears it as well.
    await page.keyboard.press("Escape")
    await page.clock.run_for(30_000)
    await page.clock.run_for(100)
    assert "20 seconds left" in await page.inner_text("[data-live]")
    await page.click("text=Show the codes again")
    await page.screenshot(path=shots / "codes-warned.png")
    await page.clock.run_for(10_200)
    heard = await page.evaluate("window.heard")
    assert [text for text in heard if "20 seconds left" in text][-1].startswith("alert: ")
    assert heard[-1] == "10 seconds left."
    assert len(heard) <= 3 * 12, "not each second"
    assert await page.locator("[data-ring]").get_attribute("stroke-dashoffset") not in (None, "0")
    await page.clock.run_for(9_000)
    assert await backup_codes(page) == codes
    await page.clock.run_for(2_000)
    whole = await page.evaluate("document.documentElement.innerHTML")
    assert not [code for code in codes if code in whole or " ".join(code) in whole]
    assert "make a new set" in await page.inner_text("dialog")
    assert await page.evaluate("document.activeElement.closest('dialog') !== null")
    await page.screenshot(path=shots / "codes-gone.png")
    await page.clock.resume()

    # Whoever leaves without saving is told so until they say otherwise.
    await page.click("text=Close")
    await expect(page.get_by_role("link", name="Go on without saving the codes")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#two-factor")
    assert "Activated" in await page.inner_text("#two-factor")
    assert "no saved codes" in await page.inner_text("#codes-left")
    assert not [code for code in codes if code in await page.content()]
    await page.click("#two-factor >> text=I have saved them")
    assert await page.inner_text("#codes-left") == "5 backup codes left."

    # Nor does a reload, or Back to a page that was left while it still showed them.
    for leave in ("reload", "back"):
        await page.goto("/account/two-factor/backup-codes")
        await page.get_by_role("button", name="Make a new set").click()
        await page.wait_for_selector("dialog:modal")
        new = await backup_codes(page)
        if leave == "reload":
            await page.reload()
        else:
            await page.goto("/account/two-factor/disable")
            await page.go_back()
        await page.wait_for_selector("#codes-left")
        assert urlsplit(page.url).path == "/account", "and no form is sent again"
        assert not [code for code in new if code in await page.content()]
        assert "no saved codes" in await page.inner_text("#codes-left")

    # Nobody loses their place who had closed the dialog when the time was over.
    await page.goto("/account/two-factor/backup-codes")
    await page.get_by_role("button", name="Make a new set").click()
    await page.wait_for_selector("dialog:modal")
    await standing_still(page)
    await page.keyboard.press("Escape")
    await expect(page.locator("[data-opener]")).to_be_focused()
    await page.clock.run_for(31_000)
    await expect(page.locator("[data-opener]")).to_be_hidden()
    await expect(page.locator("[data-onward]")).to_be_focused()
    assert said == []


@pytest.mark.case("U-48")
@pytest.mark.case("U-50")
@pytest.mark.case("U-51")
@pytest.mark.case("U-53")
@pytest.mark.case("U-59")
async def test_the_codes_are_copied_kept_as_a_file_and_printed(
    scripted: BrowserContext, running: Dev, shots: Path
) -> None:
    page = await scripted.new_page()
    said = watched(page)
    app = await at_the_code(page, running, "kept@factor.example")
    await page.get_by_label("Show the backup codes without a time limit").check()
    await page.fill("#code", app.code())
    await page.click("main form:has(#code) button")
    await page.wait_for_selector("dialog:modal")
    assert await page.locator("[role=timer]").count() == 0
    codes = await backup_codes(page)
    finish = page.get_by_role("button", name="Finish")
    await expect(finish).to_be_disabled()
    found = await Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    )
    assert [one["id"] for one in found.response["violations"]] == []

    # No letter that looks like another, one width, and read out letter by letter.
    assert not set("".join(codes)) & set("ILOU")
    first = page.locator(".codes li span").first
    assert "mono" in await first.evaluate("one => getComputedStyle(one).fontFamily")
    assert await first.get_attribute("aria-label") == ", ".join(" ".join(g) for g in codes[0].split("-"))
    chosen = await first.evaluate("one => (getSelection().selectAllChildren(one), String(getSelection()))")
    assert chosen == codes[0]

    # Where the clipboard refuses, the codes are selected.
    await page.evaluate("() => void (navigator.clipboard.writeText = () => Promise.reject(new Error()))")
    await page.click("dialog >> text=Copy")
    await expect(page.locator("[data-told]")).to_contain_text("Copying did not work")
    assert (await page.evaluate("String(getSelection())")).split() == codes
    await expect(finish).to_be_disabled()
    await page.evaluate("() => delete navigator.clipboard.writeText")
    await page.click("dialog >> text=Copy")
    await expect(page.locator("[data-told]")).to_have_text("Copied")
    assert (await page.evaluate("navigator.clipboard.readText()")).split("\n") == codes
    await expect(finish).to_be_enabled()

    async with page.expect_download() as coming:
        await page.click("text=Download")
    download = await coming.value
    day = time.strftime("%Y-%m-%d", time.gmtime())
    assert download.suggested_filename == f"backup-codes-{day}.txt"
    lines = (await download.path()).read_bytes().decode().split("\r\n")
    assert lines[0] == "Doorward: backup codes"
    assert "kept@factor.example" in lines[1]
    assert time.strftime("%Y", time.gmtime()) in lines[2]
    assert lines[3:] == ["", *codes, ""]
    assert not any("\n" in line for line in lines)

    # On paper: title, account, date and codes, black on white whatever the screen is.
    await page.evaluate("() => void (window.print = () => (window.printed = true))")
    await page.click("text=Print")
    assert await page.evaluate("window.printed")
    await page.emulate_media(media="print", color_scheme="dark")
    shown = [line for line in (await page.inner_text("body")).splitlines() if line.strip()]
    assert shown[0] == "Your backup codes"
    assert shown[1] == "Account kept@factor.example"
    assert shown[2].startswith("Made on ")
    assert shown[3:] == codes
    paper = Image.open(io.BytesIO(await page.screenshot(path=shots / "codes-print.png"))).convert("RGB")
    assert paper.getpixel((1, 1)) == (255, 255, 255)
    title = await page.locator("#codes-title").evaluate("one => getComputedStyle(one).color")
    assert title == "rgb(0, 0, 0)"
    tones = {colour for _, colour in paper.getcolors(1 << 24) or []}
    assert all(max(tone) - min(tone) < 12 for tone in tones if isinstance(tone, tuple)), "no colour on paper"
    await page.emulate_media(media="screen", color_scheme="light")

    await finish.click()
    await page.wait_for_url("**/account")
    assert await page.inner_text("#codes-left") == "5 backup codes left."

    # A new set asks first, and the old one is dead; nobody who only says so has to save it again.
    await page.get_by_role("link", name="Backup codes", exact=True).click()
    assert "The current five stop working" in await page.inner_text("main")
    await page.get_by_role("button", name="Make a new set").click()
    await page.wait_for_selector("dialog:modal")
    new = await backup_codes(page)
    assert not set(new) & set(codes)
    await expect(finish).to_be_disabled()
    await page.get_by_label("I have saved these codes").check()
    await finish.click()
    await page.wait_for_url("**/account")

    # Off: wrong words never, the right ones at once.
    await page.click("#two-factor >> text=Turn off")
    for secret, code in (("not the one", new[0]), (PASSWORD, codes[0])):
        await page.fill("#password", secret)
        await page.fill("#code", code)
        await page.click("main form button.danger")
        assert await page.locator("#notice[role=alert]").count() == 1
    await page.fill("#password", PASSWORD)
    await page.fill("#code", new[0])
    await page.click("main form button.danger")
    assert "is off" in await page.inner_text("#notice")
    assert "Not activated" in await page.inner_text("#two-factor")
    assert said == []
