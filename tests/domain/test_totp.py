import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import pyotp
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.domain import totp
from service.domain.totp import Accepted, Behind, Parameters, Replayed, Verdict, Wrong

VECTORS = Path(__file__).parent.parent / "vectors"
SECRET = b"12345678901234567890"
PRESENT = 59_000_000

secrets = st.binary(min_size=1, max_size=64)
steps = st.integers(0, 2**40)
algorithms = st.sampled_from(["SHA1", "SHA256", "SHA512"])


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def moment(step: int, period: int = 30) -> datetime:
    """The first instant of a step."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=step * period)


def judged(offset: int, last: int | None = None, *, window: int = 1, secret: bytes = SECRET) -> Verdict:
    """What the code of the step `offset` from the present one is worth, when `last` (an offset) was spent."""
    code = totp.code_at(secret, PRESENT + offset)
    burnt = None if last is None else PRESENT + last
    return totp.match(secret, code, moment(PRESENT), burnt, window=window)


# The standards' own examples


@pytest.mark.parametrize("row", vectors("rfc4226.json")["rows"], ids=lambda row: str(row["counter"]))
def test_the_codes_of_rfc_4226_come_out(row: dict[str, Any]) -> None:
    assert hmac.digest(SECRET, row["counter"].to_bytes(8, "big"), "sha1").hex() == row["hmac"]
    assert totp.code_at(SECRET, row["counter"]) == row["code"]


@pytest.mark.parametrize(
    "row", vectors("rfc6238.json")["rows"], ids=lambda row: f"{row['algorithm']}-{row['time']}"
)
def test_the_codes_of_rfc_6238_come_out(row: dict[str, Any]) -> None:
    secret = vectors("rfc6238.json")["secrets"][row["algorithm"]].encode()
    now = datetime.fromtimestamp(row["time"], UTC)
    parameters = Parameters(digits=8, algorithm=row["algorithm"])
    assert totp.step_at(now) == row["step"]
    assert totp.code_at(secret, row["step"], parameters) == row["code"]
    assert totp.match(secret, row["code"], now, None, parameters) == Accepted(row["step"])


@settings(deadline=None)
@given(st.binary(min_size=14, max_size=64), steps, st.sampled_from([6, 7, 8]), algorithms)
def test_our_codes_are_those_of_pyotp(secret: bytes, step: int, digits: int, algorithm: str) -> None:
    theirs = pyotp.HOTP(
        base64.b32encode(secret).decode().rstrip("="),
        digits=digits,
        digest=getattr(hashlib, algorithm.lower()),
    )
    assert totp.code_at(secret, step, Parameters(digits=digits, algorithm=algorithm)) == theirs.at(step)


def test_an_imported_seed_of_80_bits_has_codes() -> None:
    secret = base64.b32decode("JBSWY3DPEHPK3PXP")
    with pytest.raises(ValueError, match="112 bits"):
        pyotp.TOTP("JBSWY3DPEHPK3PXP")
    assert totp.match(secret, totp.code_at(secret, PRESENT), moment(PRESENT), None) == Accepted(PRESENT)


# What is a code, and what is a step


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12345",
        "1234567",
        " 123456",
        "123456\n",
        "12 345",
        "-12345",
        "+12345",
        "1e5000",
        "12345a",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "12345\u00b2",
        "12345\0",
        "\ud800" * 6,
        "1" * 1_000_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_what_is_not_six_ascii_digits_is_not_a_code(text: str) -> None:
    assert not totp.is_code(text)


def test_a_code_has_as_many_digits_as_its_authenticator() -> None:
    assert totp.is_code("000000")
    assert totp.is_code("12345678", 8)
    assert not totp.is_code("123456", 8)
    assert not totp.is_code("12345678")


def test_a_step_lasts_from_its_first_instant_to_its_last_microsecond() -> None:
    tick = timedelta(microseconds=1)
    assert totp.step_at(moment(PRESENT) - tick) == PRESENT - 1
    assert totp.step_at(moment(PRESENT)) == PRESENT
    assert totp.step_at(moment(PRESENT + 1) - tick) == PRESENT
    assert totp.step_at(moment(PRESENT, 60), 60) == PRESENT


def test_a_step_does_not_depend_on_the_time_zone() -> None:
    assert totp.step_at(moment(PRESENT).astimezone(timezone(timedelta(hours=5, minutes=45)))) == PRESENT


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(TypeError):
        totp.step_at(datetime(2026, 1, 1))


# The window


@pytest.mark.case("K-14")
@settings(deadline=None)
@given(st.binary(min_size=10, max_size=64), st.integers(-3, 3), st.integers(0, 2))
def test_only_the_steps_of_the_window_are_accepted(secret: bytes, offset: int, window: int) -> None:
    near = [totp.code_at(secret, PRESENT + step) for step in range(-20, 4)]
    assume(len(set(near)) == len(near))
    expected: Verdict
    if abs(offset) <= window:
        expected = Accepted(PRESENT + offset)
    else:
        expected = Behind(-offset * 30) if offset < 0 else Wrong()
    assert judged(offset, window=window, secret=secret) == expected


@settings(deadline=None)
@given(st.integers(10, 120), st.floats(0, 0.999), st.integers(-1, 1))
def test_the_window_is_the_same_in_every_second_of_a_step(period: int, part: float, offset: int) -> None:
    parameters = Parameters(period=period)
    now = moment(PRESENT, period) + timedelta(seconds=part * period)
    code = totp.code_at(SECRET, PRESENT + offset, parameters)
    assert totp.match(SECRET, code, now, None, parameters) == Accepted(PRESENT + offset)


def test_the_epoch_has_no_steps_before_it() -> None:
    assert totp.match(SECRET, totp.code_at(SECRET, 0), moment(0), None) == Accepted(0)
    assert totp.match(SECRET, "000000", moment(0), None) == Wrong()


def test_a_window_wider_than_the_reach_is_searched_whole() -> None:
    assert judged(-25, window=30) == Accepted(PRESENT - 25)


# Once only


@pytest.mark.case("K-10")
@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_a_spent_step_is_told_apart_and_refused(offset: int) -> None:
    assert judged(offset, last=offset) == Replayed(PRESENT + offset)


def test_an_older_step_than_the_spent_one_is_just_wrong() -> None:
    assert judged(-1, last=0) == Wrong()
    assert judged(0, last=1) == Wrong()
    assert judged(-5, last=-4) == Wrong()


def test_the_next_step_opens_after_a_spent_one() -> None:
    assert judged(0, last=-1) == Accepted(PRESENT)
    assert judged(1, last=0) == Accepted(PRESENT + 1)


def test_a_spent_step_is_still_told_apart_when_it_has_left_the_window() -> None:
    assert judged(-20, last=-20) == Replayed(PRESENT - 20)
    assert judged(-21, last=-21) == Wrong()


def test_a_clock_that_jumps_back_opens_nothing() -> None:
    assert all(judged(offset, last=40) == Wrong() for offset in range(-20, 2))


@settings(deadline=None)
@given(
    secrets,
    st.lists(st.tuples(st.integers(-60, 60), st.integers(-25, 3), st.booleans()), max_size=40),
    st.integers(0, 2),
)
def test_accepted_steps_strictly_increase_whatever_is_tried_and_whenever(
    secret: bytes, tries: list[tuple[int, int, bool]], window: int
) -> None:
    """The clock moves either way between tries; one digit stands for all of six, so that texts collide."""
    for digits in (6, 1):
        parameters, last, accepted = Parameters(digits=digits), None, []
        for drift, offset, right in tries:
            now = moment(PRESENT + drift)
            code = totp.code_at(secret, PRESENT + drift + offset, parameters) if right else "0" * digits
            verdict = totp.match(secret, code, now, last, parameters, window)
            if isinstance(verdict, Accepted):
                assert abs(verdict.step - PRESENT - drift) <= window
                assert totp.code_at(secret, verdict.step, parameters) == code
                last = verdict.step
                accepted.append(last)
        assert accepted == sorted(set(accepted))


@settings(deadline=None)
@given(secrets, st.integers(0, 9), st.none() | st.integers(-25, 3), st.integers(0, 2))
def test_verdicts_hold_to_their_definitions_where_texts_collide(
    secret: bytes, digit: int, last: int | None, window: int
) -> None:
    parameters = Parameters(digits=1)
    burnt = None if last is None else PRESENT + last
    verdict = totp.match(secret, str(digit), moment(PRESENT), burnt, parameters, window)

    hits = [
        step
        for step in range(PRESENT - totp.SKEW_REACH, PRESENT + window + 1)
        if totp.code_at(secret, step, parameters) == str(digit)
    ]
    fresh = [step for step in hits if burnt is None or step > burnt]
    opened = [step for step in fresh if step >= PRESENT - window]
    expected: Verdict = Wrong()
    if opened:
        expected = Accepted(min(opened))
    elif burnt in hits:
        expected = Replayed(burnt)
    elif fresh:
        expected = Behind((PRESENT - max(fresh)) * 30)
    assert verdict == expected


# A clock that is behind


def test_a_past_code_tells_how_far_its_clock_is_behind() -> None:
    assert judged(-2) == Behind(60)
    assert judged(-20) == Behind(600)
    assert judged(-21) == Wrong()


def test_a_future_code_tells_nothing() -> None:
    assert all(judged(offset) == Wrong() for offset in range(2, 30))


def test_a_period_of_its_own_is_counted_in_seconds() -> None:
    parameters = Parameters(digits=8, period=60, algorithm="SHA256")
    code = totp.code_at(SECRET, PRESENT - 3, parameters)
    assert totp.match(SECRET, code, moment(PRESENT, 60), None, parameters) == Behind(180)


def test_every_step_that_could_matter_is_compared_whatever_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for offset in (-20, -1, 0, 1, 5):
        calls: list[bytes] = []

        def compare(ours: bytes, theirs: bytes, calls: list[bytes] = calls) -> bool:
            calls.append(ours)
            return ours == theirs

        monkeypatch.setattr(totp, "hmac", SimpleNamespace(digest=hmac.digest, compare_digest=compare))
        judged(offset)
        counts.append(len(calls))
    assert counts == [22] * 5


# Enrolment


def test_the_usual_uri_says_only_what_an_app_must_know() -> None:
    assert totp.provisioning_uri(SECRET, "erika@example.com", "Doorward") == (
        "otpauth://totp/Doorward:erika%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Doorward"
    )


def test_an_unusual_uri_says_its_parameters() -> None:
    uri = totp.provisioning_uri(SECRET, "a@b.de", "Doorward", Parameters(8, 60, "SHA512"))
    query = parse_qs(urlsplit(uri).query)
    assert (query["digits"], query["period"], query["algorithm"]) == (["8"], ["60"], ["SHA512"])


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(deadline=None)
@given(st.binary(min_size=14, max_size=64), words, words)
def test_any_issuer_and_account_come_back_out_of_the_uri(secret: bytes, account: str, issuer: str) -> None:
    uri = totp.provisioning_uri(secret, account, issuer)
    assert uri.isascii()
    label = re.fullmatch(r"otpauth://totp/([^:?&#]*):([^:?&#]*)\?.*", uri)
    assert label
    assert [unquote(part) for part in label.groups()] == [issuer, account]
    query = parse_qs(urlsplit(uri).query)
    assert query["issuer"] == [issuer]
    assert base64.b32decode(query["secret"][0] + "=" * (-len(query["secret"][0]) % 8)) == secret


def test_the_key_to_type_is_in_groups_of_four() -> None:
    assert totp.display_key(SECRET) == "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"
    assert totp.display_key(b"\xff" * 11) == "7777 7777 7777 7777 74"


@pytest.mark.parametrize("scale", [1, 3, 4.5], ids=str)
@pytest.mark.parametrize(
    ("account", "issuer"),
    [
        ("a@b.de", "D"),
        ("erika.mustermann@example.com", "localhost:8000"),
        ("jürgen@bücher.example", "Дверь 門 🚪 <&\">'"),
        ("x" * 64 + "@" + "y" * 63 + "." + "z" * 63 + ".example", "A long name for a long house"),
    ],
    ids=["short", "usual", "unicode", "long"],
)
def test_a_reader_reads_the_uri_from_the_picture(account: str, issuer: str, scale: float) -> None:
    import io

    import resvg_py
    import zxingcpp
    from PIL import Image

    uri = totp.provisioning_uri(SECRET, account, issuer)
    svg = totp.qr_svg(uri)
    width = int(svg.split('viewBox="0 0 ')[1].split()[0])
    # Left alone, the renderer draws one pixel for each module, too few for a reader.
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=round(width * 2 * scale)))
    picture = Image.open(io.BytesIO(png)).convert("L")
    assert [found.text for found in zxingcpp.read_barcodes(picture)] == [uri]


def test_the_picture_is_small_and_carries_nothing_a_strict_policy_forbids() -> None:
    svg = totp.qr_svg(totp.provisioning_uri(SECRET, "erika.mustermann@example.com", "localhost:8000"))
    root = ElementTree.fromstring(svg)
    elements = [element.tag.rpartition("}")[2] for element in root.iter()]
    attributes = {name for element in root.iter() for name in element.attrib}
    assert elements == ["svg", "title", "rect", "path"]
    assert attributes == {"viewBox", "role", "shape-rendering", "width", "height", "fill", "d"}
    assert root.get("role") == "img"
    assert root.get("shape-rendering") == "crispEdges"
    assert len(svg) < 6.5 * 1024
    assert svg.count("http") == 1
    assert 'xmlns="http://www.w3.org/2000/svg"' in svg


def test_the_picture_is_the_code_module_for_module_with_a_white_edge_of_four() -> None:
    import io

    import resvg_py
    from PIL import Image, ImageOps
    from qrcode.constants import ERROR_CORRECT_M
    from qrcode.main import QRCode

    uri = totp.provisioning_uri(SECRET, "erika.mustermann@example.com", "Doorward")
    theirs = QRCode(error_correction=ERROR_CORRECT_M, border=4, mask_pattern=2)
    theirs.add_data(uri)
    modules = theirs.get_matrix()
    size = len(modules)

    png = bytes(resvg_py.svg_to_bytes(svg_string=totp.qr_svg(uri), width=size, height=size))
    picture = Image.open(io.BytesIO(png)).convert("L")
    assert picture.tobytes() == bytes(0 if dark else 255 for row in modules for dark in row)
    assert ImageOps.invert(picture).getbbox() == (4, 4, size - 4, size - 4)
