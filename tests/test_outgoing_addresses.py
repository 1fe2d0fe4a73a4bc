"""Which addresses are of the whole Internet, and which of a network of one's own."""

import ipaddress

import pytest

from service.outgoing import is_own, is_public

pytestmark = pytest.mark.case("K-114")


SPECIAL = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1
    198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::808:808
    ff0e::1 64:ff9b::7f00:1 64:ff9b:1::a00:1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1
    2002:7f00:1::1 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd12::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1
"""
PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.0.0.1 128.0.0.1 169.253.0.1
    172.15.0.1 172.32.0.1 192.0.1.1 192.167.0.1 198.17.0.1 198.20.0.1 223.255.255.254
    2001:200::1 2001:4860:4860::8888 2606:4700::1111 2a00:1450::1 3ffe::1
"""


def test_what_is_not_of_the_whole_internet_is_known() -> None:
    for text in SPECIAL.split():
        assert not is_public(ipaddress.ip_address(text)), text


def test_public_addresses_are_public() -> None:
    for text in PUBLIC.split():
        assert is_public(ipaddress.ip_address(text)), text


def test_a_network_of_ones_own_has_no_metadata_server_and_no_disguise() -> None:
    own = {text for text in SPECIAL.split() if is_own(ipaddress.ip_address(text))}
    assert own == set(
        """10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 172.16.0.1 172.31.255.255 192.168.1.1
        ::1 fc00::1 fd12::1""".split()  # noqa: SIM905 - it reads as the list above
    )
    assert not any(is_own(ipaddress.ip_address(text)) for text in PUBLIC.split())
