"""The one way to ask others: whom it asks, for how long, and how much of an answer it takes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from service import outgoing as outgoing_module
from service.errors import ConfigError
from service.outgoing import MOST, SECONDS, Answer, NoAnswer, Outgoing
from service.settings import Settings
from tests.portals import Portal, answers, drips, hangs, portal, pours
from tests.secure import Authority, authority
from tests.test_settings import COMPLETE

pytestmark = pytest.mark.case("K-114")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


def settings(**over: object) -> Settings:
    return Settings.load(
        COMPLETE | {name.replace("__", "."): value for name, value in over.items()}, environ={}
    )


def resolver(*answers: Sequence[str]) -> Callable[[str, int], Sequence[str]]:
    """A resolver that gives these answers, one after the other, and fails where it is asked more often."""
    left = list(answers)
    return lambda host, port: left.pop(0)


@pytest.fixture
async def out() -> AsyncIterator[Outgoing]:
    """As it is in production."""
    made = Outgoing(settings())
    yield made
    await made.close()


@pytest.fixture
async def within(trusted: Authority) -> AsyncIterator[Outgoing]:
    """For portals in one's own network, which have certificates of one's own authority."""
    made = Outgoing(settings(outgoing__private_addresses=True, outgoing__ca_file=str(trusted.root)))
    yield made
    await made.close()


@pytest.fixture
async def developing(trusted: Authority) -> AsyncIterator[Outgoing]:
    """As `doorward dev` has it."""
    made = Outgoing(settings(dev=True, issuer="http://localhost:8400"))
    yield made
    await made.close()


async def refused(out: Outgoing, url: str) -> NoAnswer:
    with pytest.raises(NoAnswer) as fault:
        await out.post_form(url, {"logout_token": "a.b.c"})
    return fault.value


# What arrives


async def test_a_form_arrives_with_nothing_that_was_not_asked_for(
    within: Outgoing, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    cookie = "set-cookie: a=b; Path=/\r\n"
    async with portal(answers(200, headers=cookie), trusted) as there:
        for _ in range(2):
            answer = await within.post_form(there.url(), {"logout_token": "a.b+/=&c"})
            assert answer == Answer(200, b"", whole=True)
    assert there.connections == 2
    for asked in there.asked:
        assert (asked.method, asked.target) == ("POST", "/backchannel-logout")
        assert asked.token == "a.b+/=&c"
        assert asked.headers == {
            "host": f"localhost:{there.port}",
            "user-agent": "doorward",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
            "content-type": "application/x-www-form-urlencoded",
            "content-length": str(len(asked.body)),
        }


async def test_the_connection_goes_to_the_checked_address_and_the_certificate_is_proved_for_the_name(
    within: Outgoing, trusted: Authority
) -> None:
    async with portal(answers(204), trusted) as there:
        within.look_up = resolver(["127.0.0.1"], ["127.0.0.1"])
        assert (await within.post_form(there.url("portal.localhost"), {})).status == 204
        assert there.asked[0].headers["host"] == f"portal.localhost:{there.port}"
        other = await refused(within, there.url("other.example"))
    assert other.word == "untrusted_certificate"
    assert len(there.asked) == 1


async def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer(
    within: Outgoing, trusted: Authority
) -> None:
    async with portal(answers(200), trusted) as there:
        # On the other address of this machine nobody listens on the port.
        within.look_up = resolver(["127.0.0.2", "127.0.0.1"])
        assert (await within.post_form(there.url(), {})).status == 200


# Whom it asks


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
    ],
)
async def test_no_form_of_this_machines_address_is_asked(
    host: str, out: Outgoing, trusted: Authority
) -> None:
    async with portal(answers(200), trusted) as there:
        fault = await refused(out, there.url(host))
        await asyncio.sleep(0.05)
    assert fault.word in ("forbidden_address", "unknown_host")
    assert there.connections == 0


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
        ["192.0.2.1", "127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "2606:2800:220:1:248:1893:25c8:1946"],
    ],
)
async def test_a_name_is_not_asked_when_any_of_its_addresses_is_private(
    found: list[str], out: Outgoing, trusted: Authority
) -> None:
    out.look_up = resolver(found)
    async with portal(answers(200), trusted) as there:
        fault = await refused(out, there.url("portal.localhost"))
        await asyncio.sleep(0.05)
    assert fault.word == "forbidden_address"
    assert there.connections == 0


async def test_a_name_that_changes_its_address_after_the_check_changes_nothing(
    within: Outgoing, trusted: Authority
) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    within.look_up = rebinding
    async with (
        portal(answers(200), trusted) as good,
        portal(answers(200), trusted, host="127.0.0.2", port=good.port) as bad,
    ):
        assert (await within.post_form(good.url("portal.localhost"), {})).status == 200
    assert asked == ["portal.localhost"]
    assert (good.connections, bad.connections) == (1, 0)


async def test_a_name_that_is_private_at_the_next_request_is_refused_then(
    within: Outgoing, trusted: Authority
) -> None:
    within.look_up = resolver(["127.0.0.1"], ["169.254.169.254"])
    async with portal(answers(200), trusted) as there:
        assert (await within.post_form(there.url("portal.localhost"), {})).status == 200
        assert (await refused(within, there.url("portal.localhost"))).word == "forbidden_address"
    assert there.connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://portal.example/out",
        "HTTP://portal.example/out",
        "ftp://portal.example/out",
        "file:///etc/passwd",
        "portal.example/out",
        "//portal.example/out",
        "https:///out",
        "https://ada:secret@portal.example/out",
        "https://portal.example:70000/out",
        "https://[::1/out",
        "com.example.app:/out",
        "",
    ],
)
async def test_only_https_urls_are_asked_and_nothing_is_looked_up_for_others(url: str, out: Outgoing) -> None:
    out.look_up = resolver()
    fault = await refused(out, url)
    assert fault.word == "forbidden_address"
    assert "secret" not in fault.private


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 64 + ".example", "a..example"])
async def test_a_name_that_nobody_knows_is_told(host: str, out: Outgoing) -> None:
    assert (await refused(out, f"https://{host}/")).word in ("unknown_host", "forbidden_address")


async def test_a_certificate_of_an_unknown_authority_is_not_taken(trusted: Authority) -> None:
    without = Outgoing(settings(outgoing__private_addresses=True))
    async with portal(answers(200), trusted) as there:
        fault = await refused(without, there.url())
    await without.close()
    assert fault.word == "untrusted_certificate"
    assert (there.connections, there.asked) == (1, [])


async def test_a_server_without_tls_is_told_nothing_and_leaves_no_connection(
    within: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing_module, "SECONDS", 0.5)
    async with portal(answers(200)) as there:
        # It waits for a line of HTTP, as we do for its part of the handshake.
        fault = await refused(within, f"https://localhost:{there.port}/")
        await _let_go(there)
    assert fault.word == "timed_out"
    assert (there.connections, there.asked) == (1, [])


async def test_in_dev_http_goes_to_this_machine_and_nowhere_else(developing: Outgoing) -> None:
    async with portal(answers(200)) as there:
        assert (await developing.post_form(there.url("127.0.0.1"), {})).status == 200
        for found in (["10.1.2.3"], ["93.184.216.34"], ["::ffff:127.0.0.1"]):
            developing.look_up = resolver(found)
            assert (await refused(developing, there.url("portal.localhost"))).word == "forbidden_address"
    developing.look_up = resolver(["10.1.2.3"])
    assert (await refused(developing, "https://portal.example/")).word == "forbidden_address"
    assert there.connections == 1


@pytest.mark.parametrize("bound", ["::1"])
async def test_in_dev_an_ipv6_literal_of_loopback_is_asked(bound: str, developing: Outgoing) -> None:
    async with portal(answers(200), host=bound) as there:
        assert (await developing.post_form(there.url(f"[{bound}]"), {})).status == 200


# For how long, and how much


async def test_a_redirect_is_an_answer_and_is_not_followed(within: Outgoing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as other:
        to = f"location: {other.url()}\r\n"
        for status in (301, 302, 303, 307, 308):
            async with portal(answers(status, headers=to), trusted) as there:
                assert (await within.post_form(there.url(), {"logout_token": "a"})).status == status
    assert other.connections == 0


@pytest.mark.parametrize("manner", [hangs, drips])
async def test_everything_together_has_five_seconds(
    manner: Callable[..., object], within: Outgoing, trusted: Authority
) -> None:
    async with portal(manner, trusted) as there:  # type: ignore[arg-type]
        began = time.monotonic()
        fault = await refused(within, there.url())
        took = time.monotonic() - began
    assert fault.word == "timed_out"
    assert SECONDS - 0.5 < took < SECONDS + 1.5


async def test_a_resolver_that_hangs_is_not_waited_for_and_takes_one_thread_for_a_name(
    within: Outgoing, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing_module, "SECONDS", 0.5)
    asked: list[str] = []

    def hanging(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        if host == "slow.localhost":
            time.sleep(1.5)
        return ["127.0.0.1"]

    within.look_up = hanging
    async with portal(answers(200), trusted) as there:
        slow = [refused(within, there.url("slow.localhost")) for _ in range(20)]
        faults, answer = await asyncio.gather(
            asyncio.gather(*slow), within.post_form(there.url("portal.localhost"), {})
        )
    assert {fault.word for fault in faults} == {"timed_out"}
    assert answer.status == 200
    assert sorted(asked) == ["portal.localhost", "slow.localhost"]


async def test_of_a_huge_answer_64_kib_are_read(within: Outgoing, trusted: Authority) -> None:
    huge = pours(b"HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n", b"x" * 65_536)
    async with portal(huge, trusted) as there:
        answer = await within.post_form(there.url(), {})
        await _let_go(there)
    assert (answer.status, len(answer.body), answer.whole) == (200, MOST, False)
    # The rest is what lay in the buffers of the connection.
    assert there.sent < 20_000_000


async def test_an_answer_is_not_unpacked(within: Outgoing, trusted: Authority) -> None:
    bomb = pours(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n", b"\x1f\x8b\x08\x00", 4
    )
    async with portal(bomb, trusted) as there:
        answer = await within.post_form(there.url(), {})
    assert answer == Answer(200, b"\x1f\x8b\x08\x00", whole=True)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", (b"1;" + b"e" * 4000 + b"\r\nx\r\n") * 4),
        (b"", b"\0" * 65_536),
    ],
)
async def test_a_head_or_chunks_without_end_are_cut(
    head: bytes, piece: bytes, within: Outgoing, trusted: Authority
) -> None:
    async with portal(pours(head, piece), trusted) as there:
        began = time.monotonic()
        fault = await refused(within, there.url())
        took = time.monotonic() - began
        await _let_go(there)
    assert fault.word == "unreachable"
    assert took < SECONDS
    assert there.sent < 20_000_000
    assert len(fault.private) < 400
    assert "\\u0000" not in json.dumps(fault.private), "Postgres keeps no NUL in its JSON"


async def test_whoever_gives_up_leaves_no_connection(within: Outgoing, trusted: Authority) -> None:
    async with portal(hangs, trusted) as there:
        asking = asyncio.create_task(within.post_form(there.url(), {}))
        await there.arrived.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await _let_go(there)


async def _let_go(there: Portal) -> None:
    for _ in range(100):
        if not there.open:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the connection is still open")


# Settings


@pytest.mark.parametrize(
    ("content", "said"), [(None, "is not a file"), ("nothing", "holds no certificate in PEM")]
)
def test_an_authority_that_is_none_is_told(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as told:
        settings(outgoing__ca_file=str(path))
    assert told.value.faults == [f"outgoing.ca_file: {path} {said}"]
