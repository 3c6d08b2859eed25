"""`deployments.policy.request.browsers`: which requests a web page may have sent, and what its browser is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.addresses import is_loopback, on_loopback
from configs.schema import Gateway
from deployments.policy.errors.client_errors import Forbidden, WrongMedia
from deployments.policy.request.browsers import Guests, admitted, check_content_type, guests, host_name, preflight

LOCAL = Guests(loopback=True)
OPEN = Guests(loopback=False)
PAGE = b"https://chat.example.com"
CORS = Guests(loopback=False, origins=frozenset({PAGE}))
ALL = Guests(loopback=False, origins=frozenset({b"*"}))
HOST = {b"host": b"127.0.0.1:8000"}


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "a.localhost:1", "127.0.0.1:8000", "127.255.3.4", "[::1]", "[::1]:8000", "ip6-localhost"],
)
def test_loopback_herd_takes_the_names_of_loopback(host: str) -> None:
    assert admitted(LOCAL, {b"host": host.encode()}) == ()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "[::1].evil.example",
        "localhost:80.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:8000",
        "xlocalhost",
        "10.0.0.5",
        "0.0.0.0",
        "[::]",
        "[::2]:8000",
        "::1",
        "[127.0.0.1]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "",
        ":8000",
        "\xff",
    ],
)
def test_loopback_herd_takes_no_name_that_somebody_may_have_pointed_at_it(host: str) -> None:
    with pytest.raises(Forbidden, match=r"gateway\.allowed_hosts") as refused:
        admitted(LOCAL, {b"host": host.encode("latin-1")})
    assert (refused.value.status, refused.value.param) == (403, "host")


@pytest.mark.parametrize(
    ("host", "taken"),
    [("herd.corp", True), ("HERD.corp:80", True), ("a.b.example.com", True), ("example.com", False), ("badexample.com", False)],
)
def test_names_of_the_config_are_taken_as_well(host: str, taken: bool) -> None:
    for loopback in (True, False):
        named = Guests(loopback, frozenset({"herd.corp", "*.example.com"}))
        if taken:
            assert admitted(named, {b"host": host.encode()}) == ()
        else:
            with pytest.raises(Forbidden):
                admitted(named, {b"host": host.encode()})


def test_old_client_that_names_no_host_is_taken() -> None:
    assert admitted(LOCAL, {}) == ()


def test_herd_that_listens_elsewhere_takes_any_name() -> None:
    assert admitted(OPEN, {b"host": b"any.name"}) == ()


@pytest.mark.parametrize(
    "told",
    [
        {b"origin": b"https://evil.example"},
        {b"origin": b"null"},
        {b"origin": b""},
        {b"origin": b"http://127.0.0.1:3000"},
        {b"origin": b"https://evil.example", b"sec-fetch-site": b"cross-site"},
        {b"origin": b"http://127.0.0.1:8000", b"sec-fetch-site": b"cross-site"},
        {b"sec-fetch-site": b"cross-site"},
        {b"sec-fetch-site": b"same-site"},
        {b"sec-fetch-site": b"new-word"},
        {b"origin": b"https://chat.example.com.evil.example"},
    ],
)
@pytest.mark.parametrize("who", [LOCAL, OPEN, CORS], ids=["loopback", "open", "cors"])
def test_requests_of_foreign_pages_are_refused(who: Guests, told: dict[bytes, bytes]) -> None:
    with pytest.raises(Forbidden, match=r"gateway\.cors\.allowed_origins"):
        admitted(who, HOST | told)


@pytest.mark.parametrize(
    "told",
    [
        {b"origin": b"http://127.0.0.1:8000"},
        {b"origin": b"http://127.0.0.1:8000", b"sec-fetch-site": b"same-origin"},
        {b"origin": b"https://proxied.corp", b"sec-fetch-site": b"same-origin"},
        {b"sec-fetch-site": b"none"},
        {b"sec-fetch-site": b"same-origin"},
    ],
)
def test_a_page_of_the_gateways_own_host_and_its_users_own_words_are_taken(told: dict[bytes, bytes]) -> None:
    assert admitted(OPEN, HOST | told) == ()
    assert admitted(CORS, HOST | told) == ((b"vary", b"origin"),)


def test_page_of_the_config_is_told_that_it_may_read() -> None:
    for site in ({}, {b"sec-fetch-site": b"cross-site"}):
        told = dict(admitted(CORS, {b"origin": PAGE} | site))
        assert told[b"access-control-allow-origin"] == PAGE
        assert told[b"vary"] == b"origin"
        assert told[b"access-control-expose-headers"] == b"x-request-id, retry-after, x-fallback-from"
    assert admitted(CORS, {}) == ((b"vary", b"origin"),), "a cache must not give this answer to the page"


def test_every_page_may_read_where_the_config_says_so() -> None:
    assert dict(admitted(ALL, {b"origin": b"null"}))[b"access-control-allow-origin"] == b"*"
    assert dict(admitted(ALL, {b"sec-fetch-site": b"cross-site"}))[b"access-control-allow-origin"] == b"*"


def test_preflight_is_answered_for_a_page_of_the_config() -> None:
    asked = {
        b"origin": PAGE,
        b"access-control-request-method": b"POST",
        b"access-control-request-headers": b"authorization,content-type,x-stainless-os",
        b"access-control-request-private-network": b"true",
    }
    assert dict(preflight(CORS, asked) or ()) == {
        b"access-control-allow-methods": b"GET, HEAD, POST",
        b"access-control-allow-headers": b"authorization,content-type,x-stainless-os",
        b"access-control-allow-private-network": b"true",
        b"access-control-max-age": b"600",
    }
    names = asked | {b"access-control-request-headers": b"a:b"}
    del names[b"access-control-request-private-network"]
    assert dict(preflight(CORS, names) or ()).keys() == {b"access-control-allow-methods", b"access-control-max-age"}


@pytest.mark.parametrize("missing", [b"origin", b"access-control-request-method"])
def test_other_options_are_no_preflight(missing: bytes) -> None:
    asked = {b"origin": PAGE, b"access-control-request-method": b"POST"}
    del asked[missing]
    assert preflight(CORS, asked) is None
    assert preflight(OPEN, {b"origin": PAGE, b"access-control-request-method": b"POST"}) is None


@pytest.mark.parametrize(
    "given_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x", "application/vnd.a+json"],
)
def test_json_is_taken_by_any_of_its_names(given_type: str) -> None:
    check_content_type({b"content-type": given_type.encode()})


@pytest.mark.parametrize(
    "given_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "text/plain; application/json",
        "text/plain, application/json",
        "application/x-www-form-urlencoded,a/b+json",
        "application/jsonp",
        "text/json",
        "application/json,text/plain",
        "\xff",
    ],
)
def test_what_a_page_may_send_unasked_is_refused(given_type: str) -> None:
    with pytest.raises(WrongMedia, match=r"-H 'content-type: application/json'") as refused:
        check_content_type({b"content-type": given_type.encode("latin-1")})
    assert refused.value.status == 415


def test_missing_content_type_is_refused() -> None:
    with pytest.raises(WrongMedia, match="is none"):
        check_content_type({})


@given(st.sampled_from(["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"]), st.text("a/;=+json ", max_size=20))
def test_no_parameter_makes_a_simple_type_json(kind: str, more: str) -> None:
    with pytest.raises(WrongMedia):
        check_content_type({b"content-type": f"{kind};{more}".encode()})


@given(st.binary(max_size=30))
def test_any_host_is_a_name_or_not(host: bytes) -> None:
    assert isinstance(is_loopback(host_name(host)), bool)


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)])
def test_config_says_who_may_come(host: str, loopback: bool) -> None:
    wanted = Gateway.model_validate(
        {"allowed_hosts": ["Herd.corp"], "cors": {"allowed_origins": ["https://Chat.example.com"], "max_age_s": 5}}
    )
    assert guests(host, wanted) == Guests(loopback, frozenset({"herd.corp"}), frozenset({PAGE}), 5)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "ip6-localhost", "herd.localhost", "::1"])
def test_listener_on_the_loopback_interface_is_reached_by_this_machine_alone(host: str) -> None:
    assert on_loopback(host)
    assert guests(host, Gateway()).loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "node-1", "localhost.example.com", "2001:db8::1", "::ffff:10.0.0.1", ""])
def test_every_other_listener_is_taken_for_one_that_others_reach(host: str) -> None:
    assert not on_loopback(host)
