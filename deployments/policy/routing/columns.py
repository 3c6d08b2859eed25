"""What is known of all replicas of one model, in columns: a replica is a place, and each fact is an array over all places.

A choice looks at every replica by a few array operations instead of a loop, each about a nanosecond per replica. News of one replica
writes one place. Whole numbers are kept as doubles, which are exact up to 2**53.
"""

from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from deployments.policy.request.calls import Priority
from deployments.policy.routing.flights import Flight
from deployments.policy.routing.hashing import mixed, of_text
from deployments.policy.routing.types import ReplicaState, ReplicaView, Trust, most_requests

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.intp]

#: Rows of `base` and `slope`; those of what is made of reports follow.
QUEUE, KV, BALANCE = range(3)
#: What a running request delays a new one, in prompt tokens: its decoding takes a share of every step. Tuned on the replay of a trace.
REQUEST_TOKENS = 64
#: Up to here, a KV cache has easily enough room. Above it vLLM soon has to let requests wait, or to begin them again.
KV_EASY = 0.8
#: Up to so much of its share a replica is not crowded, and from so much on it is: bounded loads, as consistent hashing has them (Mirrokni,
#: Thorup and Zadimoghaddam 2018). Tuned on two prompts of 20,000 tokens that most requests share: without it they stay on two replicas.
FAIR, CROWDED = 1.5, 2.1
#: Sets of so few places are unpacked one by one.
_FEW = 4


class Columns:
    """Facts of all replicas. Its arrays are for reading; a place in them is a replica's, or free.

    Most scores are straight lines, cut off below 0 and above 1: `base - slope * x`, where x is one number for all replicas that only the
    request tells.
    """

    def __init__(self, of_reports: Sequence[Callable[[ReplicaView], float]] = ()) -> None:
        """Args:
        of_reports: scores that are made of a view alone, once when it comes; they are the last rows of `base`.
        """
        self._of_reports = of_reports
        self._free: list[int] = []
        self.views: dict[int, ReplicaView] = {}
        """The replicas by their places."""
        self.order: Places = np.empty(0, np.intp)
        """The places of the replicas in the order of the list."""
        self.seeds: NDArray[np.uint64] = np.empty(0, np.uint64)
        """A number of each replica's id that looks like chance."""
        self.base: Floats = np.empty((3 + len(of_reports), 0))
        self.slope: Floats = np.empty_like(self.base)
        self._facts: Floats = np.empty((6, 0))
        self._flags: Bools = np.empty((3, 0), np.bool_)
        self.reserve(1)

    @property
    def size(self) -> int:
        """Places, free ones too."""
        return self.seeds.size

    def reserve(self, places: int) -> None:
        """Makes so many places, if there are fewer."""
        more = places - self.size
        if more <= 0:
            return
        self._free[:0] = range(places - 1, self.size - 1, -1)
        self.seeds = np.concatenate((self.seeds, np.zeros(more, np.uint64)))
        self.base, self.slope, self._facts = (
            np.hstack((rows, np.zeros((len(rows), more)))) for rows in (self.base, self.slope, self._facts)
        )
        self._flags = np.hstack((self._flags, np.zeros((len(self._flags), more), np.bool_)))
        self._ready, self._heard, self._slow = self._flags
        self.load, self.requests = self.slope[QUEUE], self.slope[BALANCE]
        (
            self.untold,  # requests of other gateways that wait there with prompts of unknown length
            self.spare,  # blocks that it would take before it forgets one; infinite where it has none to forget
            self.last_used,  # when the block was used that it would forget first
            self.rank,  # of its id among all ids
            self._most,  # requests, so that it would begin another one at once: fewer than this
            self._most_batch,  # the same for batch requests
        ) = self._facts

    def join(self, replica: str) -> int:
        """Returns the place of a new replica; `tell` is next."""
        if not self._free:
            self.reserve(self.size + 1)
        place = self._free.pop()
        self.seeds[place] = mixed(of_text(replica))
        return place

    def leave(self, place: int) -> None:
        """Frees the place of a replica that has gone."""
        for rows in (self.base, self.slope, self._facts, self._flags):
            rows[:, place] = 0
        del self.views[place]
        self._free.append(place)

    def arrange(self, places: Sequence[int]) -> None:
        """Takes the order of all replicas."""
        if self.order.tolist() != places:
            self.order = np.array(places, np.intp)
            self.rank[sorted(places, key=lambda place: self.views[place].id)] = np.arange(len(places))

    def tell(self, place: int, view: ReplicaView) -> None:
        """Notes what a replica says; `write` is next."""
        self.views[place] = view
        self._ready[place] = is_ready = view.state is ReplicaState.READY
        self._heard[place] = is_ready and view.trust is not Trust.AVOIDED
        self._slow[place] = view.slow
        self._most[place] = most_requests(view, Priority.INTERACTIVE)
        self._most_batch[place] = most_requests(view, Priority.BATCH)
        self.base[QUEUE, place] = 1.0
        self.base[BALANCE, place] = CROWDED / (CROWDED - FAIR)
        self.slope[KV, place] = 1 / (view.kv_tokens * (1 - KV_EASY)) if view.kv_tokens else 0.0
        for row, score in enumerate(self._of_reports, BALANCE + 1):
            self.base[row, place] = score(view)

    def write(self, flight: Flight, spare: float, last_used: int) -> None:
        """Notes what a replica has by now, how many blocks it would take before it forgets one, and when that one was used."""
        place, view, requests, wait = flight.place, flight.view, flight.requests_now, flight.wait_tokens
        self.requests[place] = requests
        self.load[place] = wait + requests * REQUEST_TOKENS
        usage = view.kv_usage + wait / view.kv_tokens if view.kv_tokens else 0.0
        self.base[KV, place] = (1 - usage) / (1 - KV_EASY)
        self.untold[place] = flight.untold
        self.spare[place] = spare
        self.last_used[place] = last_used

    def taking(self, tried: Set[int]) -> Bools:
        """Returns the replicas that are ready and have not failed a request: silent ones only where there are no others.

        Args:
            tried: places of replicas that the request has failed on.
        """
        for ready in (self._heard, self._ready):
            if tried:
                ready = ready.copy()
                ready[list(tried)] = False
            if np.count_nonzero(ready):
                break
        return ready

    def able(self, taking: Bools, priority: Priority) -> Bools:
        """Returns those of these replicas that have room for another request; slow ones only where no other has."""
        able: Bools = np.logical_and(taking, self.requests < (self._most_batch if priority is Priority.BATCH else self._most))
        if np.count_nonzero(self._slow):
            fast: Bools = np.greater(able, self._slow)
            if np.count_nonzero(fast):
                return fast
        return able

    def spread(self, depths: Mapping[int, int]) -> Floats:
        """Returns a number for each place: the one that belongs to the set of places that it is in, or 0."""
        row = np.zeros(self.size)
        for places, depth in depths.items():
            if places.bit_count() > _FEW:
                row[self._is_in(places)] = depth
                continue
            left = places
            while left:
                place = left.bit_length() - 1
                row[place] = depth
                left ^= 1 << place
        return row

    def _is_in(self, places: int) -> Bools:
        packed = np.frombuffer(places.to_bytes(self.size // 8 + 1, "little"), np.uint8)
        return np.unpackbits(packed, count=self.size, bitorder="little").view(np.bool_)
