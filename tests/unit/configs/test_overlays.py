"""`configs.overlays`: a config laid over another one, and `--set` over both."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from configs.overlays import assigned, merged, without_notes
from configs.problems import ConfigError
from configs.provenance import Node, nearest, origins, plain
from configs.yaml_text import document

SCOUT = {"id": "scout", "aliases": ["s", "llama.4"], "replicas": 1, "engine": {"a": 1, "b": 2}}
GUARD = {"id": "guard-3.1", "replicas": 1}
BASE = {"name": "base", "gateway": {"host": "h", "port": 1}, "models": [SCOUT, GUARD], "hosts": ["x", "y"]}


def node(value: Any, source: str = "base.yaml") -> Node:
    return document(yaml.safe_dump(value, sort_keys=False), source)


def over(upper: Any, lower: Any = BASE) -> Any:
    return plain(merged(node(lower), node(upper, "upper.yaml")))


def set_(*assignments: str, lower: Any = BASE) -> Any:
    found = node(lower)
    for one in assignments:
        path, _, value = one.partition("=")
        found = assigned(found, path, yaml.safe_load(value))
    return plain(found)


def test_mappings_merge_and_values_are_replaced() -> None:
    assert over({"gateway": {"port": 2}, "name": "top", "new": {"a": {"b": 1}}}) == {
        **BASE,
        "gateway": {"host": "h", "port": 2},
        "name": "top",
        "new": {"a": {"b": 1}},
    }


def test_null_takes_a_field_away_also_where_there_is_none() -> None:
    assert over({"gateway": {"port": None, "tls": None}, "ray": {"address": None}, "name": None}) == {
        "gateway": {"host": "h"},
        "ray": {},
        "models": [SCOUT, GUARD],
        "hosts": ["x", "y"],
    }


def test_list_replaces_a_list_and_a_mapping_a_value() -> None:
    assert over({"hosts": ["z"], "name": {"a": 1}}) == BASE | {"hosts": ["z"], "name": {"a": 1}}


def test_items_with_an_id_merge_by_it_and_new_ones_follow() -> None:
    found = over({"models": [{"id": "new"}, {"id": "scout", "engine": {"a": None, "c": 3}}]})["models"]
    assert found == [SCOUT | {"engine": {"b": 2, "c": 3}}, GUARD, {"id": "new"}]


@pytest.mark.parametrize("items", [[], [{"id": "scout"}, {"id": "scout"}], [{"id": "scout"}, {"kind": "x"}], [{"id": 3}], [3]])
def test_items_of_which_one_has_no_id_of_its_own_replace_the_list(items: list[Any]) -> None:
    assert over({"models": items})["models"] == items
    assert over({"models": [SCOUT]}, {"models": items})["models"] == [SCOUT]


def test_mapping_over_a_list_names_its_items_by_id_or_alias_and_removes_one_by_null() -> None:
    assert over({"models": {"s": {"replicas": 2}, "guard-3.1": None}})["models"] == [SCOUT | {"replicas": 2}]


def test_item_that_is_not_there_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError) as refused:
        over({"name": "a", "models": {"scuot": {"replicas": 2}}})
    (problem,) = refused.value.problems
    assert refused.value.source == "upper.yaml"
    assert str(problem) == (
        "models.scuot: nothing in this list has the id 'scuot'; did you mean 'scout'? the ids are: scout, guard-3.1 (upper.yaml:3)"
    )


def test_value_knows_the_file_that_it_is_from() -> None:
    found = dict(origins(merged(node(BASE), node({"models": [{"id": "scout", "replicas": 2}]}, "upper.yaml"))))
    assert str(found["models[0].replicas"]) == "upper.yaml:3"
    assert str(found["models[0].engine.a"]) == "base.yaml:12"
    assert str(found["models[1].id"]) == "base.yaml:14"
    assert str(nearest(found, "models[1].scaling.min_replicas")) == "base.yaml:14"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gateway.port", 5),
        ("gateway", {"port": 5}),
        ("gateway.limits.queue_s", 5),
        ("hosts", [1, {"a": 1}]),
        ("a.b.c.d", 5),
    ],
)
def test_value_is_set_at_its_path(path: str, value: Any) -> None:
    expected: Any = value
    for part in reversed(path.split(".")):
        expected = {part: expected}
    assert plain(assigned(node(BASE), path, value)) == over(expected)


def test_value_of_a_model_is_set_by_its_id_or_alias_also_where_it_has_dots() -> None:
    found = set_("models.guard-3.1.replicas=2", "models.llama.4.engine.a=7", "models.s.replicas=null")["models"]
    scout = {name: value for name, value in SCOUT.items() if name != "replicas"}
    assert found == [scout | {"engine": {"a": 7, "b": 2}}, GUARD | {"replicas": 2}]


def test_longest_id_is_meant() -> None:
    lower = {"models": [{"id": "a"}, {"id": "a.b"}]}
    assert set_("models.a.b.c=1", lower=lower) == {"models": [{"id": "a"}, {"id": "a.b", "c": 1}]}
    assert set_("models.a.c=1", lower=lower) == {"models": [{"id": "a", "c": 1}, {"id": "a.b"}]}


def test_model_is_taken_out() -> None:
    assert set_("models.guard-3.1=null")["models"] == [SCOUT]


def test_aliases_that_are_none_name_nothing() -> None:
    lower = {"models": [{"id": "a", "aliases": 3}, {"id": "b", "aliases": [4, "c"]}]}
    assert set_("models.c.d=1", lower=lower)["models"][1]["d"] == 1


def test_set_value_knows_that_it_was_set() -> None:
    found = dict(origins(assigned(node(BASE), "models.scout.engine", {"a": [1]})))
    assert str(found["models[0].engine.a[0]"]) == "--set models.scout.engine"


@pytest.mark.parametrize("path", ["", ".port", "gateway.", "gateway..port"])
def test_path_with_an_empty_name_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"--set gateway.port=8001"):
        assigned(node(BASE), path, 1)


def test_path_to_an_item_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"(?s)--set models.guard.replicas cannot be used.*did you mean 'guard-3.1'\?"):
        set_("models.guard.replicas=1")


def test_notes_are_left_out_but_not_from_others_names() -> None:
    annotations = {"x-y/z": "1"}
    cluster = {"x-d": 1, "kuberay": {"x-e": 1, "annotations": annotations}}
    said = {"x-a": 1, "gateway": {"x-b": {"c": 1}, "port": 1}, "models": [{"x-c": 1, "id": "a"}], "cluster": cluster, 3: 4}
    assert plain(without_notes(node(said))) == {
        "gateway": {"port": 1},
        "models": [{"id": "a"}],
        "cluster": {"kuberay": {"annotations": annotations}},
        3: 4,
    }


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from("abc"),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["id", "a", "b", "models"]), inside, max_size=3),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(st.sampled_from(["id", "a", "b", "models"]), DOCUMENTS, max_size=3)


@given(MAPPINGS, MAPPINGS)
def test_upper_document_has_the_last_word(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    try:
        found = over(upper, lower)
    except ConfigError:
        return
    assert over({}, lower) == lower, "an empty one changes nothing"
    assert over(upper, found) == found, "laid over a second time it changes nothing"
    for key, value in upper.items():
        assert (key not in found) if value is None else (isinstance(value, dict | list) or found[key] == value)


@pytest.mark.parametrize(
    ("text", "value"), [("18:00", "18:00"), ("1:2.5", "1:2.5"), ("08:00", "08:00"), ("1_000", 1000), ("0x10", 16), ("2.5", 2.5)]
)
def test_time_of_the_day_is_a_text_and_no_number_to_the_base_of_sixty(text: str, value: Any) -> None:
    assert plain(document(f"ends: {text}", "a.yaml")) == {"ends": value}
