"""What the herd costs: `make bench`, or `python -m tests.bench.overhead`. Takes about half an hour; wants a machine that does nothing else.

Starts a herd and vLLM's own API server with the same engine, in front of that the vLLM project's router where `--vllm-router` names it,
measures all in turn, then measures the gateway's CPU time with a faked engine. Prints every figure beside its bar, and writes
`results/overhead.json`. A missed bar is a figure like any other: the exit code says only whether there are figures.

Exit codes: 0 measured · 1 it could not be measured · 2 the command line is wrong · 130 interrupted.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from cluster.machine.local_node import NodeError
from deployments.lifecycle.herd import OperationError
from deployments.progress import Say
from tests.bench import fake_engine, gateway_cpu, report, servers, throughput
from tests.bench.load import CannotMeasure
from tests.bench.report import Figure

INTERRUPTED = 130
#: Above it, something else runs here.
BUSY = 1.0
PARTS = ("engine", "cpu")

out, err = Console(highlight=False), Console(stderr=True, highlight=False)


@dataclass
class Run:
    """What a run has brought so far."""

    figures: list[Figure] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    servers: dict[str, Any] = field(default_factory=dict)


def main() -> int:
    """Measures and reports."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    busy = os.getloadavg()[0]
    if busy > BUSY:
        err.print(f"[yellow]The load of this machine is {busy:.1f}: what else runs here shows in the figures.[/yellow]")
    try:
        run = _measured(asked)
    except (CannotMeasure, OperationError, NodeError) as error:
        err.print(f"[red]Could not measure:[/red] {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        err.print("Interrupted; everything that was started is down.")
        return INTERRUPTED
    _show(run, asked, busy)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overhead", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run: everything runs, the figures mean little")
    parser.add_argument("--only", choices=PARTS, help="one of the two parts; in the file, the other stays as it was")
    parser.add_argument("--vllm-router", type=Path, help="the program `vllm-router`, of an environment of its own")
    return parser.parse_args()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Told to stop by a signal is as by a key: everything that was started is stopped first."""
    raise KeyboardInterrupt


def _measured(asked: argparse.Namespace) -> Run:
    parts: Mapping[str, Callable[[Run, argparse.Namespace, Path, Say], None]] = {"engine": _engine, "cpu": _cpu}
    run = Run()
    # One folder for both: a process can show only one token to Ray, and it lies there.
    with tempfile.TemporaryDirectory(prefix="llama-herd-bench-") as folder, out.status("Starting") as status:
        for name in PARTS if asked.only is None else (asked.only,):
            parts[name](run, asked, Path(folder), lambda what: status.update(what))
    return run


def _engine(run: Run, asked: argparse.Namespace, folder: Path, say: Say) -> None:
    sizes = throughput.QUICK if asked.quick else throughput.FULL
    measured = throughput.measure(folder, sizes, asked.vllm_router, say)
    run.figures += report.of_throughput(measured)
    series = {"bare": measured.herd.bare, "herd": measured.herd.own, "bare_without_ray": measured.alone}
    if measured.router is not None:
        series[throughput.ROUTER] = measured.router.own
    run.servers |= {name: throughput.summary(one) for name, one in series.items()}
    model = servers.model().model_dump(mode="json", exclude_defaults=True)
    tokens = {"tokens": throughput.TOKENS, "rounds": sizes.rounds, "requests": {str(at): count for at, count in sizes.requests.items()}}
    run.settings["engine"] = {"model": model, "environment": servers.engine_environment(), **tokens}


def _cpu(run: Run, asked: argparse.Namespace, folder: Path, say: Say) -> None:
    sizes = gateway_cpu.QUICK if asked.quick else gateway_cpu.FULL
    with gateway_cpu.one_core(), fake_engine.fake_engine() as port, servers.gateway(folder, port, say) as gateway:
        measured = gateway_cpu.measure({"the gateway": gateway}, sizes, say)["the gateway"]
    run.figures += report.of_gateway(measured)
    run.settings["cpu"] = gateway_cpu.settings(sizes)
    run.servers["idle_gateway_us_per_s"] = round(measured.idle_us_per_s)


def _show(run: Run, asked: argparse.Namespace, busy: float) -> None:
    out.print(report.table(run.figures, report.committed(report.machine())))
    if not asked.quick:
        out.print(f"Written to {report.write(run.figures, run.settings, run.servers, busy)}")


if __name__ == "__main__":
    sys.exit(main())
