"""`policy.request.pages`: who sees a gateway's own pages."""

import pytest

from deployments.policy.errors.client_errors import Unauthorized
from deployments.policy.request.pages import Pages


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
