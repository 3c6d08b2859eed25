"""`herd pull`: the weights of a herd's models, on every node that may serve them, before `herd up`.

Decides which weights go to which nodes, and how that is told. `deployments.weights` moves them.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cluster.catalogue.weights import Node, Source, may_serve, size, sources_of
from cluster.machine.local_node import NodeError
from configs.load import environment
from configs.schema import Config, Model
from deployments.commands.from_files import loaded_herd
from deployments.commands.terminal import More, Sets, files, out, progress, put, tell, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd, OperationError

if TYPE_CHECKING:  # they bring Ray and the Hub's client, and `herd plan` answers before those would be imported
    from deployments.weights.crew import Crew
    from deployments.weights.spread import Job, Need, Outcome, Whence

ORIGINS = ("auto", "hub", "node")


def pull(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [MODEL]…", help="A herd's YAML file (default: the herd that is up), and models of it (default: all)."
        ),
    ] = None,
    more: More = None,
    sets: Sets = None,
    whence: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="|".join(ORIGINS),
            help="The source of the files. auto: one node downloads, and the others get them from nodes. hub: each node downloads. "
            "node: they come only from nodes that have them.",
        ),
    ] = "auto",
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check the files that are there against their checksums. This needs no network.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="The name of the herd (the config's `name`). It is needed if several are up.")
    ] = None,
) -> None:
    """Bring the weights of models to every node that may serve them, each file checked; `herd up` then downloads nothing.

    A download that was broken off goes on where it stopped. A branch is taken as it is now; `checkpoint: repository@commit` pins it.

    \b
    herd pull configs/herd.yaml llama-4-scout
    herd pull --verify
    """
    if whence not in ORIGINS:
        raise typer.BadParameter(f"{whence!r} is none of {', '.join(ORIGINS)}", param_hint="--from")
    with told(OperationError, NodeError, interrupted="All files that have come stay: `herd pull` goes on from there."):
        herd, models = _asked(words or [], name, more or (), sets or ())
        failed = _verify(herd, models) if verify else _pull(herd, models, whence)
    if failed:
        raise typer.Exit(1)


def split(words: Sequence[str]) -> tuple[Path | None, tuple[str, ...]]:
    """Splits the words into a config and models: a first word that ends like a YAML file's name is the config."""
    if words and words[0].endswith((".yaml", ".yml")):
        return Path(words[0]), tuple(words[1:])
    return None, tuple(words)


def chosen(config: Config, wanted: Sequence[str]) -> tuple[Model, ...]:
    """Returns the models of these names, or all models if there are no names.

    Raises:
        OperationError: there is none of a name.
    """
    by_name = {name: model for model in config.models for name in (model.id, *model.aliases)}
    for name in wanted:
        if name not in by_name:
            raise OperationError(
                f"'{name}' is no model of this config, and no YAML file. Its models: {', '.join(m.id for m in config.models)}."
            )
    return tuple({by_name[name].id: by_name[name] for name in wanted}.values()) if wanted else config.models


def needs(models: Sequence[Model], nodes: Sequence[Node]) -> dict[Source, tuple[str, ...]]:
    """Returns for each source the ids of the nodes that may serve a model of it.

    Raises:
        OperationError: no node may serve a model.
    """
    found: dict[Source, dict[str, None]] = {}
    for model in models:
        for source in sources_of(model.checkpoint, model.engine).values():
            able = may_serve(model.accelerator, nodes)
            if not able:
                kind = "CPUs" if model.accelerator == "cpu" else f"GPUs ({model.accelerator})"
                raise OperationError(f"No node of the cluster may serve {model.id}: it asks for {kind}. `ray status` shows what there is.")
            found.setdefault(source, {}).update(dict.fromkeys(node.id for node in able))
    return {source: tuple(targets) for source, targets in found.items()}


def _asked(words: Sequence[str], name: str | None, more: Sequence[Path], sets: Sequence[str]) -> tuple[Herd, tuple[Model, ...]]:
    path, wanted = split(words)
    try:
        named = path is not None or more or sets
        herd = loaded_herd(files(path, more), sets) if named else operate.known(environment(), name)
    except OperationError as error:
        raise OperationError(f"{error} Or name a config: herd pull CONFIG {' '.join(wanted)}".rstrip()) from error
    models = chosen(herd.config, wanted)
    for model in models:
        if not sources_of(model.checkpoint, model.engine):
            put(progress, Text(f"{model.id}: {model.checkpoint} is not on the Hub; nothing to pull", "dim"))
    return herd, tuple(model for model in models if sources_of(model.checkpoint, model.engine))


@contextmanager
def _agents(herd: Herd, models: Sequence[Model]) -> Iterator[tuple["Crew", list["Need"]]]:
    """Starts an agent on each node of the herd's cluster. A Ray node that this machine had to start for it is stopped at the end."""
    with ExitStack() as stack:
        if herd.config.ray.address == "local" and herd.node.address is None:
            stack.callback(herd.node.stop)
        stack.enter_context(operate.connected(herd, lambda step: put(progress, Text(step, "dim")), start=True))
        from deployments.weights.cache import WeightsError
        from deployments.weights.crew import alive, crew_of
        from deployments.weights.spread import Need

        nodes = alive()
        wanted = [Need(source, targets) for source, targets in needs(models, nodes).items()]
        crew = stack.enter_context(crew_of(nodes))
        try:
            yield crew, wanted
        except WeightsError as error:
            raise OperationError(str(error)) from error


def _pull(herd: Herd, models: Sequence[Model], whence: str) -> bool:
    """Brings the weights; returns whether anything failed."""
    if not models:
        return False
    started = time.monotonic()
    with _agents(herd, models) as (crew, wanted):
        from deployments.weights.spread import Whence, jobs

        found = jobs(crew, wanted, Whence(whence), fresh=True, say=lambda sentence: put(progress, sentence))
        outcomes = [_brought(crew, job, Whence(whence)) for job in found]
        for outcome in outcomes:
            _tell(crew, outcome, time.monotonic() - started)
    return any(outcome.failed for outcome in outcomes)


def _brought(crew: "Crew", job: "Job", whence: "Whence") -> "Outcome":
    from deployments.commands.pull_progress import Board
    from deployments.weights.spread import bring

    if job.missing:
        lacking = ", ".join(crew.names[node] for node in job.missing)
        put(progress, f"{job.need.source} at {job.manifest.commit[:12]}, {size(job.manifest.size_bytes)}, comes to {lacking}")
    with Board(progress) as board:
        return bring(crew, job, whence, board.show)


def _tell(crew: "Crew", outcome: "Outcome", took_s: float) -> None:
    job = outcome.job
    for node, paths in outcome.damaged.items():
        put(progress, f"{crew.names[node]}: {', '.join(paths)} arrived damaged and came again")
    reasons: dict[str, list[str]] = {}
    for node, error in outcome.failed.items():
        reasons.setdefault(str(error), []).append(crew.names[node])
    for reason, nodes in reasons.items():
        tell(f"{job.need.source} did not come to {', '.join(nodes)}: {reason}")
    there = [node for node in job.need.targets if node not in outcome.failed]
    if there:
        came = f"in {took_s:.0f} s" if set(there) & set(job.missing) else "already"
        put(
            out,
            f"{job.need.source} at {job.manifest.commit[:12]} is whole on {len(there)} of {len(job.need.targets)} nodes {came}: "
            f"{len(job.manifest.files)} files, {size(job.manifest.size_bytes)}",
        )


def _verify(herd: Herd, models: Sequence[Model]) -> bool:
    """Checks the files; returns whether any is missing or damaged."""
    if not models:
        return False
    bad = False
    with _agents(herd, models) as (crew, wanted):
        for need in wanted:
            for node, answer in crew.ask(need.targets, "damaged", need.source).items():
                bad = not _verdict(f"{crew.names[node]}: {need.source}", answer) or bad
    return bad


def _verdict(what: str, answer: list[str] | Exception | None) -> bool:
    if isinstance(answer, Exception):
        tell(f"{what}: {answer}")
    elif answer is None:
        tell(f"{what} was never pulled here. `herd pull` brings it.")
    elif answer:
        tell(f"{what}: missing or damaged, and removed: {', '.join(answer)}. `herd pull` brings what is missing.")
    else:
        put(out, f"{what} is as it should be")
    return answer == []
