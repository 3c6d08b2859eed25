"""The simulated engines behind HTTP, and our gateway in front of them: what the benchmarks of traces and of kills run in real time."""

import asyncio

from configs.routing import Routing
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.loads import traces
from deployments.simulation.loads.traces import BLOCK_TOKENS, Traced
from tests.bench import kills
from tests.bench.simulated import live
from tests.bench.simulated.choosers import Ours
from tests.bench.simulated.cluster import Reports, replay

SCALE = 20.0


def conversation(number: int, turns: int) -> list[Traced]:
    """Each turn begins like the last."""
    blocks = tuple(number * 100 + place for place in range(4 + 2 * turns))
    return [Traced(turn * 10.0, (4 + 2 * turn) * BLOCK_TOKENS, 20, blocks[: 4 + 2 * turn]) for turn in range(turns)]


def test_a_trace_over_http_finds_the_caches_of_its_conversations() -> None:
    trace = sorted((asked for number in range(3) for asked in conversation(number, 4)), key=lambda asked: asked.at_s)
    with live.engines(live.Cluster(3, Size(100_000), SCALE)) as ports, live.our_gateway(ports, "herd", SCALE) as url:
        served, hit_rate = live.replay(trace, url, ports, SCALE)
    assert [one.asked for one in served] == trace
    assert all(0 < one.first_s <= one.end_s for one in served)
    expected = sum(4 + 2 * turn for turn in range(3)) / sum(4 + 2 * turn for turn in range(4))
    assert hit_rate > 0.9 * expected


def test_engines_that_die_cost_no_answer_and_change_none() -> None:
    tally = asyncio.run(kills.simulated(2, seed=7, say=lambda _: None))
    assert (tally.kills, tally.failed, tally.wrong, tally.complaints) == (2, 0, 0, [])
    assert tally.requests > kills.CLIENTS
    assert tally.under_way > 0


def test_a_replay_serves_everybody_and_herd_finds_more() -> None:
    trace = traces.generated(240, 360.0)
    found = {}
    for name, gateways, told in (("herd", 1, True), ("herd", 3, True), ("herd", 3, False), ("round_robin", 1, True)):
        chooser = Ours(Routing.model_validate({"policy": name}), gateways, told)
        served = replay(trace, chooser, 4, Size(400_000), StepTimes(SCOUT_ON_H100), Reports(prefill=True))
        assert [one.asked for one in served] == trace
        assert all(0 < one.first_s <= one.end_s < 1e4 for one in served)
        found[name, gateways, told] = sum(one.found_blocks for one in served)
    alone = found["herd", 3, False]
    assert min(found["herd", 1, True], found["herd", 3, True]) > alone > found["round_robin", 1, True]
