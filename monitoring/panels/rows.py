"""The rows that dashboards are made of.

Decides which fields a panel has. `monitoring.panels.grafana` makes Grafana's JSON of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
SECONDS, SHARE, COUNT, BYTES, BYTES_A_SECOND = "s", "percentunit", "short", "bytes", "Bps"
REQUESTS, TOKENS, GPUS = "reqps", "suffix: tok/s", "suffix: GPUs"
GOOD = " · good: "
"""Between what a title's panel shows and how it looks when all is well."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel."""

    expr: str
    """PromQL with Grafana's variables."""
    legend: str
    """The name of each of its lines; `{{label}}` stands for a label's value."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    """Its subject, then `GOOD`, then how it looks when all is well."""
    description: str
    """The things counted, who counts them, and where to look next when it does not look well."""
    unit: str
    queries: tuple[Query, ...]
    shape: Literal["lines", "stacked", "number", "states", "table"] = "lines"
    colours: tuple[tuple[float, str], ...] = ()
    """From this value on, this colour; below the first one, `below`."""
    below: str = GREEN
    most: float | None = None
    """The upper end of the axis, where there is one."""
    width: int = 0
    """Of the 24 columns of a dashboard; 0: as many as all others without one."""
    empty: str = ""
    """The words for no line at all, where that is how it looks when all is well."""
    runbook: str = ""
    """The file in `monitoring/runbooks` that says what to do, without its ending."""


@dataclass(frozen=True, slots=True)
class Section:
    """Panels below the fold, shown when somebody opens them."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard."""

    uid: str
    """Its name in addresses and of its file."""
    title: str
    description: str
    panels: tuple[Panel, ...]
    """Those above the fold, at most `BEFORE_THE_FOLD`."""
    sections: tuple[Section, ...] = ()
    variables: tuple[str, ...] = ("model",)
    """A reader's choices beside the source of the data and the cluster: model, node."""
    one_model: bool = False
    """Whether one model is chosen, and not several or all."""

    def all_panels(self) -> Iterator[Panel]:
        """Yields those before the fold, then those of the sections."""
        yield from self.panels
        for section in self.sections:
            yield from section.panels


BEFORE_THE_FOLD = 12
