"""Finds what a model entry of a config asks for that its kind cannot do, and sections that name different machines.

Decides over the catalogue's facts and vLLM's legal parallel shapes. How much memory and time a legal entry takes is decided elsewhere.
"""

from collections.abc import Iterator

from cluster.catalogue.entry import Entry
from cluster.catalogue.hardware import NODES, Node, cluster_of, gpu_of
from cluster.catalogue.models import CATALOGUE
from cluster.catalogue.weights import source_of
from cluster.planner.legality import refusals
from cluster.planner.placement import GPUS_PER_NODE
from configs.clouds import GcpMachine
from configs.cross_checks import Check
from configs.inventory import Inventory
from configs.names import NodeName
from configs.schema import Config, Hardware, Model

#: Machines of Google Cloud, as the nodes that the planner knows.
GCP_NODES: dict[GcpMachine, NodeName] = {
    "a3-highgpu-8g": "a3-highgpu-8g",
    "a3-megagpu-8g": "a3-highgpu-8g",
    "a3-ultragpu-8g": "a3-ultragpu-8g",
}


def model_problems(model: Model) -> Iterator[tuple[str, str]]:
    """Yields each demand of a model entry that its kind cannot meet: a field's path inside the entry, and the reason."""
    entry = CATALOGUE[model.kind]
    if entry.not_deployable:
        yield "kind", f"{entry.title} {entry.not_deployable}"
    if model.images_per_prompt and "image" not in entry.modalities:
        yield "images_per_prompt", f"{entry.title} reads text only; leave this out"
    yield from _checkpoint_problems(model, entry)
    if entry.decoder and not model.parallel.auto:
        for field, reason in refusals(entry.decoder, model.parallel):
            yield f"parallel.{field}", f"{entry.title}: {reason}"


def _checkpoint_problems(model: Model, entry: Entry) -> Iterator[tuple[str, str]]:
    known = entry.known(model.checkpoint)
    _, mark, revision = model.checkpoint.partition("@")
    if mark and "://" not in model.checkpoint and not model.checkpoint.startswith("/"):
        if source_of(model.checkpoint) is None:
            yield "checkpoint", f"{model.checkpoint!r} is no repository@revision; a revision is a branch, a tag or a commit"
        elif model.engine.get("revision", revision) != revision:
            yield "checkpoint", f"names the revision {revision!r}, engine.revision another one; leave engine.revision out"
    most = (known and known.context_tokens) or entry.context_tokens
    if model.context_tokens > most:
        yield "context_tokens", f"{model.context_tokens} is more than {entry.title} can take ({most})"
    if known and known.layout.quantization != model.quantization:
        stored = known.layout.quantization
        yield "quantization", f"{known.repository} stores {stored}, not {model.quantization}; write quantization: {stored}"


def config_problems(config: Config) -> Iterator[tuple[str, str]]:
    """Yields each place where `cluster`, `hardware` and the models' accelerators name different machines, or different numbers of them."""
    machines = list(_machines(config.cluster)) if config.cluster is not None else []
    if config.hardware is not None:
        for said, node in machines:
            yield from _other_machine(config.hardware, said, node)
        if config.cluster is not None:
            yield from _other_number(config.hardware, config.cluster)
        machines = [(f"hardware has {cluster_of(config.hardware).node}", cluster_of(config.hardware).node), *machines]
    yield from _wide_tensors(config)
    for index, model in enumerate(config.models):
        named = gpu_of(model.accelerator)
        other = next((said for said, node in machines if named is not None and node.gpu.chip != named.chip), None)
        if other is not None:
            yield f"models[{index}].accelerator", f"is {model.accelerator}, but {other}: Ray would never find a place for it"


def _wide_tensors(config: Config) -> Iterator[tuple[str, str]]:
    per_node = cluster_of(config.hardware).node.gpus if config.hardware is not None else GPUS_PER_NODE
    for index, model in enumerate(config.models):
        shapes = {"parallel": model.parallel, "prefill.parallel": model.prefill and model.prefill.parallel}
        for field, shape in shapes.items():
            if shape and model.accelerator != "cpu" and shape.tensor > per_node and not shape.across_nodes:
                yield (
                    f"models[{index}].{field}.tensor",
                    f"{shape.tensor} GPUs are more than a node's {per_node}: each layer would wait for the network twice. Use pipeline or "
                    "data for more GPUs, or allow it by across_nodes: true",
                )


def _machines(inventory: Inventory) -> Iterator[tuple[str, Node]]:
    """Yields the machines that clouds have by their names."""
    if inventory.aws is not None:
        node = NODES[inventory.aws.machine]
        yield f"cluster.aws.machine {inventory.aws.machine} has {node}", node
    if inventory.gcp is not None:
        node = NODES[GCP_NODES[inventory.gcp.machine]]
        yield f"cluster.gcp.machine {inventory.gcp.machine} has {node}", node


def _other_machine(hardware: Hardware, said: str, node: Node) -> Iterator[tuple[str, str]]:
    planned = cluster_of(hardware).node
    if planned.gpus != node.gpus or (hardware.custom_gpu is None and planned.gpu.chip != node.gpu.chip):
        field = next(name for name in ("node", "gpu", "custom_gpu") if getattr(hardware, name) is not None)
        yield f"hardware.{field}", f"has {planned}, but {said}"


def _other_number(hardware: Hardware, inventory: Inventory) -> Iterator[tuple[str, str]]:
    """Compares the number of nodes with GPUs. On hosts of one's own the head may have some too; elsewhere it has none."""
    numbers = {f"cluster.{name}": {site.workers} for name in ("aws", "gcp", "kuberay") if (site := getattr(inventory, name)) is not None}
    if inventory.onprem is not None:
        workers = len(inventory.onprem.workers)
        numbers["cluster.onprem"] = {workers, workers + 1} - {0}
    for name, possible in numbers.items():
        if hardware.nodes is not None and hardware.nodes not in possible:
            yield "hardware.nodes", f"is {hardware.nodes}, but {name} names {' or '.join(map(str, sorted(possible)))} that can have GPUs"


#: What `configs.load.read` asks beside the schema.
problems = Check(model_problems, config_problems)
