"""Key panels say what a test has counted: a gateway over sockets with requests of every outcome, in a real Prometheus, in seconds.

`tests/own_herd/test_dashboards.py` does the same with real engines, for every panel.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.path.fake_engine import FakeEngine, Wire, fake_engine, streams, then_breaks, then_hangs
from tests.path.herd import CHAT, LLAMA, MODELS, SCOUT, Herd, asking, herd_of, limits
from tests.path.prometheus import NEEDED, Prometheus, prometheus
from tests.path.test_overload import Gate, asks, slots, waiting
from tests.path.wire import connected, request
from tests.unit.monitoring.dashboards import chosen, counts, queries, shown
from tests.wire_format import DONE, event, usage

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Figures of a panel by a label's values: what two rounds of requests must have made of them.
EXPECTED: dict[tuple[str, str], dict[str, float]] = {
    ("herd-overview: Requests by outcome", "outcome"): {"ok": 16, "client_error": 4, "overloaded": 2, "timeout": 2, "cancelled": 2},
    ("herd-gateway: Requests by endpoint", "endpoint"): {"chat": 26},
    ("herd-gateway: Refusals by code", "code"): {"model_not_found": 2, "invalid_json": 2, "overloaded": 2, "timeout": 2},
    ("herd-overview: Tokens", "kind"): {"prompt": 10 * 3 + 2 * 11, "completion": 10 * 2 + 2 * 7},
    ("herd-gateway: Asked again", "kind"): {"again": 2},
    ("herd-gateway: Answered by another model", "answered_by"): {SCOUT: 2},
    ("herd-autoscaling: Refused because all was full", "model"): {LLAMA: 2},
}
#: Queries that need a second round: a rate is one of at least two values.
SOME = ("herd-gateway: Time in the line", "herd-autoscaling: Time in the line", "herd-canaries: Streams resumed", "herd-gateway: Lag of")


async def round_of(herd: Herd, engine: FakeEngine, others: list[FakeEngine]) -> None:
    """Requests of every outcome: eight answered, five not."""
    for _ in range(3):
        assert (await herd.chat()).status_code == 200
    engine.queue = [streams([event("a"), event("b"), usage(11, 7), DONE])]
    assert (await herd.chat(stream=True)).status_code == 200
    assert (await herd.chat(model="nobody")).status_code == 404
    assert (await herd.http.post(CHAT, content=b"no JSON")).status_code == 400
    await the_line(herd, engine)
    await one_that_breaks(herd, others)
    await one_that_hangs(herd, engine)
    herd.apply([MODELS[0].model_copy(update={"fallbacks": (SCOUT,)}), *MODELS[1:]])
    herd.has()
    assert (await herd.chat()).headers["x-fallback-from"] == LLAMA
    herd.apply(MODELS)
    herd.has(engine)


async def the_line(herd: Herd, engine: FakeEngine) -> None:
    """Two that are answered, one of them after a wait, and one too many."""
    before, engine.script = engine.script, Gate()
    gate = engine.script
    slots(herd, 1)
    asked = [asks(herd, "a"), asks(herd, "b")]
    await waiting(herd, 1)
    assert (await herd.chat()).status_code == 429
    await asyncio.sleep(1)
    gate.let_go(2)
    assert {(await one).status_code for one in asked} == {200}
    engine.script = before


async def one_that_breaks(herd: Herd, engines: list[FakeEngine]) -> None:
    """One that the next replica answers."""
    ordinary, left = engines[0].script, [then_breaks(head=False)]

    async def whichever_is_first_breaks(wire: Wire) -> None:
        await (left.pop() if left else ordinary)(wire)

    for one in engines:
        one.script = whichever_is_first_breaks
    herd.has(*engines)
    assert (await herd.chat()).status_code == 200
    for one in engines:
        one.script = ordinary


async def one_that_hangs(herd: Herd, engine: FakeEngine) -> None:
    """One that is given up, and one whose client goes."""
    herd.has(engine)
    herd.apply_limits(first_byte_s=0.5)
    engine.queue = [then_hangs(head=False)]
    assert (await herd.chat(stream=True)).status_code == 504
    herd.apply_limits(first_byte_s=30)
    engine.queue = [then_hangs(event("a"))]
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await engine.asked()
        await asyncio.sleep(0.2)
        client.hang_up()


@NEEDED
async def test_key_panels_say_what_the_test_has_counted(engine: FakeEngine, tmp_path: Path) -> None:
    wanted = limits(queue_s=30, queue_requests=1)
    async with fake_engine() as second, fake_engine() as third, fake_engine() as scout, herd_of([engine], wanted) as herd:
        herd.has(scout, model=SCOUT)
        herd.gateways.append({"host": "127.0.0.1", "port": herd.metrics_port, "node": "n1"})
        found = {"job_name": "herd", "http_sd_configs": [{"url": f"{herd.url}/-/targets", "refresh_interval": "250ms"}]}
        config = {"global": {"scrape_interval": "250ms"}, "scrape_configs": [found]}
        async with prometheus(tmp_path, config) as one:
            await asyncio.sleep(2)
            for _ in range(2):
                await round_of(herd, engine, [second, third])
                await asyncio.sleep(1.5)
            assert await figures(one) == EXPECTED
            assert await values(one, "max by (objective) (herd_slo_requests_total)") != {}
            for query in (query for query in queries() if query.name.startswith(SOME)):
                assert await values(one, chosen(query.expr)), query.name


async def figures(one: Prometheus) -> dict[tuple[str, str], dict[str, float]]:
    """The figures of the panels. On a busy machine a page is not always read in time, and has no series then until the next time."""
    for _ in range(20):
        found = {(panel, label): await counted(one, panel, label) for panel, label in EXPECTED}
        if found == EXPECTED:
            break
        await asyncio.sleep(0.25)
    return found


async def counted(one: Prometheus, panel: str, label: str) -> dict[str, float]:
    """What the counters behind a panel's rates are at, by one of the labels in its legend."""
    found = await one.asked(counts(shown(panel).expr))
    return {each["metric"][label]: float(each["value"][1]) for each in found if float(each["value"][1])}


async def values(one: Prometheus, expr: str) -> dict[str, Any]:
    """A query's values, without those that are no number."""
    return {str(each["metric"]): each["value"][1] for each in await one.asked(expr) if not re.match("NaN", each["value"][1])}
