"""The story over real HTTP, from `doorward dev` on an empty folder, with an independent authenticator."""

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.programs import ROOT, Dev, clean_environ, dev, doorward, needs

PASSWORD = "test-value one two three"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with dev(tmp_path_factory.mktemp("dev") / "data", DOORWARD_TOKENS_REFRESH_GRACE_SECONDS="1") as found:
        yield found


def _post(running: Dev, path: str, body: Any, access: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {access}"} if access else {}
    return httpx.post(running.url + path, json=body, headers=headers)


def _oathtool(secret: str) -> str:
    found = subprocess.run(
        [needs("oathtool"), "--totp", "--base32", secret], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def _next_step() -> None:
    """Wait for the next code; a step is thirty seconds of the real clock."""
    time.sleep(30.2 - time.time() % 30)


def test_the_whole_life_of_a_second_factor(running: Dev) -> None:
    created = doorward(
        "user", "create", "grace@example.com", "--password-stdin", environ=running.environ, stdin=PASSWORD
    )
    assert created.returncode == 0, created.stderr
    sign_in = {"email": "Grace@Example.com ", "password": PASSWORD}

    first = _post(running, "/v1/sign-in", sign_in).json()
    assert first["status"] == "complete"
    started = _post(
        running, "/v1/me/two-factor/authenticators", {"name": "Phone"}, first["access_token"]
    ).json()
    secret = started["secret"].replace(" ", "")
    confirming = _oathtool(secret)
    confirmed = _post(
        running,
        f"/v1/me/two-factor/authenticators/{started['id']}/confirm",
        {"code": confirming},
        first["access_token"],
    ).json()
    codes = confirmed["backup_codes"]["codes"]
    assert len(codes) == 5

    # The code that confirmed the authenticator is spent; the next one signs in, once.
    owed = _post(running, "/v1/sign-in", sign_in).json()
    assert owed["status"] == "second_factor_required"
    assert owed["methods"] == ["totp", "backup_code"]
    second = {"pre_auth_token": owed["pre_auth_token"]}
    replayed = _post(running, "/v1/sign-in/second-factor", second | {"code": confirming})
    assert (replayed.status_code, replayed.json()["code"]) == (401, "code_already_used")
    _next_step()
    code = _oathtool(secret)
    complete = _post(running, "/v1/sign-in/second-factor", second | {"code": code})
    assert complete.status_code == 200, complete.text
    again = _post(running, "/v1/sign-in/second-factor", second | {"code": code})
    assert again.json()["code"] == "invalid_pre_auth_token"

    # Each backup code opens one sign-in. Five second factors may fail in five minutes; two have.
    for left, backup in zip((4, 3, 2, 1, 0), codes, strict=True):
        token = _post(running, "/v1/sign-in", sign_in).json()["pre_auth_token"]
        used = _post(running, "/v1/sign-in/second-factor", {"pre_auth_token": token, "code": backup.lower()})
        assert used.json()["backup_codes_left"] == left
    token = _post(running, "/v1/sign-in", sign_in).json()["pre_auth_token"]
    spent = _post(running, "/v1/sign-in/second-factor", {"pre_auth_token": token, "code": codes[0]})
    assert spent.json()["code"] == "code_already_used"

    # A new set kills the old one.
    access = complete.json()["access_token"]
    renewed = _post(running, "/v1/me/two-factor/backup-codes", {}, access).json()["codes"]
    old = _post(running, "/v1/sign-in/second-factor", {"pre_auth_token": token, "code": codes[1]}).json()
    assert old["code"] == "invalid_code"
    assert old["replaced_at"]
    used = _post(running, "/v1/sign-in/second-factor", {"pre_auth_token": token, "code": renewed[0]})
    assert used.status_code == 200, used.text

    # Two tabs refresh at once and get the same successor; a use after the grace is theft.
    refresh = {"refresh_token": complete.json()["refresh_token"]}
    with ThreadPoolExecutor(2) as tabs:
        both = [tabs.submit(_post, running, "/v1/tokens/refresh", refresh) for _ in range(2)]
        answers = [tab.result() for tab in both]
    assert [answer.status_code for answer in answers] == [200, 200]
    successors = {answer.json()["refresh_token"] for answer in answers}
    assert len(successors) == 1
    time.sleep(1.5)
    theft = _post(running, "/v1/tokens/refresh", refresh)
    assert theft.json()["reason"] == "refresh_reuse"
    dead = _post(running, "/v1/tokens/refresh", {"refresh_token": successors.pop()})
    assert dead.json()["reason"] == "refresh_reuse"
    assert httpx.get(running.url + "/v1/me", headers={"Authorization": f"Bearer {access}"}).status_code == 401

    # Sign out: the session is over for its tokens.
    tokens = used.json()
    assert _post(running, "/v1/sign-out", None, tokens["access_token"]).status_code == 204
    over = _post(running, "/v1/tokens/refresh", {"refresh_token": tokens["refresh_token"]})
    assert over.json()["reason"] == "signed_out"

    shown = doorward("user", "show", "grace@example.com", "--json", environ=running.environ)
    assert '"two_factor": "activated"' in shown.stdout


def test_the_readme_story_runs_as_written(running: Dev) -> None:
    needs("oathtool")
    story = re.search(r"<!-- story -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert story is not None
    run = subprocess.run(
        ["sh", "-eu", "-c", story[1]],
        cwd=ROOT,
        env=running.environ | {"BASE": running.url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    created, *printed = run.stdout.split("\n")
    assert created.startswith("created ")
    assert printed == ["code_already_used", "4", "204", ""]


def test_dev_goes_on_with_its_data_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as first:
        people = doorward("user", "list", "--json", environ=first.environ).stdout
        kid = httpx.get(first.url + "/oauth2/jwks").json()["keys"][0]["kid"]
        servers = (tmp_path / "data" / "servers.json").read_text()
    assert "person@demo.example" in people
    with dev(tmp_path / "data") as second:
        assert doorward("user", "list", "--json", environ=second.environ).stdout == people
        assert httpx.get(second.url + "/oauth2/jwks").json()["keys"][0]["kid"] == kid
    assert not (tmp_path / "data" / "servers.json").exists()
    assert "postgres_url" in servers


def test_a_kill_of_dev_leaves_no_server(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with dev(tmp_path / "data") as running:
        assert data in _processes()
        running.process.kill()
        deadline = time.monotonic() + 5
        while data in _processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert data not in _processes()
    with dev(tmp_path / "data") as again:
        assert "person@demo.example" in doorward("user", "list", environ=again.environ).stdout


def test_dev_refuses_to_serve_others() -> None:
    refused = doorward("dev", "--host", "0.0.0.0", environ=clean_environ())
    assert refused.returncode == 2
    assert "loopback" in refused.stderr


def _processes() -> str:
    """The command lines of all processes but the `doorward dev` itself and its tests."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "postgres" in line or "valkey" in line or "redis" in line:
            lines.append(line)
    return "\n".join(lines)
