"""`python -m tests.bench.trace`: a trace replayed over eight simulated replicas, our policies beside the peers'.

First in virtual time: every policy of ours and Ray's router, at several loads and two sizes of the KV cache, and on requests most of which
share one of two long beginnings, which a trace of conversations has not. Then, where a `vllm-router` is
named, in real time over HTTP: that router, and our gateway, at the load where round robin's goodput has fallen to half. The results go to
`tests/bench/results/trace.json` and to the screen.

Goodput is the share of requests that keep the limits of MLPerf Inference for Llama 3.1 405B, the benchmark whose prompts are as long as
these: 6 s to the first token, and 175 ms for each token after it on average.
"""

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.routing import Routing
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.loads import traces
from deployments.simulation.loads.traces import Traced
from tests.bench.report import about, at, save
from tests.bench.simulated import cluster, live
from tests.bench.simulated.choosers import Ours
from tests.bench.simulated.ray_router import RaysRouter

RESULTS = Path(__file__).parent / "results" / "trace.json"
REPLICAS = 8
KV_TOKENS = (400_000, 1_300_000)
FIRST_S, PER_TOKEN_S = 6.0, 0.175
#: Times the trace's own rate; the load where round robin's goodput is half is found, and put between them.
#: At the lightest hardly anybody waits for anybody: what is late there is late by its own prefill, and no router brings it in time.
LOADS = (0.1, 0.7, 1.0, 1.3)
#: Requests that share their beginnings, a second.
SHARED_PER_S = (8.0, 16.0, 24.0)
SHARED_REQUESTS = 2_500

CHOOSERS: dict[str, Callable[[], cluster.Chooser]] = {
    "herd": lambda: Ours(Routing(policy="herd")),
    "round_robin": lambda: Ours(Routing(policy="round_robin")),
    "least_loaded": lambda: Ours(Routing(policy="least_loaded")),
    "power_of_two": lambda: Ours(Routing(policy="power_of_two")),
    "prefix": lambda: Ours(Routing(policy="prefix")),
    "Ray PrefixCacheAffinityRouter": RaysRouter,
    "the same, imbalanced_threshold 10": lambda: RaysRouter(imbalanced_threshold=10),
}
#: One gateway and several: what they know of each other is what the replicas report, of prompts and of queues.
GATEWAYS: dict[str, tuple[Callable[[], cluster.Chooser], cluster.Reports]] = {
    "herd": (CHOOSERS["herd"], cluster.Reports(prefill=True)),
    "herd, 4 gateways": (lambda: Ours(Routing(policy="herd"), gateways=4), cluster.Reports(prefill=True)),
    "the same, of queues alone": (lambda: Ours(Routing(policy="herd"), gateways=4, told=False), cluster.Reports(prefill=True)),
    "the same, each on its own": (lambda: Ours(Routing(policy="herd"), gateways=4, told=False), cluster.Reports()),
    "round_robin": (CHOOSERS["round_robin"], cluster.PLAIN),
    "least_loaded": (CHOOSERS["least_loaded"], cluster.PLAIN),
}


def shared_lru(trace: Sequence[Traced], tokens: int) -> float:
    """Share of the blocks that one cache of so many tokens would have found, if it served all requests one after the other."""
    kept: OrderedDict[int, None] = OrderedDict()
    found = 0
    for asked in trace:
        begins = True
        for block in asked.blocks:
            begins = begins and block in kept
            found += begins
            kept[block] = None
            kept.move_to_end(block)
        while len(kept) > tokens // traces.BLOCK_TOKENS:
            kept.popitem(last=False)
    return found / sum(len(asked.blocks) for asked in trace)


def figures(served: Sequence[cluster.Served], hit_rate: float | None = None) -> dict[str, float]:
    """What is said of one replay."""
    first = sorted(one.first_s for one in served)
    per_token = sorted(one.per_token_s for one in served)
    blocks = sum(len(one.asked.blocks) for one in served)
    return {
        "hit_rate": round(sum(one.found_blocks for one in served) / blocks if hit_rate is None else hit_rate, 4),
        "goodput": round(goodput(served), 4),
        **{f"ttft_p{percent}_s": round(at(first, percent), 3) for percent in (50, 90, 99)},
        **{f"per_token_p{percent}_s": round(at(per_token, percent), 4) for percent in (50, 90)},
    }


def goodput(served: Sequence[cluster.Served]) -> float:
    """Share of the requests that kept both limits."""
    return sum(one.first_s <= FIRST_S and one.per_token_s <= PER_TOKEN_S for one in served) / len(served)


def half_load(trace: Sequence[Traced], size: Size) -> float:
    """The load, as times the trace's own rate, where half of the requests keep the limits under round robin."""
    low, high = 0.25, 8.0
    while high - low > 0.01:
        middle = (low + high) / 2
        served = _virtual(trace, CHOOSERS["round_robin"](), size, middle)
        low, high = (middle, high) if goodput(served) > 0.5 else (low, middle)
    return round(low, 2)


def virtual(trace: Sequence[Traced], kv_tokens: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All choosers at all loads."""
    size = Size(kv_tokens, traces.BLOCK_TOKENS)
    half = half_load(trace, size)
    loads: dict[str, Any] = {}
    for load in sorted({*LOADS, half}):
        loads[f"{load:g}"] = row = {}
        for name, make in CHOOSERS.items():
            say(f"{kv_tokens} tokens, load {load:g}, {name}")
            row[name] = figures(_virtual(trace, make(), size, load))
    return {
        "kv_tokens": kv_tokens,
        "shared_lru_hit_rate": round(shared_lru(trace, REPLICAS * kv_tokens), 4),
        "half_load": half,
        "loads": loads,
    }


def shared(say: Callable[[str], None]) -> dict[str, Any]:
    """All choosers on requests that share long beginnings."""
    size = Size(KV_TOKENS[0], traces.BLOCK_TOKENS)
    rates: dict[str, Any] = {}
    for rate in SHARED_PER_S:
        say(f"shared beginnings, {rate:g} requests/s")
        trace = traces.shared(SHARED_REQUESTS, rate)
        rates[f"{rate:g}"] = {name: figures(_virtual(trace, make(), size, 1.0)) for name, make in CHOOSERS.items()}
    return {"kv_tokens": size.kv_tokens, "requests": SHARED_REQUESTS, "per_s": rates}


def several(trace: Sequence[Traced], half: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Four gateways beside one. Requests of one instant are spread until the next: within one nobody can have heard of the others."""
    size = Size(KV_TOKENS[0], traces.BLOCK_TOKENS)
    evenly = traces.spread(trace)
    loads: dict[str, Any] = {}
    for load in (1.0, half):
        loads[f"{load:g}"] = row = {}
        for name, (make, reports) in GATEWAYS.items():
            say(f"arrivals spread, load {load:g}, {name}")
            row[name] = figures(_virtual(evenly, make(), size, load, reports))
    return {"kv_tokens": size.kv_tokens, "loads": loads}


def _virtual(
    trace: Sequence[Traced], chooser: cluster.Chooser, size: Size, load: float, reports: cluster.Reports = cluster.PLAIN
) -> list[cluster.Served]:
    return cluster.replay(traces.faster(trace, load), chooser, REPLICAS, size, StepTimes(SCOUT_ON_H100), reports)


def in_real_time(trace: Sequence[Traced], load: float, scale: float, router: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Our gateway and vllm-router, one after the other, each over fresh engines.

    Raises:
        CannotReplay: something did not start, or a request failed.
    """
    size = Size(KV_TOKENS[0], traces.BLOCK_TOKENS)
    faster = traces.faster(trace, load)
    rows: dict[str, Any] = {}
    for name in ("herd", "round_robin", "vllm-router cache_aware"):
        say(f"in real time, {scale:g} times faster, {name}")
        with live.engines(live.Cluster(REPLICAS, size, scale)) as ports:
            ours = name in ("herd", "round_robin")
            with live.our_gateway(ports, name, scale) if ours else live.vllm_router(router, ports, scale) as url:
                served, hit_rate = live.replay(faster, url, ports, scale)
        rows[name] = figures(served, hit_rate)
    return {"kv_tokens": size.kv_tokens, "load": load, "scale": scale, "requests": len(trace), "routers": rows}


def in_virtual_time(trace: Sequence[Traced], name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything that needs no clock: the same on every machine."""
    sizes = [virtual(trace, kv_tokens, say) for kv_tokens in KV_TOKENS]
    return {
        "trace": {"name": name, "requests": len(trace)},
        "replicas": REPLICAS,
        "limits": {"ttft_s": FIRST_S, "per_token_s": PER_TOKEN_S},
        "virtual": sizes,
        "shared": shared(say),
    }


def table(title: str, rows: dict[str, dict[str, float]]) -> Table:
    """One load, as a person reads it."""
    columns = ("hit_rate", "goodput", "ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "per_token_p50_s", "per_token_p90_s")
    shown = Table("", *columns, title=title, title_justify="left")
    for name, row in rows.items():
        shown.add_row(name, *(f"{row[column]:.3f}" for column in columns))
    return shown


def show(results: dict[str, Any], console: Console) -> None:
    """What was replayed in virtual time, as tables."""
    for part in results["virtual"]:
        for load, rows in part["loads"].items():
            half = ", where round robin's goodput is half" if float(load) == part["half_load"] else ""
            lru = part["shared_lru_hit_rate"]
            console.print(table(f"{part['kv_tokens']} KV tokens (one shared LRU: {lru:.3f}), load {load}{half}", rows))
    for rate, rows in results["shared"]["per_s"].items():
        console.print(table(f"shared beginnings, {rate} requests/s", rows))


def show_several(results: dict[str, Any], console: Console) -> None:
    """One gateway and four, as tables."""
    for load, rows in results["loads"].items():
        console.print(table(f"one gateway and four, arrivals spread, {results['kv_tokens']} KV tokens, load {load}", rows))


def main() -> None:
    """Replays, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, help="a trace in Mooncake's format; without it one of the same shape is generated")
    parser.add_argument("--requests", type=int, help="only so many, from the trace's beginning")
    parser.add_argument("--vllm-router", type=Path, help="the program `vllm-router`, of an environment of its own, for the real-time part")
    parser.add_argument("--scale", type=float, default=10.0, help="how many times faster than real the real-time part runs")
    parser.add_argument("--live-requests", type=int, default=6000, help="requests of the real-time part")
    parser.add_argument("--only", choices=("several", "real-time"), help="renew this part alone; the rest of the results stays as it is")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    console = Console(width=140)
    trace = traces.mooncake(asked.trace.read_bytes()) if asked.trace else traces.generated()
    trace = trace[: asked.requests]
    say = console.log
    results: dict[str, Any]
    if asked.only:
        results = json.loads(asked.out.read_text(encoding="utf-8"))
    else:
        name = asked.trace.name if asked.trace else "generated"
        results = about("tests.bench.trace") | in_virtual_time(trace, name, say)
        show(results, console)
    if asked.only in (None, "several"):
        results["several"] = about("tests.bench.trace") | several(trace, results["virtual"][0]["half_load"], say)
        show_several(results["several"], console)
    if asked.vllm_router and asked.only in (None, "real-time"):
        half = results["virtual"][0]["half_load"]
        timed = in_real_time(trace[: asked.live_requests], half, asked.scale, asked.vllm_router, say)
        results["real_time"] = about("tests.bench.trace") | timed
        console.print(table(f"in real time over HTTP, {KV_TOKENS[0]} KV tokens, load {half:g}", results["real_time"]["routers"]))
    save(asked.out, results)


if __name__ == "__main__":
    main()
