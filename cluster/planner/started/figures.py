"""The figures of a started engine beside those of its plan, and a sentence for each that differs.

Decides when a difference is worth a sentence and what to do about it. The plan is made by `cluster.planner.started.beside`, and the
engine's figures come from the replica.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cluster.catalogue.hardware import GIB

#: A difference up to this share of the plan is none.
TOLERANCE = 0.10


@dataclass(frozen=True, slots=True)
class Figures:
    """An engine's figures; None: not planned, or not told. Sizes are of one GPU, of the pipeline stage that has most."""

    weights_bytes: float | None = None
    """With the rope cache, as vLLM counts them."""
    kv_bytes: float | None = None
    """The pool of KV blocks."""
    kv_tokens: float | None = None
    """Of one data-parallel rank: vLLM's "KV cache size"."""
    start_s: float | None = None
    """From the first line of the replica until it serves."""


@dataclass(frozen=True, slots=True)
class Report:
    """One started engine, beside its plan."""

    device: str
    """As the driver calls the GPU, or `cpu`."""
    told: Figures
    """By the engine."""
    planned: Figures = Figures()
    gpu: str = ""
    """The GPU that the plan is for; empty where it is for none."""
    no_plan: str = ""
    """Why some or all figures have no plan; empty where they have."""
    utilization: float | None = None
    """The share of the GPU's memory (`gpu_memory_utilization`) at which the plan would leave the KV cache that the engine has."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of an engine and of its plan, for people."""

    name: str
    told: str
    """`not told` where the engine has not."""
    planned: str
    """A dash where there is no plan."""
    difference: float | None
    """Of the engine's figure from the plan's, as a share of the plan's; None where they cannot be compared."""


def gib(size_bytes: float) -> str:
    """Writes a size in three digits."""
    size = size_bytes / GIB
    return f"{size:,.0f} GiB" if size >= 100 else f"{size:.3g} GiB" if size >= 0.1 else f"{size * 1024:.3g} MiB"


#: What each figure is called, and how it is written.
NAMES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "weights_bytes": ("weights", gib),
    "kv_bytes": ("KV cache", gib),
    "kv_tokens": ("KV tokens", lambda tokens: f"{tokens:,.0f}"),
    "start_s": ("start", lambda seconds: f"{seconds:.0f} s"),
}


def rows(report: Report) -> tuple[Row, ...]:
    """Returns a row for each figure."""
    return tuple(_row(name, report) for name in NAMES)


def _row(name: str, report: Report) -> Row:
    called, written = NAMES[name]
    told, planned = getattr(report.told, name), getattr(report.planned, name)
    return Row(
        called,
        "not told" if told is None else written(told),
        "–" if planned is None else written(planned),
        difference(told, planned),
    )


def difference(told: float | None, planned: float | None) -> float | None:
    """Returns the difference of a figure from its plan, as a share of the plan: 0.1 for a tenth more; infinite where the plan has none."""
    if told is None or planned is None:
        return None
    if planned == 0:
        return float("inf") if told else 0.0
    return told / planned - 1


def differences(report: Report) -> tuple[str, ...]:
    """Returns a sentence for each figure that is more than a tenth off its plan: which, by how much, and what to do."""
    differing = ((name, row) for name, row in zip(NAMES, rows(report), strict=True) if _is_far(row.difference))
    return tuple(f"The {row.name} {_off_by(name, row)}: {_way_out(name, report)}." for name, row in differing)


def _is_far(by: float | None) -> bool:
    return by is not None and abs(by) > TOLERANCE


def _off_by(name: str, row: Row) -> str:
    verb, by = "is" if name == "kv_bytes" else "are", row.difference or 0.0
    if by == float("inf"):
        return f"{verb} {row.told}, and the plan has room for none"
    return f"{verb} {row.told}, {abs(by):.0%} {'more' if by > 0 else 'less'} than planned ({row.planned})"


def _way_out(name: str, report: Report) -> str:
    if name == "weights_bytes":
        return "the checkpoint is stored otherwise than the planner takes it; plan with its folder (`herd plan FOLDER`) or `--quantization`"
    return _more_or_less_room(report) if name == "kv_bytes" else _tokens_of_a_pool(report)


def _more_or_less_room(report: Report) -> str:
    told, planned = report.told, report.planned
    further = (told.weights_bytes or 0.0) - (planned.weights_bytes or 0.0)
    if _is_far(difference(told.weights_bytes, planned.weights_bytes)) and not _is_far(
        difference((told.kv_bytes or 0.0) + further, planned.kv_bytes)
    ):
        return "it follows from the weights"
    if report.utilization is None or not 0 < report.utilization <= 1:
        return "vLLM keeps another amount beside the weights than the planner counts; `herd plan --explain` shows its parts"
    return f"`herd plan --gpu-memory-utilization {report.utilization:.2f}` plans what this engine has"


def _tokens_of_a_pool(report: Report) -> str:
    share = difference(report.told.kv_bytes, report.planned.kv_bytes)
    if share is not None and not _is_far(difference(report.told.kv_tokens, (report.planned.kv_tokens or 0.0) * (1 + share))):
        return "they follow from the size of the KV cache"
    return (
        "a token takes another amount of memory than planned; plan with the engine's own `--context`, `--kv-dtype` and `--engine` arguments"
    )


def as_plain(report: Report) -> dict[str, Any]:
    """Returns a report as JSON has it, for gateways and `herd status --json`; numbers that are not known are left out."""
    plain = asdict(report)
    for name in ("told", "planned"):
        plain[name] = {figure: value for figure, value in plain[name].items() if value is not None}
    return {name: value for name, value in plain.items() if value is not None}


def of_plain(said: object) -> Report | None:
    """Reads what `as_plain` wrote; None where a replica tells no report, as older releases do. Of a newer one the unknown is left out."""
    if not isinstance(said, Mapping) or not isinstance(device := said.get("device"), str):
        return None
    words = {name: value for name in ("gpu", "no_plan") if isinstance(value := said.get(name), str)}
    return Report(device, _figures(said.get("told")), _figures(said.get("planned")), utilization=_number(said.get("utilization")), **words)


def _figures(said: object) -> Figures:
    known = said if isinstance(said, Mapping) else {}
    return Figures(**{one.name: _number(known.get(one.name)) for one in fields(Figures)})


def _number(said: object) -> float | None:
    return float(said) if isinstance(said, int | float) and not isinstance(said, bool) else None


def summary(report: Report) -> Iterator[str]:
    """Yields the sentences that belong to an engine's figures: what differs, and why a figure has no plan."""
    yield from differences(report)
    if report.no_plan:
        yield f"{report.no_plan[0].upper()}{report.no_plan[1:]}."
