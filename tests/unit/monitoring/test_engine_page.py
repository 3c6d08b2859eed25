"""`monitoring.engine_page`: what stands beside vLLM's own metrics."""

from prometheus_client import CollectorRegistry

from cluster.planner.started.figures import Figures, Report
from monitoring.engine_page import CanaryMeter, Cost, show_engine, show_phases
from monitoring.metrics import ENGINES
from tests.unit.monitoring.test_export import samples


def test_canaries_and_memory_are_shown_where_the_engine_shows_its_own_metrics() -> None:
    registry = CollectorRegistry()
    meter = CanaryMeter(registry, "scout")
    meter.judged("right", 0.5)
    meter.judged("stuck", None)
    show_engine(registry, "scout", Report("cpu", Figures(1e9, 2e9, 5000, 31.5), Figures(1.1e9)))
    show_phases(registry, "scout", {"load": 20.0, "gate": 1.5})
    registry.register(Cost("scout", 4, 0.0, lambda: 5.0))
    assert {(family.name, family.type, family.documentation) for family in registry.collect()} == {
        (metric.name.removesuffix("_total"), metric.kind, metric.meaning) for metric in ENGINES
    }
    counted = [registry.get_sample_value("herd_canary_total", {"model": "scout", "verdict": verdict}) for verdict in ("right", "stuck")]
    assert (counted, registry.get_sample_value("herd_canary_seconds_count", {"model": "scout"})) == ([1, 1], 1)
    bytes_of = {by: registry.get_sample_value("herd_engine_weights_bytes", {"model": "scout", "by": by}) for by in ("engine", "plan")}
    assert bytes_of == {"engine": 1e9, "plan": 1.1e9}
    assert registry.get_sample_value("herd_engine_kv_bytes", {"model": "scout", "by": "plan"}) is None, "no plan, no figure"
    assert registry.get_sample_value("herd_engine_start_seconds", {"model": "scout"}) == 31.5
    assert registry.get_sample_value("herd_engine_start_phase_seconds", {"model": "scout", "phase": "load"}) == 20


def test_engine_whose_start_is_not_known_shows_none() -> None:
    registry = CollectorRegistry()
    show_engine(registry, "scout", Report("cpu", Figures()))
    assert list(samples(list(registry.collect()))) == []


def test_gpus_and_memory_cost_from_the_start_on_whether_anybody_asks_or_not() -> None:
    now, held = [100.0], [0.0]
    registry = CollectorRegistry(auto_describe=True)
    registry.register(Cost("scout", 8, since_s=40.0, held_bytes_s=lambda: held[0], clock=lambda: now[0]))
    shown = registry.get_sample_value
    assert shown("herd_gpu_seconds_total", {"model": "scout"}) == 8 * 60
    assert shown("herd_kv_byte_seconds_total", {"model": "scout"}) == 0
    now[0], held[0] = 130.0, 7e9
    assert shown("herd_gpu_seconds_total", {"model": "scout"}) == 8 * 90
    assert shown("herd_kv_byte_seconds_total", {"model": "scout"}) == 7e9


def test_cache_of_unknown_size_costs_nothing_that_is_shown() -> None:
    registry = CollectorRegistry()
    registry.register(Cost("scout", 1, 0.0, None, lambda: 1.0))
    assert [name for name, _ in samples(list(registry.collect()))] == ["herd_gpu_seconds_total"]
