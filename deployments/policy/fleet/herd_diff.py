"""The effects of a change of a herd, told before it is done: which fields differ, and which model's engines come, go or are made anew.

Decides in which order that happens (`rollout_steps` has the steps), and for how long a model would be away. How long its engines take to
start, and whether there is room for new ones beside the old ones, are arguments.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from configs.schema import Config
from deployments.policy.fleet.rollout_steps import Declared, regrouped, steps

#: Fields whose values are secrets, print them, or may hold them.
_SECRET = re.compile(r"(^|[._])(secret|secrets|secret_command|password|token|api_key|environment|run_options)([._\[]|$)", re.IGNORECASE)
NOT_SHOWN = "(not shown)"
MOST_SHOWN = 60
NO_CHANGE, REFUSED, CHANGE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Field:
    """A field that differs, both values as text; empty where it is not there."""

    path: str
    old: str
    new: str


class Kind(StrEnum):
    """The effect on an application."""

    RESTARTS = "restarts"
    STARTS = "starts"
    GOES = "goes"
    SCALES = "scales"


@dataclass(frozen=True, slots=True)
class Move:
    """The effect on the engines of a model, or on the gateways."""

    application: str
    kind: Kind
    replicas: tuple[int, int]
    """Before and after: the fewest that there shall be."""
    because: tuple[str, ...] = ()
    """Fields that engines are made of and that differ; of a restart."""
    whole: bool = False
    """All replicas go before one comes: they have another number of ranks."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a model would get through a restart."""

    surges: bool
    """A new replica starts before an old one stops."""
    start_s: float
    """How long an engine takes to start."""
    measured: bool
    """By the last start of its engines; else it takes at most so long."""


@dataclass(frozen=True, slots=True)
class Told:
    """A move, in words."""

    model: str
    what: Kind
    away_s: float
    """How long no replica takes requests."""
    sentence: str


@dataclass(frozen=True, slots=True)
class HerdDiff:
    """All that a change would do."""

    fields: tuple[Field, ...]
    moves: tuple[Told, ...]
    """In their order; those of the last step come at once."""
    overruled: tuple[str, ...]
    """Changes by hand that are taken back."""
    gpus: tuple[int, int]
    """The fewest before and after, as far as the planner knows the GPUs."""
    problems: tuple[str, ...]
    """The planner's reasons against it."""
    new: bool = False
    """Nothing of the herd runs."""
    most_gpus: tuple[int, int] = (0, 0)
    """The same with as many replicas as the models may have."""

    @property
    def code(self) -> int:
        """Returns an exit code: 0 nothing changes, 2 something does, 1 the planner refuses it."""
        if self.problems:
            return REFUSED
        return CHANGE if self.new or self.fields or self.moves else NO_CHANGE

    def as_plain(self) -> dict[str, Any]:
        """Returns it as JSON has it."""
        plain = asdict(self)
        for name, (before, after) in (("gpus", self.gpus), ("most_gpus", self.most_gpus)):
            plain[name] = {"before": before, "after": after}
        plain["result"] = {NO_CHANGE: "no change", REFUSED: "refused", CHANGE: "change"}[self.code]
        return plain


def fields(old: Config, new: Config) -> tuple[Field, ...]:
    """Returns the fields that differ, by path; models are told apart by their ids. Values of secret fields are not shown."""
    return tuple(_differences("", _by_id(old), _by_id(new)))


def _by_id(config: Config) -> dict[str, Any]:
    plain = config.model_dump(mode="json")
    return plain | {"models": {model["id"]: model for model in plain["models"]}}


def _differences(path: str, old: object, new: object) -> Iterator[Field]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in (*old, *(name for name in new if name not in old)):
            yield from _differences(f"{path}.{name}" if path else str(name), old.get(name), new.get(name))
        return
    if _SECRET.search(path):
        yield Field(path, NOT_SHOWN, NOT_SHOWN)
    else:
        yield Field(path, _text(path, old), _text(path, new))


def _text(path: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        return _short(str(value))
    return "a model" if path.startswith("models.") and path.count(".") == 1 else "a section"


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def moves(before: Declared | None, after: Declared, gateway: str) -> tuple[Move, ...]:
    """Returns what happens to each application, in the order of the steps.

    Args:
        before: what runs; None where nothing does.
        after: what is wanted.
        gateway: the gateway's application.
    """
    now = {} if before is None else {one["name"]: one for one in before["applications"]}
    wanted = {one["name"]: one for one in after["applications"]}
    whole = regrouped({name: {"deployed_app_config": one} for name, one in now.items()}, after)
    found = [_restart(now[step.application], wanted[step.application], whole) for step in steps(before, after, gateway) if step.application]
    restarted = {one.application for one in found}
    found += [Move(name, Kind.STARTS, (0, _replicas(one))) for name, one in wanted.items() if name not in now]
    found += [Move(name, Kind.GOES, (_replicas(one), 0)) for name, one in now.items() if name not in wanted]
    for name in now.keys() & wanted.keys() - restarted:
        if name == gateway and now[name].get("args") != wanted[name].get("args"):
            found.append(_restart(now[name], wanted[name], ()))
        elif _range(now[name]) != _range(wanted[name]):
            found.append(Move(name, Kind.SCALES, (_replicas(now[name]), _replicas(wanted[name]))))
    return tuple(found)


def _restart(old: Mapping[str, Any], new: Mapping[str, Any], whole: Collection[str]) -> Move:
    because = tuple(one.path.removeprefix("model.") for one in _differences("", old.get("args") or {}, new.get("args") or {}))
    return Move(new["name"], Kind.RESTARTS, (_replicas(old), _replicas(new)), because, new["name"] in whole)


def _range(application: Mapping[str, Any]) -> tuple[int, int]:
    (one,) = application["deployments"]
    scaling = one.get("autoscaling_config")
    if scaling is None:
        return (one["num_replicas"],) * 2
    ranks = int((application.get("args") or {}).get("model", {}).get("parallel", {}).get("data", 1))
    return scaling["min_replicas"] // ranks, scaling["max_replicas"] // ranks


def _replicas(application: Mapping[str, Any]) -> int:
    return _range(application)[0]


def told(move: Move, model: str, outlook: Outlook) -> Told:
    """Returns a move in words, with the time that the model would be away."""
    old, new = move.replicas
    count = f"{new} replica" if new == 1 else f"{new} replicas"
    match move.kind:
        case Kind.STARTS if not new:
            return Told(model, move.kind, 0.0, f"it begins at zero: its first request starts it, and waits {_starts(outlook)}")
        case Kind.STARTS:
            return Told(model, move.kind, 0.0, f"{count} start: it answers after {_starts(outlook)}")
        case Kind.GOES:
            return Told(model, move.kind, 0.0, f"its replicas go ({old}); requests under way are finished")
        case Kind.SCALES:
            how = f"{old} → {count}, and no other is touched" if old != new else "its range of replicas changes"
            if old and not new:
                how = "it may go to zero: it has no replica while nobody asks for it, and its first request starts it"
            return Told(model, move.kind, 0.0, how)
    because = f" ({', '.join(move.because[:4])}{' …' if len(move.because) > 4 else ''})" if move.because else ""
    away, how = _away(move, outlook)
    count = count if new else "the replicas that it has are"
    return Told(model, move.kind, away, f"{count} made anew{because}: {how}")


def _away(move: Move, outlook: Outlook) -> tuple[float, str]:
    if move.whole:
        return outlook.start_s, f"all stop first, away for {_starts(outlook)}"
    if outlook.surges:
        return 0.0, "away 0 s, new replicas first"
    if move.replicas[0] > 1:
        return 0.0, "away 0 s, one stops first at a time and the others answer"
    return outlook.start_s, f"no room for one more, so the old one stops first: away for {_starts(outlook)}"


def _starts(outlook: Outlook) -> str:
    return f"about {outlook.start_s:.0f} s, as last time" if outlook.measured else f"at most {outlook.start_s:.0f} s"


def lines(diff: HerdDiff) -> Sequence[str]:
    """Returns the diff as lines for people."""
    shown = [f"{one.path}: {one.old or '(none)'} → {one.new or '(none)'}" for one in diff.fields]
    shown += [f"! {sentence}: this takes it back" for sentence in diff.overruled]
    shown += [f"{number}. {one.model}: {one.sentence}" for number, one in enumerate(diff.moves, 1)]
    if any((*diff.gpus, *diff.most_gpus)):
        most = f", at most {diff.most_gpus[0]} → {diff.most_gpus[1]}" if diff.most_gpus > diff.gpus else ""
        shown.append(f"GPUs: {diff.gpus[0]} → {diff.gpus[1]}{most}")
    shown += [f"The planner refuses it: {problem}" for problem in diff.problems] or ["The planner agrees."]
    return shown if diff.code else ["Nothing changes."]
