"""What a person still owes, and which factor a text could be."""

from itertools import product
from typing import Any
from uuid import UUID

import pytest

from service.domain.sign_in import Standing, Step, kind_of, next_step, with_factor

NOBODY = UUID(int=0)


def _standing(**facts: Any) -> Standing:
    known: dict[str, Any] = {
        "enrolled": False,
        "email_verified": True,
        "must_change_password": False,
        "amr": ("pwd",),
    }
    return Standing(NOBODY, NOBODY, "a@b.example", "", (), 0, **(known | facts))


def test_whoever_owes_everything_owes_it_in_this_order() -> None:
    owing = {"email_verified": False, "must_change_password": True}
    assert next_step(_standing(enrolled=True, **owing), "all") is Step.SECOND_FACTOR
    proved = {"enrolled": True, "amr": with_factor("totp")}
    assert next_step(_standing(**proved, **owing), "all") is Step.EMAIL_VERIFICATION
    assert next_step(_standing(**proved, must_change_password=True), "all") is Step.PASSWORD_CHANGE
    assert next_step(_standing(**proved), "all") is Step.COMPLETE
    assert next_step(_standing(must_change_password=True), "all") is Step.PASSWORD_CHANGE
    assert next_step(_standing(), "all") is Step.ENROLMENT
    assert next_step(_standing(), "off") is Step.COMPLETE


def test_no_enrolled_person_gets_past_the_second_factor_with_a_password() -> None:
    for verified, must, required in product((True, False), (True, False), ("off", "all")):
        standing = _standing(enrolled=True, email_verified=verified, must_change_password=must)
        assert next_step(standing, required) is Step.SECOND_FACTOR  # type: ignore[arg-type]


@pytest.mark.case("U-45")
def test_a_trusted_browser_stands_in_for_the_second_factor_where_nothing_else_is_owed() -> None:
    for verified, must, required in product((True, False), (True, False), ("off", "all")):
        facts = {"email_verified": verified, "must_change_password": must, "trusted": NOBODY}
        enrolled = next_step(_standing(enrolled=True, **facts), required)  # type: ignore[arg-type]
        alone = verified and not must
        assert enrolled is (Step.COMPLETE if alone else Step.SECOND_FACTOR)
        stranger = _standing(**facts | {"trusted": None})
        assert next_step(_standing(**facts), required) is next_step(stranger, required)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "method", "kind"),
    [
        ("123456", None, "totp"),
        ("12345678", None, "totp"),
        ("123456", "totp", "totp"),
        ("123456", "backup_code", None),
        ("K7QM-2XRT-9FHD", None, "backup_code"),
        ("k7qm2xrt9fhd", "backup_code", "backup_code"),
        ("K7QM-2XRT-9FHD", "totp", None),
        ("123456789012", None, "backup_code"),
        ("", None, None),
        ("12345", None, None),
        ("1234567", None, None),
        ("١٢٣٤٥٦", None, None),
        ("１２３４５６", None, None),
        ("12345\n", None, None),
        ("123456\n", None, None),
    ],
)
def test_a_text_is_a_code_by_its_shape_alone(code: str, method: Any, kind: str | None) -> None:
    assert kind_of(code, method) == kind


def test_a_backup_code_is_told_apart_in_the_amr() -> None:
    assert with_factor("totp") == ("pwd", "otp", "mfa")
    assert with_factor("backup_code") == ("pwd", "backup_code", "mfa")
