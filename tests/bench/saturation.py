"""Requests a second that one gateway process carries on one core, with eight engines behind it, from one request under way to many.

The clients and the engines stand on the other cores. Where there are none, or where these are full first, the rate is theirs, and the
share of its core that a gateway has used says so.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.progress import Say
from tests.bench import flood
from tests.bench.flood import Flood
from tests.bench.gateway_cpu import Proxy, cpu_s


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    at_once: tuple[int, ...]
    seconds: float


FULL, QUICK = Sizes((1, 2, 4, 8, 16, 32, 64, 128), 5), Sizes((1, 16), 0.5)


@contextlib.contextmanager
def other_cores() -> Iterator[None]:
    """Whatever starts while this lasts leaves the last core to who is measured, where there is another one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before - {max(before)} or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def curve(proxies: Mapping[str, Proxy], sizes: Sizes, say: Say) -> dict[str, dict[str, dict[str, Any]]]:
    """Measures all proxies in turn, for each number of requests under way; they run on the last core already.

    Raises:
        CannotMeasure: one did not answer.
    """
    rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in proxies}
    with other_cores():
        for one in proxies.values():
            flood.run(_flood(one, 16, 1.0))
        for at_once in sizes.at_once:
            for name, one in proxies.items():
                say(f"{at_once} requests under way: {name}")
                rows[name][str(at_once)] = _rate(one, _flood(one, at_once, sizes.seconds))
    return rows


def _flood(proxy: Proxy, at_once: int, seconds: float) -> Flood:
    return Flood(int(proxy.url.rpartition(":")[2]), proxy.model, at_once, seconds)


def _rate(proxy: Proxy, asked: Flood) -> dict[str, Any]:
    before, began = cpu_s(proxy.process), time.perf_counter()
    found = flood.run(asked)
    used_s, took_s = cpu_s(proxy.process) - before, time.perf_counter() - began
    requests = found.requests_per_s * asked.seconds
    return {
        "requests_per_s": round(found.requests_per_s),
        "us_per_request": round(used_s * 1e6 / requests, 1),
        "core_used": round(min(1.0, used_s / min(took_s, asked.seconds)), 2),
        "p50_ms": round(found.p50_ms, 2),
        "p99_ms": round(found.p99_ms, 2),
    }
