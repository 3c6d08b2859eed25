"""`tests.bench.scaling`: the rules of others do what their sources say."""

from cluster.scaling.work import Slo
from deployments.commands.simulating.peers import RayDefault
from tests.bench.scaling.compared import Rows, at, curve, deciding, equal
from tests.bench.scaling.dynamo import DynamoPlanner
from tests.bench.scaling.knobs import HEADROOM, KNOBS
from tests.bench.scaling.ray_rules import RayTtft
from tests.unit.deployments.simulation.autoscaling.test_peers import sample, seen

SLO = Slo(3.0, 0.1)


def test_rays_default_runs_rays_own_functions_with_their_delay() -> None:
    rule = RayDefault(5, 1, 20, upscale_delay_s=30)
    assert rule.wanted(seen(0.0, [], 2)).replicas == 2
    numbers = [rule.wanted(seen(float(at), [sample(float(at), 2, line=10)], 2)).replicas for at in (1, 20, 31)]
    assert numbers == [2, 2, 6]


def test_rays_ttft_rule_adds_one_to_what_runs_and_so_waits_for_what_starts() -> None:
    rule = RayTtft(2.0, 1, 20, upscale_delay_s=0, downscale_delay_s=0)
    late = [sample(10.0, 2, ttft_s=(5.0,))]
    assert rule.wanted(seen(10.0, late, 2)).replicas == 3
    assert rule.wanted(seen(20.0, late, 3, starting=1)).replicas == 3
    assert rule.wanted(seen(30.0, [sample(30.0, 2, ttft_s=(0.1,))], 2)).replicas == 2
    assert rule.wanted(seen(30.0, [], 3, starting=1)).replicas == 2  # no data asks for what runs, and so takes a start back


def test_dynamo_adds_one_only_if_all_engines_miss_and_has_a_floor_by_throughput() -> None:
    def rule() -> DynamoPlanner:
        return DynamoPlanner(SLO, 1.0, 16_000, 1, 20)

    slow = [sample(5.0, 2, step_s=0.2), sample(10.0, 2, step_s=0.2)]
    assert rule().wanted(seen(10.0, slow, 2)).replicas == 3
    assert rule().wanted(seen(10.0, slow, 3, starting=1)).replicas == 3
    fast = [sample(5.0, 3, step_s=0.02), sample(10.0, 3, step_s=0.02)]
    assert rule().wanted(seen(10.0, fast, 3)).replicas == 2
    assert rule().wanted(seen(190.0, [*fast, sample(189.0, 3, arrived=900)], 3)).replicas == 5


def _rows(gpu_hours: float, out_of_slo_s: float, seeds: int = 1) -> Rows:
    row = {"attainment": 1 - out_of_slo_s / 1000, "out_of_slo_s": out_of_slo_s, "gpu_hours": gpu_hours, "scale_events": 1.0}
    return {str(seed): row for seed in range(1, seeds + 1)}


def test_rule_between_two_settings_of_its_knob_is_on_the_line_between_them() -> None:
    points = curve({"16": _rows(4.0, 100.0), "32": _rows(2.0, 300.0)}, {"1"})
    between = at(points, 3.0)
    assert between is not None
    assert between["out_of_slo_s"] == 200
    assert at(points, 9.0) == points[1]
    assert at(points, 1.9) is None


def test_comparison_takes_the_best_other_rule_at_no_more_gpu_hours_over_the_seeds_that_all_have() -> None:
    rules = {name: {f"{knob.usual:g}": _rows(2.0, 400.0)} for name, knob in KNOBS.items()}
    rules["herd"] = {"1": _rows(3.0, 100.0, 2), "2": _rows(9.0, 0.0)}
    rules["Dynamo"] = {"1": _rows(2.5, 150.0), "0.5": _rows(3.1, 0.0)}
    said = equal(rules)
    assert said is not None
    assert (said["seeds"], said["best"], said["herd"]["gpu_hours"]) == (1, "Dynamo", 3.0)
    assert said["others"]["Dynamo"]["out_of_slo_s"] == 25
    assert equal({name: rows for name, rows in rules.items() if name != "Dynamo"}) is None


def test_fronts_are_the_best_settings_of_both_sides_at_the_same_gpu_hours() -> None:
    rules = {name: {f"{knob.usual:g}": _rows(2.0, 400.0)} for name, knob in KNOBS.items()}
    rules["herd"] = {"1": _rows(3.0, 100.0), "2": _rows(4.0, 20.0)}
    rules[HEADROOM] = {"1": _rows(2.0, 300.0), "2": _rows(2.8, 50.0)}
    rules["Dynamo"] = {"1": _rows(2.5, 150.0), "0.5": _rows(3.1, 0.0)}
    said = equal(rules)
    assert said is not None
    assert HEADROOM not in said["others"], "ours is no other rule"
    less, same, more, _ = said["fronts"]["budgets"]
    assert (less["ours"]["rule"], less["ours"]["out_of_slo_s"], less["others"]["out_of_slo_s"]) == (HEADROOM, 175.0, 400.0)
    assert (same["gpu_hours"], same["ours"]["rule"], same["ours"]["out_of_slo_s"]) == (3.0, HEADROOM, 50.0)
    assert (more["others"]["rule"], more["others"]["out_of_slo_s"], more["ours"]["out_of_slo_s"]) == ("Dynamo", 0.0, 40.0)
    assert {(HEADROOM, "1"), (HEADROOM, "2"), ("herd", "2")} <= deciding(rules, 1)


def test_more_seeds_of_what_decides_have_an_interval_for_both_fronts() -> None:
    rules = {name: {f"{knob.usual:g}": _rows(2.0, 400.0, 4)} for name, knob in KNOBS.items()}
    rules["herd"] = {"1": _rows(3.0, 100.0, 4), "0": _rows(2.0, 200.0, 1)}
    rules[HEADROOM] = {"1": _rows(2.9, 60.0, 1)}
    rules["Ray TTFT"] |= {"0.5": _rows(2.5, 900.0)}
    usual = equal(rules)
    assert usual is not None
    assert usual["deciding"]["more_out_of_slo_s"] == [300.0, 300.0]
    assert "front" not in usual["deciding"], "no other setting of ours has these seeds"
    rules[HEADROOM] = {"1": _rows(2.9, 60.0, 4)}
    both = equal(rules)
    assert both is not None
    assert both["deciding"]["herd"]["out_of_slo_s"] == 100
    assert (both["deciding"]["front"]["rule"], both["deciding"]["front"]["more_out_of_slo_s"]) == (HEADROOM, [340.0, 340.0])


def test_hours_with_many_digits_are_still_enough_for_our_usual_setting() -> None:
    rules = {name: {f"{knob.usual:g}": _rows(2.0, 400.0, 4)} for name, knob in KNOBS.items()}
    rules["herd"] = {"1": _rows(3.00004, 100.0, 4)}
    rules[HEADROOM] = {"1": _rows(3.5, 60.0, 4)}
    rules["Ray TTFT"] |= {"0.5": _rows(2.5, 900.0)}
    found = equal(rules)
    assert found is not None
    assert found["deciding"]["front"]["out_of_slo_s"] == 100.0
