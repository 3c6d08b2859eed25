"""What the gateway serves, as an OpenAPI 3.1 document for fuzzers: made from the table of fields.

Small on purpose: it says how large values are that make sense, so that most of what is generated comes near to being served.
"""

from collections.abc import Mapping
from typing import Any

from deployments.policy.body.field_table import EVERYWHERE, FIELDS, NEEDED
from deployments.policy.request.calls import ENDPOINTS
from tests.hostile.pictures import data_url, png

Schema = dict[str, Any]

_ANY: Schema = {
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "integer"},
        {"type": "number"},
        {"type": "string", "maxLength": 20},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        {"type": "object", "maxProperties": 2},
    ]
}
_TEXT: Schema = {"type": "string", "maxLength": 40}
_FLAG: Schema = {"type": ["boolean", "null"]}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 4}
_IMAGE: Schema = {"enum": [data_url(png(8, 8)), data_url(png(9_000, 9_000, whole=False)), "data:,x", "http://127.0.0.1:1/x", ""]}
_TOOL: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["function", "custom", "mcp"]},
        "name": _TEXT,
        "function": {"type": "object", "properties": {"name": _TEXT, "parameters": {"type": "object", "maxProperties": 2}}},
        "input_schema": {"type": "object", "maxProperties": 2},
    },
}
_PART: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["text", "image_url", "input_text", "input_image", "image", "tool_result", "refusal", "input_audio"]},
        "text": {"anyOf": [_TEXT, {"type": "null"}]},
        "image_url": {"anyOf": [{"type": "object", "properties": {"url": _IMAGE}}, _IMAGE, {"type": "null"}]},
        "source": {"type": "object", "properties": {"type": {"enum": ["base64", "url"]}, "media_type": _TEXT, "data": _TEXT}},
        "content": _TEXT,
    },
    "required": ["type"],
}
_CONTENT: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _PART, "maxItems": 3}, {"type": "null"}]}
_MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {"enum": ["user", "assistant", "system", "tool", "developer", "x"]},
        "content": _CONTENT,
        "tool_calls": {"type": "array", "items": {"type": "object", "maxProperties": 3}, "maxItems": 2},
        "tool_call_id": _TEXT,
    },
    "required": ["role", "content"],
}
_MESSAGES: Schema = {"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": 3}
_JSON_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["object", "string", "array", "integer", "uuid"]},
        "pattern": {"enum": ["^a+$", "foo**", r"\p{L}", "(?=a)"]},
        "items": {"anyOf": [{"type": "object", "maxProperties": 1}, {"type": "array", "maxItems": 2}]},
        "minProperties": _COUNT,
        "enum": {"type": "array", "items": _TEXT, "maxItems": 3},
    },
}
_FORMAT: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["json_schema", "json_object", "text", "x"]},
        "json_schema": {"type": "object", "properties": {"name": _TEXT, "schema": _JSON_SCHEMA}, "required": ["name", "schema"]},
    },
    "required": ["type"],
}
_TOKENS: Schema = {"type": "array", "items": {"type": "integer", "minimum": -2, "maximum": 60_000}, "maxItems": 4}

#: Fields whose values need a shape to come near to being served.
_KNOWN: Mapping[str, Schema] = {
    "model": {"enum": ["smollm2", "smollm2-135m-instruct", "scout"]},
    "messages": _MESSAGES,
    "prompt": {"anyOf": [_TEXT, _TOKENS, {"type": "array", "items": _TEXT, "maxItems": 3}]},
    "input": {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": [_MESSAGE, _PART]}, "maxItems": 3}]},
    "tokens": _TOKENS,
    "system": _CONTENT,
    "stream": _FLAG,
    "stream_options": {"type": "object", "properties": {"include_usage": _FLAG}},
    "tools": {"type": "array", "items": _TOOL, "maxItems": 2},
    "response_format": _FORMAT,
    "structured_outputs": {
        "type": "object",
        "properties": {
            "regex": {"enum": ["a+", "foo**"]},
            "choice": {"type": "array", "items": _TEXT, "maxItems": 2},
            "json": _JSON_SCHEMA,
        },
        "maxProperties": 1,
    },
    "n": {"type": "integer", "minimum": 0, "maximum": 3},
    "logit_bias": {"type": "object", "propertyNames": {"enum": ["1", "49152", "-1", "x"]}, "additionalProperties": {"type": "number"}},
    "stop": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 5}]},
    "stop_token_ids": _TOKENS,
    "allowed_token_ids": _TOKENS,
    "logprob_token_ids": _TOKENS,
    "bad_words": {"type": "array", "items": _TEXT, "maxItems": 3},
    "temperature": {"type": "number", "minimum": -1, "maximum": 3},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "seed": {"type": "integer"},
    "logprobs": {"anyOf": [_FLAG, _COUNT]},
    "top_logprobs": _COUNT,
    "prompt_logprobs": _COUNT,
    "min_tokens": _COUNT,
}
#: The fields that say how long an answer may be, so that a fuzzed request costs an engine little.
_LENGTHS = {"chat": "max_tokens", "completions": "max_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}


def document() -> dict[str, Any]:
    """OpenAPI 3.1, with one operation for each path."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Llama Herd", "version": "1"},
        "paths": {path: {"post": _operation(name)} for path, name in ENDPOINTS.items()},
    }


def _operation(endpoint: str) -> dict[str, Any]:
    fields = sorted({*FIELDS.get(endpoint, {}), *EVERYWHERE})
    properties = {name: _KNOWN.get(name, _ANY) for name in fields}
    needed = ["model", *NEEDED.get(endpoint, ())[:1]]
    if length := _LENGTHS.get(endpoint):
        properties[length] = {"type": "integer", "minimum": 1, "maximum": 2} if endpoint != "responses" else {"const": 16}
        needed.append(length)
    # A request names few of them, as clients do: with all sixty in each, one wrong one would hide the others.
    schema = {"type": "object", "properties": properties, "required": needed, "maxProperties": len(needed) + 3}
    return {
        "operationId": endpoint,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "An answer."}},
    }
