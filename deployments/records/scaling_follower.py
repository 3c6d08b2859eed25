"""Follows one model's load in a thread of Ray Serve's controller, and has its size decided every 2 s.

Decides when the world is asked, and which of two threads does what: the controller's own only reads and writes single attributes here. All
that may take long, or fail, is done in the thread beside it. The memory is kept in the cluster's store.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from cluster.scaling.decision import Decision
from deployments.policy.fleet.events import Kind
from deployments.policy.queue import load_record
from deployments.policy.queue.load_record import LoadRecord
from deployments.policy.records import verdict as verdicts
from deployments.policy.records.starts import Start
from deployments.policy.scaling import turn as turns
from deployments.policy.scaling.load_report import FORGOTTEN_S
from deployments.policy.scaling.replica_counts import whole
from deployments.policy.scaling.sharing import place_of
from deployments.policy.scaling.turn import Memory, Seen
from deployments.policy.scaling.wanted import Wanted, of_plain
from deployments.ray_calls import cluster_store
from deployments.ray_calls.scaling_policy import Told, told
from deployments.records.background import running
from deployments.records.event_log import Store, Teller
from deployments.records.scaling_shares import Member, shared
from deployments.records.start_log import starts_of

#: Between two turns, between two looks at the starts, and between two keepings of a memory that no decision has changed.
PERIOD_S, STARTS_S, KEPT_S = 2.0, 10.0, 10.0
#: A policy that Ray Serve has not asked for so long may have been replaced by another: it decides nothing, and at last its thread ends.
UNASKED_S, LEFT_S = 5.0, 30.0
#: An older decision does not hold: the thread may hang while Ray's head is away.
OLD_S = 30.0
logger = logging.getLogger("ray.serve")


class Follower:
    """One model's thread, and the number that it has decided on."""

    def __init__(
        self,
        member: Member,
        wanted: Wanted | None,
        ranks: int = 1,
        teller: Callable[[str], Teller] = Teller,
        store: Store = cluster_store,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        member: the model, among all that want GPUs.
        wanted: what the decision is told; None: nothing is decided.
        ranks: of one replica.
        teller: makes what keeps events.
        store: where gateways' records, starts and the memory are.
        clock: seconds since 1970.
        """
        self._member, self._model, self._wanted, self._ranks = member, member.model, wanted, ranks
        self._events, self._store, self._clock = teller("autoscaling"), store, clock
        self._thread: threading.Thread | None = None
        self._told: Told | None = None
        self._asked_s = 0.0
        self._decided: tuple[int, float] | None = None
        self._returned = 0
        """The last number that Ray Serve was told. It moves there, if not yet then soon."""
        self._memory: Memory | None = None
        self._starts: Sequence[Start] = ()
        self._starts_s = self._kept_s = 0.0
        self._unread: dict[str, tuple[str, float]] = {}
        """Records that cannot be read, and since when each has been as it is."""
        self._target: int | None = None
        self._move: tuple[int, int] | None = None
        """The target before the last turn, and after it: a move that Ray Serve does not follow is told once."""

    def number(self, context: Any) -> int:  # noqa: ANN401 (ray.serve.config.AutoscalingContext)
        """Returns the number of ranks that Ray Serve should move to. Returns at once."""
        now = told(context)
        self._told, self._asked_s = now, self._clock()
        self._notice(now)
        is_fixed = self._wanted is None or not self._wanted.moves
        self._member.asked(*whole(now.target, now.running, self._ranks), self._asked_s, is_fixed)
        if is_fixed:
            return now.target
        self._thread = running(self._thread, self._follow, f"scaling {self._model}")
        self._returned = self._last(now.target, self._asked_s)
        return self._returned

    def _last(self, target: int, now: float) -> int:
        """Returns the number of ranks that was decided last; the target where that is too old to hold."""
        decided = self._decided
        return target if decided is None or now - decided[1] > OLD_S else decided[0]

    def _notice(self, now: Told) -> None:
        """Tells of a target that another has set: an operator, or the bounds of a new config."""
        before, self._target = self._target, now.target
        if before not in (None, now.target) and (self._decided is None or self._decided[0] != now.target):
            was, wants = (whole(ranks, 0, self._ranks)[0] for ranks in (before or 0, now.target))
            self._events.tell(Kind.SCALE, f"Ray Serve now wants {wants} replicas instead of {was}", self._model)

    def _follow(self) -> None:
        while (unasked_s := self._clock() - self._asked_s) < LEFT_S:
            try:
                if unasked_s < UNASKED_S:
                    self.look()
            except Exception as error:  # noqa: BLE001 (whatever it is: the target is held as soon as the last decision is old)
                logger.warning("scaling_failed model=%s error=%s: %s", self._model, type(error).__name__, error)
            time.sleep(PERIOD_S)

    def look(self) -> None:
        """Takes one turn: looks at the load, decides, and keeps what came of it. Called by the thread; needs a call of `number` before."""
        if self._told is None or self._wanted is None:
            return
        if self._memory is None:
            self._memory = turns.read(self._store.several([turns.memory_key(self._model)]).get(turns.memory_key(self._model)))
        target, ready = whole(self._told.target, self._told.running, self._ranks)
        now = self._clock()
        decision, memory = turns.turn(self._memory, self._seen(target, ready, now), self._wanted, now)
        last = max(self._last(self._told.target, now), self._returned) // self._ranks
        decision = self._member.granted(decision, memory, self._wanted.limits, last, now)
        self._memory = memory
        self._decided = decision.target * self._ranks, self._clock()
        self._keep(decision, target, now)

    def _seen(self, target: int, ready: int, now: float) -> Seen:
        try:
            if now - self._starts_s >= STARTS_S:
                self._starts, self._starts_s = starts_of(self._model, self._store), now
            records, unread = self._records(now)
        except Exception as error:  # noqa: BLE001 (whatever Ray raises while its head is away)
            return Seen(target, ready, starts=self._starts, error=f"{type(error).__name__}: {error}")
        return Seen(target, ready, records, self._starts, unread)

    def _records(self, now: float) -> tuple[list[LoadRecord], int]:
        """Returns the gateways' records, and how many there are that cannot be read. Those of gateways that are long gone are removed."""
        texts = self._store.several(self._store.names(load_record.beginning(self._model)))
        found = {name: load_record.read(text) for name, text in texts.items()}
        unread = {name: texts[name] for name, record in found.items() if record is None}
        self._unread = {
            name: known if (known := self._unread.get(name)) is not None and known[0] == text else (text, now)
            for name, text in unread.items()
        }
        told_s = {name: record.at_s for name, record in found.items() if record is not None}
        told_s |= {name: since for name, (_, since) in self._unread.items()}
        for name in [name for name, at_s in told_s.items() if now - at_s > FORGOTTEN_S]:
            self._store.forget(name)
        return [record for record in found.values() if record is not None], len(unread)

    def _keep(self, decision: Decision, before: int, now: float) -> None:
        """Tells of what changed, and keeps the decision and the memory: at each change, and every 10 s."""
        move = before, decision.target
        moved, self._move = decision.target != before and move != self._move, move
        if moved:
            self._events.tell(Kind.SCALE, decision.reason.removesuffix("."), self._model)
        if decision.notice:
            self._events.tell(Kind.SCALE, decision.notice.removesuffix("."), self._model)
        if self._memory is None or self._wanted is None or not (moved or now - self._kept_s >= KEPT_S):
            return
        self._kept_s = now
        verdict = verdicts.of(decision, before, self._wanted.limits.unmeetable, now)
        self._store.keep(verdicts.key(self._model), verdicts.written(verdict))
        self._store.keep(turns.memory_key(self._model), turns.written(self._memory))


def follower(
    context: Any,  # noqa: ANN401 (ray.serve.config.AutoscalingContext)
    ranks: int,
    wanted: dict[str, Any] | None,
    place: dict[str, Any] | None,
) -> Follower:
    """Makes the follower of the model that Ray Serve asks about.

    Raises:
        Exception: what the decision is told is another release's.
    """
    member = Member(told(context).model, place_of(place), shared())
    return Follower(member, None if wanted is None else of_plain(wanted), ranks)
