"""Whose address a request counts for (security K-25)."""

from typing import Any

import httpx
import pytest

from service.app import create
from service.http.guards import address_of
from service.world import World
from tests.builders import House

PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48")


def from_(peer: str | None, *forwarded: str, trusted: tuple[str, ...] = PROXIES) -> str:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    scope: dict[str, Any] = {"client": (peer, 1) if peer else None, "headers": headers}
    return address_of(scope, trusted)


@pytest.mark.case("K-25")
@pytest.mark.parametrize(
    ("why", "peer", "forwarded", "expected"),
    [
        ("no header", "127.0.0.1", (), "127.0.0.1"),
        ("an empty header", "127.0.0.1", ("",), "127.0.0.1"),
        ("one hop", "127.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("the client's own left-most hop", "127.0.0.1", ("1.1.1.1, 198.51.100.7",), "198.51.100.7"),
        ("a proxy the client names", "127.0.0.1", ("127.0.0.1, 198.51.100.7",), "198.51.100.7"),
        ("two proxies", "127.0.0.1", ("1.1.1.1, 198.51.100.7, 10.1.2.3",), "198.51.100.7"),
        ("two headers", "127.0.0.1", ("1.1.1.1", "198.51.100.7"), "198.51.100.7"),
        ("two headers, two proxies", "127.0.0.1", ("1.1.1.1, 198.51.100.7", "10.1.2.3"), "198.51.100.7"),
        ("proxies all the way", "127.0.0.1", ("10.9.9.9, 10.1.2.3",), "10.9.9.9"),
        ("IPv4 mapped into IPv6", "127.0.0.1", ("::ffff:198.51.100.7",), "198.51.100.7"),
        ("mapped, in hexadecimal", "127.0.0.1", ("::ffff:c633:6407",), "198.51.100.7"),
        ("mapped, in brackets, with a port", "127.0.0.1", ("[::ffff:198.51.100.7]:443",), "198.51.100.7"),
        ("a mapped peer", "::ffff:127.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("a mapped proxy", "127.0.0.1", ("198.51.100.7, ::ffff:10.1.2.3",), "198.51.100.7"),
        ("a port", "127.0.0.1", ("198.51.100.7:51234",), "198.51.100.7"),
        ("brackets", "127.0.0.1", ("[2001:db8::7]",), "2001:db8::7"),
        ("brackets and a port", "127.0.0.1", ("[2001:db8::7]:443",), "2001:db8::7"),
        ("a zone", "127.0.0.1", ("fe80::7%eth0",), "fe80::7"),
        ("brackets and a zone", "127.0.0.1", ("[fe80::7%25eth0]:443",), "fe80::7"),
        ("upper case, long form", "127.0.0.1", ("2001:0DB8:0:0:0:0:0:7",), "2001:db8::7"),
        ("an IPv6 proxy", "2001:db8:ffff::1", ("198.51.100.7",), "198.51.100.7"),
        ("spaces", "127.0.0.1", ("  1.1.1.1 ,\t198.51.100.7  ",), "198.51.100.7"),
        ("a garbage hop", "127.0.0.1", ("198.51.100.7, garbage",), "127.0.0.1"),
        ("garbage left of the client", "127.0.0.1", ("garbage, 198.51.100.7",), "198.51.100.7"),
        ("garbage behind a proxy", "127.0.0.1", ("198.51.100.7, unknown, 10.1.2.3",), "10.1.2.3"),
        ("an empty hop", "127.0.0.1", ("198.51.100.7,",), "127.0.0.1"),
        ("octal octets", "127.0.0.1", ("010.0.0.1",), "127.0.0.1"),
        ("a number", "127.0.0.1", ("3325256711",), "127.0.0.1"),
        ("bytes above ASCII", "127.0.0.1", ("\xff\xc0\xa7",), "127.0.0.1"),
        ("an undeclared peer", "203.0.113.9", ("198.51.100.7",), "203.0.113.9"),
        ("an undeclared peer, proxies named", "203.0.113.9", ("198.51.100.7, 127.0.0.1",), "203.0.113.9"),
        ("another loopback address", "127.0.0.2", ("198.51.100.7",), "127.0.0.2"),
        ("a unix socket", None, ("198.51.100.7",), "198.51.100.7"),
        ("thousands of hops", "127.0.0.1", (", ".join(["1.1.1.1"] * 5000),), "1.1.1.1"),
    ],
)
def test_the_right_most_hop_that_is_no_proxy_is_the_client(
    why: str, peer: str | None, forwarded: tuple[str, ...], expected: str
) -> None:
    assert from_(peer, *forwarded) == expected, why


@pytest.mark.case("K-25")
def test_without_declared_proxies_the_header_is_never_believed() -> None:
    assert from_("127.0.0.1", "198.51.100.7", trusted=()) == "127.0.0.1"


async def attempt(client: httpx.AsyncClient, number: int, *forwarded: str, **headers: str) -> httpx.Response:
    """A sign-in of its own unknown address: what is measured is the network's limit."""
    sent = [*(("x-forwarded-for", value) for value in forwarded), *headers.items()]
    body = {"email": f"nobody{number}@example.com", "password": "test-value"}
    return await client.post("/v1/sign-in", json=body, headers=sent)


@pytest.mark.case("K-25")
async def test_the_audit_log_holds_the_clients_address(house: House) -> None:
    for number, (forwarded, expected) in enumerate(
        [
            (("1.1.1.1, 198.51.100.7",), "198.51.100.7"),
            (("1.1.1.1", "198.51.100.8"), "198.51.100.8"),
            (("[2001:db8::7]:443",), "2001:db8::7"),
            (("::ffff:198.51.100.9",), "198.51.100.9"),
            (("fe80::7%eth0",), "fe80::7"),
            (("garbage",), "127.0.0.1"),
            ((), "127.0.0.1"),
        ]
    ):
        house.clock.advance(1)
        assert (await attempt(house.client, number, *forwarded)).status_code == 401
        logged = await house.value("SELECT host(address) FROM audit_event ORDER BY id DESC LIMIT 1")
        assert logged == expected


@pytest.mark.case("K-25")
@pytest.mark.parametrize("settings", [{"limits.sign_in_network": 3}], indirect=True)
async def test_a_client_gains_nothing_by_writing_other_addresses_left_of_its_own(house: House) -> None:
    answers = [
        await attempt(house.client, number, f"203.0.113.{number}, 198.51.100.20") for number in range(4)
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    for headers in (("1.1.1.1", "198.51.100.20"), ("::ffff:198.51.100.20",), ("198.51.100.20:9",)):
        assert (await attempt(house.client, 9, *headers)).status_code == 429, headers
    other = {"forwarded": "for=1.1.1.1", "x-real-ip": "1.1.1.1", "cf-connecting-ip": "1.1.1.1"}
    assert (await attempt(house.client, 9, "198.51.100.20", **other)).status_code == 429
    assert (await attempt(house.client, 9, "198.51.100.21")).status_code == 401


@pytest.mark.case("K-25")
@pytest.mark.parametrize("settings", [{"limits.sign_in_network": 3}], indirect=True)
async def test_a_peer_that_is_no_declared_proxy_counts_for_itself(world: World) -> None:
    app: Any = create(world)
    transport = httpx.ASGITransport(app, client=("203.0.113.77", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8400") as client:
        answers = [await attempt(client, number, f"198.51.77.{number}") for number in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


@pytest.mark.case("K-25")
@pytest.mark.parametrize("settings", [{"limits.sign_in_network": 3, "limits.wide_factor": 2}], indirect=True)
async def test_one_ipv6_64_counts_as_one_and_a_48_has_a_wider_limit(house: House) -> None:
    async def tries(network: str, times: int) -> list[int]:
        return [
            (await attempt(house.client, number, f"{network}:{number:x}:ffff::{number:x}")).status_code
            for number in range(times)
        ]

    # Every try comes from another address of the /64; what is refused is not charged to the /48.
    assert await tries("2001:db8:7:1", 6) == [401, 401, 401, 429, 429, 429]
    assert await tries("2001:db8:7:2", 4) == [401, 401, 401, 429]
    # The /48 has failed twice three times: a third /64 of it has no room left.
    assert await tries("2001:db8:7:3", 1) == [429]
    assert await tries("2001:db8:8:1", 1) == [401]
