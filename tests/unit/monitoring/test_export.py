"""`monitoring.export`: what is counted is what is shown."""

from prometheus_client.core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from configs.scaling import Slo
from monitoring.export import CONTENT_TYPE, Meter
from monitoring.labels import ENDPOINTS, WORKING, Outcome, PrefillBy, Retry
from monitoring.metrics import GATEWAYS, REQUESTS, RETRIES, SCALING_BOUND, SCALING_HELD, TOKENS, TTFT, WAITED, WAITING


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


def test_everything_that_a_request_counts_is_shown() -> None:
    meter = Meter()
    meter.under_way["scout"].requests += 1
    meter.under_way["scout"].streams += 1
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
    assert found["herd_requests_total", (scout, ("outcome", "ok"))] == 1
    assert found["herd_endpoint_requests_total", (("endpoint", "chat"), ("outcome", "ok"))] == 1
    assert found["herd_request_seconds_sum", (scout,)] == 1.5
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


def test_request_that_only_counts_tokens_has_no_time_of_an_answer() -> None:
    meter = Meter()
    for endpoint in ENDPOINTS:
        meter.ended("scout", endpoint, Outcome.OK, 1.0)
    found = shown(meter)
    assert found["herd_requests_total", (("model", "scout"), ("outcome", "ok"))] == len(ENDPOINTS)
    assert found["herd_request_seconds_count", (("model", "scout"),)] == len(WORKING) == 5


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
    assert [shown("herd_scaling_bound", {"model": model, "limit": "gpus"}) for model in ("scout", "llama")] == [None, 1]
    assert shown("herd_scaling_held", {"model": "scout", "why": "no report"}) == 1
    meter.scaled("scout", {"target": 3}, "money", "stale report", 120.0)
    now = [
        [sample.labels for sample in meter.family(one).samples if sample.labels["model"] == "scout"]
        for one in (SCALING_BOUND, SCALING_HELD)
    ]
    assert now == [[{"model": "scout", "limit": "money"}], [{"model": "scout", "why": "stale report"}]]
    meter.scaled("scout", {"target": 3, "wanted": 2.5}, "", "no report", 110.0)
    assert shown("herd_scaling_decided_timestamp_seconds", {"model": "scout"}) == 110


def test_decisions_on_a_model_that_autoscaling_has_left_are_shown_no_more() -> None:
    meter = Meter()
    for model in ("scout", "llama"):
        meter.scaled(model, {"target": 1}, "gpus", "no report", 100.0)
    meter.scaled_only(("llama",))
    assert {dict(labels)["model"] for _, labels in shown(meter)} == {"llama"}


def test_objectives_of_the_config_are_shown_and_their_counters_begin_at_0() -> None:
    meter = Meter()
    meter.promises({"scout": Slo(ttft_s=2, itl_s=0.05, quantile=0.95, availability=0.99), "llama": Slo()})
    found = shown(meter)
    scout = ("model", "scout")
    shares = {one: found["herd_slo_objective_ratio", (scout, ("objective", one))] for one in ("availability", "ttft", "itl")}
    assert shares == {"availability": 0.99, "ttft": 0.95, "itl": 0.95}
    assert [found["herd_slo_threshold_seconds", (scout, ("objective", one))] for one in ("ttft", "itl")] == [2, 0.05]
    assert found["herd_slo_requests_total", (("met", "no"), scout, ("objective", "itl"))] == 0
    assert found["herd_tokens_total", (("kind", "cached"), scout)] == found["herd_prefix_tokens_total", (("found", "hit"), scout)] == 0
    promise = meter.promise("scout")
    assert promise is not None
    meter.slo_requests[promise.slow] += 1
    meter.promises({"scout": Slo()})
    found = shown(meter)
    assert found["herd_slo_requests_total", (("met", "no"), scout, ("objective", "itl"))] == 1, "the config's change takes nothing away"
    assert ("herd_slo_objective_ratio", (("model", "llama"), ("objective", "itl"))) not in found, "no objective without a model"
    assert meter.promise("llama") is None


def test_error_without_a_known_code_has_a_label_all_the_same() -> None:
    meter = Meter()
    for code in ("overloaded", None, "made up", "made up, too"):
        meter.refused(code)
    refused = {dict(labels)["code"]: value for (name, labels), value in shown(meter).items() if name == "herd_refusals_total"}
    assert refused == {"overloaded": 1, "invalid_request": 1, "other": 2}


def test_replicas_and_starts_that_are_over_are_not_shown() -> None:
    meter = Meter()
    meter.replicas({("scout", "ready"): 2, ("scout", "starting"): 1})
    meter.starting({("scout", "load"): 12.5})
    assert shown(meter)["herd_replica_phase_seconds", (("model", "scout"), ("phase", "load"))] == 12.5
    meter.replicas({("scout", "ready"): 3})
    meter.starting({})
    assert shown(meter) == {("herd_replicas", (("model", "scout"), ("state", "ready"))): 3}


def test_expected_and_cached_tokens_are_shown() -> None:
    meter = Meter()
    meter.expected("scout", 30, 10)
    meter.used("scout", 40, 5, 32)
    found = shown(meter)
    scout = ("model", "scout")
    assert [found["herd_prefix_tokens_total", (("found", one), scout)] for one in ("hit", "miss")] == [30, 10]
    assert found["herd_tokens_total", (("kind", "cached"), scout)] == 32


def test_one_metric_is_read_as_the_page_shows_it() -> None:
    meter = Meter()
    meter.ended("m", "chat", Outcome.OK, 0.3)
    meter.streamed("m", 0.0, [0.3])
    (sample,) = meter.family(REQUESTS).samples
    assert (sample.name, sample.value, sample.labels["outcome"]) == ("herd_requests_total", 1, "ok")
    assert meter.family(TTFT).samples[-1].name.startswith("herd_time_to_first_token_seconds")
