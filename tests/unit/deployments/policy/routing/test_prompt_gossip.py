"""What gateways tell each other through the replicas: written and read, kept in bounds, told once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.request.prompt_blocks import Prompt, in_blocks
from deployments.policy.routing.prompt_gossip import KEPT, MOST_BLOCKS, Recent, Sent, read, written


@given(st.binary(max_size=5000), st.integers(0, 10**7), st.text("0123456789abcdef", max_size=8))
def test_what_is_written_is_read(data: bytes, prefill: int, by: str) -> None:
    sent = Sent(by, prefill, in_blocks(data, 64))
    value = written(sent)
    assert read(value.decode()) == sent


def test_of_a_long_prompt_the_beginning_is_told() -> None:
    long = in_blocks(b"x" * (MOST_BLOCKS + 5), 1)
    told = read(written(Sent("a", 1, long)).decode())
    assert told is not None
    assert (told.prompt.blocks, told.prompt.tokens) == (long.blocks[:MOST_BLOCKS], long.tokens)
    assert len(written(Sent("a", 1, long))) < 12_000


@pytest.mark.parametrize("value", [b"", b"...", b"a.1.2", b"a.x.2.", b"a.1.2.!!!!", b"a.1.2.AAA=", b"\xff.1.2.AA", b"a.1.2.AAAAAA==.x"])
def test_nonsense_is_nothing(value: bytes) -> None:
    assert read(value.decode("latin-1")) is None
    assert Recent().arrived(value) == 0


def told(number: int) -> bytes:
    return written(Sent("a", number, Prompt((), number)))


@given(st.integers(0, KEPT + 20), st.integers(0, KEPT + 40))
def test_each_is_told_once_and_the_oldest_are_forgotten(count: int, heard: int) -> None:
    recent = Recent()
    for number in range(count):
        recent.arrived(told(number))
    last, new = recent.after(heard)
    known = heard if heard <= count else 0  # it has started again, and counts from the beginning
    assert last == count
    assert [sent.prefill_tokens for value in new if (sent := read(value))] == list(range(max(known, count - KEPT), count))
    assert recent.after(last) == (last, [])


def test_what_is_still_to_compute() -> None:
    recent = Recent()
    assert recent.prefill_tokens is None, "nobody has said anything: unknown, not nothing"
    recent.computed(0)
    tokens = [recent.arrived(told(number)) for number in (5, 7)]
    assert recent.prefill_tokens == 12
    recent.computed(tokens[0])
    assert recent.prefill_tokens == 7
    recent.computed(tokens[1])
    assert recent.prefill_tokens == 0
