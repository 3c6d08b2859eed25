"""The log of a real herd's scaling: each turn of Ray Serve's controllers, with the moment that it saw, and all of them taken again."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployments.policy.scaling import turn as turns
from deployments.policy.scaling.turn import Memory, Seen
from deployments.policy.scaling.wanted import of_plain


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn as it was written down."""

    now_s: float
    seen: Seen
    target: int
    reason: str
    memory: Memory | None = None
    """Before the turn, where it is not the last turn's: of a controller's first one."""
    wanted: dict[str, Any] | None = None
    """The arguments of the policy, beside the memory."""


def recording(patch: pytest.MonkeyPatch, path: Path) -> None:
    """Has the controllers of herds that come up from now on write their turns there."""
    recorder = str(Path(__file__).parent / "recorder")
    patch.setenv("HERD_TURNS", str(path))
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (recorder, os.environ.get("PYTHONPATH", "")))))


def log_of(text: bytes) -> list[Turn]:
    """Reads a log. The line in which a controller was killed is no turn."""
    decoder, found = msgspec.json.Decoder(Turn), list[Turn]()
    for line in text.splitlines():
        try:
            found.append(decoder.decode(line))
        except msgspec.DecodeError:
            continue
    return found


def again(log: Sequence[Turn]) -> Iterator[tuple[int, str]]:
    """Takes each turn again, each with the memory that the one before it left; yields its number and its reason."""
    memory, wanted = Memory(), None
    for one in log:
        if one.memory is not None and one.wanted is not None:
            memory, wanted = one.memory, of_plain(one.wanted)
        assert wanted is not None, "the log begins with a controller's first turn"
        decision, memory = turns.turn(memory, one.seen, wanted, one.now_s)
        yield decision.target, decision.reason
