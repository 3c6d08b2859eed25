"""`herd init`: a commented config for each kind of machines, as it is written; it validates, it plans, and its cluster files are made.

`UPDATE_TEXTS=1 pytest tests/unit/deployments/commands/test_init.py` writes the golden files anew: read each before you commit it.
"""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.load import read
from deployments.commands.describing.starters import KINDS
from tests.unit.command_line import invoke
from tests.unit.machines import ROOT

TEXTS = Path(__file__).parent / "texts"
MACHINES = [kind for kind in KINDS if kind not in ("local", "plan")]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Any:
    return invoke(list(words))


def init(*words: str) -> Any:
    done = run("init", *words)
    assert done.exit_code == 0, done.output
    return read(Path("herd.yaml"))


@pytest.mark.parametrize("kind", KINDS)
def test_config_of_each_kind_is_as_it_is_held_and_validates_and_plans(kind: str) -> None:
    init("--from", kind)
    text, held = Path("herd.yaml").read_text(encoding="utf-8"), TEXTS / f"init-{kind}.yaml"
    if os.environ.get("UPDATE_TEXTS"):
        held.write_text(text, encoding="utf-8")
    assert text == held.read_text(encoding="utf-8")
    assert run("validate", "herd.yaml").exit_code == 0
    planned = run("plan", "herd.yaml")
    assert (planned.exit_code, "fits" in planned.stdout or kind == "local") == (0, True)


@pytest.mark.parametrize("kind", MACHINES)
def test_machines_of_each_kind_are_made(kind: str) -> None:
    init("--from", kind)
    made = run("cluster", "emit", "herd.yaml", "--provider", kind)
    assert made.exit_code == 0, made.stderr
    assert yaml.safe_load(made.stdout)


def test_options_are_what_is_written() -> None:
    found = init("--from", "onprem", "--name", "mine", "--model", "llama-4-maverick", "--hosts", "10.1.0.1, 10.1.0.2,", "--context", "1M")
    assert (found.name, found.models[0].kind, found.models[0].context_tokens) == ("mine", "llama-4-maverick", 1 << 20)
    assert found.cluster.onprem.head == "10.1.0.1"
    assert found.cluster.onprem.workers == ("10.1.0.2",)
    assert found.hardware.nodes == 2
    found = init("--from", "aws", "--machine", "p5en.48xlarge", "--zone", "us-west-2b", "--nodes", "3", "--force")
    assert (found.hardware.node, found.cluster.aws.region, found.cluster.aws.workers) == ("p5en.48xlarge", "us-west-2", 3)
    assert found.models[0].scaling.max_replicas == 24
    found = init("--from", "kuberay", "--gpu", "l40s", "--gpus", "4", "--force")
    assert (found.hardware.gpu, found.hardware.gpus_per_node, found.models[0].scale.max_replicas) == ("L40S", 4, 1)


def test_engine_over_several_nodes_takes_whole_ones() -> None:
    found = init("--from", "plan", "--model", "llama-3.1-405b", "--gpu", "h100", "--gpus", "4", "--nodes", "5")
    assert found.models[0].parallel.gpus > 4
    assert found.models[0].scale.max_replicas == 5 // -(-found.models[0].parallel.gpus // 4)


def test_standard_output_gets_the_text_and_no_file_is_made() -> None:
    done = run("init", "-o", "-")
    assert "up herd.yaml" in done.stdout
    assert list(Path().iterdir()) == []


def test_file_that_is_there_is_written_over_only_by_force() -> None:
    Path("herd.yaml").write_text("mine")
    done = run("init")
    assert (done.exit_code, done.stderr.startswith("✗ herd.yaml is there already: ")) == (1, True)
    assert Path("herd.yaml").read_text() == "mine"
    assert init("--force").name == "local"


def test_file_that_cannot_be_written_is_said() -> None:
    done = run("init", "-o", "none/herd.yaml")
    assert (done.exit_code, done.stderr) == (1, "✗ none/herd.yaml cannot be written: No such file or directory.\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--gpu", "H100", "--nodes", "2"), 2, "--gpu, --nodes: not with --from local"),
        (("--from", "azure"), 2, "'azure' is none of local, plan, onprem, aws, gcp, kuberay"),
        (("--from", "aws", "--machine", "m5"), 2, "'m5' is none of g6e.48xlarge"),
        (("--from", "gcp", "--machine", "a3-megagpu-8g"), 2, "'a3-megagpu-8g' is none of a3-ultragpu-8g"),
        (("--from", "plan", "--gpu", "H900"), 1, "the GPU 'H900' is not known"),
        (("--from", "plan", "--model", "llama-4-maverick", "--gpu", "L4", "--gpus", "1"), 1, "llama"),
        (("--from", "plan", "--model", "gpt"), 1, "'gpt' is not a model"),
        (("--from", "plan", "--context", "long"), 2, "'long' is not a number of tokens"),
        (("--name", "No Name"), 3, "name: is not of the right form"),
        (("--from", "onprem", "--hosts", " , ,"), 2, "has no address: write the head's first"),
        (("--from", "aws", "--zone", "nonsense"), 3, "cluster.aws.region: is not of the right form"),
        (("--from", "onprem", "--hosts", "10.0.0.1,10.0.0.1"), 3, "10.0.0.1 is cluster.onprem.head already"),
    ],
)
def test_answer_that_cannot_be_is_refused_and_nothing_is_written(words: tuple[str, ...], code: int, said: str) -> None:
    done = run("init", *words)
    assert done.exit_code == code
    assert said.lower() in " ".join(done.stderr.replace("│", " ").split()).lower()
    assert not Path("herd.yaml").exists()


@contextlib.contextmanager
def terminal(*words: str) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """`herd init` on a terminal: the side where a person would sit, and the process."""
    person, seat = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb"}
    process = subprocess.Popen([sys.executable, "-m", "deployments", "init", *words], stdin=seat, stdout=seat, stderr=seat, env=env)
    os.close(seat)
    try:
        yield person, process
    finally:
        process.kill()
        process.wait(timeout=30)
        os.close(person)


def until(person: int, words: str, said: str = "") -> str:
    """Reads what the terminal shows until these words are there."""
    while words not in said:
        said += os.read(person, 4096).decode()
    return said


def test_person_on_a_terminal_is_asked_and_may_take_the_defaults() -> None:
    with terminal("--zone", "us-east-2b") as (person, process):
        until(person, "[local]: ")
        os.write(person, b"azure\n")
        until(person, "'azure' is none of local, plan")
        os.write(person, b"aws\n")
        until(person, "The name of the herd? [aws]: ")
        os.write(person, b"mine\n")
        until(person, "The type of the machines? [p5.48xlarge]: ")
        os.write(person, b"\n")
        until(person, "The number of nodes with GPUs? [1]: ")
        os.write(person, b"2\n")
        until(person, "The model? [llama-4-scout]: ")
        os.write(person, b"\n")
        until(person, "herd.yaml is written. Next: herd plan herd.yaml")
        assert process.wait(timeout=60) == 0
    found = read(Path("herd.yaml"))
    assert found.cluster is not None
    assert found.cluster.aws is not None
    assert (found.name, found.cluster.aws.workers, found.cluster.aws.zone) == ("mine", 2, "us-east-2b")
