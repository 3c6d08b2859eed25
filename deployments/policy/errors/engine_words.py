"""The words of an engine's errors, in words that a herd's user can act on.

Decides over vLLM 0.29's sentences. They name vLLM's command line and environment, which no user of a herd has, quote the request, and show
Python's types and addresses. A test holds the sentences against the installed vLLM's sources.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Longest text that is searched, and the longest that is told.
MOST_SEARCHED, MOST_CHARS = 8192, 2000

#: What is inside an engine: frames of a stack, addresses, pydantic's types and inputs, files and lines of sources, and the parameter,
#: which vLLM says twice.
_FRAME = re.compile(r'\n? {0,8}File "[^"\n]+", line \d+, in \S+')
_ADDRESS = re.compile(r" (?:object )?at 0x[0-9A-Fa-f]+")
_PYDANTIC = re.compile(r" \[type=[^\n]{0,4000}|\n? {0,8}For further information visit https://errors\.pydantic\.dev[^\s;]*")
_PATH = re.compile(r"(?<![\w/])/(?:home|usr|opt|var|tmp|root|lib|mnt|srv|project)(?:/[\w.-]++)++")
_CPP = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")
_REPEATED = re.compile(r" \((?:parameter|value)=[^\n]*\)$")
_PYTHONS = re.compile(
    r"'NoneType'|\bobject (?:is not|has no|does not|cannot|of type)|has no attribute|got (?:multiple values|an unexpected)|unhashable type"
    r"|positional argument|not subscriptable|\bmust be [a-zA-Z.]+, not [a-zA-Z.]+$|\bindices must be|Traceback|^'[A-Za-z_]+'$"
)
#: A sentence that tells how vLLM is started: by its flags, or by its environment.
_FLAGS = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+|VLLM_[A-Z_]+|`max_model_len`")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")

#: vLLM's sentences that need other words: a part of the sentence, what is said instead, and the field that is meant.
_TABLE: Sequence[tuple[str, str, str]] = (
    (
        "--tool-call-parser",
        "This model is not set up for tools. Leave 'tools' out or set 'tool_choice' to 'none'; the herd's operator can allow tools with "
        "`engine: {enable_auto_tool_choice: true, tool_call_parser: …}` of the model.",
        "tools",
    ),
    ("--trust-request-chat-template", "A chat template cannot come with a request: leave 'chat_template' out.", "chat_template"),
    ("--enable-prompt-embeds", "This model does not take 'prompt_embeds': send the prompt as text.", "prompt_embeds"),
    ("--enable-mm-embeds", "This model does not take embeddings of images, audio or video: send the image itself.", "messages"),
    (
        "--reasoning-parser",
        "'thinking_token_budget' needs a model that reasons, and this one is not set up for it: leave it out.",
        "thinking_token_budget",
    ),
    ("--enable-trace-replay", "This model does not replay traces: leave the trace out.", "trace_token_ids"),
    ("VLLM_ENABLE_RESPONSES_API_STORE", "Answers are not stored here, so 'background' cannot be used: leave it out.", "background"),
)

_OUTPUT = re.compile(r"=(\d+) cannot be greater than [a-z_]+=(?:max_total_tokens=)?(\d+)")
_CONTEXT = re.compile(
    r"maximum context length is (\d+) tokens\. However, you requested (\d+) output tokens and your prompt contains (at least )?(\d+)"
)
_TOO_LONG = re.compile(
    r"longer than the maximum model length of (\d+)|exceeds the max_model_len (\d+)|maximum context length \((\d+)\)"
    r"|maximum (?:context|model) length(?: is| of)? ?(\d*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class OverLimit:
    """Prompt and answer do not fit the model's context."""

    told: str
    answer: bool
    """The answer that is asked for is too long; else the prompt is."""


def cleaned(message: str) -> str:
    """An engine's message without what is Python's, at most `MOST_CHARS` long."""
    text = message[:MOST_SEARCHED]
    for pattern in (_PYDANTIC, _ADDRESS, _REPEATED, _CPP, _FRAME):
        text = pattern.sub("", text)
    text = _PATH.sub("<path>", text).strip()
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS] + "…"


def for_users(message: str, body: Mapping[str, Any]) -> tuple[str, str | None]:
    """A cleaned message in words that a herd's user can act on, and the field that it is about where the engine did not say.

    Args:
        message: as `cleaned` returns it.
        body: the request.
    """
    for part, told, param in _TABLE:
        if part in message:
            return told, param
    if _PYTHONS.search(message):
        return _wrong_type(body)
    kept = [sentence for sentence in _SENTENCE.split(message) if not _FLAGS.search(sentence)]
    return " ".join(kept) or "This model is not set up for what the request asks.", None


def _wrong_type(body: Mapping[str, Any]) -> tuple[str, str | None]:
    told = "The engine could not read this request: one of its fields has a value of the wrong type."
    empty = [name for name, value in body.items() if value is None][:8]
    return (f"{told} These are null: {', '.join(empty)}.", empty[0]) if empty else (told, None)


def grammar(fields: Sequence[str]) -> str:
    """Returns the sentence for a request with a grammar that the engine core ended."""
    named = " and ".join(f"'{name}'" for name in fields)
    return (
        f"The engine could not follow what {named} ask{'s' if len(fields) == 1 else ''} for: the grammar cannot be built, "
        "or it allows no token that the other fields allow. Simplify the schema, regular expression or grammar."
    )


def over_limit(message: str, size: int) -> OverLimit | None:
    """Whether an engine's message says that prompt and answer do not fit the context, and which of them is too long.

    vLLM stops counting a prompt that does not fit, so whether it is short is judged by the request's bytes: a token has about four.

    Args:
        message: the engine's.
        size: bytes of the request.
    """
    text = message[:MOST_SEARCHED]
    if found := _OUTPUT.search(text):
        return OverLimit(_asks_too_much(int(found[1]), int(found[2])), answer=True)
    if found := _CONTEXT.search(text):
        context, answer, least, prompt = int(found[1]), int(found[2]), found[3] or "", int(found[4])
        if 2 * answer >= context and size <= 2 * context:
            return OverLimit(_asks_too_much(answer, context), answer=True)
        told = f"This model's maximum context length is {context} tokens; the prompt has {least}{prompt}, and {answer} are asked for."
        return OverLimit(f"{told} Shorten the prompt, or ask for fewer tokens.", answer=False)
    if found := _TOO_LONG.search(text):
        context_tokens = next((number for number in found.groups() if number), None)
        limit = f" of {context_tokens} tokens" if context_tokens else ""
        return OverLimit(f"The prompt is longer than this model's maximum context length{limit}. Shorten the prompt.", answer=False)
    return None


def _asks_too_much(answer: int, context: int) -> str:
    return (
        f"The request asks for an answer of {answer} tokens, but prompt and answer together have {context} tokens in this model. "
        "Ask for fewer tokens, or leave the number out."
    )
