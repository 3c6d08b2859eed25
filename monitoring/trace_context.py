"""The place of a request in a trace, as the header `traceparent` tells it from client to gateway and from gateway to engine.

Decides which headers are taken, and by the trace's id alone whether its spans are sent. Source: W3C Trace Context, and OpenTelemetry's
sampler `TraceIdRatioBased`, so that other programs with the same ratio choose the same traces.
"""

import re
from typing import Self

import msgspec

HEADER = b"traceparent"
_WRITTEN = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_MOST = (1 << 64) - 1


def sampled_below(ratio: float) -> int:
    """Returns the number below which the lower half of a trace's id is, if the trace belongs to this share of all."""
    return round(ratio * (1 << 64))


class Trace(msgspec.Struct, frozen=True):
    """A request's place in a trace."""

    trace_id: int
    """128 bits."""
    span_id: int
    """The id of the request's own span, of 64 bits."""
    parent_id: int
    """The id of the client's span that the request is a part of; 0 where it begins the trace."""
    sampled: bool
    """Its spans are sent, however it ends."""

    def part(self, number: int) -> int:
        """Returns the id of the span of a part of the request, by its number from 1."""
        return (self.span_id + number) & _MOST or 1

    def told(self, span_id: int) -> bytes:
        """Writes the header for an engine that works for a span which is sent."""
        return b"00-%032x-%016x-%02x" % (self.trace_id, span_id, _SAMPLED)

    @property
    def name(self) -> str:
        """Returns the trace's id as tools show it."""
        return f"{self.trace_id:032x}"

    @classmethod
    def begun(cls, bits: int, below: int) -> Self:
        """Begins a trace.

        Args:
            bits: 192 random bits.
            below: which traces' spans are sent (`sampled_below`).
        """
        trace_id = bits >> 64 or 1
        return cls(trace_id, bits & _MOST or 1, 0, (trace_id & _MOST) < below)

    @classmethod
    def begun_unsent(cls, bits: int, below: int) -> Self:
        """Begins a trace whose spans are not among those that are sent.

        Args:
            bits: 192 random bits.
            below: which traces' spans are sent (`sampled_below`).
        """
        lower = below + ((bits >> 64 & _MOST) * (_MOST + 1 - below) >> 64)
        return cls((bits >> 128 << 64) + min(lower, _MOST) or 1, bits & _MOST or 1, 0, sampled=False)

    @classmethod
    def of_client(cls, header: bytes, bits: int) -> Self | None:
        """Returns a client's trace; None where its header tells none.

        Args:
            header: its `traceparent`.
            bits: 64 random bits.
        """
        found = _WRITTEN.fullmatch(header)
        if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5] is not None):
            return None
        trace_id, parent_id = int(found[2], 16), int(found[3], 16)
        if not trace_id or not parent_id:
            return None
        return cls(trace_id, bits & _MOST or 1, parent_id, bool(int(found[4], 16) & _SAMPLED))
