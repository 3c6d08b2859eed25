"""A Docker of its own in a folder: for images that are built, and on each fake host for its containers.

Decides that nothing of it outlives the test: its daemon, its containerd and all containers live in namespaces that end with it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
START_S = 60.0
#: The daemon without rules of the firewall and without a bridge: containers have the network of their host.
DAEMON = "dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver overlay2"
#: Before `runc`: a machine that is itself a container may not raise limits nor give capabilities that it lacks. A container asks for them
#: (`docker inspect` shows it), and gets as much as there is.
WITHIN_LIMITS = """#!/usr/bin/python3
import json, os, resource, sys
words = sys.argv[1:]
if "--bundle" in words:  # of `create`
    path = os.path.join(words[words.index("--bundle") + 1], "config.json")
elif "--process" in words:  # of `exec`
    path = words[words.index("--process") + 1]
else:
    path = None
if path is not None:
    said = json.load(open(path))
    for limit in said.get("process", said).get("rlimits", []):
        _, most = resource.getrlimit(getattr(resource, limit["type"]))
        if most != resource.RLIM_INFINITY:
            limit.update(hard=min(limit["hard"], most), soft=min(limit["soft"], most))
    json.dump(said, open(path, "w"))
os.execvp("runc", ["runc", *words])
"""
#: Its own folder for what a daemon leaves there.
CONFIGURED = "mkdir -p /etc/docker; mount -t tmpfs tmpfs /etc/docker"
#: Debian's own client, if it is there: it speaks BuildKit without a plug-in.
CLIENT = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


def missing() -> str | None:
    """Why this machine cannot run Docker in a folder; none where it can."""
    if os.getuid() != 0:
        return "Docker in a folder needs root"
    absent = [command for command in ("docker", "dockerd", "unshare") if shutil.which(command, path=PATH) is None]
    return f"{', '.join(absent)} not installed (Debian: apt-get install docker.io)" if absent else None


@contextmanager
def docker(folder: Path) -> Iterator[str]:
    """Runs a daemon on this machine's network, for builds; gives the address for `DOCKER_HOST`.

    Raises:
        RuntimeError: it did not start; the end of its log is told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = f"unix://{folder}/docker.sock"
    own = f"--data-root {folder}/data --exec-root {folder}/exec --pidfile {folder}/pid -H {address}"
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", f"{CONFIGURED}; exec {DAEMON} {own}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], env={"PATH": PATH}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        until_there(address, folder / "log", process)
        yield address
    finally:
        process.kill()
        process.wait(timeout=30)
        remove(folder)


def until_there(address: str, log: Path, process: "subprocess.Popen[bytes]") -> None:
    """Returns when a daemon answers.

    Raises:
        RuntimeError: it did not in time, or it has ended.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        asked = subprocess.run([CLIENT, "-H", address, "version"], env={"PATH": PATH}, capture_output=True, check=False, timeout=60)
        if asked.returncode == 0:
            return
        time.sleep(0.2)
    raise RuntimeError(f"dockerd did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def remove(folder: Path) -> None:
    """Removes a daemon's folder; what it mounted there went with its namespace, which takes a moment."""
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)
