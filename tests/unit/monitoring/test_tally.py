"""Requests that are counted many at once: the sums are those of each counted by itself."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.scaling import Slo
from monitoring.ended import Ended
from monitoring.export import Meter
from monitoring.journal import Entry, Journal, Served
from monitoring.labels import UNKNOWN, Outcome, PrefillBy, Retry
from monitoring.tally import Tally, sorted_out
from tests.unit.monitoring.test_export import samples

MODELS = ("llama", "scout", UNKNOWN)
#: Whole eighths, whose sums are exact in any order.
SECONDS = st.integers(0, 400).map(lambda number: number / 8)
TOKENS = st.integers(0, 5)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """A request as it may have gone: as nearly all do, or as none should."""
    entry = Entry(Journal(Meter(), clock=lambda: 0.0), draw(st.sampled_from(["chat", "embeddings", "other"])), 10.0, "req-1", None)
    if named := draw(st.sampled_from(MODELS)):
        entry.names(named, draw(st.booleans()))
    usual = draw(st.booleans())
    for model in [named] if usual else draw(st.lists(st.sampled_from(MODELS), max_size=2)):
        with entry.asks(model) as trial:
            for _ in range(1 if usual else draw(st.integers(0, 2))):
                trial.picked(draw(st.sampled_from(["only", "prefix"])), draw(TOKENS), draw(TOKENS))
            for kind in [] if usual else draw(st.lists(st.sampled_from(Retry), max_size=2)):
                trial.retried(kind)
            if not usual and draw(st.booleans()):
                trial.prefilled(draw(st.sampled_from(PrefillBy)))
            trial.times.extend(sorted(10 + at_s for at_s in draw(st.lists(SECONDS, max_size=3))))
            if draw(st.booleans()):
                trial.used(draw(TOKENS), draw(TOKENS), draw(TOKENS))
    if not usual and draw(st.booleans()):
        entry.refused(draw(st.sampled_from(["overloaded", None])), 400)
    return entry


@st.composite
def requests(draw: st.DrawFn) -> Ended:
    """A request that has ended, in any way."""
    entry = draw(entries())
    served = draw(st.none() | st.sampled_from(MODELS).map(lambda model: Served(Outcome.OK, model, None, 1)))
    outcome = draw(st.sampled_from([Outcome.OK, *Outcome]))
    return Ended(entry, outcome, served, 10 + draw(SECONDS), draw(st.booleans()))


def counted(groups: Iterable[Iterable[Ended]], one_by_one: bool) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Returns what was counted of batches of requests."""
    meter = Meter()
    meter.promises({"llama": Slo(ttft_s=1, itl_s=0.5), "scout": Slo()})
    tally = Tally(meter)
    for group in groups:
        alike, others = ({}, list(group)) if one_by_one else sorted_out(list(group))
        for of, these in alike.items():
            tally.add_alike(of, these)
        for ended in others:
            tally.add(ended)
    return samples(list(meter.registry.collect()))


@given(st.lists(st.lists(requests(), max_size=6), max_size=3))
def test_counted_in_batches_or_one_by_one_it_is_the_same(batches: list[list[Ended]]) -> None:
    assert counted(batches, one_by_one=False) == counted(batches, one_by_one=True)


def ended(outcome: Outcome = Outcome.OK, model: str = "llama", answered_by: str = "llama", picks: int = 1) -> Ended:
    entry = Entry(Journal(Meter()), "chat", 0.0, "req-1", None)
    entry.names("llama")
    with entry.asks(model) as trial:
        for _ in range(picks):
            trial.picked("only")
    return Ended(entry, outcome, Served(Outcome.OK, answered_by, None, picks), 1.0)


def test_requests_that_went_as_nearly_all_do_are_counted_together() -> None:
    alike, others = sorted_out([ended() for _ in range(3)])
    assert {of: len(group) for of, group in alike.items()} == {("llama", "chat", "only"): 3}
    assert not others


@pytest.mark.parametrize(
    "one",
    [ended(Outcome.TIMEOUT), ended(model="scout"), ended(answered_by="scout"), ended(picks=2)],
    ids=["failed", "asked another model", "answered by another model", "asked twice"],
)
def test_every_other_request_is_counted_by_itself(one: Ended) -> None:
    assert sorted_out([one]) == ({}, [one])
