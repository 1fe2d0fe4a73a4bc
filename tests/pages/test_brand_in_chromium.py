"""What only a browser can tell of brands and of the way out: pictures that run nothing, policies that let
people through, buttons of one size, and what Back shows."""

import asyncio
import hashlib
import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlencode, urlsplit

import asyncpg
import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from PIL import Image
from playwright.async_api import Browser, Page

from service import embedded
from tests.pages.browsing import PASSWORD, password, person, watched
from tests.programs import Dev, doorward

#: RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" fill="#639"/></svg>'
)


class Portal(ThreadingHTTPServer):
    """A relying party whose callback sends people on to another origin; `heard` is what it was asked."""

    def __init__(self) -> None:
        heard = self.heard = list[str]()
        pages = self.pages = dict[str, tuple[str, str]]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append(self.path)
                if self.path.startswith("/callback"):
                    self.send_response(303)
                    self.send_header("location", f"http://localhost:{self.server.server_port}/welcome")  # type: ignore[attr-defined]
                    self.end_headers()
                    return
                kind, text = pages.get(self.path, ("text/html", "Welcome"))
                self.send_response(200)
                self.send_header("content-type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def second(self) -> str:
        return f"http://localhost:{self.server_port}/welcome"


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    with Portal() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def registered(running: Dev, tmp_path: Path, id: str, *words: str, logo: str = LOGO) -> None:
    (tmp_path / "logo.svg").write_text(logo)
    looks = ("--brand-color", "#ffd500", "--logo", str(tmp_path / "logo.svg"), "--name", f"Portal {id}")
    made = doorward("client", "create", id, "--auth-method", "none", *looks, *words, environ=running.environ)
    assert made.returncode == 0, made.stderr


def asked(id: str, redirect_uri: str, **more: str) -> str:
    return "/oauth2/authorize?" + urlencode(
        {
            "client_id": id,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": "openid email",
            "state": "s-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        | more
    )


async def bought(running: Dev, id: str, redirect_uri: str, code: str) -> int:
    body = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": VERIFIER,
        "client_id": id,
    }
    async with httpx.AsyncClient(base_url=running.url) as back_channel:
        return (await back_channel.post("/oauth2/token", data=body)).status_code


@pytest.mark.case("U-28")
@pytest.mark.case("U-17")
@pytest.mark.case("U-72")
@pytest.mark.case("U-14")
async def test_a_branded_way_out_to_another_origin_and_to_an_app(
    chromium: Browser, running: Dev, portal: Portal, tmp_path: Path
) -> None:
    app, callback = "com.example.u28:/callback", f"{portal.url}/callback"
    registered(running, tmp_path, "u28", "--redirect-uri", callback, "--redirect-uri", app)
    email = person(running, "u28@example.com")
    context = await chromium.new_context(
        base_url=running.url, viewport={"width": 320, "height": 700}, reduced_motion="reduce"
    )
    context.set_default_timeout(15_000)
    page = await context.new_page()
    said, fetched, found = watched(page), list[str](), dict[str, list[tuple[str, str]]]()
    page.on("request", lambda request: fetched.append(request.url))

    async def look(name: str) -> None:
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            result = await Axe().run(page)
            told = [(one["id"], one["nodes"][0]["html"]) for one in result.response["violations"]]
            found[f"{name} {scheme}"] = told

    await page.goto(asked("u28", callback))
    loaded = [one for one in fetched if "/oauth2/" not in one and "/continue" not in one]
    assert len(loaded) <= 5, loaded
    assert await page.locator("img").evaluate("one => one.complete && one.naturalWidth > 0")
    assert await page.inner_text("header >> text=Portal u28") == "Portal u28"
    await look("sign-in")
    await password_here(page, email)
    # A consent, whose two ways are of one size in every language.
    for tag in ("de", "en"):
        await page.goto(f"{page.url}&ui_locales={tag}")
        boxes = [await page.locator(one).bounding_box() for one in ("#allow", "#deny")]
        assert boxes[0] is not None
        assert boxes[1] is not None
        assert abs(boxes[0]["width"] - boxes[1]["width"]) <= 1, tag
        assert abs(boxes[0]["height"] - boxes[1]["height"]) <= 1, tag
    await look("consent")
    await page.click("#allow")
    await page.wait_for_url(portal.second)
    (told,) = [parse_qs(urlsplit(one).query) for one in portal.heard if one.startswith("/callback")]
    assert (told["state"], await bought(running, "u28", callback, told["code"][0])) == (["s-1"], 200)

    # From a form again, now to an app: the browser may want a press of the button. In a tab of its own, over
    # which the browser's question about the app may stand.
    there = await context.new_page()
    said_there = watched(there)
    await there.goto(asked("u28", app, prompt="consent"))
    await there.click("#allow")
    await there.wait_for_selector("#continue")
    address = await there.get_attribute("#continue", "href")
    assert address is not None
    assert address.startswith(f"{app}?code=")
    await there.click("#continue")
    assert await there.locator("#continue").count() == 1, "without an app the page stays, and can be read"
    assert await bought(running, "u28", app, parse_qs(urlsplit(address).query)["code"][0]) == 200

    await page.goto(asked("u28", callback, prompt="select_account"))
    await look("account")
    await page.goto("/oauth2/logout?client_id=u28")
    await look("logout")
    await page.click("#sign-out")
    await page.wait_for_url("**/signed-out")
    await look("signed out")
    await page.goto(asked("u28", "https://evil.example/"))
    await look("error")
    assert await page.is_visible("[data-copy]")
    assert {name: told for name, told in found.items() if told} == {}
    # All that a browser complains of is the refusal, and that nothing here takes the app's own scheme.
    assert [one for one in said if "status of 400" not in one] == []
    assert [one for one in said_there if "com.example.u28" not in one] == []
    await context.close()


async def password_here(page: Page, email: str) -> None:
    await page.fill("#username", email)
    await page.fill("#password", PASSWORD)
    await page.click("#sign-in")
    await page.wait_for_selector("#allow")


def evil(leak: str) -> str:
    """A picture that turns from green to red, and tells somebody, where any of it runs."""
    act = f"document.getElementById('r').setAttribute('fill','#ff0000');fetch('{leak}/ran')"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" width="40" height="40" '
        f'onload="{act}"><rect id="r" width="40" height="40" fill="#008000"/>'
        f"<script>{act}</script>"
        f'<image href="{leak}/image" width="1" height="1"/>'
        f"<style>@import url({leak}/style);</style>"
        '<foreignObject width="1" height="1">'
        f'<iframe xmlns="http://www.w3.org/1999/xhtml" src="{leak}/frame"/></foreignObject></svg>'
    )


async def has_red(page: Page, place: str) -> bool:
    picture = Image.open(io.BytesIO(await page.locator(place).first.screenshot())).convert("RGB")
    colors = {color for _, color in picture.getcolors(picture.width * picture.height) or []}
    assert (0, 128, 0) in colors or (255, 0, 0) in colors, "the picture is there"
    return (255, 0, 0) in colors


@pytest.mark.case("U-17")
async def test_a_picture_that_came_past_the_check_runs_nothing_anywhere(
    chromium: Browser, running: Dev, portal: Portal, tmp_path: Path
) -> None:
    registered(running, tmp_path, "u17", "--redirect-uri", f"{portal.url}/callback")
    refused = doorward(
        *(
            "client",
            "create",
            "u17-evil",
            "--auth-method",
            "none",
            "--redirect-uri",
            f"{portal.url}/callback",
        ),
        *("--logo", str(written(tmp_path, evil(portal.url)))),
        environ=running.environ,
    )
    assert (refused.returncode, "/logo: " in refused.stderr) == (1, True)
    picture = evil(portal.url).encode()
    servers = embedded.find(running.data)
    assert servers is not None
    database = await asyncpg.connect(servers.postgres_url)
    changed = "UPDATE client SET logo = $1, logo_digest = $2 WHERE id = 'u17'"
    await database.execute(changed, picture, hashlib.sha256(picture).hexdigest())
    await database.close()

    context = await chromium.new_context(base_url=running.url)
    context.set_default_timeout(15_000)
    page = await context.new_page()
    await page.goto(asked("u17", f"{portal.url}/callback"))
    address = await page.get_attribute("header img", "src")
    assert address is not None
    assert not await has_red(page, "header img")
    await page.goto(address)
    assert not await has_red(page, "svg")
    await asyncio.sleep(0.3)
    assert not {"/ran", "/image", "/style", "/frame"} & set(portal.heard)
    # The same picture served as others would: it does what it can, so that the two above mean something.
    portal.pages["/evil.svg"] = ("image/svg+xml", evil(portal.url))
    await page.goto(f"{portal.url}/evil.svg")
    await page.wait_for_function("document.getElementById('r').getAttribute('fill') == '#ff0000'")
    assert await has_red(page, "svg")
    assert "/ran" in portal.heard
    await context.close()


def written(folder: Path, text: str) -> Path:
    path = folder / "evil.svg"
    path.write_text(text)
    return path


@pytest.mark.case("U-73")
async def test_back_after_a_sign_out_shows_nothing_of_the_account(chromium: Browser, running: Dev) -> None:
    email = person(running, "u73@example.com")
    context = await chromium.new_context(base_url=running.url)
    context.set_default_timeout(15_000)
    page = await context.new_page()
    await password(page, email)
    await page.wait_for_url("**/account")
    assert email in await page.content()
    await page.goto("/account/two-factor/enable")
    await page.click("header button")
    await page.wait_for_url(lambda url: "/account" not in url)
    for _ in range(3):
        await page.go_back()
        await page.wait_for_load_state()
        assert email not in await page.content(), page.url
        assert not urlsplit(page.url).path.startswith("/account"), page.url
    names = {str(cookie.get("name")) for cookie in await context.cookies()}
    assert "doorward-dev" not in names
    assert not any(name.endswith(("sign-in", "notice")) for name in names)
    await context.close()
