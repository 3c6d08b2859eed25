"""Asks the planner about one model on some GPUs or a whole herd on its cluster, and shows the answer.

Decides what a MODEL names (a kind, a repository, a folder with `config.json`) and which output goes to which stream. Leaves the planning
to `cluster`, the looks to `deployments.commands.plan_tables`, the words of the command line to `deployments.commands.plan`. Importing it
needs no Ray, vLLM or torch; of a herd's YAML the readers are imported when one is asked about.
"""

import difflib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from cluster.catalogue.checkpoints import Checkpoint
from cluster.catalogue.entry import Entry
from cluster.catalogue.gpus import GPUS, gpu_named, near_miss
from cluster.catalogue.hardware import NODES, Cluster, Node
from cluster.catalogue.hub_names import Named, stored_layout
from cluster.catalogue.hub_names import named as repository_named
from cluster.catalogue.models import CATALOGUE
from cluster.planner.choice.kinds import cost, rows
from cluster.planner.choice.limits import limiting, limits
from cluster.planner.choice.recommend import Choice, recommended
from cluster.planner.choice.record import Asked, Record, records
from cluster.planner.choice.sentences import asked_for, best_plan
from cluster.planner.emit import emitted
from cluster.planner.explain import explain
from cluster.planner.memory.engine import VLLM, Version
from cluster.planner.placement import GPUS_PER_NODE
from cluster.planner.refusal import refusal
from cluster.planner.search import FIDELITY, Plan, Subject, Wish, plans, shape
from configs.names import Kind, Quantization
from deployments.commands.plan_tables import arithmetic, columns_of_herds, columns_of_plans, legend, sentence, table
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
    every: bool = False
    """A row for every plan that was looked at, and not only for those that differ in kind."""
    wide: bool = False
    """Every column, however long the lines are."""


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
    choice = recommended(found, wish)
    if form.as_json:
        _print_json(_rows(found, choice, wish, form))
    elif form.emit and choice:
        _emit(_config(wanted, choice.plan, hardware))
    elif form.explain and found:
        _explain(wanted.subject, hardware, wish, choice.plan if choice else found[0])
    elif choice and not form.emit:
        _show(asked_for(wanted.subject, hardware, wish, form.gpu_hour_price), _rows(found, choice, wish, form), choice, wish, form)
    if choice is None:
        tell(refusal(wanted.subject, hardware, wish, found))
        raise typer.Exit(NO_FIT)


def best_config(name: str, hardware: Cluster, wish: Wish) -> dict[str, Any]:
    """Returns the config of the best plan for a model.

    Raises:
        CannotPlan: nothing fits, or a config cannot name the model.
        ConfigError: its `config.json` cannot be read.
    """
    wanted = target(name)
    found = plans(wanted.subject, hardware, wish)
    choice = recommended(found, wish)
    if choice is None:
        raise CannotPlan(refusal(wanted.subject, hardware, wish, found))
    return _config(wanted, choice.plan, hardware)


def _emit(config: dict[str, object]) -> None:
    from configs.load import as_yaml  # here, because the other answers do without

    sys.stdout.write(as_yaml(config))


def _config(wanted: Target, plan: Plan, hardware: Cluster) -> dict[str, Any]:
    if wanted.kind is None:
        raise CannotPlan("a config names a model of the catalogue: a model from a folder cannot be emitted")
    if plan.checkpoint.assumed:
        raise CannotPlan(
            f"no {plan.checkpoint.layout.quantization} checkpoint of {wanted.subject.title} is known: plan one by its repository"
        )
    return emitted(wanted.kind, plan, hardware)


def _rows(found: tuple[Plan, ...], choice: Choice | None, wish: Wish, form: Form) -> list[Record]:
    """Returns what is shown: every plan for scripts and `--all`, else the best and those that differ from it in kind."""
    by_cost = form.gpu_hour_price is not None
    kinds = rows(found, choice, wish, by_cost=by_cost) if choice else ()
    asked = Asked(wish.load, form.gpu_hour_price)
    if not (form.as_json or form.every):
        return records([row.plan for row in kinds], choice, kinds, asked)
    return records(sorted(found, key=cost) if by_cost else found, choice, kinds, asked)


def _explain(subject: Subject, hardware: Cluster, wish: Wish, plan: Plan) -> None:
    title = f"{subject.title} {plan.checkpoint.layout.quantization.upper()} as {shape(plan.engine.parallel)} on {hardware}"
    width = _columns()
    end = limiting(limits(plan, wish.load), plan, wish.load)
    _print(sentence(f"{title}. Each quantity, below it how it is counted, in brackets where the rule is from.", width))
    _print(sentence(f"Limited by: {end.part}; {end.change}.", width), style="bold")
    _print("")
    _print(arithmetic(explain(plan, wish.load), width))


def _show(asked: str, shown: list[Record], choice: Choice, wish: Wish, form: Form) -> None:
    width, priced = _columns(), form.gpu_hour_price is not None
    _print(sentence(asked, width))
    _print(sentence(best_plan(choice, wish.load, form.gpu_hour_price), width), style="bold")
    _print("")
    made = table(columns_of_plans(every=form.every, priced=priced), shown, None if form.wide else width)
    _print("\n".join(made.lines))
    _print("")
    _print(sentence(legend(made, priced=priced), width), style="dim")
    more = "--explain shows" if form.every else "--all shows every plan, --explain"
    _print(sentence(f"{more} the best one's arithmetic, --emit its config.", width), style="dim")


def _columns() -> int:
    """Returns the characters of a line: the terminal's, or 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def _print(text: str, style: str | None = None) -> None:
    """Prints lines as they are; a style shows on terminals only."""
    out.print(text, style=style, markup=False, emoji=False, soft_wrap=True)


def plan_herd(
    paths: Sequence[Path], sets: Sequence[str], hardware: Cluster | None, nodes: int | None, form: Form, vllm: Version = VLLM
) -> None:
    """Checks a whole herd against a whole cluster and tells the answer.

    Raises:
        CannotPlan: a model's shape cannot be chosen, or its files not read.
        ConfigError: the config cannot be used.
        typer.Exit: with 1 where it does not fit.
    """
    # Imported here, because one model is answered before they would be.
    from cluster.planner.choice.herds import herd_in_words, herd_records
    from cluster.planner.herd_fit import known_cluster
    from cluster.scaling.config_problems import problems
    from configs.load import loaded

    config = loaded(paths, sets, problems).config
    known = hardware or known_cluster(config)
    if known is not None and nodes is not None:
        known = replace(known, nodes=nodes)
    found = checked(config, known, vllm)[1]
    asked = Asked(Wish().load, form.gpu_hour_price)
    shown = herd_records(found, asked)
    if form.as_json:
        _print_json(shown)
    else:
        _show_herd(herd_in_words(config.name, known, found, asked, vllm), shown, found.costs, form)
    wrong = (*found.refusals, *found.shortages)
    if wrong:
        tell("\n".join(wrong))
        raise typer.Exit(NO_FIT)


def _show_herd(about: str, shown: list[Record], costs: tuple[str, ...], form: Form) -> None:
    width, priced = _columns(), form.gpu_hour_price is not None
    _print(sentence(about, width), style="bold")
    _print("")
    made = table(columns_of_herds(priced=priced), shown, None if form.wide else width)
    _print("\n".join(made.lines))
    told = [legend(made, priced=priced)] if any(row["tokens_s"] for row in shown) else []
    for one in ("", *costs, *told) if costs or told else ():
        _print(sentence(one, width), style="dim")


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
