"""The bytes of events that the gateway relies on are those that vLLM's own serving code writes, and the fakes write the same.

The expected events come from `tests.wire_format`, as every fake engine's do. What the gateway makes of them is asked of the functions that
read them: `policy.request.resume`, `policy.request.usage` and `policy.errors.engine_errors`.
"""

from dataclasses import replace
from typing import Any

import pytest

from deployments.gateway import delivery
from deployments.gateway.said import LAST_PIECES
from deployments.policy.errors import engine_errors
from deployments.policy.errors.engine_errors import Said
from deployments.policy.request import resume, usage
from deployments.policy.request.resume import Delivered
from deployments.policy.request.usage import Usage
from tests import wire_format as wire
from tests.alone import vllm_itself
from tests.wire_format import CHAT, COMPLETION, LAST, error_event, event, opening
from tests.wire_format import usage as told_usage

IDS: dict[str, Any] = {"return_token_ids": True}
WITH_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
LIKELY: dict[str, Any] = {"logprobs": True, "top_logprobs": 1}
ALL_ALONG: dict[str, Any] = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
#: Text, tokens, the reason for the end and what stopped it, as vLLM's engine hands them to its server.
LLAMA = [["lla", [5, 6], None, None], ["ma", [7], "stop", None]]
BEGUN = LLAMA[:1]
CALL = {"tool_calls": [{"index": 0, "id": "chatcmpl-tool-0a", "type": "function", "function": {"name": "hello", "arguments": ""}}]}
CALL_WRITTEN = {"tool_calls": [{"id": "chatcmpl-tool-0a", "type": "function", "index": 0, "function": {"name": "hello", "arguments": ""}}]}
CALLED = [["a", [5], None, None], ["b", [6], None, None], ["c", [7], "stop", None]]
COUNTED, COUNTED_COMPLETION = replace(CHAT, tells_usage=True), replace(COMPLETION, tells_usage=True)
ODD = 'é\u2028\x7f\x1f\n"\\/<🦙'


def logprobs(token: int) -> dict[str, Any]:
    name = f"token_id:{token}"
    likely = {"token": name, "logprob": -0.5, "bytes": list(name.encode())}
    return {"content": [{"token": name, "logprob": -0.5, "bytes": None, "top_logprobs": [likely]}]}


#: What vLLM is given, and the bytes that it must write.
CASES: dict[str, tuple[dict[str, Any], list[bytes]]] = {
    "chat": (
        {"api": "chat", "outputs": LLAMA},
        [opening(), event("lla"), event("ma", "stop"), LAST],
    ),
    "chat with token ids": (
        {"api": "chat", "request": IDS, "outputs": LLAMA},
        [opening(prompt_ids=[1, 2, 3]), event("lla", ids=[5, 6]), event("ma", "stop", [7]), LAST],
    ),
    "chat with usage": (
        {"api": "chat", "request": WITH_USAGE, "outputs": LLAMA},
        [opening(), event("lla"), event("ma", "stop", of=COUNTED), told_usage(3, 3), LAST],
    ),
    "chat that a token stopped": (
        {"api": "chat", "outputs": [*BEGUN, ["", [200007], "stop", 200007]]},
        [opening(), event("lla"), event("", "stop", stop_reason=200007), LAST],
    ),
    "chat that a text stopped": (
        {"api": "chat", "outputs": [*BEGUN, ["", [7], "stop", "ma"]]},
        [opening(), event("lla"), event("", "stop", stop_reason="ma"), LAST],
    ),
    "chat with logprobs": (
        {
            "api": "chat",
            "request": {"logprobs": True, "top_logprobs": 1},
            "outputs": [["lla", [5], None, None], ["ma", [7], "length", None]],
        },
        [opening(), event("lla", logprobs=logprobs(5)), event("ma", "length", logprobs=logprobs(7)), LAST],
    ),
    "chat that calls a tool": (
        {"api": "chat", "request": IDS, "outputs": CALLED, "deltas": [None, CALL, None]},
        [
            opening(prompt_ids=[1, 2, 3]),
            event({}, ids=[5]),
            event(CALL_WRITTEN, ids=[6]),
            event({}, "tool_calls", [7]),
            LAST,
        ],
    ),
    "chat with odd characters": (
        {"api": "chat", "outputs": [[ODD, [5], "stop", None]]},
        [opening(), event(ODD, "stop"), LAST],
    ),
    "chat whose request is wrong": (
        {"api": "chat", "outputs": BEGUN, "error": "request"},
        [opening(), event("lla"), error_event(400, "top_k is too large", "top_k", "BadRequestError"), LAST],
    ),
    "chat that the core ended": (
        {"api": "chat", "outputs": BEGUN, "error": "core"},
        [opening(), event("lla"), error_event(500, engine_errors.CORE_ERROR), LAST],
    ),
    "completion": (
        {"api": "completions", "outputs": LLAMA},
        [event("lla", of=COMPLETION), event("ma", "stop", of=COMPLETION), LAST],
    ),
    "completion with token ids and usage": (
        {"api": "completions", "request": IDS | WITH_USAGE, "outputs": LLAMA},
        [
            event("lla", ids=[5, 6], of=COMPLETION, prompt_ids=[1, 2, 3]),
            event("ma", "stop", [7], COUNTED_COMPLETION),
            told_usage(3, 3, COMPLETION),
            LAST,
        ],
    ),
}
#: Streams that no fake writes to the byte.
OTHERS: dict[str, dict[str, Any]] = {
    "chat with usage all along": {"api": "chat", "request": ALL_ALONG | IDS, "outputs": LLAMA},
    "chat whose engine died": {"api": "chat", "outputs": BEGUN, "error": "dead"},
    "completion whose engine died": {"api": "completions", "outputs": BEGUN, "error": "dead"},
    "message": {"api": "messages", "request": ALL_ALONG, "outputs": LLAMA},
    "message that the core ended": {"api": "messages", "request": ALL_ALONG, "outputs": BEGUN, "error": "core"},
    "message whose engine died": {"api": "messages", "request": ALL_ALONG, "outputs": BEGUN, "error": "dead"},
    "response": {"api": "responses", "type": "response.completed"},
    "response that is too long": {"api": "responses", "type": "response.incomplete"},
}


@pytest.fixture(scope="module")
def written() -> dict[str, list[bytes]]:
    cases = {name: case for name, (case, _) in CASES.items()} | OTHERS
    answers = vllm_itself.ask("written", list(cases.values()), module="tests.alone.vllm_stream")
    return {name: [one.encode() for one in events] for name, events in zip(cases, answers, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_vllm_writes_what_the_fakes_write(written: dict[str, list[bytes]], name: str) -> None:
    assert written[name] == CASES[name][1]


@pytest.mark.parametrize("name", [name for name, (case, _) in CASES.items() if "error" not in case])
def test_every_event_of_chat_and_completions_begins_as_the_gateway_knows_it(written: dict[str, list[bytes]], name: str) -> None:
    """An error's begins otherwise; see `deployments/gateway/delivery.py`."""
    *events, last = written[name]
    assert all(one.startswith(delivery._EVENT) and one.find(b"\n") == len(one) - 2 for one in events)
    assert last == LAST
    assert engine_errors.is_last(last)


@pytest.mark.parametrize(("with_ids", "without"), [("chat with token ids", "chat"), ("chat that calls a tool", None)])
def test_token_ids_can_be_taken_out(written: dict[str, list[bytes]], with_ids: str, without: str | None) -> None:
    shown = resume.shown(b"".join(written[with_ids]))
    expected = b"".join(written[without]) if without else b"".join([opening(), event(CALL_WRITTEN), event({}, "tool_calls"), LAST])
    assert shown == expected
    one_by_one = [resume.one_shown(one) for one in written[with_ids]]
    assert b"".join(one for one in one_by_one if b'"delta":{},"logprobs":null,"finish_reason":null' not in one) == expected


@pytest.mark.parametrize(
    ("name", "so_far"),
    [
        ("chat with token ids", Delivered((5, 6, 7), (2, 1), "stop")),
        ("chat with usage all along", Delivered((5, 6, 7), (2, 1), "stop")),
        ("chat that calls a tool", Delivered((5, 6, 7), (1, 1, 1), "tool_calls")),
        ("completion with token ids and usage", Delivered((5, 6, 7), (2, 1), "stop")),
    ],
)
def test_delivered_tokens_can_be_read(written: dict[str, list[bytes]], name: str, so_far: Delivered) -> None:
    said = b"".join(written[name])
    assert resume.delivered(said) == so_far
    assert engine_errors.is_whole(said)


def test_what_two_engines_make_up_is_all_that_may_differ(written: dict[str, list[bytes]]) -> None:
    said = b"".join(written["chat that calls a tool"])
    again = said.replace(b'"created":1,', b'"created":2,').replace(b"chatcmpl-tool-0a", b"chatcmpl-tool-0b")
    assert resume.Seam(said).after(again) == b""


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("chat with usage", Usage(3, 3)),
        ("chat with usage all along", Usage(3, 3)),
        ("completion with token ids and usage", Usage(3, 3)),
        ("message", Usage(3, 3)),
        ("response", Usage(3, 2)),
        ("chat", None),
    ],
)
def test_usage_can_be_read(written: dict[str, list[bytes]], name: str, tokens: Usage | None) -> None:
    assert usage.of_stream(b"".join(written[name][-LAST_PIECES:])) == tokens


@pytest.mark.parametrize(
    "name", ["chat", "chat with usage", "chat that calls a tool", "completion", "message", "response", "response that is too long"]
)
def test_reason_for_the_end_stands_in_the_last_events(written: dict[str, list[bytes]], name: str) -> None:
    assert engine_errors.has_finish(b"".join(written[name][-LAST_PIECES:]))
    assert not engine_errors.has_finish(b"".join(written[name][:-3])) or name.startswith("response")
    assert engine_errors.error_at(b"".join(written[name])) < 0


@pytest.mark.parametrize(
    ("name", "at", "said", "of_death"),
    [
        ("chat whose request is wrong", -2, Said(400, "top_k is too large", "BadRequestError", "top_k"), False),
        ("chat that the core ended", -2, Said(500, engine_errors.CORE_ERROR, "InternalServerError"), False),
        ("chat whose engine died", -2, None, True),
        ("completion whose engine died", -2, None, True),
        ("message that the core ended", -1, Said(500, engine_errors.CORE_ERROR, "internal_error"), False),
        ("message whose engine died", -1, None, True),
    ],
)
def test_error_can_be_read(written: dict[str, list[bytes]], name: str, at: int, said: Said | None, of_death: bool) -> None:
    events = written[name]
    before = b"".join(events[:at])
    assert engine_errors.error_at(b"".join(events)) == len(before)
    found = engine_errors.said_in(events[at])
    assert found.of_death is of_death
    assert said is None or found == said


@pytest.mark.parametrize("name", ["chat", "completion", "message", "response", "response that is too long"])
def test_stream_ends_as_the_gateway_knows_it(written: dict[str, list[bytes]], name: str) -> None:
    events = written[name]
    assert engine_errors.is_last(events[-1]) or name.startswith("response")
    assert [engine_errors.is_whole(event) for event in events] == [False] * (len(events) - 1) + [True]


def test_fake_engines_and_this_test_name_one_engine() -> None:
    assert (CHAT.model, CHAT.created, CHAT.id, COMPLETION.id) == ("herd/llama", 1, "chatcmpl-1", "cmpl-1")
    assert wire.DONE.endswith(LAST)
