"""Traces: what is generated in the shape of a real one, and what is made of one."""

import pytest

from deployments.simulation.loads import traces
from deployments.simulation.loads.traces import Traced


def test_requests_of_one_instant_are_spread_until_the_next() -> None:
    trace = [Traced(0.0, 1, 1, ()), Traced(0.0, 2, 1, ()), Traced(3.0, 3, 1, ())]
    assert [one.at_s for one in traces.spread(trace)] == [0.0, 1.5, 3.0]


def test_faster_trace_has_the_same_requests_in_less_time() -> None:
    assert traces.faster([Traced(6.0, 1, 2, (3,))], 2.0) == [Traced(3.0, 1, 2, (3,))]


def test_shared_beginnings_are_those_of_four_fifths() -> None:
    found = traces.shared(500, 8.0)
    common = [one for one in found if one.blocks[0] in (0, 100)]
    assert len(common) == pytest.approx(400, rel=0.1)
    assert {one.prompt_tokens for one in common} == {44 * traces.BLOCK_TOKENS}
    assert {one.prompt_tokens for one in found if one not in common} == {8 * traces.BLOCK_TOKENS}


def test_generated_trace_has_the_shape_of_the_real_one() -> None:
    trace = traces.generated()
    tokens = sum(one.prompt_tokens for one in trace) / len(trace)
    seen: set[int] = set()
    found = blocks = 0
    for one in trace:
        found += sum(block in seen for block in one.blocks)
        blocks += len(one.blocks)
        seen.update(one.blocks)
    assert tokens == pytest.approx(12_035, rel=0.15)
    assert found / blocks == pytest.approx(0.37, abs=0.05)
    assert trace == traces.generated()
    assert [one.at_s for one in trace] == sorted(one.at_s for one in trace)
