"""What observing takes of the gateway's CPU: `python -m tests.bench.observing`.

Gateways without Ray stand in front of one fake engine, and are asked in turn, on one core. `observed` counts every metric, traces at 1 %
to a collector that takes OTLP, and has a line of log for each request, within the config's default bound of lines a second, written as Ray
Serve writes them: to a file and to the process's output. `bare` has none of that, and no metrics either; only the journal notes what it
notes. `every line` is `observed` without a bound of lines. Read the ratios to `bare`: the bars are 5 % more per chunk and 10 % more per
request. Writes `results/observing.json`.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import logging.handlers
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from configs.observing import Observing, Tracing
from deployments.gateway import assembly
from monitoring.export import Meter
from monitoring.labels import Outcome
from monitoring.logs import LOGGER
from tests.bench import gateway_cpu, report
from tests.bench.fake_engine import fake_engine
from tests.bench.gateway_cpu import Proxy, Sizes, figures, measure
from tests.bench.load import CannotMeasure
from tests.otlp_receiver import otlp_receiver
from tests.path.fake_engine import FakeEngine
from tests.path.herd import LLAMA, herd_of, limits

RESULTS = Path(__file__).parent / "results" / "observing.json"
FULL = Sizes(repetitions=9, streams=256, requests=4000, idle_s=5)
QUICK = Sizes(repetitions=2, streams=64, requests=400, idle_s=1)
BARE, OBSERVED, EVERY_LINE = "bare", "observed", "every line"
#: The most that observing may add, in percent of `bare`.
BARS = {"us_per_chunk": 5.0, "us_per_request": 10.0}


class Silent(Meter):
    """Counts nothing of a request."""

    def opened(self, model: str) -> None: ...
    def closed(self, model: str) -> None: ...
    def stream_opened(self, model: str) -> None: ...
    def stream_closed(self, model: str) -> None: ...
    def picked(self, model: str, reason: str) -> None: ...
    def ended(self, model: str, endpoint: str, outcome: Outcome, seconds: float) -> None: ...
    def streamed(self, model: str, arrived_s: float, times_s: Any) -> None: ...
    def used(self, model: str, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> None: ...
    def expected(self, model: str, hit_tokens: int, miss_tokens: int) -> None: ...
    def promise(self, model: str) -> None: ...


def settings(collector: str) -> dict[str, Observing]:
    """Returns what each gateway is told."""
    tracing = Tracing(endpoint=collector, sample_ratio=0.01)
    return {
        BARE: Observing(access_log="off"),
        OBSERVED: Observing(tracing=tracing, access_log="all"),
        EVERY_LINE: Observing(tracing=tracing, access_log="all", access_log_lines_per_s=100_000),
    }


@contextlib.contextmanager
def gateway(name: str, wanted: Observing, engine: int, folder: Path) -> Iterator[Proxy]:
    """Runs a gateway in front of an engine while this lasts.

    Raises:
        CannotMeasure: it did not begin to serve.
    """
    command = [sys.executable, "-m", "tests.bench.observing", "--serve", name, str(engine), wanted.model_dump_json(), str(folder / name)]
    with (
        (folder / f"{name}.err").open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            if not port.isdigit():
                raise CannotMeasure(f"the gateway '{name}' did not start: {(folder / f'{name}.err').read_text()[-500:]}")
            yield Proxy(f"http://127.0.0.1:{port}", LLAMA, psutil.Process(process.pid))
        finally:
            process.stdin.close()
            process.kill()


async def serve(name: str, engine: int, wanted: Observing, file: Path) -> None:
    """Serves until the standard input ends; prints the port."""
    _log_as_ray_serve_does(file)
    if name == BARE:
        vars(assembly)["Meter"] = Silent
    engines = [cast(FakeEngine, SimpleNamespace(port=engine))]
    given = wanted.model_dump(mode="json")
    async with herd_of(engines, limits(total_s=600, first_byte_s=300, queue_s=60), stop_s=1, **given) as herd:
        gc.collect()
        gc.freeze()
        print(herd.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _log_as_ray_serve_does(file: Path) -> None:
    log = logging.getLogger(LOGGER)
    log.setLevel(logging.INFO)
    for handler in (logging.handlers.RotatingFileHandler(file, maxBytes=100 << 20, backupCount=5), logging.StreamHandler()):
        handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s gateway_gateway 0a1b2c3d -- %(message)s"))
        log.addHandler(handler)


def added(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns what each gateway takes beyond the bare one, in percent."""
    return {name: {what: round((row[what] / rows[BARE][what] - 1) * 100, 1) for what in BARS} for name, row in rows.items() if name != BARE}


def table(percent: dict[str, dict[str, float]]) -> Table:
    """For people."""
    shown = Table("added, %", "per chunk", "per request", "bars: at most")
    for name, of in percent.items():
        bars = (
            " and ".join(f"{bar:g} {'held' if of[what] <= bar else 'NOT HELD'}" for what, bar in BARS.items()) if name == OBSERVED else ""
        )
        shown.add_row(name, f"{of['us_per_chunk']:+.1f}", f"{of['us_per_request']:+.1f}", bars)
    return shown


def main() -> None:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: everything runs, the figures mean little, nothing is written")
    parser.add_argument("--serve", nargs=4, metavar=("NAME", "ENGINE", "SETTINGS", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        name, engine, wanted, file = asked.serve
        uvloop.run(serve(name, int(engine), Observing.model_validate(json.loads(wanted)), Path(file)))
        return
    console, sizes = Console(width=120), QUICK if asked.quick else FULL
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(otlp_receiver())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llama-herd-bench-")))
        stack.enter_context(gateway_cpu.one_core())
        port = stack.enter_context(fake_engine())
        found = {name: stack.enter_context(gateway(name, one, port, folder)) for name, one in settings(collector.url).items()}
        rows = {name: figures(one) for name, one in measure(found, sizes, console.log).items()}
        spans = len(collector.spans)
    percent = added(rows)
    console.print(gateway_cpu.table(rows), table(percent))
    console.print(f"spans that came to the collector: {spans}")
    if not asked.quick:
        said = {"settings": gateway_cpu.settings(sizes), "bars_percent": BARS, "gateways": rows, "added_percent": percent, "spans": spans}
        report.save(RESULTS, report.about("tests.bench.observing") | said)


if __name__ == "__main__":
    main()
