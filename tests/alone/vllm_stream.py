"""The events that vLLM's own serving code writes in a replica for what an engine generates; no engine runs. For the tests here to ask.

`python -m tests.alone.vllm_stream written`, as `tests.alone.vllm_itself`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

MODEL, CREATED, FINGERPRINT = "herd/llama", 1, "vllm-0.29.0-12345678"
IDS = {"chat": "chatcmpl-1", "messages": "chatcmpl-1", "completions": "cmpl-1"}
PROMPT = [1, 2, 3]


def written(cases: list[dict[str, Any]]) -> list[list[str]]:
    """Each case's events.

    Args:
        cases: an `api` (chat, completions, messages or responses); fields of the `request`; the engine's `outputs` as text, tokens, reason
            for the end and what stopped it; `deltas` that a parser of tools makes of them; the `error` that ends it.
    """
    from deployments.engine.vllm.refusals import _answer_with_blame

    _answer_with_blame()  # as a replica does
    return [asyncio.run(_all(_responses(case) if case["api"] == "responses" else _written(case))) for case in cases]


async def _all(events: AsyncIterator[str]) -> list[str]:
    return [event async for event in events]


def _written(case: dict[str, Any]) -> AsyncIterator[str]:
    if case["api"] == "completions":
        return _completion(case)
    chat = _chat(case)
    return _messages(chat) if case["api"] == "messages" else chat


def _chat(case: dict[str, Any]) -> AsyncIterator[str]:
    from vllm.entrypoints.openai.chat_completion import serving
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    vars(serving)["time"] = SimpleNamespace(time=lambda: CREATED)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True, **case.get("request", {})}
    parser_cls = None if "deltas" not in case else lambda *_, **__: _Parser(case["deltas"])
    server = _server(serving.OpenAIServingChat, parser_cls=parser_cls, response_role="assistant", _include_reasoning_tokens_details=False)
    events: AsyncIterator[str] = server.chat_completion_stream_generator(
        ChatCompletionRequest(**body), _generated(case), IDS["chat"], MODEL, [], object(), SimpleNamespace()
    )
    return events


def _completion(case: dict[str, Any]) -> AsyncIterator[str]:
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion

    async def numbered() -> AsyncIterator[tuple[int, Any]]:
        async for output in _generated(case):
            yield 0, output

    body = {"model": MODEL, "prompt": "Hi", "stream": True, "max_tokens": 16, **case.get("request", {})}
    events: AsyncIterator[str] = _server(OpenAIServingCompletion).completion_stream_generator(
        CompletionRequest(**body), [], numbered(), IDS["completions"], CREATED, MODEL, 1, object(), SimpleNamespace()
    )
    return events


def _messages(chat: AsyncIterator[str]) -> AsyncIterator[str]:
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    events: AsyncIterator[str] = _server(AnthropicServingMessages, stop_reason_map=reasons).message_stream_converter(chat)
    return events


def _responses(case: dict[str, Any]) -> AsyncIterator[str]:
    """The last event of `/v1/responses`: the response as a whole."""
    from openai.types.responses import ResponseCompletedEvent, ResponseIncompleteEvent
    from vllm.entrypoints.openai.responses.api_router import _convert_stream_to_sse_events

    kinds = {"response.completed": ResponseCompletedEvent, "response.incomplete": ResponseIncompleteEvent}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}

    async def last() -> AsyncIterator[Any]:
        response = {"id": "resp_1", "object": "response", "created_at": 1.0, "model": MODEL, "output": [], "usage": usage}
        yield kinds[case["type"]].model_construct(type=case["type"], sequence_number=1, response=response)

    events: AsyncIterator[str] = _convert_stream_to_sse_events(last())
    return events


def _server(kind: Any, **more: Any) -> Any:
    """A server of vLLM's with what its streams look at, and nothing behind it."""
    server = kind.__new__(kind)
    vars(server).update(
        parser_cls=None,
        enable_force_include_usage=False,
        enable_log_outputs=False,
        enable_prompt_tokens_details=False,
        enable_per_request_metrics=False,
        log_error_stack=False,
        request_logger=None,
        model_config=None,
        return_tokens_as_token_ids=True,  # then the text of a token is `token_id:5`, and no tokenizer is needed
        system_fingerprint=FINGERPRINT,
    )
    vars(server).update(more)
    return server


class _Parser:
    """Takes the place of a parser of tools: what it makes of each output is given."""

    def __init__(self, deltas: list[dict[str, Any] | None]) -> None:
        self._left = iter(deltas)

    def parse_delta(self, **_: Any) -> Any:
        from vllm.entrypoints.generate.base.protocol import DeltaMessage

        fields = next(self._left)
        return None if fields is None else DeltaMessage(**fields)

    def count_reasoning_tokens(self, _tokens: Any) -> int:
        return 0


async def _generated(case: dict[str, Any]) -> AsyncIterator[Any]:
    """What vLLM's engine hands to its server."""
    from vllm.exceptions import GenerationError, VLLMValidationError
    from vllm.logprobs import Logprob
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.v1.engine.exceptions import EngineDeadError

    for text, ids, finish, stop in case.get("outputs", ()):
        likely = [{token: Logprob(-0.5)} for token in ids]
        output = CompletionOutput(0, text, ids, None, likely, finish_reason=finish, stop_reason=stop)
        yield RequestOutput("1", "Hi", PROMPT, None, [output], finish is not None)
    errors = {
        "dead": EngineDeadError(),
        "core": GenerationError("Internal server error"),
        "request": VLLMValidationError("top_k is too large", parameter="top_k"),
    }
    if "error" in case:
        raise errors[case["error"]]


if __name__ == "__main__":
    answered = globals()[sys.argv[1]](*json.load(sys.stdin))
    print(f"\n{json.dumps(answered)}")
