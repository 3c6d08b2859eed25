"""What a node's shell runs: `ray up`'s commands, and the lines of `cluster/README.md`."""

from pathlib import Path
from typing import Any

import pytest

from cluster.provision import ray_start
from cluster.provision.ray_start import Start
from cluster.provision.ray_up import onprem
from configs.keys import PURPOSES, VARIABLES, WeakSecret, derived
from tests.unit.cluster.provision.shells import OWN, Shell
from tests.unit.machines import HOSTS, ROOT, built, emit, inventory, of_hosts

ROOT_SECRET = "0123456789abcdef" * 4


def test_keys_and_token_reach_the_node_by_environment_and_the_secret_does_not(shell: Shell) -> None:
    given = inventory(redis="redis:6379", secret_command=f"echo {ROOT_SECRET}")
    keys = {f"{VARIABLES[purpose]}={derived(ROOT_SECRET, purpose)}" for purpose in PURPOSES}
    for command in (ray_start.head(given, "herd", Start())[-1], ray_start.worker(given, Start())[-1]):
        for environment in ({}, {"HERD_SECRET": ROOT_SECRET}):
            said = shell(command, **environment).stdout
            assert keys | {"RAY_AUTH_MODE=token", "RAY_gcs_rpc_server_reconnect_timeout_s=3600"} <= set(said.splitlines())
            assert ROOT_SECRET not in said
        assert not [one for one in keys if one.partition("=")[2] in command]
    head = shell(ray_start.head(given, "herd", Start())[-1]).stdout.splitlines()
    assert {"RAY_REDIS_ADDRESS=redis:6379", "RAY_external_storage_namespace=herd", "password: "} <= set(head)
    assert "--dashboard-host=127.0.0.1" in head[0].split()


def test_host_keeps_weights_and_compiled_code_outside_of_its_container(shell: Shell, tmp_path: Path) -> None:
    """A container of `ray up` is gone when it stops, with 400 GB of weights that it had fetched."""
    kept = tmp_path / "kept"
    hosts = HOSTS | {"cache": str(kept)}
    made = onprem_of(hosts, image="a:1")
    assert f"--volume={kept}:{kept}" in made["docker"]["run_options"]
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        said = shell(made[commands][-1], HERD_SECRET=OWN).stdout.splitlines()
        assert {f"HF_HOME={kept}/huggingface", f"HERD_CACHE={kept}/llama-herd"} <= set(said)
    assert sorted(one.name for one in kept.iterdir()) == ["huggingface", "llama-herd"]


def test_folder_that_cannot_be_written_stops_the_node_and_is_named(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "sudo").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "sudo").chmod(0o755)
    done = shell(onprem_of(HOSTS | {"cache": f"{tmp_path}/file/kept"}, image="a:1")["head_start_ray_commands"][-1], HERD_SECRET=OWN)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cluster.onprem.cache" in done.stderr


@pytest.mark.parametrize(
    "environment", [{"environment": {"HF_HOME": "/models/hub"}}, {"onprem": {"environment": {"HF_HOME": "/models/hub"}}}]
)
def test_folder_that_the_config_names_itself_goes_first(shell: Shell, tmp_path: Path, environment: dict[str, Any]) -> None:
    hosts = HOSTS | {"cache": str(tmp_path / "kept")} | environment.pop("onprem", {})
    said = shell(onprem_of(hosts, image="a:1", **environment)["worker_start_ray_commands"][-1], HERD_SECRET=OWN).stdout.splitlines()
    assert {"HF_HOME=/models/hub", f"HERD_CACHE={tmp_path}/kept/llama-herd"} <= set(said)


def test_folder_that_the_container_brings_along_goes_first(shell: Shell, tmp_path: Path) -> None:
    """By its image, or by `docker run --env`."""
    command = onprem_of(HOSTS | {"cache": str(tmp_path / "kept")}, image="a:1")["worker_start_ray_commands"][-1]
    assert "HF_HOME=/models/hub" in shell(command, HERD_SECRET=OWN, HF_HOME="/models/hub").stdout.splitlines()


def test_folder_of_others_stays_theirs(shell: Shell, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    kept.chmod(0o1777)
    assert shell(onprem_of(HOSTS | {"cache": str(kept)}, image="a:1")["head_start_ray_commands"][-1], HERD_SECRET=OWN).returncode == 0
    assert kept.stat().st_mode & 0o7777 == 0o1777
    assert f'-g "$(id -g)" {kept}/huggingface' in onprem_of(HOSTS | {"cache": str(kept)}, image="a:1")["head_start_ray_commands"][-1]


@pytest.mark.parametrize(
    "fields",
    [
        {"mounts": ["/kept"]},
        {"mounts": ["/kept/"]},
        {"run_options": ["--volume=/nvme/herd:/kept"]},
        {"run_options": ["-v /nvme/herd:/kept/:rw"]},
        {"run_options": ["--mount=type=bind,source=/nvme,target=/kept"]},
    ],
)
def test_place_that_is_shown_already_is_not_shown_twice(fields: dict[str, Any]) -> None:
    options = onprem_of(HOSTS | {"cache": "/kept"}, image="a:1", **fields)["docker"]["run_options"]
    assert sum("/kept" in option for option in options) == 1


@pytest.mark.parametrize("folder", ["/", "//", "/data/../x"])
def test_folder_that_no_container_can_be_shown_is_refused(folder: str) -> None:
    with pytest.raises(ValueError, match="cannot be shown to a container"):
        onprem_of(HOSTS | {"cache": folder}, image="a:1")


def test_host_without_a_container_keeps_its_home() -> None:
    assert "HF_HOME" not in onprem_of(HOSTS)["worker_start_ray_commands"][-1]


def onprem_of(hosts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    given = inventory(onprem=hosts, **fields)
    assert given.onprem is not None
    return onprem("herd", given, given.onprem)


def test_password_for_redis_reaches_the_head_by_its_input_and_no_worker_and_no_process_of_rays(shell: Shell) -> None:
    given = inventory(redis="redis:6379", secrets={"HERD_REDIS_PASSWORD": {"command": "echo 'wo rd'"}})
    for environment in ({}, {"HERD_REDIS_PASSWORD": "wo rd"}):
        arguments, *said = shell(ray_start.head(given, "herd", Start())[-1], HERD_SECRET=OWN, **environment).stdout.splitlines()
        assert "password: wo rd" in said
        assert "wo rd" not in arguments
        assert not [line for line in said if line.startswith("HERD_REDIS_PASSWORD")]
    assert "wo rd" not in shell(ray_start.worker(given, Start())[-1], HERD_SECRET=OWN).stdout
    assert "HERD_REDIS_PASSWORD" not in ray_start.worker(given, Start())[-1]


def test_head_that_shows_redis_a_certificate_has_no_secret_in_its_arguments(shell: Shell) -> None:
    files = {"authority": "/tls/ca.pem", "certificate": "/tls/head.pem", "key": "/tls/head.key"}
    given = inventory(redis="redis:6379", redis_tls=files, secret_command=f"echo {ROOT_SECRET}")
    arguments, *said = shell(ray_start.head(given, "herd", Start())[-1], HERD_REDIS_PASSWORD="word").stdout.splitlines()
    assert "word" not in arguments
    assert {
        "RAY_REDIS_ADDRESS=rediss://redis:6379",
        "RAY_REDIS_CA_CERT=/tls/ca.pem",
        "RAY_REDIS_CLIENT_CERT=/tls/head.pem",
        "RAY_REDIS_CLIENT_KEY=/tls/head.key",
    } <= set(said)


def test_a_head_on_trial_keeps_its_state_on_its_own_disk(shell: Shell) -> None:
    given = inventory(gcs_folder="/var/lib/herd/gcs", secret_command=f"echo {ROOT_SECRET}")
    head = shell(ray_start.head(given, "herd", Start())[-1]).stdout.splitlines()
    assert {"RAY_gcs_storage=rocksdb", "RAY_gcs_storage_path=/var/lib/herd/gcs", "RAY_gcs_rpc_server_reconnect_timeout_s=3600"} <= set(head)
    worker = shell(ray_start.worker(given, Start())[-1]).stdout.splitlines()
    assert "RAY_gcs_rpc_server_reconnect_timeout_s=3600" in worker
    assert "RAY_gcs_storage=rocksdb" not in worker


def test_secret_of_the_nodes_own_environment_goes_first(shell: Shell) -> None:
    command = ray_start.worker(inventory(secret_command=f"echo {ROOT_SECRET}"), Start())[-1]
    assert f"HERD_DOOR_KEY={derived(OWN, 'door')}" in shell(command, HERD_SECRET=OWN).stdout.splitlines()


def test_node_examines_itself_before_its_ray_starts(shell: Shell) -> None:
    made = of_hosts()
    for kind, rest in (("head", " --head"), ("worker", "")):
        done = shell(made[f"{kind}_start_ray_commands"][-1], HERD_SECRET=OWN)
        assert done.stdout.splitlines()[0].endswith(" --labels=llama-herd/health=ok")
        assert f"doctor --node --labels{rest}\n" in done.stderr
    blind = ray_start.worker(inventory(preflight=False), Start())[-1]
    assert "labels" not in shell(blind, HERD_SECRET=OWN).stdout


def test_node_without_a_secret_does_not_start(shell: Shell) -> None:
    done = shell(ray_start.worker(inventory(), Start())[-1])
    assert (done.returncode, done.stdout) == (1, "")
    assert "HERD_SECRET is not known on this node" in done.stderr


@pytest.mark.parametrize("weak", ["qwertz", "0123456789abcdef" * 2 + "!", "ab" * 40, "changeme" * 8])
def test_node_starts_with_the_secrets_that_keys_are_made_of_and_no_others(shell: Shell, weak: str) -> None:
    for secret in (weak, weak[:-1], weak[:-2]):
        done = shell(ray_start.worker(inventory(), Start())[-1], HERD_SECRET=secret)
        try:
            derived(secret, "door")
        except WeakSecret:
            assert (done.returncode, done.stdout) == (1, "")
            assert "openssl rand -hex 32" in done.stderr
            assert secret not in done.stderr
        else:
            assert done.returncode == 0


def test_commands_of_the_page_are_those_that_run(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `herd cluster emit` of `cluster/README.md`, and its line for a shell that connects to the cluster."""
    lines = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line.partition("#")[0].split() for line in lines if line.startswith("herd cluster emit ")]
    assert commands
    copied = {"herd.yaml": "configs/maverick-3xdgx-onprem.yaml"}  # the first of the page's steps
    monkeypatch.chdir(tmp_path)
    built(tmp_path)  # the page's second step
    for _, _, _, named, *options in commands:
        config = copied.get(named, named)
        options[-1] = str(tmp_path / options[-1])
        assert emit(str(ROOT / config), *options).exit_code == 0
    (token,) = [line for line in lines if line.startswith("export RAY_AUTH_MODE")]
    said = shell(f"{token}; ray", HERD_SECRET=OWN).stdout.splitlines()
    assert {"RAY_AUTH_MODE=token", f"RAY_AUTH_TOKEN={derived(OWN, 'ray')}"} <= set(said)
