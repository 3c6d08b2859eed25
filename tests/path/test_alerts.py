"""The alerts over a real failure: engines of a gateway fail, a real Prometheus pages in time, and its runbook's first command finds why."""

import asyncio
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.policy.routing.types import ReplicaState
from tests.path.fake_engine import FakeEngine
from tests.path.herd import LLAMA, Herd, herd_of, limits
from tests.path.prometheus import ALERTS, NEEDED, faster, prometheus
from tests.tools.documents import ROOT, blocks

#: An hour of the rules goes by in half a minute.
TIMES = 120


def test_every_time_of_the_rules_is_made_shorter_and_no_number() -> None:
    assert faster("expr: a[5m] / 60 > 14.4 offset 1h\nfor: 2m\ninterval: 30s", 60) == (
        "expr: a[5000ms] / 60 > 14.4 offset 60000ms\nfor: 2000ms\ninterval: 500ms"
    )
    left = "".join(faster(file.read_text(encoding="utf-8"), 60) for file in ALERTS.glob("*.yml"))
    assert not re.findall(r"\[\d+[smhd]\]", left)


async def keep_asking(herd: Herd) -> None:
    while True:
        await herd.chat()
        await asyncio.sleep(0.02)


@NEEDED
@pytest.mark.asyncio(loop_scope="session")
async def test_availability_pages_while_engines_fail_and_the_runbook_finds_the_cause(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    for file in ALERTS.glob("*.yml"):
        (tmp_path / "alerts" / file.name).write_text(faster(file.read_text(encoding="utf-8"), TIMES), encoding="utf-8")
    async with herd_of([engine], limits()) as herd:
        herd.gateways.append({"host": "127.0.0.1", "port": herd.metrics_port, "node": "n1"})
        config = {
            "global": {"scrape_interval": "250ms", "evaluation_interval": "250ms", "external_labels": {"docs": "https://example.com/herd"}},
            "rule_files": [str(tmp_path / "alerts" / "*.yml")],
            "scrape_configs": [{"job_name": "herd", "http_sd_configs": [{"url": f"{herd.url}/-/targets", "refresh_interval": "250ms"}]}],
        }
        asking = asyncio.create_task(keep_asking(herd))
        try:
            async with prometheus(tmp_path, config) as one:
                await asyncio.sleep(5)  # ten minutes of the rules
                assert [alert for alert in await one.alerts() if alert["labels"]["alertname"] == "HerdErrorBudget"] == []
                herd.has(engine, state=ReplicaState.DEAD)
                failed = time.monotonic()
                alerts = await one.until(lambda found: any(_is_page(alert["labels"]) for alert in found), within_s=3600 / TIMES)
                took_s = time.monotonic() - failed
                print(f"paged after {took_s:.1f} s, in the rules' own time {took_s * TIMES / 60:.1f} min")
                page = next(alert for alert in alerts if _is_page(alert["labels"]))
                assert page["labels"]["model"] == LLAMA
                assert re.search(r"\d % of|\d% of", page["annotations"]["description"])
                assert page["annotations"]["runbook_url"] == "https://example.com/herd/monitoring/runbooks/error-budget.md"
                assert "<" not in "".join(page["annotations"].values()), "a template has failed"
                said = await asyncio.to_thread(first_look, page["annotations"]["runbook_url"], herd.url)
                assert "is dead" in said, said
                herd.has(engine)
                await one.until(lambda found: not any(_is_page(alert["labels"]) for alert in found), within_s=120)
        finally:
            asking.cancel()


def _is_page(labels: dict[str, str]) -> bool:
    return labels["alertname"] == "HerdErrorBudget" and labels["severity"] == "page"


def first_look(runbook_url: str, gateway: str) -> str:
    """Runs the first command of an alert's runbook, from any machine: with the gateway's address."""
    page = (ROOT / runbook_url.removeprefix("https://example.com/herd/")).read_text(encoding="utf-8")
    words = shlex.split(blocks(page, "sh")[0].splitlines()[0], comments=True)
    command = [sys.executable, "-m", "deployments", *(LLAMA if word == "MODEL" else word for word in words[1:]), "--url", gateway]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())
