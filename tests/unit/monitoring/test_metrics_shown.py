"""Every metric that a dashboard or an alert names exists, and every metric of the herd's table is on a dashboard or in an alert."""

import re
from collections import defaultdict

import pytest
import yaml

from monitoring.metrics import METRICS
from tests.alone.vllm_metrics import exported
from tests.unit.monitoring.dashboards import RECORDED, ROOT, Shown, queries, selectors

ALERTS = ROOT / "monitoring" / "alerts"
#: Series that Prometheus makes itself.
OF_PROMETHEUS = {"up", "ALERTS"}
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
OURS = {metric.name + part for metric in METRICS for part in PARTS[metric.kind]}


def recorded(name: str) -> dict[str, set[str]]:
    """The series of a recorded page, each with its labels."""
    text = (RECORDED / f"{name}.prom").read_text(encoding="utf-8")
    # Not by Prometheus' client: it gives counters an ending that DCGM's do not have.
    found = defaultdict[str, set[str]](set)
    for name, labels in re.findall(r"^([a-zA-Z_:][\w:]*)\{([^}]*)\}", text, re.MULTILINE):
        found[name] |= set(re.findall(r'(\w+)="', labels))
    return found


@pytest.fixture(scope="module")
def there() -> set[str]:
    """Every name that a page of a herd, Ray, DCGM or Prometheus has."""
    return OURS | exported() | recorded("ray").keys() | recorded("dcgm").keys() | OF_PROMETHEUS


def rules() -> list[tuple[str, str]]:
    """Every rule of the alerts: its name, and its query."""
    files = sorted(ALERTS.glob("*.yml"))
    groups = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return [(rule.get("alert") or rule["record"], rule["expr"]) for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.name)
def test_metrics_of_a_panel_exist(query: Shown, there: set[str]) -> None:
    assert {selector.metric for selector in query.selectors} <= there


@pytest.mark.parametrize("query", [one for one in queries() if re.search(r"\b(ray_|DCGM_)", one.expr)], ids=lambda query: query.name)
def test_labels_of_rays_and_dcgms_metrics_are_on_their_pages(query: Shown) -> None:
    pages = recorded("ray") | recorded("dcgm")
    kept = {label for labels in re.findall(r"\bby \(([^)]*)\)", query.expr) for label in labels.split(", ")}
    for selector in query.selectors:
        assert selector.labels | kept <= pages[selector.metric] | {"job", "cluster", "node", "instance"}


def test_every_metric_of_the_table_is_on_a_dashboard_or_in_an_alert() -> None:
    shown = {selector.metric for query in queries() for selector in query.selectors}
    shown |= {name for _, expr in rules() for name in re.findall(r"[a-zA-Z_:][\w:]*", expr)}
    assert [metric.name for metric in METRICS if not {metric.name + part for part in PARTS[metric.kind]} & shown] == []


def test_recorded_pages_have_the_herds_own_labels() -> None:
    for page in ("gateway", "engine"):
        for name, labels in recorded(page).items():
            ours = next((metric for metric in METRICS if metric.name == name), None)
            assert labels == ({*ours.labels} if ours else {"engine", "model_name"} | ({"le"} if name.endswith("_bucket") else set()))
            assert ours or name in exported()


def test_selector_is_read_out_of_a_query() -> None:
    (first, second) = selectors('sum by (a) (rate(x_total{job="gateway", a=~"b|c"}[5m])) / on (a) vllm:y{engine!="0"}')
    assert (first.metric, first.matchers) == ("x_total", (("job", "=", "gateway"), ("a", "=~", "b|c")))
    assert (second.metric, second.labels) == ("vllm:y", {"engine"})
