"""`deployments.policy.routing.prefill`: which prompts are computed apart, and what both kinds of engine are told."""

import json
from typing import Any

import pytest

from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing import prefill

CHAT: dict[str, Any] = {"model": "scout", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


@pytest.mark.parametrize(("tokens", "from_tokens", "long"), [(9, 10, False), (10, 10, True), (10, None, False)])
def test_long_is_what_the_config_says(tokens: int, from_tokens: int | None, long: bool) -> None:
    assert prefill.is_long(Prompt((), tokens), from_tokens) is long


@pytest.mark.parametrize(
    ("endpoint", "more", "possible"),
    [
        ("chat", {}, True),
        ("chat", {"stream": False, "logprobs": True}, True),
        ("completions", {"prompt": "Hi"}, True),
        ("completions", {"prompt": ["Hi", "you"]}, False),
        ("completions", {"prompt": "Hi", "echo": True}, False),
        ("chat", {"prompt_logprobs": 1}, False),
        ("chat", {"prompt_logprobs": 0}, False),
        ("chat", {"prompt_logprobs": None}, True),
        ("chat", {"n": 2}, False),
        ("responses", {}, False),
        ("embeddings", {}, False),
    ],
)
def test_what_is_taken_once_is_for_one_answer(endpoint: str, more: dict[str, Any], possible: bool) -> None:
    assert prefill.can_hand_over(endpoint, CHAT | more) is possible


def test_the_first_engine_computes_the_same_prompt_and_one_token() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    answers = {
        "tool_choice": "required",
        "max_completion_tokens": 900,
        "min_tokens": 5,
        "logprobs": True,
        "response_format": {"type": "json_object"},
    }
    told = json.loads(
        prefill.prefilling(
            CHAT | {"tools": tools, "temperature": 0.5, "stream_options": {"include_usage": True}} | answers, "scout:prefill"
        )
    )
    assert told.pop("kv_transfer_params")["do_remote_decode"] is True
    assert told == {
        "model": "scout:prefill",
        "messages": CHAT["messages"],
        "tools": tools,
        "tool_choice": "none",
        "temperature": 0.5,
        "stream": False,
        "max_tokens": 1,
    }
    assert "tool_choice" not in json.loads(prefill.prefilling(CHAT, "scout:prefill")), "vLLM takes it with tools only"


def test_what_it_hands_over_goes_on_as_it_is() -> None:
    params = {"do_remote_prefill": True, "remote_block_ids": [[3, 4]], "remote_host": "10.0.0.2"}
    field = prefill.handed_over(json.dumps({"choices": [], "kv_transfer_params": params}).encode())
    assert field is not None
    assert json.loads(b"{" + field + b"}") == {"kv_transfer_params": params}


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense", b"\xff", b"[]", b"{}", b'{"kv_transfer_params":null}', b'{"kv_transfer_params":{}}']
    + [b'{"kv_transfer_params":{"remote_block_ids":%b}}' % ids for ids in (b"null", b"[]", b"[[]]")],
)
def test_nothing_to_take_is_nothing(answer: bytes) -> None:
    """An engine that is told of no blocks and finds none asserts."""
    assert prefill.handed_over(answer) is None
