"""What a config's schedules ask for that cannot be."""

from typing import Any

import pytest

from cluster.scaling.config_problems import model_problems, problems, schedules_of
from cluster.scaling.schedules import schedule
from configs.schema import Config
from tests.unit.samples import config, model


def hours(begins: str, ends: str, days: str = "daily", **more: Any) -> dict[str, Any]:
    """A schedule of a config."""
    return {"days": days, "begins": begins, "ends": ends, "min_replicas": 2, **more}


def found(*schedules: dict[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with these schedules."""
    return list(model_problems(model(scaling={"max_replicas": 9, "schedules": schedules})))


def test_schedules_that_follow_each_other_are_right() -> None:
    assert found(hours("08:00", "12:00"), hours("12:00", "18:00"), hours("22:00", "24:00")) == []


@pytest.mark.parametrize(
    ("scaling", "field", "says"),
    [
        ({"min_replicas": 2, "gpus": 3}, "scaling.gpus", "3 is too few for 2 replicas of 2 GPUs, a floor of the model: raise it to 4"),
        ({"min_replicas": 0, "gpus": 1}, "scaling.gpus", "1 is too few for 1 replica of 2 GPUs, the least that answers: raise it to 2"),
        ({"schedules": [hours("08:00", "09:00") | {"min_replicas": 5}], "gpus": 9}, "scaling.gpus", "raise it to 10"),
        ({"gpu_hour_price": 2.5, "hour_price": 4.9}, "scaling.hour_price", "4.9 is too little for 1 replica of 2 GPUs"),
    ],
)
def test_ceiling_below_a_floor_is_refused(scaling: dict[str, Any], field: str, says: str) -> None:
    ((where, reason),) = model_problems(model(parallel={"tensor": 2}, scaling={"max_replicas": 9, **scaling}))
    assert where == field
    assert says in reason


def test_ceiling_at_the_floor_is_right_and_an_engine_of_unknown_shape_has_one_gpu_at_least() -> None:
    exact = {"min_replicas": 3, "max_replicas": 9, "gpus": 3, "gpu_hour_price": 0.1, "hour_price": 0.3}
    assert list(model_problems(model(scaling=exact))) == []
    assert list(model_problems(model(parallel="auto", scaling=exact))) == []


def test_trap_22_overlapping_schedules_are_refused_and_both_are_named() -> None:
    ((field, reason),) = found(hours("08:00", "18:00", "weekdays", time_zone="Europe/Berlin"), hours("15:00", "20:00", "fri"))
    assert field == "scaling.schedules"
    assert "'weekdays 08:00-18:00' (Europe/Berlin, at least 2)" in reason
    assert "'fri 15:00-20:00' (UTC, at least 2)" in reason


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"time_zone": "Europe/Nowhere"}, "'Europe/Nowhere' is no time zone"), ({"days": "someday"}, "'someday'")],
)
def test_schedule_that_names_nothing_is_refused_by_its_place(wrong: dict[str, Any], word: str) -> None:
    ((field, reason),) = found(hours("08:00", "09:00"), hours("10:00", "11:00") | wrong)
    assert field == "scaling.schedules[1]"
    assert word in reason


def test_planners_problems_are_told_as_well() -> None:
    text_only = model(images_per_prompt=1)
    assert [field for field, _ in model_problems(text_only)] == ["images_per_prompt"]
    whole: Config = config(model(), hardware={"gpu": "H100", "nodes": 2})
    assert list(problems.of_config(whole)) == []


def test_schedules_are_those_of_the_model() -> None:
    one = model(scaling={"max_replicas": 9, "schedules": [hours("08:00", "18:00", "mon-fri", time_zone="Asia/Tokyo")]})
    assert schedules_of(one) == (schedule("mon-fri 08:00-18:00", "Asia/Tokyo", 2),)
    assert schedules_of(model()) == ()
