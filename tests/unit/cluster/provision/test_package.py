"""How this package gets onto nodes: what would start without it is refused by the field's name, with the way out."""

import json
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from cluster.planner.config_problems import problems
from cluster.provision.package import is_stock, missing_files, without_package
from configs.load import read
from tests.unit.machines import HOSTS, ROOT, emit, inventory

STOCK = "rayproject/ray-llm:2.60.0-py312-cu130"
WHEEL = f"llama_herd-{version('llama-herd')}-py3-none-any.whl"
HERD = """
ray: {address: auto}
gateway: {host: 0.0.0.0}
models: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in; it has the versions of a release, and no wheel."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "constraints-gpu.txt").touch()
    return tmp_path


def refused(folder: Path, provider: str, **fields: object) -> str:
    herd = folder / "herd.yaml"
    herd.write_text(f"cluster: {json.dumps({'onprem': HOSTS, 'kuberay': {}, **fields})}\n{HERD}")
    done = emit(str(herd), "--provider", provider)
    assert done.exit_code in (0, 3)
    return str(done.stderr)


@pytest.mark.parametrize(
    ("image", "stock"),
    [
        (STOCK, True),
        (f"docker.io/{STOCK}", True),
        (f"mirror.site:5000/hub/{STOCK}", True),
        ("rayproject/ray@sha256:" + "0" * 64, True),
        ("vllm/vllm-openai:v0.29.0", True),
        ("registry.site/llama-herd:0.1.0", False),
        ("registry.site/ray-llm:herd", False),
        ("llama-herd:0.1.0", False),
    ],
)
def test_image_of_others_is_known_wherever_it_was_copied(image: str, stock: bool) -> None:
    assert is_stock(image) is stock


@pytest.mark.parametrize("provider", ["onprem", "systemd"])
def test_stock_image_without_a_wheel_is_refused_with_two_ways_out(here: Path, provider: str) -> None:
    said = refused(here, provider, image=STOCK, redis="redis:6379")
    assert f"cluster.wheel: is required with {STOCK}, which has no llama-herd in it" in said
    assert "`make wheel`" in said
    assert "`make image`" in said


def test_stock_image_is_refused_for_pods_which_install_no_wheel(here: Path) -> None:
    said = refused(here, "kuberay", image=STOCK, wheel=f"dist/{WHEEL}")
    assert f"cluster.image: {STOCK} has no llama-herd in it, and pods install nothing: `make image`" in said


def test_stock_image_does_not_matter_to_a_load_balancer(here: Path) -> None:
    assert refused(here, "haproxy", image=STOCK) == ""


def test_wheel_that_nobody_built_is_refused(here: Path) -> None:
    fields = {"image": STOCK, "wheel": f"dist/{WHEEL}"}
    assert f"cluster.wheel: dist/{WHEEL} is not here, there is no folder dist: `make wheel` builds it" in refused(here, "onprem", **fields)
    (here / "dist").mkdir()
    assert f"cluster.wheel: dist/{WHEEL} is not here: `make wheel` builds it" in refused(here, "onprem", **fields)
    (here / "dist/llama_herd-0.0.9-py3-none-any.whl").touch()
    assert "dist has llama_herd-0.0.9-py3-none-any.whl: name that one, or `make wheel`" in refused(here, "onprem", **fields)
    (here / "dist" / WHEEL).touch()
    assert refused(here, "onprem", **fields) == ""
    (here / "constraints-gpu.txt").unlink()
    assert "cluster.constraints: constraints-gpu.txt is not here: it is in the repository's root" in refused(here, "onprem", **fields)


def test_unit_of_a_head_that_ray_up_started_needs_no_wheel_here(here: Path) -> None:
    assert refused(here, "systemd", image=STOCK, wheel=f"dist/{WHEEL}", redis="redis:6379") == ""


def test_path_of_a_wheel_may_begin_at_the_root() -> None:
    given = inventory(wheel="/a.whl", constraints="/c.txt")
    assert missing_files(given, {"/": ["a.whl", "c.txt"]}.get) == []
    assert without_package(given, installs=True) is None, "its nodes have no container"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_get_the_package_onto_their_nodes(path: Path) -> None:
    given = read(path, problems).cluster
    if given is None:
        return
    assert without_package(given, installs=given.kuberay is None) is None
    assert given.wheel in (None, f"dist/{WHEEL}"), "as `make wheel` names it"


def test_wheel_has_every_room_and_the_shipped_configs(tmp_path: Path) -> None:
    """As `make wheel` builds it."""
    (command,) = [
        line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if "pip wheel" in line and "--no-deps" in line
    ]
    words = command.strip().removeprefix("@$(VENV)/bin/python").replace("--wheel-dir dist", f"--wheel-dir {tmp_path}").split()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == WHEEL
    names = zipfile.ZipFile(wheel).namelist()
    assert {"deployments/commands/main.py", "monitoring/metrics.py", "cluster/machine/local_node.py", "configs/local.yaml"} <= set(names)
    assert {"configs/herd.schema.json", *(f"configs/bases/{path.name}" for path in (ROOT / "configs/bases").iterdir())} <= set(names)
    assert not [name for name in names if name.startswith("tests/")]
