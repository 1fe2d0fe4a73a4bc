"""Forms of tokens, and what a presented generation of a refresh token is owed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import sessions
from service.domain.sessions import DeviceToken, EndReason, RefreshToken, TrustToken, Verdict, judge

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GRACE = 10


def _ago(*seconds: float) -> list[datetime]:
    return [NOW - timedelta(seconds=ago) for ago in seconds]


@pytest.mark.parametrize(
    ("presented", "current", "rotated", "verdict"),
    [
        (0, 0, [], Verdict.ROTATE),
        (3, 3, [5.0, 6.0, 7.0], Verdict.ROTATE),
        (7, 3, [5.0, 6.0, 7.0], Verdict.ROTATE),
        (2, 3, [9.9, 60.0, 90.0], Verdict.SAME_SUCCESSOR),
        (2, 3, [10.0, 60.0, 90.0], Verdict.THEFT),
        (1, 3, [1.0, 5.0, 90.0], Verdict.SUPERSEDED),
        (1, 3, [1.0, 10.0, 90.0], Verdict.THEFT),
        (0, 3, [1.0, 5.0, 90.0], Verdict.THEFT),
        (0, 20, [1.0] * 8, Verdict.THEFT),
        (12, 20, [1.0] * 8, Verdict.SUPERSEDED),
    ],
)
def test_a_generation_is_owed_by_its_age(
    presented: int, current: int, rotated: list[float], verdict: Verdict
) -> None:
    assert judge(presented, current, _ago(*rotated), NOW, GRACE) is verdict


def test_without_a_grace_every_older_generation_is_theft() -> None:
    assert judge(0, 1, _ago(0.0), NOW, 0) is Verdict.THEFT


@given(st.uuids(), st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))
def test_a_refresh_token_reads_back_and_has_one_text(family: UUID, generation: int, mac: bytes) -> None:
    token = RefreshToken(family, generation, mac)
    text = str(token)
    assert sessions.parse_refresh(text) == token
    for other in (text + "=", text[:-1], text + "A", text.upper(), " " + text, text.replace("dwr_", "dwp_")):
        assert sessions.parse_refresh(other) is None
    # The last character holds four bits that decode to nothing; only zeroes are the token.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    readings = [sessions.parse_refresh(text[:-1] + char) for char in alphabet]
    assert readings.count(token) == 1


@given(st.uuids(), st.integers(0, 2**31), st.integers(0, 2**63), st.binary(min_size=32, max_size=32))
def test_a_device_token_reads_back(person: UUID, epoch: int, issued_at: int, mac: bytes) -> None:
    token = DeviceToken(person, epoch, issued_at, mac)
    assert sessions.parse_device(str(token)) == token
    assert sessions.parse_refresh(str(token)) is None


@given(st.uuids(), st.binary(min_size=32, max_size=32))
def test_a_trust_token_reads_back(browser: UUID, secret: bytes) -> None:
    token = TrustToken(browser, secret)
    assert sessions.parse_trust(str(token)) == token
    assert sessions.parse_trust(str(token) + "A") is None
    assert sessions.is_browser(str(token)) is False


@given(st.text(max_size=200))
def test_no_text_makes_a_parser_raise(text: str) -> None:
    for prefix in ("", "dwp_", "dwr_", "dwd_", "dwb_"):
        assert sessions.parse_refresh(prefix + text) is None
        assert sessions.parse_trust(prefix + text) is None
        assert sessions.parse_device(prefix + text) is None
        assert sessions.is_pre_auth(prefix + text) is False


def test_a_pre_auth_token_has_256_bits_and_its_prefix() -> None:
    text = sessions.opaque(sessions.PRE_AUTH, bytes(range(32)))
    assert sessions.is_pre_auth(text)
    assert not sessions.is_pre_auth(text[:-2])
    assert not sessions.is_pre_auth("dwr_" + text[4:])


def test_a_family_outlives_neither_of_its_lives() -> None:
    later = NOW + timedelta(seconds=1)
    assert sessions.expired(later, later, NOW) is None
    assert sessions.expired(NOW, later, NOW) is EndReason.IDLE
    assert sessions.expired(later, NOW, NOW) is EndReason.ABSOLUTE
    assert sessions.expired(NOW, NOW, NOW) is EndReason.ABSOLUTE
    assert sessions.expired(NOW, later, NOW + timedelta(days=9)) is EndReason.IDLE, "the first end is the end"


def test_the_scope_of_administration_needs_a_role_and_two_factors() -> None:
    both, one = ("pwd", "otp", "mfa"), ("pwd",)
    granted = sessions.FIRST_PARTY_SCOPE
    assert sessions.narrowed(granted, ["support"], both) == granted
    assert sessions.narrowed(granted, ["admin"], one) == "openid profile email account"
    assert sessions.narrowed(granted, [], both) == "openid profile email account"
    assert sessions.narrowed("openid", ["admin"], both) == "openid", "nothing is added to what was granted"
    assert sessions.acr(both) == "urn:doorward:acr:2fa"
    assert sessions.acr(one) == "urn:doorward:acr:1fa"
