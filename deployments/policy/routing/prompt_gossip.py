"""The news of each prompt that gateways send to a replica, so that the other gateways hear of it with the replica's next report.

Decides how it is written, and how much a replica keeps for those who have not asked yet. With it several gateways know as much of every
cache as one would, and need neither a lock nor a shared index; one that has just started learns what was sent lately before it came.
"""

import struct
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.policy.request.prompt_blocks import Prompt

HEADER = b"x-herd-prompt"
#: Of a longer prompt only the beginning is told: 2048 blocks are 262,144 tokens and 11 KiB of a header.
MOST_BLOCKS = 2048
#: Prompts that a replica keeps: several seconds of them, and it tells gateways several times a second, or with many replicas every few.
KEPT = 512


@dataclass(frozen=True, slots=True)
class Sent:
    """One prompt on its way to a replica."""

    by: str
    """The gateway's own name: what it sent itself it knows already."""
    prefill_tokens: int
    """Of the prompt, tokens that the gateway believes must be computed."""
    prompt: Prompt


def written(sent: Sent) -> bytes:
    """As a header's value. Of a block's key the place is left out: it is the block's place in the list."""
    crcs = [block & 0xFFFFFFFF for block in sent.prompt.blocks[:MOST_BLOCKS]]
    packed = b64encode(struct.pack(f"<{len(crcs)}I", *crcs))
    return b"%b.%d.%d.%b" % (sent.by.encode("ascii"), sent.prefill_tokens, sent.prompt.tokens, packed)


def read(value: str) -> Sent | None:
    """A header's value; None for what no gateway of this release has written."""
    fields = _fields(value)
    if fields is None:
        return None
    by, prefill_tokens, tokens, packed = fields
    crcs = struct.unpack(f"<{len(packed) // 4}I", packed)
    return Sent(by, prefill_tokens, Prompt(tuple(place << 32 | crc for place, crc in enumerate(crcs)), tokens))


def _fields(value: str) -> tuple[str, int, int, bytes] | None:
    """By whom, tokens to compute, tokens, and the blocks as they were packed."""
    try:
        by, prefill_tokens, tokens, packed = value.split(".")
        blocks = b64decode(packed, validate=True)
        return None if len(blocks) % 4 else (by, int(prefill_tokens), int(tokens), blocks)
    except ValueError:
        return None


class Recent:
    """The last prompts that a replica was sent, numbered, and what of them it has still to compute."""

    def __init__(self) -> None:
        self.prefill_tokens: int | None = None
        """Prompt tokens to compute, whoever sent them; None before anybody has told any."""
        self._kept: deque[str] = deque(maxlen=KEPT)
        self._count = 0

    def arrived(self, value: bytes) -> int:
        """A prompt has come, with this header; its tokens to compute, to be given to `computed` once."""
        text = value.decode("latin-1")
        fields = _fields(text)
        if fields is None:
            return 0
        _, prefill_tokens, _, _ = fields  # the blocks stay packed: this runs beside an engine, and only gateways want to know them
        self._kept.append(text)
        self._count += 1
        self.prefill_tokens = (self.prefill_tokens or 0) + prefill_tokens
        return prefill_tokens

    def computed(self, tokens: int) -> None:
        """A prompt has been computed, or nobody wants it any more."""
        if tokens and self.prefill_tokens is not None:
            self.prefill_tokens -= tokens

    def after(self, number: int) -> tuple[int, Sequence[str]]:
        """Returns the news since this number, as they were told, and the number to ask with the next time.

        A number from before a restart is answered with everything that is kept.
        """
        new = self._count - number if 0 <= number <= self._count else self._count
        kept = list(self._kept)
        return self._count, kept[max(0, len(kept) - new) :] if new else []
