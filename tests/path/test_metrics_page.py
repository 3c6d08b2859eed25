"""The page of metrics of a large herd: it is the whole page, and requests have their turn while it is written."""

import asyncio
import re
import time

import httpx
import pytest

from monitoring.metrics import GATEWAYS
from tests.path.herd import Herd

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERIES = 36_000
#: The event loop of a gateway stands still for no longer than this.
MOST_S = 0.05


def fill(herd: Herd) -> int:
    """Has the gateway count until its page has so many series; returns how many they are."""
    histograms = [metric for metric in GATEWAYS if metric.kind == "histogram" and metric.labels == ("model",)]
    models = SERIES // sum(len(metric.buckets) + 3 for metric in histograms) + 1
    for model in range(models):
        for metric in histograms:
            herd.meter.observe(metric, f"meta-llama/a-model-{model}", value=0.3)
    return models * sum(len(metric.buckets) + 3 for metric in histograms)


async def page(herd: Herd) -> str:
    """The page, read by another thread: its time is none of the loop's."""
    answer = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{herd.metrics_port}/metrics", timeout=60, trust_env=False)
    return answer.text


async def longest_turn_s(until: "asyncio.Task[str]") -> float:
    """The longest time between two turns of this task. It is CPU time: other programs of the machine take none of it."""
    longest, before = 0.0, time.thread_time()
    while not until.done():
        await asyncio.sleep(0)
        before, last = time.thread_time(), before
        longest = max(longest, before - last)
    return longest


async def test_loop_never_stands_still_while_a_large_page_is_written(herd: Herd) -> None:
    series = fill(herd)
    asked = asyncio.create_task(page(herd))
    assert await longest_turn_s(asked) < MOST_S
    assert series <= len(re.findall(r"^[a-z]", asked.result(), re.MULTILINE)) < series + 100


async def test_pages_that_are_asked_for_together_are_written_once(herd: Herd) -> None:
    fill(herd)
    pages = await asyncio.gather(*(page(herd) for _ in range(4)))
    found = [re.findall(r"^herd_gateway_cpu_seconds_total (\S+)$", one, re.MULTILINE)[0] for one in pages]
    assert len(set(found)) < len(pages)
