"""`deployments.policy.request.prompt_blocks`: equal beginnings have equal keys, whatever a client sends."""

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.request.prompt_blocks import BLOCK_BYTES, BYTES_PER_TOKEN, IMAGE_TOKENS, in_blocks, prompt_of
from tests.unit.samples import JSON

LONG = "All work and no play makes a llama dull. " * 100
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBOR" * 100}}


def common(one: dict[str, Any], other: dict[str, Any], models: tuple[str, str] = ("m", "m")) -> int:
    """Blocks that two requests share."""
    pairs = zip(prompt_of(one, models[0]).blocks, prompt_of(other, models[1]).blocks, strict=False)
    return sum(a == b for a, b in pairs)


def chat(*contents: Any, **more: Any) -> dict[str, Any]:
    """A conversation in which user and assistant take turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)], **more}


@given(st.binary(max_size=4 * BLOCK_BYTES), st.binary(max_size=4 * BLOCK_BYTES), st.binary(max_size=4 * BLOCK_BYTES))
def test_key_stands_for_everything_before_it(head: bytes, one: bytes, other: bytes) -> None:
    first, second = in_blocks(head + one).blocks, in_blocks(head + other).blocks
    whole = len(head) // BLOCK_BYTES
    assert first[:whole] == second[:whole] == in_blocks(head).blocks
    for number, (a, b) in enumerate(zip(first, second, strict=False)):
        end = (number + 1) * BLOCK_BYTES
        assert (a == b) == ((head + one)[:end] == (head + other)[:end])


def test_a_block_that_is_not_whole_has_no_key_and_counts_as_tokens() -> None:
    prompt = in_blocks(b"x" * (2 * BLOCK_BYTES + 40))
    assert len(prompt.blocks) == 2
    assert prompt.tokens == (2 * BLOCK_BYTES + 40) // BYTES_PER_TOKEN


def test_keys_are_the_same_in_another_process() -> None:
    code = f"from deployments.policy.request.prompt_blocks import prompt_of; print(prompt_of({chat(LONG)!r}, 'm').blocks)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert other.stdout.strip() == str(prompt_of(chat(LONG), "m").blocks)


def test_next_turn_of_a_conversation_begins_like_the_last() -> None:
    first, next_turn = chat(LONG), chat(LONG, "Indeed.", LONG)
    assert common(first, next_turn) == len(prompt_of(first, "m").blocks)


@pytest.mark.parametrize("name", ["tools", "documents", "chat_template", "chat_template_kwargs", "system", "instructions"])
def test_what_the_template_puts_first_changes_every_block(name: str) -> None:
    assert common(chat(LONG), chat(LONG, **{name: "something else"})) == 0


def test_another_model_or_adapter_shares_nothing() -> None:
    assert common(chat(LONG), chat(LONG), ("m", "m-lora")) == 0


def test_role_and_tool_calls_count() -> None:
    plain = {"messages": [{"role": "user", "content": LONG}]}
    assert common(plain, {"messages": [{"role": "system", "content": LONG}]}) == 0
    called = {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": str(n)}]} for n in range(50)]}
    other = {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": str(n + 1)}]} for n in range(50)]}
    assert len(prompt_of(called, "m").blocks) > 1
    assert common(called, other) == 0


def test_sampling_does_not_count() -> None:
    assert prompt_of(chat(LONG, temperature=0), "m") == prompt_of(chat(LONG, temperature=1, max_tokens=7), "m")


def test_image_counts_as_its_tokens_and_by_its_content() -> None:
    text = {"type": "text", "text": "What is this?"}
    with_image = prompt_of(chat([IMAGE, text]), "m")
    assert with_image.tokens == pytest.approx(prompt_of(chat([text]), "m").tokens + IMAGE_TOKENS, abs=2)
    other = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBOR" * 99}}
    assert common(chat([IMAGE, text]), chat([other, text])) == 0
    assert common(chat([IMAGE, text]), chat([IMAGE, text], n=2)) == len(with_image.blocks)
    assert prompt_of(chat([{"type": "image", "source": {"data": "x"}}]), "m").tokens > IMAGE_TOKENS


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": LONG},
        {"prompt": [LONG, "b"]},
        {"prompt": list(range(2000))},
        {"prompt": [[1, 2] * 500]},
        {"input": LONG},
        {"input": [{"text": LONG}]},
    ],
)
def test_other_apis_have_prompts_too(body: dict[str, Any]) -> None:
    assert len(prompt_of(body, "m").blocks) >= 3


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "input", "tools", "system", "model"]), JSON, max_size=4))
def test_no_body_is_too_strange(body: dict[str, Any]) -> None:
    body = msgspec.json.decode(msgspec.json.encode(body))
    assert prompt_of(body, "m") == prompt_of(body, "m")


def test_prompt_in_token_ids_begins_as_one_that_goes_on() -> None:
    short, long = (prompt_of({"prompt": list(range(count))}, "m") for count in (1000, 2000))
    assert short.blocks[:-1] == long.blocks[: len(short.blocks) - 1]


@pytest.mark.parametrize("part", [lambda data: {"type": "image_url", "image_url": {"url": data}}, lambda data: {"source": {"data": data}}])
def test_large_image_is_known_by_its_length_and_ends(part: Any) -> None:
    def blocks(data: str) -> tuple[int, ...]:
        return prompt_of({"messages": [{"role": "user", "content": [part(data)]}]}, "m").blocks

    data = "data:image/png;base64," + "A" * 100_000
    assert blocks(data) == blocks(data)
    assert len({blocks(data), blocks(data + "A"), blocks(data[:-1] + "B"), blocks("d" + data[2:] + "A")}) == 4
