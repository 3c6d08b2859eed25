"""Prefill and decode apart: which prompts are computed by engines of their own, and what both kinds of engine are told.

Decides over decoded JSON. The engine that computes a prompt generates one token, which nobody sees, and says where its KV cache is; the
one that answers is told so, and takes it from there. The names are those of vLLM's NIXL connector (`kv_connector/v1/nixl`).
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.request.resume import asks_for, one_answer

_FIELD = "kv_transfer_params"
#: Keep the blocks, for whoever comes with what the answer says.
_HANDS_OVER = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
#: What says how an answer goes on, or looks: one token cannot comply, and the prompt is the same without.
_OF_THE_ANSWER = frozenset(
    {
        "stream_options",
        "min_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "response_format",
        "structured_outputs",
        "return_token_ids",
    }
)


def is_long(prompt: Prompt, from_tokens: int | None) -> bool:
    """Whether a prompt is for engines of its own; those that are shorter are not worth the way."""
    return from_tokens is not None and prompt.tokens >= from_tokens


def can_hand_over(endpoint: str, body: Mapping[str, Any]) -> bool:
    """Whether the KV cache of a request's prompt can be handed over: it is taken once."""
    return one_answer(endpoint, body) and not asks_for(body, "prompt_logprobs") and not body.get("echo")


def prefilling(body: Mapping[str, Any], pool: str) -> bytes:
    """Returns the request to an engine that only computes the prompt."""
    kept = {name: value for name, value in body.items() if name not in _OF_THE_ANSWER}
    # A call that must be made cannot be made in one token; which tools there are stays in the prompt.
    calls = {"tool_choice": "none"} if body.get("tools") else {}
    return msgspec.json.encode({**kept, **calls, "model": pool, "stream": False, "max_tokens": 1, _FIELD: _HANDS_OVER})


def handed_over(answer: bytes) -> bytes | None:
    """Returns the field for the engine that goes on: a member of its request. None where there is nothing to take."""
    try:
        said = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    params = said.get(_FIELD) if isinstance(said, dict) else None
    if not isinstance(params, dict) or not any(params.get("remote_block_ids") or ()):
        return None
    return b'"%b":%b' % (_FIELD.encode(), msgspec.json.encode(params))
