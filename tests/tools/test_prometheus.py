"""`promtool` reads our pages and our configuration; it is asked, because it knows Prometheus' rules for names and units."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import monitoring
from cluster.planner.started.figures import Figures, Report
from configs.scaling import Slo
from deployments.gateway.figures.own_process import OwnProcess
from monitoring.engine_page import CanaryMeter, Cost, show_engine, show_phases
from monitoring.export import Meter
from monitoring.metrics import ENGINES, GATEWAYS, Metric

FOLDER = Path(monitoring.__file__).parent
pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)")


def promtool(*arguments: str, told: bytes = b"", at: Path | None = None) -> str:
    """What promtool complains of; nothing where all is well."""
    done = subprocess.run(["promtool", *arguments], input=told, cwd=at, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return "" if done.returncode == 0 else done.stdout.decode()


def page_of_a_gateway() -> bytes:
    """A page with a value of every metric and every value of a label."""
    meter = Meter()
    meter.promises({"llama": Slo()})
    for metric in GATEWAYS:
        for labels in _labels(metric):
            if metric.kind == "histogram":
                meter.observe(metric, *labels, value=1.0)
            else:
                meter.count(metric, *labels)

    async def own() -> None:
        process = OwnProcess(meter)
        process.show()
        await process.stop()

    asyncio.run(own())
    return meter.text()


def _labels(metric: Metric) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    for label in metric.by:
        found = [(*before, value) for before in found for value in (label.values or ("llama",))]
    return found


def page_of_an_engine() -> bytes:
    """A page with a value of every metric that is ours."""
    registry = CollectorRegistry(auto_describe=True)
    canaries = CanaryMeter(registry, "llama")
    canaries.judged("right", 0.5)
    show_engine(registry, "llama", Report("cpu", Figures(1e9, 2e9, 5000, 31.5), Figures(1e9, 2e9, 5000)))
    show_phases(registry, "llama", {"load": 20.0})
    registry.register(Cost("llama", 1, 0.0, lambda: 1.0))
    return generate_latest(registry)


@pytest.mark.parametrize(("page", "metrics"), [(page_of_a_gateway, GATEWAYS), (page_of_an_engine, ENGINES)], ids=["gateway", "engine"])
def test_page_keeps_to_prometheus_rules(page: Callable[[], bytes], metrics: tuple[Metric, ...]) -> None:
    told = page()
    assert all(f"# TYPE {metric.name} {metric.kind}".encode() in told for metric in metrics)
    assert promtool("check", "metrics", told=told) == ""


def test_promtool_does_complain_of_a_page_that_does_not() -> None:
    assert "no help text" in promtool("check", "metrics", told=b"# TYPE herd_total counter\nherd_total 1\n")


def test_configuration_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "prometheus.yml", tmp_path)
    (tmp_path / "herd-pages-key").write_text("a key", encoding="utf-8")
    if (FOLDER / "alerts").is_dir():
        shutil.copytree(FOLDER / "alerts", tmp_path / "alerts")
    assert promtool("check", "config", "prometheus.yml", at=tmp_path) == ""


def test_prometheus_is_started_for_tests_in_one_place() -> None:
    data = "--storage." + "tsdb.path"
    tests = Path(__file__).parents[1]
    assert [path.name for path in tests.rglob("*.py") if data in path.read_text(encoding="utf-8")] == ["prometheus_program.py"]
