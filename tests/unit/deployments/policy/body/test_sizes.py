"""`deployments.policy.body.sizes`: what is longer than any prompt of the model, and token ids that it does not have."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from configs.requests import Requests
from deployments.policy.body import fields, sizes
from deployments.policy.errors.client_errors import BadRequest, ContextExceeded
from deployments.policy.images import media
from deployments.policy.request.served_models import catalog
from tests.unit.samples import model, scout

SMALL = catalog([model(id="small", kind="smollm2-135m", context_tokens=100)], created=1).models[0]
REQUESTS = Requests()


def check_ids(endpoint: str, body: dict[str, Any], served: Any = SMALL) -> None:
    for _ in sizes.check_ids(endpoint, body, served):
        pass


def check(endpoint: str, body: dict[str, Any], served: Any = SMALL, requests: Requests = REQUESTS) -> None:
    check_ids(endpoint, body, served)
    sizes.check(endpoint, body, len(json.dumps(body)), served, requests)


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


@pytest.mark.parametrize(
    ("endpoint", "body", "most"),
    [
        ("chat", lambda text: {"messages": said(text)}, 1600),
        ("completions", lambda text: {"prompt": text}, 1600),
        ("completions", lambda text: {"prompt": ["x", text]}, 1600),
        ("responses", lambda text: {"input": text, "instructions": ""}, 1600),
        ("messages", lambda text: {"system": [{"type": "text", "text": text}], "messages": []}, 1600),
        ("embeddings", lambda text: {"input": [text, "x"]}, 1600),
        ("tokenize", lambda text: {"prompt": text}, 800),
        ("tokenize", lambda text: {"messages": said(text)}, 800),
        ("count_tokens", lambda text: {"messages": said(text)}, 800),
    ],
)
def test_text_is_as_long_as_a_prompt_can_be_at_most(endpoint: str, body: Any, most: int) -> None:
    check(endpoint, body("x" * (most - 50)))
    with pytest.raises(ContextExceeded, match=f"a context of 100 tokens, for which this server takes at most {most} characters"):
        check(endpoint, body("x" * (most + 1)))


def test_several_prompts_are_bounded_one_by_one_and_messages_together() -> None:
    check("completions", {"prompt": ["x" * 1000] * 10})
    with pytest.raises(ContextExceeded):
        check("chat", {"messages": said("x" * 1000) * 10})


def test_counting_has_a_bound_of_its_own_where_contexts_are_long() -> None:
    long = catalog([scout(context_tokens=10_000_000)], created=1).models[0]
    with pytest.raises(ContextExceeded, match="at most 1024 characters"):
        check("tokenize", {"prompt": "x" * 1100}, long, Requests(tokenize_kib=1))


def test_image_does_not_count_as_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    check("chat", {"messages": [{"role": "user", "content": [image]}]})
    source = {"type": "image", "source": {"type": "base64", "data": "A" * 10_000}}
    check("messages", {"messages": [{"role": "user", "content": [source]}]})


LONG = "ab " * 1000
IMAGE = {"type": "image", "source": {"type": "base64", "data": "A" * 10_000}}


@pytest.mark.parametrize(
    "inner",
    [
        {"source": LONG},
        {"image_url": {"url": LONG}},
        {"source": {"data": LONG, "type": "base64"}},
        {LONG: 1},
        {"a": {LONG: {}}},
        {"a": list(range(1000))},
        {"a": [[[]] * 10] * 100},
        {"content": [{"type": "image", "source": {"data": LONG}}]},
    ],
)
@pytest.mark.parametrize("kind", ["tool_use", "text"])
def test_text_that_is_no_image_counts_wherever_it_stands(kind: str, inner: dict[str, Any]) -> None:
    block = {"type": kind, "id": "1", "name": "f", "text": "", "input": inner}
    for endpoint in ("messages", "count_tokens", "chat"):
        with pytest.raises(ContextExceeded) as refused:
            check(endpoint, {"messages": [{"role": "assistant", "content": [IMAGE, block]}]})
        assert refused.value.param == "messages"
    with pytest.raises(ContextExceeded):
        check("chat", {"messages": [], "documents": [inner]})
    with pytest.raises(ContextExceeded):
        check("responses", {"input": [{"type": "function_call", "arguments": inner}]})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": LONG},
        {"image_url": {"url": LONG}},
        {"type": "input_image", "image_url": LONG, "detail": None},
        {"type": "image", "source": {"type": "url", "url": LONG}},
        {"type": "tool_result", "content": [IMAGE]},
        {"type": "image", "source": {"data": LONG}, "image_url": None},
    ],
)
def test_image_does_not_count_in_any_of_its_forms(part: dict[str, Any]) -> None:
    check("messages", {"messages": [{"role": "user", "content": [part]}]})
    check("responses", {"input": [{"role": "user", "content": [part]}]})
    part = part | {"text": LONG}
    with pytest.raises(ContextExceeded):
        check("messages", {"messages": [{"role": "user", "content": [part]}]})


def test_what_is_no_part_of_an_image_counts_beside_it() -> None:
    for source in ({"type": "url", "url": "http://x", "data": LONG}, {"type": "base64", "data": "AAAA", "url": LONG}):
        with pytest.raises(ContextExceeded):
            check("messages", {"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]})


def test_conversation_to_embed_is_one_prompt_and_several_are_bounded_one_by_one() -> None:
    for field in ("input", "messages"):
        check("embeddings", {field: [said("x" * 1000)] * 10})
        with pytest.raises(ContextExceeded):
            check("embeddings", {field: said("x" * 1000) * 2})
        with pytest.raises(ContextExceeded):
            check("embeddings", {field: [said("x" * 1000) * 2]})


def test_prompts_in_token_ids_are_no_text() -> None:
    long = replace(SMALL, context_tokens=2)
    check("completions", {"prompt": [49_151, 49_150], "suffix": "x" * 100}, long)
    check("completions", {"prompt": [[49_151, 49_150], [49_151]] * 10}, long)


def test_more_values_than_any_body_may_have_are_refused() -> None:
    with pytest.raises(BadRequest, match="more than 1000 values") as refused:
        check("chat", {"messages": [{"role": "user", "content": "x", "more": [None] * 1001}]}, requests=Requests(structure=1000))
    assert (refused.value.param, refused.value.reason) == ("messages", "request_too_large")


@pytest.mark.parametrize("endpoint", ["chat", "responses", "messages", "count_tokens", "tokenize"])
def test_tools_count_with_the_indentation_of_templates(endpoint: str) -> None:
    nested: Any = [0] * 40
    for _ in range(20):
        nested = {"a": nested}
    tool = {"name": "f", "parameters": nested}
    field = "input" if endpoint == "responses" else "messages"
    check(endpoint, {field: [], "tools": [{"name": "f", "parameters": {}}]})
    with pytest.raises(ContextExceeded, match="characters in a prompt") as refused:
        check(endpoint, {field: [], "tools": [tool]})
    assert refused.value.param == "tools"


def test_tools_and_messages_count_together() -> None:
    body = {"messages": said("x" * 900), "tools": [{"name": "f", "description": "x" * 900}]}
    with pytest.raises(ContextExceeded, match="beside its tools"):
        check("chat", body)


@pytest.mark.parametrize(("endpoint", "field"), [("completions", "prompt"), ("embeddings", "input"), ("detokenize", "tokens")])
@pytest.mark.parametrize("wrong", [49_152, -1, 2**70])
def test_token_id_that_the_model_does_not_have_is_refused(endpoint: str, field: str, wrong: int) -> None:
    check(endpoint, {field: [0, 49_151]})
    check(endpoint, {field: []})
    with pytest.raises(BadRequest, match=r"does not have\. It has the ids 0 to 49151\."):
        check(endpoint, {field: [49_151, wrong]})


def test_token_ids_of_several_prompts_are_looked_at() -> None:
    check("completions", {"prompt": [[1], [], [2]]})
    check("embeddings", {"input": [[{"role": "user", "content": "x"}]]})
    with pytest.raises(BadRequest) as refused:
        check("completions", {"prompt": [[1], [49_152]]})
    assert refused.value.param == "prompt[1]"


def test_model_of_unknown_vocabulary_takes_every_id_but_those_below_nought() -> None:
    unknown = replace(SMALL, vocabulary=None)
    check("completions", {"prompt": [10**6]}, unknown)
    with pytest.raises(BadRequest, match=r"token id -1, which the model 'small' does not have\.$"):
        check("completions", {"prompt": [-1]}, unknown)


def test_more_token_ids_than_the_context_are_refused() -> None:
    with pytest.raises(ContextExceeded, match="101 tokens"):
        check("detokenize", {"tokens": [1] * 101})


@pytest.mark.parametrize(
    ("body", "has"), [({}, False), ({"prompt": "x"}, False), ({"prompt": ["x"]}, False), ({"prompt": []}, False), ({"prompt": [1]}, True)]
)
def test_prompt_in_token_ids_is_known(body: dict[str, Any], has: bool) -> None:
    assert sizes.has_token_ids(body) is has


class Pieces(list[int]):
    """A list of token ids that is looked at in pieces only."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__(ids)
        self.longest = 0

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("all ids were looked at in one go")

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        if isinstance(at, slice):
            self.longest = max(self.longest, len(found))
        return found


TEN_MILLION = catalog([scout(context_tokens=10_000_000)], created=1).models[0]


@pytest.mark.parametrize(("endpoint", "field"), [("completions", "prompt"), ("embeddings", "input"), ("detokenize", "tokens")])
def test_prompt_of_many_token_ids_is_looked_at_in_pieces(endpoint: str, field: str) -> None:
    ids = Pieces([1] * (3 * sizes.IDS_AT_ONCE))
    body = {field: ids}
    assert fields.unknown(endpoint, body, REQUESTS) == ()
    assert len(list(sizes.check_ids(endpoint, body, TEN_MILLION))) == 3
    sizes.check(endpoint, body, 2 * len(ids), TEN_MILLION, REQUESTS)
    sizes.check(endpoint, body, 2 * len(ids), SMALL, REQUESTS)
    assert media.inspect(body, TEN_MILLION.id, 1).images == ()
    assert ids.longest == sizes.IDS_AT_ONCE


def test_prompt_of_too_many_token_ids_is_refused_before_they_are_looked_at() -> None:
    ids = Pieces([1] * 101)
    with pytest.raises(ContextExceeded, match="has 101 tokens"):
        check_ids("completions", {"prompt": ids})
    assert ids.longest == 0


def test_several_prompts_of_token_ids_are_looked_at_in_pieces_together() -> None:
    prompts = [[1] * (sizes.IDS_AT_ONCE // 4)] * 10
    assert len(list(sizes.check_ids("completions", {"prompt": prompts}, TEN_MILLION))) == 2


@pytest.mark.parametrize("other", [1.0, "1", True, None, {"type": "image_url"}])
def test_what_is_no_token_id_is_found_behind_many_that_are(other: Any) -> None:
    ids = [1] * 2000 + [other]
    for endpoint, body in (("completions", {"prompt": ids}), ("embeddings", {"input": [[1], ids]}), ("detokenize", {"tokens": ids})):
        assert fields.unknown(endpoint, body, REQUESTS) == ()
        with pytest.raises(BadRequest, match="whole numbers"):
            check_ids(endpoint, body, TEN_MILLION)


@pytest.mark.parametrize("endpoint", ["chat", "responses", "messages", "count_tokens", "tokenize", "embeddings"])
def test_tools_do_not_hide_in_what_a_template_is_given(endpoint: str) -> None:
    """Llama's templates write `custom_tools` with four spaces for each level: 50 bytes of lists are 2 KB of a prompt."""
    fields_, deep = {"messages": said("Hi"), "input": "Hi"}, [0]
    for _ in range(20):
        deep = [deep, 0]  # type: ignore[list-item]
    check(endpoint, fields_ | {"chat_template_kwargs": {"custom_tools": [{"name": "f"}], "date_string": "26 Jul 2024"}})
    with pytest.raises(ContextExceeded, match=r"'chat_template_kwargs' has [0-9]+ characters in a prompt") as refused:
        check(endpoint, fields_ | {"chat_template_kwargs": {"custom_tools": [deep]}})
    assert refused.value.param == "chat_template_kwargs"
    check("detokenize", {"tokens": [1], "chat_template_kwargs": [deep]})


def test_tools_and_what_a_template_is_given_are_bounded_together() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 800}}
    check("chat", {"messages": said("Hi"), "tools": [tool]})
    with pytest.raises(ContextExceeded, match="'chat_template_kwargs'"):
        check("chat", {"messages": said("Hi"), "tools": [tool], "chat_template_kwargs": {"custom_tools": ["x" * 800]}})
