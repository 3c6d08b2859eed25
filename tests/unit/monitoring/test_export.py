"""`monitoring.export`: what is counted is what is shown."""

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from cluster.planner.started.figures import Figures, Report
from monitoring.export import CONTENT_TYPE, CanaryMeter, Meter, show_engine
from monitoring.labels import Outcome, PrefillBy, Retry
from monitoring.metrics import GATEWAYS, METRICS, RETRIES, TOKENS, WAITED, WAITING


def samples(families: list[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def shown(meter: Meter) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return samples(list(text_string_to_metric_families(meter.text().decode())))


def test_meter_shows_just_the_table() -> None:
    families = Meter().registry.collect()
    assert {(family.name, family.type, family.documentation) for family in families} == {
        (metric.name.removesuffix("_total"), metric.kind, metric.meaning) for metric in GATEWAYS
    }


def test_canaries_and_memory_are_shown_where_the_engine_shows_its_own_metrics() -> None:
    registry = CollectorRegistry()
    meter = CanaryMeter(registry, "scout")
    meter.judged("right", 0.5)
    meter.judged("stuck", None)
    show_engine(registry, "scout", Report("cpu", Figures(1e9, 2e9, 5000, 31.5), Figures(1.1e9)))
    assert {(family.name, family.type, family.documentation) for family in registry.collect()} == {
        (metric.name.removesuffix("_total"), metric.kind, metric.meaning) for metric in METRICS if metric not in GATEWAYS
    }
    counted = [registry.get_sample_value("herd_canary_total", {"model": "scout", "verdict": verdict}) for verdict in ("right", "stuck")]
    assert (counted, registry.get_sample_value("herd_canary_seconds_count", {"model": "scout"})) == ([1, 1], 1)
    bytes_of = {by: registry.get_sample_value("herd_engine_weights_bytes", {"model": "scout", "by": by}) for by in ("engine", "plan")}
    assert bytes_of == {"engine": 1e9, "plan": 1.1e9}
    assert registry.get_sample_value("herd_engine_kv_bytes", {"model": "scout", "by": "plan"}) is None, "no plan, no figure"
    assert registry.get_sample_value("herd_engine_start_seconds", {"model": "scout"}) == 31.5


def test_engine_whose_start_is_not_known_shows_none() -> None:
    registry = CollectorRegistry()
    show_engine(registry, "scout", Report("cpu", Figures()))
    assert list(samples(list(registry.collect()))) == []


def test_everything_that_a_request_counts_is_shown() -> None:
    meter = Meter()
    meter.opened("scout")
    meter.opened("scout")
    meter.closed("scout")
    meter.stream_opened("scout")
    meter.stream_opened("scout")
    meter.stream_closed("scout")
    meter.picked("scout", "only")
    meter.ended("scout", "chat", Outcome.OK, 1.5)
    meter.streamed("scout", 10.0, [10.25, 10.5, 11.0])
    meter.used("scout", 7, 3)
    meter.ready([("scout", 2), ("llama", 0)])
    meter.slow([("scout", 1)])
    meter.sick("scout", "wrong")
    found = shown(meter)
    scout = ("model", "scout")
    assert found["herd_requests_open", (scout,)] == 1
    assert found["herd_streams_open", (scout,)] == 1
    assert found["herd_replicas_sick_total", (scout, ("reason", "wrong"))] == 1
    assert found["herd_replicas_slow", (scout,)] == 1
    assert found["herd_picks_total", (scout, ("reason", "only"))] == 1
    assert found["herd_requests_total", (("endpoint", "chat"), scout, ("outcome", "ok"))] == 1
    assert found["herd_request_seconds_sum", (("endpoint", "chat"), scout)] == 1.5
    assert found["herd_time_to_first_token_seconds_sum", (scout,)] == 0.25
    assert found["herd_inter_token_latency_seconds_count", (scout,)] == 2
    assert found["herd_inter_token_latency_seconds_sum", (scout,)] == 0.75
    assert (found["herd_tokens_total", (("kind", "prompt"), scout)], found["herd_tokens_total", (("kind", "completion"), scout)]) == (7, 3)
    assert (found["herd_replicas_ready", (scout,)], found["herd_replicas_ready", (("model", "llama"),)]) == (2, 0)


def test_detours_and_waits_of_a_request_are_shown() -> None:
    meter = Meter()
    meter.retried("scout", Retry.AGAIN)
    meter.fell_back("scout", "llama")
    meter.prefilled("scout", PrefillBy.PREFILL)
    meter.waiting("scout", 3)
    meter.waited("scout", 0.5)
    found = shown(meter)
    scout = ("model", "scout")
    assert found["herd_retries_total", (("kind", Retry.AGAIN.value), scout)] == 1
    assert found["herd_fallbacks_total", (("answered_by", "llama"), scout)] == 1
    assert found["herd_prefills_total", (("by", PrefillBy.PREFILL.value), scout)] == 1
    assert (found["herd_queue_requests", (scout,)], found["herd_queue_seconds_sum", (scout,)]) == (3, 0.5)


def test_stream_that_never_began_has_no_first_token() -> None:
    meter = Meter()
    meter.streamed("scout", 10.0, [])
    assert not shown(meter)


def test_meters_do_not_meet() -> None:
    first, second = Meter(), Meter()
    first.picked("scout", "only")
    assert shown(first)
    assert not shown(second)


def test_content_type_is_that_of_the_text() -> None:
    assert CONTENT_TYPE.startswith(b"text/plain; version=0.0.4")
    assert Meter().text().startswith(b"# HELP ")


def test_metric_of_the_table_is_counted_by_its_row_alone() -> None:
    meter = Meter()
    meter.count(RETRIES, "llama", "again")
    meter.count(TOKENS, "llama", "prompt", by=3)
    meter.observe(WAITED, "llama", value=0.5)
    meter.show(WAITING, "llama", value=7)
    shown = meter.registry.get_sample_value
    assert shown("herd_retries_total", {"model": "llama", "kind": "again"}) == 1
    assert shown("herd_tokens_total", {"model": "llama", "kind": "prompt"}) == 3
    assert shown("herd_queue_seconds_sum", {"model": "llama"}) == 0.5
    assert shown("herd_queue_requests", {"model": "llama"}) == 7


def test_model_that_has_left_the_config_has_no_replicas() -> None:
    meter = Meter()
    meter.ready([("scout", 2), ("llama", 1)])
    meter.slow([("scout", 1)])
    meter.ready([("llama", 1)])
    meter.slow([])
    shown = meter.registry.get_sample_value
    assert [shown("herd_replicas_ready", {"model": model}) for model in ("scout", "llama")] == [0, 1]
    assert shown("herd_replicas_slow", {"model": "scout"}) == 0


def test_decision_of_autoscaling_is_shown_and_only_the_limit_that_binds_now() -> None:
    meter = Meter()
    meter.scaled("scout", {"target": 3, "wanted": 4.5}, "gpus", "", 100.0)
    meter.scaled("llama", {"target": 1}, "gpus", "", 100.0)
    meter.scaled("scout", {"target": 3, "wanted": 2.5}, "", "no report", 110.0)
    shown = meter.registry.get_sample_value
    assert shown("herd_scaling_replicas", {"model": "scout", "figure": "wanted"}) == 2.5
    assert [shown("herd_scaling_bound", {"model": model, "limit": "gpus"}) for model in ("scout", "llama")] == [0, 1]
    assert shown("herd_scaling_held", {"model": "scout", "why": "no report"}) == 1
    assert shown("herd_scaling_decided_timestamp_seconds", {"model": "scout"}) == 110
