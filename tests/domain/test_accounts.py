import time
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import accounts
from service.domain.accounts import (
    MAX_PASSWORD,
    MIN_PASSWORD,
    PasswordFault,
    canonical_email,
    normal_password,
    password_fault,
)

#: Any code point, NUL and lone surrogates too.
anything = st.text(st.characters(exclude_categories=[]))
ERIKA = "erika.mustermann@example.com"

# E-mail addresses


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Erika.Mustermann@Example.COM", ERIKA),
        (" \t\r\n\v\ferika.mustermann@example.com \n", ERIKA),
        ("o'brien+tag_1@a-b.example", "o'brien+tag_1@a-b.example"),
        ("ROOT@LOCALHOST", "root@localhost"),
        ("a@127.0.0.1", "a@127.0.0.1"),
        ("ju\u0308rgen@example.com", "j\u00fcrgen@example.com"),
        ("erika@B\u00dcCHER.example", "erika@xn--bcher-kva.example"),
        ("erika@bu\u0308cher.example", "erika@xn--bcher-kva.example"),
        ("erika@XN--BCHER-KVA.example", "erika@xn--bcher-kva.example"),
        ("\u7530\u4e2d@\u4f8b\u3048.\u30c6\u30b9\u30c8", "\u7530\u4e2d@xn--r8jz45g.xn--zckzah"),
    ],
    ids=ascii,
)
def test_an_address_has_one_form(text: str, canonical: str) -> None:
    assert canonical_email(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "a",
        "a@",
        "@b.de",
        "a@b",
        "a@@b.de",
        "a@b@c.de",
        "a b@c.de",
        "a@b c.de",
        "a\t@b.de",
        "a@b.de\0",
        ".a@b.de",
        "a.@b.de",
        "a..b@c.de",
        '"a"@b.de',
        '"a b"@c.de',
        "a,b@c.de",
        "a;b@c.de",
        "<a@b.de>",
        "a\\@b.de",
        "a(b)@c.de",
        "a:b@c.de",
        "a@[127.0.0.1]",
        "a@b_c.de",
        "a@-b.de",
        "a@b-.de",
        "a@.de",
        "a@b..de",
        "a@b.de.",
        "a@localhost.",
        "a@" + "b" * 64 + ".de",
        "a\r\nBcc: x@b.de",
        "a\x7f@b.de",
        "a\x01@b.de",
        "\ud800@b.de",
        "a@\ud800.de",
        "a\u00a0@b.de",
        "a\u200b@b.de",
        "a\u202e@b.de",
        "\u0301a@b.de",
        "a@b\uff20c.de",
        "a\uff20b.de",
        "a@b\u2100c.de",
        "a@xn--\u00fc.de",
        "a@\u200b",
        "a@" + "\u00fc" * 64 + ".de",
    ],
    ids=ascii,
)
def test_what_is_not_an_address_has_no_form(text: str) -> None:
    assert canonical_email(text) is None


def test_two_mailboxes_do_not_become_one() -> None:
    """The compatibility forms and the case rules of other scripts would hand over a stranger's account."""
    ours = canonical_email("mike@example.com")
    for other in ("m\u0131ke", "m\u0456ke", "\uff4dike", "m\u2170ke", "M\u0130KE", "\u217fike"):
        assert canonical_email(f"{other}@example.com") != ours
    assert canonical_email("stra\u00dfe@example.com") != canonical_email("strasse@example.com")
    assert canonical_email("\u03a3@example.com") != canonical_email("\u03c3@example.com")


def test_lengths_are_bounded_in_octets() -> None:
    def domain(octets: int) -> str:
        return f"{'b' * 63}.{'b' * 63}.{'b' * (octets - 131)}.de"

    longest = f"{'a' * 64}@{domain(189)}"
    assert len(longest) == 254
    assert canonical_email(longest) == longest
    assert canonical_email(f"{'a' * 64}@{domain(190)}") is None
    assert canonical_email("a" * 65 + "@b.de") is None
    assert canonical_email("\u00fc" * 32 + "@b.de") == "\u00fc" * 32 + "@b.de"
    assert canonical_email("\u00fc" * 33 + "@b.de") is None
    # These are short as they are typed, and long as they are sent.
    assert canonical_email("\u00fc" * 32 + "@" + domain(190)) is None
    assert canonical_email("a@" + ".".join(["\u00fc" * 40] * 6)) is None


@settings(deadline=None, max_examples=500)
@given(
    anything
    | st.emails()
    | st.builds("{}@{}".format, anything, anything)
    | st.builds("{}@{}.de".format, anything, st.text(min_size=1, max_size=8))
)
def test_any_text_has_one_canonical_address_or_none(text: str) -> None:
    found = canonical_email(text)
    if found is not None:
        assert canonical_email(found) == found
        assert canonical_email(f" {found}\n") == found
        assert len(found.encode()) <= 254
        assert found.count("@") == 1
        assert found.isprintable()
        assert " " not in found
        assert found.partition("@")[2].isascii()
        assert unicodedata.is_normalized("NFC", found)


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9]{1,20}([.+_-][a-z0-9]{1,10}){0,2}@[a-z0-9]{1,20}\.[a-z]{2,6}", fullmatch=True))
def test_the_case_of_an_address_does_not_matter(address: str) -> None:
    assert canonical_email(address) == canonical_email(address.upper()) == address


@pytest.mark.case("K-104")
@pytest.mark.parametrize(
    "evil",
    [
        "a" * 65_536,
        "@" * 65_536,
        "a@" + "b." * 32_768,
        "a@" + "-" * 65_536,
        "." * 65_536 + "@b.de",
        " " * 65_536,
        "a@" + "a-" * 126,
        "a@" + "\u00fc" * 250,
        "a@" + "\u1e9b\u0323" * 120,
        "a" + "\u0300" * 240 + "@b.de",
        "a@" + ("\u00fc" * 50 + ".") * 5_000 + "de",
        "a" + "\u0300\u0316" * 100_000 + "@b.de",
    ],
    ids=lambda text: ascii(text[:4]),
)
def test_an_evil_text_costs_little(evil: str) -> None:
    # The best of three, so that a busy machine does not count.
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        canonical_email(evil)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05


# Passwords


@pytest.mark.case("K-101")
def test_a_password_has_one_form_however_it_is_composed() -> None:
    forms = [
        "Grüße aus Köln ﬁnal",
        "Gru\u0308ße aus Ko\u0308ln ﬁnal",
        "Grüße aus Köln final",
        "Grüße\u00a0aus Köln final",
    ]
    assert {normal_password(form) for form in forms} == {"Grüße aus Köln final"}


def test_case_spaces_and_joiners_of_a_password_stay() -> None:
    for text in (" two  spaces ", "CaSe", "a\u200db", "tab\tbed"):
        assert normal_password(text) == text


def test_a_password_is_counted_in_code_points_of_its_normal_form() -> None:
    assert normal_password("e\u0301" * 8, MIN_PASSWORD) == "\u00e9" * 8
    assert normal_password("e\u0301" * 7, MIN_PASSWORD) is PasswordFault.TOO_SHORT
    assert normal_password("\U0001f6aa" * 8, MIN_PASSWORD) == "\U0001f6aa" * 8
    assert normal_password("\ufdfa" * 7) == unicodedata.normalize("NFKC", "\ufdfa" * 7)
    assert normal_password("\ufdfa" * 8) is PasswordFault.TOO_LONG


@pytest.mark.case("K-100")
def test_a_long_password_is_refused_and_never_cut() -> None:
    assert normal_password("x" * MAX_PASSWORD) == "x" * MAX_PASSWORD
    assert normal_password("x" * (MAX_PASSWORD + 1)) is PasswordFault.TOO_LONG
    assert normal_password("x" * 72 + "y") != normal_password("x" * 72 + "z")
    assert normal_password("e\u0301" * MAX_PASSWORD) == "\u00e9" * MAX_PASSWORD


@pytest.mark.case("K-106")
def test_a_huge_password_is_refused_before_it_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(form: str, text: str) -> str:
        raise AssertionError("normalised")

    monkeypatch.setattr(accounts, "unicodedata", SimpleNamespace(normalize=never))
    assert normal_password("a" * 513) is PasswordFault.TOO_LONG
    with pytest.raises(AssertionError, match="normalised"):
        normal_password("a" * 512)


@pytest.mark.case("K-98")
@pytest.mark.parametrize("text", ["nul\0nul-nul", "\ud800lone-surrogate", "\udfff" * 9], ids=ascii)
def test_what_is_no_text_is_no_password(text: str) -> None:
    assert normal_password(text) is PasswordFault.NOT_TEXT
    assert password_fault(text, ERIKA) is PasswordFault.NOT_TEXT


def test_a_sign_in_asks_no_minimum() -> None:
    assert normal_password("short") == "short"
    assert normal_password("") == ""
    assert password_fault("short", ERIKA) is PasswordFault.TOO_SHORT
    assert password_fault("twelve chars", ERIKA, minimum=15) is PasswordFault.TOO_SHORT


@settings(deadline=None, max_examples=500)
@given(anything, anything, st.integers(0, 64))
def test_any_text_is_a_password_or_has_its_fault(text: str, email: str, minimum: int) -> None:
    normal = normal_password(text, minimum)
    fault = password_fault(text, email, minimum)
    if isinstance(normal, PasswordFault):
        assert fault is normal
        return
    assert fault in (None, PasswordFault.CONTEXTUAL)
    assert normal_password(normal, minimum) == normal
    assert minimum <= len(normal) <= MAX_PASSWORD
    assert normal.encode().decode() == normal


@pytest.mark.parametrize(
    "text",
    [
        ERIKA,
        ERIKA.upper(),
        "erika.mustermann",
        "xX-Erika.Mustermann-Xx",
        "ｅｒｉｋａ.mustermann1",
        "doorward",
        "DoorWard",
    ],
    ids=ascii,
)
def test_a_password_made_of_the_persons_or_the_services_name_is_refused(text: str) -> None:
    assert password_fault(text, ERIKA) is PasswordFault.CONTEXTUAL


def test_a_name_is_found_in_a_password_in_its_normal_form() -> None:
    assert password_fault("at-M\u00b2-haus-99", "m\u00b2-haus@example.com") is PasswordFault.CONTEXTUAL


def test_other_passwords_are_taken() -> None:
    assert password_fault("correct horse battery staple", ERIKA) is None
    # Only the whole password is compared with the names of the service (NIST SP 800-63B-4 §3.1.1.2).
    assert password_fault("what a doorward is", ERIKA) is None
    assert password_fault("example.com", ERIKA) is None


def test_a_short_local_part_does_not_spoil_passwords_by_chance() -> None:
    assert password_fault("bobsleigh-2026", "bob@example.com") is None
    assert password_fault("bob@example.com", "bob@example.com") is PasswordFault.CONTEXTUAL
    assert password_fault("anna-banana-2026", "anna@example.com") is PasswordFault.CONTEXTUAL


def test_the_services_own_names_can_be_told() -> None:
    assert password_fault("Acme House", ERIKA, words=("doorward", "acme house")) is PasswordFault.CONTEXTUAL


def test_the_faults_have_the_names_of_the_api() -> None:
    assert sorted(PasswordFault) == ["contextual", "not_text", "too_long", "too_short"]
