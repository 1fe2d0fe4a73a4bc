"""Passwords that only look alike, and passwords without end (security K-100, K-101)."""

import unicodedata

import httpx
import pytest

from service.flows import accounts as account_flow
from tests.builders import PASSWORD, House, Person
from tests.http.problems import invalid, problem


async def with_password(house: House, password: str, address: str) -> Person:
    email = f"{address}@example.com"
    made = await account_flow.create(house.world, email, password)
    return Person(house.world, house.client, email, made, password=password)


async def opens(person: Person, password: str) -> bool:
    answer = await person.post("/v1/sign-in", {"email": person.email, "password": password})
    if answer.status_code != 200:
        problem(answer, 401, "invalid_credentials")
    return answer.status_code == 200


@pytest.mark.case("K-100")
async def test_long_passwords_that_differ_at_their_end_differ(house: House) -> None:
    for number, length in enumerate((73, 128)):
        stem = ("correct horse battery staple " * 5)[: length - 1]
        ada = await with_password(house, stem + "1", f"long{number}")
        assert not await opens(ada, stem + "2")
        assert not await opens(ada, stem)
        assert not await opens(ada, stem[:72])
        assert await opens(ada, stem + "1")
    many_bytes = "🐎" * 127
    bob = await with_password(house, many_bytes + "a", "bytes")
    assert not await opens(bob, many_bytes + "b")
    assert await opens(bob, many_bytes + "a")


@pytest.mark.case("K-100")
async def test_a_password_over_128_characters_is_refused_and_never_cut(house: House) -> None:
    longest = ("correct horse battery staple " * 5)[:128]
    ada = await with_password(house, longest, "longest")
    for more in ("x", " ", "x" * 300, "x" * 10_000):
        answer = await ada.post("/v1/sign-in", {"email": ada.email, "password": longest + more})
        invalid(answer, "/password")
    assert await opens(ada, longest)
    # One code point may become many in the normal form: it is that which is measured.
    answer = await ada.post("/v1/sign-in", {"email": ada.email, "password": "ﷺ" * 20})
    invalid(answer, "/password")

    bob = await house.a_person().who_must_change_their_password()
    token = await bob.pre_auth()

    async def change(to: str) -> httpx.Response:
        return await bob.post("/v1/sign-in/password", {"pre_auth_token": token, "new_password": to})

    for wrong in (longest + "x", longest + "x" * 500, "short", "", "ﷺ" * 20):
        invalid(await change(wrong), "/new_password")
    assert await opens(bob, PASSWORD)
    assert (await change(longest)).status_code == 200
    assert await opens(bob, longest)
    assert not await opens(bob, PASSWORD)


@pytest.mark.case("K-101")
async def test_the_forms_of_one_password_are_one_password(house: House) -> None:
    text = "Åse's ﬁne café Ω ½ 한글"
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")} | {text}
    assert len(forms) >= 4
    for number, kept in enumerate(sorted(forms)):
        ada = await with_password(house, kept, f"form{number}")
        for sent in sorted(forms):
            assert await opens(ada, sent), (kept, sent)
    # The same rule where a password is changed.
    bob = await house.a_person().who_must_change_their_password()
    body = {"pre_auth_token": await bob.pre_auth(), "new_password": unicodedata.normalize("NFD", text)}
    assert (await bob.post("/v1/sign-in/password", body)).status_code == 200
    bearer = (await bob.post("/v1/sign-in", {"email": bob.email, "password": text})).json()["access_token"]
    sent = unicodedata.normalize("NFKC", text)
    assert (await bob.post("/v1/reauthentication", {"password": sent}, bearer=bearer)).status_code == 200


@pytest.mark.case("K-101")
async def test_joiners_spaces_and_case_are_significant(house: House) -> None:
    kept = " Family \N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN} of two "
    ada = await with_password(house, kept, "joiner")
    for sent in (kept.strip(), kept[1:], kept[:-1], kept.replace("\u200d", ""), kept.lower(), kept.upper()):
        house.clock.advance(60)
        assert not await opens(ada, sent), sent
    house.clock.advance(60)
    assert await opens(ada, kept)
