"""`deployments.policy.request.calls`: which paths exist, which ids are fit to pass on, what a body is."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.errors.client_errors import BadRequest, UnknownPath
from deployments.policy.request.calls import (
    ENDPOINTS,
    Priority,
    decoded,
    endpoint,
    model_of,
    priority_of,
    request_id,
    session_of,
    with_field,
)
from tests.unit.samples import JSON


@pytest.mark.parametrize(("path", "name"), ENDPOINTS.items())
def test_endpoint_of_a_path(path: str, name: str) -> None:
    assert endpoint("POST", path) == name
    with pytest.raises(UnknownPath) as refused:
        endpoint("GET", path)
    assert (refused.value.status, refused.value.allowed) == (405, ("POST",))


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/chat/completions/", "//v1/chat/completions", "/V1/completions", "/sleep", "/pause", "/v1/load_lora_adapter"]
)
def test_what_else_an_engine_serves_does_not_exist(path: str) -> None:
    with pytest.raises(UnknownPath) as refused:
        endpoint("POST", path)
    assert (refused.value.status, refused.value.allowed) == (404, ())


@given(st.text())
def test_no_path_but_those_of_the_list_is_forwarded(path: str) -> None:
    try:
        name = endpoint("POST", path)
    except UnknownPath:
        name = None
    assert name == ENDPOINTS.get(path)


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        ("req-1", True),
        ("a:b.c_d-E9", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        (None, False),
        ("a b", False),
        ("a\r\nx: y", False),
        ("a\n", False),
        ("é", False),
        ("\N{ARABIC-INDIC DIGIT ONE}", False),
    ],
)
def test_request_id_of_the_client_is_kept_where_it_is_fit(given_id: str | None, kept: bool) -> None:
    assert request_id(given_id, "fresh") == (given_id if kept else "fresh")


@given(st.none() | st.text() | st.text("aZ09._:-\r\n \x00", max_size=140))
def test_request_id_is_always_fit_for_a_header(given_id: str | None) -> None:
    assert re.fullmatch(rb"[!-~]{1,128}", request_id(given_id, "fresh").encode("ascii"))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "The body is not JSON"),
        (b"{", "The body is not JSON"),
        (b'{"a": "\xff"}', "The body is not JSON"),
        (b'{"a": NaN}', "The body is not JSON"),
        (b"[" * 100_000, "The body is not JSON"),
        (b"[]", "The body must be a JSON object"),
        (b"null", "The body must be a JSON object"),
    ],
)
def test_body_that_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence) as refused:
        decoded(body)
    assert refused.value.reason == "invalid_json"


@given(st.dictionaries(st.text(), JSON))
def test_body_that_is_an_object_is_read(value: dict[str, Any]) -> None:
    assert decoded(json.dumps(value).encode()) == value


@given(st.binary() | st.text('{}[]":,0ab\\u', max_size=20).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = decoded(body)
    except BadRequest:
        return
    assert isinstance(value, dict)


MEMBERS = st.lists(st.tuples(st.sampled_from(["model", "messages", "Model", "m"]), JSON), max_size=6)


@given(MEMBERS)
def test_model_of_a_shallow_look_is_that_of_the_whole_body(members: list[tuple[str, Any]]) -> None:
    """Also where a name comes twice: the last one counts, as in vLLM's decoder."""
    raw = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members) + "}"
    spelled = raw.replace('"model"', '"mod\\u0065l"')
    for text in (raw, spelled):
        assert model_of(text.encode()) == decoded(text.encode()).get("model") == json.loads(text).get("model")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"model": NaN}'])
def test_shallow_look_at_what_is_no_object(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        model_of(body)
    assert refused.value.reason == "invalid_json"


@pytest.mark.parametrize(
    ("named", "body", "session"),
    [
        ("mine", {"prompt_cache_key": "k", "user": "u"}, "mine"),
        ("", {"prompt_cache_key": "k", "user": "u"}, "k"),
        (None, {"user": "u"}, "u"),
        (None, {"prompt_cache_key": 7, "user": ""}, None),
        (None, {}, None),
    ],
)
def test_what_a_request_belongs_to(named: str | None, body: dict[str, Any], session: str | None) -> None:
    assert session_of(named, body) == session


@pytest.mark.parametrize(
    ("named", "body", "priority"),
    [
        (None, {}, Priority.INTERACTIVE),
        ("", {"service_tier": "auto"}, Priority.INTERACTIVE),
        ("", {"service_tier": "flex"}, Priority.BATCH),
        ("interactive", {"service_tier": "flex"}, Priority.INTERACTIVE),
        ("Batch", {}, Priority.BATCH),
    ],
)
def test_class_of_a_request(named: str | None, body: dict[str, Any], priority: Priority) -> None:
    assert priority_of(named, body) is priority


def test_unknown_class_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="x-priority must be 'interactive' or 'batch'"):
        priority_of("urgent", {})


@given(st.dictionaries(st.text(), JSON, min_size=1))
def test_one_more_field_changes_no_other(body: dict[str, Any]) -> None:
    assert json.loads(with_field(json.dumps(body).encode() + b" \n", b'"priority":1')) == body | {"priority": 1}
