"""`deployments.policy.errors.engine_words`: vLLM's sentences, in words that a herd's user can act on."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.errors import engine_words
from deployments.policy.errors.engine_words import MOST_CHARS, MOST_SEARCHED, cleaned, for_users, grammar, over_limit


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "cannot identify <PIL.Image.Image image mode=RGB size=1x1 at 0x7FB1EF681810>",
            "cannot identify <PIL.Image.Image image mode=RGB size=1x1>",
        ),
        ("<function f at 0x7fb1>", "<function f>"),
        ("seed must be small. (parameter=seed, value=99999999999999999999)", "seed must be small."),
        (
            "1 validation error for X\nurl\n  Field required [type=missing, input_value={'a': 'xxxx'}, input_type=dict]\n"
            "    For further information visit https://errors.pydantic.dev/2.14/v/missing",
            "1 validation error for X\nurl\n  Field required",
        ),
        (
            "Failed to transform regex into a grammar: [05:52:55] /project/cpp/regex_converter.cc:83: Regex parsing error at position 4",
            "Failed to transform regex into a grammar: Regex parsing error at position 4",
        ),
        ("cannot open /usr/lib/python3/x.py and /a/b, see http://host/a/b.html", "cannot open <path> and /a/b, see http://host/a/b.html"),
        ('Failed\n  File "/usr/lib/x.py", line 3, in f\nbadly', "Failed\nbadly"),
        ("", ""),
        ("x" * 10_000, "x" * MOST_CHARS + "…"),
    ],
)
def test_what_is_pythons_is_taken_out(said: str, told: str) -> None:
    assert cleaned(said) == told


@pytest.mark.parametrize(
    ("said", "part", "param"),
    [
        ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "tool_call_parser: …}`", "tools"),
        ('tool_choice="required" requires --tool-call-parser to be set', "Leave 'tools' out", "tools"),
        (
            "Chat template is passed with request, but --trust-request-chat-template is not set. Refused.",
            "leave 'chat_template' out",
            "chat_template",
        ),
        ("You must set `--enable-prompt-embeds` to input `prompt_embeds`", "as text", "prompt_embeds"),
        ("You must set `--enable-mm-embeds` to input `image_embeds`", "the image itself", "messages"),
        ("thinking_token_budget is set but not configured. Please set --reasoning-parser", "leave it out", "thinking_token_budget"),
        ("Start the engine with --enable-trace-replay to use it.", "leave the trace out", "trace_token_ids"),
        ("To enable these, set `VLLM_ENABLE_RESPONSES_API_STORE=1`.", "not stored", "background"),
        (
            "At most 1 image(s) may be provided in one prompt. Set `--limit-mm-per-prompt` to increase this limit.",
            "At most 1 image(s)",
            None,
        ),
        (
            "prompt list length 5000 exceeds 1024. To increase this limit, set the VLLM_MAX_COMPLETION_PROMPTS environment variable.",
            "exceeds 1024.",
            None,
        ),
        ("consider specifying `--tokenizer x`", "This model is not set up for what the request asks.", None),
        ("temperature must be non-negative, got -1.0.", "temperature must be non-negative, got -1.0.", None),
        ("a sum of 3--4 is odd", "a sum of 3--4 is odd", None),
    ],
)
def test_way_out_is_one_that_a_user_has(said: str, part: str, param: str | None) -> None:
    told, named = for_users(said, {})
    assert part in told
    assert named == param
    assert "--" not in told.replace("3--4", "")
    assert "VLLM_" not in told


@pytest.mark.parametrize(
    "said",
    [
        "'NoneType' object is not iterable",
        "safe_apply_chat_template() got multiple values for keyword argument 'tools'",
        "unhashable type: 'list'",
        "'str' object has no attribute 'get'",
        "string indices must be integers, not 'str'",
        "argument of type 'int' is not iterable: object of type 'int' has no len()",
        "expected str: value must be str, not int",
        "'messages'",
        "list indices must be integers or slices, not str",
    ],
)
@pytest.mark.parametrize(("body", "param"), [({"messages": None, "n": 1}, "messages"), ({"n": 1}, None)])
def test_pythons_words_become_a_sentence(said: str, body: dict[str, Any], param: str | None) -> None:
    told, named = for_users(said, body)
    assert told.startswith("The engine could not read this request")
    assert named == param
    assert ("null: messages." in told) == (param is not None)


def test_grammar_names_the_fields() -> None:
    assert "what 'response_format' asks for" in grammar(["response_format"])
    assert "what 'structured_outputs' and 'allowed_token_ids' ask for" in grammar(["structured_outputs", "allowed_token_ids"])


BOTH = (
    "This model's maximum context length is 2048 tokens. However, you requested {} output tokens and your prompt contains {} input tokens, "
    "for a total of 3000 tokens. Please reduce the length of the input prompt or the number of requested output tokens."
)


@pytest.mark.parametrize(
    ("said", "size", "answer", "part"),
    [
        (
            "max_tokens=1000000 cannot be greater than max_model_len=max_total_tokens=2048. Please request fewer output tokens.",
            50,
            True,
            "1000000",
        ),
        ("max_tokens=9000 cannot be greater than max_model_len=2048.", 50, True, "2048 tokens in this model"),
        (BOTH.format(2040, "at least 9"), 100, True, "2040 tokens"),
        (BOTH.format(16, "at least 2033"), 20_000, False, "at least 2033"),
        (BOTH.format(2000, "at least 49"), 200_000, False, "Shorten the prompt"),
        (BOTH.format(0, "2100"), 9000, False, "2100"),
        (
            "The decoder prompt (length 70) is longer than the maximum model length of 64. Make sure that `max_model_len` is …",
            300,
            False,
            "64 tokens",
        ),
        ("The engine prompt length 70 exceeds the max_model_len 64. Please reduce prompt.", 300, False, "64 tokens"),
        ("Input length (70) exceeds model's maximum context length (64).", 300, False, "64 tokens"),
        ("plus requested output tokens is longer than the maximum model length of 64.", 300, False, "64 tokens"),
        (
            "This model's maximum context length is 2048 tokens. However, you requested 5 output tokens and 9000 characters",
            9000,
            False,
            "2048",
        ),
        ("It is over the maximum context length", 300, False, "maximum context length. Shorten"),
    ],
)
def test_context_and_answer_are_told_apart(said: str, size: int, answer: bool, part: str) -> None:
    found = over_limit(said, size)
    assert found is not None
    assert found.answer is answer
    assert part in found.told
    assert "max_model_len" not in found.told


def test_other_sentence_is_about_no_limit() -> None:
    assert over_limit("top_p must be in (0, 1]", 10) is None


class Counting:
    """A regular expression that tells how long the texts are that it searches."""

    def __init__(self, pattern: re.Pattern[str], searched: list[int]) -> None:
        self._pattern = pattern
        self._searched = searched

    def search(self, text: str) -> re.Match[str] | None:
        self._searched.append(len(text))
        return self._pattern.search(text)

    def sub(self, instead: str, text: str) -> str:
        self._searched.append(len(text))
        return self._pattern.sub(instead, text)

    def split(self, text: str) -> list[str | Any]:
        self._searched.append(len(text))
        return self._pattern.split(text)


@given(st.text())
def test_any_text_is_told_in_short(text: str) -> None:
    told, _ = for_users(cleaned(text), {})
    assert told
    assert len(told) <= MOST_CHARS + 100


@pytest.mark.parametrize(
    "piece",
    [
        "max_model_len ",
        " at 0x",
        " [type=",
        "[05:52:55] /a/b",
        "/a",
        "/usr/a",
        "maximum context length ",
        "--",
        "'",
        "A. ",
        "object is ",
        "\n",
        " ",
    ],
)
def test_of_sixty_megabytes_only_the_beginning_is_searched(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    for name, pattern in vars(engine_words).copy().items():
        if isinstance(pattern, re.Pattern):
            monkeypatch.setattr(engine_words, name, Counting(pattern, searched))
    text = piece * ((60 << 20) // len(piece))
    over_limit(text, len(text))
    for_users(cleaned(text), {})
    assert 0 < max(searched) <= MOST_SEARCHED
