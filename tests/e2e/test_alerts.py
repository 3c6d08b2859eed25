"""The alerts over a real herd: an engine is killed, a real Prometheus pages in time, and the runbook's first command finds why.

This is the last module over the herd: it leaves a model without its engine.
"""

import re
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Herd, wait_for
from tests.own_herd.prometheus import running
from tests.path.prometheus import ALERTS, faster
from tests.tools.documents import ROOT, blocks
from tests.victims import core_of

SCOUT = "llama-4-scout-tiny"
#: An hour of the rules goes by in a minute.
TIMES = 60
BACK_S = 300.0


@pytest.fixture
def prometheus(herd: Herd, tmp_path: Path) -> Iterator[httpx.Client]:
    """The real Prometheus with the herd's rules, all of whose times are shorter."""
    for file in ALERTS.glob("*.yml"):
        (tmp_path / file.name).write_text(faster(file.read_text(encoding="utf-8"), TIMES), encoding="utf-8")
    discovery = {"url": f"{herd.endpoint}/-/targets", "refresh_interval": "1s"}
    wanted: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "500ms"},
        "rule_files": [f"{tmp_path}/*.yml"],
        "scrape_configs": [{"job_name": "herd", "http_sd_configs": [discovery]}],
    }
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with running(folder, wanted) as one, httpx.Client(base_url=one.address, timeout=30) as client:
        yield client


def asks(herd: Herd, over: threading.Event) -> None:
    """Clients that go on asking, whatever they are answered."""
    body = {"model": SCOUT, "prompt": "x", "max_tokens": 2}
    with httpx.Client(timeout=60) as client:
        while not over.wait(0.2):
            client.post(f"{herd.endpoint}/v1/completions", json=body)


def pages(prometheus: httpx.Client) -> dict[str, dict[str, Any]]:
    """The pages about the model, by name. An engine that a machine holds up for five seconds has been stuck for minutes of the rules."""
    try:
        found = prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
    except (httpx.HTTPError, ValueError):
        return {}
    labels = [(one, one["labels"]) for one in found if one["state"] == "firing"]
    firing = {of["alertname"]: one for one, of in labels if of["severity"] == "page" and of.get("model") == SCOUT}
    return {name: one for name, one in firing.items() if name != "HerdEngineStuck"}


def test_killed_engine_pages_and_the_first_command_of_its_runbook_finds_why(herd: Herd, prometheus: httpx.Client) -> None:
    wait_for("its engine", lambda: herd.replicas(SCOUT), within_s=BACK_S, every_s=1)
    over = threading.Event()
    clients = threading.Thread(target=asks, args=(herd, over))
    clients.start()
    try:
        time.sleep(10)  # ten minutes of the rules
        assert pages(prometheus) == {}
        core_of(herd.replica(SCOUT)).kill()
        killed = time.monotonic()
        # Where few clients are refused in a second, another page says before this one that the model is away.
        page = wait_for("a page of its budget", lambda: pages(prometheus).get("HerdErrorBudget"), within_s=3600 / TIMES)
        took_s = time.monotonic() - killed
        print(f"{page['labels']['alertname']} after {took_s:.1f} s, {took_s * TIMES / 60:.1f} min by the rules")
        runbook = (ROOT / page["annotations"]["runbook_url"]).read_text(encoding="utf-8")
        words = shlex.split(blocks(runbook, "sh")[0].splitlines()[0], comments=True)
        said = herd.run(*(SCOUT if word == "MODEL" else word for word in words[1:])).stdout
        print(said)
        assert re.search(r"ha(s|ve) died|is dead|its engine", " ".join(said.split())), said
    finally:
        over.set()
        clients.join()
