"""Every query of every panel runs in a real Prometheus over a real herd with traffic of every outcome, and says what the test counted."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bench.process import free_port
from tests.e2e.conftest import SMALL, Herd, up, wait_for
from tests.e2e.test_api import picture
from tests.own_herd.outcomes import SCOUT, SMOLLM, Traffic
from tests.own_herd.prometheus import Prometheus, configuration, running, served
from tests.unit.monitoring.dashboards import RECORDED, Shown, boards, chosen, counts, queries, shown

#: What this machine has not, by the metrics that show it; their panels run over recorded pages of the real exporters.
NEEDS = {
    r"DCGM_FI_": "needs a GPU",
    r"vllm:spec_decode_": "needs a GPU: a draft model is made for one of the real models",
    r"vllm:nixl_|herd_prefills_total": "needs several nodes: prefill and decode apart",
    r"herd_replicas_sick_total": "needs a GPU that computes wrongly",
}
#: Recorded pages are shown as these nodes', so that nobody takes them for this machine's.
NODES = ("gpu-1", "gpu-2")


def config(port: int) -> dict[str, Any]:
    """A herd that is soon full, and gives up soon."""
    limits = {"header_s": 120, "body_read_s": 120, "first_byte_s": 45, "total_s": 45, "queue_requests": 2, "queue_s": 15, "resume_s": 120}
    models = [
        {
            "id": SMOLLM,
            "kind": "smollm2-135m",
            "checkpoint": f"small:{SMOLLM}",
            "context_tokens": 2048,
            "replicas": 2,
            "canary": {"answer": " 8, 9", "period_s": 5},
            "engine": SMALL | {"max_num_seqs": 4, "enable_prompt_tokens_details": True},
        },
        {
            "id": SCOUT,
            "kind": "llama-4-scout-tiny",
            "checkpoint": f"small:{SCOUT}",
            "context_tokens": 4096,
            "scaling": {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 2, "patience_s": 600, "gpus": 1},
            "fallbacks": [SMOLLM],
            "engine": SMALL | {"skip_mm_profiling": True, "max_num_seqs": 2},
        },
    ]
    return {"name": "watched", "gateway": {"port": port, "limits": limits}, "models": models}


@dataclass
class Watched:
    """A herd's series, and what the test knows of them."""

    prometheus: Prometheus
    traffic: Traffic
    first_s: float
    """Before the traffic."""
    last_s: float
    """After it."""

    def counted(self, panel: str, label: str) -> Counter[str]:
        """What the counters behind a panel's rates have grown by, by one of the labels in its legend."""
        expr = counts(shown(panel).expr)
        before, after = (
            {dict(labels)[label]: value for labels, value in self.prometheus.at(expr, when).items()} for when in (self.first_s, self.last_s)
        )
        return Counter({name: round(grown) for name, value in after.items() if (grown := value - before.get(name, 0)) > 0})

    def data(self, query: Shown) -> bool:
        """Whether a query returns any."""
        expr = chosen(query.expr).replace("600s", f"{self.last_s - self.first_s:.0f}s")
        if query.instant:
            return bool(self.prometheus.at(expr, self.last_s))
        return bool(self.prometheus.over(expr, self.first_s, self.last_s))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A herd under Prometheus, after its traffic."""
    pages = {path.stem: path.read_text(encoding="utf-8") for path in RECORDED.glob("*.prom")}
    folder = tmp_path_factory.mktemp("prometheus")
    alert = folder / "always.yml"
    alert.write_text("groups: [{name: always, rules: [{alert: Always, expr: vector(1)}]}]", encoding="utf-8")
    with (
        up(tmp_path_factory.mktemp("watched"), config(free_port())) as herd,
        served(pages) as at,
        running(folder, configuration(herd.endpoint, _still(at), [alert])) as prometheus,
    ):
        yield _watched(herd, prometheus)
        print(f"Prometheus' data: {folder}")


def _still(at: dict[str, str]) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = [{"targets": [at["dcgm"]], "labels": {"job": "dcgm", "node": node}} for node in NODES]
    groups += [{"targets": [at[job]], "labels": {"job": job, "node": NODES[0], "model": "maverick"}} for job in ("engine", "gateway")]
    return groups


def _watched(herd: Herd, prometheus: Prometheus) -> Watched:
    jobs = {"engine": 4, "gateway": 2, "dcgm": 2, "ray": 1}  # with the recorded ones
    wait_for("all pages", lambda: jobs.items() <= prometheus.up().items(), within_s=60, every_s=1)
    time.sleep(3)
    first_s, traffic = time.time(), Traffic(herd, picture())
    traffic.round()
    traffic.round()
    traffic.while_one_dies()
    return Watched(prometheus, traffic, first_s, time.time())


def test_figures_of_key_panels_are_what_the_test_counted(watched: Watched) -> None:
    traffic = watched.traffic
    assert {"ok", "client_error", "overloaded", "timeout", "cancelled"} == traffic.outcomes.keys()
    assert SMOLLM in traffic.seen, "a fallback has answered"
    assert watched.counted("herd-overview: Requests by outcome", "outcome") == traffic.outcomes
    assert watched.counted("herd-gateway: Requests by endpoint", "endpoint") == traffic.endpoints
    assert watched.counted("herd-gateway: Refusals by code", "code") == traffic.codes
    tokens = watched.counted("herd-overview: Tokens", "kind")
    assert {kind: tokens[kind] for kind in ("prompt", "completion")} == dict(traffic.tokens)
    assert watched.counted("herd-gateway: Answered by another model", "answered_by") == {SMOLLM: traffic.seen.count(SMOLLM)}
    assert watched.counted("herd-gateway: Asked again", "kind")["resumed"] >= 1
    assert sum(watched.counted("herd-gateway: Replicas picked", "reason").values()) >= traffic.outcomes["ok"]


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.name)
def test_query_of_a_panel_returns_data(watched: Watched, query: Shown) -> None:
    assert watched.data(query), chosen(query.expr)


def test_every_annotation_and_variable_finds_something(watched: Watched) -> None:
    marks = {one["expr"] for board in boards().values() for one in board["annotations"]["list"]}
    found = {expr for expr in marks if watched.prometheus.over(chosen(expr), watched.first_s, watched.last_s)}
    assert any("death" in expr for expr in found), "a replica was killed"
    variables = {one["query"] for board in boards().values() for one in board["templating"]["list"] if one["type"] == "query"}
    for series, label in re.findall(r"label_values\((.+), (\w+)\)", "\n".join(variables)):
        values = {dict(labels).get(label) for labels in watched.prometheus.at(chosen(series), watched.last_s)}
        assert label == "cluster" or {value for value in values if value}, label


@pytest.mark.parametrize(("pattern", "why"), NEEDS.items())
def test_recorded_pages_are_for_metrics_that_this_machine_cannot_have(watched: Watched, pattern: str, why: str) -> None:
    metrics = {selector.metric for query in queries() for selector in query.selectors if re.match(pattern, selector.metric)}
    assert metrics, why
    for metric in metrics:
        nodes = {dict(labels).get("node") for labels in watched.prometheus.at(metric, watched.last_s)}
        assert nodes & set(NODES), why


def test_recorded_pages_have_nothing_else() -> None:
    names = {
        name for path in RECORDED.glob("*.prom") for name in re.findall(r"^# TYPE (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert [name for name in names if not re.match("|".join([*NEEDS, "ray_"]), name)] == []
