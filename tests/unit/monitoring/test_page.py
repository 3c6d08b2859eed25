"""`monitoring.page`: the text that prometheus-client writes, in pieces."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from monitoring.export import Meter
from monitoring.metrics import GATEWAY_MEMORY, LOOP_LAG, STREAMS_OPEN, TOKENS, TTFT
from monitoring.page import LINES, number

NUMBERS = st.floats() | st.integers(-(1 << 70), 1 << 70) | st.sampled_from([0, 999_999.9, 1e6, 1_234_567, math.inf, -math.inf, math.nan])
MODELS = st.text() | st.sampled_from(['a "b"', "a\\n\\", "a\nb"])


@given(st.lists(st.tuples(MODELS, NUMBERS)), NUMBERS)
def test_text_is_that_of_the_ordinary_client(values: list[tuple[str, float]], memory: float) -> None:
    meter = Meter()
    meter.show(GATEWAY_MEMORY, value=memory)
    meter.observe(LOOP_LAG, value=memory)
    for model, value in values:
        meter.show(STREAMS_OPEN, model, value=value)
        meter.count(TOKENS, model, "prompt", by=value)
        meter.observe(TTFT, model, value=value)
    assert meter.text() == generate_latest(meter.registry)


def test_piece_has_so_many_lines_at_most() -> None:
    meter = Meter()
    for model in range(1000):
        meter.observe(TTFT, f"model-{model}", value=0.1)
    pieces = list(meter.pieces())
    lines = len(meter.text().splitlines())
    # The head of a metric is two lines, as are a histogram's sum and count.
    assert all(piece.count(b"\n") <= 2 * LINES for piece in pieces)
    assert len(pieces) <= lines / (LINES / 2)


def test_what_is_counted_while_a_page_is_written_breaks_nothing() -> None:
    meter = Meter()
    for model in range(LINES):
        meter.under_way[f"model-{model}"].requests += 1
        meter.observe(TTFT, f"model-{model}", value=0.1)
    for at, _ in enumerate(meter.pieces()):
        meter.under_way[f"new-{at}"].requests += 1
        meter.observe(TTFT, f"new-{at}", value=0.1)
        meter.replicas({("scout", f"{at}"): 1})
    assert number(3) == "3.0"
