"""The GPUs of a Ray cluster, and what the models of a herd claim of them: one table in Ray Serve's controller, for all followers.

Decides in which order claims are looked at: one after the other, each beside what all others were last granted. Followers that each read
the others' claims from a store would read them at different times, and two of them could take the same GPU. The policies of all models are
in one process, so one lock is enough; as nothing is kept, a controller that starts anew first waits until every model has been seen.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from cluster.scaling.decision import Decision
from cluster.scaling.limits import Limits
from cluster.scaling.several import Claim, share
from deployments.policy.scaling import sharing
from deployments.policy.scaling.replica_counts import Counts, followed
from deployments.policy.scaling.sharing import VIEW_S, Place
from deployments.policy.scaling.turn import Memory
from deployments.ray_calls import nodes
from deployments.ray_calls.nodes import Gpus

#: Ray Serve asks all models within a fraction of a second. A table that is younger may not know all of them.
SETTLED_S = 5.0
#: Ray is asked so often, and not believed for longer than that. Nodes that are gone are given back only after so many seconds: for a moment
#: there is none, when Ray's head starts anew.
LOOK_S, LOST_S = VIEW_S / 2, 300.0
#: A model that has told no claim for so long keeps what it has. One that Ray Serve has not asked for so long is no more in the herd.
STALE_S, GONE_S = 10.0, 30.0
logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest claim of a model. `present` has what was granted, as long as that may hold."""

    claim: Claim
    at_s: float


class Shares:
    """The claims of all models."""

    def __init__(self, look: Callable[[], Gpus] = nodes.gpus) -> None:
        """Args:
        look: asks Ray for its GPUs. May take long, and raise.
        """
        self._look = look
        self._lock = threading.Lock()
        self._told: dict[str, Heard] = {}
        self._asked: dict[str, tuple[object, float]] = {}
        """The speaker of each model, and when Ray Serve last asked for its number."""
        self._begun_s: float | None = None
        self._seen: tuple[tuple[float, float], ...] = ()
        """How many GPUs there were when, oldest first."""
        self._gpus = Gpus(0.0, 0.0)
        self._seen_s = self._looked_s = 0.0

    def asked(self, speaker: object, claim: Claim, now_s: float, is_new: bool) -> None:
        """Takes that Ray Serve asks for a model's number, by the one who speaks for it from now on. Returns at once.

        Args:
            speaker: of the model. The last one that was asked counts.
            claim: of the model; counts where none is known, or where it `is_new`.
            now_s: the time.
            is_new: the claim replaces the last one.
        """
        if self._begun_s is None:
            self._begun_s = now_s
        self._asked[claim.model] = speaker, now_s
        if is_new or claim.model not in self._told:
            self._told[claim.model] = Heard(claim, now_s)

    def granted(self, speaker: object, claim: Claim, decision: Decision, coming: float, now_s: float) -> Decision:
        """Returns a model's decision as far as GPUs are there for it. It may wait for Ray."""
        self._look_at_gpus(now_s)
        with self._lock:
            if self._asked.get(claim.model, (speaker, 0.0))[0] is not speaker:
                return decision  # another one speaks for the model by now, and Ray Serve does not ask for this number any more
            found = self._decided(claim, decision, coming, now_s)
            self._told[claim.model] = Heard(replace(claim, present=max(claim.present, found.target)), now_s)
            return found

    def _decided(self, claim: Claim, decision: Decision, coming: float, now_s: float) -> Decision:
        if now_s - self._seen_s > VIEW_S or self._begun_s is None or now_s - self._begun_s < SETTLED_S:
            return sharing.waiting(decision, claim.present)
        there = max((count for _, count in self._seen), default=0.0)
        if not max(there, coming):
            return decision
        claims = sorted([*self._others(claim.model, now_s), claim], key=lambda one: one.model)
        grants = share(claims, max(there, coming), there - self._gpus.free)
        return sharing.granted(decision, grants[claims.index(claim)])

    def _others(self, model: str, now_s: float) -> list[Claim]:
        """Returns the claims of the other models that Ray Serve asks for. The replicas of those that are gone are among the used GPUs."""
        asked = dict(self._asked)
        gone = [name for name, (_, at_s) in asked.items() if now_s - at_s > GONE_S and name != model]
        for name in gone:
            self._told.pop(name, None)
            self._asked.pop(name, None)
        return [
            told.claim if now_s - told.at_s <= STALE_S else sharing.kept(told.claim)
            for name, told in dict(self._told).items()
            if name != model
        ]

    def _look_at_gpus(self, now_s: float) -> None:
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        try:
            self._gpus = self._look()
        except Exception as error:  # noqa: BLE001 (whatever Ray raises while its head is away: nothing is added meanwhile)
            logger.warning("gpus_unknown %s: %s", type(error).__name__, error)
            return
        self._seen_s = now_s
        self._seen = (*((at_s, count) for at_s, count in self._seen if now_s - at_s <= LOST_S), (now_s, self._gpus.there))


class Member:
    """One model among all, for its follower."""

    def __init__(self, model: str, place: Place, shares: Shares) -> None:
        self.model = model
        self._place, self._shares = place, shares
        self._counts: Counts | None = None

    def asked(self, target: int, ready: int, now_s: float, is_fixed: bool) -> None:
        """Takes the numbers of whole replicas with which Ray Serve asks for the model's own. Returns at once."""
        if self._place.gpus:
            self._counts = followed(self._counts, target, ready, now_s)
            self._shares.asked(self, sharing.fixed(self.model, self._place, self._counts, now_s), now_s, is_fixed)

    def granted(self, decision: Decision, memory: Memory, limits: Limits, last: int, now_s: float) -> Decision:
        """Returns the model's own decision as far as GPUs are there for it. It may wait for Ray.

        Args:
            decision: the model's own.
            memory: of that turn.
            limits: of the model.
            last: the number that was decided before, as long as Ray Serve may still move there.
            now_s: the time.
        """
        if not self._place.gpus:
            return decision
        claim = sharing.claimed(self.model, self._place, decision, memory, limits, now_s)
        # Ray Serve asks more often than a decision is made: replicas that came and went in between are seen here only.
        drain = 0 if self._counts is None else sharing.fixed(self.model, self._place, self._counts, now_s).draining
        claim = replace(claim, present=max(claim.present, last), draining=max(claim.draining, drain))
        return self._shares.granted(self, claim, decision, self._place.coming, now_s)


@cache
def shared() -> Shares:
    """Returns the table of this process: Ray Serve's controller is one for all models."""
    return Shares()
