"""A whole herd against a whole cluster: does every model fit its GPUs, and do all replicas fit the nodes together.

Decides what `herd plan CONFIG.yaml` tells and `herd up` believes, and which shape `parallel: auto` becomes. Leaves one engine's memory to
`cluster.planner.capacity`, the choice of a shape to `cluster.planner.search`, and legality to `cluster.catalogue.models`, which every
config has passed already.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import Checkpoint, Stored
from cluster.catalogue.hardware import Cluster, Gpu, Node, cluster_of, gpu_of
from cluster.catalogue.hub_names import stored_layout
from cluster.catalogue.models import CATALOGUE
from cluster.planner.capacity import Capacity, capacity
from cluster.planner.emit import argued
from cluster.planner.engine_groups import model_of, pools
from cluster.planner.legality import handover_refusal, refusals, stored_refusals
from cluster.planner.memory.engine import FIRST_UPLOADS_BEFORE, VLLM, Engine, Version
from cluster.planner.memory.said import not_counted, settings_of, told
from cluster.planner.option_costs import costs
from cluster.planner.placement import GPUS_PER_NODE, blocks
from cluster.planner.refusal import refusal
from cluster.planner.search import Subject, Wish, plans
from configs.parallelism import Parallelism
from configs.schema import Config, Model


@dataclass(frozen=True, slots=True)
class Verdict:
    """One model of a herd on its GPUs."""

    model: Model
    engine: Engine | None
    """None: it runs where no GPU is known."""
    capacity: Capacity | None
    refusals: tuple[str, ...] = ()
    """Problems that cannot work at all; memory is in the capacity's problems."""
    gpu: Gpu | None = None
    """The hardware that it runs on, where that is known."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong with it."""
        return (*self.refusals, *(self.capacity.problems if self.capacity else ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns the costs of options, and the parts that the arithmetic leaves out."""
        if self.gpu is None:
            return ()
        if self.engine is None:
            return ("the planner does not know its shape (no config.json of it is on this machine): its memory is not checked",)
        return (*costs(self.engine), *not_counted(self.model.engine))


@dataclass(frozen=True, slots=True)
class Assessment:
    """A herd on its cluster, with as many replicas as it starts with."""

    verdicts: tuple[Verdict, ...]
    gpus: int
    nodes: int
    """Nodes that the replicas take, each on as few as it can be."""
    most_gpus: int = 0
    """GPUs that it takes with as many replicas as its models may have."""
    too_many: tuple[str, ...] = ()
    """Resources of which the cluster has too little."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """Returns the problems that nobody can overrule."""
        return tuple(f"{one.model.id}: {reason}" for one in self.verdicts for reason in one.refusals)

    @property
    def costs(self) -> tuple[str, ...]:
        """Returns the costs of options that the models ask for."""
        return tuple(f"{one.model.id}: {cost}" for one in self.verdicts for cost in one.notes)

    @property
    def shortages(self) -> tuple[str, ...]:
        """Returns the arithmetic's problems with memory and GPUs."""
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


def assess(config: Config, cluster: Cluster | None, stored: Mapping[str, Stored] | None = None, vllm: Version = VLLM) -> Assessment:
    """A herd on a cluster; without one, each model on the GPU that its accelerator names.

    Args:
        config: the herd; `parallel: auto` has been chosen already.
        cluster: what there is.
        stored: by model id, what checkpoints say that lie on this machine.
        vllm: the version that serves them.
    """
    verdicts = tuple(_verdict(pool, cluster, (stored or {}).get(model_of(pool.id)), vllm) for pool in pools(config.models))
    per_node = cluster.node.gpus if cluster else GPUS_PER_NODE
    pieces: dict[str, Counter[int]] = {}
    for one in verdicts:
        if one.gpu:
            of_its_gpu = pieces.setdefault(one.gpu.name, Counter())
            for size, count in blocks(one.model.parallel, per_node).items():
                of_its_gpu[size] += count * one.model.scale.min_replicas
    gpus = sum(size * count for sizes in pieces.values() for size, count in sizes.items())
    nodes = sum(nodes_for(sizes, per_node) for sizes in pieces.values())
    most = sum(one.model.parallel.gpus * one.model.scale.max_replicas for one in verdicts if one.gpu)
    return Assessment(verdicts, gpus, nodes, most, tuple(_too_many(cluster, gpus, nodes, verdicts)))


def _too_many(cluster: Cluster | None, gpus: int, nodes: int, verdicts: Iterable[Verdict]) -> Iterator[str]:
    if not cluster or cluster.nodes is None:
        return
    if nodes > cluster.nodes:
        yield f"the herd takes {gpus} GPUs on {nodes} nodes of {cluster.node.gpus}; there are {cluster.nodes}"
    for one in verdicts:
        taken = nodes_for(blocks(one.model.parallel, cluster.node.gpus), cluster.node.gpus)
        if one.gpu and one.model.on_demand and taken > cluster.nodes:
            takes = f"{one.model.parallel.gpus} GPUs on {taken} nodes of {cluster.node.gpus}"
            yield f"{one.model.id} can never start: a replica takes {takes}; there are {cluster.nodes}"


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


def _verdict(model: Model, cluster: Cluster | None, stored: Stored | None, vllm: Version) -> Verdict:
    gpu = _gpu(model, cluster)
    engine = gpu and engine_of(model, gpu, stored, vllm)
    if not engine:
        return Verdict(model, None, None, gpu=None if CATALOGUE[model.kind].not_deployable else gpu)
    return Verdict(model, engine, capacity(engine), tuple(_refusals(model, engine)), gpu)


def _refusals(model: Model, engine: Engine) -> Iterator[str]:
    named = gpu_of(model.accelerator)
    if named and engine.gpu.chip != named.chip:
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


def engine_of(model: Model, gpu: Gpu, stored: Stored | None = None, vllm: Version = VLLM) -> Engine | None:
    """A model entry as an engine to be planned; none where its kind has no architecture."""
    entry = CATALOGUE[model.kind]
    settings = settings_of(model, vllm)
    if stored:
        return told(
            Engine(stored.architecture, stored.layout, gpu, model.parallel, settings), model.engine, images=model.images_per_prompt != 0
        )
    if entry.decoder is None:
        return None
    checkpoint = _checkpoint(model, entry.decoder)
    return told(
        Engine(
            checkpoint.shaped(entry.decoder, first_upload=vllm < FIRST_UPLOADS_BEFORE), checkpoint.layout, gpu, model.parallel, settings
        ),
        model.engine,
        images=model.images_per_prompt != 0,
    )


def _checkpoint(model: Model, architecture: Architecture) -> Checkpoint:
    """The one that the catalogue knows; else what its name says, where that is the quantisation of the entry; else the usual one of it."""
    entry = CATALOGUE[model.kind]
    if known := entry.known(model.checkpoint):
        return known
    by_name = stored_layout(model.checkpoint.rpartition("/")[2].lower(), architecture)
    found = by_name if by_name.quantization == model.quantization else entry.layout(model.quantization)
    return Checkpoint(model.checkpoint, found)


def chosen(config: Config, cluster: Cluster | None, stored: Mapping[str, Stored] | None = None, vllm: Version = VLLM) -> Config:
    """The herd with a shape for every `parallel: auto`: the fewest GPUs that hold the entry's context. On a CPU it is one worker.

    Raises:
        NoShape: none fits, or no GPU is known.
    """
    known = stored or {}
    models = tuple(_chosen(model, cluster, known.get(model.id), vllm) if model.parallel.auto else model for model in config.models)
    return config.model_copy(update={"models": models})


def _chosen(model: Model, cluster: Cluster | None, stored: Stored | None, vllm: Version) -> Model:
    if model.accelerator == "cpu":
        return model.model_copy(update={"parallel": Parallelism()})
    gpu = _gpu(model, cluster)
    if gpu is None:
        raise NoShape(f"{model.id}: parallel: auto needs a GPU to choose for; name it in hardware or as the accelerator")
    engine = engine_of(model, gpu, stored, vllm)
    if engine is None:
        raise NoShape(
            f"{model.id}: parallel: auto needs the model's shape, which is not known: say the sizes, as in parallel: {{tensor: 1}}"
        )
    here = cluster or Cluster(Node(gpu, GPUS_PER_NODE))
    settings = replace(engine.settings, hybrid_kv=settings_of(pools([model])[0]).hybrid_kv)
    checkpoint = Checkpoint(model.checkpoint, engine.layout)
    subject = Subject(model.id, engine.architecture, (checkpoint,), engine.architecture.longest_tokens, only_these=True)
    wish = Wish(
        context_tokens=model.context_tokens,
        kv_dtype=settings.kv_dtype,
        hybrid_kv=settings.hybrid_kv,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        max_num_seqs=settings.max_num_seqs,
        data=1,
        told=settings,
    )
    found = plans(subject, here, wish)
    best = next((plan for plan in found if plan.fits), None)
    if best is None:
        raise NoShape(refusal(subject, here, wish, found))
    return model.model_copy(update={"parallel": best.engine.parallel, "engine": argued(best.engine.settings) | model.engine})
