"""`configs.load`: a file becomes a config, or every problem at its place; and the environment."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.planner import config_problems
from configs.keys import WeakSecret, derived
from configs.load import REPLICA, ConfigError, Problem, checkpoint_config, environment, parse, read
from configs.schema import Config, Scaling
from configs.schema_problems import fields_at
from tests.unit.machines import ROOT
from tests.unit.samples import JSON, MODEL, raw

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
GOOD = "models: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]\n"


def refusal(text: str) -> ConfigError | None:
    try:
        parse(text, "herd.yaml", config_problems.problems)
    except ConfigError as error:
        return error
    return None


def problems(text: str) -> dict[str, str]:
    refused = refusal(text)
    return {problem.path: problem.message for problem in refused.problems} if refused else {}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_that_comes_with_the_project_loads(path: Path) -> None:
    assert read(path, config_problems.problems).models


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "", "must be a mapping with at least the key `models`"),
        ("[a]", "", "must be a mapping with at least the key `models`"),
        ("name: a", "models", "is required"),
        ("models: []", "models", "must name at least one model"),
        ("models: {}", "models", "must be a list: each item behind a dash, or in brackets (got {})"),
        ("models: [3]", "models[0]", "must be a section, with its fields below it or in braces (got 3)"),
        (
            "nome: a\n" + GOOD,
            "nome",
            "unknown field; did you mean 'name'? allowed here: cluster, engine_tls, gateway, hardware, models, monitoring, name, ray",
        ),
        ("zzz: a\n" + GOOD, "zzz", "unknown field; allowed here: cluster, engine_tls, gateway, hardware, models, monitoring, name, ray"),
        ("extend: a.yaml\n" + GOOD, "extend", "unknown field; did you mean 'extends'? allowed here: cluster"),
        ("gateway: {limits: {total: 1}}\n" + GOOD, "gateway.limits.total", "unknown field; did you mean 'total_s'? allowed"),
        ("models: [{scaling: {min_replica: 1}}]", "models[0].scaling.min_replica", "unknown field; did you mean 'min_replicas'?"),
        (
            "models: [{parallel: {x: 1}}]",
            "models[0].parallel.x",
            "unknown field; allowed here: across_nodes, all_to_all, auto, data, expert, pipeline, redundant_experts, tensor",
        ),
        ("gateway: {port: 0}\n" + GOOD, "gateway.port", "input should be greater than or equal to 1 (got 0)"),
        (f"ray: {{address: [{'A' * 99}]}}\n" + GOOD, "ray.address", f"input should be a valid string (got ['{'A' * 55}...)"),
        ("models: [{engine: 3}]", "models[0].engine", "must be a section"),
        (
            "models: [{scaling: {schedules: [{begins: '8:00'}]}}]",
            "models[0].scaling.schedules[0].begins",
            "is not of the right form (got '8:00'). The floor holds from this time of the day: 08:00. It must match ^(([01]",
        ),
        (
            "gateway: {cors: {allowed_origins: [a b]}}",
            "gateway.cors.allowed_origins[0]",
            "is not of the right form (got 'a b'). Web pages of these origins may use the herd",
        ),
        ("cluster: {environment: {'a b': x}}", "cluster.environment.a b", "is not of the right form (got 'a b')."),
        ("models: [{engine: {1: 2}}]", "models[0].engine[1]", "input should be a valid string (got 1)"),
        ("1: 2\n" + GOOD, "[1]", "keys should be strings (got 1)"),
        (GOOD.replace("512", "9000"), "models[0].context_tokens", "9000 is more than Llama 3 8B can take (8192)"),
        (GOOD.replace("}]", "}, 3]").replace("512", "9000"), "models[0].context_tokens", "9000 is more than Llama 3 8B can take"),
        (GOOD.replace("}]", "}, 3]").replace("512", "9000"), "models[1]", "must be a section"),
    ],
)
def test_problem_is_told_at_its_place(text: str, path: str, message: str) -> None:
    assert problems(text)[path].startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [a", "is not YAML: expected ',' or ']', but got '<stream end>' (line 1, column 11)"),
        ("name: a\nname: b", "is not YAML: the key 'name' is here twice (line 2, column 1)"),
        ("a: {b: 1, 'b': 2}", "is not YAML: the key 'b' is here twice (line 1, column 11)"),
        ("? [a]\n: 1", "is not YAML: found unhashable key (line 1, column 3)"),
        ("name: 2026-02-31", "is not YAML: '2026-02-31' is not a timestamp (line 1, column 7)"),
        ("name: !!bool maybe", "is not YAML: 'maybe' is not a bool (line 1, column 7)"),
        ("name: !!timestamp soon", "is not YAML: 'soon' is not a timestamp (line 1, column 7)"),
        ("!!map a", "is not YAML: expected a mapping node, but found scalar (line 1, column 1)"),
        ("name: !!python/name:os.system", "is not YAML: could not determine a constructor for the tag"),
        ("name: \x00", "is not YAML: special characters are not allowed (at character 7)"),
        ("[" * 1000, "is nested too deeply"),
    ],
)
def test_what_is_not_yaml_is_said_where(text: str, message: str) -> None:
    assert problems(text)[""].startswith(message)


def test_merge_keys_merge() -> None:
    first, second = parse(
        """
        models:
          - &first {id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}
          - {<<: *first, id: b}
        """,
        "herd.yaml",
    ).models
    assert (first.id, second.id, second.context_tokens) == ("a", "b", 512)


@given(st.text() | st.text("ab:-?!&*<>{}[]'\"|#,.0e \n\t").map(lambda text: f"models: {text}"))
def test_any_text_is_a_config_or_refused_with_a_reason(text: str) -> None:
    refused = refusal(text)
    assert refused is None or (refused.problems and all(problem.message for problem in refused.problems))


def _places(value: Any, path: str = "") -> set[str]:
    """The path of everything in a document."""
    inside: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inside = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        inside = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    return {path}.union(*(_places(item, place) for place, item in inside))


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A good document with one thing put where something else was, added, or taken away."""
    document = copy.deepcopy(draw(raw(Config)))
    node: Any = document
    while True:
        keys = [key for key in (node if isinstance(node, dict) else range(len(node))) if isinstance(node[key], dict | list) and node[key]]
        if not keys or draw(st.booleans()):
            break
        node = node[draw(st.sampled_from(keys))]
    key = draw(st.sampled_from([*node, "unknown"]) if isinstance(node, dict) else st.integers(0, len(node) - 1))
    if draw(st.booleans()):
        node[key] = draw(JSON)
    elif isinstance(node, list) or key in node:
        del node[key]
    return document


@given(damaged())
def test_path_of_a_problem_is_a_place_in_the_document(document: dict[str, Any]) -> None:
    places = _places(document)
    for path, message in problems(yaml.safe_dump(document)).items():
        assert (re.sub(r"\.?[^.]*$", "", path) if message == "is required" else path) in places


def test_every_problem_is_in_the_message() -> None:
    with pytest.raises(ConfigError) as refused:
        parse("name: A\nmodels: []\n", "herd.yaml")
    first, *rest = str(refused.value).splitlines()
    assert first == "herd.yaml cannot be used:"
    assert [line.strip().partition(":")[0] for line in rest] == ["name", "models"]
    assert str(Problem("", "is not YAML")) == "is not YAML"


def test_without_a_check_only_the_schema_speaks() -> None:
    assert parse(GOOD.replace("512", "9000"), "herd.yaml").models[0].context_tokens == 9000


def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "herd.yaml"
    path.write_text(yaml.safe_dump({"models": [MODEL]}), encoding="utf-8")
    assert read(path).models[0].id == MODEL["id"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be read: is a folder"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not text in UTF-8"),
    ],
)
def test_file_that_cannot_be_read(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "herd.yaml"
    make(path)
    with pytest.raises(ConfigError, match=message) as refused:
        read(path)
    assert refused.value.source == str(path)


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read as JSON: "), ("[]", "is not a JSON object")])
def test_config_of_a_checkpoint_that_cannot_be_read_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        checkpoint_config(tmp_path)
    assert refused.value.source == str(tmp_path / "config.json")


def test_config_of_a_checkpoint_is_read_where_there_is_one(tmp_path: Path) -> None:
    assert checkpoint_config(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert checkpoint_config(tmp_path) == {"model_type": "llama"}


def test_fields_at_a_place() -> None:
    assert fields_at(Config, ()) == tuple(Config.model_fields)
    assert fields_at(Config, ("models", 0, "scaling")) == tuple(Scaling.model_fields)


@pytest.mark.parametrize(
    ("environ", "state", "cache"),
    [
        ({"HOME": "/home/a"}, "/home/a/.local/state/llama-herd", "/home/a/.cache/llama-herd"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"}, "/s/llama-herd", "/c/llama-herd"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "s", "XDG_CACHE_HOME": ""}, "/home/a/.local/state/llama-herd", "/home/a/.cache/llama-herd"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/s", "HERD_STATE": "/mine", "HERD_CACHE": "/big"}, "/mine", "/big"),
        ({"HERD_STATE": "~/mine", "HERD_CACHE": "/big"}, str(Path.home() / "mine"), "/big"),
        ({"HOME": ""}, str(Path.home() / ".local/state/llama-herd"), str(Path.home() / ".cache/llama-herd")),
    ],
)
def test_folders_come_from_the_environment(environ: dict[str, str], state: str, cache: str) -> None:
    found = environment(environ)
    assert (found.state, found.cache, found.secret) == (Path(state), Path(cache), None)
    assert found.models == Path(cache) / "models"


SECRET = "open sesame 0123456789abcdefghijklmnop"


def test_key_is_made_of_the_secret_and_both_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERD_SECRET", SECRET)
    found = environment()
    assert found.key("door").get_secret_value() == derived(SECRET, "door")
    assert "sesame" not in repr(found)
    assert derived(SECRET, "door") not in repr(found) + repr(found.key("door"))


def test_key_that_is_set_goes_before_one_made_of_the_secret() -> None:
    found = environment({"HERD_SECRET": SECRET, "HERD_DOOR_KEY": "given"})
    assert found.key("door").get_secret_value() == "given"
    assert found.key("pages").get_secret_value() == derived(SECRET, "pages")
    assert "given" not in repr(found)


@pytest.mark.parametrize(("mode", "asks"), [("token", True), ("TOKEN", True), ("disabled", False), ("", False)])
def test_mode_of_ray_comes_from_the_environment(mode: str, asks: bool) -> None:
    assert environment({"RAY_AUTH_MODE": mode}).ray_asks_for_token is asks
    assert not environment({}).ray_asks_for_token


def test_a_process_that_needs_a_key_says_where_to_set_it() -> None:
    with pytest.raises(RuntimeError, match=r"HERD_DOOR_KEY is not set .*HERD_SECRET.*herd secret"):
        environment({}).key("door")


def test_a_process_with_a_secret_that_can_be_guessed_says_how_to_make_a_better_one() -> None:
    with pytest.raises(WeakSecret, match="openssl rand -hex 32"):
        environment({"HERD_SECRET": "changeme"}).key("door")


@pytest.mark.parametrize(("text", "replica"), [("r1 org/scout", ("r1", "org/scout")), ("r1", None), ("", None), (" scout", None)])
def test_process_of_an_engine_knows_its_replica_and_model(text: str, replica: tuple[str, str] | None) -> None:
    assert environment({REPLICA: text}).replica == replica
