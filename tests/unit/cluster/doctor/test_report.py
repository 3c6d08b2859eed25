"""`cluster.doctor.report` and `cluster.doctor.quarantine`: a cluster as a whole, who is labelled, who is drained."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._private.label_utils import parse_node_labels_string, validate_label_selector

from cluster.catalogue.hardware import GIB, Fabric
from cluster.doctor.facts import Expected, Finding, Level, NodeFacts, expected, names
from cluster.doctor.nvidia_smi import gpu_report
from cluster.doctor.pairs import PairResult
from cluster.doctor.quarantine import FOUND_LABEL, HEALTH_LABEL, NOT_SICK, Candidate, as_ray, examination, labels, to_drain
from cluster.doctor.report import Member, Report, Wanted, assembled, wanted
from tests.unit.cluster.doctor.test_host_checks import LAPTOP, WELL
from tests.unit.nvidia_smi_samples import gpu
from tests.unit.nvidia_smi_samples import report as report_of
from tests.unit.samples import config, model

EIGHT = Expected(8, 79.19, True, "H100")
ONE = Expected(1, 79.19, False)
HEAD = Member("1", "head", "10.0.0.1", head=True)
WORKER = Member("2", "worker", "10.0.0.2", gpus=1)
MAVERICK = {"kind": "llama-4-maverick", "quantization": "fp8", "context_tokens": 1024}


def levels(report: Report) -> dict[str, Level]:
    return {node.member.name: node.level for node in report.nodes}


def test_what_a_config_wants() -> None:
    maverick = model(id="a", checkpoint="meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", **MAVERICK)
    local = [model(id=name, checkpoint="/models/one") for name in ("b", "c")]
    need = wanted(config(maverick, *local, model(id="d", checkpoint="small:x"), hardware={"node": "dgx-h100", "nodes": 2}))
    assert (need.expected, need.nodes, need.checkpoints) == (EIGHT, 2, ("/models/one",))
    assert need.weights_bytes / GIB == pytest.approx(388, abs=1)
    other = wanted(config(model(id="a", checkpoint="someone/maverick", **MAVERICK)))
    assert (other.expected, other.nodes) == (None, None)
    assert other.weights_bytes / GIB == pytest.approx(388, rel=0.02)
    assert wanted(config(model(kind="prompt-guard-2-86m", context_tokens=512))).weights_bytes == 0
    assert wanted(config(model(checkpoint="small:x"))).weights_bytes == 0


def test_hardware_that_the_config_does_not_name_is_not_expected() -> None:
    assert expected(config(model())) is None
    assert expected(config(model(), hardware={"gpu": "L40S", "gpus_per_node": 2})) == Expected(2, 44.53, False, "L40S")
    own = {"name": "Own", "memory_gib": 80, "bandwidth_gb_s": 1, "bf16_tflops": 1}
    assert expected(config(model(), hardware={"custom_gpu": own})) == Expected(8, 80, False), "its name is no product's"


def test_head_need_not_have_gpus_and_workers_must() -> None:
    report = assembled([HEAD, WORKER], {"head": LAPTOP, "worker": LAPTOP}, {}, [], Wanted(ONE))
    assert levels(report) == {"head": Level.OK, "worker": Level.FAIL}
    assert report.sick
    assert levels(assembled([replace(HEAD, gpus=1)], {"head": LAPTOP}, {}, [], Wanted(ONE))) == {"head": Level.FAIL}
    assert levels(assembled([HEAD], {"head": replace(LAPTOP, driver_error="no")}, {}, [], Wanted(ONE))) == {"head": Level.FAIL}


def test_node_that_does_not_answer_is_sick() -> None:
    silent = Finding("answer", Level.FAIL, "none within 60 s", "is Ray well?")
    report = assembled([HEAD, WORKER], {"head": LAPTOP, "worker": silent}, {}, [], Wanted())
    assert report.nodes[1].findings == (silent,)
    assert report.nodes[1].candidate == Candidate("worker", sick=True)


def test_everything_about_a_node_comes_together() -> None:
    pair = PairResult(("head", "worker"), "nccl", 10.0)
    report = assembled([HEAD, WORKER], {"head": WELL, "worker": WELL}, {"worker": 0.5}, [pair], Wanted(ONE))
    found = {one.check: one.level for one in report.nodes[1].findings}
    assert (found["GPUs"], found["versions"], found["clock skew"]) == (Level.OK, Level.OK, Level.WARN)
    assert found["all-reduce"] is Level.WARN, "10 GB/s over a card of 400 Gbit/s"
    assert not report.sick, "nobody is sick, all may serve"


def test_test_that_found_no_memory_beside_an_engine_makes_nobody_sick() -> None:
    full = PairResult(("head", "worker"), "unknown", error="OutOfMemoryError: CUDA out of memory. Tried to allocate 256.00 MiB")
    report = assembled([HEAD, WORKER], {"head": WELL, "worker": WELL}, {}, [full], Wanted(ONE))
    found = {one.check: one for one in report.nodes[1].findings}["all-reduce"]
    assert (found.level, report.sick) == (Level.NOT_CHECKED, False)


def test_memory_in_use_is_an_engines_where_ray_has_given_gpus_away() -> None:
    taken = replace(WELL, report=gpu_report(report_of(gpu(used=79_000))))
    busy, idle = (
        assembled([replace(WORKER, engines=engines)], {"worker": taken}, {}, [], Wanted(ONE)).nodes[0].level for engines in (True, False)
    )
    assert (busy, idle) == (Level.OK, Level.FAIL)


def test_two_nodes_that_cannot_talk_make_the_cluster_sick() -> None:
    others = [PairResult((one, "c"), "gloo", 1.0) for one in ("head", "worker")]
    broken = PairResult(("head", "worker"), "gloo", error="timed out")
    third = replace(WORKER, id="3", name="c")
    report = assembled([HEAD, WORKER, third], {"head": WELL, "worker": WELL, "c": WELL}, {}, [*others, broken], Wanted())
    assert Level.FAIL not in levels(report).values()
    assert report.sick


def test_nodes_that_are_missing() -> None:
    there = {"head": LAPTOP, "worker": WELL}
    (missing,) = assembled([HEAD, WORKER], there, {}, [], Wanted(ONE, nodes=2)).findings
    assert (missing.level, missing.seen) == (Level.FAIL, "1 of 2 are in the cluster")
    assert assembled([HEAD, WORKER], there, {}, [], Wanted(ONE, nodes=1)).findings == ()
    assert assembled([HEAD, WORKER], there | {"head": WELL}, {}, [], Wanted(ONE, nodes=2)).findings == (), "a head with GPUs serves too"


def test_draining_node_is_not_asked_and_not_drained_again() -> None:
    leaving = replace(WORKER, draining=True)
    report = assembled([HEAD, leaving], {"head": LAPTOP}, {}, [], Wanted())
    assert [one.check for one in report.nodes[1].findings] == ["draining"]
    assert to_drain([Candidate("a", sick=True, draining=True), Candidate("b", sick=False)]) == ([], [])


@pytest.mark.parametrize(("facts", "word"), [(WELL, "start Ray there again"), (LAPTOP, "mend it")])
def test_label_of_a_node_is_told(facts: NodeFacts, word: str) -> None:
    marked = replace(WORKER, labels={HEALTH_LABEL: "sick", FOUND_LABEL: "ecc"})
    (node,) = assembled([marked], {"worker": facts}, {}, [], Wanted(ONE)).nodes
    told = {one.check: one for one in node.findings}["label"]
    assert (told.level, "(ecc)" in told.seen, told.advice.startswith(word)) == (Level.WARN, True, True)
    well = replace(marked, labels={HEALTH_LABEL: "ok"})
    assert all(one.check != "label" for one in assembled([well], {"worker": facts}, {}, [], Wanted()).nodes[0].findings)


@given(st.lists(st.builds(Finding, st.text(max_size=30), st.sampled_from(Level), st.just("seen"))))
def test_labels_are_such_as_ray_takes(findings: list[Finding]) -> None:
    said = labels(findings)
    assert parse_node_labels_string(as_ray(said)) == said
    assert (said[HEALTH_LABEL] == "sick") == any(one.level is Level.FAIL for one in findings)
    assert validate_label_selector(NOT_SICK) is None


def test_labels_name_what_failed() -> None:
    failed = [Finding("Xid errors", Level.FAIL, ""), Finding("ECC", Level.FAIL, ""), Finding("disk", Level.WARN, "")]
    assert as_ray(labels(failed)) == "llama-herd/health=sick,llama-herd/found=xid-errors.ecc"
    assert as_ray(labels([])) == "llama-herd/health=ok"


@pytest.mark.parametrize(
    ("herd", "said"),
    [
        ("#!/bin/sh\necho llama-herd/health=ok; echo $* >&2", "llama-herd/health=ok"),
        ("#!/bin/sh\nexit 1", "llama-herd/health=sick,llama-herd/found=not-examined"),
        (None, "llama-herd/health=sick,llama-herd/found=not-examined"),
    ],
)
def test_node_that_cannot_be_examined_is_sick(tmp_path: Path, herd: str | None, said: str) -> None:
    if herd is not None:
        (tmp_path / "herd").write_text(herd)
        (tmp_path / "herd").chmod(0o755)
    command = f'{examination(EIGHT, head=True)}; echo "$HERD_LABELS"'
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["bash", "-c", command], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
    assert ("doctor --node --labels --gpus 8 --gpu-memory-gib 79.19 --gpu H100 --nvlink --head" in done.stderr) == ("ok" in said)
    assert f"Preflight: {said}" in done.stderr


def test_examination_asks_only_for_what_is_promised() -> None:
    assert "--gpus" not in examination(None, head=False)
    assert "--head" not in examination(None, head=False)
    assert "--nvlink" not in examination(ONE, head=False)
    assert "--rdma" not in examination(EIGHT, head=False), "no engine leaves its node"
    assert "--nvlink --rdma-ports 8 --rdma-gbit-s 400" in examination(replace(EIGHT, fabric=Fabric(8, 400)), head=False)
    assert examination(replace(EIGHT, fabric=Fabric(16)), head=False).count("--rdma-ports 16)") == 1


def test_sick_workers_are_drained_and_the_head_is_not() -> None:
    nodes = [Candidate("head", sick=True, head=True), Candidate("a", sick=True), Candidate("b", sick=False)]
    going, stays = to_drain(nodes)
    assert (going, len(stays)) == (["a"], 1)
    assert stays[0].startswith("head is the head")


def test_the_last_nodes_are_not_drained() -> None:
    nodes = [Candidate(name, sick=True) for name in "ab"]
    assert to_drain(nodes) == ([], ["No node would be left without a, b: look for what they have in common."])
    assert to_drain([*nodes, Candidate("head", sick=False, head=True, serves=False)])[0] == [], "a head without GPU serves nothing"
    assert to_drain([*nodes, Candidate("head", sick=False, head=True)]) == (["a", "b"], [])
    assert to_drain([Candidate("a", sick=False)]) == ([], [])


def test_what_a_wrong_config_calls_sick_is_not_drained() -> None:
    both = assembled([HEAD, WORKER], {"head": LAPTOP, "worker": LAPTOP}, {}, [], Wanted(ONE))
    assert to_drain([node.candidate for node in both.nodes])[0] == []


def test_nodes_of_one_address_are_told_apart() -> None:
    assert names({"abcdefgh": "10.0.0.1", "ijklmnop": "10.0.0.1", "q": "10.0.0.2"}) == {
        "abcdefgh": "10.0.0.1/abcdef",
        "ijklmnop": "10.0.0.1/ijklmn",
        "q": "10.0.0.2",
    }


@pytest.mark.parametrize(("required", "level"), [(True, Level.FAIL), (False, Level.WARN)])
def test_ray_that_asks_nobody_for_a_token_is_a_finding_of_the_cluster(required: bool, level: Level) -> None:
    """Draining a node would not mend it, so no node is sick of it."""
    read = {"head": replace(LAPTOP, ray_asks_for_token=True), "worker": replace(LAPTOP, ray_asks_for_token=False)}
    report = assembled([HEAD, WORKER], read, {}, [], Wanted(ray_token=required))
    (found,) = report.findings
    assert (found.check, found.level) == ("Ray's token", level)
    assert "worker" in found.seen
    assert "head" not in found.seen
    assert report.sick is required
    assert not any(node.candidate.sick for node in report.nodes)


@pytest.mark.parametrize("asks", [True, None])
def test_ray_that_asks_for_a_token_or_was_not_there_is_no_finding(asks: bool | None) -> None:
    assert not assembled([HEAD], {"head": replace(LAPTOP, ray_asks_for_token=asks)}, {}, [], Wanted()).findings


def test_config_that_takes_an_open_ray_wants_no_token() -> None:
    assert wanted(config(model())).ray_token
    assert not wanted(config(model(), ray={"require_token": False})).ray_token
