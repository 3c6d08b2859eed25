"""`deployments.engine_load`: vLLM's own metrics, as a replica's load."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from deployments.engine_load import LATELY_S, EngineLoad


class Engine:
    """vLLM's metrics, by vLLM's names."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.now = 0.0
        labels = ("model_name", "engine")
        self.gauges = {
            name: Gauge(f"vllm:{name}", name, labels, registry=self.registry).labels("llama", "0")
            for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "engine_sleep_state")
        }
        self.queries, self.hits = (
            Counter(f"vllm:prefix_cache_{name}", name, labels, registry=self.registry).labels("llama", "0") for name in ("queries", "hits")
        )
        self.itl = Histogram("vllm:inter_token_latency_seconds", "itl", labels, registry=self.registry).labels("llama", "0")
        self.load = EngineLoad(self.registry, lambda: self.now)


def test_gauges_as_they_are() -> None:
    engine = Engine()
    for name, value in (("num_requests_running", 7), ("num_requests_waiting", 2), ("kv_cache_usage_perc", 0.25)):
        engine.gauges[name].set(value)
    report = engine.load.report()
    assert (report["running"], report["waiting"], report["kv_usage"]) == (7, 2, 0.25)
    assert (report["prefix_hit_rate"], report["step_s"]) == (0, 0), "nothing has happened yet"


def test_rates_are_of_lately() -> None:
    engine = Engine()
    engine.queries.inc(100)
    engine.hits.inc(50)
    engine.itl.observe(0.5)
    assert engine.load.report()["prefix_hit_rate"] == 0.5
    assert engine.load.report()["step_s"] == 0.5
    for _ in range(2):
        engine.now += LATELY_S
        engine.load.report()
    engine.queries.inc(100)
    engine.itl.observe(0.25)
    report = engine.load.report()
    assert (report["prefix_hit_rate"], report["step_s"]) == (0, 0.25)


def test_whatever_the_engine_does_shows() -> None:
    engine = Engine()
    before = engine.load.doing()
    assert engine.load.doing() == before
    engine.gauges["kv_cache_usage_perc"].set(0.5)
    assert engine.load.doing() != before
    engine.itl.observe(0.25)
    assert engine.load.step_s() == 0.25


def test_an_engine_without_metrics_has_no_load() -> None:
    assert set(EngineLoad(CollectorRegistry()).report().values()) == {0}
