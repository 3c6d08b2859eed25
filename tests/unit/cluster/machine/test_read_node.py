"""`cluster.machine.read_node`: what this machine says of itself, with an `nvidia-smi` and network cards put before it."""

import json
import os
import sys
from pathlib import Path

import pytest

from cluster.doctor.facts import RdmaPort
from cluster.machine import read_node as node_reading
from cluster.machine.read_node import read_node
from tests.unit.cluster.doctor.test_amd_smi import metrics, static
from tests.unit.cluster.doctor.test_dcgm import PERSISTENCE, document, failed
from tests.unit.nvidia_smi_samples import dgx, nvlinks


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs are found first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def nvidia_smi(folder: Path) -> None:
    (folder / "report.xml").write_text(dgx(), encoding="utf-8")
    (folder / "links.txt").write_text(nvlinks(["26.562 GB/s"] * 18), encoding="utf-8")
    program(folder, "nvidia-smi", f'case "$1" in -q) cat {folder}/report.xml;; nvlink) cat {folder}/links.txt;; esac')


def test_node_with_gpus(programs: Path, tmp_path: Path) -> None:
    nvidia_smi(programs)
    program(programs, "dmesg", "echo '[    5.000000] NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.'")
    facts = read_node(tmp_path, (str(tmp_path), "/nowhere/at/all"), "127.0.0.1")
    assert facts.report is not None
    assert len(facts.report.gpus) == 8
    assert facts.links == ((26.562,) * 18,)
    assert facts.xids is not None
    assert [xid.code for xid in facts.xids] == [79]
    assert facts.missing_checkpoints == ("/nowhere/at/all",)
    assert facts.interface == "lo"


def test_options_of_the_driver_are_read_from_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params").write_text('EnableStreamMemOPs: 1\nRegistryDwords: "PeerMappingOverride=1;"\n\nEnableMSI: 1\n', encoding="utf-8")
    monkeypatch.setattr(node_reading, "OPTIONS", tmp_path / "params")
    options = read_node(tmp_path).driver_options
    assert options == {"EnableStreamMemOPs": "1", "RegistryDwords": "PeerMappingOverride=1;", "EnableMSI": "1"}


def test_node_without_gpu_and_with_closed_logs(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dmesg", "sudo", "journalctl"):
        program(programs, name, "exit 1")
    monkeypatch.setenv("PATH", str(programs))
    facts = read_node(tmp_path / "not" / "there")
    assert (facts.report, facts.driver_error, facts.xids, facts.links, facts.interface) == (None, None, None, (), None)
    assert (facts.cache, facts.cache_free_bytes > 0, facts.shm_bytes > 0) == (str(tmp_path), True, True)
    assert facts.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts.versions["ray"] == "2.60.0"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'NVIDIA-SMI has failed because it could not talk to the driver'; exit 9", "NVIDIA-SMI has failed"),
        ("echo 'no devices' >&2; exit 6", "no devices"),
        ("sleep 5", "no answer within 0.2 s"),
    ],
)
def test_driver_that_does_not_answer(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    monkeypatch.setattr(node_reading, "COMMAND_S", 0.2 if "sleep" in script else 45)
    program(programs, "nvidia-smi", script)
    program(programs, "dmesg", "echo '[ 1.0] quiet'")
    facts = read_node(tmp_path)
    assert facts.report is None
    assert (facts.driver_error or "").startswith(said)


def test_network_cards_as_the_kernel_shows_them(tmp_path: Path) -> None:
    devices, verbs, files = tmp_path / "infiniband", tmp_path / "infiniband_verbs", tmp_path / "dev"
    files.mkdir()
    for number, (card, state, rate, link) in enumerate(
        (
            ("mlx5_0", "4: ACTIVE", "400 Gb/sec (4X NDR)", "InfiniBand"),
            ("mlx5_1", "1: DOWN", "10 Gb/sec (4X SDR)", "Ethernet"),
            ("efa_0", "4: ACTIVE", "", "Unspecified"),
        )
    ):
        port = devices / card / "ports" / "1"
        port.mkdir(parents=True)
        (port / "state").write_text(f"{state}\n")
        (port / "link_layer").write_text(f"{link}\n")
        if rate:
            (port / "rate").write_text(f"{rate}\n")
        if card.startswith("mlx5"):
            (verbs / f"uverbs{number}").mkdir(parents=True)
            (verbs / f"uverbs{number}" / "ibdev").write_text(f"{card}\n")
    (files / "uverbs0").touch()  # the other one is in the kernel's folder, and was not given to this container
    assert node_reading._ports(devices, verbs, files) == (
        RdmaPort("efa_0/1", True, 0, "Unspecified", opens=None),
        RdmaPort("mlx5_0/1", True, 400, "InfiniBand", opens=True),
        RdmaPort("mlx5_1/1", False, 10, "Ethernet", opens=False),
    )
    assert node_reading._ports(tmp_path / "none", verbs, files) == ()


def test_amd_node_and_what_dcgm_says_of_an_nvidia_node(programs: Path, tmp_path: Path) -> None:
    program(programs, "amd-smi", f"cat {programs}/$1.json")
    (programs / "static.json").write_text(json.dumps(static()), encoding="utf-8")
    (programs / "metric.json").write_text(json.dumps(metrics()), encoding="utf-8")
    amd = read_node(tmp_path)
    assert amd.report is not None
    assert (amd.report.amd, len(amd.report.gpus), amd.links, amd.diagnosis) == (True, 8, (), None)
    nvidia_smi(programs)
    program(programs, "dcgmi", f"cat {programs}/diag.json; exit 226")
    (programs / "diag.json").write_text(document(failed("software", PERSISTENCE)), encoding="utf-8")
    assert [test.name for test in read_node(tmp_path).diagnosis or ()] == ["software"]


def test_log_that_only_root_may_read_is_read_by_sudo(programs: Path, tmp_path: Path) -> None:
    program(programs, "dmesg", "exit 1")
    program(programs, "sudo", "echo '[    5.000000] NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.'")
    assert [xid.code for xid in read_node(tmp_path).xids or ()] == [79]


def test_cuda_of_torch_is_read_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "torch" / "version.py").write_text("debug = False\ncuda: Optional[str] = '13.0'\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [one for one in sys.modules if one.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    assert node_reading._torch_cuda() == "13.0"
