"""What goes wrong, caused for real: `herd up` or `herd why` says the cause and the way out. deployments/README.md has the table."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

from cluster.machine.local_node import LocalNode
from configs.load import environment
from deployments.small_models import ensure
from tests.bench.process import free_port
from tests.e2e.conftest import HERD, wait_for
from tests.e2e.shell import TOLD_S, Shell, on_one_line
from tests.e2e.test_doctor import NODE, _started
from tests.path.fake_hub import Repository, fake_hub, llama
from tests.unit.nvidia_smi_samples import dgx

SMOLLM: dict[str, Any] = {"id": "a", "kind": "smollm2-135m", "checkpoint": "small:smollm2-135m-instruct", "context_tokens": 512}
MAVERICK = {"kind": "llama-4-maverick", "checkpoint": "meta-llama/Llama-4-Maverick-17B-128E-Instruct", "accelerator": "H100"}
ALL_FAILED_S = 420.0
#: As a command starts it, which ends before its Ray does.
START = "import sys, pathlib, cluster.machine.local_node as own; own.LocalNode(pathlib.Path(sys.argv[1])).start(128)"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the terminal is that the tests run in."""
    monkeypatch.setenv("COLUMNS", "80")


def of(model: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"models": [SMOLLM | model], **more}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x", "models: is required"),
        ("models:\n\t- id: x", "is not YAML: found character '\\t'"),
        (yaml.safe_dump(of({"context_tokens": 65536})), "context_tokens: 65536 is more than SmolLM2 135M Instruct can take (8192)"),
        (yaml.safe_dump(of({"engine": {"max_num_seq": 4}})), "vLLM has no engine argument 'max_num_seq'; did you mean 'max_num_seqs'?"),
    ],
    ids=["no-model", "no-yaml", "context-longer-than-the-model", "unknown-engine-argument"],
)
def test_wrong_config_is_refused_by_its_field(tmp_path: Path, text: str, says: str) -> None:
    Shell(tmp_path, text).refused(says, code=3)


def test_model_that_is_too_large_for_its_node_is_refused_with_both_sizes(tmp_path: Path) -> None:
    config = of(MAVERICK | {"context_tokens": 8192, "parallel": {"tensor": 4}}, hardware={"node": "dgx-h100", "nodes": 1})
    Shell(tmp_path, config).refused("a: the weights take 187.0 GiB on each GPU, 72.9 GiB are usable", "`herd plan` tells what would fit")


def test_too_little_memory_is_told_before_anything_starts(tmp_path: Path) -> None:
    Shell(tmp_path, of({"replicas": 500})).refused("Too little memory: 500 engines need about 1501.5 GiB", "Close other programs")


def linked(whole: Path, folder: Path) -> Path:
    """A folder with the same files."""
    folder.mkdir()
    for file in whole.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def test_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    Shell(tmp_path, of({"checkpoint": "/no/such/folder"})).refused("checkpoint of 'a': /no/such/folder is not there. Correct `checkpoint`")


@pytest.mark.parametrize(
    ("end", "says"),
    [(1_000_000, "is incomplete: it has 1,000,000 of 269,"), (0, "is a pointer of Git LFS, and not the file. `git lfs pull`")],
    ids=["incomplete", "pointer"],
)
def test_damaged_weights_are_named_by_their_file(tmp_path: Path, end: int, says: str) -> None:
    whole = ensure("smollm2-135m-instruct", environment().models)
    weights = linked(whole, tmp_path / "damaged") / "model.safetensors"
    weights.unlink()
    with (whole / "model.safetensors").open("rb") as content:
        weights.write_bytes(content.read(end) or b"version https://git-lfs.github.com/spec/v1\n")
    Shell(tmp_path, of({"checkpoint": str(weights.parent)})).refused(f"{weights} {says}")


def test_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    tls = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    config = of({}, gateway={"port": free_port(), "tls": tls})
    Shell(tmp_path, config).refused(f"gateway.tls: {tmp_path}/cert.pem cannot be read: No such file or directory")


def test_port_of_another_program_is_told_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        config = of({}, gateway={"port": other.getsockname()[1]})
        Shell(tmp_path, config).refused("Address already in use", f"process {os.getpid()}", "set gateway.host and gateway.port")


@pytest.mark.skipif(os.getuid() != 0, reason="a user may not mount a file system everywhere")
@pytest.mark.parametrize(
    ("full", "says"),
    [
        ("mount -t tmpfs -o size=16m none /dev/shm", "Too little shared memory: 16 MiB are free in /dev/shm"),
        ("mkdir -p /tmp/llama-herd-0 && mount -t tmpfs -o size=16m none /tmp/llama-herd-0", "is full: 16 MiB are free"),
    ],
    ids=["shared-memory", "disk"],
)
def test_place_without_room_is_told_before_anything_starts(tmp_path: Path, full: str, says: str) -> None:
    Shell(tmp_path, of({})).refused(says, wrapped=full)


def test_redis_that_is_away_is_named_when_ray_starts(tmp_path: Path) -> None:
    says = ("Ray did not start: Redis at 127.0.0.1:9 does not answer (RAY_REDIS_ADDRESS). Start it", "ray.log has its output")
    Shell(tmp_path, of({})).refused(*says, variables={"RAY_REDIS_ADDRESS": "127.0.0.1:9"})


def test_head_that_is_lost_is_told_at_once(tmp_path: Path) -> None:
    config = of({}, ray={"address": "127.0.0.1:9"})
    Shell(tmp_path, config).refused("No head of Ray listens at 127.0.0.1:9 (Connection refused). Is the head up?", "start Redis first")


def test_own_ray_that_was_killed_is_told_with_the_way_back(tmp_path: Path) -> None:
    shell = Shell(tmp_path, of({}, name="gone"))
    folder = tmp_path / "state" / "gone"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "config.json").write_text(json.dumps({"name": "gone", **of({})}), encoding="utf-8")
    ended, said, seconds = shell.run("status")
    assert (ended, on_one_line(said)) == (1, "✗ The herd's Ray node is not running. `herd up` starts it.")
    assert seconds < TOLD_S


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNode]:
    """A Ray that asks for a token."""
    folder = tmp_path_factory.mktemp("guarded")
    subprocess.run([sys.executable, "-c", START, str(folder)], timeout=120, check=True)
    node = LocalNode(folder)
    yield node
    node.stop()


def test_other_token_is_told_at_once(guarded: LocalNode, tmp_path: Path) -> None:
    config = of({}, ray={"address": guarded.address})
    says = ("refuses this program's token", "Set HERD_SECRET to the secret that the head was started with")
    Shell(tmp_path, config).refused(*says, variables={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 32})


def test_other_version_of_ray_is_told_with_both(guarded: LocalNode, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import ray\nray.__version__ = '2.59.0'\n", encoding="utf-8")
    config = of({}, ray={"address": guarded.address})
    own = guarded.environment() | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")}
    says = ("Version mismatch", "Ray: 2.60.0", "Ray: 2.59.0", "Install the same wheel on the same Python on every node")
    Shell(tmp_path, config).refused(*says, variables=own)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without GPU."""
    monkeypatch.setenv("HERD_SECRET", "0123456789abcdef" * 2)  # the nodes' processes have it from here
    running = _started()
    try:
        yield running
    finally:
        running.shutdown()


def test_gpu_that_another_program_has_is_why_an_engine_waits(cluster: Cluster, tmp_path: Path) -> None:
    driver = tmp_path / "nvidia-smi"
    taken = dgx(("NVIDIA H100 80GB HBM3", 81_559)).replace("<used>1 MiB</used>", "<used>70000 MiB</used>")
    driver.write_text(f"#!/bin/sh\ncat << 'END'\n{taken}\nEND\n", encoding="utf-8")
    driver.chmod(0o755)
    model = {"kind": "llama-3-8b", "checkpoint": "/nowhere", "accelerator": "H100", "context_tokens": 8192}
    shell = Shell(tmp_path, of(model, ray={"address": cluster.address, "require_token": False}))
    _, found, _ = shell.run("doctor", "--node", "--labels", PATH=f"{tmp_path}:{os.environ['PATH']}")
    labels = dict(one.split("=") for one in found.strip().split(","))
    assert labels["llama-herd/health"] == "sick"
    node = cluster.add_node(**NODE, num_gpus=8, resources={"accelerator_type:H100": 1}, labels=labels)
    began = time.monotonic()
    with subprocess.Popen(
        [HERD, "up", str(shell.path)],
        env=os.environ | {"HERD_STATE": str(tmp_path / "state")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as up:
        try:
            why = wait_for("the cause", lambda: _of_why(shell), within_s=120, every_s=1)
            print(f"after {time.monotonic() - began:.1f} s: {why}")
        finally:
            up.terminate()
            shell.run("down", "--yes")
            cluster.remove_node(node)
    assert "the only node that could have it is labelled sick: " in why
    assert "gpu-in-use" in why
    assert "`herd doctor` says what to do" in why


def _of_why(shell: Shell) -> str:
    ended, said, _ = shell.run("why", "a")
    return on_one_line(said) if ended == 0 and "labelled sick" in on_one_line(said) else ""


#: What each broken model's `herd why` must say: the cause, and the way out. Three engines start at a time here, and no more.
BROKEN = {
    "gated": ("meta-llama/Gated is gated, and on this node it has no token.", "set HF_TOKEN in the environment of the nodes' Ray"),
    "cache": ("less than requested memory for kv", "The engine asks for more memory than 127.0.0.1 has left."),
    "canary": ("may not serve: the canary answered", "correct `canary.answer`"),
}


SMALL = {"enforce_eager": True, "dtype": "float32", "kv_cache_memory_bytes": 1 << 27, "max_num_seqs": 8}


def broken() -> dict[str, Any]:
    """A herd whose engines cannot start, each for another reason."""
    changes: dict[str, dict[str, Any]] = {
        "gated": {"checkpoint": "meta-llama/Gated"},
        "cache": {"engine": SMALL | {"kv_cache_memory_bytes": 1 << 42}},
        "canary": {"canary": {"answer": " banana"}},
    }
    return {"models": [SMOLLM | {"id": model, "engine": SMALL} | change for model, change in changes.items()]}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `herd why` says of each, asked as soon as a start of it has failed."""
    folder = tmp_path_factory.mktemp("broken")
    with fake_hub() as hub:
        hub.repositories["meta-llama/Gated"] = Repository(llama(), gated_for="hf_right")
        shell, own = Shell(folder, broken()), {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hub"), "HF_TOKEN": ""}
        try:
            shell.run("up", str(shell.path), "--detach", **own)
            yield _told(shell)
        finally:
            shell.run("down", "--yes")


def _told(shell: Shell) -> dict[str, str]:
    found: dict[str, str] = {}
    deadline = time.monotonic() + ALL_FAILED_S
    while found.keys() != BROKEN.keys() and time.monotonic() < deadline:
        for model in failed(shell) - found.keys():
            _, said, seconds = shell.run("why", model)
            found[model] = on_one_line(said)
            print(f"after {seconds:.1f} s: {found[model]}")
            assert seconds < TOLD_S
        time.sleep(1)
    return found


def failed(shell: Shell) -> set[str]:
    """The models of which a start has failed."""
    ended, said, _ = shell.run("events", "--json")
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")] if ended == 0 else []
    return {event["model"] for event in events if event["kind"] == "failed"} & BROKEN.keys()


@pytest.mark.parametrize("model", BROKEN)
def test_engine_that_cannot_start_has_its_cause_and_its_way_out(told: dict[str, str], model: str) -> None:
    assert model in told, f"no start of it has failed within {ALL_FAILED_S:g} s"
    assert [one for one in BROKEN[model] if one not in told[model]] == [], told[model]
