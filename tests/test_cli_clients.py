"""`doorward client`: what it does, what it refuses, and that a secret is shown once."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from service.domain.oidc import records
from service.domain.oidc.clients import Client
from tests.programs import Dev, dev, doorward

CALLBACK = "https://portal.example/callback"
SECRET = re.compile(r"dwx_[A-Za-z0-9_-]{43}")
TWO = """
[[clients]]
id = "spa"
name = "A page"
token_endpoint_auth_method = "none"
redirect_uris = ["https://spa.example/callback"]
scopes = ["openid"]

[[clients]]
id = "shop"
name = "The shop"
redirect_uris = ["https://shop.example/callback"]
scopes = ["openid", "email"]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with dev(tmp_path_factory.mktemp("dev") / "data", "--no-seed") as found:
        yield found


def told(running: Dev, *words: str) -> Any:
    """What a command answers as JSON."""
    answer = doorward("client", *words, "--json", environ=running.environ)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def written(folder: Path, text: str, name: str = "clients.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create"], 2, "ID"),
        (["create", "a\nb"], 2, "printable"),
        (["create", "a", "--auth-method", "tls"], 2, "tls"),
        (["create", "a", "--grant-type", "password"], 2, "password"),
        (["create", "a"], 1, "/redirect_uris: authorization_code needs at least one"),
        (
            ["create", "doorward", "--redirect-uri", CALLBACK],
            1,
            "/id: is the id of a client that is built in",
        ),
        (["create", "pages", "--redirect-uri", CALLBACK], 1, "/id: is the id of a client that is built in"),
        (["create", "a", "--redirect-uri", "http://a.example/"], 1, "/redirect_uris/0: must be https"),
        (["create", "a", "--redirect-uri", CALLBACK, "--scope", "admin"], 1, "/scopes/0: only a first-party"),
        (["create", "a", "--redirect-uri", CALLBACK, "--auth-method", "private_key_jwt"], 1, "/jwks: "),
        (["show", "nobody"], 1, "not_found: no such client"),
        (["disable", "nobody"], 1, "not_found: no such client"),
        (["enable", "nobody"], 1, "not_found: no such client"),
        (["rotate-secret", "nobody"], 1, "not_found: no such client"),
        (["rotate-secret", "nobody", "--overlap", "-1"], 2, "-1"),
        (["apply", "/does/not/exist.toml"], 2, "does not exist"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_what_is_refused_says_why(running: Dev, words: list[str], code: int, said: str) -> None:
    refused = doorward("client", *words, environ=running.environ)
    assert refused.returncode == code
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "clients = [x]\n", ["a.toml: ", "line 1"]),
        ("a.toml", 'clients = []\nclients = ""\n', ["a.toml: ", "line 2"]),
        ("a.json", '{"clients": [', ["a.json: ", "line 1"]),
        ("a.json", '{"clients": [], "clients": []}', ["'clients' stands twice"]),
        ("a.json", "[" * 100_000, ["a.json: "]),
        ("a.json", "[]", ["/clients: the document must hold `clients`"]),
        ("a.toml", "[[client]]\nid = 'a'", ["/clients: the document must hold `clients`"]),
        ("a.json", '{"clients": [1]}', ["/clients/0: must be a table"]),
        (
            "a.toml",
            TWO.replace("https://shop", "http://shop")
            + 'client_secret = "test-value"\ncors_orgins = []\n[more]',
            [
                "/more: no such field",
                "/clients/1/redirect_uris/0 ('shop'): must be https",
                "/clients/1/client_secret ('shop'): secrets are made by the service",
                "/clients/1/cors_orgins ('shop'): no such field; did you mean cors_origins?",
            ],
        ),
        (
            "a.json",
            json.dumps({"clients": [{"id": "a\x1b[2J\ud800", "name": "A"}]}),
            ["/clients/0/id ('a\\x1b[2J\\ud800'): must be", "/clients/0/redirect_uris", "/clients/0/scopes"],
        ),
    ],
)
def test_a_file_with_faults_is_refused_with_all_of_them_and_their_places(
    running: Dev, tmp_path: Path, name: str, text: str, said: list[str]
) -> None:
    before = told(running, "list")
    refused = doorward("client", "apply", written(tmp_path, text, name), environ=running.environ)
    assert refused.returncode == 1
    for part in said:
        assert part in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr
    assert "test-value" not in refused.stderr
    assert "\x1b" not in refused.stderr
    assert told(running, "list") == before


def test_a_file_that_is_no_utf_8_is_refused(running: Dev, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xff")
    refused = doorward("client", "apply", str(tmp_path / "a.toml"), environ=running.environ)
    assert (refused.returncode, "is not UTF-8" in refused.stderr) == (1, True)


def test_a_portal_is_created_shown_listed_disabled_and_enabled(running: Dev) -> None:
    made = told(running, "create", "portal", "--redirect-uri", CALLBACK, "--grant-type", "authorization_code")
    assert made["id"] == "portal"
    assert SECRET.fullmatch(made["secret"])
    again = doorward("client", "create", "portal", "--redirect-uri", CALLBACK, environ=running.environ)
    assert (again.returncode, again.stderr) == (1, "conflict: the id is taken\n")

    shown = told(running, "show", "portal")
    assert shown["name"] == "portal"
    assert shown["redirect_uris"] == [CALLBACK]
    assert shown["scopes"] == ["openid", "profile", "email"]
    assert [one["expires_at"] for one in shown["secrets"]] == [None]
    row = next(one for one in told(running, "list") if one["id"] == "portal")
    assert (row["token_endpoint_auth_method"], row["disabled"]) == ("client_secret_basic", False)

    for word, state in (("disable", True), ("enable", False)):
        assert doorward("client", word, "portal", environ=running.environ).stdout == f"{word}d\n"
        assert told(running, "show", "portal")["disabled"] is state


def test_a_secret_is_shown_once(running: Dev) -> None:
    words = ["client", "create", "machine", "--grant-type", "client_credentials", "--scope", "reports.read"]
    made = doorward(*words, environ=running.environ)
    first = SECRET.search(made.stdout)
    assert first, made.stdout
    assert "cannot be shown again" in made.stderr
    rotated = doorward("client", "rotate-secret", "machine", "--overlap", "3600", environ=running.environ)
    second = SECRET.search(rotated.stdout)
    assert second
    assert second[0] != first[0]
    for words in (["list"], ["list", "--json"], ["show", "machine"], ["show", "machine", "--json"]):
        shown = doorward("client", *words, environ=running.environ)
        assert shown.returncode == 0
        assert "dwx_" not in shown.stdout + shown.stderr
    ends = [one["expires_at"] for one in told(running, "show", "machine")["secrets"]]
    assert [end is None for end in ends] == [False, True]
    assert set(told(running, "rotate-secret", "machine")) == {"id", "secret", "overlap"}
    assert len(told(running, "show", "machine")["secrets"]) == 1


def test_a_client_with_keys_of_its_own_gets_no_secret(running: Dev, tmp_path: Path) -> None:
    public = ECKey.generate_key("P-256").as_dict(private=False)
    keys = written(tmp_path, json.dumps({"keys": [public]}), "jwks.json")
    words = ["signed", "--name", "Signed", "--redirect-uri", CALLBACK, "--auth-method", "private_key_jwt"]
    assert told(running, "create", *words, "--jwks", keys) == {"id": "signed", "secret": None}
    assert told(running, "show", "signed")["jwks"] == {"keys": [public]}
    refused = doorward("client", "rotate-secret", "signed", environ=running.environ)
    assert (refused.returncode, "its method is private_key_jwt" in refused.stderr) == (1, True)


PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0 0h8v8z"/></svg>'


@pytest.mark.case("U-17")
def test_a_brand_is_given_shown_and_applied_from_files_beside_the_record(
    running: Dev, tmp_path: Path
) -> None:
    logo = written(tmp_path, PICTURE, "logo.svg")
    words = ["--redirect-uri", CALLBACK, "--brand-color", "#FFD500", "--policy-uri", "https://a.example/#p"]
    told(running, "create", "branded", *words, "--tos-uri", "https://a.example/t", "--logo", logo)
    shown = told(running, "show", "branded")
    kind, digest = shown["logo"].split(" ")
    assert (kind, digest) == ("image/svg+xml", "sha256:" + hashlib.sha256(PICTURE.encode()).hexdigest())
    assert (shown["brand_color"], shown["policy_uri"]) == ("#FFD500", "https://a.example/#p")

    record = {"id": "branded", "name": "branded", "redirect_uris": [CALLBACK], "scopes": shown["scopes"]}
    looks = {"brand_color": "#FFD500", "policy_uri": "https://a.example/#p", "tos_uri": "https://a.example/t"}
    same = json.dumps({"clients": [record | looks | {"logo": "logo.svg"}]})
    assert len(told(running, "apply", written(tmp_path, same, "same.json"))["unchanged"]) == 1
    plain = written(tmp_path, json.dumps({"clients": [record]}), "plain.json")
    (changed,) = told(running, "apply", plain)["changed"]
    assert changed["fields"] == {name: [value, None] for name, value in looks.items()} | {
        "logo": [shown["logo"], None]
    }

    for content, said in (
        (PICTURE.replace("<path", "<script"), "may only draw"),
        ("x" * 66_000, "may have at most 64 KiB"),
    ):
        written(tmp_path, content, "logo.svg")
        refused = doorward("client", "apply", written(tmp_path, same, "same.json"), environ=running.environ)
        assert refused.returncode == 1
        assert f"/clients/0/logo ('branded'): {said}" in refused.stderr
    (tmp_path / "logo.svg").unlink()
    gone = doorward("client", "apply", written(tmp_path, same, "same.json"), environ=running.environ)
    assert (gone.returncode, "No such file" in gone.stderr) == (1, True)
    assert told(running, "show", "branded")["logo"] is None


def test_a_file_is_applied_told_as_a_diff_and_applied_again(running: Dev, tmp_path: Path) -> None:
    file = written(tmp_path, TWO)
    dry = doorward("client", "apply", file, "--dry-run", environ=running.environ)
    assert dry.stdout.splitlines() == [
        "created    spa",
        "created    shop",
        "shop has no secret yet: doorward client rotate-secret shop",
        "nothing was kept: this was a dry run",
    ]
    first = told(running, "apply", file)
    assert [one["id"] for one in first["created"]] == ["spa", "shop"]
    again = told(running, "apply", file)
    assert (again["created"], again["changed"], again["disabled"]) == ([], [], [])
    assert [one["id"] for one in again["unchanged"]] == ["spa", "shop"]
    assert again["secret_owed"] == ["shop"]

    assert SECRET.fullmatch(told(running, "rotate-secret", "shop")["secret"])
    moved = TWO.replace("shop.example", "new.example").replace('["openid"]', '["openid"]\ndisabled = true')
    changed = doorward("client", "apply", written(tmp_path, moved), environ=running.environ)
    assert changed.stdout.splitlines() == [
        "disabled   spa",
        "             disabled: false -> true",
        "changed    shop",
        '             redirect_uris: ["https://shop.example/callback"] -> ["https://new.example/callback"]',
    ]
    as_json = json.dumps({"clients": tomllib.loads(moved)["clients"]})
    same = told(running, "apply", written(tmp_path, as_json, "clients.json"))
    assert [one["id"] for one in same["unchanged"]] == ["spa", "shop"]


def test_the_example_of_the_guide_is_applied(running: Dev, tmp_path: Path, root: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (root / "docs" / "clients.md").read_text(), re.DOTALL)
    read, faults = records.read_all(tomllib.loads(example))
    assert faults == []
    said = told(running, "apply", written(tmp_path, example, "example.toml"), "--dry-run")
    assert {one["id"] for one in said["created"] + said["changed"]} == {one.id for one in read}


def test_the_guide_names_every_field(root: Path) -> None:
    table = re.findall(r"^\| `(\w+)` \|", (root / "docs" / "clients.md").read_text(), re.MULTILINE)
    assert table == [field.name for field in fields(Client)]
