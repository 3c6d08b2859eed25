"""The herd that is declared: the config of a file, and the changes that operators made to it by hand since.

Decides what each order of an operator makes of the declared herd, and which of two wins where they meet: a file that is brought up again
takes back what was scaled, stopped or started by hand. Times and names of operators are arguments.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from configs.schema import Config, Model, Scaling
from configs.strict import Strict

What = Literal["up", "scale", "restart", "stop", "start", "rollback"]


class Refused(ValueError):
    """An order cannot be carried out; the message says why and what to do."""


class Order(Strict):
    """A change that an operator asks for."""

    what: What
    by: str
    """The operator, as user@host."""
    at: str
    """When it was asked for, in UTC."""
    file: Config | None = None
    """With `up`: the config of the file."""
    model: str | None = None
    """The model that it is about. With `up`: the only one of the file that is changed; None for all of them."""
    replicas: int | None = None
    """With `scale`: the fewest that the model shall have."""
    most: int | None = None
    """With `scale`: the most."""

    @property
    def words(self) -> str:
        """The order as a command line, without names of files."""
        only = f" --only {self.model}" if self.what == "up" and self.model else ""
        named = f" {self.model}" if self.what not in ("up", "rollback") else ""
        most = f" --max {self.most}" if self.most is not None else ""
        return f"herd {self.what}{only}{named}{'' if self.replicas is None else f' {self.replicas}'}{most}"


class Marked(Strict):
    """A change by hand: its operator and its time."""

    by: str
    at: str


class Scaled(Marked):
    """A range of replicas that was set by hand."""

    least: int
    most: int


class Switched(Marked):
    """A model that was stopped or started by hand."""

    off: bool


class ByHand(Strict):
    """All changes by hand, each by the id of its model."""

    scaled: dict[str, Scaled] = Field(default_factory=dict)
    switched: dict[str, Switched] = Field(default_factory=dict)
    restarted: dict[str, Marked] = Field(default_factory=dict)
    """The last restart of each model. It stands in what an engine is made of, so that Ray Serve makes new ones."""


class DeclaredHerd(Strict):
    """The herd that shall run."""

    file: Config
    by_hand: ByHand = ByHand()
    by: str = ""
    """The operator of the last order; empty where an older release kept no name."""
    at: str = ""

    @property
    def config(self) -> Config:
        """Returns the file's config with the changes by hand."""
        return applied(self.file, self.by_hand)

    @property
    def restarts(self) -> dict[str, str]:
        """Returns the time of each model's last restart by hand."""
        return {model: one.at for model, one in self.by_hand.restarted.items()}


def applied(file: Config, by_hand: ByHand) -> Config:
    """Returns a config with the changes by hand; those of models that it does not name count for nothing."""
    return file.model_copy(update={"models": tuple(_changed(model, by_hand) for model in file.models)})


def _changed(model: Model, by_hand: ByHand) -> Model:
    found: dict[str, object] = {}
    if (scaled := by_hand.scaled.get(model.id)) is not None:
        if model.scaling is None and scaled.least == scaled.most:
            found["replicas"] = scaled.least
        else:
            scaling = model.scale.model_copy(update={"min_replicas": scaled.least, "max_replicas": scaled.most})
            found |= {"replicas": None, "scaling": scaling}
    if (switched := by_hand.switched.get(model.id)) is not None:
        found["stopped"] = switched.off
    return model.model_copy(update=found) if found else model


def told(by_hand: ByHand, models: frozenset[str] | None = None) -> Iterator[str]:
    """Yields a sentence without a full stop for each change by hand that a file takes back; of these models, or of all."""
    for model, scaled in by_hand.scaled.items():
        if models is None or model in models:
            count = f"{scaled.least}" if scaled.least == scaled.most else f"{scaled.least} to {scaled.most}"
            yield f"{model} was scaled by hand to {count} by {scaled.by} at {scaled.at}"
    for model, switched in by_hand.switched.items():
        if models is None or model in models:
            yield f"{model} was {'stopped' if switched.off else 'started'} by hand by {switched.by} at {switched.at}"


def overruled(order: Order, now: DeclaredHerd | None) -> tuple[str, ...]:
    """Returns the sentences of `told` for the changes by hand that an order takes back: a file does, of the models that it is about."""
    if now is None or order.file is None:
        return ()
    only = None if order.model is None else frozenset(one.id for one in order.file.models if order.model in (one.id, *one.aliases))
    return tuple(told(now.by_hand, only))


def resolved(order: Order, now: DeclaredHerd | None, before: DeclaredHerd | None) -> DeclaredHerd:
    """Returns the herd that an order declares.

    Args:
        order: the operator's.
        now: the herd that is declared; None if none is.
        before: the herd that last was up with another file; None if none is known.

    Raises:
        Refused: it cannot be.
    """
    marked = Marked(by=order.by, at=order.at)
    if order.what == "up" and order.model is None and order.file is not None:
        restarted = {} if now is None else now.by_hand.restarted
        return DeclaredHerd(file=order.file, by_hand=ByHand(restarted=restarted), by=order.by, at=order.at)
    if now is None:
        raise Refused("No herd is up. `herd up FILE` brings one up.")
    if order.what == "rollback":
        if before is None:
            raise Refused("No herd was up before this one, as far as is remembered: there is nothing to go back to.")
        by_hand = before.by_hand.model_copy(update={"restarted": now.by_hand.restarted})
        return DeclaredHerd(file=before.file, by_hand=by_hand, by=order.by, at=order.at)
    if order.file is not None:
        return _with_one(order.file, str(order.model), now, marked)
    by_hand = _needed(now.file, _ordered(order, _named(now.config, str(order.model)), now.by_hand, marked))
    return now.model_copy(update={"by_hand": by_hand, "by": order.by, "at": order.at})


def _named(config: Config, name: str) -> Model:
    """Finds a model by its id or an alias of it.

    Raises:
        Refused: there is none.
    """
    for model in config.models:
        if name in (model.id, *model.aliases):
            return model
    raise Refused(f"The herd has no model '{name}'. It has {', '.join(model.id for model in config.models)}.")


def _ordered(order: Order, model: Model, by_hand: ByHand, marked: Marked) -> ByHand:
    if order.what == "scale":
        return by_hand.model_copy(update={"scaled": by_hand.scaled | {model.id: _scaled(order, model, marked)}})
    if model.stopped is (order.what in ("restart", "stop")):
        raise Refused(f"{model.id} is stopped. `herd start {model.id}` starts it." if model.stopped else f"{model.id} is not stopped.")
    if order.what == "restart":
        return by_hand.model_copy(update={"restarted": by_hand.restarted | {model.id: marked}})
    switched = Switched(by=marked.by, at=marked.at, off=order.what == "stop")
    return by_hand.model_copy(update={"switched": by_hand.switched | {model.id: switched}})


def _needed(file: Config, by_hand: ByHand) -> ByHand:
    """Returns the changes by hand without those that come to what the file says anyway."""
    ranges = {model.id: (model.scale.min_replicas, model.scale.max_replicas) for model in file.models}
    stopped = {model.id: model.stopped for model in file.models}
    scaled = {model: one for model, one in by_hand.scaled.items() if ranges.get(model) != (one.least, one.most)}
    switched = {model: one for model, one in by_hand.switched.items() if stopped.get(model) is not one.off}
    return by_hand.model_copy(update={"scaled": scaled, "switched": switched})


def _scaled(order: Order, model: Model, marked: Marked) -> Scaled:
    """Returns the range that an order sets: of a fixed number the number, and of an autoscaled model the least or both ends.

    Raises:
        Refused: the model may not have so many, or none.
    """
    least = order.replicas or 0
    if least < (0 if model.scaling is not None and model.prefill is None else 1):
        raise Refused(f"{model.id} has at least one replica while it runs. `herd stop {model.id}` takes its engines away.")
    most = order.most if order.most is not None else least if model.scaling is None else model.scaling.max_replicas
    if least > most:
        way_out = f" `--max {least}` raises that." if order.most is None else ""
        raise Refused(f"{model.id} may have at most {most} replicas, and {least} are asked for.{way_out}")
    highest = max(bound.le for bound in Scaling.model_fields["max_replicas"].metadata if hasattr(bound, "le"))
    if most > highest:
        raise Refused(f"A model may have at most {highest} replicas.")
    hour = max(model.scale.schedules, key=lambda one: one.min_replicas, default=None)
    if hour is not None and hour.min_replicas > most:
        floor = f"{model.id} has at least {hour.min_replicas} replicas {hour.text}, by its schedules."
        raise Refused(f"{floor} `--max` must not be below that.")
    return Scaled(by=marked.by, at=marked.at, least=least, most=most)


def _with_one(file: Config, name: str, now: DeclaredHerd, marked: Marked) -> DeclaredHerd:
    """Returns the declared herd with one model as the file has it. The others, and every other section, stay.

    Raises:
        Refused: the file has no such model, or the herd cannot be so.
    """
    model = next((one for one in file.models if name in (one.id, *one.aliases)), None)
    if model is None:
        raise Refused(f"The file has no model '{name}'. It has {', '.join(one.id for one in file.models)}.")
    known = any(one.id == model.id for one in now.file.models)
    models = [model if one.id == model.id else one for one in now.file.models] + ([] if known else [model])
    try:
        config = Config.model_validate(now.file.model_dump(mode="json") | {"models": [one.model_dump(mode="json") for one in models]})
    except ValueError as error:
        raise Refused(f"The herd cannot have {model.id} as the file has it: {_short(error)}. `herd up FILE` changes all of it.") from error
    kept = taken_back(now.by_hand, frozenset({model.id}))
    return DeclaredHerd(file=config, by_hand=kept, by=marked.by, at=marked.at)


def _short(error: ValueError) -> str:
    """Returns the reason of pydantic's first error, without its frame."""
    return str(error).splitlines()[1].strip().removeprefix("Value error, ").partition(" [type=")[0]


def taken_back(by_hand: ByHand, models: frozenset[str]) -> ByHand:
    """Returns the changes by hand without those of these models that a file takes back."""
    scaled = {model: one for model, one in by_hand.scaled.items() if model not in models}
    switched = {model: one for model, one in by_hand.switched.items() if model not in models}
    return by_hand.model_copy(update={"scaled": scaled, "switched": switched})
