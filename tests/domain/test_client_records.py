"""Reading clients from a document: strict, and everything wrong told at once."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from service.domain.oidc import logos, records
from service.domain.oidc.clients import Client

CALLBACK = "https://portal.example/callback"
PORTAL = Client("portal", "The portal", redirect_uris=(CALLBACK,), scopes=("openid", "profile", "email"))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ([], {("", "not_a_record")}),
        ("portal", {("", "not_a_record")}),
        (
            {},
            {("/id", "missing"), ("/name", "missing"), ("/redirect_uris", "empty"), ("/scopes", "empty")},
        ),
        (
            {"id": 1, "name": None, "redirect_uris": CALLBACK, "scopes": ["openid", 1], "first_party": 1},
            {(f"/{name}", "wrong_type") for name in ("id", "name", "redirect_uris", "scopes", "first_party")},
        ),
        (
            {
                "id": "a",
                "name": "A",
                "redirect_uris": [CALLBACK],
                "scopes": ["openid"],
                "access_seconds": True,
            },
            {("/access_seconds", "wrong_type")},
        ),
        (
            {
                "id": "a",
                "name": "A",
                "grant_types": ["password"],
                "access_seconds": 0.5,
                "audience": 1,
                "jwks": [],
                "logo": "logo.svg",
                "redirect_uri": CALLBACK,
                "a/b~c": 1,
                "client_secret": "test-value",
            },
            {
                ("/grant_types/0", "unknown_value"),
                ("/access_seconds", "wrong_type"),
                ("/audience", "wrong_type"),
                ("/jwks", "wrong_type"),
                ("/logo", "wrong_type"),
                ("/redirect_uri", "unknown"),
                ("/a~1b~0c", "unknown"),
                ("/client_secret", "secret"),
            },
        ),
    ],
)
def test_a_record_is_refused_with_all_that_is_wrong(record: Any, said: set[tuple[str, str]]) -> None:
    client, faults = records.read(record)
    assert client is None
    assert {(fault.pointer, fault.code) for fault in faults} == said
    texts = " ".join(fault.text for fault in faults)
    assert "test-value" not in texts
    assert ("did you mean redirect_uris?" in texts) == ("redirect_uri" in record)


def test_a_well_formed_record_that_breaks_a_rule_is_a_client_with_faults() -> None:
    client, faults = records.read({"id": "a", "name": "A", "scopes": ["openid"]})
    assert client == Client("a", "A", scopes=("openid",))
    assert [(fault.pointer, fault.code) for fault in faults] == [("/redirect_uris", "empty")]


def test_a_record_says_what_a_client_is() -> None:
    assert records.read(_record(PORTAL)) == (PORTAL, [])


def test_a_picture_is_read_from_its_data_uri() -> None:
    content = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
    client, faults = records.read(_record(PORTAL) | {"logo": logos.to_uri(content)})
    assert faults == []
    assert client == replace(PORTAL, logo=logos.of(content, "image/svg+xml"))
    client, faults = records.read(_record(PORTAL) | {"logo": logos.to_uri(b"<svg/>")})
    assert [(fault.pointer, fault.code) for fault in faults] == [("/logo", "not_a_picture")]


# A document of several


@pytest.mark.parametrize("document", [[], "clients", {}, {"clients": {}}, {"client": []}, {"clients": None}])
def test_a_document_without_a_list_of_clients_is_refused(document: Any) -> None:
    assert [(fault.pointer, fault.code) for fault in records.read_all(document)[1]] == [
        ("/clients", "not_a_list")
    ]


def test_the_faults_of_a_document_say_which_client() -> None:
    document = {
        "client": [],
        "clients": [
            {"id": "a", "name": "A", "redirect_uris": [CALLBACK], "scopes": ["openid"]},
            "b",
            {"id": "a", "redirect_uris": [CALLBACK, "http://portal.example/"], "scopes": ["openid"]},
        ],
    }
    assert [(fault.pointer, fault.code) for fault in records.read_all(document)[1]] == [
        ("/client", "unknown"),
        ("/clients/1", "not_a_record"),
        ("/clients/2/name", "missing"),
        ("/clients/2/redirect_uris/1", "scheme"),
        ("/clients/2/id", "duplicate"),
    ]


def test_a_document_is_its_clients_in_order() -> None:
    read, faults = records.read_all({"clients": [_record(PORTAL), _record(replace(PORTAL, id="other"))]})
    assert (read, faults) == ([PORTAL, replace(PORTAL, id="other")], [])
    assert records.all_faults(read) == []
    assert records.read_all({"clients": []}) == ([], [])


def test_a_list_of_clients_is_judged_as_a_document_is() -> None:
    wrong = [PORTAL, replace(PORTAL, name=""), replace(PORTAL, id="pages")]
    told = records.all_faults(wrong)
    assert told == records.read_all({"clients": [_record(one) for one in wrong]})[1]
    assert [fault.pointer for fault in told] == ["/clients/1/name", "/clients/2/id", "/clients/1/id"]


def _record(client: Client) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(client).items()
    }
