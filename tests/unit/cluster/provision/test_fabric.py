"""What every node has before its Ray starts: rights of its container, its place in the network, variables and secrets."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.docker import docker_start_cmds

from cluster.machine.network import towards
from cluster.planner.config_problems import problems
from cluster.provision import ray_start
from cluster.provision.ray_start import Start
from configs.load import read
from tests.unit.cluster.provision import judges
from tests.unit.cluster.provision.shells import OWN, Shell
from tests.unit.command_line import invoke
from tests.unit.machines import ROOT, emit, inventory, of_aws, of_gcp, of_hosts

VARIABLES = {"HERD_NODE_IP", "VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME"}


def run_options(made: dict[str, Any], kind: str) -> list[str]:
    return list(made["docker"]["run_options"] + made["docker"].get(f"{kind}_run_options", []))


def docker_run(options: list[str], folder: Path) -> list[str]:
    """The words of `docker run`, as a host's shell makes them of Ray's own command line."""
    command = docker_start_cmds("ubuntu", "a:1", {}, "herd", options, "herd", "/home/ray", "docker")
    done = subprocess.run(
        ["bash", "-c", f'docker() {{ printf "%s\\n" "$@"; }}; {command}'], capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_containers_on_ones_own_hosts_get_the_rdma_devices_where_there_are_any(kind: str, tmp_path: Path) -> None:
    """A volume of the same path would show them, and no process could open one."""
    (tmp_path / "infiniband").mkdir()
    options = run_options(of_hosts(image="a:1"), kind)
    there = [option.replace("-d /dev/infiniband", f"-d {tmp_path}/infiniband") for option in options]
    absent = [option.replace("-d /dev/infiniband", f"-d {tmp_path}/nothing") for option in options]
    assert "--device=/dev/infiniband" in docker_run(there, tmp_path)
    assert not [word for word in docker_run(absent, tmp_path) if "infiniband" in word]
    assert {"--ulimit=memlock=-1:-1", "--cap-add=IPC_LOCK"} <= set(docker_run(there, tmp_path))


@pytest.mark.parametrize(("rdma", "found"), [(True, ["--device=/dev/infiniband"]), (False, [])])
def test_rdma_devices_can_be_demanded_and_left_out(rdma: bool, found: list[str]) -> None:
    assert [option for option in run_options(of_hosts(image="a:1", rdma=rdma), "head") if "infiniband" in option] == found


def test_further_devices_folders_and_options_reach_docker_as_they_are(tmp_path: Path) -> None:
    shared = {"devices": ["/dev/gdrdrv"], "mounts": ["/models"], "run_options": ["--label=two words; $HOME"], "image": "a:1"}
    for made in (of_hosts(**shared), of_aws(shared), of_gcp(shared)):
        words = docker_run(run_options(made, "worker"), tmp_path)
        assert {"--device=/dev/gdrdrv", "--volume=/models:/models", "--label=two words; $HOME"} <= set(words)
        assert made["docker"]["pull_before_run"] is True
    assert of_hosts(image="a:1", pull_before_run=False)["docker"]["pull_before_run"] is False


def starts(made: dict[str, Any]) -> dict[str, str]:
    return {kind: made[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker")}


def test_each_node_brings_every_library_onto_the_clusters_network(shell: Shell) -> None:
    hosts, cloud = starts(of_hosts()), starts(of_gcp() | {"x": 1})
    scripts = [hosts["head"], hosts["worker"], cloud["worker"].replace("source /usr/local/gib/scripts/set_nccl_env.sh\n", "")]
    asked = ["herd cluster interface 10.0.0.1", "herd cluster interface 10.0.0.2 10.0.0.3", "herd cluster interface --to 10.0.0.1"]
    for script, words in zip(scripts, asked, strict=True):
        done = shell(script, HERD_SECRET=OWN)
        assert words in done.stderr.splitlines()
        assert {"GLOO_SOCKET_IFNAME=eth7", "NCCL_SOCKET_IFNAME=eth7", "VLLM_HOST_IP=10.0.0.7"} <= set(done.stdout.splitlines())
        address = "10.0.0.1" if "--head" in done.stdout else "10.0.0.7"
        assert f"--node-ip-address={address}" in done.stdout.splitlines()[0].split(), "Ray's autoscaler knows a worker by it"


def test_nccl_of_other_nodes_keeps_its_own_interface(shell: Shell) -> None:
    """vLLM gives every NCCL_… of an engine's first node to its other nodes, but what this file names."""
    shell(starts(of_hosts())["worker"], HERD_SECRET=OWN)
    named = json.loads((shell.folder / ".config/vllm/ray_non_carry_over_env_vars.json").read_text())
    assert named == ["NCCL_SOCKET_IFNAME"]


def test_node_that_is_not_in_the_cluster_does_not_start(shell: Shell) -> None:
    (shell.folder / "herd").write_text("#!/bin/sh\nexit 1\n")
    done = shell(starts(of_hosts())["worker"], HERD_SECRET=OWN)
    assert (done.returncode, done.stdout) == (1, "")


def test_locked_memory_is_raised_before_the_node_examines_itself() -> None:
    for script in (*starts(of_hosts()).values(), *starts(of_aws()).values()):
        assert script.index("ulimit -l unlimited") < script.index("herd doctor --node")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may lower a hard limit and have sudo raise it again")
def test_limit_that_a_login_may_not_raise_is_raised_by_sudo_or_told(shell: Shell) -> None:
    limits = "\n".join(ray_start.worker(inventory(preflight=False), Start())[-1].splitlines()[:2])
    (shell.folder / "sudo").write_text('#!/bin/sh\necho "sudo $*"\n')
    (shell.folder / "sudo").chmod(0o755)
    refused = 'ulimit() { case "$*" in "-l unlimited") return 1;; "-l") echo 8192;; esac; }'
    assert "sudo -n prlimit --pid" in shell(f"{refused}\n{limits.replace('2> /dev/null ||', '||')}").stdout
    (shell.folder / "sudo").write_text("#!/bin/sh\nexit 1\n")
    assert "The limit of locked memory stays at 8192 KiB" in shell(f"{refused}\n{limits}").stderr


def test_plain_variables_are_rays_and_the_providers_go_first(shell: Shell) -> None:
    hosts = {"head": "10.0.0.1", "workers": ["10.0.0.2"], "environment": {"SITE": "its own $HOME"}}
    given = inventory(environment={"SITE": "of all", "NCCL_DEBUG": "INFO", "NCCL_SOCKET_IFNAME": "bond0"}, onprem=hosts)
    assert given.onprem is not None
    start = Start("10.0.0.2", environment=given.onprem.environment)
    said = shell(ray_start.worker(given, start)[-1], HERD_SECRET=OWN).stdout.splitlines()
    assert {"SITE=its own $HOME", "NCCL_DEBUG=INFO"} <= set(said)
    assert "NCCL_SOCKET_IFNAME=bond0" in said, "an operator knows better"


def test_installation_has_the_variables_too() -> None:
    (command,) = of_hosts(wheel="dist/herd-1.whl", environment={"HTTPS_PROXY": "http://proxy:3128"})["setup_commands"]
    assert command.splitlines()[0] == "export HTTPS_PROXY=http://proxy:3128"


def test_secrets_are_read_at_the_nodes_start_and_stand_nowhere(shell: Shell) -> None:
    token = shell.folder / "hf-token"
    token.write_text("hf_from_a_file\n")
    made = of_hosts(secrets={"HF_TOKEN": {"file": str(token)}, "SITE_KEY": {"command": "echo from-a-command"}})
    assert "hf_from_a_file" not in json.dumps(made)
    for script in starts(made).values():
        done = shell(script, HERD_SECRET=OWN)
        arguments, *environment = done.stdout.splitlines()
        assert {"HF_TOKEN=hf_from_a_file", "SITE_KEY=from-a-command"} <= set(environment)
        assert "hf_from_a_file" not in arguments + done.stderr
        own = shell(script, HERD_SECRET=OWN, HF_TOKEN="of the site").stdout.splitlines()
        assert "HF_TOKEN=of the site" in own


def test_node_without_a_secret_says_which_and_does_not_start(shell: Shell) -> None:
    done = shell(starts(of_hosts(secrets={"HF_TOKEN": {"file": "/no/such/file"}}))["worker"], HERD_SECRET=OWN)
    assert (done.returncode, done.stdout) == (1, "")
    assert "HF_TOKEN is not known on this node: see cluster.secrets" in done.stderr


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="another user's file needs root and setpriv (util-linux)")
@pytest.mark.parametrize("config", ["maverick-2xdgx-onprem.yaml", "maverick-3xdgx-onprem.yaml"])
def test_user_of_rays_images_reads_a_secret_of_roots(tmp_path: Path, config: str) -> None:
    """Its number is 1000, and it may use sudo without a password; a stand-in of sudo has the rights of root here."""
    secret, sudo = tmp_path / "secret", tmp_path / "sudo"
    secret.write_text("of-root")
    secret.chmod(0o600)
    shutil.copy(shutil.which("cat") or "", tmp_path / "roots-cat")
    (tmp_path / "roots-cat").chmod(0o4755)
    sudo.write_text(f'#!/bin/sh\nshift 2\nexec {tmp_path}/roots-cat "$@"\n')
    sudo.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    found = read(ROOT / "configs" / config, problems).cluster
    assert found is not None
    command = found.secret_command.replace("/var/lib/herd/secret", str(secret))
    as_ray = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "bash", "-c"]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    refused = subprocess.run([*as_ray, f"cat {secret}"], capture_output=True, text=True, env=path, check=False)
    assert refused.returncode != 0, "root's own"
    done = subprocess.run([*as_ray, command], capture_output=True, text=True, env=path, check=True)
    assert done.stdout == "of-root"


def test_command_prints_the_interface_as_exports() -> None:
    for words in (["127.0.0.1"], ["--to", "127.0.0.1"]):
        said = emit_interface(*words)
        assert said.exit_code == 0
        assert (
            said.stdout
            == "export HERD_NODE_IP=127.0.0.1 VLLM_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo NCCL_SOCKET_IFNAME=lo TP_SOCKET_IFNAME=lo\n"
        )
    assert towards("127.0.0.1").variables.keys() == VARIABLES
    assert "none of the addresses 192.0.2.1" in emit_interface("192.0.2.1").stderr
    assert "name the addresses" in emit_interface().stderr


def emit_interface(*words: str) -> Any:
    return invoke(["cluster", "interface", *words])


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed (Debian: apt-get install shellcheck)")
@pytest.mark.parametrize(
    "made", [of_hosts(redis="r:6379", secrets={"HF_TOKEN": {"file": "/t"}}), of_aws(), of_gcp()], ids=["hosts", "aws", "gcp"]
)
def test_shellcheck_finds_nothing(made: dict[str, Any], tmp_path: Path) -> None:
    for number, script in enumerate(judges.scripts(yaml.safe_dump(made))):
        (tmp_path / f"{number}.sh").write_text(f"#!/bin/bash\n{script}\n")
    judges.shellcheck(sorted(tmp_path.glob("*.sh")))


def test_commands_of_ones_own_hosts_are_only_refused_by_their_field() -> None:
    assert emit("no-such-file.yaml", "--provider", "onprem").exit_code == 3
