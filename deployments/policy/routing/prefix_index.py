"""Which replica remembers how much of a prompt: a bounded guess at every replica's prefix cache.

Each replica's part is a least-recently-used list of as many blocks as its KV cache holds, filled with what was sent there, and forgetting
as vLLM does: the end of a prompt before its beginning. It is a guess, not a mirror: answers take room in the engine that is not counted
here, and what other gateways sent is heard of a report later. Time is counted in requests.
"""

from collections import OrderedDict
from collections.abc import Sequence


class _Kept:
    """One replica's blocks, the longest unused first, each with when it was last used."""

    __slots__ = ("bit", "used")

    def __init__(self, bit: int) -> None:
        self.bit = bit
        self.used: OrderedDict[int, int] = OrderedDict()


class PrefixIndex:
    """Blocks of prompts, and who has them.

    One look-up per block serves all replicas: who has a block is one integer, a bit per replica.
    """

    def __init__(self) -> None:
        self._owners: dict[int, int] = {}
        self._kept: dict[str, _Kept] = {}
        self._now = 0

    @property
    def replicas(self) -> frozenset[str]:
        """The replicas that something is remembered of."""
        return frozenset(self._kept)

    def size(self, replica: str) -> int:
        """Blocks that a replica is believed to have."""
        kept = self._kept.get(replica)
        return len(kept.used) if kept else 0

    def matches(self, blocks: Sequence[int]) -> dict[str, int]:
        """How many of a prompt's first blocks each replica has; replicas that have none are left out."""
        here = 0
        depths: dict[int, int] = {}
        for depth, block in enumerate(blocks):
            still = self._owners.get(block, 0)
            if depth:
                still &= here
            if lost := here & ~still:
                depths[lost] = depth
            here = still
            if not here:
                break
        if here:
            depths[here] = len(blocks)
        if not depths:
            return {}
        return {name: depth for name, kept in self._kept.items() for bits, depth in depths.items() if bits & kept.bit}

    def remember(self, replica: str, blocks: Sequence[int], capacity: int) -> None:
        """A replica has been sent these blocks, and has room for so many in all."""
        kept = self._kept.get(replica)
        if kept is None:
            kept = self._kept[replica] = _Kept(self._free_bit())
        self._now += 1
        used, owners, bit = kept.used, self._owners, kept.bit
        for block in reversed(blocks):
            if block in used:
                used.move_to_end(block)
            else:
                owners[block] = owners.get(block, 0) | bit
            used[block] = self._now
        while len(used) > capacity:
            self._disown(used.popitem(last=False)[0], bit)

    def forget(self, replica: str) -> None:
        """A replica has gone, and its cache with it."""
        kept = self._kept.pop(replica, None)
        if kept is not None:
            for block in kept.used:
                self._disown(block, kept.bit)

    def forget_age(self, replica: str, new_blocks: int, capacity: int) -> int | None:
        """How many requests ago the first block was used that new ones would push out; None where there is room for them."""
        kept = self._kept.get(replica)
        if kept is None or len(kept.used) + new_blocks <= capacity or not kept.used:
            return None
        return self._now - next(iter(kept.used.values()))

    def _disown(self, block: int, bit: int) -> None:
        left = self._owners[block] & ~bit
        if left:
            self._owners[block] = left
        else:
            del self._owners[block]

    def _free_bit(self) -> int:
        taken = sum(kept.bit for kept in self._kept.values())
        return ~taken & (taken + 1)
