"""Asks the planner about one model on some GPUs or a whole herd on its cluster, and shows the answer.

Decides what a MODEL names (a kind, a repository, a folder with `config.json`) and which output goes to which stream. Leaves the planning
to `cluster`, the looks to `deployments.commands.plan_tables`, the words of the command line to `deployments.commands.plan`. Importing it
needs no Ray, vLLM or torch.
"""

import difflib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from cluster.catalogue.checkpoints import Checkpoint
from cluster.catalogue.entry import Entry
from cluster.catalogue.gpus import GPUS, gpu_named, near_miss
from cluster.catalogue.hardware import NODES, Cluster, Node
from cluster.catalogue.hub_names import Named, stored_layout
from cluster.catalogue.hub_names import named as repository_named
from cluster.catalogue.models import CATALOGUE
from cluster.planner.config_problems import problems
from cluster.planner.emit import emitted, record
from cluster.planner.explain import explain
from cluster.planner.herd_fit import known_cluster
from cluster.planner.memory.engine import VLLM, Version
from cluster.planner.placement import GPUS_PER_NODE
from cluster.planner.refusal import refusal
from cluster.planner.search import FIDELITY, Plan, Subject, Wish, plans, shape
from configs.load import as_yaml, read
from configs.names import Kind, Quantization
from deployments.commands.plan_tables import best_of_each_kind, herd_table, lines_table, plans_table
from deployments.commands.terminal import out, tell
from deployments.lifecycle.fit import CannotPlan, checked, stored_in

NO_FIT = 1
#: As in a config's hardware.
MOST_NODES = 4096


@dataclass(frozen=True, slots=True)
class Form:
    """The form of the answer."""

    as_json: bool = False
    explain: bool = False
    emit: bool = False
    gpu_hour_price: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The model to plan for that a MODEL names, and its kind if a config can name it."""

    subject: Subject
    kind: Kind | None


def cluster(gpu: str | None, gpus: int | None, nodes: int | None, node: str | None) -> Cluster:
    """Returns the hardware that the command line names; 8 H100 if it names none.

    Raises:
        CannotPlan: there is no such GPU or node, or more GPUs than a node has.
    """
    if node is not None:
        known = {str(name).lower(): one for name, one in NODES.items()}
        if gpu is not None or gpus is not None:
            raise CannotPlan(f"--node {node} says already which GPUs and how many: leave --gpu and --gpus out")
        if node.lower() not in known:
            raise CannotPlan(f"the node {node!r} is not known; known nodes: {', '.join(NODES)}. Describe others in a config's hardware")
        return Cluster(known[node.lower()], nodes or 1)
    wanted = gpu_named(gpu or "H100")
    if wanted is None:
        hint = f"did you mean {close}? " if (close := near_miss(str(gpu))) else ""
        raise CannotPlan(f"the GPU {gpu!r} is not known; {hint}known GPUs: {', '.join(GPUS)}. Describe others in a config's hardware")
    if gpus and gpus > GPUS_PER_NODE:
        needed = -(-gpus // GPUS_PER_NODE)
        way_out = f"say --gpus {GPUS_PER_NODE} --nodes {needed}" if needed <= MOST_NODES else f"and a cluster at most {MOST_NODES} nodes"
        raise CannotPlan(f"a node has at most {GPUS_PER_NODE} GPUs: {way_out}")
    return Cluster(Node(wanted, gpus or GPUS_PER_NODE), nodes or 1)


def target(name: str, quantization: Quantization | None = None) -> Target:
    """Finds the model that a MODEL names: a kind, a repository by its exact name or by a name that says what it is, or a folder.

    Raises:
        CannotPlan: it names nothing, or a model that no engine can serve.
        ConfigError: its `config.json` cannot be read.
    """
    if (folder := _folder(name)) is not None:
        return Target(_in_folder(folder, quantization), None)
    for kind, entry in CATALOGUE.items():
        if name.lower() in (kind, kind.removeprefix("llama-4-")):
            return Target(_of_entry(entry, tuple(one for word in FIDELITY if (one := entry.checkpoint(word)))), kind)
        known = tuple(one for one in entry.checkpoints if one.repository.lower() == name.lower())
        if known:
            return Target(_of_entry(entry, known, named=True), kind)
    if (found := repository_named(name)) is not None:
        return _by_name(name, found)
    close = difflib.get_close_matches(name.lower(), CATALOGUE, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    raise CannotPlan(f"{name!r} is not a model, a repository or a folder that is known{hint} Models: {', '.join(CATALOGUE)}")


def _folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # a name that is too long, a home of nobody, a null byte
        return None


def _by_name(name: str, found: Named) -> Target:
    entry = CATALOGUE[found.kind]
    if "/" not in name or entry.decoder is None:
        return Target(_of_entry(entry, tuple(one for word in FIDELITY if (one := entry.checkpoint(word)))), found.kind)
    checkpoint = Checkpoint(name, stored_layout(found.stored, entry.decoder))
    subject = _of_entry(entry, (checkpoint,), named=True)
    return Target(replace(subject, title=f"{subject.title} (by the name {name})"), found.kind)


def _of_entry(entry: Entry, checkpoints: tuple[Checkpoint, ...], *, named: bool = False) -> Subject:
    title = entry.title.partition(" (")[0]
    if entry.decoder is None:
        raise CannotPlan(f"{title} {entry.not_deployable or 'has no shape of its own: give the folder with its config.json'}")
    return Subject(title, entry.decoder, checkpoints, entry.context_tokens, only_these=named)


def _in_folder(folder: Path, quantization: Quantization | None) -> Subject:
    stored = stored_in(folder, quantization)
    if stored is None:
        raise CannotPlan(f"there is no config.json in {folder}")
    checkpoint = Checkpoint(str(folder.resolve()), stored.layout)
    return Subject(folder.resolve().name, stored.architecture, (checkpoint,), stored.architecture.longest_tokens, only_these=True)


def plan_model(name: str, hardware: Cluster, wish: Wish, form: Form) -> None:
    """Plans one model and tells the answer.

    Raises:
        CannotPlan: there is nothing to plan.
        typer.Exit: with 1 where nothing fits.
    """
    wanted = target(name, wish.quantization)
    found = plans(wanted.subject, hardware, wish)
    fits = bool(found) and found[0].fits
    if form.as_json:
        _print_json([record(plan.engine, plan.capacity, plan.problems) for plan in found])
    elif form.emit and fits:
        sys.stdout.write(as_yaml(_config(wanted, found[0], hardware)))
    elif (fits or form.explain) and not form.emit:
        _show(wanted.subject, hardware, wish, found, form)
    if not fits:
        tell(refusal(wanted.subject, hardware, wish, found))
        raise typer.Exit(NO_FIT)


def _config(wanted: Target, plan: Plan, hardware: Cluster) -> dict[str, object]:
    if wanted.kind is None:
        raise CannotPlan("a config names a model of the catalogue: a model from a folder cannot be emitted")
    if plan.checkpoint.assumed:
        raise CannotPlan(
            f"no {plan.checkpoint.layout.quantization} checkpoint of {wanted.subject.title} is known: plan one by its repository"
        )
    return emitted(wanted.kind, plan, hardware)


def _show(subject: Subject, hardware: Cluster, wish: Wish, found: tuple[Plan, ...], form: Form) -> None:
    if form.explain and found:
        best = found[0]
        title = f"{subject.title} {best.checkpoint.layout.quantization} as {shape(best.engine.parallel)} on {hardware}"
        out.print(lines_table(title, explain(best, wish.load)))
        return
    load = f"{wish.load.concurrency} at once, {wish.load.prompt_tokens} in, {wish.load.answer_tokens} out"
    out.print(plans_table(f"{subject.title} on {hardware}; speed at {load}", best_of_each_kind(found), form.gpu_hour_price))
    out.print("Best first. --explain shows the arithmetic of the first, --emit its config, --json everything.", style="dim")


def plan_herd(path: Path, hardware: Cluster | None, nodes: int | None, as_json: bool, vllm: Version = VLLM) -> None:
    """Checks a whole herd against a whole cluster and tells the answer.

    Raises:
        CannotPlan: a model's shape cannot be chosen, or its files not read.
        ConfigError: the config cannot be used.
        typer.Exit: with 1 where it does not fit.
    """
    config = read(path, problems)
    known = hardware or known_cluster(config)
    if known is not None and nodes is not None:
        known = replace(known, nodes=nodes)
    found = checked(config, known, vllm)[1]
    if as_json:
        _print_json(
            [
                {"model": one.model.id, **record(one.engine, one.capacity, (*one.problems, *found.too_many))}
                for one in found.verdicts
                if one.engine and one.capacity
            ]
        )
    else:
        taken = f"GPUs taken: {found.gpus}, nodes: {found.nodes}" if found.gpus else "takes no GPUs that are known"
        out.print(herd_table(f"{config.name} on {known}; {taken}" if known else f"{config.name}; {taken}", found))
        for cost in found.costs:
            out.print(cost, style="dim", soft_wrap=True)
    wrong = (*found.refusals, *found.shortages)
    if wrong:
        tell("\n".join(wrong))
        raise typer.Exit(NO_FIT)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
