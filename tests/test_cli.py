"""The command line: what it does, what it refuses, and with which exit code."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.commands import show
from service.commands.dev import _dev_settings, _seed
from service.embedded import Servers
from service.flows import accounts as account_flow
from service.world import World
from tests.builders import ENCRYPTION_KEYS
from tests.programs import Dev, clean_environ, dev, doorward

COMPLETE = {
    "DOORWARD_ISSUER": "https://identity.example",
    "DOORWARD_DATABASE_URL": "postgresql://doorward@nowhere.invalid/doorward",
    "DOORWARD_REDIS_URL": "redis://nowhere.invalid",
    "DOORWARD_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with dev(tmp_path_factory.mktemp("dev") / "data", "--no-seed") as found:
        yield found


def test_a_person_is_created_listed_and_shown(running: Dev) -> None:
    made = doorward(
        "user",
        "create",
        "Ada@Example.com",
        "--password-stdin",
        "--role",
        "support",
        "--json",
        environ=running.environ,
        stdin="test-value one two\n",
    )
    assert made.returncode == 0, made.stderr
    person = json.loads(made.stdout)["id"]
    listed = json.loads(doorward("user", "list", "--json", environ=running.environ).stdout)
    assert [(one["email"], one["id"], one["two_factor"]) for one in listed] == [
        ("ada@example.com", person, "not_activated")
    ]
    assert doorward("user", "list", "--two-factor", "activated", environ=running.environ).stdout == ""
    shown = json.loads(doorward("user", "show", "ada@example.com", "--json", environ=running.environ).stdout)
    assert (shown["roles"], shown["email_verified"], shown["disabled"]) == ("support", True, False)
    assert not {"password", "password_hash", "seed"} & set(shown)


def test_a_second_factor_is_listed_by_its_state_reset_and_unlocked(running: Dev) -> None:
    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        return doorward("user", *words, environ=running.environ)

    made = doorward(
        "user",
        "create",
        "eve@example.com",
        "--password-stdin",
        environ=running.environ,
        stdin="test-value one two",
    )
    assert made.returncode == 0, made.stderr
    for state, people in (
        ("not_activated", True),
        ("activated", False),
        ("pending", False),
        ("codes_low", False),
    ):
        told = asked("list", "--two-factor", state)
        assert (told.returncode, "eve@example.com" in told.stdout) == (0, people), state
    assert json.loads(asked("list", "--two-factor", "overdue", "--json").stdout) == []
    assert asked("list", "--two-factor", "sometimes").returncode == 2
    assert asked("reset-two-factor", "eve@example.com").returncode == 2
    assert "--reason" in asked("reset-two-factor", "eve@example.com").stderr
    for nothing in (" ", "x" * 301):
        told = asked("reset-two-factor", "eve@example.com", "--reason", nothing)
        assert (told.returncode, "say why" in told.stderr) == (2, True)
    told = asked("reset-two-factor", "eve@example.com", "--reason", "lost phone", "--json")
    assert (told.returncode, json.loads(told.stdout)) == (0, {"removed": 0})
    assert asked("unlock", "eve@example.com").stdout == "unlocked\n"
    for command in (("unlock",), ("reset-two-factor", "--reason", "x")):
        told = asked(command[0], "nobody@example.com", *command[1:])
        assert (told.returncode, told.stderr) == (1, "not_found: no such person\n")


@pytest.mark.parametrize(
    ("words", "stdin", "code", "said"),
    [
        (["user", "create", "b@example.com"], "", 2, "--password-stdin"),
        (["user", "create", "b@example.com", "--password-stdin"], "short", 1, "too_short"),
        (["user", "create", "b@example.com", "--password-stdin"], "x" * 129, 1, "too_long"),
        (["user", "create", "b@example.com", "--password-stdin"], "b@example.com", 1, "contextual"),
        (["user", "create", "no address", "--password-stdin"], "test-value one", 1, "not an address"),
        (["user", "create", "b@example.com", "--role", "god", "--password-stdin"], "x", 2, "god"),
        (["user", "show", "nobody@example.com"], "", 1, "no such person"),
        (["keys", "create", "index"], "", 2, "index"),
        (["keys", "rotate", "--alg", "HS256"], "", 2, "HS256"),
        (["keys", "retire", "-no-such-key"], "", 1, "no living key"),
        (["nonsense"], "", 2, "nonsense"),
    ],
)
def test_what_is_refused_says_why(running: Dev, words: list[str], stdin: str, code: int, said: str) -> None:
    refused = doorward(*words, environ=running.environ, stdin=stdin)
    assert refused.returncode == code
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_address_is_taken_once(running: Dev) -> None:
    words = ["user", "create", "twice@example.com", "--password-stdin"]
    assert doorward(*words, environ=running.environ, stdin="test-value one two").returncode == 0
    refused = doorward(*words, environ=running.environ, stdin="test-value one two")
    assert refused.returncode == 1
    assert "taken" in refused.stderr


def keys_of(running: Dev) -> dict[str, dict[str, str]]:
    """The living keys by their ids."""
    listed = json.loads(doorward("keys", "list", "--json", environ=running.environ).stdout)
    return {key["id"]: key for key in listed}


def test_keys_are_made_once_and_added_on_wish(running: Dev) -> None:
    before = keys_of(running)
    assert sorted(key["kind"] for key in before.values()) == [
        "index",
        "pepper",
        "sign",
        "sign_ed25519",
        "sign_rs256",
        "token",
    ]
    assert {key["state"] for key in before.values()} == {"active"}
    made = json.loads(doorward("keys", "create", "token", "--json", environ=running.environ).stdout)["id"]
    after = keys_of(running)
    assert set(after) - set(before) == {made}
    assert after[made]["state"] == "next"
    assert doorward("migrate", "up", environ=running.environ).stdout == "nothing to do\n"


def test_the_next_signing_key_is_published_once_and_may_be_taken_back(running: Dev) -> None:
    before = keys_of(running)
    words = ("keys", "rotate", "--alg", "Ed25519", "--json")
    first, again = (json.loads(doorward(*words, environ=running.environ).stdout) for _ in range(2))
    (made,) = first
    assert again == [made | {"made": False}]
    published = {key["kid"]: key["alg"] for key in httpx.get(f"{running.url}/oauth2/jwks").json()["keys"]}
    assert published.items() <= {key["id"]: key["alg"] for key in keys_of(running).values()}.items()
    assert keys_of(running)[made["id"]]["state"] == "next"
    told = doorward("keys", "rotate", environ=running.environ).stdout.splitlines()
    assert [line.split()[:2] for line in told] == [
        ["ES256", "published"],
        ["RS256", "published"],
        ["Ed25519", "was"],
    ]
    for key in keys_of(running).values():
        if key["state"] == "next" and key["alg"]:
            assert doorward("keys", "retire", key["id"], environ=running.environ).returncode == 0
    assert {key["id"] for key in keys_of(running).values() if key["alg"]} == {
        key["id"] for key in before.values() if key["alg"]
    }


@pytest.mark.parametrize("kind", ["sign", "sign_rs256", "sign_ed25519", "token", "pepper", "index"])
def test_a_key_that_is_used_is_not_retired(running: Dev, kind: str) -> None:
    (key,) = (one for one in keys_of(running).values() if (one["kind"], one["state"]) == (kind, "active"))
    for words in (["keys", "retire", key["id"]], ["keys", "retire", "--force", key["id"]]):
        refused = doorward(*words, environ=running.environ)
        assert refused.returncode == 1
        assert refused.stderr.startswith("conflict: ")
        assert len(refused.stderr.splitlines()) == 1
    assert key["id"] in keys_of(running)


def test_nothing_is_sealed_anew_where_one_encryption_key_sealed_everything(running: Dev) -> None:
    done = doorward("keys", "rewrap", environ=running.environ)
    assert done.stdout == "sealed anew under dev: 0 keys, 0 authenticators\n"
    done = doorward("keys", "rewrap", "--json", environ=running.environ)
    assert json.loads(done.stdout) == {"under": "dev", "service_keys": 0, "authenticators": 0, "broken": []}


def test_the_schema_tells_its_state(running: Dev) -> None:
    status = json.loads(doorward("migrate", "status", "--json", environ=running.environ).stdout)
    assert [one["state"] for one in status] == ["applied"] * len(status)
    assert status[0]["name"] == "sign_in"
    assert doorward("migrate", "check", environ=running.environ).returncode == 0
    assert doorward("migrate", "plan", environ=running.environ).stdout == ""


def test_the_configuration_is_shown_without_its_secrets() -> None:
    shown = doorward("config", "show", "--json", environ=clean_environ() | COMPLETE)
    rows = {row["name"]: row for row in json.loads(shown.stdout)}
    assert rows["issuer"] == {"name": "issuer", "value": "https://identity.example", "source": "environment"}
    assert rows["tokens.access_seconds"]["source"] == "default"
    assert ENCRYPTION_KEYS.partition(":")[2] not in shown.stdout


def test_every_fault_of_the_configuration_is_told_at_once() -> None:
    checked = doorward(
        "config",
        "check",
        environ=clean_environ()
        | {
            "DOORWARD_ISSUER": "http://identity.example/path",
            "DOORWARD_TOKENS_ACESS_SECONDS": "5",
            "DOORWARD_TOKENS_ACCESS_SECONDS": "never",
            "DOORWARD_ENCRYPTION_KEYS_FILE": "/does/not/exist",
        },
    )
    assert checked.returncode == 1
    for said in (
        r"DOORWARD_TOKENS_ACESS_SECONDS: unknown; did you mean DOORWARD_TOKENS_ACCESS_SECONDS\?",
        r"DOORWARD_ENCRYPTION_KEYS_FILE: cannot read /does/not/exist",
        r"tokens.access_seconds",
        r"issuer: must be scheme://host",
        r"database.url: missing",
        r"redis.url: missing",
        r"encryption_keys: missing",
    ):
        assert re.search(said, checked.stderr), (said, checked.stderr)


def test_without_its_database_a_command_says_so() -> None:
    refused = doorward("user", "list", environ=clean_environ() | COMPLETE)
    assert refused.returncode == 1
    assert "postgres" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_role_that_postgres_does_not_know_is_told_in_one_line(running: Dev) -> None:
    folder = json.loads((running.data / "servers.json").read_text())
    url = folder["postgres_url"].replace("//doorward@", "//nobody@")
    assert "nobody" in url
    refused = doorward("migrate", "up", environ=clean_environ() | COMPLETE | {"DOORWARD_DATABASE_URL": url})
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "nobody" in refused.stderr


@pytest.mark.parametrize("name", ["a\udcffb", "a\x1b[2Jb", "two\nlines"])
def test_a_name_that_is_no_printable_text_is_wrong_use(running: Dev, name: str) -> None:
    words = ["user", "create", "c@example.com", "--password-stdin", "--name", name]
    refused = doorward(*words, environ=running.environ, stdin="test-value one two")
    assert refused.returncode == 2
    assert "printable" in refused.stderr


def test_what_a_person_is_called_does_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"name": "a\x1b[2Jb\u202ec", "id": 1}], as_json=False)
    assert capsys.readouterr().out == "a\\x1b[2Jb\\u202ec  1\n"


async def test_a_start_that_was_killed_while_it_made_the_demo_people_is_gone_on_from(
    world: World, tmp_path: Path
) -> None:
    people = await _seed(world, tmp_path)
    assert [email for email, _ in people] == ["admin@demo.example", "person@demo.example"]
    assert await _seed(world, tmp_path) == people
    # Killed after the note of one more, and before that one was made.
    note = tmp_path / "demo.json"
    note.write_text(json.dumps([*people, ("third@demo.example", "demo-0123456789ab")]))
    assert len(await _seed(world, tmp_path)) == 3
    assert (await account_flow.find(world, "third@demo.example")).name == "Demo"
    # Killed in the days when the note came last: the people are there, their passwords are lost.
    note.write_text("")
    assert len(await _seed(world, tmp_path)) == 2
    assert os.listdir(tmp_path) == ["demo.json"]
    assert note.stat().st_mode & 0o777 == 0o600


def test_an_empty_key_left_by_a_kill_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)
    (tmp_path / "encryption.key").touch()
    servers = Servers("postgresql://nowhere", "redis://nowhere", tmp_path)
    found = _dev_settings(tmp_path, servers, 8400)
    assert (tmp_path / "encryption.key").read_text() == found.encryption_keys.get_secret_value()
    assert _dev_settings(tmp_path, servers, 8400).encryption_keys == found.encryption_keys


def test_dev_refuses_a_port_that_somebody_has_before_it_starts_anything(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = doorward("dev", "--port", port, "--data", str(tmp_path / "data"), environ=clean_environ())
    assert refused.returncode == 1
    assert "cannot listen on 127.0.0.1 port" in refused.stderr
    assert not (tmp_path / "data").exists()
