"""A herd's models as rows, and the sentence above them."""

from dataclasses import replace

from cluster.catalogue.checkpoints import Checkpoint
from cluster.catalogue.hardware import Cluster
from cluster.planner.capacity import Capacity
from cluster.planner.choice.record import KEYS, Asked, Record, of_plan, sizes
from cluster.planner.choice.sentences import load_in_words
from cluster.planner.herd_fit import Assessment, Verdict
from cluster.planner.memory.engine import Engine, Version
from cluster.planner.search import Plan, with_room
from cluster.planner.speed import Load, speed

FITS, TOO_LARGE, NO_GPU, NO_SHAPE = "fits", "does not fit", "no GPU known", "not checked"


def herd_records(found: Assessment, asked: Asked) -> list[Record]:
    """Returns a row for each model of a herd; values of a model that no plan can be made of are None."""
    return [_record(one, found.too_many, asked) for one in found.verdicts]


def _record(one: Verdict, too_many: tuple[str, ...], asked: Asked) -> Record:
    about: Record = {"model": one.model.id, "replicas": one.model.scale.min_replicas}
    if one.engine is None or one.capacity is None:
        shaped = {
            "parallel": sizes(one.model.parallel),
            "context_tokens": one.model.context_tokens,
        }
        return about | {"verdict": NO_SHAPE if one.gpu else NO_GPU} | dict.fromkeys(KEYS) | shaped
    row = of_plan(_plan(one, one.engine, one.capacity, asked.load), asked)
    problems = [*one.problems, *too_many]
    return about | {"verdict": TOO_LARGE if one.problems else FITS} | row | {"fits": not problems, "problems": problems}


def _plan(one: Verdict, engine: Engine, found: Capacity, load: Load) -> Plan:
    running = with_room(engine, found, load)
    return Plan(
        checkpoint=Checkpoint(one.model.checkpoint, engine.layout),
        engine=engine,
        capacity=found,
        concurrency=running,
        speed=None if one.problems else speed(engine, load, running),
        problems=one.problems,
        legal=not one.refusals,
        arguments=one.model.engine,
    )


def herd_in_words(name: str, cluster: Cluster | None, found: Assessment, asked: Asked, vllm: Version) -> str:
    """Returns whether a herd fits its machines, what it takes of them, and for which load its speed is told."""
    place = "" if cluster is None else f" on {cluster if cluster.nodes else f'nodes of {replace(cluster, nodes=1)}'}"
    if not found.most_gpus:
        return f"{name}{place} takes no GPUs that are known: its memory is not checked."
    there = cluster.gpus if cluster else None
    gpus = f"{found.gpus} GPU{'' if found.gpus == 1 else 's'}"
    more = f", and up to {found.most_gpus} as its load grows" if found.most_gpus > found.gpus else ""
    of = f"; there are {there}" if there else ""
    nodes = "1 node" if found.nodes == 1 else f"{found.nodes} nodes"
    verdict = "does not fit" if (*found.refusals, *found.shortages) else "fits"
    return (
        f"{name} {verdict}{place}, vLLM {'.'.join(map(str, vllm))}: it takes {gpus} on {nodes}{more}{of}. "
        f"Speeds are those of one replica for {load_in_words(asked.load)}."
    )
