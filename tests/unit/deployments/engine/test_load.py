"""`deployments.engine.load`: vLLM's own metrics, as a replica's load."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from deployments.engine.load import LATELY_S, EngineLoad
from deployments.policy.fleet.slowness import Progress


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
        self.generated = Counter("vllm:generation_tokens", "generated", labels, registry=self.registry).labels("llama", "0")
        self.step_tokens = Histogram("vllm:iteration_tokens_total", "step", labels, registry=self.registry).labels("llama", "0")
        self.load = EngineLoad(self.registry, lambda: self.now, kv_tokens=1000)

    def steps(self, count: int, seconds: float, tokens: int) -> None:
        """Steps of so many tokens, each of so many seconds, for some request that ends with the last of them."""
        self.gauges["num_requests_running"].set(1)
        self.load.step_s()
        for _ in range(count):
            self.now += seconds
            self.step_tokens.observe(tokens)
            self.load.step_s()
        self.gauges["num_requests_running"].set(0)
        self.load.step_s()


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
    engine.steps(2, 0.5, 8)
    assert engine.load.report()["prefix_hit_rate"] == 0.5
    assert engine.load.report()["step_s"] == 0.5
    for _ in range(2):
        engine.now += LATELY_S
        engine.load.report()
    engine.queries.inc(100)
    engine.steps(4, 0.25, 8)
    report = engine.load.report()
    assert (report["prefix_hit_rate"], report["step_s"]) == (0, 0.25), "an engine without requests takes no step"


def test_every_step_counts_whatever_it_computes() -> None:
    """One-token answers and prompts have no time between two tokens, and make steps longer than anything else."""
    engine = Engine()
    engine.steps(3, 2.0, 4096)
    assert engine.load.step_s() == 2.0


def test_whatever_the_engine_does_is_progress() -> None:
    engine = Engine()
    seen = [engine.load.progress()]
    assert engine.load.progress() == seen[0]
    engine.gauges["kv_cache_usage_perc"].set(0.5)
    seen.append(engine.load.progress())
    engine.step_tokens.observe(64)
    engine.generated.inc(3)
    seen.append(engine.load.progress())
    engine.gauges["num_requests_running"].set(2)
    engine.gauges["num_requests_waiting"].set(1)
    seen.append(engine.load.progress())
    assert seen == [
        Progress(),
        Progress(held_tokens=500),
        Progress(1, 64, 3, 500),
        Progress(1, 64, 3, 500, requests=3),
    ]


def test_an_engine_without_metrics_has_no_load() -> None:
    assert set(EngineLoad(CollectorRegistry()).report().values()) == {0}


def test_cache_that_requests_hold_is_added_up_over_time() -> None:
    engine = Engine()
    engine.gauges["kv_cache_usage_perc"].set(0.5)
    engine.now += 2.0
    assert engine.load.held_s() == 0.5, "it rose from nothing at some time between"
    engine.now += 4.0
    assert engine.load.held_s() == 2.5
    engine.gauges["kv_cache_usage_perc"].set(0.0)
    assert engine.load.held_s() == 2.5
    engine.now += 10.0
    assert engine.load.held_s() == 2.5
