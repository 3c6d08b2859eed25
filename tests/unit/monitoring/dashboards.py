"""The committed dashboards, read as Grafana reads them: panels, queries, and the selectors in each query."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "monitoring" / "dashboards"
RECORDED = Path(__file__).parent / "recorded"
#: Grafana's variables, as a reader who chooses nothing has them.
CHOSEN = {
    "$__rate_interval": "30s",
    "$__range": "600s",
    "$cluster": ".*",
    "$model": ".*",
    "$node": ".*",
}
_SELECTOR = re.compile(r'([a-zA-Z_:][\w:]*)\{((?:[^}"]|"[^"]*")*)\}')
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


@dataclass(frozen=True)
class Selector:
    """A metric's series in a query."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator and value of each."""

    @property
    def labels(self) -> set[str]:
        """Those that it asks for."""
        return {label for label, _, _ in self.matchers}


@dataclass(frozen=True)
class Shown:
    """A query of a panel."""

    dashboard: str
    panel: str
    expr: str
    legend: str
    instant: bool

    @property
    def name(self) -> str:
        """It, in a test's output."""
        return f"{self.dashboard}: {self.panel}: {self.legend}"

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """All of them."""
        return selectors(self.expr)


def boards() -> dict[str, dict[str, Any]]:
    """Every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel that has queries, those in rows too."""
    for panel in board["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else [panel]


@cache
def queries() -> tuple[Shown, ...]:
    """Every query of every panel."""
    return tuple(
        Shown(name, panel["title"], target["expr"], target["legendFormat"], target["instant"])
        for name, board in boards().items()
        for panel in panels(board)
        for target in panel["targets"]
    )


def selectors(expr: str) -> tuple[Selector, ...]:
    """The selectors of a query."""
    return tuple(Selector(name, tuple(_MATCHER.findall(inside))) for name, inside in _SELECTOR.findall(expr))


def chosen(expr: str) -> str:
    """A query without Grafana's variables."""
    for variable, value in CHOSEN.items():
        expr = expr.replace(variable, value)
    return expr


def counts(expr: str) -> str:
    """A query of rates as one of the counters behind them, so that it tells what they have counted and not how fast."""
    return re.sub(r"rate\((\w+\{[^}]*\})\[[^\]]*\]\)", r"\1", chosen(expr))


def shown(begins: str) -> Shown:
    """The query of a panel, by the beginning of `DASHBOARD: TITLE`."""
    (found,) = (one for one in queries() if f"{one.dashboard}: {one.panel}".startswith(begins))
    return found
