"""Every text in every language, and which language a browser is answered in."""

import re
from collections import Counter
from collections.abc import Sequence

import pytest

from service.http.language import LANGUAGES, PSEUDO, chosen, language
from tests import messages
from tests.builders import House

OTHERS = [tag for tag in LANGUAGES if tag != "en"]
#: What a translation has as well: placeholders and tags.
_FIXED = re.compile(r"%\(\w+\)s|<[^>]+>")


def _fixed(text: str) -> Counter[str]:
    return Counter(_FIXED.findall(text))


@pytest.mark.parametrize("tag", OTHERS)
def test_a_language_has_every_text_and_nothing_else(tag: str) -> None:
    said, kept = messages.said(), messages.kept(tag)
    assert {message.id for message in kept if message.id} == {message.id for message in said if message.id}, (
        "run make messages"
    )
    assert not kept.obsolete
    assert not [message.id for message in kept if message.id and message.fuzzy]
    missing = [message.id for message in kept if message.id and not all(_strings(message.string))]
    assert missing == []


@pytest.mark.parametrize("tag", OTHERS)
def test_a_translation_keeps_placeholders_tags_and_the_ends_of_a_text(tag: str) -> None:
    for message in messages.kept(tag):
        if not message.id:
            continue
        allowed = [_fixed(one) for one in _strings(message.id)]
        for string in _strings(message.string):
            assert _fixed(string) in allowed, (message.id, string)
            assert string == string.strip(), string
            assert "%" not in re.sub(r"%\(\w+\)s|%%", "", string), string


@pytest.mark.parametrize(
    ("ui_locales", "kept", "accepted", "told"),
    [
        ("", "", "", "en"),
        ("", "", "de", "de"),
        ("", "", "de-AT,de;q=0.9", "de"),
        ("", "", "zh-Hans-CN", "zh"),
        ("", "", "fr, ru;q=0.3, de;q=0.8", "de"),
        ("", "", "de;q=0, ru;q=0.1", "ru"),
        ("", "", "*", "en"),
        ("", "", "fr", "en"),
        ("", "ru", "de", "ru"),
        ("", "nonsense", "de", "de"),
        ("ru", "de", "zh", "ru"),
        ("fr ru de", "", "zh", "ru"),
        ("fr", "de", "zh", "de"),
        ("RU", "", "", "ru"),
        ("", "", "de;q=5, ;;, \x00, ru", "ru"),
        ("../../etc/passwd", "../de", "../../de", "en"),
        ("en-XA", "", "", "en"),
    ],
)
@pytest.mark.case("U-11")
def test_the_language_is_what_was_asked_then_what_was_kept_then_what_is_accepted(
    ui_locales: str, kept: str, accepted: str, told: str
) -> None:
    assert chosen(ui_locales, kept, accepted, pseudo=False)[0] == told


def test_the_languages_of_nobody_are_there_for_tests_alone() -> None:
    for tag in PSEUDO:
        assert chosen(tag, "", "", pseudo=True) == (tag, True)
    strange = language("en-XA").texts
    assert strange.gettext("Signed in as <bdi>%(email)s</bdi>").count("%(email)s") == 1
    assert "<bdi>" in strange.gettext("Signed in as <bdi>%(email)s</bdi>")
    assert strange.gettext("Sign in") == "⟦Šígñ íñ··⟧"


@pytest.mark.case("U-11")
async def test_a_choice_lasts_and_no_other_value_of_the_cookie_counts(house: House) -> None:
    first = await house.client.get("/sign-in", headers={"accept-language": "de"})
    assert '<html lang="de" dir="ltr">' in first.text
    assert "doorward-dev-language" not in first.headers.get("set-cookie", "")
    second = await house.client.get("/sign-in?ui_locales=ru", headers={"accept-language": "de"})
    assert '<html lang="ru" dir="ltr">' in second.text
    assert "doorward-dev-language" in second.headers["set-cookie"]
    third = await house.client.get("/sign-in", headers={"accept-language": "de"})
    assert '<html lang="ru" dir="ltr">' in third.text
    house.client.cookies.clear()
    forged = await house.client.get("/sign-in", headers={"cookie": "doorward-dev-language=%2e%2e/x"})
    assert '<html lang="en" dir="ltr">' in forged.text


def _strings(string: str | Sequence[str] | None) -> list[str]:
    return [string] if isinstance(string, str) else list(string or [""])
