"""The alerts: Prometheus takes the rules, each alert fires and is silent in a test of its own, and each has its runbook."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.doctor.kernel_log import HARMLESS, SICK
from monitoring.metrics import METRICS
from tests.tools.documents import blocks

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "monitoring"
FILES = sorted((FOLDER / "alerts").glob("*.yml"))
CASES = sorted((Path(__file__).parent / "rules").glob("*.yml"))
RUNBOOKS = sorted((FOLDER / "runbooks").glob("*.md"))

NEEDS_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)
NEEDS_AMTOOL = pytest.mark.skipif(
    shutil.which("amtool") is None, reason="amtool is not installed (Debian: apt-get install prometheus-alertmanager)"
)


def rules() -> list[dict[str, Any]]:
    groups = [group for file in FILES for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
EACH = pytest.mark.parametrize("rule", ALERTS, ids=[f"{rule['alert']}-{rule['labels']['severity']}" for rule in ALERTS])


#: A program of Go that collects its garbage less often: promtool takes a fifth less time.
QUICK = {**os.environ, "GOGC": "400", "GOMAXPROCS": "1"}


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@NEEDS_PROMTOOL
def test_prometheus_takes_the_rules() -> None:
    assert run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *map(str, FILES)).count("SUCCESS") == len(FILES)


@NEEDS_PROMTOOL
@pytest.mark.parametrize("file", CASES, ids=[file.stem for file in CASES])
def test_alerts_fire_and_are_silent_as_they_should(file: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", str(file))


def asked() -> Iterator[tuple[str, list[str]]]:
    """Yields each expression of the cases with the labels of the alerts that it should find; none where it should be silent."""
    for file in CASES:
        for case in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            for query in case["promql_expr_test"]:
                yield query["expr"], [sample["labels"] for sample in query["exp_samples"]]


ASKED = list(asked())


def labels(text: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', text))


@EACH
def test_alert_has_a_case_in_which_it_fires(rule: dict[str, Any]) -> None:
    wanted = {"alertname": rule["alert"], "severity": rule["labels"]["severity"], "alertstate": "firing"}
    assert any(wanted.items() <= labels(found).items() for _, samples in ASKED for found in samples)


@EACH
def test_alert_has_a_case_in_which_it_is_silent(rule: dict[str, Any]) -> None:
    def selects(expr: str) -> bool:
        given = labels(expr)
        own = str(rule["labels"]["severity"])
        return given.get("alertname") == str(rule["alert"]) and given.get("severity", own) == own

    assert any(selects(expr) and not samples for expr, samples in ASKED)


@EACH
def test_texts_of_an_alert_name_only_labels_that_it_has(rule: dict[str, Any]) -> None:
    known = {name for _, samples in ASKED for found in samples if labels(found).get("alertname") == rule["alert"] for name in labels(found)}
    assert set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))) <= known


@EACH
def test_alert_says_what_it_is_and_where_to_go(rule: dict[str, Any]) -> None:
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard"}
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook_url"] == (
        f"{{{{ with $externalLabels.docs }}}}{{{{ . }}}}/{{{{ end }}}}monitoring/runbooks/{slug(rule['alert'])}.md"
    )
    assert rule["annotations"]["dashboard"].startswith("{{ $externalLabels.grafana }}/d/herd-")


def slug(alert: str) -> str:
    """Returns the name of an alert's runbook: `HerdQueueGrowing` has `queue-growing`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert.removeprefix("Herd")).lower()


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    assert {f"{slug(rule['alert'])}.md": f"# {rule['alert']}" for rule in ALERTS} == {
        page.name: page.read_text(encoding="utf-8").splitlines()[0] for page in RUNBOOKS
    }


@pytest.mark.parametrize("page", RUNBOOKS, ids=[page.stem for page in RUNBOOKS])
def test_runbook_says_what_it_means_where_to_look_and_what_to_do(page: Path) -> None:
    """Each command line is also read by the parser of `herd` itself (`tests/tools/test_documents.py`)."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["It means", "Look here", "Do this"]
    look = text.partition("## Look here")[2].partition("## Do this")[0]
    first = shlex.split(blocks(look, "sh")[0].splitlines()[0], comments=True)
    assert first[0] == "herd"
    assert first[1] in ("why", "status", "events", "doctor"), "the first look changes nothing"


def test_dashboards_that_alerts_link_to_exist() -> None:
    made = {file.stem for file in (FOLDER / "dashboards").glob("*.json")}
    if not made:
        pytest.skip("no dashboards are here")
    linked = {found for rule in ALERTS for found in re.findall(r"/d/([\w-]+)", rule["annotations"]["dashboard"])}
    assert linked <= made


def test_package_has_the_alerts_the_runbooks_and_the_configurations() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling, which builds the package, is not installed")
    packed = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    wanted = (*FILES, *RUNBOOKS, FOLDER / "alertmanager.yml", FOLDER / "prometheus.yml")
    assert {str(file.relative_to(ROOT)) for file in wanted} <= packed


TABLE = {metric.name: set(metric.labels) for metric in METRICS}
EXPRESSIONS = [rule["expr"] for rule in rules()]


def test_metrics_of_the_herd_and_their_labels_are_those_of_the_table() -> None:
    of_targets = {"job", "instance", "node", "replica", "model", "cluster"}
    used = [found for expr in EXPRESSIONS for found in re.findall(r"\b(herd_\w+)(?:\{([^}]*)\})?", expr)]
    assert len(used) > 20
    assert {name for name, _ in used} <= TABLE.keys()
    assert [name for name, matchers in used if not set(re.findall(r"(\w+)[=!]", matchers)) <= TABLE[name] | of_targets] == []


def test_counters_are_asked_for_as_rates_and_gauges_are_not() -> None:
    """Those of vLLM's end in `_total` too; `resets` and `count_over_time` are for what has no rate."""
    for expr in EXPRESSIONS:
        rated = set(re.findall(r"(?:rate|increase)\(([\w:]+)", expr))
        assert all(name.endswith("_total") for name in rated), expr
        named = set(re.findall(r"\b((?:herd|vllm:)\w*_total)\b", expr))
        assert named <= rated, expr


def test_metrics_of_vllm_are_those_that_it_has() -> None:
    found = find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed")
    text = (Path(found.origin).parent / "v1" / "metrics" / "loggers.py").read_text(encoding="utf-8")
    used = {name for expr in EXPRESSIONS for name in re.findall(r"vllm:\w+", expr)}
    assert len(used) > 5
    assert [name for name in used if f'"{name.removesuffix("_total")}"' not in text] == []


def test_recorded_series_are_used_and_used_ones_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for expr in EXPRESSIONS for name in re.findall(r"\bherd:[\w:]+", expr)}
    assert recorded == used


def test_xids_are_told_apart_as_the_doctor_does() -> None:
    page, ticket = (
        next(rule["expr"] for rule in ALERTS if rule["alert"] == "HerdGpuXid" and rule["labels"]["severity"] == severity)
        for severity in ("page", "ticket")
    )
    assert [int(code) for code in re.findall(r"== (\d+)", page)] == sorted(SICK)
    assert sorted(int(code) for code in re.findall(r"!= (\d+)", ticket)) == sorted((*SICK, *HARMLESS))


@NEEDS_AMTOOL
def test_alertmanager_takes_the_example() -> None:
    assert "SUCCESS" in run("amtool", "check-config", str(FOLDER / "alertmanager.yml"))


@NEEDS_AMTOOL
@pytest.mark.parametrize(("severity", "receiver"), [("page", "pager"), ("ticket", "chat")])
def test_pages_go_to_the_pager_and_tickets_to_the_chat(severity: str, receiver: str) -> None:
    example = str(FOLDER / "alertmanager.yml")
    said = run("amtool", "config", "routes", "test", "--config.file", example, f"severity={severity}", "alertname=HerdItl", "model=scout")
    assert said.split()[0] == receiver


def test_example_for_alertmanager_has_no_secret() -> None:
    text = (FOLDER / "alertmanager.yml").read_text(encoding="utf-8")
    assert not re.search(r"^\s*(?:- )?(?:api_url|credentials|password|routing_key|service_key|bearer_token):", text, re.MULTILINE)
