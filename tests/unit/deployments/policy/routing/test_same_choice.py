"""`deployments.policy.routing.router` chooses as a loop over all replicas does, whatever has happened before; and what a choice costs."""

import gc
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from configs.routing import Routing, RoutingWeights
from deployments.gateway.replicas.roster import Roster
from deployments.policy.request.calls import Priority
from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.router import NobodyTakes, Router
from deployments.policy.routing.types import Ask, Pick, ReplicaState, ReplicaView, Trust
from tests.unit.deployments.policy.routing.full_scan import FullScan
from tests.unit.samples import replica

NAMES = [f"replica-{number}" for number in range(24)]
POLICIES = ("herd", "prefix", "least_loaded", "power_of_two", "round_robin")
BLOCK_TOKENS = 16

FACTS = st.fixed_dictionaries(
    {
        "ongoing": st.integers(0, 12),
        "waiting": st.integers(0, 6),
        "slots": st.sampled_from([0, 0, 1, 4, 16]),
        "prefill_tokens": st.none() | st.integers(0, 3000),
        "kv_usage": st.sampled_from([0.0, 0.3, 0.81, 0.9, 0.96]),
        "kv_tokens": st.sampled_from([0, 64, 160, 10_000]),
        "ready_s": st.sampled_from([0.0, 7.0, float("inf")]),
    },
    optional={
        "state": st.sampled_from([ReplicaState.READY] * 4 + [ReplicaState.DEAD]),
        "trust": st.sampled_from([Trust.TRUSTED] * 4 + [Trust.SUSPECTED, Trust.AVOIDED]),
        "slow": st.booleans(),
        "number": st.integers(0, 3),
    },
)
#: Prompts that begin alike: a path through a small tree.
PROMPTS = st.builds(
    lambda turns, rest: Prompt(
        tuple(hash(tuple(turns[: n + 1])) & 0xFFFFFFFF for n in range(len(turns))), len(turns) * BLOCK_TOKENS + rest
    ),
    st.lists(st.integers(0, 2), max_size=8),
    st.integers(0, 40),
)
ASKS = st.builds(
    Ask,
    PROMPTS,
    st.none() | st.sampled_from(["me", "you"]),
    st.sets(st.sampled_from(NAMES), max_size=3).map(frozenset),
    st.sampled_from(Priority),
)
WEIGHTS = st.just(RoutingWeights()) | st.builds(
    RoutingWeights, **dict.fromkeys(RoutingWeights.model_fields, st.sampled_from([0.0, 0.3, 5.0]))
)


def view(name: str, facts: dict[str, Any]) -> ReplicaView:
    return replace(replica(name), **facts)


def picked(router: Router, ask: Ask) -> Pick | str | None:
    try:
        return router.pick(ask)
    except NobodyTakes:
        return "nobody takes it"


def right(scan: FullScan, ask: Ask) -> Sequence[Pick | str | None]:
    try:
        return scan.picks(ask) or [None]
    except NobodyTakes:
        return ["nobody takes it"]


class Both:
    """The router and the loop, to which the same happens."""

    def __init__(self, routing: Routing) -> None:
        self.router, self.scan = Router(routing, BLOCK_TOKENS), FullScan(routing, BLOCK_TOKENS)
        self.listed: list[ReplicaView] = []
        self.under_way: list[tuple[Any, Any]] = []

    def update(self, views: list[ReplicaView]) -> None:
        self.listed = views
        self.router.update(views)
        self.scan.update(views)

    def heard(self, view: ReplicaView) -> None:
        self.router.heard(view)
        self.scan.heard(view)

    def ask(self, ask: Ask, is_sent: bool) -> None:
        pick = picked(self.router, ask)
        assert pick in right(self.scan, ask)
        if is_sent and isinstance(pick, Pick):
            self.under_way.append((self.router.sending(pick, ask.prompt), self.scan.sending(pick, ask.prompt)))

    def happen(self, data: st.DataObject) -> None:
        what = data.draw(st.sampled_from(["ask"] * 8 + ["heard"] * 2 + ["answered", "end", "learn", "update"]))
        if what == "ask":
            self.ask(data.draw(ASKS), data.draw(st.sampled_from([True] * 4 + [False])))
        elif what == "update":
            self.update(data.draw(herds()))
        elif what == "learn" and self.listed:
            name, prompt = data.draw(st.sampled_from(self.listed)).id, data.draw(PROMPTS)
            self.router.learn(name, prompt)
            self.scan.learn(name, prompt)
        elif what == "heard":
            self.heard(view(data.draw(st.sampled_from(NAMES)), data.draw(FACTS)))
        elif what in ("answered", "end") and self.under_way:
            for one in data.draw(st.sampled_from(self.under_way)):
                getattr(one, what)()


def herds() -> st.SearchStrategy[list[ReplicaView]]:
    return st.lists(st.builds(view, st.sampled_from(NAMES), FACTS), max_size=len(NAMES), unique_by=lambda one: one.id)


@pytest.mark.parametrize("policy", POLICIES)
@given(st.data())
def test_router_chooses_as_a_loop_over_all_replicas_does_whatever_happened_before(policy: str, data: st.DataObject) -> None:
    both = Both(
        Routing.model_validate({"policy": policy, "weights": data.draw(WEIGHTS), "index_tokens": data.draw(st.sampled_from([200, 4000]))})
    )
    both.update(data.draw(herds()))
    for _ in range(data.draw(st.integers(1, 40))):
        both.happen(data)


def lines_run(call: Callable[[], object]) -> int:
    """How many lines of Python a call runs."""
    lines = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()  # Hypothesis has lines of its own that run whenever the garbage collector does
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        gc.enable()
    return lines


def work(replicas: int) -> list[int]:
    """Lines that each event in a request's life runs, and a report, among so many replicas."""
    roster = Roster(["llama"])
    views = [replace(replica(f"{number:04}"), kv_tokens=100_000, prefill_tokens=0, number=1) for number in range(replicas)]
    roster.update("llama", views)
    prompt = Prompt(tuple(range(40)), 40 * 128)
    pick = roster.choose("llama", Ask(prompt))
    assert pick is not None
    sent: list[Sending] = []
    return [
        lines_run(lambda: sent.append(roster.sending(pick, prompt))),
        lines_run(lambda: roster.choose("llama", Ask(prompt))),
        lines_run(lambda: roster.heard(replace(pick.replica, number=2, ongoing=1))),
        lines_run(sent[0].answered),
        lines_run(sent[0].end),
        lines_run(lambda: roster.choose("llama", Ask(prompt, tried=frozenset([pick.replica.id])))),
        lines_run(lambda: (roster.ready("llama"), roster.slow("llama"), roster.known("llama"))),
        lines_run(lambda: roster.silent(pick.replica, 5.0, True)),
        lines_run(lambda: roster.suspect(pick.replica)),
    ]


def test_number_of_replicas_changes_nothing_in_the_work_of_a_request_or_report() -> None:
    assert work(8) == work(500)
