"""Fake hosts with a Docker each, and the image that their containers are made of, pulled from a registry on the operator's host.

Decides what a host of a site has beside Docker: a device that stands for a network card's, and a checkpoint under the mounted folder. The
container is Ray's own: its name, options and user come from the file that `herd cluster emit` writes.
"""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from configs.load import environment
from deployments.small_models import ensure
from tests.multihost import images
from tests.multihost.cluster import SCOUT, resources
from tests.multihost.dockerd import CLIENT, DAEMON, PATH, WITHIN_LIMITS, docker, until_there
from tests.multihost.hosts import NETWORK, Host, Hosts
from tests.multihost.hosts import missing as no_hosts
from tests.multihost.registry import Registry

#: Of the registry: the one that a daemon asks where an image's name has none.
PORT = 80
#: On a host, and in its container, which has it by the config's `mounts`.
SITE = "/var/lib/herd"
STAND_IN = f"{images.HOME}/stand_in"
DEVICES = "/dev/infiniband"
#: For weights, in the shipped configs.
MODELS = "/models"
#: As NVIDIA's toolkit sets it up (`nvidia-ctk runtime configure`): Ray looks for this name.
OF_GPUS = "nvidia-container-runtime"
#: The registry of an image that is not Docker Hub's, as the shipped configs have it.
SITES_REGISTRY = "registry.example.com"
#: Its own folder for what daemons leave in /etc, the site's own names, and a device that the kernel opens for writing, for those whom the
#: container allows it.
BEFORE = f"""
mkdir -p /etc/docker {DEVICES} {MODELS} "$1/models"
mount -t tmpfs tmpfs /etc/docker
mount -t tmpfs -o mode=755,dev tmpfs {DEVICES}
mount --bind "$1/models" {MODELS}
mknod -m 666 {DEVICES}/uverbs0 c 1 11
{{ cat /etc/hosts; echo {NETWORK}.1 {SITES_REGISTRY}; }} > "$1/names"
mount --bind "$1/names" /etc/hosts
exec {DAEMON} --registry-mirror http://{NETWORK}.1:{PORT} --insecure-registry {SITES_REGISTRY} --add-runtime within-limits="$1/runc" \\
  --default-runtime within-limits --cgroup-parent "$2" $3
"""


def missing() -> str | None:
    """Why there can be no such hosts here; none where there can."""
    return no_hosts() or images.missing()


def variables(gpus: int) -> dict[str, str]:
    """What every shell in a container has, beside the image's own."""
    return {
        "PYTHONPATH": STAND_IN,
        "HERD_CACHE": f"{SITE}/cache",
        "RAY_OVERRIDE_RESOURCES": resources(gpus),
        "RAY_worker_niceness": "0",
        "RAY_raylet_start_wait_time_s": "120",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "TORCHDYNAMO_DISABLE": "1",  # it would want a C++ compiler, also of eager engines
        "PIP_NO_INDEX": "1",
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }


def saved_image(folder: Path, shells: Mapping[str, str] = MappingProxyType(variables(1)), built: Collection[str] = ()) -> Path:
    """Builds the image that stands for Ray's, with the program that stands for GPUs, and saves it as a file.

    Args:
        folder: for the build's files, and the saved one.
        shells: what every shell in a container has.
        built: names of images that have this package in them, each of which is saved too: what `make image` builds.
    """
    with docker(folder / "docker") as address:
        images.base(address, folder / "base", shells, {Path(__file__).parent / "stand_in": STAND_IN})
        for number, name in enumerate(built):
            images.built(address, folder / f"built-{number}", name)
        saved = folder / "image.tar"
        save = [CLIENT, "-H", address, "save", "--output", str(saved), images.BASE, *built]
        subprocess.run(save, env={"PATH": PATH}, check=True, timeout=300)
    return saved


class Dockers:
    """The daemons of hosts. They end with their hosts."""

    def __init__(self, hosts: Hosts, options: str = "") -> None:
        """Starts one on each host of the cluster; further options of `dockerd` may name a host's own folder by `{own}`."""
        self._hosts, self._options = hosts, options
        self._processes: list[subprocess.Popen[bytes]] = []
        for host in hosts.cluster:
            self.start(host)

    def start(self, host: Host) -> None:
        """Starts a host's daemon, as its systemd does when it boots.

        Raises:
            RuntimeError: it did not start.
        """
        into = ["nsenter", f"--target={host.init}", "--net", "--pid", "--mount", "--uts"]
        runc = host.own / "runc"
        runc.write_text(WITHIN_LIMITS, encoding="utf-8")
        runc.chmod(0o755)
        with (host.own / "docker.log").open("ab") as log:
            process = subprocess.Popen(
                [*into, "bash", "-e", "-c", BEFORE, "docker", str(host.own), f"/{self._hosts.user}", self._options.format(own=host.own)],
                env={"PATH": PATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        # The host's own socket, which is in its own file system.
        until_there(f"unix:///proc/{host.init}/root/run/docker.sock", host.own / "docker.log", process)

    def wait(self) -> None:
        """Waits until all have ended, as their hosts did."""
        for process in self._processes:
            process.wait(timeout=30)

    def run(self, host: Host, *words: str, within_s: float = 120) -> str:
        """What a host's `docker` says."""
        address = f"unix:///proc/{host.init}/root/run/docker.sock"
        command = [CLIENT, "-H", address, *words]
        done = subprocess.run(command, env={"PATH": PATH}, capture_output=True, text=True, timeout=within_s, check=False)
        return done.stdout + done.stderr


@contextmanager
def hosts_with_docker(
    folder: Path,
    saved: Path,
    count: int,
    small: Collection[str] = (SCOUT,),
    options: str = "",
    before: Callable[[Hosts], None] = lambda _: None,
) -> Iterator[tuple[Hosts, Dockers]]:
    """Hosts, each with a daemon that has no image yet, and a registry that has it.

    Args:
        folder: for all files; its folder `bin` has further programs of the hosts.
        saved: the image, or several.
        count: hosts beside the operator's.
        small: small checkpoints that each host has.
        options: further ones of each `dockerd`.
        before: is done before daemons start.
    """
    # Docker's and this environment's programs; the daemon's client asks the host's own socket.
    made = [one for one in (DEVICES, MODELS) if not Path(one).exists()]
    programs = f"{folder / 'bin'}:{Path(sys.executable).parent}:{PATH}"
    shells = {"PATH": programs, "PYTHONPATH": str(images.ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    hosts = Hosts(folder, count, shells)
    try:
        registry = hosts.inside(lambda: Registry((f"{NETWORK}.1", PORT), saved, folder / "registry"))
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        for host in hosts.cluster:
            furnish(host, small)
        before(hosts)
        dockers = Dockers(hosts, options)
        try:
            yield hosts, dockers
        finally:
            registry.shutdown()
            registry.server_close()
            hosts.close()
            dockers.wait()
    finally:
        hosts.close()
        remove_groups(hosts.user)
        for one in made:
            Path(one).rmdir()


def furnish(host: Host, small: Collection[str]) -> None:
    """Puts small checkpoints where the config's mounts have them, readable by everybody, as weights are."""
    cache = host.own / "lib" / "herd" / "cache" / "models"
    cache.parent.mkdir(parents=True)
    for folder in (cache.parent, cache.parent.parent):  # the container's user writes there
        folder.chmod(0o777)
    for name in small:
        built = ensure(name, environment().models)
        shutil.copytree(built, cache / built.name)


def remove_groups(name: str) -> None:
    """Removes the empty control groups of containers that ended with their host."""
    for group in sorted(Path("/sys/fs/cgroup").glob(f"**/{name}/**/"), reverse=True):
        group.rmdir()
