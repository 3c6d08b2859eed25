"""The longest time of a herd's first start: weights over the disk that they are on."""

import json
from typing import Any

import pytest

from cluster.planner.config_problems import problems
from cluster.provision.start_time import BESIDE_WEIGHTS_S, disk_mib_s, start_limit_s
from configs.load import parse, read
from tests.unit.machines import AWS, GCP, ROOT, inventory


@pytest.mark.parametrize(
    ("cluster", "speed"),
    [
        (None, 500),
        ({"onprem": {"head": "10.0.0.1"}}, 500),
        ({"aws": AWS}, 1500),
        ({"aws": AWS | {"instance_store": False}}, 125),
        ({"aws": AWS | {"instance_store": False, "disk_mib_s": 1000, "disk_iops": 4000}}, 1000),
        ({"gcp": GCP | {"instance_store": False}}, 140),
        ({"gcp": GCP}, 1500),
    ],
)
def test_speed_is_of_the_disk_with_the_weights(cluster: dict[str, Any] | None, speed: float) -> None:
    assert disk_mib_s(None if cluster is None else inventory(**cluster)) == speed


def maverick(checkpoint: str, **site: Any) -> float:
    model = {"id": "m", "kind": "llama-4-maverick", "quantization": "fp8", "checkpoint": checkpoint, "context_tokens": 1024}
    text = json.dumps({"cluster": {"aws": AWS | site}, "models": [model]})
    return start_limit_s(parse(text, "herd.yaml", problems))


def test_maverick_over_a_slow_disk_may_take_two_hours_and_not_a_quarter_of_one() -> None:
    """388 GiB at 125 MiB/s are 53 minutes, to write and to read."""
    slow = maverick("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", instance_store=False) - BESIDE_WEIGHTS_S
    assert slow == pytest.approx(2 * 53 * 60, rel=0.03)
    there = maverick("/models/Llama-4-Maverick-17B-128E-Instruct-FP8", instance_store=False) - BESIDE_WEIGHTS_S
    assert there == pytest.approx(slow / 2)
    assert maverick("/models/maverick") - BESIDE_WEIGHTS_S < 300


def test_small_models_weigh_nothing() -> None:
    assert start_limit_s(read(ROOT / "configs/local.yaml", problems)) == BESIDE_WEIGHTS_S
