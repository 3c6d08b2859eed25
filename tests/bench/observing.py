"""What observing takes of the gateway's CPU: `python -m tests.bench.observing`.

Gateways without Ray stand in front of one fake engine, and are asked in turn, on one core. `observed` counts every metric, traces at 1 %
to a collector that takes OTLP, and has a line of log for each request, within the config's default bound of lines a second, written as Ray
Serve writes them: to a file and to the process's output. `bare` has none of that, and no metrics either; only the journal notes what it
notes. `bare again` is the same in another process: what it shows is the measurement's own error. `every line` is `observed` without a bound
of lines. Read the ratios to `bare`: the bars are 5 % more per chunk and 10 % more per request. Takes five minutes. With `--parts`, which
takes nine, gateways with one part of observing each are measured beside them. Writes `results/observing.json`.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from configs.observing import Observing, Tracing
from deployments.gateway import assembly
from deployments.gateway.replicas.load_reporting import PERIOD_S
from deployments.progress import Say
from monitoring.export import Meter
from monitoring.journal import GATHERED_S, Entry, Journal, Served
from monitoring.labels import Outcome
from monitoring.logs import LOGGER
from monitoring.observing import observers
from monitoring.observing.tracing import BATCH_S
from tests.bench import gateway_cpu, in_turn, report
from tests.bench.fake_engine import fake_engine
from tests.bench.gateway_cpu import Proxy
from tests.bench.in_turn import Measured, Sizes
from tests.bench.load import CannotMeasure
from tests.otlp_receiver import otlp_receiver
from tests.path.fake_engine import FakeEngine
from tests.path.herd import LLAMA, herd_of, limits

RESULTS = Path(__file__).parent / "results" / "observing.json"
FULL = Sizes(sets=4, request_rounds=10, requests=400, stream_rounds=5, streams=64, idle_s=3)
QUICK = Sizes(sets=2, request_rounds=2, requests=100, stream_rounds=2, streams=32, idle_s=1)
BARE, OBSERVED, EVERY_LINE = "bare", "observed", "every line"
#: One part of observing each, beside `bare`.
METRICS, TRACES, LOG = "metrics", "traces", "log"
#: The bare one once more: what the comparison shows where nothing differs.
AGAIN = "bare again"
#: The most that observing may add, in percent of `bare`.
BARS = {"us_per_chunk": 5.0, "us_per_request": 10.0}


class Silent(Meter):
    """Counts nothing of a request."""

    def picked(self, model: str, reason: str, times: int = 1) -> None: ...
    def ended(self, model: str, endpoint: str, outcome: Outcome, *seconds: float) -> None: ...
    def streamed(self, model: str, arrived_s: float, times_s: Any) -> None: ...
    def used(self, model: str, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> None: ...
    def expected(self, model: str, hit_tokens: int, miss_tokens: int) -> None: ...
    def promise(self, model: str) -> None: ...


class Forgetful(Journal):
    """Notes a request while it is answered, and nothing afterwards."""

    def ended(self, entry: Entry, outcome: Outcome, served: Served | None, now_s: float) -> None: ...


def settings(collector: str, parts: bool) -> dict[str, Observing]:
    """Returns what each gateway is told; those with one part of observing each are measured only if this is asked for."""
    tracing, none = Tracing(endpoint=collector, sample_ratio=0.01), Observing(access_log="off")
    found = {
        BARE: none,
        OBSERVED: Observing(tracing=tracing, access_log="all"),
        EVERY_LINE: Observing(tracing=tracing, access_log="all", access_log_lines_per_s=100_000),
        AGAIN: none,
    }
    if parts:
        found |= {METRICS: none, TRACES: Observing(tracing=tracing, access_log="off"), LOG: Observing(access_log="all")}
    return found


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
    if name in (BARE, AGAIN, TRACES, LOG):
        vars(assembly)["Meter"] = Silent
    if name in (BARE, AGAIN):
        vars(observers)["Journal"] = Forgetful
    engines = [cast(FakeEngine, SimpleNamespace(port=engine))]
    given = wanted.model_dump(mode="json")
    async with herd_of(
        engines,
        limits(total_s=600, first_byte_s=300, queue_s=60),
        stop_s=1,
        spans_s=BATCH_S,
        gathered_s=GATHERED_S,
        told_s=PERIOD_S,
        **given,
    ) as herd:
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


def one_set(wanted: Sequence[tuple[str, Observing]], number: int, engine: int, folder: Path, sizes: Sizes, say: Say) -> dict[str, Measured]:
    """Measures gateways of their own; each set asks them in another order."""
    first = number % len(wanted)
    with contextlib.ExitStack() as stack:
        say(f"Gateways, set {number + 1} of {sizes.sets}")
        found = {name: stack.enter_context(gateway(name, one, engine, folder)) for name, one in [*wanted[first:], *wanted[:first]]}
        return in_turn.measure(found, sizes, say)


def added(measured: Mapping[str, Measured]) -> dict[str, dict[str, Any]]:
    """Returns what each gateway takes beyond the bare one, in percent: the middle of all rounds."""
    bare = measured[BARE]
    found: dict[str, dict[str, Any]] = {}
    for name, one in measured.items():
        if name != BARE:
            ratios = {
                "us_per_chunk": in_turn.added_percent(one.per_chunk, bare.per_chunk),
                "us_per_request": in_turn.added_percent(one.per_request, bare.per_request),
            }
            found[name] = {what: round(median(of), 1) for what, of in ratios.items()}
            found[name] |= {f"{what}_quartiles": [round(at, 1) for at in in_turn.quartiles(of)] for what, of in ratios.items()}
    return found


def table(percent: Mapping[str, Mapping[str, Any]]) -> Table:
    """For people."""
    shown = Table("added, %", "per chunk", "half lie in", "per request", "half lie in", "bars: at most")
    for name, of in percent.items():
        bars = (
            " and ".join(f"{bar:g} {'held' if of[what] <= bar else 'NOT HELD'}" for what, bar in BARS.items()) if name == OBSERVED else ""
        )
        halves = {what: "{:+} – {:+}".format(*of[f"{what}_quartiles"]) for what in BARS}
        shown.add_row(
            name,
            f"{of['us_per_chunk']:+.1f}",
            halves["us_per_chunk"],
            f"{of['us_per_request']:+.1f}",
            halves["us_per_request"],
            bars,
        )
    return shown


def main() -> None:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: everything runs, the figures mean little, nothing is written")
    parser.add_argument("--parts", action="store_true", help="also gateways with one part of observing each; nothing is written")
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
        wanted = list(settings(collector.url, asked.parts).items())
        measured = in_turn.together([one_set(wanted, number, port, folder, sizes, console.log) for number in range(sizes.sets)])
        spans = len(collector.spans)
    rows, percent = {name: in_turn.figures(one) for name, one in measured.items()}, added(measured)
    console.print(in_turn.table(rows), table(percent))
    console.print(f"spans that came to the collector: {spans}")
    if not (asked.quick or asked.parts):
        said = {"settings": in_turn.settings(sizes), "bars_percent": BARS, "gateways": rows, "added_percent": percent, "spans": spans}
        report.save(RESULTS, report.about("tests.bench.observing") | said)


if __name__ == "__main__":
    main()
