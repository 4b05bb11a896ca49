"""Addresses: which of the internet are public, and that no e-mail address becomes another one."""

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from analyst.addresses import Domain, EmailAddress, normal_email
from analyst.clients import network_of
from analyst.public_addresses import is_public
from analyst.state.fields import Email

IPV4 = st.integers(0, (1 << 32) - 1).map(ipaddress.IPv4Address)
INTERNAL = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "192.168.1.1", "100.100.100.200", "0.0.0.0")


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "2606:4700::1111",
        "2a00:1450:4001:81b::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2606:4700::5efe:808:808",
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *INTERNAL,
        "192.0.0.9",  # special purposes
        "192.0.0.192",  # Oracle's metadata service
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::a00:1",
        "::808:808",
        "::ffff:0:7f00:1",
        "::ffff:0:808:808",
        "64:ff9b:1::1",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:0:808:808::f7f7:f7f7",
        "2001:2::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:808:808::1",
        "2002:7f00:1::",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "",
        "example.com",
        "127.1",
        "0x7f000001",
    ],
)
def test_private_reserved_and_malformed_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("internal", INTERNAL)
def test_no_embedding_makes_an_address_public(internal: str) -> None:
    number = int(ipaddress.IPv4Address(internal))
    inverted = number ^ 0xFFFFFFFF
    for embedding in (
        number,  # IPv4-compatible
        0xFFFF << 32 | number,  # mapped
        0xFFFF << 48 | number,  # translated
        0x64FF9B << 96 | number,
        0x64FF9B0001 << 80 | number,
        0x2002 << 112 | number << 80 | 1,
        0x20010000 << 96 | 0x08080808 << 64 | inverted,
        0x26064700 << 96 | 0x00005EFE << 32 | number,
        0x26064700 << 96 | 0x02005EFE << 32 | number,
    ):
        assert not is_public(str(ipaddress.IPv6Address(embedding)))


@given(IPV4)
def test_addresses_that_embed_ipv4_are_at_most_as_public(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    assert is_public(f"::ffff:{address}") == is_public(str(address))
    assert is_public(str(ipaddress.IPv6Address(0x0064FF9B << 96 | number))) == is_public(str(address))
    assert not is_public(f"::{address}")


@given(st.integers(0, (1 << 128) - 1).map(ipaddress.IPv6Address), st.integers(0, (1 << 64) - 1))
def test_attempts_are_counted_by_the_network_of_a_client(address: ipaddress.IPv6Address, host: int) -> None:
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
    if address.ipv4_mapped is None and neighbour.ipv4_mapped is None:
        assert network_of(str(address)) == network_of(str(neighbour))
    other = ipaddress.IPv6Address(int(address) ^ 1 << 64)
    assert network_of(str(address)) != network_of(str(other))


@given(IPV4)
def test_ipv4_addresses_are_recognized_in_either_notation(address: ipaddress.IPv4Address) -> None:
    assert network_of(str(address)) == network_of(f"::ffff:{address}") == str(address)
    assert network_of(None) == ""


KINDS = (TypeAdapter[str](Email), TypeAdapter[str](EmailAddress))
LETTERS = st.text(st.sampled_from(string.ascii_letters + "\u212a\u017f\u0130kKsSiI"), min_size=1, max_size=8)


@given(LETTERS, LETTERS)
def test_no_email_address_becomes_another_one(name: str, domain: str) -> None:
    text = f" {name}@{domain}.com "
    for kind in KINDS:
        try:
            kept = kind.validate_python(text)
        except ValidationError:
            assert not text.isascii()
        else:
            assert text.isascii()
            assert kept == normal_email(text) == text.strip().lower()
    assert (normal_email(text) == text.strip().lower()) or not text.isascii()


@pytest.mark.parametrize(
    "domain", ["e\u212aample.com", "\u017fhop.com", "ex\u0430mple.com", "example.com\u2028", "EXAMPLE.com"]
)
def test_a_domain_is_checked_before_it_is_lowercased(domain: str) -> None:
    if domain.isascii():
        assert TypeAdapter(Domain).validate_python(domain) == "example.com"
    else:
        with pytest.raises(ValidationError):
            TypeAdapter(Domain).validate_python(domain)
