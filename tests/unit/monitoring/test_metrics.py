"""`monitoring.metrics`: a table that keeps Prometheus' rules for names, and whose labels come from short lists."""

import re
from itertools import pairwise

import pytest

import monitoring.metrics
from monitoring.labels import ANSWERED_BY, MODEL
from monitoring.metrics import METRICS, Metric

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
