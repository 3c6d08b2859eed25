"""`herd validate`, `herd config show`, `herd schema`, and configs that are laid over each other for every command that takes one.

`UPDATE_TEXTS=1 pytest tests/unit/deployments/commands/test_config_commands.py` writes the golden texts anew: read them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.planner.config_problems import problems
from configs.json_schema import json_schema
from configs.load import loaded, parse, read
from configs.schema import Config, Model
from deployments.commands.describing.config_values import places, values
from deployments.lifecycle.known import Herd
from tests.unit.command_line import invoke
from tests.unit.machines import ROOT

TEXTS = Path(__file__).parent / "texts"
SHIPPED = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
BASE = """\
x-small: &small {max_num_seqs: 64}
name: base
ray: {address: auto}
gateway:
  port: ${PORT:-8001}
  host: 0.0.0.0
cluster:
  secret_command: echo hunter2
  environment: {HTTPS_PROXY: "http://me:hunter2@proxy:3128", DIR: $HOME}
  run_options: [--env=HF_TOKEN=hunter2, --label=a]
  onprem: {head: 10.0.0.11}
models:
  - id: scout
    kind: llama-4-scout
    checkpoint: ${MODELS}/scout
    quantization: int4
    accelerator: H100
    context_tokens: 16K
    engine: {<<: *small, model_loader_extra_config: {s3_key: hunter2}}
"""
OVER = """\
extends: base.yaml
name: prod
models:
  - id: scout
    aliases: [s]
    parallel: auto
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELS", "/models")
    monkeypatch.setenv("HERD_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("PORT", raising=False)
    Path("base.yaml").write_text(BASE)
    Path("prod.yaml").write_text(OVER)


def run(*words: str, stdin: str | None = None) -> Any:
    return invoke(list(words), stdin=stdin)


def held(name: str, text: str) -> None:
    path = TEXTS / f"{name}.txt"
    if os.environ.get("UPDATE_TEXTS"):
        TEXTS.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_config_is_shown_with_the_place_of_each_value() -> None:
    done = run("config", "show", "prod.yaml", "--set", "models.s.replicas=2", "--no-defaults")
    assert done.exit_code == 0, done.output
    held("config-show", done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "hunter2" not in run("config", "show", "prod.yaml").stdout


def test_config_is_shown_with_its_defaults_as_yaml_that_is_read_back() -> None:
    done = run("config", "show", str(ROOT / "configs/maverick-dgx.yaml"))
    assert "  require_token: true                           # default\n" in done.stdout
    assert parse(done.stdout, "shown") == read(ROOT / "configs/maverick-dgx.yaml")


def test_value_that_is_said_is_shown_also_where_it_is_the_default() -> None:
    assert "port: 8000" in run("config", "show", "prod.yaml", "--set", "gateway.port=8000", "--no-defaults").stdout


def test_config_is_shown_for_scripts() -> None:
    found = json.loads(run("config", "show", "prod.yaml", "--json").stdout)
    assert (found["name"], found["files"]) == ("prod", ["base.yaml", "prod.yaml"])
    by_path = {one["path"]: (one["value"], one["from"]) for one in found["values"]}
    assert by_path["gateway.port"] == (8001, "base.yaml:5 ($PORT unset)")
    assert by_path["models[0].checkpoint"] == ("/models/scout", "base.yaml:15 ($MODELS)")
    assert by_path["models[0].engine.max_num_seqs"] == (64, "base.yaml:1")
    assert by_path["models[0].engine.model_loader_extra_config.s3_key"] == ("(not shown)", "base.yaml:19")
    assert by_path["models[0].parallel"] == ("auto", "prod.yaml:6")
    assert by_path["gateway.limits.queue_s"] == (30, "default")
    assert by_path["cluster.environment.HTTPS_PROXY"] == ("http://…@proxy:3128", "base.yaml:9")
    assert by_path["cluster.run_options"] == (["--env=HF_TOKEN=…", "--label=a"], "base.yaml:10")
    assert by_path["cluster.secret_command"] == ("(not shown)", "base.yaml:8")


@pytest.mark.parametrize("name", SHIPPED)
def test_one_file_of_all_is_the_same_herd(name: str) -> None:
    text = run("config", "show", str(ROOT / "configs" / name), "--yaml").stdout
    assert text.startswith("# Made by `herd config show --yaml` of llama-herd ")
    assert "extends" not in text
    assert parse(text, "one.yaml", problems) == read(ROOT / "configs" / name, problems)


def test_one_file_of_all_keeps_commands_and_dollars(monkeypatch: pytest.MonkeyPatch) -> None:
    text = run("config", "show", "prod.yaml", "--set", "models.s.checkpoint=/a$$b", "--yaml").stdout
    monkeypatch.delenv("MODELS")
    found = parse(text, "one.yaml")
    assert found.models[0].checkpoint == "/a$b"
    assert found.cluster is not None
    assert (found.cluster.secret_command, found.cluster.environment["DIR"]) == ("echo hunter2", "$HOME")


def remembered() -> Config:
    model = Model(id="scout", kind="llama-4-scout", checkpoint="x$y", context_tokens=8192, replicas=2)
    config = Config(name="mine", models=(model,))
    Herd(Path("state") / "mine", config).remember()
    return config


def test_herd_that_is_up_is_shown() -> None:
    config = remembered()
    done = run("config", "show", "--no-defaults")
    held("config-show-up", done.stdout)
    assert parse(run("config", "show", "--name", "mine", "--yaml").stdout, "one.yaml") == config
    assert json.loads(run("config", "show", "--json").stdout)["files"] == ["the herd that is up"]


def test_herd_that_is_not_up_is_said() -> None:
    done = run("config", "show")
    assert (done.exit_code, done.stderr) == (1, "✗ No herd is up.\n")


def test_two_forms_at_once_are_refused() -> None:
    done = run("config", "show", "prod.yaml", "--json", "--yaml")
    assert (done.exit_code, "say one of them" in done.stderr) == (2, True)


def test_every_value_of_a_config_has_a_place() -> None:
    found = list(values(read(ROOT / "configs/maverick-2xa3-ultra.yaml")))
    paths = [one.path for one in found]
    assert len(paths) == len(set(paths)) > 140
    assert {"cluster.gcp.gpu_subnetworks", "cluster.secrets.HF_TOKEN.command", "models[0].engine.max_num_seqs"} <= set(paths)


def test_problems_are_told_with_their_places_to_people_and_scripts() -> None:
    Path("prod.yaml").write_text(OVER + "    replica: 2\ngateway: {port: 0}\n")
    done = run("validate", "prod.yaml", "--set", "models.s.scaling.max=3")
    assert done.exit_code == 3
    held("validate-refused", done.stderr)
    told = json.loads(run("validate", "prod.yaml", "--json").stdout)["problems"]
    assert [(one["path"], one["where"]) for one in told] == [("gateway.port", "prod.yaml:8"), ("models[0].replica", "prod.yaml:7")]


def test_markup_in_a_place_is_shown_as_it_is() -> None:
    done = run("validate", "prod.yaml", "--set", "models.s[bold].replicas=3")
    assert done.stderr.startswith("--set models.s[bold].replicas cannot be used:\n  models.s[bold]: nothing in this list")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "1"),
        ({"replicas": 3}, "3"),
        ({"scaling": {"min_replicas": 2, "max_replicas": 8}}, "2 to 8"),
        ({"scaling": {"min_replicas": 0, "max_replicas": 4}}, "0 to 4"),
        ({"scaling": {"min_replicas": 2, "max_replicas": 2}}, "2"),
        ({"replicas": 3, "stopped": True}, "0 (stopped)"),
    ],
)
def test_validate_tells_how_many_replicas_a_model_may_have(said: dict[str, object], told: str, tmp_path: Path) -> None:
    model = {"id": "scout", "kind": "llama-4-scout", "checkpoint": "x", "context_tokens": 8192, **said}
    (tmp_path / "herd.yaml").write_text(json.dumps({"models": [model]}), encoding="utf-8")
    assert f"It serves scout × {told} at 127.0.0.1:8000." in invoke(["validate", str(tmp_path / "herd.yaml")]).stdout


def test_doubts_are_told_with_their_places() -> None:
    done = run("validate", "prod.yaml")
    assert done.exit_code == 0
    held("validate", done.stdout + done.stderr)
    warnings = json.loads(run("validate", "prod.yaml", "--json").stdout)["warnings"]
    assert [one["where"] for one in warnings] == ["base.yaml:8", "base.yaml:6"]


def test_config_is_validated_from_standard_input() -> None:
    done = run("validate", "-", "-f", "prod.yaml", stdin=BASE)
    assert (done.exit_code, done.stdout.split(" is ")[0]) == (0, "standard input with prod.yaml")
    assert run("validate", "-f", "prod.yaml", "-f", "-", stdin="name: 3").exit_code == 3
    done = run("validate")
    assert (done.exit_code, "name a herd's YAML file" in done.stderr) == (2, True)


def test_pipe_gets_the_same_text_as_a_terminal_and_no_colours() -> None:
    entry = [sys.executable, "-m", "deployments", "config", "show", "prod.yaml", "--set", "models.s.replicas=2", "--no-defaults"]
    ran = subprocess.run(entry, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    held("config-show", ran.stdout)


def test_schema_is_printed() -> None:
    assert json.loads(run("schema").stdout) == json_schema()


def test_whole_herd_is_planned_with_what_is_laid_over_it() -> None:
    shipped = str(ROOT / "configs/scout-h100.yaml")
    Path("over.yaml").write_text("hardware: {nodes: 1}\n")
    replicas = ("--set", "models.scout.scaling.min_replicas=9", "--set", "models.scout.scaling.max_replicas=9")
    done = run("plan", shipped, "-f", "over.yaml", *replicas)
    assert (done.exit_code, "9" in done.stdout) == (1, True)
    assert run("plan", shipped, "-f", "over.yaml").exit_code == 0
    assert run("plan", "-", stdin=Path(shipped).read_text()).exit_code == 0
    refused = run("plan", "llama-4-scout", "--set", "a=1", "-f", "over.yaml")
    assert (refused.exit_code, "only for a herd's YAML" in refused.stderr) == (2, True)


def test_cluster_file_says_what_was_laid_over_its_config() -> None:
    words = ("-f", "prod.yaml", "--set", "cluster.ssh_user=me", "--set", "name=two\n")
    done = run("cluster", "emit", "base.yaml", "--provider", "onprem", *words)
    assert done.exit_code == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(
        "# Made by `herd cluster emit base.yaml -f prod.yaml --set cluster.ssh_user=me --set 'name=two ' --provider onprem`"
    )
    assert "ssh_user: me" in done.stdout


@pytest.mark.parametrize("command", ["doctor", "pull"])
def test_what_is_laid_over_needs_a_file_below_it(command: str) -> None:
    done = run(command, "--set", "name=x")
    assert (done.exit_code, "name a herd's YAML file" in done.stderr) == (2, True)
    assert run(command, "base.yaml", "-f", "prod.yaml", "--set", "nome=x").exit_code == 3


def test_herd_that_comes_up_is_the_one_that_was_laid_together() -> None:
    done = run("up", "-f", "base.yaml", "-f", "prod.yaml", "--set", "models.s.replicas=0")
    assert (done.exit_code, "models[0].replicas" in done.stderr, "(--set models.s.replicas)" in done.stderr) == (3, True, True)


def test_wrong_config_is_refused_by_its_field_where_a_change_is_only_followed() -> None:
    done = run("up", "base.yaml", "--attach", "--set", "nome=x")
    assert (done.exit_code, "nome" in done.stderr) == (3, True)


def test_herd_that_is_up_is_shown_with_the_places_that_herd_up_kept() -> None:
    given = loaded([Path("prod.yaml")], ["ray.address=local", "models.s.replicas=2"])
    herd = Herd(Path("state") / "prod", given.config, places(given))
    herd.remember_places()
    herd.remember()
    kept = Path("state/prod/places.json").read_text(encoding="utf-8")
    assert "hunter2" not in kept
    (model,) = given.config.models
    changed = given.config.model_copy(update={"models": (model.model_copy(update={"replicas": 3}),)})
    Herd(Path("state") / "prod", changed).remember()
    told = {one["path"]: one["from"] for one in json.loads(run("config", "show", "--json").stdout)["values"]}
    assert told["name"] == "prod.yaml:2"
    assert told["ray.address"] == "--set ray.address"
    assert told["models[0].checkpoint"] == "base.yaml:15 ($MODELS)"
    assert told["models[0].replicas"] == "the herd that is up", "it was changed since"
    assert told["gateway.limits.queue_s"] == "default"
    Herd(Path("state") / "prod", changed).forget()
    assert not list(Path("state/prod").iterdir())


def test_page_shows_lines_as_they_are_printed() -> None:
    page = (ROOT / "configs/README.md").read_text(encoding="utf-8")
    block = page.partition("<!-- as `herd config show` prints it")[2].partition("```text\n")[2].partition("```")[0]
    printed = (TEXTS / "config-show.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in block.splitlines() if line != "…"]
    assert len(lines) > 4
    assert [line for line in lines if line not in printed] == []
