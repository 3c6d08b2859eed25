"""`herd pull` on a real Ray cluster of three nodes, each with a cache of its own, from a Hub that counts its downloads."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

from tests.e2e.conftest import HERD, wait_for
from tests.path.fake_hub import FakeHub, Repository, fake_hub, llama

NAME = "meta-llama/Llama-4-Tiny"
SHARD = "model-00001-of-00003.safetensors"
WANTED = {path: content for path, content in llama().items() if not path.startswith(("original/", "README"))}
ROOT = Path(__file__).parents[2]

#: What an engine does before it starts, on one node for some.
START = """
import sys, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from deployments.weights import engine_start
ray.init(address=sys.argv[1], logging_level="ERROR")
on = NodeAffinitySchedulingStrategy(sys.argv[2], soft=False)
start = ray.remote(engine_start.folders).options(num_cpus=0, scheduling_strategy=on)
print(ray.get(start.remote(sys.argv[3], {}, sys.argv[4:], sys.argv[2])))
"""


@dataclass
class Site:
    """Three nodes, their caches and the Hub."""

    cluster: Any
    hub: FakeHub
    folder: Path
    nodes: dict[str, Any]

    def cache(self, node: str) -> Path:
        return self.folder / node / "hub" / f"models--{NAME.replace('/', '--')}"

    def add(self, node: str, **options: Any) -> None:
        home = {
            "HF_HOME": str(self.folder / node),
            "HF_ENDPOINT": self.hub.endpoint,
            "HERD_SECRET": "0123456789abcdef" * 2,
            "PYTHONPATH": str(ROOT),
        }
        self.nodes[node] = self.cluster.add_node(num_cpus=1, env_vars=home, **options)

    def pull(self, *words: str, checkpoints: tuple[str, ...] = (NAME,)) -> "subprocess.CompletedProcess[str]":
        entry = {"kind": "llama-4-scout-tiny", "context_tokens": 4096, "accelerator": "cpu"}
        models = [entry | {"id": f"llama-{number}", "checkpoint": one} for number, one in enumerate(checkpoints)]
        path = self.folder / "herd.yaml"
        path.write_text(yaml.safe_dump({"ray": {"address": self.cluster.address}, "models": models}), encoding="utf-8")
        return self.run(HERD, "pull", str(path), *words)

    def start(self, on: str, *nodes: str, checkpoint: str = NAME) -> "subprocess.CompletedProcess[str]":
        ids = [self.nodes[node].node_id for node in (on, *nodes)]
        return self.run(sys.executable, "-c", START, self.cluster.address, ids[0], checkpoint, *ids)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        own = {"HERD_STATE": str(self.folder / "state"), "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)

    def there(self, node: str) -> dict[str, bytes]:
        """What an engine finds on a node."""
        folder = self.cache(node) / "snapshots" / ("a" * 40)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def downloads(self) -> list[str]:
        """What the Hub gave since the last time."""
        given = sorted(path for path, _ in self.hub.downloads)
        self.hub.downloads.clear()
        return given


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with fake_hub() as hub:
        hub.repositories[NAME] = Repository(llama())
        hub.repositories["meta-llama/Huge"] = Repository(llama(), said_bytes=1 << 60)
        hub.repositories["meta-llama/Gated"] = Repository(llama(), gated_for="hf_right")
        one = Site(Cluster(), hub, tmp_path_factory.mktemp("pull"), {})
        try:
            one.add("a", include_dashboard=False)
            one.add("b")
            one.add("c")
            one.cluster.wait_for_nodes()
            yield one
        finally:
            one.cluster.shutdown()
            del os.environ["RAY_AUTH_MODE"]


def test_weights_come_once_to_the_cluster_and_whole_to_every_node(site: Site) -> None:
    done = site.pull()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NAME} at aaaaaaaaaaaa is whole on 3 of 3 nodes in" in done.stdout
    assert site.downloads() == sorted(WANTED)
    assert [site.there(node) for node in "abc"] == [WANTED] * 3


def test_second_pull_and_an_engine_that_starts_download_nothing(site: Site) -> None:
    again, started = site.pull("llama-0"), site.start("b")
    assert "whole on 3 of 3 nodes already" in again.stdout, again.stderr
    assert str(site.cache("b") / "snapshots") in started.stdout, started.stderr
    assert site.downloads() == []


def test_damage_is_found_without_the_hub_and_mended_by_another_node(site: Site) -> None:
    with (site.cache("b") / "snapshots" / ("a" * 40) / SHARD).resolve().open("r+b") as content:
        content.write(b"!")
    site.hub.down = True
    checked = site.pull("--verify")
    assert checked.returncode == 1
    assert f"{NAME}: missing or damaged, and removed: {SHARD}" in checked.stderr
    assert checked.stdout.count("is as it should be") == 2
    mended = site.pull()  # the Hub is still away
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "The Hub cannot be reached" in mended.stderr
    site.hub.down = False
    assert site.downloads() == []
    assert site.there("b") == WANTED


def test_engine_on_a_node_without_weights_gets_them_from_a_node_first(site: Site) -> None:
    shutil.rmtree(site.cache("c"))
    started = site.start("c")
    assert started.returncode == 0, started.stderr
    assert site.there("c") == WANTED
    assert site.downloads() == []


def test_engine_over_nodes_with_different_folders_is_refused(site: Site) -> None:
    started = site.start("a", "b")
    assert "is at different places on the engine's nodes" in started.stderr
    assert "Set HF_HOME alike" in started.stderr


def test_everything_that_cannot_be_had_is_told_at_once(site: Site) -> None:
    site.downloads()  # those of other tests
    refused = site.pull(checkpoints=(NAME, "meta-llama/Gated", "meta-llama/Lama", f"{NAME}@v9"))
    assert refused.returncode == 1
    assert "meta-llama/Gated is gated, and on this node it has no token. Accept its licence at" in refused.stderr
    assert "The Hub has no repository meta-llama/Lama" in refused.stderr
    assert f"{NAME} has no revision v9" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert site.downloads() == []


def test_disk_that_is_too_small_is_refused_before_the_first_byte(site: Site) -> None:
    site.downloads()  # those of other tests
    refused = site.pull(checkpoints=("meta-llama/Huge",))
    assert refused.returncode == 1
    assert "Too little disk; nothing was downloaded." in refused.stderr
    assert refused.stderr.count(f"3145728.0 TiB are still to come to {site.folder}") == 3
    assert site.downloads() == []


def test_node_that_is_lost_in_the_middle_costs_nobody_else_the_weights(site: Site) -> None:
    """The one that downloads goes; another one goes on from what it has."""
    for node in "abc":
        shutil.rmtree(site.cache(node))
    site.hub.pace_s = 3  # five times this, and a node that is lost later is lost behind the end
    downloader = min(site.nodes, key=lambda node: str(site.nodes[node].node_id))
    lost = downloader if downloader != "a" else "b"  # Ray's head cannot be lost
    said: list[subprocess.CompletedProcess[str]] = []
    pulling = threading.Thread(target=lambda: said.append(site.pull()))
    pulling.start()
    wait_for("a shard that is under way", lambda: any(path == SHARD for path, _ in site.hub.downloads), 120)
    site.cluster.remove_node(site.nodes.pop(lost), allow_graceful=False)
    site.hub.pace_s = 0
    pulling.join(240)
    assert said[0].returncode == 1, said[0].stdout
    assert "did not come to" in said[0].stderr
    assert "The node was lost in the middle" in said[0].stderr
    assert "whole on 2 of 3 nodes" in said[0].stdout
    assert [site.there(node) for node in "abc" if node != lost] == [WANTED] * 2
