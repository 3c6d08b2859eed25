"""Maverick over hosts: `ray up`, `herd up`, the same tokens as a single process says, `ray down`, and nothing is left.

The tests are steps of one story, in their order: a cluster is expensive.
"""

import concurrent.futures
import json

import pytest

from tests.e2e.conftest import wait_for
from tests.multihost.cluster import HERD_UP, MAVERICK, PORT, SCOUT, Cluster, model
from tests.multihost.conftest import PROMPTS
from tests.multihost.hosts import Host
from tests.multihost.reference import ANSWER_TOKENS
from tests.multihost.steps import between
from tests.processes import words

pytestmark = pytest.mark.timeout(1500)
SSH = 22


def tokens(cluster: Cluster, url: str, name: str, prompt: str, **headers: str) -> list[int]:
    """The greedy tokens that a server answers with."""
    body = {"model": name, "prompt": prompt, "max_tokens": ANSWER_TOKENS, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    (choice,) = cluster.post(f"{url}/v1/completions", body, **headers)["choices"]
    return list(choice["token_ids"])


def hosts_with(cluster: Cluster, *names: str) -> list[str]:
    """The hosts that have a process with all of this in its command line."""
    found = (host for host in cluster.hosts.cluster if any(all(name in words(one) for name in names) for one in host.processes()))
    return [host.name for host in found]


def is_bare(host: Host) -> bool:
    """Nothing runs on it but its sshd."""
    return not host.processes() and host.listening() == {SSH}


@pytest.mark.usefixtures("reference")  # it works meanwhile
def test_the_readmes_page_ends_with_an_answer(cluster: Cluster) -> None:
    said = {step.split()[0]: cluster.operator(step) for step in between("ray rsync-up", "curl")}
    assert json.loads(said["curl"])["choices"][0]["message"]["content"]


def test_one_engine_over_two_hosts_with_its_experts_over_both(cluster: Cluster, expected: dict[str, list[list[int]]]) -> None:
    assert hosts_with(cluster, "RayWorkerProc") == [host.name for host in cluster.hosts.cluster], "one is Scout's"
    for name in (MAVERICK, SCOUT):
        for host, prompt, wanted in zip(cluster.hosts.cluster, PROMPTS, expected[name], strict=True):
            assert tokens(cluster, f"http://{host.address}:{PORT}", name, prompt) == wanted, f"{name}, asked on {host.name}"


def test_a_wrong_shape_is_refused_before_a_gpu_is_taken(cluster: Cluster) -> None:
    before = cluster.replicas(MAVERICK)
    cluster.config(model(MAVERICK, parallel={"tensor": 3, "expert": True}), model(SCOUT))
    refused = cluster.hosts.run("bash", "-c", HERD_UP, within_s=120)
    assert refused.returncode != 0
    assert "models[0].parallel" in refused.stdout + refused.stderr
    assert [one["id"] for one in cluster.replicas(MAVERICK)] == [one["id"] for one in before]


def test_attention_data_parallel_with_the_experts_over_all_ranks(cluster: Cluster, expected: dict[str, list[list[int]]]) -> None:
    scout = cluster.replicas(SCOUT)
    cluster.config(model(MAVERICK, aliases=["maverick"], parallel={"data": 2, "expert": True}), model(SCOUT))
    cluster.operator(HERD_UP)
    ranks = wait_for("two ranks", lambda: len(found := cluster.replicas(MAVERICK)) == 2 and found, within_s=60)
    assert len({rank["address"].partition(":")[0] for rank in ranks}) == 2, "a rank on each host"
    assert [one["id"] for one in cluster.replicas(SCOUT)] == [one["id"] for one in scout], "Scout was not touched"
    for prompt, wanted in zip(PROMPTS, expected[MAVERICK], strict=True):
        for rank in ranks:
            asked = tokens(cluster, f"http://{rank['address']}", MAVERICK, prompt, authorization=f"Bearer {cluster.door_key}")
            assert asked == wanted, f"rank {rank['address']}"


def test_requests_at_once_are_spread_over_the_ranks(cluster: Cluster, expected: dict[str, list[list[int]]]) -> None:
    gateway = f"http://{cluster.hosts.cluster[2].address}:{PORT}"
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        asked = [clients.submit(tokens, cluster, gateway, MAVERICK, prompt) for prompt in PROMPTS * 2]
        assert [one.result() for one in asked] == expected[MAVERICK] * 2


def test_status_counts_replicas_and_not_ranks(cluster: Cluster) -> None:
    said = cluster.operator("ray exec cluster.yaml 'herd status --json'", within_s=120)
    status = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert [(one["state"], one["replicas"]) for one in status["models"]] == [("running", {"running": 1, "target": 1})] * 2


def test_down_leaves_nothing(cluster: Cluster) -> None:
    for step in between("ray exec cluster.yaml 'herd down --yes'", "ray exec cluster.yaml 'herd down --yes'"):
        cluster.operator(step, within_s=240)
    assert not hosts_with(cluster, "ServeReplica")
    assert all(PORT not in host.listening() for host in cluster.hosts.cluster)
    for step in between("ray down", "ray down"):
        cluster.operator(step, within_s=240)
    for host in cluster.hosts.cluster[1:]:  # Ray's own way down ends the head, and elsewhere only containers
        assert cluster.hosts.ssh(host, "ray stop", within_s=120).returncode == 0
    left = wait_for("nothing left on the hosts", lambda: all(map(is_bare, cluster.hosts.cluster)), within_s=240, every_s=1)
    assert left, [(host.name, list(map(words, host.processes())), host.listening()) for host in cluster.hosts.cluster]
