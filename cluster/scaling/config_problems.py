"""Finds what a config's schedules ask for that cannot be, beside what the planner finds.

Decides over a config that is well formed by itself.
"""

from collections.abc import Iterator
from datetime import date

from cluster.planner import config_problems as of_plans
from cluster.scaling.schedules import Schedule, overlap, schedule
from configs.cross_checks import Check
from configs.schema import Model

#: A year with each change of the clocks; which one does not matter.
ANY_YEAR = date(2026, 1, 1)
#: Prices are counted in floats.
TINY = 1e-9


def schedules_of(model: Model) -> tuple[Schedule, ...]:
    """Returns the schedules of a model.

    Raises:
        ValueError: one names no days, or no time zone.
    """
    return tuple(schedule(one.text, one.time_zone, one.min_replicas) for one in model.scale.schedules)


def model_problems(model: Model) -> Iterator[tuple[str, str]]:
    """Yields each demand of a model entry that cannot be met: a field's path inside the entry, and the reason."""
    yield from of_plans.model_problems(model)
    yield from _ceilings(model)
    found = []
    for index, one in enumerate(model.scale.schedules):
        try:
            found.append(schedule(one.text, one.time_zone, one.min_replicas))
        except ValueError as error:
            yield f"scaling.schedules[{index}]", str(error)
    if meeting := overlap(found, ANY_YEAR):
        yield "scaling.schedules", meeting


def _ceilings(model: Model) -> Iterator[tuple[str, str]]:
    """Yields the ceilings that not even the model's floors fit under. They go before floors: it would have fewer replicas, or none."""
    scale = model.scale
    gpus = 1 if model.parallel.auto else model.parallel.gpus
    floor = max(1, scale.min_replicas, *(one.min_replicas for one in scale.schedules))
    what = f"{floor} {'replica' if floor == 1 else 'replicas'} of {gpus} {'GPU' if gpus == 1 else 'GPUs'}"
    wanted, or_else = ("a floor of the model", ", or lower min_replicas") if floor > 1 else ("the least that answers", "")
    if scale.gpus is not None and scale.gpus < floor * gpus:
        yield "scaling.gpus", f"{scale.gpus} is too few for {what}, {wanted}: raise it to {floor * gpus}{or_else}"
    price = floor * gpus * (scale.gpu_hour_price or 0.0)
    if scale.hour_price is not None and scale.hour_price < price * (1 - TINY):
        yield "scaling.hour_price", f"{scale.hour_price:g} is too little for {what}, {wanted}: raise it to {price:g}{or_else}"


#: `configs.load.read` asks this beside the schema.
problems = Check(model_problems, of_plans.config_problems)
