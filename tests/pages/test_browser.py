"""The whole life of a second factor in headless Chromium without JavaScript, by an independent app."""

from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlencode, urlsplit

import asyncpg
import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext

from service import embedded
from tests.pages.browsing import (
    PASSWORD,
    Authenticator,
    backup_codes,
    password,
    person,
    shown_secret,
    watched,
)
from tests.programs import Dev, dev, doorward


@pytest.mark.case("U-13")
async def test_the_whole_life_with_javascript_off(
    chromium: Browser, context: BrowserContext, running: Dev, shots: Path
) -> None:
    email = person(running, "ada@example.com")
    page = await context.new_page()
    violations = watched(page)

    # Sign in, and turn it on.
    await password(page, email)
    await page.wait_for_url("**/account")
    await page.screenshot(path=shots / "account-off.png", full_page=True)
    await page.click("text=Enable 2FA")
    await page.screenshot(path=shots / "enable-intro.png", full_page=True)
    await page.fill("#name", "Ada's phone")
    await page.click("main form button")
    app = Authenticator(await shown_secret(page, shots))
    await page.fill("#code", "000000")
    await page.click("main form:has(#code) button")
    assert "not valid" in await page.inner_text("#notice")
    code = app.code()
    await page.fill("#code", f"{code[:3]} {code[3:]}")
    await page.click("main form:has(#code) button")
    codes = await backup_codes(page)
    await page.screenshot(path=shots / "codes.png", full_page=True)
    await page.click("text=I have saved them")
    assert "Activated" in await page.inner_text("#two-factor")

    # Out, and in again with a passcode; the one that was used is refused, and says so.
    await page.click("text=Sign out")
    await page.screenshot(path=shots / "signed-out.png", full_page=True)
    await password(page, email, "/sign-in?return_to=/account/two-factor/backup-codes")
    await page.wait_for_url("**/sign-in/second-factor**")
    await page.screenshot(path=shots / "second-factor.png", full_page=True)
    await page.fill("#code", code)
    await page.click("main button")
    assert "already used" in await page.inner_text("#notice")
    await page.screenshot(path=shots / "second-factor-used.png", full_page=True)
    await page.fill("#code", app.code())
    await page.click("main button")
    await page.wait_for_url("**/account/two-factor/backup-codes")
    await page.screenshot(path=shots / "backup-codes.png", full_page=True)

    # In with a backup code, once.
    await page.click("text=Sign out")
    await password(page, email)
    await page.click("text=Use a backup code")
    await page.fill("#code", codes[0].lower().replace("-", " "))
    await page.screenshot(path=shots / "backup-code.png", full_page=True)
    await page.click("main button")
    await page.wait_for_url("**/account")
    assert "4 are left" in await page.inner_text("#notice")

    # A new set kills the old one; a reload neither shows it again nor makes another.
    await page.get_by_role("link", name="Backup codes", exact=True).click()
    await page.wait_for_url("**/backup-codes")
    await page.click("main form button")
    new = await backup_codes(page)
    assert not set(new) & set(codes)
    await page.reload()
    assert "already shown" in await page.inner_text("#notice")
    assert not set(new) & set((await page.content()).split())

    # A second device, ended from the first.
    other = await chromium.new_context(base_url=running.url, java_script_enabled=False)
    second = await other.new_page()
    await password(second, email)
    await second.fill("#code", codes[1])
    await second.click("main button")
    assert "from the set you replaced on" in await second.inner_text("#notice")
    await second.fill("#code", new[0])
    await second.click("main button")
    await second.wait_for_url("**/account")
    await page.goto("/account")
    await page.screenshot(path=shots / "account-on.png", full_page=True)
    assert await page.locator("#sessions button:has-text('End'):not(:has-text('all'))").count() == 1
    await page.click("#sessions td button")
    assert "ended" in await page.inner_text("#notice")
    await second.goto("/account")
    assert urlsplit(second.url).path == "/sign-in"
    assert "ended from another of your devices" in await second.inner_text("#notice")
    await other.close()

    # Off again: a password alone opens the account.
    await page.goto("/account/two-factor/disable")
    await page.screenshot(path=shots / "disable.png", full_page=True)
    await page.fill("#password", PASSWORD)
    await page.fill("#code", new[1])
    await page.click("main form button.danger")
    assert "is off" in await page.inner_text("#notice")
    assert "Not activated" in await page.inner_text("#two-factor")
    await page.click("text=Sign out")
    await password(page, email)
    await page.wait_for_url("**/account")
    assert violations == [], "the browser had nothing to say, about the content security policy least of all"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(chromium: Browser, running: Dev, shots: Path, scheme: str) -> None:
    email = person(running, f"axe-{scheme}@example.com")
    context = await chromium.new_context(
        base_url=running.url,
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": 320, "height": 568} if scheme == "dark" else {"width": 1280, "height": 800},
    )
    context.set_default_timeout(15_000)
    page = await context.new_page()
    axe, found = Axe(), {}

    async def look(name: str) -> None:
        result = await axe.run(
            page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
        )
        found[name] = [one["id"] for one in result.response["violations"]]
        await page.screenshot(path=shots / f"{scheme}-{name}.png", full_page=True)
        wide = await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not wide, f"{name} scrolls sideways"
        assert await page.locator("h1").count() == 1
        assert await page.get_attribute("html", "lang") == "en"

    await page.goto("/sign-in")
    await look("sign-in")
    await page.fill("#username", email)
    await page.fill("#password", "not the password")
    await page.click("#sign-in")
    await look("sign-in-wrong")
    assert (await page.title()).startswith("Error:")
    assert await page.input_value("#username") == email
    assert await page.input_value("#password") == ""
    await password(page, email)
    await look("account-off")
    await page.goto("/account/two-factor/enable")
    await look("enable")
    await page.click("main form button")
    await look("enable-qr")
    app = Authenticator((await page.inner_text("#key")).replace(" ", ""))
    await page.fill("#code", app.code())
    await page.click("main form:has(#code) button")
    await look("codes")
    await page.goto("/account")
    await look("account-on")
    await page.goto("/account/two-factor/backup-codes")
    await look("backup-codes")
    await page.goto("/account/two-factor/disable")
    await look("disable")
    await page.goto("/account/reauthentication")
    await look("reauthentication")
    await page.goto("/account/nowhere")
    await page.goto("/sign-in")
    await look("signed-in")
    await page.click("text=Sign out") if await page.locator("text=Sign out").count() else None
    await page.goto("/account?result=nonsense")
    await look("error")
    await context.clear_cookies()
    await password(page, email)
    await look("second-factor")
    await page.click("text=Use a backup code")
    await look("backup-code")
    await context.close()
    assert {name: ids for name, ids in found.items() if ids} == {}


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Dev]:
    """A `doorward dev` that requires a second factor of everyone."""
    with dev(tmp_path / "data", DOORWARD_TWO_FACTOR_REQUIRED="all") as found:
        yield found


async def test_axe_finds_nothing_on_what_a_sign_in_owes(chromium: Browser, strict: Dev, shots: Path) -> None:
    email = person(strict, "owing@example.com")
    servers = embedded.find(strict.data)
    assert servers is not None
    database = await asyncpg.connect(servers.postgres_url)
    await database.execute("UPDATE person SET email_verified_at = NULL, must_change_password = true")
    context = await chromium.new_context(base_url=strict.url)
    context.set_default_timeout(15_000)
    page = await context.new_page()
    axe, found = Axe(), {}

    async def look(name: str) -> None:
        found[name] = [one["id"] for one in (await axe.run(page)).response["violations"]]
        await page.screenshot(path=shots / f"owed-{name}.png", full_page=True)

    await password(page, email)
    await page.wait_for_url("**/sign-in/email-verification")
    await look("verification")
    await page.click("main button")
    assert "not confirmed yet" in await page.inner_text("#notice")
    await database.execute("UPDATE person SET email_verified_at = now()")
    await database.close()
    await page.click("main button")
    await page.wait_for_url("**/sign-in/password")
    await look("password")
    assert await page.locator("#notice").count() == 0, "what was owed is done, and not said again"
    await page.fill("#new_password", PASSWORD)
    await page.click("#change")
    assert "another password" in await page.inner_text("#new_password-fault")
    await page.fill("#new_password", PASSWORD + " four")
    await page.click("#change")
    await page.wait_for_url("**/sign-in/enrolment")
    await look("enrolment")
    await page.click("main form button")
    await look("enrolment-qr")
    app = Authenticator((await page.inner_text("#key")).replace(" ", ""))
    await page.fill("#code", app.code())
    await page.click("main form:has(#code) button")
    await look("codes")
    assert len(await backup_codes(page)) == 5
    await page.get_by_label("I have saved these codes").check()
    await page.click("text=Finish")
    await page.wait_for_url("**/account")
    await context.close()
    assert {name: ids for name, ids in found.items() if ids} == {}


#: RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


class Portal(ThreadingHTTPServer):
    """A relying party of another origin, which hears what comes to its callback."""

    def __init__(self) -> None:
        heard = self.heard = list[dict[str, list[str]]]()

        class Handler(BaseHTTPRequestHandler):
            def _hear(self, text: str) -> None:
                if self.path.startswith("/callback"):
                    heard.append(parse_qs(text))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"Welcome")

            def do_GET(self) -> None:
                self._hear(urlsplit(self.path).query)

            def do_POST(self) -> None:
                self._hear(self.rfile.read(int(self.headers["content-length"])).decode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def callback(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/callback"


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """Another site, which serves what a test puts into its folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.case("K-64")
@pytest.mark.case("K-86")
async def test_another_site_can_neither_frame_a_page_nor_send_a_form(
    chromium: Browser, running: Dev, tmp_path: Path, elsewhere: str
) -> None:
    email = person(running, "mallorys.victim@example.com")
    context = await chromium.new_context(base_url=running.url)
    context.set_default_timeout(15_000)
    page = await context.new_page()
    await password(page, email)
    await page.wait_for_url("**/account")
    token = await page.locator("input[name=csrf_token]").first.get_attribute("value")
    sessions = await page.locator("#sessions tbody tr").count()
    (tmp_path / "evil.html").write_text(
        f"""<iframe src="{running.url}/account"></iframe>
        <form method="post" action="{running.url}/account/sessions/end-others">
        <input name="csrf_token" value="{token}"><button>Win</button></form>"""
    )
    evil = await context.new_page()
    # Another name of this machine is another site to the browser.
    await evil.goto(f"{elsewhere}/evil.html")
    assert "Your account" not in await evil.frames[1].content()
    await evil.click("text=Win")
    # The session's cookie did not even come along: to Doorward it is somebody who is not signed in.
    await evil.wait_for_url("**/sign-in")
    await page.reload()
    assert page.url.endswith("/account")
    assert await page.locator("#sessions tbody tr").count() == sessions
    await context.close()


@pytest.mark.parametrize("scripts", [False, True])
@pytest.mark.parametrize("mode", ["query", "form_post"])
async def test_a_portal_of_another_origin_gets_its_code(
    chromium: Browser, running: Dev, portal: Portal, scripts: bool, mode: str
) -> None:
    """With our content security policy on: a redirect chain that starts at a form would be blocked."""
    client = f"portal-{mode}-{scripts}".lower()
    email = person(running, f"{client}@example.com")
    words = ("--auth-method", "none", "--redirect-uri", portal.callback, "--first-party")
    made = doorward("client", "create", client, *words, environ=running.environ)
    assert made.returncode == 0, made.stderr
    context = await chromium.new_context(base_url=running.url, java_script_enabled=scripts)
    context.set_default_timeout(15_000)
    page = await context.new_page()
    asked = {
        "client_id": client,
        "redirect_uri": portal.callback,
        "response_type": "code",
        "response_mode": mode,
        "scope": "openid email",
        "state": "s-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    await password(page, email, "/oauth2/authorize?" + urlencode(asked))
    if mode == "form_post" and not scripts:
        await page.click("#continue")
    await page.wait_for_url(f"{portal.callback}**")
    told = portal.heard[-1]
    assert told["state"] == ["s-1"]
    body = {
        "grant_type": "authorization_code",
        "code": told["code"][0],
        "redirect_uri": portal.callback,
        "code_verifier": VERIFIER,
        "client_id": client,
    }
    async with httpx.AsyncClient(base_url=running.url) as back_channel:
        tokens = (await back_channel.post("/oauth2/token", data=body)).json()
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        known = (await back_channel.get("/oauth2/userinfo", headers=headers)).json()
    assert known["email"] == email
    await context.close()
