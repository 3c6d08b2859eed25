"""A stream of tool calls is the same to the byte however the engine's tokens come: several at once, late, or behind another engine's.

`deployments/engine/vllm/token_by_token.py`. The stream with one token in each event is held against what the text says.
"""

import json
import random
import re
from typing import Any

import pytest

from tests.alone import vllm_itself

Case = dict[str, Any]

TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
NAMED = {"type": "function", "function": {"name": "weather"}}
#: Pieces of three calls. Between the first two, one token ends a call and begins the next.
REQUIRED_TEXT = (
    '[{"|name|": "|weather|", "|parameters|": {"|city|": "|Li|ma|"}|},{"|name|": "|now|", "|parameters|'
    '": |{}|}|, |{"|name|": "|weather|", "|parameters|": {"|city|": "|a|},|{|\\"|b|"}|}|]'
)
LLAMA_3_TEXT = (
    '{"|name|": "|weather|", "|parameters|": {"|city|": "|Li|ma|"}}|; |{"|name|": "|weather|", "|parameters|": {"|city|": "|Cus|co|"}}'
)
PYTHONIC_TEXT = '[|weather|(city="|Li|ma|")|, |weather|(city="|Cus|co|")]'
REQUIRED, LLAMA_3, PYTHONIC = (text.split("|") for text in (REQUIRED_TEXT, LLAMA_3_TEXT, PYTHONIC_TEXT))

CALLS: dict[str, tuple[Case, list[list[Any]]]] = {
    "required": (
        {"parser": "llama4_pythonic", "request": {"tool_choice": "required"}, "pieces": REQUIRED},
        [["weather", {"city": "Lima"}], ["now", {}], ["weather", {"city": 'a},{"b'}]],
    ),
    "auto, Llama 3": (
        {"parser": "llama3_json", "request": {}, "pieces": LLAMA_3},
        [["weather", {"city": "Lima"}], ["weather", {"city": "Cusco"}]],
    ),
    "auto, Llama 4": (
        {"parser": "llama4_pythonic", "request": {}, "pieces": PYTHONIC},
        [["weather", {"city": "Lima"}], ["weather", {"city": "Cusco"}]],
    ),
    "named": (
        {"parser": "llama4_pythonic", "request": {"tool_choice": NAMED}, "pieces": ['{"', "city", '": "', "}, {", '"}']},
        [["weather", {"city": "}, {"}]],
    ),
}


def case(name: str, **more: Any) -> Case:
    made = {"api": "chat", **CALLS[name][0], **more}
    return made | {"request": {"tools": TOOLS, "return_token_ids": True} | made["request"] | more.get("request", {})}


def groupings(name: str) -> list[Case]:
    """Returns ways in which the tokens may come: even ones, and some at random."""
    count, rng = len(CALLS[name][0]["pieces"]) + 1, random.Random(name)
    even = [{"sizes": [size], "read_after": late} for size in (1, 2, 3, 5, count) for late in (1, 2, 4, count)]
    odd = [{"sizes": [rng.choice((1, 1, 2, 3, 7)) for _ in range(count)], "read_after": rng.choice((1, 1, 2, 3))} for _ in range(30)]
    rare = [{"stream_interval": 4}, {"request": CALLS[name][0]["request"] | {"stream_interval": 4}}]
    gone_on = [{"delivered": at, "sizes": [size], "read_after": 3} for at in range(1, count, 2) for size in (1, 4)]
    return even + odd + rare + gone_on


PROMPTLY: dict[str, Any] = {"sizes": [1], "read_after": 1}
MORE: dict[str, list[dict[str, Any]]] = {
    "required": [{"n": 2}, {"logprobs": True, "top_logprobs": 1}, {"stream_options": {"include_usage": True}}],
    "auto, Llama 3": [{"n": 2}, {"stop": ["Cus"]}],
}
ASKED: dict[tuple[str, str], list[Case]] = {
    **{("chat", name): [case(name, **way) for way in (PROMPTLY, *groupings(name))] for name in CALLS},
    **{("messages", name): [case(name, api="messages", **way) for way in (PROMPTLY, *groupings(name)[::4])] for name in MORE},
    **{("as it is", name): [case(name, mends=False, **way) for way in (PROMPTLY, {"sizes": [99]})] for name in CALLS},
    **{
        (str(more), name): [case(name, request=CALLS[name][0]["request"] | more, **way) for way in (PROMPTLY, *groupings(name)[:40:3])]
        for name, many in MORE.items()
        for more in many
    },
    ("no tools", "required"): [
        case("required", request={"tools": None, "tool_choice": None}, **way)
        for way in (PROMPTLY, {"sizes": [3]}, {"read_after": 4}, {"stream_interval": 4})
    ],
}


@pytest.fixture(scope="module")
def streamed() -> dict[tuple[str, str], list[list[str]]]:
    cases = [one for many in ASKED.values() for one in many]
    streams = iter(vllm_itself.ask("streamed", cases, module="tests.alone.vllm_tools"))
    return {key: [[_told_apart(event) for event in next(streams)] for _ in many] for key, many in ASKED.items()}


def _told_apart(event: str) -> str:
    """Returns an event without the ids that are made up anew each time."""
    return re.sub(r"chatcmpl-tool-[0-9a-f]+", "tool", event)


def calls(events: list[str]) -> list[list[Any]]:
    """Returns the names and arguments of the calls of one answer."""
    found: dict[int, list[str]] = {}
    for event in events:
        choices = json.loads(event[6:])["choices"] if event.startswith("data: {") else []
        for call in [call for choice in choices for call in choice["delta"].get("tool_calls", ())]:
            name, arguments = found.setdefault(call["index"], ["", ""])
            said = call["function"]
            found[call["index"]] = [name + (said.get("name") or ""), arguments + (said.get("arguments") or "")]
    return [[name, json.loads(arguments)] for _, (name, arguments) in sorted(found.items())]


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_those_that_the_text_says(streamed: dict[tuple[str, str], list[list[str]]], name: str) -> None:
    assert calls(streamed["chat", name][0]) == CALLS[name][1]


@pytest.mark.parametrize(("what", "name"), [key for key in ASKED if key[0] not in ("as it is", "no tools")])
def test_stream_is_the_same_however_its_tokens_come(streamed: dict[tuple[str, str], list[list[str]]], what: str, name: str) -> None:
    promptly, *others = streamed[what, name]
    for way, events in zip(ASKED[what, name][1:], others, strict=True):
        assert sorted(events) == sorted(promptly) if "n" in way["request"] else events == promptly, way


@pytest.mark.parametrize(("name", "lost"), [("required", 2), ("auto, Llama 3", 2), ("auto, Llama 4", 0), ("named", 0)])
def test_vllm_as_it_is_loses_calls_that_come_at_once(streamed: dict[tuple[str, str], list[list[str]]], name: str, lost: int) -> None:
    """Where this fails, vLLM may have mended it: `token_by_token.py` may no longer be needed."""
    promptly, at_once = streamed["as it is", name]
    assert promptly == streamed["chat", name][0]
    assert len(calls(promptly)) - len(calls(at_once)) == lost


def test_stream_without_tools_is_left_as_it_is(streamed: dict[tuple[str, str], list[list[str]]]) -> None:
    count = len(REQUIRED) + 1
    beside = 2  # the first event, and [DONE]
    steps = [len(events) - beside for events in streamed["no tools", "required"]]
    assert steps == [count, -(-count // 3), -(-count // 4), 1 + -(-(count - 1) // 4)]


CHAT: Case = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
RESPONSE: Case = {"model": "m", "input": "Hi", "stream": True}
FUNCTION = {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}}


def test_only_streams_that_may_call_tools_keep_their_tokens_apart() -> None:
    bodies = {
        "chat": (CHAT, False),
        "chat with tools": (CHAT | {"tools": TOOLS}, True),
        "chat with tools, none of which it may call": (CHAT | {"tools": TOOLS, "tool_choice": "none"}, False),
        "chat with tools that is no stream": (CHAT | {"tools": TOOLS, "stream": False}, False),
        "chat with tools and other arguments": (CHAT | {"tools": TOOLS, "vllm_xargs": {"mine": 1}}, True),
        "response": (RESPONSE, False),
        "response with tools": (RESPONSE | {"tools": [FUNCTION]}, True),
        "response with tools that is no stream": (RESPONSE | {"tools": [FUNCTION], "stream": False}, False),
    }
    found = vllm_itself.ask("apart", [body for body, _ in bodies.values()], module="tests.alone.vllm_tools")
    assert dict(zip(bodies, found, strict=True)) == {name: apart for name, (_, apart) in bodies.items()}


def test_queue_hands_out_all_in_order_and_an_error_at_its_turn() -> None:
    told = vllm_itself.ask("queued", module="tests.alone.vllm_tools")
    assert told == {"empty": None, "waits": True, "got": ["first", "second", "dead"], "left": None, "ready": False}


def test_what_the_core_says_once_is_said_with_one_token() -> None:
    """A field that is new in vLLM fails here: whether it belongs to the first token, the last or each is for a human to say."""
    first, middle, last = vllm_itself.ask("taken_apart", module="tests.alone.vllm_tools")
    each = {"request_id": "1"} | {name: name for name in ("pooling_output", "trace_headers", "num_nans_in_logits")}
    with_first = ("events", "mm_cache_miss_hashes", "new_prompt_logprobs_tensors", "new_sampling_mask", "prefill_stats", "routed_experts")
    with_last = ("stop_reason", "kv_transfer_params", "ec_transfer_params", "spec_decode_metrics")
    none = {"finish_reason": "None"}
    assert first == each | {name: name for name in with_first} | none | {"new_token_ids": [5], "new_logprobs": [[-5.0]]}
    assert middle == each | none | {"new_token_ids": [6], "new_logprobs": [[-6.0]]}
    assert last == each | {name: name for name in with_last} | {"finish_reason": "stop", "new_token_ids": [7], "new_logprobs": [[-7.0]]}
