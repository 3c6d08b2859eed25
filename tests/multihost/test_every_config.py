"""Every shipped config on fake hosts with a Docker each: its emitted file by `ray up` as it stands, and its engines' places by `herd up`.

Engines of the real sizes find no weights here: how they start and answer is `test_containers`'s and `test_maverick`'s, with small ones.
"""

import contextlib
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from cluster.doctor.quarantine import HEALTH_LABEL
from cluster.planner.placement import straddled
from configs.keys import PURPOSES, VARIABLES, derived
from deployments.ray_calls.names import ENGINE, app_name
from tests.e2e.conftest import wait_for
from tests.multihost import containers, driver, images
from tests.multihost.bed import lacking
from tests.multihost.cluster import UP_S, Cluster
from tests.multihost.hosts import NETWORK, Host, namespace_of
from tests.multihost.moved import SHIPPED, SITE, Moved, moved, overlay, secret_file
from tests.multihost.steps import between, token

WHY_NOT = containers.missing() or lacking()
pytestmark = [pytest.mark.timeout(900), pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]
CONTAINER, REDIS = "herd", f"{NETWORK}.1:6379"
JOIN_S, PLACE_S, SERVE_S = 120.0, 120.0, 120.0
#: What the page's table says who listens on: `cluster/README.md`.
OF_HEAD, OF_ALL, LOOPBACK_ONLY = {6379, 10001}, {52365}, {8265}
LOOPBACK = "0100007F"


@dataclass(frozen=True)
class Site:
    """Hosts with a Docker each, and the operator's folder."""

    cluster: Cluster
    dockers: containers.Dockers

    @property
    def folder(self) -> Path:
        """The operator's."""
        return self.cluster.hosts.folder


@dataclass(frozen=True)
class Started:
    """A shipped config whose Ray runs on the hosts."""

    site: Site
    of: Moved

    @property
    def hosts(self) -> list[Host]:
        """Its own, the head first."""
        return self.site.cluster.hosts.cluster[: self.of.hosts]

    @property
    def file(self) -> Any:
        """What `herd cluster emit` wrote."""
        return yaml.safe_load((self.site.folder / "cluster.yaml").read_text(encoding="utf-8"))

    def container(self, host: Host) -> Any:
        """What Docker says of a host's container."""
        (said,) = json.loads(self.site.dockers.run(host, "inspect", CONTAINER))
        return said

    def containers(self, host: Host) -> list[str]:
        """The ids of all that a host has."""
        return self.site.dockers.run(host, "ps", "--all", "--quiet").split()

    def placements(self, bundles: int, within_s: float) -> Any:
        """Ray's nodes and the places of engines, as soon as all are there, or after that time."""
        command = f"{token()}; python {SITE}/placements.py {len(self.hosts)} {bundles} {within_s:g}"
        done = self.site.dockers.run(self.hosts[0], "exec", CONTAINER, "bash", "--login", "-c", "-i", command, within_s=within_s + 60)
        found = [line for line in done.splitlines() if line.startswith('{"nodes"')]
        assert found, done
        return json.loads(found[0])

    def raylet(self, host: Host) -> psutil.Process:
        """Ray's own process of a host; in its container, which has the host's network."""
        own = host.namespace("net")
        (found,) = [one for one in psutil.process_iter(["name"]) if one.info["name"] == "raylet" and namespace_of(one.pid, "net") == own]
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Hosts for the largest config, and all that any of them asks for: images, packages, secrets, a Redis."""
    folder = tmp_path_factory.mktemp("every")
    all_of = [moved(path) for path in SHIPPED]
    inventories = [one.config.cluster for one in all_of if one.config.cluster is not None]
    shells = {name: value for name, value in containers.variables(1).items() if name != "RAY_OVERRIDE_RESOURCES"}
    built = sorted({one.image for one in inventories if one.image is not None} - {images.BASE})
    saved = containers.saved_image(folder / "image", shells | {"RAY_prestart_worker_first_driver": "0"}, built)
    small = frozenset[str]().union(*(one.small for one in all_of))
    with containers.hosts_with_docker(
        folder / "hosts", saved, max(one.hosts for one in all_of), small, driver.RUNTIME, before=lambda hosts: driver.install(hosts, None)
    ) as (hosts, dockers):
        made = Site(Cluster(hosts, ()), dockers)
        images.wheel(hosts.folder / "dist")
        # The versions of this machine's packages, in the place of those for GPUs.
        (hosts.folder / "constraints-gpu.txt").write_bytes((images.ROOT / "constraints-cpu.txt").read_bytes())
        made.cluster.operator('(umask 077; printf %s "$(openssl rand -hex 32)" > secret)')
        names = {name for one in inventories for name in one.secrets}
        for host in hosts.cluster:
            own = host.own / "lib" / "herd"
            (own / "placements.py").write_bytes(Path(__file__).with_name("placements.py").read_bytes())
            for file, said in {f"{SITE}/secret": made.cluster.secret, **{secret_file(name): f"of-{name}" for name in names}}.items():
                (own / Path(file).name).write_text(said, encoding="utf-8")
                (own / Path(file).name).chmod(0o600)
        address, _, port = REDIS.partition(":")
        options = f"--daemonize yes --bind {address} --port {port} --protected-mode no --save ''"
        made.cluster.operator(f"redis-server {options} --dir {hosts.folder}")
        yield made


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda path: path.stem)
def started(request: pytest.FixtureRequest, site: Site) -> Iterator[Started]:
    """`ray up` of what is emitted for a config, on its number of hosts."""
    made = Started(site, moved(request.param))
    driver.install(site.cluster.hosts, made.of.node)
    addresses, environment = [host.address for host in made.hosts], str(Path(sys.prefix))
    over = overlay(made.of, addresses, str(site.cluster.hosts.key), REDIS, environment)
    (site.folder / "machines.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
    operator = site.cluster.operator
    try:
        operator(f"herd config show {shlex.quote(str(request.param))} -f machines.yaml --yaml > herd.yaml", within_s=UP_S)
        for step in (*between("herd cluster emit", "herd cluster emit"), *between("ray up", "ray up")):
            operator(step, within_s=UP_S)
        yield made
    finally:
        with contextlib.suppress(AssertionError):
            _clear(site)


def _clear(site: Site) -> None:
    """Removes what a test that failed has left."""
    for host in site.cluster.hosts.cluster:
        for one in site.dockers.run(host, "ps", "--all", "--quiet").split():
            site.dockers.run(host, "rm", "--force", one)


def test_all_hosts_join_and_are_well(started: Started) -> None:
    found = started.placements(0, JOIN_S)
    assert sorted(one["address"] for one in found["nodes"]) == sorted(host.address for host in started.hosts)
    for one in found["nodes"]:
        assert one["labels"].get(HEALTH_LABEL) == ("ok" if started.of.examined else None), one["labels"]
        if started.of.node is not None:
            assert one["resources"]["GPU"] == started.of.node.gpus


def test_containers_are_those_of_the_file(started: Started) -> None:
    docker = started.file["docker"]
    for host in started.hosts:
        said = started.container(host)
        options = said["HostConfig"]
        assert (said["Config"]["Image"], options["NetworkMode"], options["AutoRemove"]) == (docker["image"], "host", True)
        assert options["Runtime"] == ("within-limits" if started.of.node is None else "nvidia")
        assert {"Name": "memlock", "Hard": -1, "Soft": -1} in options["Ulimits"]
        wanted = {one.removeprefix("--volume=") for one in docker["run_options"] if one.startswith("--volume=")}
        assert wanted <= set(options["Binds"]), "Ray mounts a folder of its own besides"
        assert [one["PathOnHost"] for one in options["Devices"]] == [containers.DEVICES]


def test_rays_processes_have_their_place_their_keys_and_the_configs_variables(started: Started) -> None:
    secret, inventory = started.site.cluster.secret, started.of.config.cluster
    for host in started.hosts:
        said = started.raylet(host).environ()
        assert {said[f"{one}_SOCKET_IFNAME"] for one in ("GLOO", "NCCL", "TP")} == {"eth0"}
        assert (said["VLLM_HOST_IP"], said["RAY_AUTH_MODE"]) == (host.address, "token")
        assert {said[VARIABLES[one]] for one in PURPOSES} == {derived(secret, one) for one in PURPOSES}
        assert secret not in " ".join(said.values())
        if inventory is not None:
            assert {said[name] for name in inventory.secrets} == {f"of-{name}" for name in inventory.secrets}
            assert said.items() >= inventory.environment.items()


def test_head_and_workers_listen_where_the_page_says(started: Started) -> None:
    for host in started.hosts:
        head = host == started.hosts[0]
        assert host.listening() >= (OF_HEAD | OF_ALL if head else OF_ALL)
        assert not host.listening() & (set() if head else OF_HEAD)
        lines = Path(f"/proc/{host.init}/net/tcp").read_text("ascii").splitlines()[1:]
        loopback = {int(one.split()[1].rpartition(":")[2], 16) for one in lines if one.split()[1].startswith(LOOPBACK)}
        assert loopback >= LOOPBACK_ONLY if head else not LOOPBACK_ONLY & host.listening()


@pytest.fixture(scope="module")
def rising(started: Started) -> Iterator["Future[subprocess.CompletedProcess[str]]"]:
    """`herd up` on the head, as the page has it. It ends with the head's container."""
    (copy, up) = between("ray rsync-up", "ray exec cluster.yaml 'herd up")
    started.site.cluster.operator(copy, within_s=UP_S)
    thread = ThreadPoolExecutor(1)
    yield thread.submit(started.site.cluster.hosts.run, "bash", "-c", up, within_s=PLACE_S + SERVE_S + 120)
    thread.shutdown(wait=False)


def test_engines_get_their_places(started: Started, rising: "Future[subprocess.CompletedProcess[str]]") -> None:
    found = started.placements(started.of.bundles, PLACE_S)
    assert {one["state"] for one in found["groups"]} == {"CREATED"}, (found, rising.result().stdout[-3000:] if rising.done() else "")
    for pool in started.of.engines:
        _placed_as_meant(started, pool, [one for one in found["groups"] if _of(one["name"], app_name(pool.id))])


def test_every_host_gets_a_gateway(started: Started, rising: "Future[subprocess.CompletedProcess[str]]") -> None:
    port, deadline = started.of.config.gateway.port, time.monotonic() + SERVE_S
    while (silent := [host.name for host in started.hosts if port not in host.listening()]) and time.monotonic() < deadline:
        assert not rising.done(), rising.result().stdout[-3000:]
        time.sleep(0.5)
    assert not silent


def test_down_leaves_no_container(started: Started) -> None:
    for step in between("ray down", "ray down"):
        started.site.cluster.operator(step, within_s=UP_S)
    wait_for("no container", lambda: not any(map(started.containers, started.hosts)), within_s=60)  # a stopped one removes itself


def _of(group: str, application: str) -> bool:
    return bool(re.match(rf"SERVE_(REPLICA::{re.escape(application)}#{ENGINE}#|GANG::{re.escape(application)}_{ENGINE}_)", group))


def _placed_as_meant(started: Started, pool: Any, groups: list[Any]) -> None:
    """Each replica has its GPUs, no tensor parallel group is divided, and a rank that fits one host is on one."""
    assert sum(len(one["bundles"]) for one in groups) == pool.scale.min_replicas * pool.parallel.gpus, (pool.id, groups)
    for one in groups:
        hosts, asked = [bundle["host"] for bundle in one["bundles"]], [bundle["asks"] for bundle in one["bundles"]]
        assert straddled(hosts, pool.parallel.tensor) is None, (pool.id, hosts)
        if started.of.node is not None:
            assert all(bundle["GPU"] == 1 and f"accelerator_type:{started.of.node.gpu.name}" in bundle for bundle in asked), asked
            assert len(set(hosts)) == -(-len(hosts) // started.of.node.gpus), (pool.id, hosts)
