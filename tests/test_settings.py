"""The settings: what is wrong is told in words, without its secret."""

import ipaddress

import pytest

from service.errors import ConfigError
from service.http.guards import address_of
from service.settings import Settings, proxy_network
from tests.builders import ENCRYPTION_KEYS

COMPLETE = {
    "issuer": "https://identity.example",
    "database.url": "postgresql://doorward@nowhere.invalid/doorward",
    "redis.url": "redis://nowhere.invalid",
    "encryption_keys": ENCRYPTION_KEYS,
}


def faults(**over: object) -> list[str]:
    """What is wrong with the complete settings, changed in some places."""
    try:
        Settings.load(COMPLETE | {name.replace("__", "."): value for name, value in over.items()}, environ={})
    except ConfigError as fault:
        return fault.faults
    return []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter℀2@h/db",
        "postgresql://u:hunter2@[h/db",
        "postgresql://u:hunter2@h:70000/db",
        "postgresql://u:hunter2@h:one/db",
        "postgresql://u:hunter2@h:5432,i:70000/db",
    ],
)
def test_an_address_that_is_no_url_is_refused_without_its_password(url: str) -> None:
    assert faults(database__url=url) == ["database.url: not a URL"]
    assert faults(redis__url=url.replace("postgresql", "redis")) == ["redis.url: not a URL"]


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:p@h:5432,i:5433/db", "postgresql://u@/db?host=/run/pg", "postgres://[::1]:5432/db"],
)
def test_every_form_of_an_address_of_postgres_is_taken(url: str) -> None:
    assert faults(database__url=url) == []


@pytest.mark.parametrize(
    "issuer",
    [
        "https://identity.example/",
        "https://identity.example?",
        "https://identity.example#",
        "https://identity.example:",
        "https://identity.example:0",
        "https://identity.example:70000",
        "https://identity.example\n",
        " https://identity.example",
        "https://Identity.example",
        "https://identité.example",
        "https://iden tity.example",
        'https://identity".example',
        "https://@identity.example",
        "https://[::1",
        "https://",
        "identity.example",
    ],
)
def test_an_issuer_that_is_no_plain_origin_is_refused(issuer: str) -> None:
    (said,) = faults(issuer=issuer)
    assert said.startswith("issuer: must be")


@pytest.mark.parametrize(
    "issuer", ["https://identity.example:8443", "https://[::1]:8443", "https://10.0.0.1"]
)
def test_a_plain_origin_is_taken(issuer: str) -> None:
    assert faults(issuer=issuer) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens.access_seconds", 10**14),
        ("tokens.refresh_absolute_seconds", 400 * 86_400),
        ("redis.breaker_seconds", 10**9),
        ("database.statement_ms", 10**7),
        ("database.pool", 10**6),
        ("limits.sign_in_network", 300_000_001),
        ("limits.wide_factor", 10**6),
        ("two_factor.in_a_row", 2**31),
        ("hash.memory_kib", 10**8),
        ("hash.threads", 10**6),
        ("workers", 1000),
    ],
)
def test_a_number_beyond_sense_is_refused(name: str, value: int) -> None:
    (said,) = faults(**{name: value})
    assert said.startswith(name)


def test_the_server_listens_on_an_address_and_not_on_a_name() -> None:
    assert faults(host="localhost") == ["host: must be an IP address, such as 127.0.0.1 or 0.0.0.0"]
    assert faults(host="0.0.0.0") == faults(host="::") == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_dev_does_not_leave_loopback(host: str) -> None:
    dev = {"dev": True, "issuer": "http://127.0.0.1:8400"}
    assert faults(**dev, host=host) == ["host: `dev` allows plain http and serves on loopback only"]
    assert faults(**dev, host="::1") == faults(**dev, host="127.0.0.1") == []


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"])
def test_nobody_may_trust_everyone(network: str) -> None:
    (said,) = faults(trusted_proxies=network)
    assert "is everyone" in said


def test_an_ipv4_network_mapped_into_ipv6_is_that_ipv4_network() -> None:
    assert proxy_network("::ffff:10.0.0.0/104") == ipaddress.ip_network("10.0.0.0/8")
    scope = {"client": ("10.1.2.3", 1), "headers": [(b"x-forwarded-for", b"203.0.113.9")]}
    assert address_of(scope, ["::ffff:10.0.0.0/104"]) == "203.0.113.9"
