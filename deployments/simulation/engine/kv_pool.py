"""The KV cache of a simulated engine: a pool of tokens, and in it the blocks of prompts that can be found again.

As in vLLM, what a running request holds stays; what it leaves behind is found by later prompts until the room is needed, the longest
unused first, and of one request the end before the beginning.
"""

from collections import OrderedDict
from collections.abc import Sequence


class KvPool:
    """Tokens that are held, and blocks and answers that are only remembered."""

    __slots__ = ("_anonymous", "_holders", "_remembered", "_remembered_tokens", "block_tokens", "capacity_tokens", "held_tokens")

    def __init__(self, capacity_tokens: int, block_tokens: int) -> None:
        self.capacity_tokens = capacity_tokens
        self.block_tokens = block_tokens
        self.held_tokens = 0
        self._remembered_tokens = 0
        self._holders: dict[int, int] = {}
        self._remembered: OrderedDict[int, int] = OrderedDict()
        self._anonymous = -1

    @property
    def usage(self) -> float:
        """Share of the pool that running requests hold."""
        return self.held_tokens / self.capacity_tokens

    def found(self, blocks: Sequence[int]) -> int:
        """How many of the first blocks are here."""
        for number, block in enumerate(blocks):
            if block not in self._holders and block not in self._remembered:
                return number
        return len(blocks)

    def fits(self, blocks: Sequence[int], more_tokens: int) -> bool:
        """There is room to hold these blocks, which are here, and so many tokens more."""
        idle = sum(block not in self._holders for block in blocks) * self.block_tokens if blocks else 0
        return self.held_tokens + idle + more_tokens <= self.capacity_tokens

    def hold(self, blocks: Sequence[int], more_tokens: int) -> None:
        """A request holds these blocks, which are here, and so many tokens more."""
        for block in blocks:
            self._hold(block)
        self.grow(more_tokens)

    def grow(self, tokens: int) -> None:
        """So many tokens more are held; what was remembered makes room."""
        self.held_tokens = held = self.held_tokens + tokens
        if held + self._remembered_tokens <= self.capacity_tokens:
            return
        room, remembered = self.capacity_tokens - held, self._remembered
        while self._remembered_tokens > room and remembered:
            self._remembered_tokens -= remembered.popitem(last=False)[1]

    def computed(self, block: int) -> None:
        """Of the tokens that a request holds, a block has been computed and can be found from now on."""
        self.held_tokens -= self.block_tokens
        if block in self._holders or block in self._remembered:
            self._hold(block)
        else:
            self._holders[block] = 1
            self.held_tokens += self.block_tokens

    def release(self, blocks: Sequence[int], more_tokens: int) -> None:
        """A request holds these no longer."""
        self.held_tokens -= more_tokens
        if more_tokens:
            self._remember(self._anonymous, more_tokens)
            self._anonymous -= 1
        for block in reversed(blocks) if blocks else ():
            self._holders[block] -= 1
            if not self._holders[block]:
                del self._holders[block]
                self.held_tokens -= self.block_tokens
                self._remember(block, self.block_tokens)

    def _hold(self, block: int) -> None:
        if block in self._holders:
            self._holders[block] += 1
            return
        self._holders[block] = 1
        self._remembered_tokens -= self._remembered.pop(block)
        self.held_tokens += self.block_tokens

    def _remember(self, block: int, tokens: int) -> None:
        self._remembered[block] = tokens
        self._remembered_tokens += tokens
