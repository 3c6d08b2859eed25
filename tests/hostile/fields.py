"""Cases about fields of the body: those that only the cluster may say, those that cost without bound, and types that nobody expects."""

import itertools
import json
from collections.abc import Iterator, Mapping
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
    SCOUT,
    SERVED,
    SMOLLM,
    TOKENIZE,
    TOO_LARGE,
    Case,
    label,
    saying,
    smallest,
    text,
)
from tests.hostile.pictures import data_url, pictured, png

_TRANSFER = {"do_remote_prefill": True, "remote_host": "192.0.2.1", "remote_port": 1, "remote_engine_id": "x", "remote_block_ids": [1]}

#: Values that no client may say, by field; and the paths whose request class in vLLM has the field.
_OWN: Mapping[str, tuple[tuple[Any, ...], tuple[str, ...]]] = {
    "mm_processor_kwargs": (
        ({"size": {"height": 672, "width": 672}}, {"max_patches": 17}, {"max_patches": 64, "do_resize": False}),
        (CHAT, RESPONSES, TOKENIZE),
    ),
    "media_io_kwargs": (({"image": {"image_mode": "L"}}, {"video": {"num_frames": -1}}), (CHAT, RESPONSES, TOKENIZE)),
    "kv_transfer_params": ((_TRANSFER,), (CHAT, COMPLETIONS, RESPONSES, MESSAGES)),
    "ec_transfer_params": (({"x": 1}, _TRANSFER), (CHAT, COMPLETIONS, RESPONSES, MESSAGES)),
    "vllm_xargs": (
        (
            {"kv_transfer_params": "x"},
            {"ec_transfer_params": "x"},
            {"kv_cache_report": "x"},
            {"herd_tokens": [1, 2]},
            {"herd_finish": "stop"},
            {"any_transfer_params": 1},
        ),
        (CHAT, COMPLETIONS, RESPONSES, MESSAGES),
    ),
    "chat_template": (("{% for i in range(10**9) %}x{% endfor %}",), (CHAT, TOKENIZE)),
    "chat_template_kwargs": (
        ({"chat_template": "{{ 1 }}"}, {"tokenize": True, "return_tensors": "pt"}, {"conversation": []}, {"tools": "x"}),
        (CHAT, RESPONSES, MESSAGES, TOKENIZE),
    ),
    "prompt_embeds": (("AAAA", ["AAAA"]), (COMPLETIONS,)),
}


def _own() -> Iterator[Case]:
    for field, (values, paths) in _OWN.items():
        for number, value in enumerate(values):
            for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES, TOKENIZE, COUNT):
                body = (_seen(path) if path != COMPLETIONS else smallest(path)) | {field: value}
                # A path whose request class has no such field may drop it.
                statuses = REFUSED if path in paths and field != "chat_template_kwargs" else EITHER
                yield Case(f"{field}-{number}-{label(path)}", "security 2, 8, 11", text(body), path, statuses=statuses, models=(SCOUT,))


def _seen(path: str) -> dict[str, Any]:
    """A request to Scout with an image where the path takes one."""
    return pictured(path, data_url(png(32, 32)))[1] if path in (CHAT, RESPONSES, MESSAGES, TOKENIZE, COUNT) else smallest(path, SCOUT)


def _disguised() -> Iterator[Case]:
    """The same under another spelling."""
    whole = json.dumps(saying(model="scout"))[:-1]
    size = '{"size": {"height": 672, "width": 672}}'
    spellings = {
        "escaped": f'{whole}, "mm\\u005fprocessor_kwargs": {size}}}',
        "twice": f'{whole}, "mm_processor_kwargs": null, "mm_processor_kwargs": {size}}}',
        "first": f'{{"mm_processor_kwargs": {size}, {whole[1:]}}}',
        "spaces": f'{whole} ,\n\t"mm_processor_kwargs"  :\r\n {size} }}',
    }
    for name, body in spellings.items():
        yield Case(f"mm_processor_kwargs-{name}", "security 2", body.encode, models=(SCOUT,))
    for model in ("auto", SCOUT):
        more = {"mm_processor_kwargs": {"max_patches": 65}, "stream": True}
        yield Case(f"mm_processor_kwargs-{model}-stream", "security 2", text(_seen(CHAT) | {"model": model} | more), models=(SCOUT,))
    yield Case("mm_processor_kwargs-null", "security 2", text(saying(mm_processor_kwargs=None)), statuses=EITHER)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}, "mm_processor_kwargs": {"size": {"height": 1}}}
    yield Case("mm_processor_kwargs-in-a-tool", "security 2", text(saying(model=SCOUT, tools=[tool])), statuses=EITHER, models=(SCOUT,))


#: Values that cost or break an engine, by field. All of them are refused on chat and completions.
_COSTLY: Mapping[str, tuple[Any, ...]] = {
    "n": (129, 16_384, 10**9, -1, 0, 2**63, "2", [1], {}, 1.5),
    "logit_bias": ({str(token): 1 for token in range(1_500)}, {"49152": 1}, {"-1": 1}, {"word": 1}, {"1": "x"}, [1], {"1": 1e308}),
    "stop_token_ids": (list(range(5_000)), [49_152], [-1], [2**63], ["x"]),
    "stop": (["a"] * 5, ["a"] * 1_000, [["a"]], 5),
    "top_k": ("x", -5),
    "temperature": ("x" * 100_000, -1, [0.5]),
    "top_p": (2, -1, "x" * 70_000),
    "seed": (2**64, -(2**64), 10**400),
    "max_tokens": (-1, 10**30, "x", 1.5),
    "min_tokens": (-1, 10**9),
    "stream": ("x" * 1_000, [1], {"a": 1}, 2),
    "stream_options": ("x", [1], {"include_usage": [1]}),
    "prompt_logprobs": (10**6, -5, "x"),
    "truncate_prompt_tokens": (-5, 10**9, "x"),
    "response_format": ("x", {"type": "x"}, {"type": "json_schema"}, [1]),
    "structured_outputs": ("x", {"choice": []}, {"regex": 5}, {"regex": "a", "choice": ["a"]}),
}
#: These may be cut to a bound, dropped or refused; what they may not do is harm.
_BOUNDED: Mapping[str, tuple[Any, ...]] = {
    "allowed_token_ids": (list(range(5_000)), [49_152], [-1], []),
    "bad_words": (["a"] * 5_000, ["a" * 100_000], [""], ["<|im_end|>"] * 129),
    "logprob_token_ids": (list(range(5_000)), [49_152], [-1]),
    "use_beam_search": (True,),
    "best_of": (1_000,),
    "priority": (-(2**63), 2**63, 1, "x", -1),
    "cache_salt": ("x", "x" * 1_000_000, 5, ""),
    "request_id": ("x" * 1_000_000, 5),
    "session_id": ("x" * 1_000_000, 5),
    "user": ("x" * 1_000_000, 5, [1], {"a": 1}),
    "prompt_cache_key": ("x" * 1_000_000, 5, [1]),
    "service_tier": ("flex", [1], {"flex": 1}, 5),
    "metadata": ({str(key): "x" * 100 for key in range(1_000)}, 5),
    "repetition_detection": ({"max_pattern_size": 10**9}, "x"),
    "thinking_token_budget": (-1, 10**12),
    "stream_interval": (0, -1, 10**12),
    "documents": ([{"text": "x"}] * 1_000, "x"),
    "logits_processors": (["os.system"], [{"qualname": "os.system"}]),
    "guided_regex": ("(" * 1_000,),
    "background": (True, "x"),
    "extra_body": ({"mm_processor_kwargs": {"size": {"height": 672}}},),
    "reasoning_effort": ("x", 5),
    "continue_final_message": (True, "x"),
    "length_penalty": (1e308, "x"),
    "top_logprobs": (1_000, -1, "x"),
    "logprobs": (10**6, -1, "x"),
    "echo": (True, "x"),
    "tools": ([{}] * 5_000, "x", [5], [{"type": "function", "function": {"name": "f" * 100_000}}]),
    "tool_choice": ("x" * 100_000, {"type": "x"}, 5),
}


#: Of these, what vLLM makes a right value of: a number in quotation marks, a bias that it clamps, a token that never comes.
_HARMLESS = {("n", 6), ("logit_bias", 6), ("stop_token_ids", 2), ("truncate_prompt_tokens", 1)}


def _costly() -> Iterator[Case]:
    """Values that no request may have."""
    for path, (field, values) in itertools.product((CHAT, COMPLETIONS), _COSTLY.items()):
        for number, value in enumerate(values):
            body, statuses = text(smallest(path) | {field: value}), TOO_LARGE | (SERVED if (field, number) in _HARMLESS else set())
            yield Case(f"{field}-{number}-{label(path)}", "security 9, 13, 20", body, path, statuses=statuses)
    yield Case("beams-1000", "security 9", text(saying(use_beam_search=True, n=1_000)))
    yield Case("prompts-1024", "security 9", text(smallest(COMPLETIONS) | {"prompt": ["a"] * 1024, "n": 16}), COMPLETIONS)
    yield Case("prompts-100000", "security 9", text(smallest(COMPLETIONS) | {"prompt": ["a"] * 100_000}), COMPLETIONS, statuses=TOO_LARGE)


def _bounded() -> Iterator[Case]:
    """Values that are refused, dropped or served, and do no harm."""
    for path, (field, values) in itertools.product((CHAT, COMPLETIONS, RESPONSES, MESSAGES), _BOUNDED.items()):
        for number, value in enumerate(values):
            body = text(smallest(path) | {field: value})
            yield Case(f"{field}-{number}-{label(path)}", "security 12, 13, 20", body, path, statuses=EITHER | TOO_LARGE | {404})


def _strict_tools() -> Iterator[Case]:
    """One strict tool makes a grammar of all, and so does one that must be called."""
    lengths = {f"p{n}": {"type": "string", "maxLength": 200 + n} for n in range(60)}
    function = {"name": "f", "parameters": {"type": "object", "properties": lengths, "required": list(lengths)}}
    choices: dict[str, Any] = {"auto": "auto", "required": "required", "named": {"type": "function", "function": {"name": "f"}}}
    for name, choice in choices.items():
        body = saying(model=SCOUT, tools=[{"type": "function", "function": function | {"strict": True}}], tool_choice=choice)
        yield Case(f"strict-tool-{name}", "security, structured outputs, sibling", text(body), models=(SCOUT,))


def _many_tokens() -> Iterator[Case]:
    """More of them than vLLM's newer runner takes, which finds that out in the engine's core."""
    for count in (1_025, 4_000):
        tokens = list(range(count))
        lists: dict[str, Any] = {"allowed_token_ids": tokens, "stop_token_ids": tokens, "bad_words": [str(word) for word in tokens]}
        for field, value in (lists | {"logit_bias": {str(token): 1 for token in tokens}}).items():
            body = saying(model=SCOUT, stream=True, **{field: value})
            yield Case(f"{field}-{count}-scout-stream", "security 13", text(body), models=(SCOUT,))


def _out_of_vocabulary() -> Iterator[Case]:
    """Token ids that a model has no embedding for."""
    ends = {SMOLLM: 49_152, SCOUT: 202_048}
    for model, end in ends.items():
        for number, prompt in enumerate(([end - 1, end], [end], [[1], [end]], [end + 1], [-1], [2**31], [2**63], [True], [1.5])):
            body = {"model": model, "prompt": prompt, "max_tokens": 4}
            statuses = EITHER if prompt == [True] else REFUSED
            yield Case(f"prompt-token-{number}-{model}", "security 10", text(body), COMPLETIONS, statuses=statuses, models=(model,))
            whole = text(body | {"stream": True})
            yield Case(f"prompt-token-{number}-{model}-stream", "security 10", whole, COMPLETIONS, statuses=statuses, models=(model,))
        for number, tokens in enumerate(([end], [-1], [2**63], [2**40])):
            body = {"model": model, "tokens": tokens}
            statuses = EITHER if number == 0 else REFUSED
            yield Case(f"detokenize-{number}-{model}", "security 10", text(body), DETOKENIZE, statuses=statuses, models=(model,))


_NAMES: tuple[Any, ...] = (None, 1, [], {}, True, "", ["smollm2"])
_PROMPTS: tuple[Any, ...] = (5, {}, None, [5], [None], [[[]]], True)


def _types() -> Iterator[Case]:
    """Types of what the gateway itself reads."""
    for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES, TOKENIZE, DETOKENIZE, COUNT, EMBEDDINGS):
        for number, model in enumerate(_NAMES):
            statuses = frozenset({400, 404}) if model == "" else REFUSED
            body = smallest(path) | {"model": model}
            yield Case(f"model-{number}-{label(path)}", "security, types", text(body), path, statuses=statuses, param="model")
        yield Case(f"model-none-{label(path)}", "security, types", text({"messages": []}), path, param="model")
        unknown = smallest(path, "x" * (1 << 20))
        yield Case(f"model-long-{label(path)}", "security 3", text(unknown), path, statuses=TOO_LARGE | {404}, most_bytes=8 << 10)
    for name, field in {CHAT: "messages", RESPONSES: "input", MESSAGES: "messages", COMPLETIONS: "prompt", TOKENIZE: "prompt"}.items():
        for number, value in enumerate(_PROMPTS):
            statuses = EITHER if (name, value) == (COMPLETIONS, [5]) else REFUSED  # which is one token
            wrong = text(smallest(name) | {field: value})
            yield Case(f"{field}-type-{number}-{label(name)}", "reports null_messages", wrong, name, statuses=statuses)
    for number, content in enumerate((5, {}, [5], [None], [[]], [{"type": 5}], [{"type": "x"}], [{"type": "text", "text": 5}])):
        for path in (CHAT, MESSAGES):
            body = {"model": SMOLLM, "max_tokens": 1, "messages": [{"role": "user", "content": content}]}
            yield Case(f"part-{number}-{label(path)}", "security, types", text(body), path)


CASES = (*_own(), *_disguised(), *_costly(), *_bounded(), *_many_tokens(), *_strict_tools(), *_out_of_vocabulary(), *_types())
