"""`policy.request.pages`: who sees a gateway's own pages."""

import base64

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


def basic(told: bytes, scheme: bytes = b"Basic") -> bytes:
    return scheme + b" " + base64.b64encode(told)


@pytest.mark.parametrize("authorization", [basic(b"anybody:right"), basic(b":right"), basic(b"a:right", b"basic"), b"Bearer right"])
def test_page_for_browsers_takes_the_key_as_a_password(authorization: bytes) -> None:
    Pages("right").check("/status", authorization)


@pytest.mark.parametrize(
    "authorization",
    [
        b"", b"Basic", b"Basic ", b"Basic right", b"Basic \xff", basic(b"right"), basic(b"right:"), basic(b"a:wrong"), basic(b"a:right "),
        basic(b"a:b:right"), basic(b"a:right", b"Digest"), b"Bearer wrong",
    ],
)  # fmt: skip
def test_page_for_browsers_asks_for_a_password(authorization: bytes) -> None:
    with pytest.raises(Unauthorized, match="herd secret pages") as told:
        Pages("right").check("/status", authorization)
    assert told.value.challenge == 'Basic realm="Llama Herd", charset="UTF-8"'


def test_password_opens_no_page_for_programs() -> None:
    with pytest.raises(Unauthorized) as told:
        Pages("right").check("/-/status", basic(b"a:right"))
    assert told.value.challenge == 'Bearer realm="Llama Herd"'


@pytest.mark.parametrize("key", ["wörd:with:colons", "right"])
def test_password_may_have_colons_and_any_letters(key: str) -> None:
    Pages(key).check("/status", basic(f"a:{key}".encode()))
