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


def schedules_of(model: Model) -> tuple[Schedule, ...]:
    """Returns the schedules of a model.

    Raises:
        ValueError: one names no days, or no time zone.
    """
    return tuple(schedule(one.text, one.time_zone, one.min_replicas) for one in model.scale.schedules)


def model_problems(model: Model) -> Iterator[tuple[str, str]]:
    """Yields each demand of a model entry that cannot be met: a field's path inside the entry, and the reason."""
    yield from of_plans.model_problems(model)
    found = []
    for index, one in enumerate(model.scale.schedules):
        try:
            found.append(schedule(one.text, one.time_zone, one.min_replicas))
        except ValueError as error:
            yield f"scaling.schedules[{index}]", str(error)
    if meeting := overlap(found, ANY_YEAR):
        yield "scaling.schedules", meeting


#: `configs.load.read` asks this beside the schema.
problems = Check(model_problems, of_plans.config_problems)
