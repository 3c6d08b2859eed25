"""Why nothing meets a wish, and the nearest that does: one thing of the wish is given up at a time."""

from collections.abc import Iterator
from dataclasses import replace

from cluster.catalogue.hardware import GIB, Cluster
from cluster.planner.legality import tensor_refusal, tensor_sizes
from cluster.planner.search import FIDELITY, LEAST_CONTEXT_TOKENS, Plan, Subject, Wish, plans, shape


def refusal(subject: Subject, cluster: Cluster, wish: Wish, found: tuple[Plan, ...]) -> str:
    """Why nothing meets a wish, and the nearest that does, in one sentence."""
    nearest = tuple(_alternatives(subject, cluster, wish))
    way_out = f": use {' or '.join(nearest)}" if nearest else ""
    return f"{_why(subject, cluster, wish, found)}{way_out}"


def _why(subject: Subject, cluster: Cluster, wish: Wish, found: tuple[Plan, ...]) -> str:
    if not found:
        return f"{subject.title} has no checkpoint in {wish.quantization}"
    best = found[0]
    what = f"{subject.title} {best.checkpoint.layout.quantization.upper()}"
    weights, memory = best.checkpoint.layout.weight_bytes(subject.architecture), (cluster.gpus or 0) * cluster.node.gpu.memory_bytes
    if best.legal and weights > memory > 0:
        return f"{what} needs {weights / GIB:,.0f} GiB of weights; {cluster} have {memory / GIB:,.0f}"
    return f"{what} on {cluster} as {shape(best.engine.parallel)}: {'; '.join(best.problems)}"


def _alternatives(subject: Subject, cluster: Cluster, wish: Wish) -> Iterator[str]:
    """Yields the parts of the wish that could be given up, one thing at a time, and what then fits."""
    if wish.tensor and tensor_refusal(subject.architecture, wish.tensor):
        most = max(size for size in tensor_sizes(subject.architecture) if size < wish.tensor)
        if plan := _first(subject, cluster, replace(wish, tensor=most)):
            yield shape(plan.engine.parallel)
    for word in FIDELITY if wish.quantization else ():
        if word == wish.quantization or (word == "nvfp4" and not cluster.node.gpu.fp4_flops):
            continue
        if (plan := _first(subject, cluster, replace(wish, quantization=word))) and not plan.checkpoint.assumed:
            yield f"{word.upper()} ({plan.checkpoint.layout.weight_bytes(subject.architecture) / GIB:,.0f} GiB)"
            break
    if wish.kv_dtype == "bf16" and _first(subject, cluster, replace(wish, kv_dtype="fp8")):
        yield "an fp8 KV cache"
    if not wish.hybrid_kv and _first(subject, cluster, replace(wish, hybrid_kv=True)):
        yield "the hybrid KV manager"
    yield from _more_nodes(subject, cluster, wish)
    yield from _less(subject, cluster, wish)


def _more_nodes(subject: Subject, cluster: Cluster, wish: Wish) -> Iterator[str]:
    for nodes in (2, 4, 8):
        if nodes > (cluster.nodes or 1) and (plan := _first(subject, replace(cluster, nodes=nodes), wish)):
            yield f"{nodes} nodes with {shape(plan.engine.parallel, brief=True)}"
            return


def _less(subject: Subject, cluster: Cluster, wish: Wish) -> Iterator[str]:
    if wish.context_tokens:
        longest = max((plan.capacity.max_context_tokens for plan in plans(subject, cluster, wish) if plan.legal), default=0)
        if LEAST_CONTEXT_TOKENS <= longest < wish.context_tokens:
            yield f"a context of {longest:,} tokens"


def _first(subject: Subject, cluster: Cluster, wish: Wish) -> Plan | None:
    best = next(iter(plans(subject, cluster, wish)), None)
    return best if best and best.fits else None
