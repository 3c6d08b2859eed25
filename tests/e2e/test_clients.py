"""What other vendors' own clients get from real engines: Anthropic's, as Claude Code and its kin use it, and OpenAI's list of models."""

from collections.abc import Iterator

import anthropic
import openai
import pytest

from tests.e2e.conftest import Herd

SMOLLM = "smollm2-135m-instruct"
QUESTION: anthropic.types.MessageParam = {"role": "user", "content": "What is a llama?"}


@pytest.fixture
def claude(herd: Herd) -> Iterator[anthropic.Anthropic]:
    """Anthropic's client; errors are told at once."""
    with anthropic.Anthropic(base_url=herd.endpoint, api_key="none", max_retries=0, timeout=120) as one:
        yield one


def test_anthropics_client_gets_a_message(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model="smollm2", max_tokens=16, messages=[QUESTION])
    assert answer.role == "assistant"
    assert answer.usage.output_tokens == 16
    assert answer.stop_reason == "max_tokens"


def test_anthropics_client_counts_tokens_as_the_engine_does(claude: anthropic.Anthropic) -> None:
    counted = claude.messages.count_tokens(model="smollm2", messages=[QUESTION])
    answer = claude.messages.create(model="smollm2", max_tokens=1, messages=[QUESTION])
    assert counted.input_tokens == answer.usage.input_tokens > 0


def test_anthropics_client_streams_to_the_end(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(model="smollm2", max_tokens=16, messages=[QUESTION]) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "".join(block.text for block in final.content if block.type == "text") != ""
    assert final.stop_reason == "max_tokens"


def test_anthropics_client_is_told_of_an_unknown_model_in_its_own_shape(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as refused:
        claude.messages.create(model="nobody", max_tokens=1, messages=[QUESTION])
    assert refused.value.body == {
        "type": "error",
        "error": {
            "message": refused.value.body["error"]["message"],  # type: ignore[index]
            "type": "not_found_error",
            "param": "model",
            "code": "model_not_found",
        },
    }


def test_openais_client_finds_the_alias_that_it_asks_for(client: openai.OpenAI) -> None:
    listed = {one.id for one in client.models.list()}
    assert {SMOLLM, "smollm2", "scout", "auto"} <= listed
