"""`monitoring.metrics`: a table that keeps Prometheus' rules for names, and whose labels come from short lists."""

import re
from itertools import pairwise

import pytest

import monitoring.metrics
from configs.scaling import Slo
from monitoring.labels import ANSWERED_BY, MODEL
from monitoring.metrics import E2E, GPU_SECONDS, ITL, KV_BYTE_SECONDS, METRICS, TTFT, Metric

#: Labels whose values are ids of the config's models. All others have a list: never anything that a client can make up.
MODELS = {MODEL, ANSWERED_BY}
ENDINGS = {"counter": "_total", "histogram": "_seconds", "gauge": ""}
EACH = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_table_has_every_metric_of_the_module() -> None:
    assert set(METRICS) == {value for value in vars(monitoring.metrics).values() if isinstance(value, Metric)}


@EACH
def test_name_says_what_it_counts_in(metric: Metric) -> None:
    assert re.fullmatch(r"herd_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith(ENDINGS[metric.kind])
    assert metric.meaning.endswith(".")


@EACH
def test_labels_are_from_short_lists(metric: Metric) -> None:
    assert all(bool(one.values) != (one in MODELS) for one in metric.by)
    assert len(set(metric.labels)) == len(metric.labels)


@EACH
def test_histograms_and_only_they_have_rising_buckets(metric: Metric) -> None:
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert all(lower < upper for lower, upper in pairwise(metric.buckets))


#: The base units of Prometheus, which OpenTelemetry's exporters write into names, and ours; a count of things has the things' name.
UNITS = {"seconds", "bytes", "ratio", "tokens"}
NOT_UNITS = {
    "ms",
    "milliseconds",
    "microseconds",
    "minutes",
    "hours",
    "kb",
    "mb",
    "gb",
    "mib",
    "gib",
    "percent",
    "percentage",
    "count",
    "info",
}


@EACH
def test_unit_is_a_base_unit_and_stands_last(metric: Metric) -> None:
    words = metric.name.removesuffix("_total").split("_")[1:]
    assert not set(words) & NOT_UNITS
    found = [word for word in words if word in UNITS]
    if metric not in (GPU_SECONDS, KV_BYTE_SECONDS):  # products of two units, or of a unit and things
        assert found == [] or (words[-1] in UNITS and len(found) == 1)
    assert "total" not in words


@EACH
def test_label_says_what_it_is_and_not_the_name(metric: Metric) -> None:
    assert not set(metric.labels) & {"le", "quantile", "job", "instance", "node", "cluster"}, "these are Prometheus' own, or a target's"


def test_objectives_by_default_are_edges_of_buckets() -> None:
    slo = Slo()
    assert {0.5, 1.0, 2.5, slo.ttft_s} <= set(TTFT.buckets)
    assert {0.05, slo.itl_s} <= set(ITL.buckets)
    assert {10.0, 30.0} <= set(E2E.buckets)
