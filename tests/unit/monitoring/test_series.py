"""How many series a large herd has at most, by the table alone.

The herd has 100 models with 100 replicas each and 16 gateways; a gateway shows the same models as any other. The bound is the worst case
of a gateway's page, in which each value of each label has occurred with each value of the others, but for what cannot be:

- `unknown` is a model of requests only, and of their times: all else is counted when the model is known.
- Of a model's starts, the longest is in one phase, and others may wait for room: at most two phases are shown.
- A model's number of replicas is held by one limit, for one reason: no other is shown.
- A model names at most three others that answer in its place. The config sets no limit; a herd that names more has more series.
- Tenants are no label yet. When they are, a tenant may have 8 series on a page (its requests by whether they were answered, its tokens by
  kind, and so on, for all models together): a label of tenants beside that of models is 10,000 series for each value of a third.

Replicas are no label on gateways' pages, on purpose. Each replica has a page of its own, whose series are counted apart.
"""

from math import prod

from monitoring.labels import ANSWERED_BY, LIMIT, MODEL, PHASE, WHY, Label
from monitoring.metrics import E2E, ENGINES, GATEWAYS, METRICS, REQUESTS, Metric

MODELS, REPLICAS, TENANTS, FLEET = 100, 100, 100, 16
OF_A_TENANT = 8
#: The most values of a label beside one model.
BESIDE_A_MODEL = {ANSWERED_BY: 3, PHASE: 2, LIMIT: 1, WHY: 1}
MOST = 200_000
#: On each replica's page. vLLM has a few hundred there.
MOST_OF_A_REPLICA = 60


def values(label: Label, models: int) -> int:
    """The most values that a label has beside one of another."""
    return models if label is MODEL else BESIDE_A_MODEL.get(label, len(label.values))


def series(metric: Metric, models: int) -> int:
    """The most series of a metric on one page: a histogram has one for each bucket, one for the last, a sum and a count."""
    known = models + 1 if metric in (REQUESTS, E2E) else models
    return prod(values(label, known) for label in metric.by) * (len(metric.buckets) + 3 if metric.kind == "histogram" else 1)


def test_fleet_of_gateways_stays_below_its_bound() -> None:
    page = sum(series(metric, MODELS) for metric in GATEWAYS)
    fleet = FLEET * (page + TENANTS * OF_A_TENANT)
    assert fleet < MOST, f"{fleet} series, {page} on a page"


def test_replica_adds_few_series_to_its_engines_page() -> None:
    assert sum(series(metric, 1) for metric in ENGINES) < MOST_OF_A_REPLICA


def test_no_label_can_grow_with_replicas_or_clients() -> None:
    names = {label.name for metric in METRICS for label in metric.by}
    assert names.isdisjoint({"replica", "tenant", "key", "address", "path", "id", "user"})
    assert max(len(label.values) for metric in METRICS for label in metric.by) < REPLICAS
