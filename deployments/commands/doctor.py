"""`herd doctor`: the words of the command line.

Decides which nodes are examined, and exit codes (0 all may serve · 1 something is sick · 2 the command line is wrong · 3 the config is).
"""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cluster.catalogue.hardware import Fabric
from cluster.doctor.facts import Expected
from cluster.doctor.gpu_checks import busy
from cluster.doctor.quarantine import as_ray, labels, to_drain
from cluster.doctor.report import Examined, Member, Report, Wanted, own_findings, wanted
from cluster.machine.read_node import read_node
from configs.load import environment
from deployments.commands.doctor_tables import as_json, findings_table, node_table, pairs_table
from deployments.commands.from_files import loaded_herd
from deployments.commands.terminal import More, Sets, err, files, out, progress, put, tell, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd, OperationError

#: How often a GPU that is in use is looked at again before it counts as somebody else's, and after how many seconds.
RELEASES, RELEASE_S = 3, 5.0


def doctor(  # noqa: PLR0913 (an option each)
    config: Annotated[Path | None, typer.Argument(help="A herd's YAML file. Default: the herd that is up.")] = None,
    more: More = None,
    sets: Sets = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The name of the herd (the config's `name`). It is needed if several are up.")
    ] = None,
    pairs: Annotated[bool, typer.Option(help="Let each pair of nodes do a short all-reduce.")] = True,
    drain: Annotated[bool, typer.Option("--drain", help="Drain sick nodes: Ray Serve moves their replicas, and Ray there ends.")] = False,
    within_s: Annotated[float, typer.Option(help="With --drain: seconds until replicas stop that have found no other place.", min=1)] = 900,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")] = False,
    node: Annotated[bool, typer.Option("--node", help="Examine only this machine, without Ray.")] = False,
    labels_: Annotated[bool, typer.Option("--labels", help="With --node: print only the labels for `ray start --labels`.")] = False,
    gpus: Annotated[int | None, typer.Option(help="With --node: the number of GPUs that this machine must have.", min=1)] = None,
    gpu_memory_gib: Annotated[float, typer.Option(help="With --gpus: the memory that each GPU must have, in GiB.", min=0)] = 0,
    gpu: Annotated[str | None, typer.Option(help="With --gpus: the GPUs must be of this kind, H100 for instance.")] = None,
    nvlink: Annotated[bool, typer.Option("--nvlink", help="With --gpus: NVLink must join them.")] = False,
    rdma_ports: Annotated[
        int | None,
        typer.Option(help="With --gpus: engines use RDMA to other nodes, and so many ports must be active; 0: any that are there.", min=0),
    ] = None,
    rdma_gbit_s: Annotated[float, typer.Option(help="With --rdma-ports: the rate of each, in Gbit/s.", min=0)] = 0,
    head: Annotated[bool, typer.Option("--head", help="With --gpus: this machine is the head, which may also have no GPU.")] = False,
) -> None:
    """Examine every node before it serves: GPUs, NVLink, network cards, clock, disk, limits, versions, an all-reduce between each pair.

    Changes nothing without --drain. Exits with 1 if a node is sick.

    \b
    herd doctor
    herd doctor --node --gpus 8 --gpu H100 --nvlink
    """
    with told(OperationError):
        if node:
            fabric = None if rdma_ports is None else Fabric(rdma_ports, rdma_gbit_s)
            promised = None if gpus is None else Expected(gpus, gpu_memory_gib, nvlink, gpu, fabric)
            report = _this_machine(Wanted(promised), head, idle=labels_)
            if labels_:
                sys.stdout.write(as_ray(labels(report.nodes[0].findings)) + "\n")
                raise typer.Exit
            _show(report, json_, [])
        else:
            if config is None and not more and not sets:
                herd = operate.known(environment(), name)
            else:
                herd = loaded_herd(files(config, more), sets)
            _cluster(herd, pairs, within_s if drain else None, json_)


def _this_machine(need: Wanted, head: bool = False, idle: bool = True) -> Report:
    """Examines this machine; where it is `idle`, no Ray of the herd's runs on it, so memory in use is not an engine's."""
    host = socket.gethostname()
    facts = read_node(environment().cache, need.checkpoints)
    for _ in range(RELEASES):
        if not idle or facts.report is None or not busy(facts.report):
            break
        time.sleep(RELEASE_S)  # an engine of the Ray that has just been stopped gives its memory back in seconds
        facts = read_node(environment().cache, need.checkpoints)
    member = Member("", host, host, head, engines=not idle)
    return Report((Examined(member, own_findings(member, facts, need), facts),))


def _cluster(herd: Herd, pairs: bool, drain_s: float | None, json_: bool) -> None:
    need, drained = wanted(herd.config), []
    if herd.config.ray.address == "local" and herd.node.address is None:
        report = _this_machine(need)  # what `herd up` would start on
    else:
        with progress.status("Connecting") as spinner, operate.connected(herd, spinner.update):
            from deployments.doctor.examine import examine  # here, because it imports Ray

            report = examine(need, pairs, spinner.update)
            if drain_s is not None:
                drained = _drained(report, drain_s)
    _show(report, json_, drained)


def _drained(report: Report, within_s: float) -> list[str]:
    """Drains sick nodes; returns the names of those that Ray drains now."""
    from deployments.policy.fleet.events import Kind
    from deployments.ray_calls.drain import drain
    from deployments.records import event_log

    going, stays = to_drain([node.candidate for node in report.nodes])
    for sentence in stays:
        tell(sentence)
    accepted = []
    for node in report.nodes:
        if node.member.name in going:
            found = ", ".join(one.check for one in node.findings if one.level == "fail")
            refusal = drain(node.member.id, f"herd doctor: {found}", within_s)
            if refusal is None:
                accepted.append(node.member.name)
                event_log.tell(Kind.DRAIN, f"it is sick ({found}): Ray leaves it within {within_s:.0f} s", subject=node.member.name)
            else:
                tell(f"Ray does not drain {node.member.name}: {refusal}")
    return accepted


def _show(report: Report, json_: bool, drained: list[str]) -> None:
    if json_:
        sys.stdout.write(json.dumps(as_json(report, drained)) + "\n")
    else:
        for node in report.nodes:
            out.print(node_table(node))
        if report.findings:
            out.print(findings_table("The cluster", report.findings))
        if report.pairs:
            out.print(pairs_table(report.pairs))
        _conclude(report, drained)
    if report.sick:
        raise typer.Exit(1)


def _conclude(report: Report, drained: list[str]) -> None:
    sick = [node.member.name for node in report.nodes if node.candidate.sick]
    if drained:
        put(
            out,
            f"Draining: {', '.join(drained)}. Ray ends there when nothing runs on it any more. Then mend the node, and start Ray again.",
        )
    elif sick:
        put(err, Text.assemble(("Sick:", "red"), f" {', '.join(sick)}."))
    elif not report.sick:
        out.print("[green]All nodes may serve.[/green]")
