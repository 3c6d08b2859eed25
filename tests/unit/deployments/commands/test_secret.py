"""`herd secret`: which keys it prints, and from where it has the secret."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.machine.local_node import LocalNode
from configs.keys import PURPOSES, SERVING, VARIABLES, derived
from tests.unit.command_line import invoke

ROOT = "0123456789abcdef" * 4
HERD = "models: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]\n"


@pytest.fixture
def secret(tmp_path: Path) -> Any:
    """Runs `herd secret` with a state folder of its own."""

    def run(*words: str, **environment: str) -> Any:
        return invoke(["secret", *words], env={"HERD_STATE": str(tmp_path), "HERD_SECRET": None, **environment})

    return run


def test_shell_of_ray_start_gets_every_key_and_loses_the_secret(secret: Any) -> None:
    done = secret(HERD_SECRET=ROOT)
    shell = f'{done.stdout}env | grep -E "^(HERD|RAY)_"'
    env = {"HERD_SECRET": ROOT, "PATH": "/usr/bin:/bin"}
    said = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True, env=env).stdout.splitlines()
    keys = {f"{VARIABLES[purpose]}={derived(ROOT, purpose)}" for purpose in PURPOSES}
    assert set(said) == keys | {"RAY_AUTH_MODE=token"}


def test_one_key_is_printed_alone(secret: Any) -> None:
    assert secret("pages", HERD_SECRET=ROOT).stdout == f"{derived(ROOT, 'pages')}\n"


def test_file_for_kubernetes_has_what_pods_need(secret: Any) -> None:
    said = secret("--env-file", HERD_SECRET=ROOT).stdout.splitlines()
    assert said == [f"{VARIABLES[purpose]}={derived(ROOT, purpose)}" for purpose in SERVING]


def test_secret_comes_from_the_inventory_where_none_is_set(secret: Any, tmp_path: Path) -> None:
    config = tmp_path / "herd.yaml"
    config.write_text(f"ray: {{address: auto}}\ncluster: {{secret_command: 'echo {ROOT}'}}\n{HERD}")
    assert secret("door", "--config", str(config)).stdout == f"{derived(ROOT, 'door')}\n"


def test_local_herd_has_a_secret_and_a_token_of_its_own(secret: Any, tmp_path: Path) -> None:
    config, node = tmp_path / "herd.yaml", LocalNode(tmp_path / "herd")
    config.write_text(HERD)
    assert secret("pages", "--config", str(config)).stdout == f"{derived(node.secret(), 'pages')}\n"
    assert secret("ray", "--config", str(config)).stdout == f"{node.ray_token()}\n"


@pytest.mark.parametrize(
    ("environment", "said"), [({}, "No herd is up"), ({"HERD_SECRET": "changeme"}, "openssl rand -hex 32")], ids=["none", "weak"]
)
def test_secret_that_is_not_there_or_can_be_guessed_is_told(secret: Any, environment: dict[str, str], said: str) -> None:
    done = secret(**environment)
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr


def test_purpose_that_is_not_known_is_told_with_those_that_are(secret: Any) -> None:
    done = secret("master", HERD_SECRET=ROOT)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "door" in done.stderr
