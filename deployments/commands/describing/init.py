"""`herd init`: a commented config out of a few questions.

Decides the questions and what is taken where nothing is said. On a terminal each question without an option is asked; elsewhere none is.
The texts are `deployments.commands.describing.starters`'s.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

import click
import typer

from cluster.catalogue.hardware import NODES, Cluster
from cluster.planner.config_problems import problems
from cluster.planner.search import Wish
from configs.clouds import AwsMachine
from configs.load import parse
from configs.token_counts import token_count
from deployments.commands.describing.starters import KINDS, Answers, Kind, starter
from deployments.commands.plan_answers import best_config, cluster
from deployments.commands.terminal import err, tell, told
from deployments.lifecycle.fit import CannotPlan

Answer = TypeVar("Answer", str, int)
GCP_MACHINE = "a3-ultragpu-8g"
ZONES = {"aws": "us-east-2a", "gcp": "us-central1-b"}
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
    gpus: Annotated[int, typer.Option(help="With plan, onprem, kuberay: the number of GPUs in a node.", min=1, max=64)] = 8,
    nodes: Annotated[int | None, typer.Option(help="The number of nodes with GPUs. Default: 1.", min=1, max=4096)] = None,
    hosts: Annotated[str | None, typer.Option(help="With onprem: the hosts' addresses, the head's first: 10.0.0.11,10.0.0.12.")] = None,
    machine: Annotated[str | None, typer.Option(help="With aws: the type of the machines. Default: p5.48xlarge.")] = None,
    zone: Annotated[str | None, typer.Option(help="With aws, gcp: the zone of the machines.")] = None,
) -> None:
    """Write a commented config that validates and plans, out of a few questions; without a terminal, out of options and defaults.

    `herd init --from onprem --hosts 10.0.0.11,10.0.0.12 --model llama-4-maverick` asks nothing more than it must.
    """
    if output != Path("-") and output.exists() and not force:
        tell(f"{output} is there already: name another file with --output, or write over it with --force.")
        raise typer.Exit(1)
    site: Kind = _one_of(kind, KINDS, KIND_QUESTION, "local", "--from")
    with told(CannotPlan):
        named = _asked("The name of the herd?", name, site)
        if site == "local":
            said = Answers(site, named, str(output), {})
        else:
            said = _on_gpus(site, named, str(output), model, context, (gpu, gpus, nodes, hosts, machine, zone))
        text = starter(said)
        parse(text, str(output), problems)
    _write(output, text, force)


def _on_gpus(site: Kind, name: str, file: str, model: str | None, context: int | None, machines: tuple[Any, ...]) -> Answers:
    gpu, gpus, nodes, hosts, machine, zone = machines
    addresses: tuple[str, ...] = ()
    if site in ("aws", "gcp"):
        known = sorted(AwsMachine.__args__) if site == "aws" else [GCP_MACHINE]
        machine = _one_of(machine, known, "The type of the machines?", "p5.48xlarge" if site == "aws" else GCP_MACHINE, "--machine")
        zone = _asked("The zone of the machines?", zone, ZONES[site])
        node = NODES[machine]
    else:
        node = cluster(_asked("The kind of the GPUs?", gpu, "H100"), gpus, None, None).node
    if site == "onprem":
        said = _asked("The hosts' addresses, the head's first, with commas between them?", hosts, "10.0.0.11")
        addresses = tuple(one.strip() for one in said.split(","))
        count = len(addresses)
    else:
        count = _asked("The number of nodes with GPUs?", nodes, 1)
    wanted = _asked("The model?", model, "llama-4-scout")
    planned = best_config(wanted, Cluster(node, count), Wish(context_tokens=context))
    return Answers(site, name, file, planned, addresses, machine or "", zone or "", count)


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
    if given is not None or not sys.stdin.isatty():
        return given or default
    return typer.prompt(question, default=default, err=True, type=click.Choice(list(allowed)), show_choices=False)


def _write(output: Path, text: str, force: bool) -> None:
    if output == Path("-"):
        sys.stdout.write(text)
        return
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        tell(f"{output} cannot be written: {error.strerror}.")
        raise typer.Exit(1) from None
    err.print(f"{output} is written. Next: herd plan {output}, then herd up {output}", markup=False, soft_wrap=True)
