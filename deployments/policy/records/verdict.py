"""The last decision on a model's size, as it is kept for whoever asks: `herd status`, `herd why`, and gateways for their metrics.

Decides nothing.
"""

import msgspec

from cluster.scaling.decision import Decision

#: The names of verdicts begin so.
BEGINNING = "scaling/verdict/"


class Verdict(msgspec.Struct, frozen=True):
    """A decision as it is told."""

    at_s: float
    target: int
    before: int
    reason: str
    demand: float = 0.0
    """Replicas that the load needs now, as a fraction."""
    expected: float = 0.0
    wanted: float = 0.0
    binds: str = ""
    """The limit that changed the number."""
    held: str = ""
    """Why the target was held without a look at the load."""
    notice: str = ""
    """That no number of replicas meets the objectives; empty where one does."""


def key(model: str) -> str:
    """Returns the name under which a model's verdict is kept."""
    return f"{BEGINNING}{model}"


def of(decision: Decision, before: int, notice: str, now_s: float) -> Verdict:
    """Returns a decision as it is told, over the target that held before it."""
    return Verdict(
        round(now_s, 3),
        decision.target,
        before,
        decision.reason,
        round(decision.demand, 3),
        round(decision.expected, 3),
        round(decision.wanted, 3),
        decision.binds or "",
        decision.held or "",
        notice,
    )


def written(verdict: Verdict) -> str:
    """Writes a verdict as JSON."""
    return msgspec.json.encode(verdict).decode()


def read(text: str | None) -> Verdict | None:
    """Reads a verdict; None where there is none."""
    try:
        return _DECODER.decode(text or "")
    except (msgspec.DecodeError, UnicodeError):
        return None


def of_plain(found: object) -> Verdict | None:
    """Returns a verdict from what a gateway's page says of it; None where that is none."""
    try:
        return msgspec.convert(found, Verdict)
    except msgspec.ValidationError:
        return None


_DECODER = msgspec.json.Decoder(Verdict)
