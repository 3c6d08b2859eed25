"""What a node's shell runs: `ray up`'s commands, the head's systemd unit, the lines of `cluster/README.md`."""

import os
import shlex
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from cluster.provision import ray_start
from cluster.provision.systemd import head_unit
from configs.keys import PURPOSES, VARIABLES, WeakSecret, derived
from tests.unit.machines import HOSTS, ROOT, emit, inventory, of_hosts

ROOT_SECRET = "0123456789abcdef" * 4
OWN = "own-" * 4 + "0123456789abcdef"


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Runs a node's command in bash, with a `ray` that tells what it got."""
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/sh\necho "$*"; env | grep -E "^(RAY_|HERD_)"\n')
    ray.chmod(0o755)

    def run(command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_HEAD_IP": "10.0.0.1", **environment}
        return subprocess.run(["bash", "-c", f"true && ({command})"], capture_output=True, text=True, check=False, env=env)

    return run


def test_keys_and_token_reach_the_node_by_environment_and_the_secret_does_not(shell: Any) -> None:
    given = inventory(redis="redis:6379", secret_command=f"echo {ROOT_SECRET}")
    keys = {f"{VARIABLES[purpose]}={derived(ROOT_SECRET, purpose)}" for purpose in PURPOSES}
    for command in (ray_start.head(given, "herd", "")[-1], ray_start.worker(given)[-1]):
        for environment in ({}, {"HERD_SECRET": ROOT_SECRET}):
            said = shell(command, **environment).stdout
            assert keys | {"RAY_AUTH_MODE=token", "RAY_gcs_rpc_server_reconnect_timeout_s=3600"} <= set(said.splitlines())
            assert ROOT_SECRET not in said
        assert not [one for one in keys if one.partition("=")[2] in command]
    head = shell(ray_start.head(given, "herd", "")[-1], HERD_REDIS_PASSWORD="wo rd").stdout.splitlines()
    assert {"RAY_REDIS_ADDRESS=redis:6379", "RAY_external_storage_namespace=herd"} <= set(head)
    assert "--dashboard-host=127.0.0.1" in head[0].split()
    assert "--redis-password=wo rd" in head[0]


def test_redis_without_a_password_gets_no_argument_for_one(shell: Any) -> None:
    given = inventory(redis="redis:6379", secret_command=f"echo {ROOT_SECRET}")
    said = shell(ray_start.head(given, "herd", "")[-1]).stdout.splitlines()
    assert "redis-password" not in said[0]


def test_head_that_shows_redis_a_certificate_has_no_secret_in_its_arguments(shell: Any) -> None:
    files = {"authority": "/tls/ca.pem", "certificate": "/tls/head.pem", "key": "/tls/head.key"}
    given = inventory(redis="redis:6379", redis_tls=files, secret_command=f"echo {ROOT_SECRET}")
    arguments, *said = shell(ray_start.head(given, "herd", "")[-1], HERD_REDIS_PASSWORD="word").stdout.splitlines()
    assert "word" not in arguments
    assert {
        "RAY_REDIS_ADDRESS=rediss://redis:6379",
        "RAY_REDIS_CA_CERT=/tls/ca.pem",
        "RAY_REDIS_CLIENT_CERT=/tls/head.pem",
        "RAY_REDIS_CLIENT_KEY=/tls/head.key",
    } <= set(said)


def test_a_head_on_trial_keeps_its_state_on_its_own_disk(shell: Any) -> None:
    given = inventory(gcs_folder="/var/lib/herd/gcs", secret_command=f"echo {ROOT_SECRET}")
    head = shell(ray_start.head(given, "herd", "")[-1]).stdout.splitlines()
    assert {"RAY_gcs_storage=rocksdb", "RAY_gcs_storage_path=/var/lib/herd/gcs", "RAY_gcs_rpc_server_reconnect_timeout_s=3600"} <= set(head)
    worker = shell(ray_start.worker(given)[-1]).stdout.splitlines()
    assert "RAY_gcs_rpc_server_reconnect_timeout_s=3600" in worker
    assert "RAY_gcs_storage=rocksdb" not in worker


def test_secret_of_the_nodes_own_environment_goes_first(shell: Any) -> None:
    command = ray_start.worker(inventory(secret_command=f"echo {ROOT_SECRET}"))[-1]
    assert f"HERD_DOOR_KEY={derived(OWN, 'door')}" in shell(command, HERD_SECRET=OWN).stdout.splitlines()


def test_node_examines_itself_before_its_ray_starts(shell: Any, tmp_path: Path) -> None:
    herd = tmp_path / "herd"
    herd.write_text('#!/bin/sh\necho "$*" >&2; echo llama-herd/health=ok\n')
    herd.chmod(0o755)
    made = of_hosts()
    for kind, rest in (("head", " --head"), ("worker", "")):
        done = shell(made[f"{kind}_start_ray_commands"][-1], HERD_SECRET=OWN)
        assert done.stdout.splitlines()[0].endswith(" --labels=llama-herd/health=ok")
        assert f"doctor --node --labels{rest}\n" in done.stderr
    blind = ray_start.worker(inventory(preflight=False))[-1]
    assert "labels" not in shell(blind, HERD_SECRET=OWN).stdout


def test_node_without_a_secret_does_not_start(shell: Any) -> None:
    done = shell(ray_start.worker(inventory())[-1])
    assert (done.returncode, done.stdout) == (1, "")
    assert "HERD_SECRET is not known on this node" in done.stderr


@pytest.mark.parametrize("weak", ["qwertz", "0123456789abcdef" * 2 + "!", "ab" * 40, "changeme" * 8])
def test_node_starts_with_the_secrets_that_keys_are_made_of_and_no_others(shell: Any, weak: str) -> None:
    for secret in (weak, weak[:-1], weak[:-2]):
        done = shell(ray_start.worker(inventory())[-1], HERD_SECRET=secret)
        try:
            derived(secret, "door")
        except WeakSecret:
            assert (done.returncode, done.stdout) == (1, "")
            assert "openssl rand -hex 32" in done.stderr
            assert secret not in done.stderr
        else:
            assert done.returncode == 0


def unit_of(**fields: Any) -> str:
    given = inventory(onprem=HOSTS, secret_command=f"echo 100%{OWN}", **{"redis": "redis:6379"} | fields)
    assert given.onprem is not None
    return head_unit("herd", given, given.onprem)


def words_of(unit: str, name: str) -> list[str]:
    """A unit's command as systemd takes it apart."""
    (line,) = [line for line in unit.splitlines() if line.startswith(f"{name}=")]
    return [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(line.partition("=")[2].removeprefix("-"))]


def test_unit_starts_the_head_as_ray_up_does_and_waits_for_its_end(shell: Any) -> None:
    *bash, command = words_of(unit_of(), "ExecStart")
    assert bash == ["/bin/bash", "--login", "-i", "-c"]
    (start, *environment), (as_ray_up, *its) = (
        shell(one).stdout.splitlines()
        for one in (command, of_hosts(redis="redis:6379", secret_command=f"echo 100%{OWN}")["head_start_ray_commands"][-1])
    )
    assert (start, set(environment)) == (f"{as_ray_up} --block", set(its))
    assert f"HERD_DOOR_KEY={derived('100%' + OWN, 'door')}" in environment
    assert words_of(unit_of(), "ExecStop")[-1] == "ray stop"


def test_unit_keeps_a_head_that_has_its_state_on_its_own_disk() -> None:
    assert "RAY_gcs_storage=rocksdb" in words_of(unit_of(redis=None, gcs_folder="/var/lib/herd/gcs"), "ExecStart")[-1]


def test_unit_of_a_head_in_a_container_starts_that_first() -> None:
    unit = unit_of(image="a:1")
    assert words_of(unit, "ExecStart")[:3] == ["/usr/bin/docker", "exec", "herd"]
    assert words_of(unit, "ExecStart")[3:] == words_of(unit_of(), "ExecStart")
    assert unit.index("docker start herd") < unit.index("ray stop")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian: apt-get install systemd)")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "herd-head.service"
    unit.write_text(unit_of(ssh_user="root"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_of_the_page_are_those_that_run(tmp_path: Path, shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `herd cluster emit` of `cluster/README.md`, and its line for a shell that connects to the cluster."""
    lines = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line.partition("#")[0].split() for line in lines if line.startswith("herd cluster emit ")]
    assert commands
    copied = {"herd.yaml": "configs/maverick-3xdgx-onprem.yaml"}  # the first of the page's steps
    monkeypatch.chdir(tmp_path)
    built = (tmp_path / f"dist/llama_herd-{version('llama-herd')}-py3-none-any.whl", tmp_path / "constraints-gpu.txt")
    built[0].parent.mkdir()
    for file in built:  # `make wheel` is the page's second step
        file.touch()
    for _, _, _, named, *options in commands:
        config = copied.get(named, named)
        options[-1] = str(tmp_path / options[-1])
        assert emit(str(ROOT / config), *options).exit_code == 0
    (token,) = [line for line in lines if line.startswith("export RAY_AUTH_MODE")]
    said = shell(f"{token}; ray", HERD_SECRET=OWN).stdout.splitlines()
    assert {"RAY_AUTH_MODE=token", f"RAY_AUTH_TOKEN={derived(OWN, 'ray')}"} <= set(said)
