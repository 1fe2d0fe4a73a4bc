"""Nothing is done for a form that another site may have sent, and no page can be framed (K-64, K-86)."""

from functools import reduce
from typing import Any

import pytest

from service.app import routes
from service.world import World
from tests.builders import House
from tests.pages.visitor import ORIGIN, Form, Visitor

ZERO = "00000000-0000-7000-8000-000000000000"
OWN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
#: What a browser says when another site, a sibling, or nobody it can name sends the form.
ELSEWHERE = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": f"{ORIGIN}.evil.example"},
    {"origin": "https://127.0.0.1:8400"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    OWN | {"sec-fetch-site": "cross-site"},
    OWN | {"origin": "https://evil.example"},
]


def posted(world: World) -> list[str]:
    """Every page that takes a form."""
    examples = {
        "{session_id}": ZERO,
        "{authenticator_id}": ZERO,
        "{browser_id}": ZERO,
        "{client_id}": "portal",
        "{user_id}": ZERO,
    }
    found = [
        reduce(lambda path, pair: path.replace(*pair), examples.items(), route.path_format)
        for route in routes(world).routes
        if "POST" in getattr(route, "methods", ()) and not route.path_format.startswith(("/v1", "/oauth2"))
    ]
    # The one form of ours beside the endpoints that clients post to.
    found.append("/oauth2/logout/confirm")
    assert len(found) >= 18
    assert {"/continue", "/oauth2/logout/confirm", "/account/portals/portal/revoke"} <= set(found)
    return found


async def state(house: House) -> list[Any]:
    tables = ("person", "authenticator", "backup_set", "pre_auth", "audit_event", "outbox", "password_tries")
    rows = [await house.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]
    return [*rows, await house.rows("SELECT id, ended_at, cookie, epoch, auth_time FROM session ORDER BY 1")]


async def everything(house: House) -> tuple[Visitor, dict[str, str]]:
    """Somebody signed in with a second factor, and fields that would be right for every form."""
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    await visitor.sign_in()
    (living,) = await house.rows("SELECT id FROM backup_set WHERE person_id = $1", ada.id)
    return visitor, {
        "username": ada.email,
        "password": ada.password,
        "code": ada.code(1),
        "name": "Phone 2",
        "decision": "allow",
        "id": ZERO,
        "set": str(living["id"]),
        "current_password": ada.password,
        "new_password": "another long one",
    }


@pytest.mark.case("K-64")
@pytest.mark.case("K-86")
async def test_a_form_from_elsewhere_does_nothing_on_any_page(house: House, world: World) -> None:
    visitor, fields = await everything(house)
    token = (await visitor.get("/account")).forms[0].fields["csrf_token"]
    anonymous = (await visitor.get("/sign-in")).form("/sign-in").fields["csrf_token"]
    before = await state(house)
    for path in posted(world):
        good = fields | {"csrf_token": anonymous if path.startswith("/sign-in") else token}
        for headers in ELSEWHERE:
            answer = await visitor.client.post(path, data=good, headers=headers)
            assert answer.status_code == 403, (path, headers)
            assert "csrf_failed" in answer.text
    assert await state(house) == before


@pytest.mark.case("K-64")
async def test_a_form_without_its_token_does_nothing_on_any_page(house: House, world: World) -> None:
    visitor, fields = await everything(house)
    bob = Visitor(await house.a_person())
    await bob.sign_in()
    foreign = (await bob.get("/account")).forms[0].fields["csrf_token"]
    own = (await visitor.get("/account")).forms[0].fields["csrf_token"]
    anonymous = (await visitor.get("/sign-in")).form("/sign-in").fields["csrf_token"]
    assert len({foreign, own, anonymous}) == 3
    before = await state(house)
    for path in posted(world):
        another = own if path.startswith("/sign-in") else anonymous
        for token in (None, "", foreign, another, own[:-1], own + "A", "ü", "A" * 43):
            sent = fields if token is None else fields | {"csrf_token": token}
            answer = await visitor.client.post(path, data=sent, headers=OWN)
            assert (answer.status_code, "csrf_failed" in answer.text) == (403, True), (path, token)
    assert await state(house) == before


@pytest.mark.case("K-64")
@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/json", ""])
async def test_only_a_form_of_the_right_kind_is_read(house: House, world: World, kind: str) -> None:
    visitor, fields = await everything(house)
    token = (await visitor.get("/account")).forms[0].fields["csrf_token"]
    body = "&".join(f"{name}={value}" for name, value in (fields | {"csrf_token": token}).items())
    before = await state(house)
    for path in posted(world):
        headers = OWN | ({"content-type": kind} if kind else {})
        answer = await visitor.client.post(path, content=body.encode(), headers=headers)
        assert answer.status_code == 403, path
    assert await state(house) == before


@pytest.mark.case("K-64")
async def test_the_form_of_an_earlier_session_does_nothing(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    old = await visitor.sign_in()
    await visitor.fill(old, "/sign-out")
    assert (await visitor.sign_in()).path == "/account"
    refused = await visitor.post(old.form("/sign-out"), follow=False)
    assert refused.answer.status_code == 403
    assert (await visitor.get("/account")).path == "/account"


@pytest.mark.case("K-64")
async def test_nobody_can_be_signed_in_as_somebody_else_by_a_planted_form(house: House) -> None:
    """Login CSRF: the attacker's own form and token, sent by the victim's browser."""
    eve, victim = Visitor(await house.a_person()), Visitor(await house.a_person())
    await victim.get("/sign-in")
    planted = (await eve.get("/sign-in")).form("/sign-in")
    planted.fields |= {"username": eve.person.email, "password": eve.person.password}
    refused = await victim.post(planted, follow=False)
    assert refused.answer.status_code == 403
    assert "doorward-dev" not in victim.cookies


@pytest.mark.case("K-86")
async def test_every_page_refuses_to_be_framed_and_to_be_kept(house: House) -> None:
    visitor, _ = await everything(house)
    for path in (
        "/sign-in",
        "/account",
        "/account/two-factor/enable",
        "/account/two-factor/backup-codes",
        "/account/two-factor/disable",
        "/account/reauthentication",
        "/account?result=nonsense",
    ):
        answer = (await visitor.get(path)).answer
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        nonce = policy.partition("'nonce-")[2].partition("'")[0]
        assert f'nonce="{nonce}"' in answer.text


async def test_a_nonce_and_a_browsers_name_are_never_given_twice(house: House) -> None:
    visitors = [Visitor(await house.a_person()) for _ in range(3)]
    pages = [await visitor.get("/sign-in") for visitor in visitors for _ in range(3)]
    assert len({page.answer.headers["content-security-policy"] for page in pages}) == 9
    assert len({visitor.cookies["doorward-dev-browser"] for visitor in visitors}) == 3


@pytest.mark.case("K-64")
async def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.get("/sign-in")
    form = page.form("/sign-in")
    answer = (await visitor.post(form, follow=False, username=ada.email, password=ada.password)).answer
    for cookie in answer.headers.get_list("set-cookie"):
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie


@pytest.mark.parametrize("settings", [{"issuer": "https://identity.example", "dev": False}], indirect=True)
async def test_over_https_every_cookie_is_bound_to_this_host(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    form = (await visitor.get("/sign-in")).form("/sign-in")
    name = next(iter(visitor.cookies))
    assert name == "__Host-doorward-browser"
    headers = {"origin": "https://identity.example", "cookie": f"{name}={visitor.cookies[name]}"}
    answer = await visitor.client.post(
        "/sign-in", data=form.fields | {"username": ada.email, "password": ada.password}, headers=headers
    )
    assert answer.status_code == 303
    given = answer.headers.get_list("set-cookie")
    assert {one.partition("=")[0] for one in given} >= {"__Host-doorward", "__Host-doorward-device"}
    assert all("Secure" in one and "HttpOnly" in one and "Path=/" in one for one in given)
    refused = await visitor.client.post(
        "/sign-in", data=form.fields, headers=headers | {"origin": "http://identity.example"}
    )
    assert refused.status_code == 403


@pytest.mark.case("K-86")
async def test_the_api_takes_a_cookie_only_with_the_token_of_our_page(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    token = (await visitor.sign_in()).forms[0].fields["csrf_token"]
    path = "/v1/me/two-factor/backup-codes"
    assert (await visitor.client.get("/v1/me")).status_code == 200
    for headers in ({}, {"x-csrf-token": "A" * 43}, {"x-csrf-token": token, "origin": "null"}):
        answer = await visitor.client.post(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    right = await visitor.client.post(path, headers=OWN | {"x-csrf-token": token})
    assert right.status_code == 200
    assert len(right.json()["codes"]) == 5


@pytest.mark.case("K-98")
@pytest.mark.parametrize(
    "body",
    [b"%00", b"\xff", b"%FF", b"%C0%A7", b"%ED%A0%80", b"a&a=1&a=2", b"&" * 40 + b"a=1", b"=", b"%"],
)
async def test_a_hostile_form_is_a_clear_refusal(house: House, body: bytes) -> None:
    visitor = Visitor(await house.a_person())
    token = (await visitor.get("/sign-in")).form("/sign-in").fields["csrf_token"].encode()
    for sent in (b"csrf_token=" + token + b"&username=" + body, body, b"username=" + body):
        headers = OWN | {"content-type": "application/x-www-form-urlencoded"}
        answer = await visitor.client.post("/sign-in", content=sent, headers=headers)
        assert answer.status_code in (303, 400, 403), answer.text


async def test_what_is_typed_comes_back_as_text_and_never_the_password(house: House) -> None:
    visitor = Visitor(await house.a_person())
    typed = '"><script>alert(1)</script>@example.com'
    page = await visitor.get("/sign-in")
    page = await visitor.fill(page, "/sign-in", username=typed, password="test-value <b>secret</b>")
    assert "<script>" not in page.answer.text
    assert page.form("/sign-in").fields["username"] == typed
    assert page.form("/sign-in").fields["password"] == ""
    assert "secret" not in page.answer.text


@pytest.mark.case("K-64")
@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/account",
        "/\\evil.example",
        "/account/../../evil",
        "/account//evil.example",
        "/account?next=//evil.example",
        "javascript:alert(1)",
        "/account%0d%0aSet-Cookie:a=b",
        "/account\r\nX: y",
        "/v1/sign-out",
        "/sign-out",
        "account",
        "/accountevil",
        "@evil.example",
    ],
)
async def test_a_sign_in_leads_to_our_own_pages_only(house: House, target: str) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    answer = await visitor.client.get("/sign-in", params={"return_to": target})
    form = Form("/sign-in", "post", {"csrf_token": answer.text.partition('csrf_token" value="')[2][:43]})
    answer = await visitor.client.post(
        "/sign-in",
        params={"return_to": target},
        data=form.fields | {"username": ada.email, "password": ada.password},
        headers=OWN,
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")


@pytest.mark.case("K-64")
@pytest.mark.parametrize("name", ["session", "browser", "sign-in", "device", "trust", "notice"])
async def test_a_cookie_that_only_looks_like_ours_is_none(house: House, name: str) -> None:
    """A neighbouring host plants what a lenient reader takes for our name: past the `__Host-` rule."""
    ada, eve = await house.a_person(), await house.a_person()
    mine, hers = Visitor(ada), Visitor(eve)
    await mine.sign_in()
    await hers.sign_in()
    stem = "doorward-dev" if name == "session" else f"doorward-dev-{name}"
    own = "; ".join(f"{key}={value}" for key, value in mine.cookies.items())
    planted = hers.cookies.get(stem, "planted")
    plain = (await mine.client.get("/account")).text
    for forged in (
        f"\xa0{stem}={planted}",
        f"{stem}\xa0={planted}",
        f"\x0b{stem}={planted}",
        f"{stem.upper()}={planted}",
    ):
        for header in (f"{own}; {forged}", f"{forged}; {own}"):
            async with type(mine.client)(transport=mine.client._transport, base_url=ORIGIN) as bare:
                answer = await bare.get("/account", headers={b"cookie": header.encode("latin-1")})
            assert eve.email not in answer.text
            assert ada.email in answer.text
            assert ada.email in plain


@pytest.mark.case("K-64")
async def test_of_two_sessions_in_one_header_neither_counts(house: House) -> None:
    ada, eve = Visitor(await house.a_person()), Visitor(await house.a_person())
    await ada.sign_in()
    await eve.sign_in()
    header = f"doorward-dev={ada.cookies['doorward-dev']}; doorward-dev={eve.cookies['doorward-dev']}"
    async with type(ada.client)(transport=ada.client._transport, base_url=ORIGIN) as bare:
        answer = await bare.get("/account", headers={"cookie": header})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


@pytest.mark.case("K-64")
async def test_a_step_of_one_sign_in_acts_on_no_other_in_the_same_browser(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    visitor = Visitor(ada)
    first = await visitor.fill(
        await visitor.get("/sign-in"), "/sign-in", username=ada.email, password=ada.password
    )
    assert ada.email in first.text
    second = await visitor.fill(
        await visitor.get("/sign-in"), "/sign-in", username=bob.email, password=bob.password
    )
    assert bob.email in second.text
    late = await visitor.post(first.form("/sign-in/second-factor"), follow=False, code=bob.code())
    assert late.answer.status_code == 403
    assert await house.value("SELECT count(*) FROM session") == 0
    assert await house.value("SELECT sum(attempts) FROM pre_auth") == 0
    page = await visitor.fill(second, "/sign-in/second-factor", code=bob.code())
    assert page.path == "/account"


async def test_a_sign_in_under_way_goes_on_in_its_own_browser_only(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, thief = Visitor(ada), Visitor(ada)
    await visitor.fill(await visitor.get("/sign-in"), "/sign-in", username=ada.email, password=ada.password)
    await thief.get("/sign-in")
    thief.client.cookies.set("doorward-dev-sign-in", visitor.cookies["doorward-dev-sign-in"])
    assert (await thief.get("/sign-in/second-factor")).path == "/sign-in"
    assert (await visitor.get("/sign-in/second-factor")).path == "/sign-in/second-factor"


@pytest.mark.parametrize(
    "referer", ["http://[::1", "http://x:port/", "\xff", "//", "/account/reauthentication"]
)
async def test_no_referer_is_a_fault_of_ours(house: House, referer: str) -> None:
    visitor = Visitor(await house.a_person())
    answer = await visitor.client.post("/sign-out", headers={b"referer": referer.encode("latin-1")})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    page = await visitor.sign_in()
    assert page.path == "/account"
    answer = await visitor.client.post("/sign-out", headers={b"referer": referer.encode("latin-1")})
    assert answer.status_code == 403
    assert answer.headers["x-request-id"]


async def test_the_cookie_from_before_a_proof_does_not_take_the_new_one_away(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    old = visitor.cookies["doorward-dev"]
    page = await visitor.get("/account/reauthentication")
    await visitor.fill(page, "/account/reauthentication", password=ada.password)
    async with type(visitor.client)(transport=visitor.client._transport, base_url=ORIGIN) as late:
        answer = await late.get("/account", headers={"cookie": f"doorward-dev={old}"})
    assert answer.status_code == 303
    assert not [one for one in answer.headers.get_list("set-cookie") if one.startswith("doorward-dev=")]
    assert (await visitor.get("/account")).path == "/account"
