"""Which IP addresses are public: the guard against requests into private networks."""

import ipaddress

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The start of the interface part of an ISATAP address; an IPv4 address follows."""
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's platform, which responds to any of its machines
        "192.0.0.0/24",  # special purposes, Oracle's metadata service among them
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # special purposes: Teredo, benchmarking, ORCHID
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation, which only newer versions of Python list
    )
)


def is_public(address: str) -> bool:
    """Return whether an IP address is a public unicast address, and does not embed one that is not.

    Addresses that embed an IPv4 address (mapped, NAT64, ISATAP) are as public as that one. 6to4 and Teredo are obsolete
    and use relays that we do not know.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return False
        number = int(found)
        embedded = ipaddress.IPv4Address(number & 0xFFFFFFFF)
        if found.ipv4_mapped or found in _NAT64:
            return is_public(str(embedded))
        if found not in _GLOBAL_UNICAST or ((number >> 32) & 0xFFFFFFFF in _ISATAP and not is_public(str(embedded))):
            return False
    is_special = any(found in network for network in _SPECIAL if network.version == found.version)
    return found.is_global and not (found.is_multicast or found.is_reserved or is_special)
