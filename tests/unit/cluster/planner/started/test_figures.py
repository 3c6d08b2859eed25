"""`cluster.planner.started.figures`: a started engine's figures beside its plan's, and what is said of those that differ."""

import json
from dataclasses import replace

import pytest
from hypothesis import given

from cluster.catalogue.hardware import GIB
from cluster.planner.started.figures import Figures, Report, as_plain, difference, differences, of_plain, rows, summary
from tests.unit.samples import JSON

PLAN = Figures(15 * GIB, 50 * GIB, 400_000)
AS_PLANNED = Report("NVIDIA H100 80GB HBM3", replace(PLAN, start_s=31.4), PLAN, "H100", utilization=0.92)


def told(utilization: float | None = 0.92, **figures: float | None) -> Report:
    """An engine whose figures are as planned, but for these."""
    return replace(AS_PLANNED, told=replace(AS_PLANNED.told, **figures), utilization=utilization)


def test_engine_as_planned_is_a_row_for_each_figure_and_no_sentence() -> None:
    assert [(row.name, row.told, row.planned) for row in rows(AS_PLANNED)] == [
        ("weights", "15 GiB", "15 GiB"),
        ("KV cache", "50 GiB", "50 GiB"),
        ("KV tokens", "400,000", "400,000"),
        ("start", "31 s", "–"),
    ]
    assert [row.difference for row in rows(AS_PLANNED)] == [0, 0, 0, None]
    assert list(summary(AS_PLANNED)) == []


@pytest.mark.parametrize("share", [0.91, 1.09])
def test_difference_of_less_than_a_tenth_is_none(share: float) -> None:
    assert differences(told(kv_bytes=50 * GIB * share, kv_tokens=400_000 * share, weights_bytes=15 * GIB * share)) == ()


def test_figure_that_the_engine_does_not_tell_is_said_so_and_not_compared() -> None:
    silent = replace(AS_PLANNED, told=Figures())
    assert [row.told for row in rows(silent)] == ["not told"] * 4
    assert differences(silent) == ()


def test_weights_that_differ_send_to_the_checkpoints_folder() -> None:
    (weights,) = differences(told(weights_bytes=18 * GIB))
    assert weights.startswith("The weights are 18 GiB, 20% more than planned (15 GiB): ")
    assert "`herd plan FOLDER`" in weights
    assert "`--quantization`" in weights


def test_larger_weights_explain_a_smaller_cache_and_that_explains_fewer_tokens() -> None:
    weights, cache, tokens = differences(told(weights_bytes=25 * GIB, kv_bytes=40 * GIB, kv_tokens=320_000))
    assert "67% more than planned" in weights
    assert cache == "The KV cache is 40 GiB, 20% less than planned (50 GiB): it follows from the weights."
    assert tokens == "The KV tokens are 320,000, 20% less than planned (400,000): they follow from the size of the KV cache."


def test_cache_of_another_size_is_told_with_the_utilisation_that_plans_it() -> None:
    cache, tokens = differences(told(0.796, kv_bytes=40 * GIB, kv_tokens=320_000))
    assert cache.endswith("20% less than planned (50 GiB): `herd plan --gpu-memory-utilization 0.80` plans what this engine has.")
    assert "follow from the size" in tokens


@pytest.mark.parametrize("utilization", [None, 1.2, -0.1])
def test_cache_of_a_size_that_no_utilisation_plans_sends_to_the_parts(utilization: float | None) -> None:
    (cache,) = differences(told(utilization, kv_bytes=70 * GIB))
    assert "40% more" in cache
    assert "`herd plan --explain`" in cache


@pytest.mark.parametrize("planned_bytes", [50 * GIB, None])
def test_tokens_that_the_size_does_not_explain_send_to_the_engines_arguments(planned_bytes: float | None) -> None:
    report = told(kv_tokens=200_000)
    (tokens,) = differences(replace(report, planned=replace(report.planned, kv_bytes=planned_bytes)))
    assert tokens.startswith("The KV tokens are 200,000, 50% less than planned (400,000): ")
    assert "`--kv-dtype`" in tokens


def test_plan_without_room_is_told_as_such() -> None:
    report = replace(AS_PLANNED, planned=replace(PLAN, kv_bytes=0.0, kv_tokens=0.0))
    cache, _ = differences(report)
    assert cache.startswith("The KV cache is 50 GiB, and the plan has room for none: ")
    assert difference(0, 0) == 0


def test_reason_for_having_no_plan_is_a_sentence_of_its_own() -> None:
    assert list(summary(Report("cpu", PLAN, no_plan="no plan: this engine has no GPU"))) == ["No plan: this engine has no GPU."]


@pytest.mark.parametrize(("size", "written"), [(1234.5, "1,234 GiB"), (61.37, "61.4 GiB"), (0.25, "0.25 GiB"), (0.008, "8.19 MiB")])
def test_sizes_are_written_in_three_digits(size: float, written: str) -> None:
    assert rows(told(weights_bytes=size * GIB))[0].told == written


@pytest.mark.parametrize(
    "report", [AS_PLANNED, Report("cpu", Figures()), told(None, kv_tokens=None), Report("x", PLAN, no_plan="no plan")], ids=str
)
def test_report_goes_through_json(report: Report) -> None:
    assert of_plain(json.loads(json.dumps(as_plain(report)))) == report


def test_replica_of_an_older_release_tells_no_report() -> None:
    assert of_plain(None) is None
    assert of_plain({}) is None


def test_what_only_a_newer_release_knows_is_left_out() -> None:
    plain = as_plain(AS_PLANNED) | {"of_a_later_release": 1, "gpu": 4, "utilization": True}
    plain["told"] |= {"graphs_bytes": 3, "kv_bytes": "many"}
    assert of_plain(plain) == replace(told(None, kv_bytes=None), gpu="")


@given(JSON)
def test_no_json_breaks_the_reader(said: object) -> None:
    of_plain(said)
    of_plain({"device": "cpu", "told": said, "planned": said, "utilization": said, "gpu": said})
