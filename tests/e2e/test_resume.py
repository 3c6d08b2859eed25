"""Real engines go on with answers that were begun elsewhere: to the token, in text, in tool calls and under a grammar.

The engine is asked at its own door, as a gateway does: for an answer, then for the same one from each of several places on.
"""

import json
from typing import Any

import httpx
import pytest

from deployments.policy.request import resume
from tests.e2e.conftest import Herd

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Tell me about llamas."}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Lima", "Cusco"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
LLAMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "kind": {"enum": ["alpaca", "llama"]}},
    "required": ["name", "kind"],
    "additionalProperties": False,
}
CALLS = '[weather(city="Lima"), weather(city="Cusco")]'


def said(herd: Herd, model: str, path: str, body: bytes) -> bytes:
    headers = {"authorization": f"Bearer {herd.door_key}", "content-type": "application/json", "x-request-id": "the-same"}
    answer = httpx.post(f"http://{herd.replica(model)['address']}{path}", content=body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.content


def meaning(stream: bytes) -> dict[str, Any]:
    """All that a stream says, however its tokens are spread over events: an engine that is ahead of its reader says several at once."""
    tokens: list[int] = []
    calls: dict[int, list[str]] = {}
    text, finish, usage = "", None, None
    for line in stream.split(b"\n"):
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            tokens += choice.get("token_ids") or []
            delta = choice.get("delta", {})
            text += choice.get("text") or delta.get("content") or ""
            finish = choice["finish_reason"] or finish
            for call in delta.get("tool_calls") or ():
                said = calls.setdefault(call["index"], ["", ""])
                said[0] += call["function"].get("name") or ""
                said[1] += call["function"].get("arguments") or ""
    return {"tokens": tokens, "text": text, "calls": calls, "finish": finish, "usage": usage}


@pytest.mark.parametrize(
    ("model", "path", "more"),
    [
        (SMOLLM, CHAT, ASKED | {"max_tokens": 40, "stream_options": {"include_usage": True}}),
        (SCOUT, CHAT, ASKED | {"max_tokens": 40, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        (SCOUT, COMPLETIONS, {"prompt": "Llamas are", "max_tokens": 40, "ignore_eos": True, "min_tokens": 40}),
        (SMOLLM, CHAT, ASKED | {"max_tokens": 60, "stop": ["domest", "and the"]}),
        (SMOLLM, CHAT, ASKED | {"max_tokens": 40, "repetition_penalty": 1.2}),
        (
            SCOUT,
            CHAT,
            ASKED | {"max_tokens": 200, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": LLAMA}}},
        ),
        (SCOUT, CHAT, ASKED | {"max_tokens": 80, "tools": [WEATHER], "tool_choice": "required"}),
        (SCOUT, CHAT, ASKED | {"max_tokens": 60, "tools": [WEATHER], "structured_outputs": {"choice": [CALLS]}}),
    ],
    ids=["chat", "usage", "completion", "stop text", "penalty", "JSON schema", "forced tool", "pythonic tools"],
)
def test_an_answer_goes_on_wherever_it_broke_off(herd: Herd, model: str, path: str, more: dict[str, Any]) -> None:
    body = more | {"model": model, "temperature": 0, "stream": True}
    whole = said(herd, model, path, resume.with_ids(json.dumps(body).encode()))
    events = [event + b"\n\n" for event in whole.split(b"\n\n") if event]
    places = {1, 2, 9, len(events) // 2, len(events) - 2, len(events) - 1}
    for cut in places & set(range(1, len(events))):  # an engine that stood still for a moment says many tokens in one event
        begin = b"".join(events[:cut])
        again = said(herd, model, path, resume.continuing(body, model, resume.delivered(begin)))
        joined = begin + resume.Seam(begin).after(again)
        assert meaning(joined) == meaning(whole), f"broken off after event {cut} of {len(events)}"
        assert joined.count(b'"role"') == whole.count(b'"role"') <= 1
