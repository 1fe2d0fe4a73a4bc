"""What answers tell, to whom, and what they never tell (security K-35 … K-40)."""

import httpx
import pytest

from tests.builders import PASSWORD, House
from tests.http.problems import problem

WRONG = "test-value wrong horse"


async def attempt(
    house: House, email: str, address: str, password: str = WRONG, **headers: str
) -> httpx.Response:
    body = {"email": email, "password": password}
    return await house.client.post("/v1/sign-in", json=body, headers={"x-forwarded-for": address} | headers)


async def everybody(house: House) -> dict[str, str]:
    """An address for each standing that a stranger must not tell apart."""
    blocked = await house.a_person().with_totp()
    await house.rows("UPDATE person SET stranger_streak = 100, known_streak = 100 WHERE id = $1", blocked.id)
    without_password = await house.a_person()
    await house.rows("UPDATE person SET password_hash = NULL WHERE id = $1", without_password.id)
    return {
        "unknown": "nobody@example.com",
        "unknown, long": f"{'n' * 60}@{'long.' * 20}example.com",
        "U0": (await house.a_person()).email,
        "U1": (await house.a_person().with_totp()).email,
        "disabled": (await house.a_person().disabled()).email,
        "disabled and enrolled": (await house.a_person().with_totp().disabled()).email,
        "unverified": (await house.a_person().unverified()).email,
        "administrator": (await house.a_person().with_totp().with_role("admin")).email,
        "must change": (await house.a_person().who_must_change_their_password()).email,
        "blocked": blocked.email,
        "without a password": without_password.email,
    }


@pytest.mark.case("K-35")
@pytest.mark.case("K-40")
async def test_a_wrong_password_is_answered_alike_for_everybody(house: House) -> None:
    answers = {
        who: await attempt(house, email, f"198.51.100.{at}", **{"x-request-id": "the-same-for-all"})
        for at, (who, email) in enumerate((await everybody(house)).items(), 1)
    }
    first = answers["unknown"]
    problem(first, 401, "invalid_credentials")
    assert first.json()["request_id"] == "the-same-for-all"
    for who, answer in answers.items():
        assert answer.content == first.content, who
        assert answer.headers.raw == first.headers.raw, who
    assert "attempts_left" not in first.json()


@pytest.mark.case("K-35")
async def test_a_disabled_persons_right_password_is_answered_as_a_wrong_one(house: House) -> None:
    same = {"x-request-id": "the-same-for-all"}
    ada, bob = await house.a_person().disabled(), await house.a_person().with_totp().disabled()
    wrong = await attempt(house, "nobody@example.com", "198.51.100.1", **same)
    for person in (ada, bob):
        right = await attempt(house, person.email, "198.51.100.1", PASSWORD, **same)
        assert right.content == wrong.content
        assert right.headers.raw == wrong.headers.raw


@pytest.mark.case("K-35")
async def test_answers_of_their_own_request_id_have_one_length(house: House) -> None:
    lengths, ids = set(), set()
    for email in (await everybody(house)).values():
        answer = await attempt(house, email, "198.51.100.1")
        lengths.add((answer.headers["content-length"], len(answer.content)))
        ids.add(problem(answer, 401, "invalid_credentials")["request_id"])
    assert len(lengths) == 1
    assert len(ids) == 11


@pytest.mark.case("K-40")
async def test_whether_there_is_a_second_factor_is_told_after_the_right_password_only(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person().with_totp()
    same = {"x-request-id": "the-same-for-all"}
    wrong = [await attempt(house, person.email, "198.51.100.1", **same) for person in (ada, bob)]
    assert wrong[0].content == wrong[1].content
    assert (await ada.login()).json()["status"] == "complete"
    told = (await bob.login()).json()
    assert set(told) - {"backup_codes", "backup_codes_left"} == {
        "status",
        "pre_auth_token",
        "expires_in",
        "methods",
        "attempts_left",
    }
    assert told["status"] == "second_factor_required"
    assert not told.get("backup_codes")
    assert told.get("backup_codes_left") is None


@pytest.mark.case("K-38")
async def test_the_wait_of_an_address_is_the_same_for_known_and_unknown(house: House) -> None:
    people = await everybody(house)
    del people["unknown, long"]
    waits, served = [], 0
    for turn in range(14):
        answers = {}
        for who, email in people.items():
            served += 1
            address = f"203.0.{served // 250}.{served % 250}"
            answers[who] = await attempt(house, email, address, **{"x-request-id": "the-same-for-all"})
        first = answers["unknown"]
        for who, answer in answers.items():
            assert answer.content == first.content, (turn, who)
            assert answer.headers.raw == first.headers.raw, (turn, who)
        if first.status_code == 429:
            told = problem(first, 429, "rate_limited")
            assert first.headers["retry-after"] == str(told["retry_after"])
            assert first.headers["ratelimit-policy"].startswith('"password.person"')
            assert first.headers["ratelimit"].startswith('"password.person";r=0;t=')
            house.clock.advance(told["retry_after"])
            waits.append(told["retry_after"])
        else:
            problem(first, 401, "invalid_credentials")
            waits.append(0)
    assert waits == [0, 0, 0, 0, 0, 1, 0, 2, 0, 4, 0, 8, 0, 16]


@pytest.mark.case("K-38")
async def test_during_the_wait_a_right_password_is_answered_as_a_wrong_one(house: House) -> None:
    ada = await house.a_person()
    for turn in range(5):
        await attempt(house, ada.email, f"203.0.113.{turn}")
    same = {"x-request-id": "the-same-for-all"}
    wrong = await attempt(house, ada.email, "203.0.113.8", **same)
    right = await attempt(house, ada.email, "203.0.113.9", PASSWORD, **same)
    problem(wrong, 429, "rate_limited")
    assert right.content == wrong.content
    house.clock.advance(1)
    assert (await attempt(house, ada.email, "203.0.113.9", PASSWORD)).status_code == 200


@pytest.mark.case("K-38")
@pytest.mark.parametrize("settings", [{"limits.sign_in_network": 8}], indirect=True)
async def test_the_limit_of_a_network_comes_at_the_same_count_for_known_and_unknown(house: House) -> None:
    known = [(await house.a_person().with_totp()).email, (await house.a_person()).email]
    unknown = ["nobody1@example.com", "nobody2@example.com"]
    seen = []
    for address, emails in (("198.51.100.1", known), ("198.51.100.2", unknown)):
        answers = [await attempt(house, emails[turn % 2], address) for turn in range(10)]
        for answer in answers[8:]:
            assert 0 < problem(answer, 429, "rate_limited")["retry_after"] <= 300
            assert answer.headers["ratelimit-policy"] == '"sign_in.network";q=8;w=300'
        seen.append(
            [(answer.status_code, answer.json()["code"], sorted(answer.headers)) for answer in answers]
        )
    assert seen[0] == seen[1]
    assert [status for status, _, _ in seen[0]] == [401] * 8 + [429] * 2
