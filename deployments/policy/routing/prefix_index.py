"""Which replica remembers how much of a prompt: a bounded guess at every replica's prefix cache.

Each replica's part is a least-recently-used list of as many blocks as its KV cache holds, filled with what was sent there, and forgetting
as vLLM does: the end of a prompt before its beginning. It is a guess, not a mirror: answers take room in the engine that is not counted
here, and what other gateways sent is heard of a report later. Time is counted in prompts. A replica is known by its place: a small number.
"""

from collections import OrderedDict
from collections.abc import Sequence
from math import inf


class PrefixIndex:
    """Blocks of prompts, and which replicas have them.

    One look-up per block serves all replicas: the replicas that have a block are one integer, in which each has the bit of its place.
    """

    def __init__(self) -> None:
        self.now = 0
        """Prompts that were remembered."""
        self._owners: dict[int, int] = {}
        self._used: dict[int, OrderedDict[int, int]] = {}
        """Each replica's blocks, the longest unused first, each with when it was last used."""

    def size(self, place: int) -> int:
        """Returns the number of blocks that a replica is believed to have."""
        return len(self._used.get(place, ()))

    def matches(self, blocks: Sequence[int]) -> dict[int, int]:
        """Returns how many of a prompt's first blocks replicas have, as depths by sets of places; each set is an integer with a bit for
        each place, no two share one, and replicas that have no block are in none."""
        owners = self._owners
        here = owners.get(blocks[0], 0) if blocks else 0
        depths: dict[int, int] = {}
        for depth, block in enumerate(blocks):
            still = owners.get(block, 0) & here
            if still != here:
                depths[here ^ still] = depth
                here = still
            if not here:
                return depths
        if here:
            depths[here] = len(blocks)
        return depths

    def remember(self, place: int, blocks: Sequence[int], capacity: int) -> None:
        """Notes that a replica with room for so many blocks in all has been sent these."""
        used = self._used.get(place)
        if used is None:
            used = self._used[place] = OrderedDict()
        self.now += 1
        owners, bit = self._owners, 1 << place
        for block in reversed(blocks):
            if block in used:
                used.move_to_end(block)
            else:
                owners[block] = owners.get(block, 0) | bit
            used[block] = self.now
        while len(used) > capacity:
            self._disown(used.popitem(last=False)[0], bit)

    def forget(self, place: int) -> None:
        """Forgets a replica: it has gone, and its cache with it."""
        for block in self._used.pop(place, ()):
            self._disown(block, 1 << place)

    def oldest(self, place: int, capacity: int) -> tuple[float, int]:
        """Returns how many blocks a replica with room for so many would take before it forgets one, and when that one was last used;
        infinite and 0 where it has none to forget."""
        used = self._used.get(place)
        return (capacity - len(used), next(iter(used.values()))) if used else (inf, 0)

    def _disown(self, block: int, bit: int) -> None:
        left = self._owners[block] & ~bit
        if left:
            self._owners[block] = left
        else:
            del self._owners[block]
