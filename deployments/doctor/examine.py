"""Examines the nodes of a Ray cluster: each by itself, then each pair by an all-reduce. Needs a connection to the cluster.

Decides who is asked in which order and how long an answer may take; a node that does not answer is a finding too. What the answers mean
is for `cluster.doctor.report`, how they look for `deployments.commands.doctor_tables`.
"""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.doctor.compare_nodes import beyond
from cluster.doctor.facts import Finding, Level, NodeFacts, names
from cluster.doctor.pairs import PairResult, rounds
from cluster.doctor.report import Member, Report, Wanted, assembled
from cluster.machine.read_node import read_node
from configs.load import environment
from deployments.doctor.all_reduce import Partner
from deployments.progress import Say
from deployments.ray_calls.drain import draining
from deployments.ray_calls.nodes import free, living

#: A new worker process, and every command of the reading at its slowest.
READ_S = 240.0
#: Importing torch, and NCCL's first steps on eight GPUs.
PAIR_S = 240.0
CLOCK_S = 10.0
#: Beyond 17 nodes not every pair is tried: each node has so many partners, and the whole takes minutes, not hours.
MOST_ROUNDS = 16
CLOCK_READINGS = 3


def examine(need: Wanted, with_pairs: bool, say: Say) -> Report:
    """Examines every node that lives. Takes seconds, and a little memory on each, beside a herd that serves."""
    found = members()
    say(f"Reading {len(found)} nodes" if len(found) > 1 else "Reading the node")
    read = _read([member for member in found if not member.draining], need)
    answering = [member for member in found if isinstance(read.get(member.name), NodeFacts)]
    pairs = _pairs(answering, {name: one.interface for name, one in read.items() if isinstance(one, NodeFacts)}, say) if with_pairs else []
    return assembled(found, read, _skews(answering), pairs, need)


def members() -> list[Member]:
    """The nodes that live, the head first."""
    leaving, left = draining(), free()
    found = sorted(living(), key=lambda node: (not node.is_head, node.address))
    called = names({node.id: node.address for node in found})
    return [
        Member(
            id=node.id,
            name=called[node.id],
            address=node.address,
            head=node.is_head,
            gpus=node.resources.get("GPU", 0.0),
            labels=dict(node.labels),
            draining=node.id in leaving,
            engines=left.get(node.id, {}).get("GPU", 0.0) < node.resources.get("GPU", 0.0),
        )
        for node in found
    ]


def _on(member: Member) -> dict[str, Any]:
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(member.id, soft=False)}


def _reading(checkpoints: tuple[str, ...], address: str) -> NodeFacts:
    own = environment()
    return dataclasses.replace(read_node(own.cache, checkpoints, address), ray_asks_for_token=own.ray_asks_for_token)


def _read(found: Sequence[Member], need: Wanted) -> dict[str, NodeFacts | Finding]:
    """By name, what each node says; for one that does not answer, that."""
    task = ray.remote(_reading)
    asked = {
        member.name: task.options(**_on(member), max_retries=0).remote(() if member.serves_nothing else need.checkpoints, member.address)
        for member in found
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=READ_S)
    return {name: _answer(reference) for name, reference in asked.items()}


def _answer(reference: Any) -> NodeFacts | Finding:  # noqa: ANN401 (a Ray object)
    try:
        facts: NodeFacts = ray.get(reference, timeout=0)
    except Exception as error:  # noqa: BLE001 (a node may fail in any way; that is what is to be found out)
        with contextlib.suppress(Exception):
            ray.cancel(reference, force=True)
        way_out = "is this version of llama-herd installed there, and Ray well? `ray status`"
        return Finding("answer", Level.FAIL, _said(error, READ_S), way_out)
    return facts


def _said(error: Exception, within_s: float) -> str:
    """An error as one line; Ray's own are pages long, and the last line has the cause."""
    if isinstance(error, ray.exceptions.GetTimeoutError):
        return f"none within {within_s:.0f} s"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__


def _now() -> float:
    return time.time()


def _skews(found: Sequence[Member]) -> dict[str, float]:
    """By name, seconds that a clock is ahead of the head's, each by its quickest answer; what the answers took may explain is left out."""
    task, asked = ray.remote(_now), {}
    for member in found if len(found) > 1 else ():
        with contextlib.suppress(Exception):  # who does not answer in time has no clock to speak of, and is found out elsewhere
            asked[member.name] = min(_ahead(task, member) for _ in range(CLOCK_READINGS))
    first = asked.pop(found[0].name, None) if found else None
    return {} if first is None else {name: beyond(ahead - first[1], (took + first[0]) / 2) for name, (took, ahead) in asked.items()}


def _ahead(task: Any, member: Member) -> tuple[float, float]:  # noqa: ANN401 (a Ray function)
    """How long an answer took, and how far the clock is ahead of this machine's."""
    began = time.time()
    there: float = ray.get(task.options(**_on(member), max_retries=0).remote(), timeout=CLOCK_S)
    ended = time.time()
    return ended - began, there - (began + ended) / 2


def _pairs(found: Sequence[Member], interfaces: Mapping[str, str | None], say: Say) -> list[PairResult]:
    results: list[PairResult] = []
    order = rounds(found, MOST_ROUNDS)
    for number, pairs in enumerate(order, 1):
        say(f"All-reduce between nodes, round {number} of {len(order)}")
        results += _round(pairs, interfaces)
    return results


def _round(pairs: Sequence[tuple[Member, Member]], interfaces: Mapping[str, str | None]) -> list[PairResult]:
    """Disjoint pairs, all at once, each by a process on either node that is gone afterwards."""
    actors = [tuple(_partner(member, interfaces[member.name]) for member in pair) for pair in pairs]
    deadline = time.monotonic() + PAIR_S
    try:
        places = [first.meet.remote(pair[0].address) for (first, _), pair in zip(actors, pairs, strict=True)]
        asked = [
            (first.all_reduce.remote(0, place), second.all_reduce.remote(1, place))
            for (first, second), place in zip(actors, places, strict=True)
        ]
        return [_result(pair, references, deadline) for pair, references in zip(pairs, asked, strict=True)]
    finally:
        for actor in (one for both in actors for one in both):
            ray.kill(actor)


def _partner(member: Member, interface: str | None) -> Any:  # noqa: ANN401 (an actor's handle)
    """gloo would take the interface of the host's name, which need not be the cluster's."""
    variables = {"GLOO_SOCKET_IFNAME": interface} if interface else {}
    return ray.remote(Partner).options(**_on(member), max_restarts=0, runtime_env={"env_vars": variables}).remote()


def _result(pair: tuple[Member, Member], references: tuple[Any, Any], deadline: float) -> PairResult:
    names = (pair[0].name, pair[1].name)
    try:
        answers = ray.get(list(references), timeout=max(0.0, deadline - time.monotonic()))
    except Exception as error:  # noqa: BLE001 (torch, NCCL and Ray each have their own)
        return PairResult(names, "unknown", error=_said(error, PAIR_S))
    return PairResult(names, answers[0][0], min(rate for _, rate in answers))
