"""The way through every page of the service, for whoever looks at them all: a stop is a page in one state.

A new page is a new stop, in the journey that leads there.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import asyncpg
from playwright.async_api import Page

from service import embedded
from tests.pages.browsing import PASSWORD, Authenticator
from tests.programs import Dev, doorward

Look = Callable[[str, Page], Awaitable[None]]
_LOGO = Path(__file__).parent / "library.svg"
#: RFC 7636, appendix B.
_CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@dataclass
class Walk:
    """One browser's way, in a language and by people of its own, on a service that asks second factors of
    whoever has one, and on one that requires them of everybody."""

    page: Page
    look: Look
    free: Dev
    strict: Dev
    language: str

    async def through(self) -> None:
        for journey in JOURNEYS:
            await self.page.context.clear_cookies()
            await journey(self)

    async def to(self, path: str, dev: Dev | None = None) -> None:
        await self.page.goto((dev or self.free).url + path)

    async def stop(self, name: str) -> None:
        await self.page.wait_for_load_state("load")
        await self.look(name, self.page)

    async def send(self, **fields: str) -> None:
        """Fill in the form that has these fields, and send it."""
        for name, value in fields.items():
            await self.page.fill(f"#{name}", value)
        form = "".join(f":has(#{name})" for name in fields)
        async with self.page.expect_navigation():
            await self.page.click(f"main form{form} button:not([type=button]):not([hidden])")

    async def press(self, selector: str) -> None:
        async with self.page.expect_navigation():
            await self.page.click(selector)

    async def sign_in(self, email: str, path: str = "/sign-in", dev: Dev | None = None) -> None:
        await self.to(path, dev)
        await self.send(username=email, password=PASSWORD)

    async def confirm(self) -> Authenticator:
        """Give the code that an authenticator makes of the shown key."""
        app = Authenticator((await self.page.inner_text("#key")).replace(" ", ""))
        await self.send(code=app.code())
        return app

    async def someone(self, part: str, dev: Dev | None = None, **columns: object) -> str:
        """Somebody new, whose row is the first person's but for these columns."""
        dev = dev or self.free
        email = f"{part}.{self.language.lower()}@example.com"
        known = {"id": uuid4(), "sub": uuid4(), "email": email, "code_salt": os.urandom(16)} | columns
        async with database(dev) as rows:
            if not await rows.fetchval("SELECT count(*) FROM person WHERE email = 'first@example.com'"):
                words = ("user", "create", "first@example.com", "--name", "Ada Lovelace", "--password-stdin")
                made = doorward(*words, environ=dev.environ, stdin=PASSWORD)
                assert made.returncode == 0, made.stderr
            kept = [
                one
                for one in await rows.fetchval(
                    "SELECT array_agg(column_name::text) FROM information_schema.columns"
                    " WHERE table_name = 'person' AND table_schema = 'public' AND is_generated = 'NEVER'"
                )
                if one not in known
            ]
            places = ", ".join(f"${at}" for at in range(1, len(known) + 1))
            await rows.execute(
                f"INSERT INTO person ({', '.join([*known, *kept])})"
                f" SELECT {places}, {', '.join(kept)} FROM person WHERE email = 'first@example.com'",
                *known.values(),
            )
        return email

    async def portal(self, name: str, *words: str) -> str:
        """The address at which a portal of its own asks for a sign-in."""
        client = f"{name}-{self.language.lower()}"
        back = "http://127.0.0.1:9/callback"
        words = ("--auth-method", "none", "--redirect-uri", back, "--name", "Example Library", *words)
        made = doorward("client", "create", client, *words, environ=self.free.environ)
        assert made.returncode == 0, made.stderr
        asked = {
            "client_id": client,
            "redirect_uri": back,
            "response_type": "code",
            "scope": "openid profile email",
            "state": "s-1",
            "code_challenge": _CHALLENGE,
            "code_challenge_method": "S256",
        }
        return "/oauth2/authorize?" + urlencode(asked)


@asynccontextmanager
async def database(dev: Dev) -> AsyncIterator[asyncpg.Connection]:
    """The service's own rows, for states that no page can bring about at once."""
    servers = embedded.find(dev.data)
    assert servers is not None
    connection = await asyncpg.connect(servers.postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


async def signing_in(walk: Walk) -> None:
    email = await walk.someone("signing.in")
    await walk.to("/help")
    await walk.stop("help")
    await walk.to("/sign-in")
    await walk.stop("sign-in")
    await walk.page.context.clear_cookies()
    await walk.send(username=email, password=PASSWORD)
    await walk.stop("sign-in-without-cookies")
    await walk.to("/sign-in")
    await walk.send(username=email, password="not the password")
    await walk.stop("sign-in-wrong")
    await walk.sign_in(email)
    await walk.stop("account-off")
    await walk.to("/sign-in")
    await walk.stop("sign-in-known")
    await walk.to("/account")
    await walk.press("header form button")
    await walk.stop("signed-out")
    await walk.to("/sign-in")
    await walk.page.click("#sign-in")
    await walk.stop("sign-in-empty")


async def locked(walk: Walk) -> None:
    email = await walk.someone("locked")
    for _ in range(12):
        await walk.to("/sign-in")
        await walk.send(username=email, password="not the password")
        if await walk.page.locator("#notice[data-code=rate_limited], [data-countdown]").count():
            break
    await walk.stop("sign-in-locked")


async def second_factor(walk: Walk) -> None:
    email = await walk.someone("second.factor")
    page = walk.page
    await walk.sign_in(email, "/sign-in?return_to=/account/two-factor/enable")
    await walk.stop("enable")
    await walk.send(name="Phone")
    await walk.stop("enable-qr")
    await walk.send(code="000000")
    await walk.stop("enable-qr-wrong")
    await walk.confirm()
    await walk.stop("codes")
    codes = await page.locator(".codes li").all_inner_texts()
    await walk.to("/account")
    await walk.stop("account-on")
    await walk.to("/account?result=failed#sign-ins")
    await walk.stop("account-filtered")
    await walk.to("/account/two-factor/backup-codes")
    await walk.stop("backup-codes")
    await walk.to("/account/two-factor/disable")
    await walk.stop("disable")
    await walk.send(password="not the password", code="000000")
    await walk.stop("disable-wrong")
    await walk.to("/account/reauthentication")
    await walk.stop("reauthentication")
    await page.context.clear_cookies()
    await walk.sign_in(email)
    await walk.stop("second-factor")
    await walk.send(code="000000")
    await walk.stop("second-factor-wrong")
    await walk.to("/sign-in/backup-code")
    await walk.stop("backup-code")
    await walk.send(code="AAAA-BBBB-CCCC")
    await walk.stop("backup-code-wrong")
    await walk.send(code=codes[0])
    await walk.stop("account-backup-code-used")
    for code in codes[1:4]:
        await page.context.clear_cookies()
        await walk.sign_in(email)
        await walk.send(code=code)
    await walk.stop("backup-code-used-few-left")


async def owed(walk: Walk) -> None:
    email = await walk.someone("owed", walk.strict, email_verified_at=None, must_change_password=True)
    await walk.sign_in(email, dev=walk.strict)
    await walk.stop("owed-verification")
    async with database(walk.strict) as rows:
        await rows.execute("UPDATE person SET email_verified_at = now() WHERE email = $1", email)
    await walk.press("main form button")
    await walk.stop("owed-password")
    await walk.send(new_password="short")
    await walk.stop("owed-password-short")
    await walk.send(new_password=PASSWORD + " four")
    await walk.stop("owed-enrolment")
    await walk.press("main form button")
    await walk.stop("owed-enrolment-qr")
    app = await walk.confirm()
    await walk.stop("owed-codes")
    await walk.to("/account", walk.strict)
    await walk.stop("account-required")
    await walk.page.context.clear_cookies()
    await walk.to("/sign-in", walk.strict)
    await walk.send(username=email, password=PASSWORD + " four")
    await walk.stop("second-factor-trust")
    await walk.page.check("#trust")
    await walk.send(code=app.code())
    await walk.stop("account-trusted")


async def on_the_way_to_a_portal(walk: Walk) -> None:
    email = await walk.someone("portal")
    words = ("--policy-uri", "https://library.example/privacy", "--tos-uri", "https://library.example/terms")
    asked = await walk.portal("library", *words, "--brand-color", "#7a2e8e", "--logo", str(_LOGO))
    await walk.to(asked)
    await walk.stop("portal-sign-in")
    await walk.send(username=email, password=PASSWORD)
    await walk.stop("consent")
    await walk.to(f"{asked}&prompt=select_account")
    await walk.stop("select-account")
    await walk.to(f"{asked}&prompt=login")
    await walk.stop("portal-reauthentication")
    await walk.to("/oauth2/logout")
    await walk.stop("logout")
    await walk.press("main form button")
    await walk.stop("logged-out")


async def administering(walk: Walk) -> None:
    email = await walk.someone("administrator", roles=["admin"])
    another = await walk.someone("administered", name="Grace Hopper")
    await walk.sign_in(email, "/sign-in?return_to=/admin/users")
    await walk.stop("users-one-factor")
    await walk.to("/account/two-factor/enable")
    await walk.send(name="Phone")
    await walk.confirm()
    await walk.to("/admin/users")
    await walk.stop("users")
    await walk.to("/admin/users?two_factor=activated&sort=-name&q=nobody")
    await walk.stop("users-none")
    await walk.to(f"/admin/users?q={another}")
    await walk.press("tbody a")
    await walk.page.click("#disable summary")
    await walk.stop("user")
    await walk.press("#disable button")
    await walk.stop("user-disabled")
    await walk.to(f"/admin/users?q=second.factor.{walk.language.lower()}")
    await walk.press("tbody a")
    await walk.page.click("#reset summary")
    await walk.send(reason="")
    await walk.stop("user-no-reason")
    await walk.to(f"/admin/users?q={email}")
    await walk.press("tbody a")
    await walk.stop("user-oneself")


async def what_goes_wrong(walk: Walk) -> None:
    await walk.to("/oauth2/authorize?client_id=nobody")
    await walk.stop("error-client")
    await walk.to("/nowhere")
    await walk.stop("error-not-found")
    await walk.to("/errors/rate_limited")
    await walk.stop("error-meaning")


#: In this order; each begins without a cookie.
JOURNEYS: Sequence[Callable[[Walk], Awaitable[None]]] = (
    signing_in,
    locked,
    second_factor,
    owed,
    on_the_way_to_a_portal,
    administering,
    what_goes_wrong,
)
