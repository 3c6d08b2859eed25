"""What a model's autoscaling is told."""

import json

import pytest

from cluster.catalogue.hardware import gpu_of
from cluster.scaling.limits import Tuning
from cluster.scaling.pace import sustained
from cluster.scaling.schedules import schedule
from cluster.scaling.work import USUAL, Slo
from configs.schema import Model
from deployments.lifecycle.applications import gpu_for
from deployments.lifecycle.scaling_limits import UNBOUNDED, coming, place, wanted
from deployments.policy.scaling.sharing import Place
from deployments.policy.scaling.wanted import Wanted, as_plain
from tests.unit.samples import config, model, scout

RANGE = {"min_replicas": 1, "max_replicas": 8}
H100 = gpu_of("H100")


def told(one: Model, on_gpu: bool = False) -> Wanted:
    found = wanted(one, "1.0", H100 if on_gpu else None)
    assert found is not None
    return found


def test_fixed_number_of_replicas_is_told_nothing() -> None:
    assert wanted(model(replicas=2), "1.0") is None


def test_pace_is_the_target_of_requests_in_flight_where_no_gpu_is_known() -> None:
    found = told(model(scaling=RANGE | {"target_ongoing_requests": 7, "headroom": 0.5}))
    assert found.limits.headroom == 0.5
    assert (found.unit, found.limits.pace.kv_tokens, found.limits.release) == ("requests", 7, "1.0")
    assert found.limits.tuning.patience_s == Tuning().patience_s


def test_pace_is_the_planners_where_the_gpu_is_known() -> None:
    wide = scout(parallel={"tensor": 8}, scaling=RANGE, accelerator="H100")
    found = told(wide, on_gpu=True)
    assert found.unit == "tokens"
    replica = found.limits.replica
    assert replica is not None
    assert found.limits.pace == sustained(replica, USUAL, Slo(3.0, 0.1)).pace
    assert (found.limits.gpus_per_replica, found.limits.unmeetable) == (8, "")


def test_replica_that_the_policy_is_told_is_small() -> None:
    wide = scout(parallel={"tensor": 8}, scaling=RANGE, accelerator="H100")
    assert len(json.dumps(as_plain(told(wide, on_gpu=True))["limits"]["replica"])) < 600


def test_engine_that_does_not_fit_by_the_plan_is_weighed_by_requests() -> None:
    found = told(scout(parallel={"tensor": 1}, scaling=RANGE, accelerator="H100"), on_gpu=True)
    assert (found.unit, found.limits.replica) == ("requests", None)


def test_trap_15_objective_that_no_number_meets_is_said_where_the_operator_gave_it() -> None:
    wide = {"parallel": {"tensor": 8}, "scaling": RANGE, "accelerator": "H100"}
    found = told(scout(**wide, slo={"ttft_s": 0.0001}), on_gpu=True)
    assert "no number of replicas meets slo.ttft_s" in found.limits.unmeetable
    assert found.limits.slo == Slo(0.0001, 0.1, 0.9)


def test_numbers_of_the_config_are_told() -> None:
    more = {
        "schedules": [{"days": "weekdays", "begins": "08:00", "ends": "18:00", "time_zone": "Europe/Berlin", "min_replicas": 3}],
        "gpus": 16,
        "gpu_hour_price": 2.5,
        "hour_price": 30,
        "clear_s": 20,
        "patience_s": 5,
        "start_s": 99,
        "idle_s": 77,
    }
    limits = told(model(scaling=RANGE | more, stop_s=9)).limits
    assert limits.schedules == (schedule("weekdays 08:00-18:00", "Europe/Berlin", 3),)
    assert (limits.gpus_most, limits.gpu_hour_price, limits.hour_price_most) == (16, 2.5, 30)
    assert (limits.clear_s, limits.expected_start_s, limits.idle_s, limits.drain_s) == (20, 99, 77, 9)
    assert (limits.tuning.patience_s, limits.tuning.step_down_s) == (5, 5)


@pytest.mark.parametrize(
    ("accelerator", "hardware", "gpu"),
    [("cpu", {"gpu": "H200"}, None), ("auto", None, None), ("H100", None, "H100"), ("gpu", {"gpu": "H200"}, "H200")],
)
def test_gpu_is_the_one_that_the_config_names(accelerator: str, hardware: dict[str, str] | None, gpu: str | None) -> None:
    one = model(accelerator=accelerator)
    found = gpu_for(one, config(one, hardware=hardware))
    assert (None if found is None else found.chip) == (None if gpu is None else gpu)


def test_model_on_a_cpu_takes_no_gpu() -> None:
    assert place(model(accelerator="cpu")).gpus == 0
    assert place(model(accelerator="auto", scaling={"priority": -3})) == Place(-3, 1, 0)


@pytest.mark.parametrize(
    ("hardware", "gpus"),
    [
        (None, 0),
        ({"gpu": "H100", "nodes": 2}, 0),
        ({"gpu": "H100", "gpus_per_node": 4, "nodes": 3, "elastic": True}, 12),
        ({"gpu": "H100", "elastic": True}, UNBOUNDED),
    ],
)
def test_gpus_that_may_come_are_those_of_nodes_that_ray_adds(hardware: dict[str, object] | None, gpus: float) -> None:
    assert coming(config(model(), hardware=hardware)) == gpus
