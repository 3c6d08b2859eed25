"""`policy.pages`: who sees a gateway's own pages."""

import pytest

from deployments.policy.errors import Unauthorized
from deployments.policy.pages import Pages, on_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_listener_on_the_loopback_interface_is_reached_by_this_machine_alone(host: str) -> None:
    assert on_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "node-1", "localhost.example.com", "2001:db8::1", ""])
def test_every_other_listener_is_taken_for_one_that_others_reach(host: str) -> None:
    assert not on_loopback(host)


@pytest.mark.parametrize("path", ["/-/status", "/-/targets", "/-/anything"])
@pytest.mark.parametrize(
    "authorization", [b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"bearer right", b"right", b"Bearer right ", b"\xff"]
)
def test_page_for_operators_asks_for_its_key(path: str, authorization: bytes) -> None:
    with pytest.raises(Unauthorized, match="herd secret pages") as told:
        Pages("right").check(path, authorization)
    assert told.value.status == 401
    Pages("right").check(path, b"Bearer right")


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/models/a"])
def test_other_pages_are_for_everybody(path: str) -> None:
    Pages("right").check(path, b"")


def test_prometheus_is_told_how_engines_speak() -> None:
    assert Pages().engine_labels == {}
    assert Pages(engines_speak_tls=True).engine_labels == {"__scheme__": "https"}


def test_nobody_is_asked_where_only_this_machine_reaches_the_pages() -> None:
    Pages(None).check("/-/status", b"")
