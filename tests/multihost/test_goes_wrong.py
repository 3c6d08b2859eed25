"""What goes wrong between hosts, caused on fake ones: `herd up` says which host is missing and why. deployments/README.md has the table."""

import re
from collections.abc import Iterator

import pytest

from tests.multihost.cluster import SCOUT, UP_S, Cluster, model, shell_environment
from tests.multihost.hosts import Hosts, missing
from tests.multihost.steps import between

pytestmark = [pytest.mark.timeout(900), pytest.mark.skipif(missing() is not None, reason=str(missing()))]
LOOKS_S = 30


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head, and a worker whose file of the secret has another one, as `ray up` leaves them."""
    hosts = Hosts(tmp_path_factory.mktemp("divided"), 2, shell_environment())
    try:
        cluster = Cluster(hosts, (1, 1))
        cluster.config(model(SCOUT))
        *before, ray_up = between("herd plan", "ray up")
        everyone = " ".join(host.address for host in hosts.cluster)
        for step in before:
            cluster.operator(re.sub(r"(?<=for host in )[\d. ]+", everyone, step), within_s=UP_S)
        hosts.ssh(hosts.cluster[1], f"echo {'f' * 64} > /var/lib/herd/secret", within_s=30)
        hosts.run("bash", "-c", ray_up, within_s=UP_S)
        yield cluster
    finally:
        hosts.close()


def test_host_with_another_secret_is_named_while_the_herd_waits_for_it(divided: Cluster) -> None:
    head, worker = divided.hosts.cluster
    line = f"ray rsync-up cluster.yaml herd.yaml '~/herd.yaml' && ray exec cluster.yaml 'timeout -s INT {LOOKS_S} herd up ~/herd.yaml'"
    done = divided.hosts.run("bash", "-c", line, within_s=UP_S)
    said = " ".join((done.stdout + done.stderr).split())
    assert f"1 of 2 hosts have joined. Missing: {worker.address}. " in said, said
    assert "a host with another HERD_SECRET" in said
    logs = divided.hosts.ssh(head, 'grep -rhsi token "$TMPDIR/ray/session_latest/logs" | tail -n 20', within_s=30).stdout
    assert "token" in logs, logs
