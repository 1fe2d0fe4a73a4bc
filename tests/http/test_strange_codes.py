"""What is no code, and what is one in other digits (security K-03)."""

import time

import pytest

from tests.builders import House
from tests.http.problems import invalid, problem

ABSENT = object()
CODES: list[tuple[object, int]] = [
    ("", 0),
    (ABSENT, 0),
    (None, 0),
    ([], 0),
    (["000000"], 0),
    ({}, 0),
    ({"$ne": ""}, 0),
    (True, 0),
    (False, 0),
    (0, 0),
    (123456, 0),
    (123456.0, 0),
    (-1, 0),
    ("000000", 1),
    ("0", 0),
    ("00000", 0),
    ("0000000", 0),
    ("000000000", 0),
    ("9" * 64, 0),
    ("9" * 65, 0),
    ("9" * 5000, 0),
    ("１２３４５６", 0),
    ("١٢٣٤٥٦", 0),
    ("१२३४५६", 0),
    ("²³¹²³¹", 0),
    (" 000000", 0),
    ("000000\n", 0),
    ("000 000", 0),
    ("000-000", 0),
    ("0x1e24", 0),
    ("+00000", 0),
    ("1e5000", 0),
    ("000000\u200d", 0),
    ("%", 0),
    ("' OR 1=1 --", 0),
    ("K7QM-2XRT-9FHD", 1),
    ("k7qm 2xrt 9fhd", 1),
    ("000000000000", 1),
    ("K7QM-2XRT-9FHU", 0),
    ("K7QM-2XRT-9FHＤ", 0),
]


@pytest.mark.case("K-03")
async def test_no_strange_code_is_accepted_and_only_one_in_code_shape_is_counted(house: House) -> None:
    ada = await house.a_person().with_totp()
    near = {ada.code(steps) for steps in range(-25, 4)}
    for code, counted in CODES:
        token = await ada.pre_auth()
        shown = "ABSENT" if code is ABSENT else repr(code)[:40]
        assert str(code) not in near, "drawn by chance: run again"
        body = {"pre_auth_token": token} | ({} if code is ABSENT else {"code": code})
        answer = await ada.post("/v1/sign-in/second-factor", body)
        if counted:
            assert problem(answer, 401, "invalid_code")["attempts_left"] == 4, shown
        else:
            assert answer.status_code == 400, (shown, answer.text)
            invalid(answer, "/code")
        row = (
            await house.rows(
                "SELECT stranger_failures, stranger_streak, known_failures FROM person WHERE id = $1", ada.id
            )
        )[0]
        assert (len(row["stranger_failures"]), row["known_failures"]) == (counted, []), shown
        tries = await house.value("SELECT max(attempts) FROM pre_auth WHERE consumed_at IS NULL")
        assert tries == counted, shown
        await house.rows("UPDATE person SET stranger_failures = '{}', stranger_streak = 0")
        await house.rows("DELETE FROM pre_auth")
    assert await house.value("SELECT count(*) FROM session") == 0
    # After all of them the right code still works.
    assert (await ada.verify(await ada.pre_auth(), ada.code())).status_code == 200


@pytest.mark.case("K-03")
async def test_a_right_code_in_other_digits_or_spacing_is_no_code(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    code = ada.code()
    for zero in ("０", "٠", "०"):
        invalid(await ada.verify(token, "".join(chr(ord(zero) + int(digit)) for digit in code)), "/code")
    for spaced in (f" {code}", f"{code} ", f"{code[:3]} {code[3:]}", f"{code}\u200b", f"0{code}"):
        invalid(await ada.verify(token, spaced), "/code")
    invalid(await ada.verify(token, int(code) + 1_000_000), "/code")  # type: ignore[arg-type]
    invalid(await ada.verify(token, code, method="backup_code"), "/code")
    invalid(await ada.verify(token, ada.codes[0], method="totp"), "/code")
    assert await house.value("SELECT stranger_failures FROM person WHERE id = $1", ada.id) == []
    assert (await ada.verify(token, code)).status_code == 200


@pytest.mark.case("K-106")
async def test_a_huge_code_costs_nothing_and_is_not_counted(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    for filling in ("1", "K7QM-2XRT-9FHD ", "ﷺ"):
        began = time.perf_counter()
        problem(await ada.verify(token, filling * (1_000_000 // len(filling))), 413, "payload_too_large")
        for length in (64 // len(filling) + 1, 2000 // len(filling)):
            invalid(await ada.verify(token, filling * length), "/code")
        assert time.perf_counter() - began < 2
    assert await house.value("SELECT stranger_failures FROM person WHERE id = $1", ada.id) == []
    assert (await ada.verify(token, ada.code())).status_code == 200
