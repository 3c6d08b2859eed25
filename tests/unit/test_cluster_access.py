"""`deployments.cluster_access`: Ray's token comes of the herd's one secret, and nobody has to hand out two."""

import subprocess
from pathlib import Path

import pytest

from cluster import ray_start
from configs.inventory import Inventory
from configs.load import environment
from deployments import cluster_access
from deployments.cluster_access import NoSecret, ray_token

INVENTORY = Inventory(secret_command="printf 'from the node\\n'")


def test_token_is_what_the_start_commands_make_of_the_secret() -> None:
    shell = f'{ray_start.secrets(Inventory(secret_command="cat"))}; printf %s "$RAY_AUTH_TOKEN"'
    given = {"HERD_SECRET": "s3 cret", "PATH": "/usr/bin:/bin"}
    made = subprocess.run(["bash", "-c", shell], env=given, capture_output=True, text=True, check=True).stdout
    assert ray_token(INVENTORY, environment(given)) == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": made}


def test_secret_that_is_set_goes_before_the_one_that_a_node_prints() -> None:
    of_the_node = ray_token(INVENTORY, environment({}))
    assert of_the_node["RAY_AUTH_TOKEN"] == ray_start.token("from the node")
    assert ray_token(INVENTORY, environment({"HERD_SECRET": "own"}))["RAY_AUTH_TOKEN"] == ray_start.token("own")


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_rays_own_token_is_left_alone(name: str) -> None:
    assert ray_token(INVENTORY, environment({name: "given", "HERD_SECRET": "own"})) == {}


def test_cluster_that_the_config_does_not_know_is_taken_as_it_is() -> None:
    assert ray_token(None, environment({"HERD_SECRET": "own"})) == {}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat /no/such/file", "No such file"),
        ("true", "it ended with 0 and printed nothing"),
        ("echo half; exit 3", "it ended with 3"),
        ("sleep 60", "did not end within"),
    ],
)
def test_secret_that_cannot_be_had_is_told_with_the_way_out(command: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_access, "SECRET_S", 0.5)
    with pytest.raises(NoSecret, match=f"cluster.secret_command .*{said}.*set HERD_SECRET"):
        ray_token(Inventory(secret_command=command), environment({}))


def test_secret_is_never_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden", encoding="ascii")
    with pytest.raises(NoSecret) as told:
        ray_token(Inventory(secret_command=f"cat {tmp_path}/secret; exit 1"), environment({}))
    assert "hidden" not in str(told.value)
