"""What OpenAI's own client gets from real engines: chat, completions, streams, tools, schemas, samples, images."""

import asyncio
import base64
import io
import json
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.e2e.conftest import Herd

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


def picture(colour: str = "red") -> dict[str, Any]:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(data, "PNG")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"}}


def test_a_chat_speaks_real_words(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smollm2", messages=user("What is a llama?"), max_tokens=24, temperature=0)
    assert answer.model == SMOLLM
    assert "llama" in (answer.choices[0].message.content or "").lower()
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 24


@pytest.mark.parametrize("model", [SMOLLM, SCOUT])
def test_a_stream_says_what_a_whole_answer_says(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, messages=user("Count to five."), max_tokens=32, temperature=0)
    stream = client.chat.completions.create(
        model=model, messages=user("Count to five."), max_tokens=32, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=SMOLLM, prompt=["One, two,", "A, B,"], max_tokens=4, temperature=0)
    assert len(answer.choices) == 2
    assert "three" in answer.choices[0].text


async def test_two_models_at_once_with_the_async_client(herd: Herd) -> None:
    async with openai.AsyncOpenAI(base_url=f"{herd.endpoint}/v1", api_key="none", max_retries=0) as client:
        asked = [
            client.chat.completions.create(model=model, messages=user(f"{number}?"), max_tokens=8, temperature=0)
            for number in range(8)
            for model in (SMOLLM, SCOUT)
        ]
        answers = await asyncio.gather(*asked)
    assert [answer.model for answer in answers] == [SMOLLM, SCOUT] * 8
    assert all(answer.usage and answer.usage.completion_tokens for answer in answers)


def test_samples_logprobs_seed_and_stop(client: openai.OpenAI) -> None:
    def ask(**more: Any) -> Any:
        return client.chat.completions.create(model=SMOLLM, messages=user("Name an animal."), max_tokens=12, **more)

    several = ask(n=3, temperature=1.0, seed=7, logprobs=True, top_logprobs=2)
    again = ask(n=3, temperature=1.0, seed=7)
    assert len(several.choices) == 3
    assert [one.message.content for one in several.choices] == [one.message.content for one in again.choices]
    assert len(several.choices[0].logprobs.content[0].top_logprobs) == 2
    counted = client.completions.create(model=SMOLLM, prompt="1, 2, 3, 4, 5,", max_tokens=24, temperature=0, stop=["7"])
    assert counted.choices[0].finish_reason == "stop"
    assert "7" not in counted.choices[0].text


@pytest.mark.parametrize("model", [SMOLLM, SCOUT])
def test_an_answer_keeps_to_a_json_schema(client: openai.OpenAI, model: str) -> None:
    schema = {
        "type": "object",
        "properties": {"animal": {"enum": ["llama", "alpaca"]}, "tame": {"type": "boolean"}},
        "required": ["animal", "tame"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=model,
        messages=user("Which animal? Answer in JSON."),
        max_tokens=64,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": True}},
    )
    said = json.loads(answer.choices[0].message.content or "")
    assert said["animal"] in ("llama", "alpaca")
    assert isinstance(said["tame"], bool)


def pythonic(client: openai.OpenAI, stream: bool) -> Any:
    """Random weights do not call tools by themselves: a pattern makes them say what the real model would."""
    return client.chat.completions.create(
        model=SCOUT,
        messages=user("What is the weather in Paris and in Rome?"),
        tools=[WEATHER],
        temperature=0,
        max_tokens=64,
        stream=stream,
        extra_body={"structured_outputs": {"regex": r'\[get_weather\(city="Paris"\), get_weather\(city="Rome"\)\]'}},
    )


def test_llama_4_calls_tools_in_its_own_way(client: openai.OpenAI) -> None:
    choice = pythonic(client, stream=False).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in choice.message.tool_calls] == [{"city": "Paris"}, {"city": "Rome"}]


def test_streamed_tool_calls_are_the_same_calls(client: openai.OpenAI) -> None:
    calls: dict[int, list[str]] = {}
    for chunk in pythonic(client, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or [] if chunk.choices else []:
            name_and_arguments = calls.setdefault(delta.index, ["", ""])
            name_and_arguments[0] += delta.function.name or ""
            name_and_arguments[1] += delta.function.arguments or ""
    assert [name for name, _ in calls.values()] == ["get_weather", "get_weather"]
    assert [json.loads(arguments) for _, arguments in calls.values()] == [{"city": "Paris"}, {"city": "Rome"}]


def test_five_images_and_no_more(client: openai.OpenAI) -> None:
    colours = ["red", "green", "blue", "white", "black", "yellow"]
    parts = [{"type": "text", "text": "Which colours?"}, *map(picture, colours)]
    answer = client.chat.completions.create(model=SCOUT, messages=user(parts[:6]), max_tokens=4, temperature=0)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 5 * 144, "each image is at least one tile of 144 patches"
    with pytest.raises(openai.BadRequestError, match=r"has 6 images.*at most 5 images") as refused:
        client.chat.completions.create(model=SCOUT, messages=user(parts), max_tokens=4)
    assert refused.value.code == "too_many_images"


def test_auto_is_the_model_that_takes_the_request(client: openai.OpenAI) -> None:
    def asked(content: Any) -> str:
        return client.chat.completions.create(model="auto", messages=user(content), max_tokens=1).model

    assert asked("Hi") == SMOLLM
    assert asked([{"type": "text", "text": "What is this?"}, picture()]) == SCOUT
    assert asked("Hi " * 3000) == SCOUT  # longer than the first one's context


def test_an_image_changes_what_is_said(client: openai.OpenAI) -> None:
    def ask(colour: str) -> Any:
        parts = [picture(colour), {"type": "text", "text": "Which colour?"}]
        answer = client.chat.completions.create(model=SCOUT, messages=user(parts), max_tokens=1, temperature=0, logprobs=True)
        return answer.choices[0].logprobs.content[0].logprob  # type: ignore[union-attr,index]

    assert ask("red") == ask("red")
    assert ask("red") != ask("blue")


def test_responses_messages_and_tokens(herd: Herd) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(f"{herd.endpoint}{path}", json={"model": SMOLLM, **body}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert post("/v1/responses", {"input": "Hello", "max_output_tokens": 4, "store": False})["usage"]["output_tokens"] == 4
    assert post("/v1/messages", {"messages": user("Hello"), "max_tokens": 4})["usage"]["output_tokens"] == 4
    tokens = post("/tokenize", {"prompt": "Llamas"})["tokens"]
    assert post("/detokenize", {"tokens": tokens})["prompt"] == "Llamas"


def test_models_say_what_a_client_must_know(client: openai.OpenAI) -> None:
    cards = {model.id: model.model_dump() for model in client.models.list()}
    assert list(cards) == [SMOLLM, SCOUT, "auto", "smollm2", "scout"]
    scout = cards[SCOUT]
    assert (scout["max_model_len"], scout["max_images_per_prompt"], scout["modalities"]) == (8192, 5, ["text", "image"])
    assert scout["attribution"] == "Built with Llama"
    assert client.models.retrieve("scout").id == SCOUT


def test_a_request_id_goes_in_and_out(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=SMOLLM, messages=user("Hi"), max_tokens=1, extra_headers={"x-request-id": "mine-42"}
    )
    assert raw.headers["x-request-id"] == "mine-42"
    assert raw.parse().id == "chatcmpl-mine-42"


LONG = "word " * 9000
BAD: list[tuple[str, str, Any, int, str | None, str]] = [
    ("unknown model", "/v1/chat/completions", {"model": "gpt-9", "messages": user("x")}, 404, "model_not_found", SCOUT),
    ("no model", "/v1/chat/completions", {"messages": user("x")}, 400, None, "model"),
    ("not JSON", "/v1/chat/completions", b'{"model": ', 400, "invalid_json", "JSON"),
    ("not an object", "/v1/chat/completions", b"[1]", 400, "invalid_json", "object"),
    ("no messages", "/v1/chat/completions", {"model": SMOLLM}, 400, "missing_required_parameter", "messages"),
    ("bad role", "/v1/chat/completions", {"model": SMOLLM, "messages": "hello"}, 400, None, "list"),
    ("bad temperature", "/v1/chat/completions", {"model": SMOLLM, "messages": user("x"), "temperature": -1}, 400, None, "temperature"),
    ("bad max_tokens", "/v1/completions", {"model": SMOLLM, "prompt": "x", "max_tokens": 0}, 400, None, "max_tokens"),
    ("too long", "/v1/chat/completions", {"model": SMOLLM, "messages": user(LONG)}, 400, "context_length_exceeded", "2048"),
    (
        "image to a text model",
        "/v1/chat/completions",
        {"model": SMOLLM, "messages": user([picture()])},
        400,
        "too_many_images",
        "no images",
    ),
    (
        "file on the node",
        "/v1/chat/completions",
        {"model": SCOUT, "messages": user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])},
        400,
        "invalid_image",
        "data:",
    ),
    (
        "unlisted host",
        "/v1/chat/completions",
        {"model": SCOUT, "messages": user([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/x.png"}}])},
        400,
        "invalid_image_url",
        "allowed hosts: none",
    ),
    (
        "broken image",
        "/v1/chat/completions",
        {"model": SCOUT, "messages": user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])},
        400,
        "invalid_image",
        "not a JPEG, PNG, WebP or GIF file",
    ),
    (
        "sound",
        "/v1/chat/completions",
        {"model": SCOUT, "messages": user([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}])},
        400,
        None,
        "only text and images",
    ),
    (
        "bad schema",
        "/v1/chat/completions",
        {"model": SMOLLM, "messages": user("x"), "response_format": {"type": "json_schema"}},
        400,
        None,
        "",
    ),
    ("no embeddings here", "/v1/embeddings", {"model": SMOLLM, "input": "x"}, 404, "unsupported_endpoint", "endpoint"),
    ("administration", "/pause", {}, 404, "unknown_url", "/pause"),
    ("administration, deeper", "/v1/load_lora_adapter", {}, 404, "unknown_url", "lora"),
]


@pytest.mark.parametrize(("path", "body", "status", "code", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_request_is_told_what_is_wrong(herd: Herd, path: str, body: Any, status: int, code: str | None, says: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(f"{herd.endpoint}{path}", content=content, headers={"content-type": "application/json"}, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert says in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in error["message"]
