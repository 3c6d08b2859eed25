"""`configs.files` and `configs.load.loaded`: files that extend each other and are laid over each other, within bounds."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.planner.config_problems import problems
from configs.files import MOST_DEEP, MOST_FILES, Source
from configs.load import ConfigError, Loaded, loaded, parse, read
from configs.yaml_text import MOST_BYTES, MOST_DEPTH, MOST_VALUES

MODEL = "{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}"
BASE = f"name: base\ngateway: {{port: 8001}}\nmodels: [{MODEL}]\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(**texts: str) -> None:
    for name, text in texts.items():
        path = Path(f"{name.replace('__', '/')}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def of(*names: str, sets: tuple[str, ...] = (), environ: Mapping[str, str] | None = None) -> Loaded:
    return loaded([Path(name) for name in names], sets, problems, environ)


def refused(*names: str, sets: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as error:
        of(*names, sets=sets)
    return str(error.value)


def test_file_is_laid_over_the_one_that_it_extends(here: Path) -> None:
    written(base=BASE, prod="extends: base.yaml\nname: prod\ngateway: {host: 0.0.0.0}\n")
    found = of("prod.yaml")
    assert (found.config.name, found.config.gateway.port, found.config.gateway.host) == ("prod", 8001, "0.0.0.0")
    assert found.sources == ("base.yaml", "prod.yaml")
    assert found.document.keys() == {"name", "gateway", "models"}
    assert {path: found.where(path) for path in ("name", "gateway.port", "gateway.host", "models[0].id", "ray.address")} == {
        "name": "prod.yaml:2",
        "gateway.port": "base.yaml:2",
        "gateway.host": "prod.yaml:3",
        "models[0].id": "base.yaml:3",
        "ray.address": "prod.yaml",
    }
    assert read(here / "prod.yaml").name == "prod"


def test_extended_file_is_found_beside_the_one_that_extends_it() -> None:
    written(sites__bases__base=BASE, sites__middle="extends: bases/base.yaml\n", top="extends: sites/middle.yaml\nname: top\n")
    assert of("top.yaml").sources == ("sites/bases/base.yaml", "sites/middle.yaml", "top.yaml")


def test_file_may_extend_several_the_last_one_on_top() -> None:
    written(one="name: one\ngateway: {port: 1}\n", two="name: two\n", base=BASE, top="extends: [base.yaml, one.yaml, two.yaml]\n")
    found = of("top.yaml").config
    assert (found.name, found.gateway.port) == ("two", 1)
    written(left="extends: base.yaml\n", right="extends: base.yaml\n", top="extends: [left.yaml, right.yaml]")
    assert of("top.yaml").sources == ("base.yaml", "left.yaml", "right.yaml", "top.yaml")


def test_shipped_config_is_extended_from_anywhere() -> None:
    written(mine="extends: herd:local-maverick.yaml\nname: mine\n")
    found = of("mine.yaml")
    assert found.config.models[0].aliases == ("maverick",)
    assert found.where("models[0].id").startswith("herd:local-maverick.yaml:")


def test_shipped_file_extends_one_beside_it_or_anywhere() -> None:
    shipped = Source.of(Path("x.yaml")).beside("herd:bases/one.yaml")
    assert shipped.beside("two.yaml").name == "herd:bases/two.yaml"
    assert shipped.beside("../two.yaml").path == shipped.path.parents[1] / "two.yaml"
    assert shipped.beside("/etc/two.yaml") == Source("/etc/two.yaml", Path("/etc/two.yaml"))


def test_files_of_a_command_line_are_laid_over_each_other_and_set_values_over_all() -> None:
    written(base=BASE, over="gateway: {host: h}\nmodels: [{id: a, replicas: 2}]\n")
    found = of("base.yaml", "over.yaml", sets=("models.a.replicas=3", "gateway.port=", "models.a.aliases=[b, c]"))
    (model,) = found.config.models
    assert (model.replicas, model.aliases, found.config.gateway.host, found.config.gateway.port) == (3, ("b", "c"), "h", 8000)
    assert found.where("models[0].replicas") == "--set models.a.replicas"


def test_variable_is_filled_in_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    written(base=BASE.replace("8001", "'${PORT:-8002}'").replace("x,", "'${DIR}/x', replicas: '${N}', engine: {max_num_seqs: '${N}'},"))
    found = of("base.yaml", environ={"DIR": "/models", "N": "4"})
    assert found.config.models[0].checkpoint == "/models/x"
    assert (found.config.gateway.port, found.config.models[0].replicas, found.config.models[0].engine) == (8002, 4, {"max_num_seqs": 4})
    assert found.where("models[0].checkpoint") == "base.yaml:3 ($DIR)"
    monkeypatch.delenv("DIR", raising=False)
    monkeypatch.setenv("N", "4")
    said = refused("base.yaml")
    assert said.splitlines()[1:] == [
        "  models[0].checkpoint: the variable DIR is not set: set it, or write ${DIR:-default} (base.yaml:3)",
    ], "and not that an empty text is too short"


def test_problem_is_told_by_the_file_and_the_line_that_it_comes_from() -> None:
    written(base=BASE + "nome: x\n", over="gateway:\n  port: 0\nmodels:\n- id: a\n  replicas: 0\n- id: b\n  kind: llama-3-8b\n")
    assert refused("base.yaml", "over.yaml", sets=("models.a.stop_s=-1",)).splitlines() == [
        "over.yaml cannot be used:",
        "  gateway.port: input should be greater than or equal to 1 (got 0) (over.yaml:2)",
        "  models[0].replicas: input should be greater than or equal to 1 (got 0) (over.yaml:5)",
        "  models[0].stop_s: input should be greater than or equal to 0 (got -1) (--set models.a.stop_s)",
        "  models[1].checkpoint: is required (over.yaml:6)",
        "  models[1].context_tokens: is required (over.yaml:6)",
        "  nome: unknown field; did you mean 'name'? allowed here: cluster, engine_tls, gateway, hardware, models, monitoring, name, ray "
        "(base.yaml:4)",
    ]


def test_unknown_path_of_a_set_value_is_refused_with_the_one_that_was_meant() -> None:
    written(base=BASE)
    said = refused("base.yaml", sets=("models.a.scalin.min_replicas=1", "gatway.port=1"))
    assert "models[0].scalin: unknown field; did you mean 'scaling'?" in said
    assert "(--set models.a.scalin.min_replicas)" in said
    assert "gatway: unknown field; did you mean 'gateway'?" in said


def test_check_of_the_catalogue_is_told_by_its_line_too() -> None:
    written(base=BASE, over="models: [{id: a, context_tokens: 1M}]")
    assert "models[0].context_tokens: 1048576 is more than Llama 3 8B can take (8192) (over.yaml:1)" in refused("base.yaml", "over.yaml")
    written(over="ray: {address: auto}\ngateway: {port: 6379}")
    assert "6379 for its GCS" in refused("base.yaml", "over.yaml")
    assert refused("base.yaml", "over.yaml").endswith("(over.yaml:2)")


@pytest.mark.parametrize("text", ["gateway.port", "=3", ".=3"])
def test_set_value_without_a_path_or_a_value_is_refused(text: str) -> None:
    written(base=BASE)
    assert "write a path and a value: --set gateway.port=8001" in refused("base.yaml", sets=(text,))


def test_set_value_that_is_no_yaml_is_refused() -> None:
    written(base=BASE)
    assert refused("base.yaml", sets=("name=[a",)).startswith("--set name cannot be used:\n  is not YAML")


def test_circle_is_refused_with_its_files() -> None:
    written(a="extends: b.yaml", b="extends: c.yaml", c="extends: b.yaml")
    said = refused("a.yaml")
    assert said == "c.yaml cannot be used:\n  extends: the files extend each other in a circle: b.yaml → c.yaml → b.yaml (c.yaml:1)"
    written(a="name: a\nextends: ./a.yaml")
    assert "circle: a.yaml → a.yaml (a.yaml:2)" in refused("a.yaml")


def test_long_chain_and_many_files_are_refused() -> None:
    written(**{f"n{index}": f"extends: n{index + 1}.yaml" for index in range(MOST_DEEP + 2)})
    assert f"extends: is a chain of more than {MOST_DEEP} files (n{MOST_DEEP}.yaml:1)" in refused("n0.yaml")
    written(base=BASE, top=f"extends: [{', '.join(['base.yaml'] * (MOST_FILES + 1))}]")
    assert f"extends: brings in more than {MOST_FILES} files (top.yaml:1)" in refused("top.yaml")


def test_extended_file_that_is_not_there_is_told_with_the_way_out() -> None:
    written(top="extends: sites/base.yaml")
    said = refused("top.yaml").splitlines()[1]
    assert said.startswith("  extends: sites/base.yaml is not there: copy that file too, or let `herd config show FILE --yaml`")


def test_extended_file_whose_name_cannot_be_one_is_not_there() -> None:
    written(top=f"extends: {'x' * 300}.yaml")
    assert "is not there" in refused("top.yaml")


@pytest.mark.parametrize("value", ["3", "''", "[a.yaml, 3]", "{a: b}"])
def test_name_of_an_extended_file_is_a_text(value: str) -> None:
    written(top=f"extends: {value}", a=BASE)
    assert "extends: must be the name of a file, or a list of names (top.yaml:1)" in refused("top.yaml")


def test_extended_file_that_cannot_be_read_is_named() -> None:
    written(top="extends: base.yaml", base="name: [")
    assert refused("top.yaml").startswith("base.yaml cannot be used:\n  is not YAML")
    written(base="3")
    assert refused("top.yaml") == "base.yaml cannot be used:\n  must be a mapping with at least the key `models`"


def test_file_that_is_too_large_is_refused() -> None:
    written(top="#" * (MOST_BYTES + 1))
    assert refused("top.yaml") == "top.yaml cannot be used:\n  is larger than 1 MiB"


def test_aliases_that_stand_for_too_many_values_are_refused() -> None:
    lines = ["x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", *(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8))]
    written(top="\n".join(lines))
    assert refused("top.yaml") == f"top.yaml cannot be used:\n  has more than {MOST_VALUES:,} values"


def test_values_that_are_too_deep_or_have_themselves_inside_are_refused() -> None:
    for text in ("a: &a {b: *a}", f"a: {'[' * (MOST_DEPTH + 1)}{']' * (MOST_DEPTH + 1)}"):
        written(top=text)
        assert refused("top.yaml") == "top.yaml cannot be used:\n  is nested too deeply"


def test_notes_hold_anchors() -> None:
    written(base=f"x-small: &small {{max_num_seqs: 4}}\n{BASE.replace('512', '512, engine: {<<: *small, x-why: memory}, x-note: 1')}")
    found = of("base.yaml")
    assert found.config.models[0].engine == {"max_num_seqs": 4}
    assert found.where("models[0].engine.max_num_seqs") == "base.yaml:1"


def test_line_of_an_item_of_a_list_and_of_values_of_other_kinds() -> None:
    written(base=f"{BASE}hardware:\n  gpu: !!set {{H100}}\ncluster:\n  mounts:\n  - /a\n  - b\n")
    said = refused("base.yaml")
    assert "hardware.gpu: input should be 'H100'" in said
    assert "(base.yaml:5)" in said
    assert "cluster.mounts[1]: must be an absolute path" in said
    assert said.endswith("(base.yaml:9)")


class Stdin(io.TextIOWrapper):
    def __init__(self, text: str) -> None:
        super().__init__(io.BytesIO(text.encode()))


def test_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    written(over="name: over")
    monkeypatch.setattr("sys.stdin", Stdin(BASE))
    found = of("-", "over.yaml")
    assert (found.config.name, found.where("gateway.port")) == ("over", "standard input:2")
    monkeypatch.setattr("sys.stdin", Stdin("extends: over.yaml\nmodels: 3\n"))
    assert refused("-").startswith(
        "standard input cannot be used:\n  models: must be a list: each item behind a dash, or in brackets (got 3) (standard input:2)"
    )


def test_pipe_is_read_as_a_file(here: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, BASE.encode())
    os.close(writing)
    assert of(f"/dev/fd/{reading}").config.name == "base"
    os.close(reading)


def test_text_may_extend_a_file() -> None:
    written(base=BASE)
    found: Any = parse("extends: base.yaml\nname: text", "some text")
    assert found.name == "text"
