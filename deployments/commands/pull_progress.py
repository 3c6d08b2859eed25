"""The progress of a pull: a table that moves in a terminal, and a line now and then elsewhere. Decides only the looks."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from cluster.catalogue.weights import size
from deployments.weights.spread import Row

#: A rate is that of the last seconds; without a terminal, each node has a line so often.
RATE_S = 5.0
LINE_S = 10.0


class Board:
    """Shows rows until it is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_interactive else None
        self._rates: dict[tuple[str, str], Rate] = {}
        self._said_s = -LINE_S

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """Shows these rows instead of the last ones."""
        now = time.monotonic()
        rates = [self._rates.setdefault((node, str(source)), Rate()).now(now, progress.arrived_bytes) for node, source, progress in rows]
        if self._live:
            self._live.update(_table(rows, rates), refresh=True)
        elif now - self._said_s >= LINE_S and rows:
            self._said_s = now
            for row, rate in zip(rows, rates, strict=True):
                self._console.print(line(row, rate), markup=False, soft_wrap=True)


class Rate:
    """Bytes a second, of late."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def now(self, now_s: float, count: int) -> float:
        """Takes the count at this time, and returns the rate."""
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= RATE_S:
            self._seen.popleft()
        began_s, began = self._seen[0]
        return max(0.0, (count - began) / (now_s - began_s)) if now_s > began_s else 0.0


def line(row: Row, rate: float) -> str:
    """Returns one node's progress in one line."""
    node, source, progress = row
    share = 100 * progress.arrived_bytes // max(progress.total_bytes, 1)
    return f"{node}  {source}  {size(progress.arrived_bytes)} of {size(progress.total_bytes)} ({share} %), {size(rate)}/s"


def _table(rows: Sequence[Row], rates: Sequence[float]) -> Table:
    table = Table("node", "model", "", "there", "of", "rate", box=None)
    for (node, source, progress), rate in zip(rows, rates, strict=True):
        bar = ProgressBar(total=max(progress.total_bytes, 1), completed=progress.arrived_bytes, width=30)
        table.add_row(node, str(source), bar, size(progress.arrived_bytes), size(progress.total_bytes), f"{size(rate)}/s")
    return table
