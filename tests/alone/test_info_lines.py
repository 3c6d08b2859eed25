"""vLLM's own lines and Ray Serve's handlers, in one process, with the vLLM and the Ray Serve that are installed.

Any `logging.config.dictConfig` in a replica closes Ray Serve's handlers, and a head that comes back then takes the replica for broken.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.load import REPLICA
from deployments.lifecycle.engine_arguments import engine_environment
from tests.unit.samples import scout

ROOT = Path(__file__).parents[2]
#: As a replica begins: Ray Serve's handlers, then our lines, then vLLM and what it writes.
REPLICA_BEGINS = """
import json, logging, logging.handlers, sys
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import LoggingConfig
configure_component_logger(
    component_name="engine", component_id="r1", logging_config=LoggingConfig(logs_dir=sys.argv[1]), max_bytes=1 << 20, backup_count=1
)
serve = logging.getLogger("ray.serve")
before = list(serve.handlers)
from deployments.engine.vllm import info_lines
info_lines.speak()
from vllm.logger import init_logger
from vllm.plugins import load_general_plugins
load_general_plugins()
info_lines.speak()
init_logger("vllm.v1.core").info("GPU KV cache size: %s tokens\\nand more", 5)
init_logger("vllm.v1.core").debug("not shown")
serve.info("from Ray Serve")
memory = [one for one in serve.handlers if isinstance(one, logging.handlers.MemoryHandler)]
said = {
    "same": before == serve.handlers,
    "file": [getattr(one.target, "baseFilename", None) for one in memory],
    "of_vllm": len(logging.getLogger("vllm").handlers),
}
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, str]:
    """What the process says of its handlers, its error output, and Ray Serve's file."""
    folder = tmp_path_factory.mktemp("logs")
    variables = os.environ | engine_environment(scout(), "cpu") | {REPLICA: "r1 scout", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", REPLICA_BEGINS, str(folder)]
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.log")
    return json.loads(done.stdout.splitlines()[-1]), done.stderr, file.read_text()


def test_handlers_of_ray_serve_outlive_vllms_import_and_our_set_up(replica: tuple[dict[str, Any], str, str]) -> None:
    said, _, file = replica
    assert said["same"]
    assert said["file"] != [None], "the file's handler is what a head that comes back asks for"
    assert "from Ray Serve" in file


def test_vllms_lines_stand_once_in_the_error_output_with_their_replica_before_them(replica: tuple[dict[str, Any], str, str]) -> None:
    said, errors, file = replica
    assert said["of_vllm"] == 1
    shown = [line for line in errors.splitlines() if "KV cache size" in line or "and more" in line or "herd: a process" in line]
    assert shown[0] == "herd: a process of replica r1 of scout"
    assert shown[1].startswith("INFO 2")
    assert shown[1].endswith("Z vllm.v1.core: GPU KV cache size: 5 tokens")
    assert shown[2:] == ["    and more"]
    assert "not shown" not in errors
    assert "KV cache size" not in file


def test_every_process_of_vllm_is_told_to_speak() -> None:
    """The environment is as `pyproject.toml` says: one that is older needs to be made again (`make env`)."""
    import tomllib
    from importlib.metadata import entry_points

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["vllm.general_plugins"]
    installed = {one.name: one.value for one in entry_points(group="vllm.general_plugins")}
    assert wanted.items() <= installed.items()
