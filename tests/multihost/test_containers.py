"""The page's steps in containers: the emitted `docker` section as Ray runs it, on two hosts with a Docker each, and the wheel in both.

The tests are steps of one story, in their order.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.conftest import wait_for
from tests.multihost import containers, images
from tests.multihost.cluster import HERD_UP, PORT, SCOUT, Cluster, model
from tests.multihost.hosts import Host
from tests.multihost.steps import between
from tests.multihost.units import Unit

pytestmark = [pytest.mark.timeout(1200), pytest.mark.skipif(containers.missing() is not None, reason=str(containers.missing()))]
SHIPPED = images.ROOT / "configs" / "maverick-3xdgx-onprem.yaml"
CONTAINER = "herd"


@dataclass(frozen=True)
class Site:
    """Hosts, their daemons, and Ray in containers on them."""

    cluster: Cluster
    dockers: containers.Dockers
    units: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def hosts(self) -> list[Host]:
        """The head first."""
        return self.cluster.hosts.cluster

    def keep_head(self) -> None:
        """Starts the head's unit, as systemd does when it is enabled and when the host boots; waits until its gateway's Ray answers.

        Raises:
            AssertionError: it does not.
        """
        unit = Unit((self.cluster.hosts.folder / "herd-head.service").read_text(encoding="utf-8"))
        self.units.append(unit.start(self.hosts[0], self.hosts[0].own / "unit.log"))
        assert self.cluster.joined(), (self.hosts[0].own / "unit.log").read_text(encoding="utf-8")[-4000:]

    def asked(self, host: Host, body: dict[str, object]) -> int:
        """The status of a host's gateway's answer; 0 without one."""
        url = f"http://{host.address}:{PORT}/v1/completions"
        try:
            return self.cluster.hosts.inside(lambda: httpx.post(url, json=body, timeout=60).status_code)
        except httpx.HTTPError:
            return 0

    def inside(self, host: Host, command: str) -> str:
        """What a command says in a host's container."""
        return self.dockers.run(host, "exec", CONTAINER, "bash", "--login", "-c", "-i", command)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`ray up` from the shipped config's inventory, with the hosts' addresses and one small model."""
    folder = tmp_path_factory.mktemp("containers")
    saved = containers.saved_image(folder / "image")
    with containers.hosts_with_docker(folder / "hosts", saved, 2) as (hosts, dockers):
        made = Site(Cluster(hosts, (1, 1)), dockers)
        images.wheel(hosts.folder / "dist")
        # The versions of this machine's packages, in the place of those for GPUs.
        (hosts.folder / "constraints-gpu.txt").write_bytes((images.ROOT / "constraints-cpu.txt").read_bytes())
        shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["cluster"]
        of_site = {name: shipped[name] for name in ("image", "wheel", "secret_command")}
        of_site["gcs_folder"] = f"{containers.SITE}/gcs"  # its GCS outlives the head's container, as it would with Redis
        made.cluster.config(model(SCOUT, aliases=["maverick"]), mounts=[str(Path(sys.prefix)), containers.SITE], **of_site)
        made.cluster.up()
        yield made
    for unit in made.units:
        unit.wait(timeout=30)


def test_container_is_as_ray_up_starts_it_from_the_emitted_file(site: Site) -> None:
    for host in site.hosts:
        (said,) = json.loads(site.dockers.run(host, "inspect", CONTAINER))
        options = said["HostConfig"]
        assert (options["AutoRemove"], options["NetworkMode"]) == (True, "host")
        assert said["Config"]["Image"] == yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["cluster"]["image"]
        assert {"Name": "memlock", "Hard": -1, "Soft": -1} in options["Ulimits"]
        assert f"{containers.SITE}:{containers.SITE}" in options["Binds"]


def test_node_runs_the_wheel_as_uid_1000_with_a_secret_that_only_root_may_read(site: Site) -> None:
    for host in site.hosts:
        said = site.inside(host, f"id -u; pip show llama-herd; cat {containers.SITE}/secret; stat -c %a:%u {containers.SITE}/secret")
        assert "600:0" in said.split()
        assert re.search(r"^1000$", said, re.MULTILINE)
        assert f"Version: {version('llama-herd')}" in said
        assert "Permission denied" in said


def test_container_may_open_the_device_of_a_network_card(site: Site) -> None:
    """A device that is mounted as a volume can be seen, and not opened."""
    for host in site.hosts:
        assert "opened" in site.inside(host, f": > {containers.DEVICES}/uverbs0 && echo opened")


def test_doctor_examines_both_containers(site: Site) -> None:
    site.cluster.operator("ray rsync-up cluster.yaml herd.yaml '~/herd.yaml'")
    said = site.inside(site.hosts[0], "herd doctor ~/herd.yaml --json --no-pairs")
    examined = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert sorted(node["address"] for node in examined["nodes"]) == [host.address for host in site.hosts]


def test_unit_takes_the_head_over_from_ray_up(site: Site) -> None:
    site.cluster.operator("herd cluster emit herd.yaml --provider systemd --out herd-head.service")
    before = json.loads(site.dockers.run(site.hosts[0], "inspect", CONTAINER))[0]
    site.keep_head()
    after = json.loads(site.dockers.run(site.hosts[0], "inspect", CONTAINER))[0]
    assert before["Id"] != after["Id"]
    for name in ("Devices", "CapAdd", "NetworkMode", "AutoRemove", "Ulimits"):
        told = [json.dumps(one["HostConfig"][name], sort_keys=True) for one in (before, after)]
        assert told[0] == told[1], name


def test_herd_answers_out_of_a_container(site: Site) -> None:
    site.cluster.operator(HERD_UP)
    body = {"model": "maverick", "prompt": "What is a llama?", "max_tokens": 8}
    for host in site.hosts:
        assert site.cluster.post(f"http://{host.address}:{PORT}/v1/completions", body)["choices"]


def test_status_needs_no_home(site: Site) -> None:
    """Another operator's, or the one of a head whose container was made anew."""
    said = site.inside(site.hosts[0], "HERD_STATE=/tmp/second herd status --json")
    status = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert [one["state"] for one in status["models"]] == ["running"]


def test_head_comes_back_after_its_host_was_off(site: Site) -> None:
    """Ray's container is removed when it stops; the unit starts it anew, and the cluster knows its herd."""
    hosts = site.cluster.hosts
    hosts.power_off(site.hosts[0])
    site.dockers.start(hosts.power_on(site.hosts[0]))
    site.keep_head()
    body = {"model": "maverick", "prompt": "What is a llama?", "max_tokens": 8}
    answers = wait_for("an answer of every host", lambda: [site.asked(host, body) for host in site.hosts] == [200, 200], within_s=600)
    assert answers
    said = site.inside(site.hosts[0], "herd status --json")
    assert [one["state"] for one in json.loads(next(line for line in said.splitlines() if line.startswith("{")))["models"]] == ["running"]


def test_down_leaves_no_container(site: Site) -> None:
    for step in (
        *between("ray exec cluster.yaml 'herd down --yes'", "ray exec cluster.yaml 'herd down --yes'"),
        *between("ray down", "ray down"),
    ):
        site.cluster.operator(step, within_s=300)
    assert [site.dockers.run(host, "ps", "--all", "--quiet") for host in site.hosts] == ["", ""]
