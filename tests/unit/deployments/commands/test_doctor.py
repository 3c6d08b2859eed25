"""`herd doctor` on this machine, without Ray: its words, its labels, its exit codes; and how a whole cluster looks."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from cluster.catalogue.hardware import Fabric
from cluster.doctor.facts import Expected, Finding, Level
from cluster.doctor.kernel_log import xids
from cluster.doctor.nvidia_smi import gpu_report
from cluster.doctor.pairs import PairResult
from cluster.doctor.report import Member, Wanted, assembled
from deployments.commands import doctor as doctor_command
from deployments.commands.doctor_tables import as_json, findings_table, node_table, pairs_table
from tests.unit.cluster.doctor.test_host_checks import LAPTOP, PORTS, WELL
from tests.unit.command_line import invoke
from tests.unit.machines import ROOT
from tests.unit.nvidia_smi_samples import dgx, gpu, report
from tests.unit.samples import MODEL

README = ROOT / "cluster" / "README.md"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that is well."""
    monkeypatch.setattr(doctor_command, "read_node", lambda *_: LAPTOP)


def doctor(folder: Path, *words: str) -> Any:
    return invoke(["doctor", *words], env={"HERD_STATE": str(folder)})


def herd(folder: Path, **fields: Any) -> str:
    path = folder / "herd.yaml"
    path.write_text(yaml.safe_dump({"models": [MODEL], **fields}))
    return str(path)


@pytest.mark.usefixtures("machine")
def test_laptop_may_serve(tmp_path: Path) -> None:
    for words in (["--node"], [herd(tmp_path)]):
        done = doctor(tmp_path, *words)
        assert done.exit_code == 0, done.output
        assert "no GPU: not checked" in done.stdout
        assert "All nodes may serve." in done.stdout


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "llama-herd/health=ok"),
        (["--gpus", "8", "--gpu-memory-gib", "79.19", "--nvlink"], "llama-herd/health=sick,llama-herd/found=gpus"),
        (["--gpus", "8", "--head"], "llama-herd/health=ok"),
    ],
)
def test_labels_of_a_node(tmp_path: Path, words: list[str], said: str) -> None:
    done = doctor(tmp_path, "--node", "--labels", *words)
    assert (done.exit_code, done.stdout) == (0, f"{said}\n")


def test_memory_of_the_ray_that_was_just_stopped_is_waited_for_and_somebody_elses_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, given_back = (replace(WELL, report=gpu_report(report(gpu(used=used)))) for used in (79_000, 1))
    monkeypatch.setattr(doctor_command, "RELEASE_S", 0.0)
    reads = [taken, taken, given_back]
    monkeypatch.setattr(doctor_command, "read_node", lambda *_: reads.pop(0))
    assert doctor(tmp_path, "--node", "--labels").stdout == "llama-herd/health=ok\n"
    assert reads == []
    monkeypatch.setattr(doctor_command, "read_node", lambda *_: taken)
    assert doctor(tmp_path, "--node", "--labels").stdout == "llama-herd/health=sick,llama-herd/found=gpu-in-use\n"
    assert doctor(tmp_path, "--node").exit_code == 0, "asked by hand, it may be an engine's of the herd that serves"


@pytest.mark.usefixtures("machine")
def test_gpus_that_the_config_names_must_be_there(tmp_path: Path) -> None:
    done = doctor(tmp_path, herd(tmp_path, hardware={"node": "dgx-h100"}))
    assert done.exit_code == 1
    assert "none of 8: nvidia-smi is not installed" in done.stdout
    assert "Sick: " in done.stderr
    told = json.loads(doctor(tmp_path, "--node", "--gpus", "8", "--json").stdout)
    assert (told["sick"], told["nodes"][0]["level"], told["nodes"][0]["facts"]["shm_bytes"]) == (True, "fail", LAPTOP.shm_bytes)


@pytest.mark.usefixtures("machine")
def test_commands_of_the_page_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(doctor_command, "_cluster", lambda *words: asked.append(words))
    monkeypatch.setattr("deployments.lifecycle.herd.known", lambda *_: None)
    monkeypatch.chdir(ROOT)
    lines = [
        line.partition("#")[0].split()[2:] for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("herd doctor ")
    ]
    assert len(lines) >= 5
    for words in lines:
        assert doctor(tmp_path, *words).exit_code == (1 if "--gpus" in words else 0), words
    assert [words[1:] for words in asked] == [(True, None, False), (True, None, False), (False, None, True), (True, 900, False)]


def test_what_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    nothing = doctor(tmp_path)
    assert (nothing.exit_code, nothing.stderr.strip()) == (1, "✗ No herd is up.")
    wrong = doctor(tmp_path, herd(tmp_path, hardware={"node": "dgx-1"}))
    assert wrong.exit_code == 3
    assert "hardware.node" in wrong.stderr


@pytest.fixture
def cluster() -> Any:
    members = [
        Member("1", "10.0.0.1", "10.0.0.1", head=True),
        Member("2", "10.0.0.2", "10.0.0.2", gpus=8),
        Member("3", "10.0.0.3", "10.0.0.3", gpus=8),
    ]
    silent = Finding("answer", Level.FAIL, "none within [60] s", "is Ray well?")
    pairs = [PairResult(("10.0.0.1", "10.0.0.2"), "gloo", 1.25), PairResult(("10.0.0.1", "10.0.0.3"), "unknown", error="timed out")]
    return assembled(
        members,
        {"10.0.0.1": LAPTOP, "10.0.0.2": WELL, "10.0.0.3": silent},
        {"10.0.0.2": 0.01},
        pairs,
        Wanted(Expected(1, 79.19, False), nodes=3),
    )


def test_cluster_in_tables(cluster: Any) -> None:
    console = Console(width=200, file=io.StringIO())
    for table in (*map(node_table, cluster.nodes), findings_table("The cluster", cluster.findings), pairs_table(cluster.pairs)):
        console.print(table)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "10.0.0.1 · host · head · warn" in said
    assert "none within [60] s" in said, "what was seen is no markup"
    assert "2 of 3 are in the cluster" in said
    assert said.rindex("timed out") < said.rindex("1.25"), "of the pairs, what failed stands first"


def test_page_shows_what_is_printed() -> None:
    """A DGX H100 on which a memory row waits to be remapped, a link is down and a card is not in use."""
    sick = report(*[gpu()] * 3, gpu(pending="Yes", dram=1, recovery="Reset"), *[gpu()] * 4)
    row = "[ 90.0] NVRM: Xid (PCI:0000:5d:00): 63, pid=1896, Row Remapper: New row marked for remapping, reset gpu to activate."
    facts = replace(
        WELL,
        host="dgx-12",
        report=gpu_report(sick),
        links=((26.562,) * 18,) * 7 + ((26.562,) * 17 + (0.0,),),
        xids=xids(row, 7290.0),
        ports=(*PORTS[:7], replace(PORTS[7], active=False)),
    )
    members = [Member(str(last), f"10.0.0.{last}", f"10.0.0.{last}", gpus=8) for last in (10, 11, 12)]
    pairs = [PairResult(("10.0.0.10", "10.0.0.12"), "nccl", 21.4), PairResult(("10.0.0.11", "10.0.0.12"), "nccl", 21.9)]
    well = replace(WELL, report=gpu_report(dgx()), links=facts.links[:1])
    read = {"10.0.0.10": well, "10.0.0.11": well, "10.0.0.12": facts}
    need = Wanted(Expected(8, 79.19, True, "H100", Fabric(8, 400)), 3)
    node = assembled(members, read, {"10.0.0.12": 0.0021}, pairs, need).nodes[2]
    console = Console(width=140, file=io.StringIO())
    console.print(node_table(node))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in printed.splitlines()]
    assert "\n".join(lines) in README.read_text(encoding="utf-8")


def test_cluster_for_scripts(cluster: Any) -> None:
    told = json.loads(json.dumps(as_json(cluster, ["10.0.0.3"])))
    assert [(node["name"], node["level"]) for node in told["nodes"]] == [("10.0.0.1", "warn"), ("10.0.0.2", "ok"), ("10.0.0.3", "fail")]
    assert (told["sick"], told["drained"], told["pairs"][0]["gbyte_s"], told["nodes"][2]["facts"]) == (True, ["10.0.0.3"], 1.25, None)
