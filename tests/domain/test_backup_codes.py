import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.domain import backup_codes
from service.domain.backup_codes import ALPHABET, COUNT, LENGTH, RAW_BYTES, DuplicateCodes

SHOWN = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}", re.ASCII)

raws = st.binary(min_size=RAW_BYTES, max_size=RAW_BYTES)
codes = st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH)


def a_raw(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers)


# Making a set


def test_the_alphabet_is_crockfords() -> None:
    assert len(set(ALPHABET)) == 32
    assert not set("ILOU") & set(ALPHABET)


@settings(deadline=None)
@given(raws)
def test_a_set_is_five_different_codes_in_groups_of_four(raw: bytes) -> None:
    try:
        made = backup_codes.from_bytes(raw)
    except DuplicateCodes:
        assume(False)
    assert len(made) == len(set(made)) == COUNT == 5
    assert all(SHOWN.fullmatch(code) for code in made)


@settings(deadline=None)
@given(raws)
def test_all_sixty_bits_of_each_code_count(raw: bytes) -> None:
    try:
        made = backup_codes.from_bytes(raw)
    except DuplicateCodes:
        assume(False)
    for at, code in enumerate(made):
        number = sum(ALPHABET.index(char) << 5 * place for place, char in enumerate(code.replace("-", "")))
        assert number == int.from_bytes(raw[8 * at : 8 * at + 8], "big") % 2**60


@pytest.mark.parametrize("size", [0, 8, RAW_BYTES - 1, RAW_BYTES + 1])
def test_another_number_of_bytes_makes_no_set(size: int) -> None:
    with pytest.raises(ValueError, match="40 bytes"):
        backup_codes.from_bytes(bytes(size))


def test_a_set_with_a_code_twice_is_refused() -> None:
    with pytest.raises(DuplicateCodes):
        backup_codes.from_bytes(a_raw(1, 2, 3, 4, 1))
    with pytest.raises(DuplicateCodes):
        # These differ only in the four bits that no code shows.
        backup_codes.from_bytes(a_raw(1, 2, 3, 4, 1 | 1 << 60))
    assert len(backup_codes.from_bytes(a_raw(1, 2, 3, 4, 5))) == COUNT


# Reading one


def test_a_code_is_read_as_it_is_shown() -> None:
    assert backup_codes.canonical("K7QM-2XRT-9FHD") == "K7QM2XRT9FHD"


def test_letters_that_look_like_digits_are_read_as_digits() -> None:
    assert backup_codes.canonical("oOiI-lL00-1111") == "001111001111"


@settings(deadline=None)
@given(raws)
def test_every_code_of_a_set_is_read(raw: bytes) -> None:
    try:
        made = backup_codes.from_bytes(raw)
    except DuplicateCodes:
        assume(False)
    assert [backup_codes.canonical(code) for code in made] == [code.replace("-", "") for code in made]


@settings(deadline=None)
@given(codes, st.data())
def test_any_case_and_spacing_is_the_same_code(code: str, data: st.DataObject) -> None:
    gaps = data.draw(
        st.lists(st.text(" \t-\u00a0\u2010\u2011\u2012\u2013\u2014", max_size=4), min_size=12, max_size=12)
    )
    lowered = data.draw(st.lists(st.booleans(), min_size=12, max_size=12))
    lookalikes = {"0": "Oo0", "1": "IiLl1"}
    typed = ""
    for char, gap, low in zip(code, gaps, lowered, strict=True):
        typed += gap + data.draw(st.sampled_from(lookalikes.get(char, char.lower() if low else char)))
    assert len(typed) <= 64
    assert backup_codes.canonical(typed) == code


@settings(deadline=None)
@given(st.text(max_size=80) | st.text(ALPHABET + "oilu -", max_size=70))
def test_any_text_has_one_canonical_form_or_none(text: str) -> None:
    found = backup_codes.canonical(text)
    if found is not None:
        assert len(found) == LENGTH
        assert set(found) <= set(ALPHABET)
        assert backup_codes.canonical(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "K7QM2XRT9FH",
        "K7QM2XRT9FHDD",
        "U7QM2XRT9FHD",
        "K7QM_2XRT_9FHD",
        "K7QM2XRT9FHD\n",
        "123456",
        "\uff2b7QM2XRT9FHD",
        "\u212a7QM2XRT9FHD",
        "K7QM2XRT9FH\u0664",
        "K7QM2XRT9FH\0",
        "\ud8007QM2XRT9FHD",
        "\u017f7QM2XRT9FHD",
        "\u04207QM2XRT9FHD",
    ],
    ids=ascii,
)
def test_what_has_not_the_shape_is_no_code(text: str) -> None:
    assert backup_codes.canonical(text) is None


@pytest.mark.case("K-106")
def test_a_long_text_is_refused_before_any_work() -> None:
    assert backup_codes.canonical("K7QM2XRT9FHD" + " " * 52) == "K7QM2XRT9FHD"
    assert backup_codes.canonical("K7QM2XRT9FHD" + " " * 53) is None


# Running low


def test_a_person_is_warned_at_two_one_and_no_codes_left() -> None:
    assert [backup_codes.left_warning(left) for left in (5, 4, 3, 2, 1, 0)] == [False] * 3 + [True] * 3
