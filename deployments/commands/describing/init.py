"""`herd init`: a commented config out of a few questions.

Decides the questions and what is taken where nothing is said. On a terminal each question without an option is asked; elsewhere none is.
The texts are `deployments.commands.describing.starters`'s.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer

from cluster.catalogue.hardware import NODES, Cluster
from cluster.planner.search import Wish
from cluster.scaling.config_problems import problems
from configs.clouds import AwsMachine
from configs.given_files import CannotWrite, write
from configs.load import parse
from configs.names import NodeName
from configs.token_counts import token_count
from deployments.commands.describing.starters import KINDS, Answers, Kind, starter
from deployments.commands.plan_answers import best_config, cluster
from deployments.commands.terminal import FAILED, err, put, tell, told
from deployments.lifecycle.fit import CannotPlan

Answer = TypeVar("Answer", str, int)
GCP_MACHINE: NodeName = "a3-ultragpu-8g"
MACHINES = {"aws": "p5.48xlarge", "gcp": GCP_MACHINE}
ZONES = {"aws": "us-east-2a", "gcp": "us-central1-b"}
#: The options that each kind of machines has, beside those that all have.
OPTIONS: dict[Kind, tuple[str, ...]] = {
    "local": (),
    "plan": ("model", "context", "gpu", "gpus", "nodes"),
    "onprem": ("model", "context", "gpu", "gpus", "hosts"),
    "aws": ("model", "context", "machine", "zone", "nodes"),
    "gcp": ("model", "context", "machine", "zone", "nodes"),
    "kuberay": ("model", "context", "gpu", "gpus", "nodes"),
}
KIND_QUESTION = (
    "Where does the herd run? local: small models on this machine · plan: a Ray cluster that is up · onprem: hosts of your own · "
    "aws, gcp, kuberay: machines there"
)


def _length(text: str) -> int:
    try:
        return token_count(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def init(  # noqa: PLR0913 (an option each)
    kind: Annotated[
        str | None, typer.Option("--from", metavar="|".join(KINDS), help="The machines that the herd runs on. Default: local.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write. `-` is standard output.")] = Path("herd.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    name: Annotated[str | None, typer.Option(help="The name of the herd. Default: as --from.")] = None,
    model: Annotated[str | None, typer.Option(help="A model that `herd plan` knows. Default: llama-4-scout.")] = None,
    context: Annotated[
        int | None, typer.Option(parser=_length, metavar="TOKENS", help="The longest request. Default: the planner's choice.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="With plan, onprem, kuberay: the kind of the GPUs. Default: H100.")] = None,
    gpus: Annotated[
        int | None, typer.Option(help="With plan, onprem, kuberay: the number of GPUs in a node. Default: 8.", min=1, max=64)
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="The number of nodes with GPUs. Default: 1.", min=1, max=4096)] = None,
    hosts: Annotated[str | None, typer.Option(help="With onprem: the hosts' addresses, the head's first: 10.0.0.11,10.0.0.12.")] = None,
    machine: Annotated[str | None, typer.Option(help="With aws: the type of the machines. Default: p5.48xlarge.")] = None,
    zone: Annotated[str | None, typer.Option(help="With aws, gcp: the zone of the machines.")] = None,
) -> None:
    """Write a commented config that validates and plans, out of a few questions; without a terminal, out of options and defaults.

    The first begins a herd of small models on this machine, the second asks only for what is left.

    \b
    herd init
    herd init --from onprem --hosts 10.0.0.11,10.0.0.12
    """
    if output != Path("-") and output.exists() and not force:
        tell(f"{output} is there already: name another file with --output, or write over it with --force.")
        raise typer.Exit(1)
    site: Kind = _one_of(kind, KINDS, KIND_QUESTION, "local", "--from")
    said = {"gpu": gpu, "gpus": gpus, "nodes": nodes, "hosts": hosts, "machine": machine, "zone": zone, "model": model, "context": context}
    if strange := [f"--{one}" for one, value in said.items() if value is not None and one not in OPTIONS[site]]:
        raise typer.BadParameter(f"{', '.join(strange)}: not with --from {site}")
    file = "herd.yaml" if output == Path("-") else str(output)
    with told(CannotPlan):
        begun = Answers(site, _asked("The name of the herd?", name, site), file, {})
        text = starter(begun if site == "local" else _on_gpus(begun, said))
        parse(text, str(output), problems)
    _write(output, text, force)


def _on_gpus(begun: Answers, said: Mapping[str, Any]) -> Answers:
    """Asks for machines and a model, and lets the planner choose."""
    hosts: list[str] = []
    machine, zone = "", ""
    if begun.kind in ("aws", "gcp"):
        known = sorted(get_args(AwsMachine)) if begun.kind == "aws" else [GCP_MACHINE]
        machine = _one_of(said["machine"], known, "The type of the machines?", MACHINES[begun.kind], "--machine")
        zone = _asked("The zone of the machines?", said["zone"], ZONES[begun.kind])
        node = NODES[machine]
    else:
        node = cluster(_asked("The kind of the GPUs?", said["gpu"], "H100"), said["gpus"], None, None).node
    if begun.kind == "onprem":
        asked = _asked("The hosts' addresses, the head's first, with commas between them?", said["hosts"], "10.0.0.11")
        hosts = [one.strip() for one in asked.split(",") if one.strip()]
        if not hosts:
            raise typer.BadParameter(f"{asked!r} has no address: write the head's first, with commas between them", param_hint="--hosts")
        count = len(hosts)
    else:
        count = _asked("The number of nodes with GPUs?", said["nodes"], 1)
    wanted = _asked("The model?", said["model"], "llama-4-scout")
    planned = best_config(wanted, Cluster(node, count), Wish(context_tokens=said["context"]))
    return replace(begun, planned=planned, hosts=tuple(hosts), machine=machine, zone=zone, nodes=count)


def _asked(question: str, given: Answer | None, default: Answer) -> Answer:
    """Returns what an option says, else what a person answers; where there is no person, the default."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return default
    found: Answer = typer.prompt(question, default=default, err=True)
    return found


def _one_of(given: str | None, allowed: Any, question: str, default: str, option: str) -> Any:  # noqa: ANN401 (a word of a list)
    if given is not None and given not in allowed:
        raise typer.BadParameter(f"{given!r} is none of {', '.join(allowed)}", param_hint=option)
    while (answer := _asked(question, given, default)) not in allowed:
        put(err, f"{answer!r} is none of {', '.join(allowed)}.")
    return answer


def _write(output: Path, text: str, force: bool) -> None:
    if output == Path("-"):
        sys.stdout.write(text)
        return
    try:
        write(output, text, anew=not force)
    except CannotWrite as error:
        tell(f"{output} cannot be written: {error}.")
        raise typer.Exit(FAILED) from None
    put(err, f"{output} is written. Next: herd plan {output}, then herd up {output}")
