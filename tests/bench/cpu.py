"""What the gateway takes of a CPU beside what others take for the same, in one run: `python -m tests.bench.cpu`.

Everything is on: metrics, routing, limits, and for streams what it takes to continue them elsewhere. Beside it, in turn: a program that
only copies bytes between sockets (the least that any proxy takes here), and the vLLM project's router where `--vllm-router` names it.
All run on one core. Beside the gateway's idle time stands that of a Ray actor that does nothing, and what load reports take with many
replicas or gateways (`tests.bench.feeds`). Then the same with eight engines, and how many requests a second are carried. Absolute figures
are a machine's own, and a virtual machine's change with the hour: read the ratios. Writes `results/cpu.json`.
"""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.progress import Say
from tests.bench import feeds, gateway_cpu, report, saturation, servers, trees
from tests.bench.fake_engine import fake_engine
from tests.bench.gateway_cpu import Proxy
from tests.bench.process import listener, serving
from tests.bench.simulated import live

#: Engines of the second part.
REPLICAS = 8
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


@contextlib.contextmanager
def with_several(router: Path | None, cores: Callable[[], AbstractContextManager[None]]) -> Iterator[dict[str, Proxy]]:
    """The gateway, without Ray, and the router in front of eight fake engines, which stand on these cores."""
    with contextlib.ExitStack() as stack:
        with cores():
            ports = [stack.enter_context(fake_engine()) for _ in range(REPLICAS)]
        with gateway_cpu.one_core():
            found = {"herd": stack.enter_context(trees.gateway(trees.HERE, ports))}
            if router is not None:
                url = stack.enter_context(live.vllm_router(router, ports, scale=1))
                found["vllm-router"] = Proxy(url, trees.MODEL, listener(int(url.rpartition(":")[2])))
        yield found


def several(router: Path | None, quick: bool, say: Say) -> dict[str, Any]:
    """Measures them, for the file."""
    sizes = saturation.QUICK if quick else saturation.FULL
    with with_several(router, gateway_cpu.one_core) as found, gateway_cpu.one_core():
        rows = {name: gateway_cpu.figures(one) for name, one in gateway_cpu.measure(found, _sizes(quick), say).items()}
    with with_several(router, saturation.other_cores) as found:
        curve = saturation.curve(found, sizes, say)
    return {"replicas": REPLICAS, "seconds": sizes.seconds, "proxies": rows, "curve": curve}


def _sizes(quick: bool) -> gateway_cpu.Sizes:
    return gateway_cpu.QUICK if quick else gateway_cpu.FULL


def rates(curve: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """For people."""
    shown = Table("requests under way", *(f"{name}: {what}" for name in curve for what in ("requests/s", "of its core", "p99, ms")))
    for at_once in next(iter(curve.values())):
        found = [curve[name][at_once] for name in curve]
        shown.add_row(at_once, *(str(one[what]) for one in found for what in ("requests_per_s", "core_used", "p99_ms")))
    return shown


def main() -> None:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm-router", type=Path, help="the program `vllm-router`, of an environment of its own")
    parser.add_argument("--quick", action="store_true", help="a smoke run: everything runs, the figures mean little, nothing is written")
    parser.add_argument("--only-several", action="store_true", help="only the part with eight engines, which needs no Ray; keeps the other")
    asked = parser.parse_args()
    console = Console(width=120)
    found = {} if asked.only_several else one_engine(asked.vllm_router, asked.quick, console)
    eight = several(asked.vllm_router, asked.quick, console.log)
    console.print(gateway_cpu.table(eight["proxies"]), rates(eight["curve"]))
    if not asked.quick:
        before = json.loads(RESULTS.read_text(encoding="utf-8")) if asked.only_several else {}
        report.save(RESULTS, before | found | {"several": eight | {"date": report.about("tests.bench.cpu")["date"]}})


def one_engine(router: Path | None, quick: bool, console: Console) -> dict[str, Any]:
    """Measures all with one engine, for the file."""
    sizes = _sizes(quick)
    with tempfile.TemporaryDirectory(prefix="llama-herd-bench-") as folder, proxies(Path(folder), router, console.log) as all_of_them:
        rows = {name: gateway_cpu.figures(one) for name, one in gateway_cpu.measure(all_of_them, sizes, console.log).items()}
        console.log("Idle: an empty Ray actor")
        empty = round(gateway_cpu.idle_s(servers.empty_actor(), sizes.idle_s) * 1e6)
    console.print(gateway_cpu.table(rows))
    console.print(f"idle, an empty Ray actor, µs/s: {empty}")
    with gateway_cpu.one_core():
        reports = feeds.measure(*((1, console.log, 8, 2) if quick else (sizes.idle_s, console.log)))
    for what, percent in reports.items():
        console.print(f"load reports, {what}: {percent} % of a core")
    return report.about("tests.bench.cpu") | {
        "settings": gateway_cpu.settings(sizes),
        "proxies": rows,
        "empty_ray_actor_idle_us_per_s": empty,
        "load_reports": reports,
    }


if __name__ == "__main__":
    main()
