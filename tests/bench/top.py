"""How long `herd top` takes to answer a key: `python -m tests.bench.top`.

A made-up herd of 100 replicas, and one of 10,000, on a terminal of 80 columns and 24 lines that is written to a file in memory. Each key
goes through the state, the frame and rich's drawing, while a thread reads pages of metrics of four gateways every two seconds, as the
view's own thread does. Writes `results/top.json`: milliseconds on the clock, and of the thread's own CPU time, which other programs on the
machine do not lengthen.
"""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from deployments.commands.looking.top import metrics_page
from deployments.commands.looking.top.drawing import frame
from deployments.commands.looking.top.figures import decided
from deployments.commands.looking.top.keys import DOWN, END, ENTER, ESCAPE, PAGE_DOWN, UP, State, after
from deployments.commands.looking.top.watching import PERIOD_S, Memory
from monitoring.export import Meter
from monitoring.labels import Outcome
from tests.bench import report
from tests.unit.deployments.commands.top.looks import NOW_S, many

RESULTS = Path(__file__).parent / "results" / "top.json"
#: Longest time to answer a key, in ms.
BAR_MS = 100
HERDS = {100: 10, 10_000: 100}
"""Models by replicas."""
KEYS = (DOWN, DOWN, ENTER, DOWN, PAGE_DOWN, END, ESCAPE, "s", UP, "/", "0", "1", ENTER, ESCAPE, "?", "x")
ROUNDS = 40
GATEWAYS = 4


def measured(replicas: int, models: int) -> dict[str, Any]:
    """Returns the milliseconds that keys take in a herd."""
    memory = Memory()
    for at_s in (0.0, 10.0):
        memory.take(many(at_s, models, replicas))
    decisions, state, took, spent = decided((), memory.figures), State(), list[float](), list[float]()
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    with _reading(models), Live(console=console, screen=True, auto_refresh=False) as live:
        for key in KEYS * ROUNDS:
            began, began_cpu = time.perf_counter(), time.thread_time()
            state = after(state, key, memory.figures)
            live.update(Group(*frame(memory.figures, state, decisions, "http://gateway:8000", (80, 24), NOW_S)), refresh=True)
            took.append((time.perf_counter() - began) * 1000)
            spent.append((time.thread_time() - began_cpu) * 1000)
    return {"replicas": replicas, "models": models, "keys": len(took), "clock_ms": _spread(took), "cpu_ms": _spread(spent)}


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(report.at(ordered, 50), 2), "p99": round(report.at(ordered, 99), 2), "max": round(ordered[-1], 2)}


@contextmanager
def _reading(models: int) -> Iterator[None]:
    """Reads pages of metrics in a thread meanwhile."""
    meter = Meter()
    for model in range(models):
        for outcome in Outcome:
            meter.ended(f"model-{model:03d}", "chat", outcome, 0.1)
        meter.streamed(f"model-{model:03d}", 0.0, [0.3, 0.31, 0.33])
    text, ends = meter.text().decode(), threading.Event()

    def read() -> None:
        while not ends.is_set():
            for _ in range(GATEWAYS):
                metrics_page.read(text)
            ends.wait(PERIOD_S)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def main() -> None:
    """Measures, prints and writes."""
    herds = [measured(replicas, models) for replicas, models in HERDS.items()]
    for one in herds:
        print(f"{one['replicas']} replicas: a key takes {one['clock_ms']} ms, and {one['cpu_ms']} ms of CPU time")
    report.save(RESULTS, report.about("tests.bench.top") | {"bar_ms": BAR_MS, "herds": herds})


if __name__ == "__main__":
    main()
