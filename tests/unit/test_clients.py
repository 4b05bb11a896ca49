"""Where a request comes from, whatever it claims."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.clients import ClientKind, client_address, client_kind

PEER = "10.0.0.9"


@pytest.mark.parametrize(
    ("forwarded_for", "trusted_proxies", "address"),
    [
        (None, 0, PEER),
        ("203.0.113.7", 0, PEER),
        ("203.0.113.7", 1, "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", 1, "203.0.113.7"),
        ("203.0.113.7, 10.0.0.8", 2, "203.0.113.7"),
        ("203.0.113.7,10.0.0.8,10.0.0.7", 3, "203.0.113.7"),
        ("203.0.113.7", 2, PEER),
        (None, 1, PEER),
        ("", 1, PEER),
        ("unknown", 1, PEER),
        ("203.0.113.7:49152", 1, "203.0.113.7"),
        ("2001:DB8::1", 1, "2001:db8::1"),
        ("[2001:db8::1]:49152", 1, "2001:db8::1"),
        ("[2001:db8::1]", 1, "2001:db8::1"),
        ("::ffff:203.0.113.7", 1, "203.0.113.7"),
        ("fe80::1%eth0", 1, "fe80::1"),
    ],
)
def test_the_address_is_the_one_that_the_first_trusted_proxy_wrote(
    forwarded_for: str | None, trusted_proxies: int, address: str
) -> None:
    assert client_address(PEER, forwarded_for, trusted_proxies) == address


@given(forged=st.text(alphabet=st.characters(codec="latin-1")), trusted=st.integers(0, 3))
def test_an_address_cannot_be_forged(forged: str, trusted: int) -> None:
    proxies = ["203.0.113.7", "10.0.0.7", "10.0.0.8"][:trusted]
    expected = "203.0.113.7" if trusted else PEER
    assert client_address(PEER, ", ".join([forged, *proxies]), trusted) == expected


def test_a_request_without_a_network_has_no_address() -> None:
    assert client_address(None, None, 0) is None
    assert client_address("", None, 0) is None


@pytest.mark.parametrize(
    ("user_agent", "kind"),
    [
        ("da/0.1.0", ClientKind.DA),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", ClientKind.BROWSER),
        ("Mozilla/5.0 AppleWebKit/537.36 (compatible; ChatGPT-User/1.0; +https://openai.com/bot)", ClientKind.AGENT),
        ("Claude-User/1.0", ClientKind.AGENT),
        ("Google-Cloud-Scheduler", ClientKind.SCHEDULER),
        ("Google-Cloud-Tasks", ClientKind.SCHEDULER),
        ("Amazon/EventBridge/ApiDestinations", ClientKind.SCHEDULER),
        ("curl/8.5.0", ClientKind.OTHER),
        ("", ClientKind.OTHER),
        (None, ClientKind.OTHER),
    ],
)
def test_the_kind_of_client_is_read_from_its_user_agent(user_agent: str | None, kind: ClientKind) -> None:
    assert client_kind(user_agent) is kind
