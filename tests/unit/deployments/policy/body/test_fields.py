"""`deployments.policy.body.fields` and its table: every row, with a value that passes and one that is refused."""

import json
from typing import Any

import pytest

from configs.requests import Requests
from deployments.policy.body import bounds, grammars, shape, token_ids
from deployments.policy.body.bounds import Rule
from deployments.policy.body.field_table import EVERYWHERE, FIELDS, NEEDED
from deployments.policy.body.fields import unknown
from deployments.policy.errors.client_errors import BadRequest

REQUESTS = Requests()
SAID = [{"role": "user", "content": "Hi"}]
LEAST: dict[str, dict[str, Any]] = {
    "chat": {"messages": SAID},
    "completions": {"prompt": "Hi"},
    "responses": {"input": "Hi"},
    "messages": {"messages": SAID},
    "count_tokens": {"messages": SAID},
    "embeddings": {"input": "Hi"},
    "tokenize": {"prompt": "Hi"},
    "detokenize": {"tokens": [1, 2]},
}
TOOL = {"type": "function", "function": {"name": "hello", "parameters": {"type": "object"}}}
#: For each kind of rule, values that pass and values that do not.
EXAMPLES: dict[type, tuple[list[Any], list[Any]]] = {
    bounds.Plain: ([1, 0.5, True, "auto"], [[1], {"a": 1}, "x" * 257]),
    bounds.Flag: ([True, False, 0, 1], ["true", "no", [], 2]),
    bounds.Number: ([1, 1.0, "1"], [10**6, "1000000", 1e9, "nan", "many", "1" * 257, "0" * 257 + "1", [1], -2]),
    bounds.Text: (["llama"], [7, ["llama"]]),
    bounds.Texts: (["a", ["a", "b"]], [["x"] * 65, [7], {"a": 1}, ["x" * 5000], ["x" * 500] * 64]),
    token_ids.Ids: ([[1, 2], []], ["1", [1.5], ["1"], [True], {"1": 1}]),
    bounds.Biases: ([{"1": -100}, {}], [{str(i): 1 for i in range(301)}, [1], {"1": [2]}, {"1" * 21: 1}]),
    bounds.Small: ([{"a": 1}, ["a"]], [["x" * (1 << 17)]]),
    bounds.Members: ([{"max_pattern_size": 8, "min_count": 3, "min_pattern_size": None}], [{"max_pattern_size": 10**6}, {"other": 1}, [1]]),
    grammars.Grammar: ([{"type": "json_object"}], ["x", {"enum": list(range(1001))}, {"a": "x" * 65_536}, {"a": [{"b": [1] * 900}] * 5}]),
    bounds.Keys: ([{"enable_thinking": False}], [{"chat_template": "{{ 1 }}"}, {"mm_processor_kwargs": {}}, {"kv_x": 1}, [1]]),
    bounds.Xargs: ([{}], [{"ngram_size": 4}, {"kv_transfer_params": "x"}, {"herd_tokens": [1]}, {"ec_transfer_params": "x"}, [1]]),
    bounds.Refused: ([], [1, {}, "x", False]),
    bounds.Own: ([], [1, {"a": 1}, "x", -(2**63)]),
    shape.Messages: ([SAID], [[[]], [{"a": 1}], "Hi", {}]),
    shape.Items: (["Hi", [{"role": "user", "content": "Hi"}]], [[{"a": 1}], {"a": 1}, 7]),
    shape.Blocks: (["Hi", [{"type": "text", "text": "Hi"}]], [7, [7]]),
    shape.Objects: ([[{"text": "x"}]], [[7], {"text": "x"}]),
    shape.Tools: (
        [[TOOL | {"name": "hello"}]],
        [[TOOL] * 129, "x", [7], [{"name": 7, "function": 7}], [{"name": "x" * 300, "function": {}}]],
    ),
    shape.ToolChoice: (["auto", {"type": "function", "name": "hello"}], [7, "x" * 300, {"name": ["x"]}]),
    shape.Prompts: (["Hi", [1, 2], ["a", "b"], [[1], [2]]], [[1, "2"], [1.0], ["a"] * 3000, 7, [["x"]]]),
}
ROWS = [(endpoint, name, rule) for endpoint, rules in FIELDS.items() for name, rule in rules.items()]
EVERY_ROW = pytest.mark.parametrize(("endpoint", "name", "rule"), ROWS, ids=lambda one: one if isinstance(one, str) else "")


@EVERY_ROW
def test_value_in_bounds_passes(endpoint: str, name: str, rule: Rule) -> None:
    for value in (*EXAMPLES[type(rule)][0], None):
        if value is not None or name not in NEEDED[endpoint]:
            assert unknown(endpoint, {**LEAST[endpoint], name: value}, REQUESTS) == ()


@EVERY_ROW
def test_value_out_of_bounds_is_refused_by_its_field_s_name(endpoint: str, name: str, rule: Rule) -> None:
    for value in EXAMPLES[type(rule)][1]:
        if isinstance(rule, bounds.Text) and isinstance(value, str):
            continue
        with pytest.raises(BadRequest) as refused:
            unknown(endpoint, {**LEAST[endpoint], name: value}, REQUESTS)
        assert (refused.value.param or "").startswith(name)
        assert name in refused.value.message
        assert len(refused.value.message) < 400


@pytest.mark.parametrize("endpoint", FIELDS)
@pytest.mark.parametrize("name", EVERYWHERE)
def test_field_that_no_endpoint_takes_is_refused_where_the_api_lacks_it_too(endpoint: str, name: str) -> None:
    with pytest.raises(BadRequest, match=name) as refused:
        unknown(endpoint, {**LEAST[endpoint], name: {"size": 672}}, REQUESTS)
    assert refused.value.param == name


@pytest.mark.parametrize("endpoint", FIELDS)
@pytest.mark.parametrize("name", ["kv_transfer_params", "ec_transfer_params", "new_transfer_params", "kv_cache_report_mode", "herd_tokens"])
def test_no_name_of_the_cluster_s_passes_whatever_the_config_says(endpoint: str, name: str) -> None:
    for requests in (REQUESTS, Requests(unknown_fields="drop")):
        with pytest.raises(BadRequest, match="is the cluster's own"):
            unknown(endpoint, {**LEAST[endpoint], name: {"do_remote_prefill": True}}, requests)
        assert not set(unknown(endpoint, {**LEAST[endpoint], name: None}, requests)) - {name}


def test_priority_of_a_client_is_refused_with_the_header_s_name() -> None:
    with pytest.raises(BadRequest, match="x-priority"):
        unknown("chat", LEAST["chat"] | {"priority": -(2**63)}, REQUESTS)
    assert unknown("chat", LEAST["chat"] | {"priority": 0}, REQUESTS) == ()


def test_choice_of_older_versions_is_told_how_it_is_called_now() -> None:
    with pytest.raises(BadRequest, match=r'\{"structured_outputs": \{"choice": …\}\}'):
        unknown("chat", LEAST["chat"] | {"guided_choice": ["a"]}, REQUESTS)


@pytest.mark.parametrize(("said", "left_out"), [("pass", ()), ("drop", ("store", "x"))])
def test_unknown_field_goes_on_or_is_left_out(said: str, left_out: tuple[str, ...]) -> None:
    requests = Requests.model_validate({"unknown_fields": said})
    assert unknown("chat", LEAST["chat"] | {"store": False, "x": [1]}, requests) == left_out


def test_unknown_field_is_refused_where_the_config_says_so() -> None:
    with pytest.raises(BadRequest, match="'x' is not a field of this API") as refused:
        unknown("chat", LEAST["chat"] | {"x": 1}, Requests(unknown_fields="refuse"))
    assert refused.value.reason == "unknown_parameter"


@pytest.mark.parametrize("endpoint", FIELDS)
def test_request_without_what_it_is_about_is_told_the_name(endpoint: str) -> None:
    for body in ({}, dict.fromkeys(NEEDED[endpoint])):
        with pytest.raises(BadRequest, match="The request must have") as refused:
            unknown(endpoint, body, REQUESTS)
        assert refused.value.param == NEEDED[endpoint][0]


@pytest.mark.parametrize("endpoint", [endpoint for endpoint, names in NEEDED.items() if len(names) > 1])
def test_one_of_several_needed_fields_is_enough(endpoint: str) -> None:
    assert unknown(endpoint, {NEEDED[endpoint][1]: SAID}, REQUESTS) == ()


def test_prompts_times_choices_are_bounded() -> None:
    assert unknown("completions", {"prompt": ["a"] * 128, "n": None}, REQUESTS) == ()
    assert unknown("completions", {"prompt": ["a"] * 16, "n": "8"}, REQUESTS) == ()
    assert unknown("completions", {"prompt": [7] * 1000, "n": 8}, REQUESTS) == ()
    assert unknown("completions", {"prompt": [], "n": 8}, REQUESTS) == ()
    with pytest.raises(BadRequest, match="asks for 136 answers"):
        unknown("completions", {"prompt": ["a"] * 17, "n": 8}, REQUESTS)


def test_names_under_vllm_xargs_are_those_of_the_config() -> None:
    allowed = Requests(allowed_xargs=("ngram_size",))
    assert unknown("chat", LEAST["chat"] | {"vllm_xargs": {"ngram_size": 4}}, allowed) == ()
    with pytest.raises(BadRequest, match=r"'vllm_xargs.window' is not allowed here.*gateway.requests.allowed_xargs"):
        unknown("chat", LEAST["chat"] | {"vllm_xargs": {"window": 4}}, allowed)


@pytest.mark.parametrize("name", ["herd_tokens", "kv_cache_report_mode", "my_transfer_params"])
def test_config_cannot_allow_a_name_of_the_cluster_s(name: str) -> None:
    with pytest.raises(ValueError, match="only the cluster itself"):
        Requests(allowed_xargs=(name,))


def test_what_clients_of_other_apis_send_passes() -> None:
    more = {
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "flex",
        "safety_identifier": "u",
        "prompt_cache_key": "k",
        "thinking": {},
    }
    for endpoint, body in LEAST.items():
        assert unknown(endpoint, body | more, REQUESTS) == ()


def test_every_option_may_be_null() -> None:
    for endpoint, rules in FIELDS.items():
        assert unknown(endpoint, dict.fromkeys(rules) | LEAST[endpoint], REQUESTS) == ()


@pytest.mark.parametrize(("name", "most"), [("stop_token_ids", 120), ("allowed_token_ids", 1024), ("logprob_token_ids", 128)])
def test_lists_of_token_ids_are_as_long_as_an_engine_on_gpus_takes(name: str, most: int) -> None:
    assert unknown("chat", LEAST["chat"] | {name: [7] * most}, REQUESTS) == ()
    with pytest.raises(BadRequest, match=f"'{name}' has {most + 1} token ids; it may have {most}"):
        unknown("chat", LEAST["chat"] | {name: [7] * (most + 1)}, REQUESTS)


@pytest.mark.parametrize("name", ["json", "structural_tag"])
def test_schema_in_a_text_is_bounded_as_one_in_an_object_is(name: str) -> None:
    chat = LEAST["chat"]
    for schema in ({"enum": [f"w{number}" for number in range(1001)]}, {"a": [{"b": [1] * 900}] * 5}):
        with pytest.raises(BadRequest, match=r"values|members"):
            unknown("chat", {**chat, "structured_outputs": {name: json.dumps(schema)}}, REQUESTS)
    unknown("chat", {**chat, "structured_outputs": {name: json.dumps({"enum": [f"w{number}" for number in range(900)]})}}, REQUESTS)
