"""How many series a large herd has at most, by the table alone.

The herd has 100 models with 100 replicas each and five gateways; a gateway shows the same models as any other. The bound is the worst case
of a gateway's page, in which each value of each label has occurred with each value of the others, but for what cannot be:

- A model generates or embeds: of the eight endpoints' names it has at most seven.
- A model names at most three others that answer in its place. The config sets no limit; a herd that names more has more series.
- Tenants are no label yet. When they are, a tenant may have 30 series on a page (its requests by outcome, its tokens by kind, and so on,
  for all models together): a label of tenants beside that of models is 10,000 series for each value of a third.

Replicas are no label on gateways' pages, on purpose. Each replica has a page of its own, whose series are counted apart.
"""

from math import prod

from monitoring.labels import ANSWERED_BY, ENDPOINT, MODEL, Label
from monitoring.metrics import ENGINES, GATEWAYS, METRICS, Metric

MODELS, REPLICAS, TENANTS, FLEET = 100, 100, 100, 5
FALLBACKS, OF_A_TENANT = 3, 30
MOST = 200_000
#: On each replica's page. vLLM has a few hundred there.
MOST_OF_A_REPLICA = 60


def values(label: Label, models: int) -> int:
    """The most values that a label has beside one of another; `unknown` is one more model."""
    if label is ANSWERED_BY:
        return FALLBACKS
    if label is MODEL:
        return models
    return len(label.values) - 1 if label is ENDPOINT else len(label.values)


def series(metric: Metric, models: int) -> int:
    """The most series of a metric on one page: a histogram has one for each bucket, one for the last, a sum and a count."""
    return prod(values(label, models) for label in metric.by) * (len(metric.buckets) + 3 if metric.kind == "histogram" else 1)


def test_fleet_of_gateways_stays_below_its_bound() -> None:
    page = sum(series(metric, MODELS + 1) for metric in GATEWAYS)
    assert FLEET * (page + TENANTS * OF_A_TENANT) < MOST, f"{page} series on a page"


def test_replica_adds_few_series_to_its_engines_page() -> None:
    assert sum(series(metric, 1) for metric in ENGINES) < MOST_OF_A_REPLICA


def test_no_label_can_grow_with_replicas_or_clients() -> None:
    names = {label.name for metric in METRICS for label in metric.by}
    assert names.isdisjoint({"replica", "tenant", "key", "address", "path", "id", "user"})
    assert max(len(label.values) for metric in METRICS for label in metric.by) < REPLICAS
