"""The systemd unit that keeps the head, as systemd takes it apart, and run by bash with programs that tell what they got."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.provision.systemd import FOLDER, head_unit
from configs.keys import derived
from tests.unit.cluster.provision.shells import OWN, Shell
from tests.unit.machines import HOSTS, inventory, of_hosts

SECRET = {"secret_command": f"echo 100%{OWN}"}
#: A container of its own for each command, on this machine: its home is a folder.
DOCKER = """#!/bin/sh
echo "docker $*" >&2
case "$1" in
  info) echo "map[io.containerd.runc.v2:{} nvidia:nvidia-container-runtime]" ;;
  inspect) test -d "$HOME/container" ;;
  exec) shift 2; HOME="$HOME/container" exec "$@" ;;
  rm) rm -r "$HOME/container" ;;
  run) while test "$1" != -c; do shift; done; mkdir -p "$HOME/next"; HOME="$HOME/next" exec bash "$@" ;;  # no login: it would set PATH
esac
"""


def unit_of(**fields: Any) -> str:
    given = inventory(onprem=HOSTS | {"cache": f"{FOLDER}/cache"}, **SECRET | {"redis": "redis:6379"} | fields)
    assert given.onprem is not None
    return head_unit("herd", given, given.onprem)


def lines_of(unit: str) -> list[str]:
    """A line that ends with a backslash goes on, without comments (systemd.syntax(7))."""
    return [line for line in unit.replace("\\\n", " ").splitlines() if line[:1] not in ("#", ";")]


def words_of(unit: str, name: str) -> list[str]:
    """A unit's command as systemd takes it apart."""
    (line,) = [line for line in lines_of(unit) if line.startswith(f"{name}=")]
    return [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(line.partition("=")[2].removeprefix("-"))]


def script_of(unit: str) -> str:
    """The variable that the unit sets, without its quotes, escapes and specifiers."""
    (line,) = [line for line in lines_of(unit) if line.startswith('Environment="HERD_START=')]
    value = line.partition("HERD_START=")[2].removesuffix('"')
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value).replace("%%", "%")


def test_unit_starts_the_head_as_ray_up_does_and_waits_for_its_end(shell: Shell) -> None:
    unit = unit_of()
    *bash, command = words_of(unit, "ExecStart")
    assert bash == ["/bin/bash", "--login", "-i", "-c"]
    (start, *environment), (as_ray_up, *its) = (
        shell(one, HERD_START=script_of(unit)).stdout.splitlines()
        for one in (command, f"unset HERD_START; {of_hosts(redis='redis:6379', **SECRET)['head_start_ray_commands'][-1]}")
    )
    assert (start, set(environment)) == (f"{as_ray_up} --block", set(its))
    assert f"HERD_DOOR_KEY={derived('100%' + OWN, 'door')}" in environment
    assert words_of(unit, "ExecStop")[-1] == "ray stop"
    assert "User=ubuntu" in unit


def test_unit_keeps_a_head_that_has_its_state_on_its_own_disk() -> None:
    assert "RAY_gcs_storage=rocksdb" in script_of(unit_of(redis=None, gcs_folder="/var/lib/herd/gcs"))


@pytest.fixture
def host(shell: Shell, tmp_path: Path) -> Path:
    """The folder of a host with Docker, on which `ray up` has started a container."""
    for name, script in {"docker": DOCKER, "nvidia-smi": "#!/bin/sh\n", "pip": '#!/bin/sh\necho "pip $*" >&2\n'}.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    home = tmp_path / "container"
    (home / ".herd/wheels").mkdir(parents=True)
    for name in ("ray_bootstrap_config.yaml", "ray_bootstrap_key.pem", ".herd/wheels/herd-1.whl"):
        (home / name).write_text(name)
    (home / "ray_bootstrap_key.pem").chmod(0o600)
    (tmp_path / "state").mkdir()
    return tmp_path


def test_unit_starts_the_container_itself_with_what_ray_up_gave_to_it(shell: Shell, host: Path) -> None:
    """Ray's containers are gone when they stop, and so after each start of the host."""
    unit = unit_of(image="a:1", wheel="dist/herd-1.whl", mounts=["/models"], run_options=["--label=a b"], devices=["/dev/gdrdrv"])
    unit = unit.replace(FOLDER, str(host / "state")).replace("/tmp/ray", str(host / "tmp-ray"))
    before, start = words_of(unit, "ExecStartPre"), words_of(unit, "ExecStart")
    assert (before[:2], start[:2]) == (["/bin/bash", "-c"], ["/bin/bash", "-c"])
    script = script_of(unit)
    for time in ("after ray up", "after the host's next start"):
        kept = shell(before[2])
        assert kept.returncode == 0, kept.stderr
        assert not (host / "container").exists(), "removed: its name is taken"
        done = shell(start[2], HERD_START=script)
        assert "--block" in done.stdout.splitlines()[0], (time, done.stderr)
        assert "HERD_START" not in done.stdout
        for name in ("ray_bootstrap_config.yaml", "ray_bootstrap_key.pem", ".herd/wheels/herd-1.whl"):
            assert (host / "next" / name).read_text() == name
        assert (host / "next/ray_bootstrap_key.pem").stat().st_mode & 0o777 == 0o600
        shutil.rmtree(host / "next")
    run = next(line for line in done.stderr.splitlines() if line.startswith("docker run"))
    for option in ("--rm --name=herd --net=host", "--env=HERD_START", "--volume=/models:/models", "--label=a b", "--device=/dev/gdrdrv"):
        assert option in run
    assert re.search(r"--runtime=nvidia --shm-size=\d+b ", run)
    assert "pip install --constraint" in done.stderr
    assert "User=" not in unit


def test_head_in_a_container_that_ray_up_never_started_is_not_started(shell: Shell, host: Path) -> None:
    shutil.rmtree(host / "container")
    refused = shell(words_of(unit_of(image="a:1"), "ExecStartPre")[2].replace(FOLDER, str(host / "state")))
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (1, "The first start of this head is by ray up")


def test_which_workers_the_autoscaler_has_started_outlives_the_container(shell: Shell, host: Path) -> None:
    """Without it Ray's autoscaler would start all workers again, and so end the engines on them."""
    ray = host / "tmp-ray"
    ray.mkdir()
    (ray / "cluster-herd.state").write_text("as ray up left it")
    unit = unit_of(image="a:1").replace(FOLDER, str(host / "state")).replace("/tmp/ray", str(ray))
    assert shell(words_of(unit, "ExecStartPre")[2]).returncode == 0
    shutil.rmtree(ray)
    assert shell(words_of(unit, "ExecStart")[2], HERD_START=script_of(unit)).returncode == 0
    assert (ray / "cluster-herd.state").read_text() == "as ray up left it"
    (ray / "cluster-herd.state").write_text("as it is now")
    assert (host / f"state{ray}/cluster-herd.state").read_text() == "as it is now"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian: apt-get install systemd)")
@pytest.mark.parametrize("fields", [{}, {"image": "a:1", "wheel": "dist/herd-1.whl"}])
def test_systemd_takes_the_unit(tmp_path: Path, fields: dict[str, Any]) -> None:
    unit = tmp_path / "herd-head.service"
    said = unit_of(ssh_user="root", **fields)
    unit.write_text(said.replace("/usr/bin/docker", "/bin/true"))  # which must be there
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
