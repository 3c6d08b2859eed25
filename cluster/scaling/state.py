"""The decision's memory from call to call: bounded, and written to JSON and back.

All of it can be lost: the forecast is made again from the report's buckets, the pace is the planner's again, and nothing goes down before
it has been watched for as long as at first.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from cluster.scaling.forecast import NEW, Pending, Track
from cluster.scaling.work import FIRST, Mix


@dataclass(frozen=True, slots=True)
class State:
    """The decision's memory."""

    track: Track = NEW
    mix: Mix = FIRST
    factor: float = 1.0
    """A replica's speed as measured over the planner's."""
    learned_s: float = 0.0
    """End of the last time that taught it."""
    ready: int = 0
    """Replicas that were ready at the last call."""
    warm_s: float = 0.0
    """Until when prefix caches of new replicas fill."""
    miss_share: float = -1.0
    """Tokens of prompts that no prefix cache had, as a share, while no replica was new; -1: not known yet."""
    cached_tokens_s: float = 0.0
    """Tokens of prompts a second that prefix caches had, lately."""
    peaks: tuple[tuple[float, float], ...] = ()
    """Begins of the last spans of time, and the most replicas that each one needed."""
    enough_s: float = 0.0
    """Since when one replica less has been enough by more than noise; 0: it is not."""
    down_s: float = 0.0
    """When the target last went down; 0: never, or that has been regretted."""
    down_load: float = 0.0
    """The load then, in replicas."""
    regrets: int = 0
    """Steps down that were taken back soon after."""
    regretted_s: float = 0.0
    told: str = ""
    """The notice that was given."""

    def to_json(self) -> str:
        """Returns the state as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))


def from_json(text: str) -> State:
    """Returns the state that a JSON text holds; a fresh one where it is damaged or another release's."""
    try:
        found = json.loads(text)
        track, mix = found.pop("track"), Mix(**found.pop("mix"))
        pending = tuple(Pending(*(float(number) for number in _values(one, Pending))) for one in track.pop("pending"))
        errors = tuple(float(one) for one in track.pop("errors"))
        peaks = tuple((float(begun), float(most)) for begun, most in found.pop("peaks"))
        state = State(track=Track(pending=pending, errors=errors, **track), mix=mix, peaks=peaks, **found)
    except (ValueError, TypeError, KeyError, AttributeError):
        return State()
    return state if _plain(state) else State()


def _values(one: dict[str, Any], kind: type[Pending]) -> list[Any]:
    return [one[field.name] for field in fields(kind)]


def _plain(state: State) -> bool:
    """Whether each field is of the kind of its default."""
    pairs = [(getattr(part, field.name), field.default) for part in (state, state.track, state.mix) for field in fields(part)]
    return all(isinstance(value, type(default)) or (type(default), type(value)) == (float, int) for value, default in pairs)
