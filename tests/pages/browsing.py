"""What tests in Chromium share: people, an authenticator of another maker, what a browser complains of."""

import io
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import zxingcpp
from PIL import Image
from playwright.async_api import Page

from tests.programs import Dev, doorward, needs

PASSWORD = "test-value one two three"


def person(running: Dev, email: str) -> str:
    made = doorward("user", "create", email, "--password-stdin", environ=running.environ, stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    return email


class Authenticator:
    """`oathtool`, which never gives a code of a step twice: it waits for the next one when it must."""

    def __init__(self, secret: str) -> None:
        self._secret, self._used = secret, 0

    def code(self) -> str:
        step = max(self._used + 1, int(time.time()) // 30 - 1)
        while step > int(time.time()) // 30 + 1:
            time.sleep(0.5)
        self._used = step
        found = subprocess.run(
            [needs("oathtool"), "--totp", "--base32", self._secret, "--now", f"@{step * 30}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stdout.strip()


async def shown_secret(page: Page, shots: Path) -> str:
    """The seed, read from a picture of the page, as a phone reads it."""
    picture = await page.screenshot(path=shots / "enable-qr.png", full_page=True)
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))
    uri = urlsplit(found.text)
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    (secret,) = parse_qs(uri.query)["secret"]
    by_hand = (await page.locator("#key").inner_text()).replace(" ", "")
    assert secret == by_hand
    return secret


async def password(page: Page, email: str, path: str = "/sign-in") -> None:
    await page.goto(path)
    await page.fill("#username", email)
    await page.fill("#password", PASSWORD)
    await page.click("#sign-in")


async def backup_codes(page: Page) -> list[str]:
    codes = await page.locator(".codes li").all_inner_texts()
    assert len(set(codes)) == 5
    return codes


def watched(page: Page) -> list[str]:
    """Whatever the browser says of a page from now on: errors, and each violation of its policy."""
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda fault: said.append(f"fault: {fault}"))
    return said
