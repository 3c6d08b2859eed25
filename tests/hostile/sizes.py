"""Cases about work without a bound: many small parts, long texts, and errors that are longer than their request."""

import itertools
import json
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
    REFUSED,
    RESPONSES,
    SMOLLM,
    TOKENIZE,
    TOO_LARGE,
    Body,
    Case,
    label,
    repeated,
    saying,
    smallest,
    text,
)

#: The names under which a path takes a list of many parts.
_LISTS = {CHAT: "messages", RESPONSES: "input", MESSAGES: "messages", TOKENIZE: "messages", COUNT: "messages"}
#: Parts that no union of vLLM's takes, each of which its error would tell again for every branch.
_PARTS = {
    "objects": '{"a":1}',
    "lists": "[]",
    "empty": "{}",
    "numbers": "1",
    "nulls": "null",
    "strings": '"x"',
    "roles": '{"role":"x"}',
    "types": '{"type":"x"}',
    "contents": '{"role":"user","content":[{}]}',
    "deep": '{"role":"user","content":[{"type":"text","text":{"a":[[]]}}]}',
}


def _whole(path: str, field: str, part: str, times: int, model: str = SMOLLM) -> Body:
    """A request whose one field is a list of many equal parts."""
    rest = {name: value for name, value in smallest(path, model).items() if name != field}
    if path == TOKENIZE and field != "prompt":
        rest.pop("prompt", None)
    return repeated(json.dumps(rest)[:-1] + f', "{field}": [', part, times, "]}")


def _many() -> Iterator[Case]:
    for (path, field), (name, part), times in itertools.product(_LISTS.items(), _PARTS.items(), (1_000, 9_000, 36_000)):
        body = _whole(path, field, part, times)
        yield Case(f"{field}-{name}-{times}-{label(path)}", "security 3", body, path, statuses=TOO_LARGE | EITHER, within_s=15)
    others = {COMPLETIONS: "prompt", EMBEDDINGS: "input", DETOKENIZE: "tokens"}
    for (path, field), name in itertools.product(others.items(), ("objects", "lists", "empty", "nulls")):
        body, statuses = _whole(path, field, _PARTS[name], 36_000), TOO_LARGE | ({404} if path == EMBEDDINGS else set())
        yield Case(f"{field}-{name}-36000-{label(path)}", "security 3", body, path, statuses=statuses, within_s=15)
    parts = repeated(f'{{"model":"{SMOLLM}","max_tokens":1,"messages":[{{"role":"user","content":[', "{}", 9_000, "]}]}")
    yield Case("content-empty-9000", "security 3", parts, within_s=15)
    yield Case("content-empty-9000-stream", "security 3", lambda: b'{"stream":true,' + parts()[1:], within_s=15)
    for field in ("stop", "logit_bias", "response_format", "metadata", "structured_outputs", "stream_options", "tool_choice", "vllm_xargs"):
        yield Case(f"{field}-list-9000", "security 3", _whole(CHAT, field, "{}", 9_000), statuses=TOO_LARGE | EITHER, within_s=15)


_TOOLS = {"empty": "{}", "wrong": '{"type":"x","function":5}', "functions": '{"type":"function","function":{"name":"f"}}'}


def _many_tools() -> Iterator[Case]:
    for path, (name, part), times in itertools.product((CHAT, RESPONSES, MESSAGES, COUNT, TOKENIZE), _TOOLS.items(), (129, 9_000)):
        rest = smallest(path) if path != TOKENIZE else {"model": SMOLLM, "messages": saying()["messages"]}
        body = repeated(json.dumps(rest)[:-1] + ', "tools": [', part, times, "]}")
        statuses = TOO_LARGE | EITHER if times < 1_000 else TOO_LARGE
        yield Case(f"tools-{name}-{times}-{label(path)}", "security 3", body, path, statuses=statuses, within_s=15)


def _echoes() -> Iterator[Case]:
    """An error says what was wrong, and not again all that was sent."""
    image = "data:image/png;base64," + "A" * 40_000
    without_detail = {
        "model": "scout",
        "max_output_tokens": 2,
        "input": [{"role": "user", "content": [{"type": "input_image", "image_url": image}]}],
    }
    yield Case("input_image-no-detail", "reports image_error_size", text(without_detail), RESPONSES, within_s=15)
    long = {"model": SMOLLM, "max_output_tokens": 2, "input": [{"role": "user", "content": [{"type": "x", "text": "x" * 260_000}]}]}
    yield Case("input-long-wrong", "reports image_error_size, error_stops_gateway", text(long), RESPONSES, within_s=15)
    for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES, TOKENIZE):
        for field in ("temperature", "stream", "model"):
            body = smallest(path) | {field: {"x": "y" * 200_000}}
            statuses = REFUSED if field == "model" or path != TOKENIZE else EITHER
            yield Case(f"echo-{field}-{label(path)}", "security 3", text(body), path, statuses=statuses | TOO_LARGE, within_s=15)
    keys = saying(logit_bias={f"{'k' * 50}{number}": 1 for number in range(5_000)})
    yield Case("echo-keys", "security 3", text(keys), within_s=15)
    yield Case("echo-path", "security 3", None, "/v1/" + "x" * 8_000, "GET", statuses=frozenset({404, 414}), most_bytes=20_000)
    yield Case("echo-id", "security 20", text(saying()), headers=(("x-request-id", "x" * 8_000),), statuses=frozenset({200}))
    yield Case("echo-priority", "security 3", text(saying()), headers=(("x-priority", "x" * 8_000),), most_bytes=2_000)
    yield Case("echo-session", "security 20", text(saying()), headers=(("x-session-id", "x" * 8_000),), statuses=EITHER)


def _bodies() -> Iterator[Case]:
    """A body of many MiB, whose model nobody serves or whose text nobody can answer."""
    unknown = frozenset({400, 404, 413, 429, 503})
    for name, part in (
        ("lists", "[]"),
        ("objects", "{}"),
        ("numbers", "1"),
        ("strings", '""'),
        ("nested", "[[[[]]]]"),
        ("pairs", '{"a":[]}'),
        ("exponents", "5e-324"),
        ("digits", "7" * 4_000),
    ):
        for mib in (1, 8, 63):
            times = (mib << 20) // (len(part) + 1)
            body = repeated('{"model":"nosuch","messages":[', part, times, "]}")
            yield Case(f"unknown-{name}-{mib}-mib", "security 5", body, statuses=unknown, within_s=20)
        late = repeated('{"messages":[', part, (8 << 20) // (len(part) + 1), '],"model":"nosuch"}')
        yield Case(f"unknown-{name}-model-last", "security 5", late, statuses=unknown, within_s=20)
        known = repeated(f'{{"model":"{SMOLLM}","messages":[', part, (8 << 20) // (len(part) + 1), "]}")
        yield Case(f"known-{name}-8-mib", "security 3, 5", known, statuses=TOO_LARGE, within_s=20)
    yield Case(
        "members-many",
        "security 5",
        lambda: b'{"model":"nosuch"' + b"".join(b',"%x":1' % key for key in range(600_000)) + b"}",
        statuses=unknown,
    )
    yield Case("members-hidden", "security 5", lambda: b'{"model":"nosuch","a":' + b'{"a":' * 200 + b"1" + b"}" * 201, statuses=unknown)
    for name, opens, closes in (("lists", b"[", b"]"), ("objects", b'{"a":', b"}")):
        deep = opens * 500_000 + b"1" + closes * 500_000
        for field in ("messages", "a"):
            raw = b'{"model":"smollm2","%b":' % field.encode() + deep + b"}"
            yield Case(f"deep-{name}-{field}", "security 5", lambda raw=raw: raw, statuses=TOO_LARGE)  # type: ignore[misc]
    yield Case(
        "body-over-limit",
        "security 5",
        lambda: b'{"model":"smollm2","x":"' + b"x" * (70 << 20) + b'"}',
        statuses=frozenset({413}),
        within_s=30,
    )
    for number, raw in enumerate(
        (b"", b"{", b"[]", b"1", b"null", b'"x"', b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"{}x", b'{"model":NaN}', b"{'a':1}")
    ):
        yield Case(f"json-{number}", "reports nan_in_body", lambda raw=raw: raw, headers=(("content-type", "application/json"),))  # type: ignore[misc]
    surrogate = b'{"model":"smollm2","max_tokens":1,"messages":[{"role":"user","content":"\\ud83d"}]}'
    yield Case("lone-surrogate", "reports lone_surrogate", lambda: surrogate, statuses=EITHER)


def _texts() -> Iterator[Case]:
    """Texts far beyond a context."""
    for name, piece in (("a", "a"), ("words", "ab "), ("spaces", " "), ("digits", "1"), ("wide", "🦙")):
        long = piece * (5_400_000 // len(piece.encode()))
        yield Case(f"tokenize-{name}", "security 7", text({"model": SMOLLM, "prompt": long}), TOKENIZE, statuses=TOO_LARGE, within_s=15)
        yield Case(
            f"completions-{name}",
            "security 7",
            text(smallest(COMPLETIONS) | {"prompt": long}),
            COMPLETIONS,
            statuses=TOO_LARGE,
            within_s=15,
        )
    long = "ab " * 1_800_000
    for path in (CHAT, MESSAGES, TOKENIZE, COUNT):
        body = {"model": SMOLLM, "messages": [{"role": "user", "content": long}]} | ({"max_tokens": 1} if path in (CHAT, MESSAGES) else {})
        yield Case(f"long-{label(path)}", "security 7", text(body), path, statuses=TOO_LARGE, within_s=15)
        split = body | {"messages": [{"role": "user", "content": [{"type": "text", "text": long[:60_000]}] * 80}]}
        yield Case(f"long-parts-{label(path)}", "security 7", text(split), path, statuses=TOO_LARGE, within_s=15)
    yield Case("long-system", "security 7", text(smallest(MESSAGES) | {"system": long}), MESSAGES, statuses=TOO_LARGE, within_s=15)
    yield Case("long-input", "security 7", text(smallest(RESPONSES) | {"input": long}), RESPONSES, statuses=TOO_LARGE, within_s=15)
    yield Case(
        "long-instructions", "security 7", text(smallest(RESPONSES) | {"instructions": long}), RESPONSES, statuses=TOO_LARGE, within_s=15
    )
    yield Case(
        "long-embedding", "security 7", text(smallest(EMBEDDINGS) | {"input": long}), EMBEDDINGS, statuses=TOO_LARGE | {404}, within_s=15
    )
    tokens = lambda: text({"model": SMOLLM, "tokens": [1] * 2_000_000})()  # noqa: E731
    yield Case("detokenize-long", "security 7", tokens, DETOKENIZE, statuses=TOO_LARGE, within_s=15)
    yield Case(
        "prompts-long",
        "security 7",
        text(smallest(COMPLETIONS) | {"prompt": ["ab " * 20_000] * 90}),
        COMPLETIONS,
        statuses=TOO_LARGE,
        within_s=15,
    )
    description = {"type": "function", "function": {"name": "f", "description": long, "parameters": {"type": "object"}}}
    yield Case("long-tool", "security 7", text(saying(model="scout", tools=[description])), statuses=TOO_LARGE, within_s=15)
    inner: Any = 0
    for _ in range(40):
        inner = [inner, 0]
    given = {"chat_template_kwargs": {"custom_tools": [inner] * 200}}
    yield Case("template-tools", "security 7, sibling", text(saying(model="scout") | given), statuses=TOO_LARGE, within_s=15)
    yield Case("too-long", "reports too_long", text(saying("llama " * 4_000)), code="context_length_exceeded")


CASES = (*_many(), *_many_tools(), *_echoes(), *_bodies(), *_texts())
