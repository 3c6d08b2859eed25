"""A whole herd against a whole cluster: does every model fit its GPUs, and do all replicas fit the nodes together.

Decides what `herd plan CONFIG.yaml` tells and `herd up` believes, and which shape `parallel: auto` becomes. Leaves one engine's memory to
`cluster.planner.capacity`, the choice of a shape to `cluster.planner.search`, and legality to `cluster.catalogue.models`, which every
config has passed already.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import Checkpoint, Layout
from cluster.catalogue.hardware import Cluster, Gpu, Node, cluster_of, gpu_of
from cluster.catalogue.models import CATALOGUE
from cluster.planner.capacity import Capacity, capacity
from cluster.planner.emit import argued
from cluster.planner.engine_groups import model_of, pools
from cluster.planner.legality import handover_refusal, refusals, stored_refusals
from cluster.planner.memory.engine import GPU_MEMORY_UTILIZATION, Engine, KvDtype, Settings
from cluster.planner.option_costs import costs
from cluster.planner.placement import GPUS_PER_NODE, blocks
from cluster.planner.refusal import refusal
from cluster.planner.search import Subject, Wish, plans
from configs.schema import Config, Model, Parallelism


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint's own files say, where they were read."""

    architecture: Architecture
    layout: Layout


@dataclass(frozen=True, slots=True)
class Verdict:
    """One model of a herd on its GPUs."""

    model: Model
    engine: Engine | None
    """None: it runs where no GPU is known."""
    capacity: Capacity | None
    refusals: tuple[str, ...] = ()
    """What cannot work at all; memory is in the capacity's problems."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong with it."""
        return (*self.refusals, *(self.capacity.problems if self.capacity else ()))


@dataclass(frozen=True, slots=True)
class Assessment:
    """A herd on its cluster, with as many replicas as it starts with."""

    verdicts: tuple[Verdict, ...]
    gpus: int
    nodes: int
    """Nodes that the replicas take, each on as few as it can be."""
    too_many: tuple[str, ...] = ()
    """What the cluster has too little of."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """What nobody can overrule."""
        return tuple(f"{one.model.id}: {reason}" for one in self.verdicts for reason in one.refusals)

    @property
    def costs(self) -> tuple[str, ...]:
        """What options cost that the models ask for."""
        return tuple(f"{one.model.id}: {cost}" for one in self.verdicts if one.engine for cost in costs(one.engine))

    @property
    def shortages(self) -> tuple[str, ...]:
        """What the arithmetic says about memory and GPUs."""
        found = (f"{one.model.id}: {problem}" for one in self.verdicts if one.capacity for problem in one.capacity.problems)
        return (*found, *self.too_many)


class NoShape(ValueError):
    """`parallel: auto`, and no shape fits, or there is no hardware to choose for; the message says why."""


def known_cluster(config: Config) -> Cluster | None:
    """The cluster that a config describes: its `hardware`, else the one GPU that its models name, in nodes of 8."""
    if config.hardware is not None:
        return cluster_of(config.hardware)
    named = {gpu.name: gpu for model in config.models if (gpu := gpu_of(model.accelerator))}
    return Cluster(Node(next(iter(named.values())), GPUS_PER_NODE)) if len(named) == 1 else None


def assess(config: Config, cluster: Cluster | None, stored: Mapping[str, Stored] | None = None) -> Assessment:
    """A herd on a cluster; without one, each model on the GPU that its accelerator names.

    Args:
        config: the herd; `parallel: auto` has been chosen already.
        cluster: what there is.
        stored: by model id, what checkpoints say that lie on this machine.
    """
    verdicts = tuple(_verdict(pool, cluster, (stored or {}).get(model_of(pool.id))) for pool in pools(config.models))
    per_node = cluster.node.gpus if cluster else GPUS_PER_NODE
    pieces: dict[str, Counter[int]] = {}
    for one in verdicts:
        if one.engine:
            of_its_gpu = pieces.setdefault(one.engine.gpu.name, Counter())
            for size, count in blocks(one.model.parallel, per_node).items():
                of_its_gpu[size] += count * one.model.scale.min_replicas
    gpus = sum(size * count for sizes in pieces.values() for size, count in sizes.items())
    nodes = sum(nodes_for(sizes, per_node) for sizes in pieces.values())
    return Assessment(verdicts, gpus, nodes, tuple(_too_many(cluster, gpus, nodes)))


def _too_many(cluster: Cluster | None, gpus: int, nodes: int) -> Iterator[str]:
    if cluster and cluster.nodes is not None and nodes > cluster.nodes:
        yield f"the herd takes {gpus} GPUs on {nodes} nodes of {cluster.node.gpus}; there are {cluster.nodes}"


def nodes_for(pieces: Mapping[int, int], per_node: int) -> int:
    """Nodes that so many pieces of so many GPUs take, none of them split: the largest first, each where it fills a node best.

    Args:
        pieces: how many there are of each size; none is larger than a node.
        per_node: GPUs of a node.
    """
    nodes, free = 0, Counter[int]()
    for size, count in sorted(pieces.items(), reverse=True):
        left = count
        for room in sorted(free):
            left -= _fill(free, room, size, left)
        each = per_node // size
        opened = -(-left // each)
        free[per_node] += opened
        nodes += opened
        _fill(free, per_node, size, left)
    return nodes


def _fill(free: Counter[int], room: int, size: int, count: int) -> int:
    """Puts pieces on the nodes that have just so much room; how many found a place."""
    each = room // size
    if not each:
        return 0
    full = min(free[room], count // each)
    free[room] -= full
    free[room - each * size] += full
    rest = min(count - full * each, each if free[room] else 0)
    if rest:
        free[room] -= 1
        free[room - rest * size] += 1
    return full * each + rest


def _verdict(model: Model, cluster: Cluster | None, stored: Stored | None) -> Verdict:
    gpu = _gpu(model, cluster)
    engine = gpu and engine_of(model, gpu, stored)
    if not engine:
        return Verdict(model, None, None)
    return Verdict(model, engine, capacity(engine), tuple(_refusals(model, engine)))


def _refusals(model: Model, engine: Engine) -> Iterator[str]:
    named = gpu_of(model.accelerator)
    if named and not engine.gpu.name.startswith(named.name):
        yield f"it asks for {named.name}, the cluster has {engine.gpu.name}"
    yield from (f"parallel.{name}: {reason}" for name, reason in refusals(engine.architecture, model.parallel))
    prefill = model.prefill and model.prefill.parallel
    if prefill and (reason := handover_refusal(engine.architecture, prefill.tensor, model.parallel.tensor)):
        yield f"prefill.parallel.tensor: {reason}"
    yield from (reason for _, reason in stored_refusals(engine.layout, engine.settings.kv_dtype == "fp8", engine.gpu))


def _gpu(model: Model, cluster: Cluster | None) -> Gpu | None:
    if model.accelerator == "cpu":
        return None
    return cluster.node.gpu if cluster else gpu_of(model.accelerator)


def engine_of(model: Model, gpu: Gpu, stored: Stored | None = None) -> Engine | None:
    """A model entry as an engine to be planned; none where its kind has no architecture."""
    entry = CATALOGUE[model.kind]
    if stored:
        return Engine(stored.architecture, stored.layout, gpu, model.parallel, settings_of(model))
    if entry.decoder is None:
        return None
    checkpoint = _checkpoint(model)
    return Engine(checkpoint.shaped(entry.decoder), checkpoint.layout, gpu, model.parallel, settings_of(model))


def _checkpoint(model: Model) -> Checkpoint:
    entry = CATALOGUE[model.kind]
    return entry.known(model.checkpoint) or Checkpoint(model.checkpoint, entry.layout(model.quantization))


def settings_of(model: Model) -> Settings:
    """What a model entry tells vLLM that memory depends on."""
    said = model.engine
    overrides = said.get("hf_overrides")
    text = overrides.get("text_config", overrides) if isinstance(overrides, dict) else {}
    return Settings(
        context_tokens=model.context_tokens,
        kv_dtype=_kv_dtype(said),
        hybrid_kv=not said.get("disable_hybrid_kv_cache_manager"),
        hands_over="kv_transfer_config" in said,
        drafts=model.draft is not None or "eagle" in str(said.get("speculative_config", "")).lower(),
        gpu_memory_utilization=_number(said.get("gpu_memory_utilization")) or GPU_MEMORY_UTILIZATION,
        max_num_seqs=_whole(said.get("max_num_seqs")),
        max_num_batched_tokens=_whole(said.get("max_num_batched_tokens")),
        max_positions=_whole(text.get("max_position_embeddings")) if isinstance(text, dict) else None,
    )


def _kv_dtype(said: Mapping[str, Any]) -> KvDtype:
    return "fp8" if str(said.get("kv_cache_dtype")).startswith("fp8") else "bf16"


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and 0 < value <= 1 else None


def chosen(config: Config, cluster: Cluster | None) -> Config:
    """The herd with a shape for every `parallel: auto`: the fewest GPUs that hold the entry's context. On a CPU it is one worker.

    Raises:
        NoShape: none fits, or no GPU is known.
    """
    models = tuple(_chosen(model, cluster) if model.parallel.auto else model for model in config.models)
    return config.model_copy(update={"models": models})


def _chosen(model: Model, cluster: Cluster | None) -> Model:
    if model.accelerator == "cpu":
        return model.model_copy(update={"parallel": Parallelism()})
    gpu, entry = _gpu(model, cluster), CATALOGUE[model.kind]
    if gpu is None or entry.decoder is None:
        raise NoShape(f"{model.id}: parallel: auto needs a GPU to choose for; name it in hardware or as the accelerator")
    here = cluster or Cluster(Node(gpu, GPUS_PER_NODE))
    settings = settings_of(pools([model])[0])
    subject = Subject(model.id, entry.decoder, (_checkpoint(model),), entry.context_tokens)
    wish = Wish(
        context_tokens=model.context_tokens,
        kv_dtype=settings.kv_dtype,
        hybrid_kv=settings.hybrid_kv,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        max_num_seqs=settings.max_num_seqs,
        data=1,
    )
    found = plans(subject, here, wish)
    best = next((plan for plan in found if plan.fits), None)
    if best is None:
        raise NoShape(refusal(subject, here, wish, found))
    return model.model_copy(update={"parallel": best.engine.parallel, "engine": argued(best.engine.settings) | model.engine})
