"""A portal is told what its scopes open and what it asked for by name, and nothing else."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.oidc import claims
from service.domain.oidc.claims import Known

SUB = UUID("1793e57c-a644-4419-a68c-54a98a102a3f")
ADA = Known(
    sub=SUB,
    name="Ada",
    language="de",
    email="ada@example.com",
    email_verified=True,
    phone_number="+4930901820",
    address={"country": "DE"},
)
ALL = ("openid", "profile", "email", "phone", "address")


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ((), set()),
        (("openid",), set()),
        (("openid", "profile"), {"name", "locale"}),
        (("openid", "email"), {"email", "email_verified"}),
        (("openid", "phone"), {"phone_number", "phone_number_verified"}),
        (("openid", "address"), {"address"}),
        (("openid", "account", "admin", "offline_access", "unheard-of"), set()),
    ],
)
def test_a_scope_opens_its_claims(scope: tuple[str, ...], told: set[str]) -> None:
    assert set(claims.for_userinfo(ADA, scope, {}, ALL)) == {"sub"} | told


def test_the_id_token_carries_what_was_asked_into_it_and_no_more() -> None:
    assert claims.for_id_token(ADA, {}, ALL) == {}
    asked = {"id_token": {"email": None, "name": {"essential": True}}, "userinfo": {"address": None}}
    assert claims.for_id_token(ADA, asked, ALL) == {"email": "ada@example.com", "name": "Ada"}
    assert claims.for_userinfo(ADA, (), asked, ALL) == {"sub": str(SUB), "address": {"country": "DE"}}


def test_a_name_in_a_request_opens_nothing_that_the_record_keeps_shut() -> None:
    asked = {"userinfo": {"email": None, "phone_number": {"essential": True}, "sub": None, "roles": None}}
    told = claims.for_userinfo(ADA, ("openid",), asked, ("openid", "email"))
    assert told == {"sub": str(SUB), "email": "ada@example.com"}


def test_what_is_not_known_is_left_out_and_what_is_not_proved_says_so() -> None:
    bare = replace(ADA, name="", language=None, phone_number=None, address=None, email_verified=False)
    told = claims.for_userinfo(bare, ALL, {}, ALL)
    assert told == {"sub": str(SUB), "email": "ada@example.com", "email_verified": False}
    assert claims.for_userinfo(ADA, ALL, {}, ALL)["phone_number_verified"] is False


def read(asked: Any) -> Any:
    """A claims request as it is read from its JSON."""
    found = claims.read(json.dumps(asked))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "text",
    [
        '{"id_token": {"sub": {"value": "\\u0000"}}}',
        '{"id_token": {"acr": {"values": ["\\ud800"]}}}',
        '{"userinfo": {"name": {"value": "a\\nb"}}}',
    ],
)
def test_a_value_that_is_no_printable_text_makes_no_request(text: str) -> None:
    assert claims.read(text) is None


def test_only_what_anything_is_made_of_is_kept() -> None:
    asked = {"userinfo": {"email": None, "shoe_size": {"value": 43}}, "x": {"name": None}, "id_token": {}}
    assert read(asked) == {"userinfo": {"email": {"essential": False, "values": []}}, "id_token": {}}
    assert claims.scopes_reached(read(asked)) == {"email"}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, []),
        ({"id_token": {"sub": None}}, []),
        ({"id_token": {"sub": {"essential": True}}}, []),
        ({"id_token": {"sub": {"value": 5}}}, []),
        ({"userinfo": {"sub": {"value": "x"}}}, []),
        ({"id_token": {"sub": {"value": str(SUB)}}}, [str(SUB)]),
        ({"id_token": {"sub": {"value": "a", "values": []}}}, ["a"]),
        ({"id_token": {"sub": {"value": "a", "values": ["b"]}}}, ["a", "b"]),
    ],
)
def test_a_request_may_name_the_person(asked: Any, wanted: list[str]) -> None:
    assert claims.subjects_wanted(read(asked)) == wanted


@pytest.mark.parametrize(
    ("member", "wanted"),
    [
        (None, []),
        ({"values": ["a"]}, []),
        ({"essential": False, "values": ["a"]}, []),
        ({"essential": "true", "values": ["a"]}, []),
        ({"essential": True}, []),
        ({"essential": True, "values": "a"}, []),
        ({"essential": True, "value": "a"}, ["a"]),
        ({"essential": True, "values": ["a", 1, None, "b"]}, ["a", "b"]),
    ],
)
def test_an_essential_context_is_one_that_is_called_so(member: Any, wanted: list[str]) -> None:
    assert claims.acr_essential(read({"id_token": {"acr": member}})) == wanted


@given(
    st.dictionaries(
        st.sampled_from(["id_token", "userinfo", "x"]),
        st.dictionaries(
            st.text(max_size=20), st.none() | st.booleans() | st.dictionaries(st.text(), st.text())
        ),
    )
)
def test_no_request_makes_more_known_than_there_is(sent: dict[str, Any]) -> None:
    asked = claims.read(json.dumps(sent)) or {}
    known = {"sub", *ADA.claims()}
    assert set(claims.for_userinfo(ADA, ALL, asked, ALL)) <= known
    assert set(claims.for_id_token(ADA, asked, ALL)) <= known
    claims.subjects_wanted(asked)
    claims.acr_essential(asked)
