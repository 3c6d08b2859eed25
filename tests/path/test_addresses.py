"""Which addresses are of the open internet, and which hosts are on a list."""

import pytest

from deployments.gateway.body.remote_images import is_listed, is_public


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",  # carriers' own
        "127.0.0.1",
        "127.1",
        "2130706433",
        "169.254.169.254",  # clouds' metadata
        "172.31.255.255",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1",  # NAT64
        "64:ff9b::7f00:1",
        "64:ff9b:1::8.8.8.8",  # NAT64 of one's own
        "2002:a00:1::",  # 6to4 to 10.0.0.1
        "2002:a9fe:a9fe::1",
        "2001::1",  # Teredo
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "localhost",
        "",
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::"])
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("images.example.com", True),
        ("IMAGES.example.com.", True),
        ("a.cdn.example.com", True),
        ("a.b.cdn.example.com", True),
        ("cdn.example.com", False),
        ("evilcdn.example.com", False),
        ("example.com", False),
        ("images.example.com.evil.org", False),
        ("", False),
        (".", False),
    ],
)
def test_list_of_hosts(host: str, listed: bool) -> None:
    assert is_listed(host, ("images.example.com", "*.CDN.example.com")) is listed


def test_empty_list_has_nobody() -> None:
    assert not is_listed("example.com", ())
