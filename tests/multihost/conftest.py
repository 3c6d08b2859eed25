"""Three fake hosts that `ray up` has made a cluster of, for all tests here, and what a single engine says beside it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.load import environment
from deployments.small_models import ensure
from tests.multihost.cluster import HERD_S, MAVERICK, SCOUT, Cluster, model, shell_environment
from tests.multihost.hosts import Hosts, missing

ROOT = Path(__file__).parents[2]
PROMPTS = (
    "What is a llama?",
    "The quick brown fox jumps over the lazy dog, and then",
    " ".join(str(number) for number in range(150)),  # more than a chunk of its chunked attention
)


@pytest.fixture(scope="package")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Three hosts with a logical GPU each, and the operator's."""
    why_not = missing()
    if why_not:
        pytest.skip(why_not)
    running = Hosts(tmp_path_factory.mktemp("hosts"), 3, shell_environment())
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="package")
def cluster(hosts: Hosts) -> Cluster:
    """`ray up` over ssh, from the file that `herd cluster emit` makes of a config's inventory, as in `cluster/README.md`."""
    made = Cluster(hosts)
    made.config(model(MAVERICK, aliases=["maverick"], parallel={"tensor": 2, "expert": True, "across_nodes": True}), model(SCOUT))
    made.up()
    return made


@pytest.fixture(scope="package")
def reference(hosts: Hosts, cluster: Cluster) -> Iterator["Future[subprocess.CompletedProcess[str]]"]:
    """The single engines, at work on the operator's host while the herd comes up."""
    checkpoints = [str(ensure(name, environment().models)) for name in (MAVERICK, SCOUT)]
    own = ("-u", "GLOO_SOCKET_IFNAME", f"PYTHONPATH={ROOT}", "VLLM_ENABLE_V1_MULTIPROCESSING=0", "VLLM_NO_USAGE_STATS=1")
    thread = ThreadPoolExecutor(1)
    command = ("env", *own, sys.executable, "-m", "tests.multihost.reference", *checkpoints)
    yield thread.submit(hosts.run, *command, within_s=HERD_S, stdin=json.dumps(PROMPTS))
    thread.shutdown(wait=False)  # it ends with its host


@pytest.fixture(scope="package")
def expected(reference: "Future[subprocess.CompletedProcess[str]]") -> dict[str, list[list[int]]]:
    """The greedy tokens of a single process, by model and prompt."""
    done = reference.result(timeout=HERD_S)
    assert done.returncode == 0, done.stderr[-6000:]
    return dict(zip((MAVERICK, SCOUT), json.loads(done.stdout.splitlines()[-1]), strict=True))
