"""Fields that a caller may not set are refused, and set nothing (security K-94)."""

from typing import Any

import pytest

from tests.builders import PASSWORD, House
from tests.http.problems import invalid
from tests.http.test_input import BODIES, BODILESS, ZERO

MORE = {
    "role": "admin",
    "roles": ["admin"],
    "is_admin": True,
    "totp_enabled": False,
    "two_factor_required": False,
    "email_verified": True,
    "password_hash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA",
    "epoch": 0,
    "person_id": ZERO,
    "amr": ["pwd", "otp", "mfa"],
    "scope": "openid account admin",
    "__proto__": {"is_admin": True},
}


@pytest.mark.case("K-94")
@pytest.mark.parametrize("path", BODIES)
async def test_a_field_that_is_not_theirs_to_set_is_refused_and_sets_nothing(house: House, path: str) -> None:
    ada = await house.a_person()
    token = (await ada.sign_in())["access_token"]
    tables = ("person", "authenticator", "session", "refresh_family", "pre_auth", "audit_event", "outbox")

    async def state() -> list[list[tuple[Any, ...]]]:
        return [[tuple(row) for row in await house.rows(f"SELECT * FROM {table}")] for table in tables]

    own = {"email": ada.email, "password": PASSWORD}
    body = {name: own.get(name, value) for name, value in BODIES[path].items()}
    before = await state()
    answer = await ada.post(path, body | MORE, bearer=token)
    invalid(answer, *(f"/{name}" for name in MORE))
    assert "argon2id" not in answer.text
    for name, value in MORE.items():
        invalid(await ada.post(path, body | {name: value}, bearer=token), f"/{name}")
    assert await state() == before


@pytest.mark.case("K-94")
async def test_extra_fields_raise_nobody_even_where_no_body_is_read(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = (await ada.sign_in())["access_token"]
    rows = "SELECT to_jsonb(person) - 'epoch' AS row FROM person"
    before = await house.value(rows)
    for path in BODILESS[::-1]:
        # What is an administrator's is not hers, whatever she sends with it.
        allowed = (403,) if path.startswith("/v1/admin") else (200, 204, 400)
        assert (await ada.post(path, MORE, bearer=token)).status_code in allowed, path
    assert await house.value(rows) == before
