"""Cases about whose fault it is: what an engine fails on because of the request is the client's mistake, told in a client's words."""

from collections.abc import Iterator
from typing import Any

from tests.hostile.case import (
    CHAT,
    COMPLETIONS,
    COUNT,
    DETOKENIZE,
    EITHER,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    SCOUT,
    SERVED,
    SMOLLM,
    TOKENIZE,
    Case,
    label,
    saying,
    smallest,
    text,
)


def _inside(levels: int) -> Any:
    """A list of lists of lists …"""
    return {"type": "array", "items": _inside(levels - 1)} if levels else {"type": "string"}


#: Schemas that one grammar backend compiles and another does not, or none.
_SCHEMAS: dict[str, Any] = {
    "tuple": {"type": "array", "items": [{"type": "string"}]},
    "tuple-mixed": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False},
    "unicode-pattern": {"type": "string", "pattern": r"^\p{L}+$"},
    "bad-pattern": {"type": "string", "pattern": "foo**"},
    "look-ahead": {"type": "string", "pattern": "(?=a)b"},
    "back-reference": {"type": "string", "pattern": r"(a)\1"},
    "min-properties": {"type": "object", "minProperties": 2},
    "max-properties": {"type": "object", "maxProperties": 0, "required": ["a"]},
    "pattern-properties": {"type": "object", "patternProperties": {"^x": {"type": "string"}}},
    "property-names": {"type": "object", "propertyNames": {"pattern": "^a"}},
    "unique-items": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "contains": {"type": "array", "contains": {"type": "string"}},
    "multiple-of": {"type": "integer", "multipleOf": 7},
    "not": {"not": {"type": "string"}},
    "if": {"if": {"type": "string"}, "then": {"minLength": 1}},
    "never": False,
    "bad-type": {"type": "uuid"},
    "bad-reference": {"$ref": "#/$defs/nothing"},
    "remote-reference": {"$ref": "http://127.0.0.1:1/schema"},
    "self-reference": {"$ref": "#"},
    "bad-format": {"type": "string", "format": "no-such-format"},
    "contradiction": {"type": "string", "minLength": 5, "maxLength": 2},
    "huge-range": {"type": "array", "items": {"type": "string"}, "minItems": 100_000, "maxItems": 1_000_000},
    "many-words": {"enum": [f"w{number}" for number in range(20_000)]},
    "counted-properties": {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(200)}, "minProperties": 100},
    "uri-templates": {"type": "object", "properties": {f"p{n}": {"type": "string", "format": "uri-template"} for n in range(200)}},
    "ranges": {
        "type": "object",
        "properties": {f"p{n}": {"type": "integer", "minimum": n - 10**17, "maximum": n + 10**17} for n in range(400)},
        "required": [f"p{n}" for n in range(400)],
    },
    "inside-each-other": {"anyOf": [_inside(45)] * 60},
    "not-a-schema": 5,
    "empty-enum": {"enum": []},
}
_GRAMMARS: dict[str, dict[str, Any]] = {
    "regex-bad": {"regex": "foo**"},
    "regex-unbalanced": {"regex": "("},
    "regex-unicode": {"regex": r"\p{L}+"},
    "regex-ahead": {"regex": "(?=a)b"},
    "regex-repeated": {"regex": "((a{1,500}){1,500}){1,500}"},
    "grammar-bad": {"grammar": "root ::= ("},
    "grammar-left": {"grammar": "root ::= root 'a'"},
    "grammar-none": {"grammar": "x ::= 'a'"},
    "tag-bad": {"structural_tag": "x"},
    "json-text-bad": {"json": "{"},
    "json-text-nan": {"json": '{"type": "string", "pattern": "' + "[a-z]?" * 80 + '", "default": NaN}'},
    "json-text-deep": {"json": '{"items":' * 450 + "{}" + "}" * 450},
    "regex-spaces": {"regex": "a{1," + " " * 60_000 + "x"},
    "choice-empty": {"choice": []},
    "nothing": {},
    "two": {"regex": "a", "json": {"type": "object"}},
}


def _grammars() -> Iterator[Case]:
    for model in (SMOLLM, SCOUT):
        for name, schema in _SCHEMAS.items():
            wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            for stream in (False, True):
                body = saying(model=model, max_tokens=4, response_format=wanted, stream=stream)
                label_ = f"schema-{name}-{model}{'-stream' if stream else ''}"
                yield Case(label_, "reports tuple_schema", text(body), statuses=EITHER, models=(model,), within_s=30)
        for name, wanted in _GRAMMARS.items():
            for path in (CHAT, COMPLETIONS):
                body = smallest(path, model) | {"structured_outputs": wanted, "max_tokens": 4}
                statuses = EITHER
                yield Case(
                    f"{name}-{model}-{label(path)}", "reports bad_regex", text(body), path, statuses=statuses, models=(model,), within_s=30
                )
    for name, schema in _SCHEMAS.items():
        format_ = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
        yield Case(
            f"schema-{name}-responses",
            "reports tuple_schema",
            text(smallest(RESPONSES) | {"text": format_}),
            RESPONSES,
            statuses=EITHER,
            within_s=30,
        )
        tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
        named = {"type": "function", "function": {"name": "f"}}
        body = saying(model=SCOUT, max_tokens=4, tools=[tool], tool_choice=named)
        yield Case(f"schema-{name}-tool", "reports tuple_schema", text(body), statuses=EITHER, models=(SCOUT,), within_s=30)
    for stream in (False, True):
        poison: dict[str, Any] = {"structured_outputs": {"choice": ["llama"]}, "allowed_token_ids": [28], "temperature": 0}
        body = saying(max_tokens=8, stream=stream, **poison)
        yield Case(
            f"grammar-against-tokens{'-stream' if stream else ''}", "reports poison_stream", text(body), statuses=EITHER, within_s=15
        )


def _limits() -> Iterator[Case]:
    yield Case(
        "max_tokens-million",
        "reports max_tokens_too_large",
        text(saying(max_tokens=1_000_000)),
        param="max_tokens",
        not_code="context_length_exceeded",
    )
    for path, field in ((COMPLETIONS, "max_tokens"), (RESPONSES, "max_output_tokens"), (MESSAGES, "max_tokens")):
        body = smallest(path) | {field: 1_000_000}
        yield Case(f"{field}-million-{label(path)}", "reports max_tokens_too_large", text(body), path, statuses=EITHER)
    yield Case(
        "max_completion_tokens-million",
        "reports max_tokens_too_large",
        text(saying(max_completion_tokens=1_000_000)),
        not_code="context_length_exceeded",
    )
    for path in (COMPLETIONS, RESPONSES, MESSAGES):
        long = {COMPLETIONS: {"prompt": "llama " * 4_000}, RESPONSES: {"input": "llama " * 4_000}}
        body = smallest(path) | long.get(path, {"messages": [{"role": "user", "content": "llama " * 4_000}]})
        yield Case(f"too-long-{label(path)}", "reports too_long", text(body), path)


def _words() -> Iterator[Case]:
    """Messages name what a herd's user can set."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    yield Case("tools-without-parser", "reports tools_without_parser", text(saying(tools=[tool])), says="tool")
    yield Case("tools-without-parser-auto", "reports tools_without_parser", text(saying(tools=[tool], tool_choice="auto")), says="tool")
    anthropic = smallest(MESSAGES) | {"tools": [{"name": "f", "input_schema": {"type": "object"}}]}
    yield Case("tools-without-parser-messages", "reports messages_tools_text_model", text(anthropic), MESSAGES)
    yield Case("messages-null", "reports null_messages", text(saying() | {"messages": None}), says="messages")
    yield Case("messages-empty", "reports empty_messages", text(saying() | {"messages": []}))
    yield Case("embeddings-of-a-generator", "reports embeddings", text(smallest(EMBEDDINGS)), EMBEDDINGS, statuses=frozenset({400, 404}))
    for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES, TOKENIZE, DETOKENIZE, COUNT):
        yield Case(
            f"unknown-{label(path)}",
            "reports envelope",
            text(smallest(path, "nosuch")),
            path,
            statuses=frozenset({404}),
            code="model_not_found",
            param="model",
        )
    yield Case("seed-too-large", "reports seed_too_large", text(saying(seed=2**64)), says="seed")
    yield Case("five-stops", "reports five_stops", text(saying(stop=list("abcde"))), says="stop")
    yield Case(
        "previous-response",
        "reports codex_turn",
        text(smallest(RESPONSES) | {"previous_response_id": "resp_x"}),
        RESPONSES,
        statuses=frozenset({400, 404}),
    )
    previous = smallest(RESPONSES) | {"previous_input_messages": [{"x": 1}] * 100}
    yield Case("previous-input", "security 11, sibling", text(previous), RESPONSES, statuses=EITHER)
    for kind in ("web_search", "mcp", "code_interpreter", "custom", "file_search", "namespace"):
        body = smallest(RESPONSES) | {"tools": [{"type": kind, "name": "x", "server_label": "x", "server_url": "http://127.0.0.1:1"}]}
        yield Case(f"tool-{kind}", "reports codex_tool_types", text(body), RESPONSES, statuses=EITHER)


def _served() -> Iterator[Case]:
    """What clients rightly send is served."""
    nulls: dict[str, Any] = dict.fromkeys(
        ("temperature", "top_p", "n", "stop", "seed", "tools", "user", "logit_bias", "stream", "response_format", "stream_options")
    )
    yield Case("null-options", "reports null_options", text(saying(**nulls)), statuses=SERVED)
    yield Case("unknown-fields", "reports unknown_fields", text(saying(store=True, no_such_field=1)), statuses=SERVED)
    yield Case("unknown-values", "reports unknown_fields", text(saying(no_such_field="x" * 100_000)), statuses=EITHER)
    for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES, TOKENIZE, DETOKENIZE):
        yield Case(f"plain-{label(path)}", "control", text(smallest(path)), path, statuses=SERVED)
        yield Case(f"alias-{label(path)}", "control", text(smallest(path, "smollm2")), path, statuses=SERVED)
        if path not in (TOKENIZE, DETOKENIZE):
            yield Case(f"stream-{label(path)}", "control", text(smallest(path) | {"stream": True}), path, statuses=SERVED)
    yield Case("two-choices", "reports two_choices_stream", text(saying(n=2, stream=True)), statuses=SERVED)
    few = saying(logit_bias={str(token): 1 for token in range(100)}, stop=["a", "b"], stop_token_ids=[1, 2], top_logprobs=5, logprobs=True)
    yield Case("bounded-options", "control", text(few), statuses=SERVED)
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for model in (SMOLLM, SCOUT):
        yield Case(f"schema-{model}", "control", text(saying(model=model, response_format=wanted)), statuses=SERVED, models=(model,))
    echoed: dict[str, Any] = {"role": "assistant", "content": "x", "refusal": None, "tool_calls": [], "audio": None, "function_call": None}
    turn = saying() | {"messages": [{"role": "user", "content": "x"}, echoed, {"role": "user", "content": "y"}]}
    yield Case("echo-of-answer", "reports echo_of_answer", text(turn), statuses=SERVED)
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{broken"}}
    broken = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "y"},
    ]
    yield Case("broken-arguments", "reports broken_arguments", text(saying() | {"messages": broken}), statuses=EITHER)


CASES = (*_grammars(), *_limits(), *_words(), *_served())
