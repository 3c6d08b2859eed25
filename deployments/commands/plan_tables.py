"""Plans as tables for `rich`. Decides nothing."""

from collections.abc import Iterable

from rich.table import Column, Table

from cluster.catalogue.hardware import GIB
from cluster.planner.capacity import LENGTHS
from cluster.planner.explain import Line
from cluster.planner.herd_fit import Assessment, Verdict
from cluster.planner.search import Plan, shape

#: Rows of the table: the best of each kind, a kind being a number of GPUs and a quantisation.
MOST_ROWS = 24
HEADINGS = ("GPUs", "shape", "weights", "KV", "GiB/GPU", "pool, tokens", "longest", " · ".join(LENGTHS), "tok/s", "per user", "TTFT")


def best_of_each_kind(plans: Iterable[Plan]) -> list[Plan]:
    """Returns the first plan for each number of GPUs, quantisation and KV cache, in the order of the plans; those that fit stand first."""
    kinds: dict[tuple[object, ...], Plan] = {}
    for plan in plans:
        kinds.setdefault((plan.gpus, plan.checkpoint.layout.quantization, plan.engine.settings.kv_dtype, plan.fits), plan)
    fitting = [plan for plan in kinds.values() if plan.fits]
    return (fitting or list(kinds.values()))[:MOST_ROWS]


def plans_table(title: str, plans: Iterable[Plan], gpu_hour_price: float | None) -> Table:
    """Returns a table with a row for each plan."""
    table = Table(title=title, title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("shape", "weights", "KV") else "right", overflow="fold")
    if gpu_hour_price is not None:
        table.add_column("per 1M", justify="right")
    for plan in plans:
        table.add_row(*_row(plan, gpu_hour_price), style="" if plan.fits else "dim")
    return table


def _row(plan: Plan, gpu_hour_price: float | None) -> list[str]:
    found, speed = plan.capacity, plan.speed
    row = [
        str(plan.gpus),
        shape(plan.engine.parallel),
        plan.checkpoint.layout.quantization,
        plan.engine.settings.kv_dtype,
        f"{found.weights_bytes / GIB:.1f}",
        f"{found.pool_tokens:,}",
        f"{found.max_context_tokens:,}",
        " · ".join(map(str, found.concurrent.values())),
        *((f"{speed.replica_tokens_s:,.0f}", f"{speed.user_tokens_s:.0f}", f"{speed.ttft_s:.2f} s") if speed else ("–", "–", "–")),
    ]
    price = [] if gpu_hour_price is None else [f"{speed.cost_per_million_tokens(gpu_hour_price):.2f}" if speed else "–"]
    return row + price


def lines_table(title: str, lines: Iterable[Line]) -> Table:
    """Returns a table with the arithmetic of one plan."""
    table = Table("quantity", "value", "how", "source", title=title, title_justify="left")
    for line in lines:
        table.add_row(line.what, line.value, line.how, line.source)
    return table


def herd_table(title: str, found: Assessment) -> Table:
    """Returns a table with a row for each model of a herd; names are whole, as some differ only at their end (`…:prefill`)."""
    table = Table(
        Column("model", overflow="fold"),
        "replicas",
        "shape",
        "GiB/GPU",
        "pool, tokens",
        "longest",
        "verdict",
        title=title,
        title_justify="left",
    )
    for one in found.verdicts:
        table.add_row(*_verdict(one))
    return table


def _verdict(one: Verdict) -> list[str]:
    replicas, parallel = str(one.model.scale.min_replicas), shape(one.model.parallel)
    if one.capacity is None:
        return [one.model.id, replicas, parallel, "–", "–", "–", "no GPU known"]
    sizes = [f"{one.capacity.weights_bytes / GIB:.1f}", f"{one.capacity.pool_tokens:,}", f"{one.capacity.max_context_tokens:,}"]
    return [one.model.id, replicas, parallel, *sizes, "[red]does not fit[/red]" if one.problems else "[green]fits[/green]"]
