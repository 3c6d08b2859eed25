"""The figures of a benchmark beside the plan's, as a table and for scripts. Decides only the looks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from deployments.commands.using.benchmark.beside_plan import Planned
from deployments.commands.using.benchmark.load import Load

#: By the client's names for them: what scripts get.
MEASURED = (
    "completed",
    "failed",
    "duration",
    "total_input_tokens",
    "total_output_tokens",
    "request_throughput",
    "output_throughput",
    "total_token_throughput",
    *(f"{point}_{name}_ms" for name in ("ttft", "tpot", "itl", "e2el") for point in ("mean", "median", "p99")),
)


def table(figures: Mapping[str, Any], plan: Planned | str) -> Table:
    """Returns a table with a row for each figure; the plan's column is there if there is a plan."""
    told = None if isinstance(plan, str) else plan
    shown = Table("", "median", "p99", *(("plan",) if told else ()))
    for column in shown.columns[1:]:
        column.justify = "right"
    rows = [
        ("to the first token", *_times(figures, "ttft"), told and _ms(told.ttft_ms)),
        ("between tokens", *_times(figures, "itl"), told and _ms(told.itl_ms)),
        ("a whole request", *_times(figures, "e2el"), "–"),
        ("output tokens/s", f"{figures['output_throughput']:,.0f}", "", told and f"{told.output_tokens_s:,.0f}"),
        ("requests/s", f"{figures['request_throughput']:,.2f}", "", "–"),
    ]
    for *cells, planned in rows:
        shown.add_row(*cells, *((planned,) if told else ()))
    return shown


def _times(figures: Mapping[str, Any], name: str) -> tuple[str, str]:
    return _ms(figures[f"median_{name}_ms"]), _ms(figures[f"p99_{name}_ms"])


def _ms(value: float) -> str:
    return f"{value:,.1f} ms" if value < 100 else f"{value:,.0f} ms"


def sentence(model: str, load: Load, figures: Mapping[str, Any]) -> str:
    """Tells the load in one sentence, and how much of it was answered."""
    failed = figures.get("failed") or 0
    asked = figures["completed"] + failed
    whole = f"{model}: {asked} requests, {load.words}, in {figures['duration']:.1f} s"
    mean = f"{figures['total_input_tokens'] / max(1, figures['completed']):,.0f} tokens in and "
    mean += f"{figures['total_output_tokens'] / max(1, figures['completed']):,.0f} out on average"
    return f"{whole}; {mean}{f'; {failed} failed' if failed else ''}."


def as_data(url: str, model: str, load: Load, figures: Mapping[str, Any], plan: Planned | str) -> dict[str, Any]:
    """Returns all of it for scripts. Times are in ms, the duration in seconds."""
    asked = dataclasses.asdict(load) | {"trace": None if load.trace is None else str(load.trace)}
    beside = {"planned": None, "no_plan": plan} if isinstance(plan, str) else {"planned": dataclasses.asdict(plan), "no_plan": None}
    return {"url": url, "model": model, "load": asked, "measured": {name: figures.get(name) for name in MEASURED}, **beside}
