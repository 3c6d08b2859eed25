"""A cluster in virtual time: requests, a gateway, replicas that come and go, and a rule that scales them.

Events are kept in a heap, and an engine has one only when something changes for it. Routing and admission are production's own. The same
seed gives the same outcome.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from math import inf
from random import Random
from typing import Any

from deployments.policy.queue.slots import Slot, Waiting
from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.types import Ask
from deployments.simulation.autoscaling.monitor import Monitor
from deployments.simulation.autoscaling.rules import Rule
from deployments.simulation.engine.clocked import ClockedEngine
from deployments.simulation.engine.request import Request
from deployments.simulation.engine.scheduler import Scheduler
from deployments.simulation.fleet import Fleet, Member, Stage
from deployments.simulation.gateway import Gateway
from deployments.simulation.loads.traces import Client, Traced
from deployments.simulation.open_request import OpenRequest
from deployments.simulation.outcome import Change, Decided, Outcome
from deployments.simulation.setup import Setup
from deployments.simulation.uncollected import uncollected

#: One in so many reports is of all busy replicas.
_ALL_OF = 10
#: A client that was refused asks again after so many seconds.
_REFUSED_S = 1.0


class Simulation:
    """One run. Everything in it happens in `run`."""

    def __init__(self, setup: Setup, rule: Rule, seed: int = 0) -> None:
        self.outcome = Outcome(gpus_per_replica=setup.pool.gpus_per_replica, begun_with=setup.replicas)
        self._setup, self._rule = setup, rule
        self._fleet = Fleet(setup.pool, self._engine, Random(seed), setup.until_s)
        self._gateway = Gateway(setup.routing, setup.limits, setup.size.block_tokens)
        self._monitor = Monitor(rule.lag, setup.outages)
        self._slots = setup.size.sequences if setup.tells_slots else 0
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[Any], None] | None, Any]] = []
        """When, in which order at the same time, what happens, and of what; without what happens it is an engine's `_wake`."""
        self._pushed = 0
        self._open: dict[int, OpenRequest] = {}
        self._asking = 0
        """Clients whose next request comes in a moment."""
        self._waits: dict[Waiting, OpenRequest] = {}
        self._busy: dict[str, Member] = {}
        """Replicas at which a request has come, begun or ended since their last report."""
        self._reports = 0

    def _engine(self) -> ClockedEngine:
        return ClockedEngine(Scheduler(self._setup.size, self._setup.step_times))

    def run(self, requests: Iterable[Traced]) -> Outcome:
        """Sends every request at its time, in ascending order, and goes on until all have ended."""
        self._begin()
        with uncollected():
            self._run(iter(requests))
        self._end()
        return self.outcome

    def _run(self, arrivals: Iterator[Traced]) -> None:
        next_one = next(arrivals, None)
        events = self._events
        while next_one is not None or self._open or self._asking or (events and events[0][0] <= self._setup.until_s < inf):
            if next_one is not None and next_one.at_s <= events[0][0]:
                self._now_s = next_one.at_s
                self._arrive(next_one)
                next_one = next(arrivals, None)
            else:
                self._now_s, _, happens, what = events[0]
                if happens is None:
                    self._wake(what)
                else:
                    heapq.heappop(events)
                    happens(what)

    def _begin(self) -> None:
        self._fleet.begin(self._setup.replicas)
        self._roster()
        lag = self._rule.lag
        self._push(0.0, self._report, None)
        self._push(lag.sample_s, self._sample, None)
        self._push(lag.sync_s, self._decide, None)
        for at_s in self._setup.deaths:
            self._push(at_s, self._kill, None)

    def _end(self) -> None:
        until_s = self._now_s if self._setup.until_s == inf else self._setup.until_s
        self._fleet.count(until_s)
        self.outcome.until_s, self.outcome.gpu_s = until_s, self._fleet.gpu_s

    def _push(self, at_s: float, happens: Callable[[Any], None] | None, what: object) -> None:
        self._pushed = number = self._pushed + 1
        heapq.heappush(self._events, (at_s, number, happens, what))

    # Requests

    def _arrive(self, asked: Traced) -> None:
        number = self.outcome.requests.arrived(self._now_s, asked.prompt_tokens, asked.output_tokens)
        self._monitor.arrived(asked.prompt_tokens)
        ask = Ask(Prompt(asked.blocks, max(1, asked.prompt_tokens)), ttft_s=self._setup.ttft_s)
        self._offer(OpenRequest(number, ask, max(1, asked.output_tokens), asked.client))

    def _asks_again(self, client: Client | None, after_s: float) -> None:
        """Lets a client ask that has been answered or refused."""
        following = None if client is None else client.after(self._now_s + after_s)
        if following is not None:
            self._asking += 1
            self._push(following.at_s, self._ask, following)

    def _ask(self, asked: Traced) -> None:
        self._asking -= 1
        self._arrive(asked)

    def _offer(self, one: OpenRequest) -> None:
        answer = self._gateway.offered(one.ask, self._now_s)
        if isinstance(answer, Waiting):
            self._open[one.number] = self._waits[answer] = one
            self._push(answer.until_s, self._expire, answer)
            self._served(self._gateway.displaced())
        elif isinstance(answer, Slot):
            self._send(one, answer)
        else:
            self._refuse(one)

    def _send(self, one: OpenRequest, slot: Slot) -> None:
        member = self._fleet.ready[slot.pick.replica.id]
        one.sent(slot, member)
        self._open[one.number] = one
        member.takes(1)
        self._busy[member.name] = member
        engine, prompt = member.engine, one.ask.prompt
        due_s = engine.due_s
        engine.submit(Request(one.number, prompt.blocks, prompt.tokens, one.left), self._now_s)
        if engine.due_s != due_s:
            self._push(engine.due_s, None, member)

    def _refuse(self, one: OpenRequest) -> None:
        self._open.pop(one.number, None)
        self.outcome.refused += 1
        self._monitor.refused()
        self._asks_again(one.client, _REFUSED_S)

    def _served(self, over: list[Waiting]) -> None:
        """Goes on with requests whose wait has ended."""
        for waiting in over:
            one = self._waits.pop(waiting)
            if isinstance(waiting.outcome, Slot):
                self._send(one, waiting.outcome)
            else:
                self._refuse(one)

    def _expire(self, waiting: Waiting) -> None:
        if waiting in self._waits:
            self._served(self._gateway.expired(self._now_s))

    def _wake(self, member: Member) -> None:
        """An engine has something to say, unless it has been given something else to do since. Its next event takes the first event's
        place: that is once through the heap instead of twice."""
        engine = member.engine
        if engine.due_s != self._now_s:
            heapq.heappop(self._events)
            return
        step = engine.wake()
        if engine.due_s != inf:
            self._pushed = number = self._pushed + 1
            heapq.heapreplace(self._events, (engine.due_s, number, None, member))
        else:
            heapq.heappop(self._events)
        self._busy[member.name] = member
        for request in step.first:
            self._answered(request)
        for request in step.finished:
            self._ended(request.number, member)

    def _answered(self, request: Request) -> None:
        number, requests = request.number, self.outcome.requests
        self._gateway.answered(self._open[number].slot, self._now_s)
        if requests.first_s[number] == inf:
            found = request.found * self._setup.size.block_tokens
            self._monitor.answered(requests.answered(number, self._now_s, found), found)

    def _ended(self, number: int, member: Member) -> None:
        one = self._open.pop(number)
        requests = self.outcome.requests
        self._monitor.ended(requests.output_tokens[number], requests.ended(number, self._now_s))
        member.takes(-1)
        if over := self._gateway.freed(one.slot, self._now_s):
            self._served(over)
        self._asks_again(one.client, 0.0)
        if member.stage is Stage.DRAINING and not member.open:
            self._leave(member)

    def _lose(self, member: Member) -> None:
        """Takes out a replica that is no longer; its requests go on elsewhere, as a gateway sends them on."""
        lost = member.engine.die(self._now_s)
        self._fleet.gone(member, self._now_s)
        self._busy.pop(member.name, None)
        self._roster()
        for request in lost:
            one = self._open.pop(request.number)
            self._served(self._gateway.freed(one.slot, self._now_s))
            one.lost(request.generated, self.outcome.requests.first_s[one.number] < inf)
            self.outcome.moved += 1
            self._offer(one)
        self._scale(self._fleet.target)

    # Replicas

    def _kill(self, _: None) -> None:
        if self._fleet.ready:
            self._lose(next(iter(self._fleet.ready.values())))

    def _decide(self, _: None) -> None:
        if self._now_s > self._setup.until_s:
            return
        self._push(self._now_s + self._rule.lag.sync_s, self._decide, None)
        before = self._fleet.target
        wanted = self._rule.wanted(self._monitor.seen(self._fleet, self._now_s))
        target = max(self._setup.least, min(self._setup.most, wanted.replicas))
        if target != before:
            self.outcome.decided.append(Decided(self._now_s, before, target, wanted.reason))
            self._scale(target)

    def _scale(self, target: int) -> None:
        """Brings the fleet towards a target: begins starts, or ends them and lets replicas drain."""
        for member in self._fleet.grow(target, self._now_s):
            self._push(self._now_s + member.start_s, self._started, member)
        drained = self._fleet.shrink(self._now_s)
        if drained:
            self._roster()
        for member in drained:
            if member.open:
                self._push(self._now_s + self._setup.pool.drain_s, self._cut_off, member)
            else:
                self._fleet.gone(member, self._now_s)
        self._changed()

    def _started(self, member: Member) -> None:
        if member.stage is not Stage.STARTING:
            return
        if self._fleet.started(member, self._now_s):
            self._roster()
            self._changed()
        else:
            self.outcome.failed_starts += 1
            self._scale(self._fleet.target)

    def _leave(self, member: Member) -> None:
        """Ends a drain; its GPUs may be what others wait for."""
        self._fleet.gone(member, self._now_s)
        self._busy.pop(member.name, None)
        self._scale(self._fleet.target)

    def _cut_off(self, member: Member) -> None:
        if member.stage is Stage.DRAINING:
            self._lose(member)

    def _changed(self) -> None:
        fleet = self._fleet
        self.outcome.changes.append(Change(self._now_s, fleet.target, len(fleet.starting), len(fleet.ready), len(fleet.draining)))

    # What is heard

    def _roster(self) -> None:
        views = [member.view(self._now_s, self._slots) for member in self._fleet.ready.values()]
        self._served(self._gateway.roster(views, self._now_s))

    def _report(self, _: None) -> None:
        self._push(self._now_s + self._setup.reports_s, self._report, None)
        self._reports += 1
        if self._reports % _ALL_OF == 0:
            self._busy = {name: member for name, member in self._fleet.ready.items() if name in self._busy or member.engine.due_s < inf}
        now_s, slots, heard = self._now_s, self._slots, self._gateway.heard
        for member in self._busy.values():
            heard(member.view(now_s, slots))
        self._busy.clear()
        self._served(self._gateway.news(self._now_s))

    def _sample(self, _: None) -> None:
        self._push(self._now_s + self._rule.lag.sample_s, self._sample, None)
        line_tokens = sum(one.ask.prompt.tokens for one in self._waits.values())
        self._monitor.sample(self._fleet, self._gateway.waiting, line_tokens, self._now_s)
