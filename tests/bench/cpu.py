"""What the gateway takes of a CPU beside what others take for the same, in one run: `python -m tests.bench.cpu`.

Everything is on: metrics, routing, limits, and for streams what it takes to continue them elsewhere. Beside it, in turn: a program that
only copies bytes between sockets (the least that any proxy takes here), and the vLLM project's router where `--vllm-router` names it.
All run on one core. Beside the gateway's idle time stands that of a Ray actor that does nothing, and what load reports take with many
replicas or gateways (`tests.bench.feeds`). Absolute figures are a machine's own, and a virtual machine's change with the hour: read the
ratios. Writes `results/cpu.json`.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import feeds, gateway_cpu, report, servers
from tests.bench.fake_engine import fake_engine
from tests.bench.gateway_cpu import Measured, Proxy
from tests.bench.process import listener, serving
from tests.bench.simulated import live

RESULTS = Path(__file__).parent / "results" / "cpu.json"


@contextlib.contextmanager
def proxies(folder: Path, router: Path | None, say: Any) -> Iterator[dict[str, Proxy]]:
    """All that are compared, in front of one fake engine."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(gateway_cpu.one_core())
        port = stack.enter_context(fake_engine())
        found = {"herd": stack.enter_context(servers.gateway(folder, port, say))}
        copier = stack.enter_context(serving("tests.bench.copier", str(port)))
        found["copying bytes"] = Proxy(f"http://127.0.0.1:{copier.line}", servers.MODEL, copier.process)
        if router is not None:
            url = stack.enter_context(live.vllm_router(router, [port], scale=1))
            found["vllm-router"] = Proxy(url, servers.MODEL, listener(int(url.rpartition(":")[2])))
        yield found


def figures(measured: Measured) -> dict[str, Any]:
    """One proxy's, for the file."""
    return {
        "us_per_chunk": round(measured.us_per_chunk, 1),
        "us_per_chunk_spread": [round(min(measured.per_chunk), 1), round(max(measured.per_chunk), 1)],
        "us_per_request": round(measured.us_per_request),
        "us_per_request_spread": [round(min(measured.per_request)), round(max(measured.per_request))],
        "idle_us_per_s": round(measured.idle_us_per_s),
    }


def table(rows: dict[str, dict[str, Any]]) -> Table:
    """For people."""
    shown = Table("", "µs per chunk", "from – to", "µs per request", "from – to", "idle, µs/s")
    for name, row in rows.items():
        chunk, request = row["us_per_chunk_spread"], row["us_per_request_spread"]
        spreads = f"{chunk[0]} – {chunk[1]}", f"{request[0]} – {request[1]}"
        shown.add_row(name, str(row["us_per_chunk"]), spreads[0], str(row["us_per_request"]), spreads[1], str(row["idle_us_per_s"]))
    return shown


def main() -> None:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm-router", type=Path, help="the program `vllm-router`, of an environment of its own")
    parser.add_argument("--quick", action="store_true", help="a smoke run: everything runs, the figures mean little, nothing is written")
    asked = parser.parse_args()
    console = Console(width=120)
    sizes = gateway_cpu.QUICK if asked.quick else gateway_cpu.FULL
    with (
        tempfile.TemporaryDirectory(prefix="llama-herd-bench-") as folder,
        proxies(Path(folder), asked.vllm_router, console.log) as all_of_them,
    ):
        rows = {name: figures(one) for name, one in gateway_cpu.measure(all_of_them, sizes, console.log).items()}
        console.log("Idle: an empty Ray actor")
        empty = round(gateway_cpu.idle_s(servers.empty_actor(), sizes.idle_s) * 1e6)
    console.print(table(rows))
    console.print(f"idle, an empty Ray actor, µs/s: {empty}")
    with gateway_cpu.one_core():
        reports = feeds.measure(*((1, console.log, 8, 2) if asked.quick else (sizes.idle_s, console.log)))
    for what, percent in reports.items():
        console.print(f"load reports, {what}: {percent} % of a core")
    if not asked.quick:
        said = {"settings": gateway_cpu.settings(sizes), "proxies": rows, "empty_ray_actor_idle_us_per_s": empty, "load_reports": reports}
        report.save(RESULTS, report.about("tests.bench.cpu") | said)


if __name__ == "__main__":
    main()
