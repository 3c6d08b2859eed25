"""`deployments.lifecycle.access`: Ray's token comes of the herd's one secret, and nobody has to hand out two."""

import subprocess
from pathlib import Path

import pytest

from cluster.provision import ray_start
from configs.inventory import Inventory
from configs.keys import derived
from configs.load import environment
from deployments.lifecycle import access as cluster_access
from deployments.lifecycle.access import NoSecret, ray_token

OF_THE_NODE = "from the node: 0123456789abcdefghij"
OWN = "own 0123456789abcdefghijklmnopqrs"
INVENTORY = Inventory(secret_command=f"printf '{OF_THE_NODE}\\n'")


def test_token_is_what_the_start_commands_make_of_the_secret() -> None:
    shell = "\n".join([*ray_start.keys(Inventory(secret_command="cat")), 'printf %s "$RAY_AUTH_TOKEN"'])
    given = {"HERD_SECRET": "s3 cret $of ` \" ' mine \\n 0123456789", "PATH": "/usr/bin:/bin"}
    made = subprocess.run(["bash", "-c", shell], env=given, capture_output=True, text=True, check=True).stdout
    assert ray_token(INVENTORY, environment(given)) == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": made}


def test_secret_that_is_set_goes_before_the_one_that_a_node_prints() -> None:
    of_the_node = ray_token(INVENTORY, environment({}))
    assert of_the_node["RAY_AUTH_TOKEN"] == derived(OF_THE_NODE, "ray")
    assert ray_token(INVENTORY, environment({"HERD_SECRET": OWN}))["RAY_AUTH_TOKEN"] == derived(OWN, "ray")


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_rays_own_token_is_left_alone(name: str) -> None:
    assert ray_token(INVENTORY, environment({name: "given", "HERD_SECRET": OWN})) == {}


def test_cluster_that_the_config_does_not_know_is_taken_as_it_is() -> None:
    assert ray_token(None, environment({"HERD_SECRET": OWN})) == {}


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
    monkeypatch.setattr(cluster_access, "SECRET_S", 0.5 if "sleep" in command else 60)
    with pytest.raises(NoSecret, match=f"cluster.secret_command .*{said}.*set HERD_SECRET"):
        ray_token(Inventory(secret_command=command), environment({}))


@pytest.mark.parametrize("weak", ["short", "changeme" * 8])
def test_secret_that_can_be_guessed_is_refused(weak: str) -> None:
    for inventory, given in ((INVENTORY, {"HERD_SECRET": weak}), (Inventory(secret_command=f"echo {weak}"), {})):
        with pytest.raises(NoSecret, match="openssl rand -hex 32") as told:
            ray_token(inventory, environment(given))
        assert weak not in str(told.value)


def test_secret_is_never_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden", encoding="ascii")
    with pytest.raises(NoSecret) as told:
        ray_token(Inventory(secret_command=f"cat {tmp_path}/secret; exit 1"), environment({}))
    assert "hidden" not in str(told.value)
