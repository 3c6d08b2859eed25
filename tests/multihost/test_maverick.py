"""Maverick over hosts: `ray up`, `herd up`, the same tokens as a single process says, `ray down`, and nothing is left.

The tests are steps of one story, in their order: a cluster is expensive.
"""

import concurrent.futures
import json
from typing import Any

import pytest

from tests.e2e.conftest import wait_for
from tests.multihost.conftest import DOWN_S, MAVERICK, PORT, PROMPTS, SCOUT, Cluster, model
from tests.multihost.reference import ANSWER_TOKENS

pytestmark = pytest.mark.timeout(900)
SSH = 22
#: What the README tells who wants Ray's own commands.
TOKEN = (
    'export HERD_SECRET="$(cat /run/herd/secret)" RAY_AUTH_MODE=token; '
    'export RAY_AUTH_TOKEN="$(printf %s "$HERD_SECRET" | sha256sum | cut -d " " -f 1)"'
)


def tokens(cluster: Cluster, url: str, name: str, prompt: str, **headers: str) -> list[int]:
    """The greedy tokens that a server answers with."""
    body = {"model": name, "prompt": prompt, "max_tokens": ANSWER_TOKENS, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    (choice,) = cluster.post(f"{url}/v1/completions", body, **headers)["choices"]
    return list(choice["token_ids"])


def replicas(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """A model's replicas that take requests, as the head's gateway sees them."""
    return [one for one in cluster.get("/-/status")["models"][name] if one["state"] == "ready"]


def engines(cluster: Cluster, words: str) -> list[str]:
    """The hosts that have a process of this name."""
    return sorted(host.name for host in cluster.hosts.cluster if any(words in " ".join(one.cmdline()) for one in host.processes()))


def test_ray_up_joins_every_host(cluster: Cluster) -> None:
    wait_for("three hosts in the cluster", lambda: "/3.0 GPU" in cluster.on_head(f"{TOKEN}; ray status", within_s=60), 120, every_s=2)


def test_one_engine_over_two_hosts_with_expert_parallel(cluster: Cluster, expected: dict[str, list[list[int]]]) -> None:
    config = cluster.written(model(MAVERICK, parallel={"tensor": 2, "expert": True}), model(SCOUT))
    cluster.on_head(f"herd up {config}")
    for name in (MAVERICK, SCOUT):
        for host, prompt, wanted in zip(cluster.hosts.cluster, PROMPTS, expected[name], strict=True):
            assert tokens(cluster, f"http://{host.address}:{PORT}", name, prompt) == wanted, f"{name}, asked on {host.name}"
    assert engines(cluster, "RayWorkerWrapper") == ["a"]


def test_a_wrong_shape_is_refused_before_a_gpu_is_taken(cluster: Cluster) -> None:
    config = cluster.written(model(MAVERICK, parallel={"tensor": 3, "expert": True}), model(SCOUT))
    refused = cluster.hosts.ssh(cluster.head, f"herd up {config}", within_s=60)
    assert refused.returncode == 3, refused.stderr
    assert "models[0].parallel" in refused.stderr


def test_attention_data_parallel_with_the_experts_over_all_ranks(cluster: Cluster, expected: dict[str, list[list[int]]]) -> None:
    scout = replicas(cluster, SCOUT)
    config = cluster.written(model(MAVERICK, parallel={"data": 2, "expert": True}), model(SCOUT))
    cluster.on_head(f"herd up {config}")
    ranks = wait_for("two ranks", lambda: len(found := replicas(cluster, MAVERICK)) == 2 and found, within_s=60)
    assert len({rank["address"].partition(":")[0] for rank in ranks}) == 2, "a rank on each host"
    assert [one["id"] for one in replicas(cluster, SCOUT)] == [one["id"] for one in scout], "Scout was not touched"
    key = f"Bearer {(cluster.hosts.folder / 'secret').read_text(encoding='ascii')}"
    for prompt, wanted in zip(PROMPTS, expected[MAVERICK], strict=True):
        for rank in ranks:
            assert tokens(cluster, f"http://{rank['address']}", MAVERICK, prompt, authorization=key) == wanted, rank
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        asked = [
            clients.submit(tokens, cluster, f"http://{cluster.hosts.cluster[2].address}:{PORT}", MAVERICK, prompt) for prompt in PROMPTS * 2
        ]
        assert [one.result() for one in asked] == expected[MAVERICK] * 2
    assert json.loads(cluster.on_head("herd status --json", within_s=60))["models"][0]["replicas"] == {"running": 1, "target": 1}


def test_down_leaves_nothing(cluster: Cluster) -> None:
    cluster.on_head("herd down", within_s=180)
    assert not engines(cluster, "SERVE_REPLICA")
    assert all(PORT not in host.listening() for host in cluster.hosts.cluster)
    cluster.operator("ray", "down", "--yes", str(cluster.file), within_s=DOWN_S)
    for host in cluster.hosts.cluster:
        wait_for(f"nothing on {host.name}", lambda host=host: not host.processes() and host.listening() == {SSH}, within_s=180, every_s=1)
