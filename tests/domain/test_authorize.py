"""An authorization request is judged in one order, and the first fault is the answer."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.oidc.authorize import (
    CHECKS,
    AuthorizationRequest,
    Refusal,
    judge,
    proves,
    response_mode,
    state,
)
from service.domain.oidc.clients import Client

CALLBACK = "https://portal.example/callback"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
PORTAL = Client("portal", "Portal", redirect_uris=(CALLBACK,), scopes=("openid", "profile", "email"))
GOOD = {
    "client_id": "portal",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid email",
    "state": "s" * 128,
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def asked(client: Client = PORTAL, **changes: Any) -> AuthorizationRequest | Refusal:
    """Judge the good request with some parameters changed, left out (None) or repeated (a list)."""
    merged = {name: value for name, value in (GOOD | changes).items() if value is not None}
    parameters = {name: value if isinstance(value, list) else [value] for name, value in merged.items()}
    return judge(parameters, client, CALLBACK)


def error(answer: AuthorizationRequest | Refusal) -> str:
    assert isinstance(answer, Refusal), answer
    assert answer.description
    return answer.error


def request(answer: AuthorizationRequest | Refusal) -> AuthorizationRequest:
    assert isinstance(answer, AuthorizationRequest), answer
    return answer


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unsupported_response_type"),
        ({"response_type": "none"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "web_message"}, "invalid_request"),
        ({"response_mode": "query.jwt"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://portal.example/r"}, "request_uri_not_supported"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "email"}, "invalid_scope"),
        ({"scope": "OpenID"}, "invalid_scope"),
        ({"scope": "openid\temail"}, "invalid_scope"),
        ({"scope": ["openid", "openid"]}, "invalid_request"),
        ({"state": ["a", "b"]}, "invalid_request"),
        ({"nonce": ["a", "a"]}, "invalid_request"),
        ({"unknown": ["a", "b"]}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "create"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "1.5"}, "invalid_request"),
        ({"max_age": "١"}, "invalid_request"),
        ({"max_age": "9" * 10}, "invalid_request"),
        ({"claims": "[]"}, "invalid_request"),
        ({"claims": "{"}, "invalid_request"),
        ({"claims": '{"userinfo": 1}'}, "invalid_request"),
        ({"claims": "[" * 3_000}, "invalid_request"),
        ({"claims": '{"a": "' + "x" * 4_000 + '"}'}, "invalid_request"),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_the_standard(changes: dict[str, Any], expected: str) -> None:
    assert error(asked(**changes)) == expected


@pytest.mark.case("K-43")
@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge": ""},
        {"code_challenge": CHALLENGE[:-1]},
        {"code_challenge": CHALLENGE + "A"},
        {"code_challenge": CHALLENGE[:-1] + "="},
        {"code_challenge": CHALLENGE[:-1] + "ü"},
        {"code_challenge": [CHALLENGE, CHALLENGE]},
    ],
)
def test_half_of_pkce_is_none(changes: dict[str, Any]) -> None:
    assert error(asked(**changes)) == "invalid_request"
    free = replace(PORTAL, require_pkce=False)
    if changes == {"code_challenge": None, "code_challenge_method": None}:
        assert request(asked(free, **changes)).code_challenge is None
    else:
        assert error(asked(free, **changes)) == "invalid_request"


def test_a_client_without_the_grant_gets_no_code() -> None:
    machine = replace(PORTAL, grant_types=("client_credentials",))
    assert error(asked(machine)) == "unauthorized_client"


def test_a_client_without_openid_is_no_relying_party() -> None:
    assert error(asked(replace(PORTAL, scopes=("email",)))) == "invalid_scope"


def test_everything_that_was_asked_is_read() -> None:
    read = request(
        asked(
            prompt="login consent",
            max_age="60",
            acr_values="urn:doorward:acr:2fa urn:x",
            login_hint="ada@example.com",
            ui_locales="de en",
            nonce="n",
            claims='{"userinfo": {"name": {"essential": true}}, "id_token": {}}',
            response_mode="form_post",
            display="popup",
            extra="foobar",
            claims_locales="de",
        )
    )
    assert read == AuthorizationRequest(
        redirect_uri=CALLBACK,
        response_mode="form_post",
        scope=["openid", "email"],
        state="s" * 128,
        nonce="n",
        code_challenge=CHALLENGE,
        prompt=frozenset({"login", "consent"}),
        max_age=60,
        acr_values=["urn:doorward:acr:2fa", "urn:x"],
        login_hint="ada@example.com",
        id_token_hint=None,
        claims={"userinfo": {"name": {"essential": True, "values": []}}, "id_token": {}},
        consent=["openid", "profile", "email"],
    )


@pytest.mark.case("K-47")
def test_a_scope_beyond_the_clients_is_left_out_in_any_order() -> None:
    read = request(asked(scope="admin phone email unheard-of openid offline_access"))
    assert read.scope == ["openid", "email"]


def test_nonce_and_state_are_the_clients_to_send() -> None:
    read = request(asked(nonce=None, state=None))
    assert (read.nonce, read.state) == (None, None)


def test_max_age_zero_is_not_left_out() -> None:
    assert request(asked(max_age="0")).max_age == 0


@pytest.mark.case("K-47")
def test_a_refusal_travels_as_the_answer_would_and_carries_the_state() -> None:
    assert response_mode({"response_mode": ["form_post"]}) == "form_post"
    assert response_mode({"response_mode": ["fragment"]}) == "query"
    assert response_mode({}) == "query"
    assert state({"state": ["s p ä ce&="]}) == "s p ä ce&="
    assert state({"state": ["a", "b"]}) is None
    assert state({}) is None


def test_the_first_fault_is_the_answer() -> None:
    assert [check.__name__ for check in CHECKS][:3] == ["_each_once", "_no_request_object", "_response_type"]
    assert error(asked(state=["a", "b"], response_type="token", scope="x")) == "invalid_request"
    assert error(asked(response_type="token", scope="x")) == "unsupported_response_type"


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "max_age", "prompt", "id_token_hint"]), st.lists(st.text(max_size=50))
    ),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: st.dictionaries(
            st.sampled_from(["userinfo", "id_token", "sub", "acr", "values"]), inner
        ),
    ),
)
def test_no_request_makes_the_judge_raise_or_keep_what_is_no_text(
    parameters: dict[str, list[str]], wish: object
) -> None:
    for one in (parameters, {name: [value] for name, value in GOOD.items()}):
        read = judge({**one, "claims": [json.dumps(wish)]}, PORTAL, CALLBACK)
        if isinstance(read, Refusal):
            assert read.error
            continue
        kept = json.dumps(read.claims, allow_nan=False)
        assert "\\u0000" not in kept
        assert "\\ud8" not in kept
        assert read.response_mode == response_mode(one)
        assert read.state == state(one)


#: RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@pytest.mark.case("K-43")
def test_the_verifier_of_the_standard_proves_its_challenge() -> None:
    assert proves(VERIFIER, CHALLENGE)
    assert proves(None, None)


@pytest.mark.case("K-43")
@pytest.mark.parametrize(
    ("verifier", "challenge"),
    [
        (None, CHALLENGE),
        ("", CHALLENGE),
        (VERIFIER, None),
        (VERIFIER, ""),
        (VERIFIER[:-1], CHALLENGE),
        (VERIFIER + "A", CHALLENGE),
        (VERIFIER[:-1] + "l", CHALLENGE),
        (VERIFIER.upper(), CHALLENGE),
        (VERIFIER + " ", CHALLENGE),
        (VERIFIER[:-1] + "ü", CHALLENGE),
        (CHALLENGE, CHALLENGE),
        ("a" * 129, CHALLENGE),
        (VERIFIER, CHALLENGE + "="),
    ],
)
def test_nothing_else_does(verifier: str | None, challenge: str | None) -> None:
    assert not proves(verifier, challenge)
