"""Odd configs that are legal: what is made of them is read by whoever must, or they are refused by the field."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.provision.ray_up import onprem
from configs.inventory import Inventory
from deployments.commands.cluster_emit import STARTS_RAY
from tests.unit.cluster.provision import judges
from tests.unit.cluster.provision.test_cluster_files import HERD, SITES
from tests.unit.cluster.provision.test_head_unit import script_of
from tests.unit.machines import emit

#: Commands that an operator may write for a secret, and that a shell reads.
COMMANDS = ["cat /s  # the herd's", 'printf %s "it\'s"', "cat /s \\", "echo $((1 + 1)); (cat /s)", "cat '/a b/#c'"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("provider", STARTS_RAY)
def test_any_command_for_a_secret_leaves_a_script_that_bash_reads(tmp_path: Path, provider: str, command: str) -> None:
    herd = tmp_path / "herd.yaml"
    cluster = json.loads(SITES) | {"secret_command": command, "secrets": {"HF_TOKEN": {"command": command}}}
    herd.write_text(f"cluster: {json.dumps(cluster)}\n{HERD}")
    done = emit(str(herd), "--provider", provider)
    assert done.exit_code == 0, done.stderr
    scripts = [script_of(done.stdout)] if provider == "systemd" else list(judges.scripts(done.stdout))
    for script in scripts:
        read_by = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (read_by.returncode, read_by.stderr) == (0, "")


def test_text_in_a_command_ends_where_it_should_or_is_refused(tmp_path: Path) -> None:
    """In a unit each line of a command has a space before it, and the text would go on to the end of the script."""
    herd = tmp_path / "herd.yaml"
    cluster = json.loads(SITES) | {"secret_command": "cat <<'E'\nx\nE"}
    herd.write_text(f"cluster: {json.dumps(cluster)}\n{HERD}")
    for script in judges.scripts(emit(str(herd), "--provider", "onprem").stdout):
        assert subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False).stderr == ""
    assert "cluster.secret_command: cannot be read by bash" in emit(str(herd), "--provider", "systemd").stderr


@pytest.mark.parametrize("command", ["cat '/s", 'cat "/s', "cat /s)", "if true; then cat /s"])
def test_command_that_bash_cannot_read_is_told_by_its_field(tmp_path: Path, command: str) -> None:
    herd = tmp_path / "herd.yaml"
    cluster = json.loads(SITES) | {"secret_command": command, "secrets": {"HF_TOKEN": {"command": command}}}
    herd.write_text(f"cluster: {json.dumps(cluster)}\n{HERD}")
    refused = emit(str(herd), "--provider", "onprem")
    assert refused.exit_code == 3
    assert "cluster.secret_command: cannot be read by bash (" in refused.stderr
    assert "cluster.secrets.HF_TOKEN.command: cannot be read by bash (" in refused.stderr


def test_workers_join_a_head_with_an_ipv6_address() -> None:
    given = Inventory.model_validate({"onprem": {"head": "fd00::1", "workers": ["fd00::2"]}})
    assert given.onprem is not None
    script = onprem("herd", given, given.onprem)["worker_start_ray_commands"][-1]
    (line,) = [one for one in script.splitlines() if one.startswith("ray start")]
    shell = f"RAY_HEAD_IP=fd00::1; ray() {{ printf '%s\\n' \"$@\"; }}; {line}"
    said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert "--address=[fd00::1]:6379" in said.splitlines()


@pytest.mark.parametrize(("name", "fits"), [("herd", True), ("a", True), ("1herd", False), ("herd-", False), ("h-1", True)])
def test_name_that_no_service_of_kubernetes_may_have_is_refused_for_it(tmp_path: Path, name: str, fits: bool) -> None:
    herd = tmp_path / "herd.yaml"
    herd.write_text(f"name: {name}\ncluster: {SITES}\n{HERD}")
    refused = emit(str(herd), "--provider", "kuberay")
    assert (refused.exit_code == 0, "name: " in refused.stderr) == (fits, not fits)
    assert emit(str(herd), "--provider", "onprem").exit_code == 0


def test_name_of_a_file_ends_no_comment(tmp_path: Path) -> None:
    herd = tmp_path / "a\rb: c\u2028d.yaml"
    herd.write_text(f"cluster: {SITES}\n{HERD}")
    done = emit(str(herd), "--provider", "onprem")
    assert done.exit_code == 0
    assert yaml.safe_load(done.stdout).keys() >= {"cluster_name", "provider"}
    assert "b" not in yaml.safe_load(done.stdout)


#: Every printable character that means something to a shell, to YAML, to Kubernetes or to systemd.
VALUE = "x'y\"z $HOME $(id) `id` # ; & | < > * ? [a] ~ ! % %% \\\\ \\n é 日本 🦙 {a: b} - : @"


@pytest.mark.parametrize("provider", ["onprem", "aws", "gcp", "systemd"])
def test_value_of_a_variable_reaches_ray_as_it_stands(tmp_path: Path, provider: str) -> None:
    herd = tmp_path / "herd.yaml"
    cluster = json.loads(SITES) | {"environment": {"ODD": VALUE}}
    herd.write_text(f"cluster: {json.dumps(cluster, ensure_ascii=False)}\n{HERD}")
    done = emit(str(herd), "--provider", provider)
    assert done.exit_code == 0, done.stderr
    scripts = [script_of(done.stdout)] if provider == "systemd" else list(judges.scripts(done.stdout))
    lines = [line for script in scripts for line in script.splitlines() if line.lstrip().startswith("export ODD=")]
    assert lines
    for line in lines:
        shown = subprocess.run(["bash", "-c", f'{line}; printf %s "$ODD"'], capture_output=True, text=True, check=True).stdout
        assert shown == VALUE


@pytest.mark.parametrize("user", ["ubuntu", "john.doe", "Administrator", "_svc-ray"])
def test_user_of_a_directory_service_may_log_in(user: str) -> None:
    assert Inventory.model_validate({"ssh_user": user}).ssh_user == user


@pytest.mark.parametrize(
    ("mounts", "why"),
    [
        (["/"], "/ cannot be shown to a container"),
        (["/a/../b"], "/a/../b cannot be shown to a container"),
        (["/a", "/b", "/a"], "/a is there twice"),
        (["/a", "/a/"], "/a is there twice"),
        (["/a//b", "/a/b"], "/a//b is there twice"),
        (["/a", "/a/b"], None),
    ],
)
def test_folders_that_a_container_cannot_have_are_refused(mounts: list[str], why: str | None) -> None:
    if why is None:
        assert Inventory.model_validate({"mounts": mounts}).mounts == tuple(mounts)
        return
    with pytest.raises(ValueError, match=why):
        Inventory.model_validate({"mounts": mounts})
