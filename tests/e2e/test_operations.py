"""What operators and on-call see of a real herd: status, metrics, secrets, changes in place."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

import monitoring
from configs.keys import SERVING, derived
from tests.e2e.conftest import Herd, metrics, processes, wait_for
from tests.own_herd.prometheus import Prometheus, running

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"


def metric(text: str, name: str) -> float:
    """The sum of a metric's samples."""
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))


def targets(herd: Herd, job: str) -> list[str]:
    return [group["targets"][0] for group in herd.get("/-/targets") if group["labels"]["job"] == job]


def test_status_and_models_for_people_and_for_scripts(herd: Herd) -> None:
    said = json.loads(herd.run("status", "--json").stdout)
    assert said["endpoint"] == f"{herd.endpoint}/v1"
    assert [(model["id"], model["state"], model["replicas"]) for model in said["models"]] == [
        (SMOLLM, "running", {"running": 2, "target": 2}),
        (SCOUT, "running", {"running": 1, "target": 1}),
    ]
    assert "1 of 1" in herd.run("status").stdout
    listed = herd.run("models").stdout
    assert "smollm2" in listed
    assert "Built with Llama" in listed


def test_config_that_runs_is_shown_with_its_defaults_and_places(herd: Herd) -> None:
    assert herd.run("up", str(herd.config)).returncode == 0, "an earlier test may have brought up another file"
    said = json.loads(herd.run("config", "show", "--json").stdout)
    found = {one["path"]: (one["value"], one["from"]) for one in said["values"]}
    assert said["name"] == "e2e"
    assert found["models[0].replicas"] == (2, f"{herd.config}:{line(herd, 'replicas: 2')}")
    assert found["gateway.limits.queue_s"] == (30, "default")
    assert herd.run("config", "show", "--no-defaults").stdout.startswith("name: e2e ")
    again = herd.run("validate", "-", stdin=herd.run("config", "show", "--yaml").stdout)
    assert again.returncode == 0, again.stderr


def line(herd: Herd, text: str) -> int:
    """The number of the config's line with this text."""
    return next(number for number, one in enumerate(herd.config.read_text(encoding="utf-8").splitlines(), 1) if text in one)


def test_health_can_be_a_real_generation(herd: Herd) -> None:
    assert herd.get("/health") == {"status": "ok", "ready": {SMOLLM: 2, SCOUT: 1}}
    assert herd.get("/health?generate=true")["generated"] == {SMOLLM: 2, SCOUT: 1}


def test_no_process_of_a_herd_has_its_secret_and_vllms_have_no_key(herd: Herd) -> None:
    """Neither in its environment nor in its arguments, where every user of the machine would see it."""
    keys, engines = {derived(herd.secret, purpose) for purpose in SERVING}, 0
    for process in psutil.process_iter():
        try:
            arguments, environment = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        assert herd.secret not in f"{environment} {arguments}", arguments
        assert not [key for key in keys if key in str(arguments)], arguments
        if environment.get("HERD_STATE") == str(herd.folder / "state") and str(arguments).find("VLLM::") >= 0:
            engines += 1
            assert not keys & set(environment.values()), arguments
    assert engines >= 3


def test_an_engine_answers_to_its_cluster_only(herd: Herd) -> None:
    for engine in targets(herd, "engine"):
        assert engine.startswith("127.0.0.1:"), "a local herd keeps to the loopback interface"
        for path in ("/v1/models", "/health", "/pause", "/openapi.json"):
            assert httpx.get(f"http://{engine}{path}", timeout=60).status_code == 401
        wrong = httpx.post(f"http://{engine}/v1/completions", headers={"authorization": "Bearer guess"}, json={}, timeout=60)
        assert wrong.json()["error"]["code"] == "unauthorized"


def test_every_process_has_metrics_under_its_own_names(herd: Herd) -> None:
    httpx.post(f"{herd.endpoint}/v1/completions", json={"model": SMOLLM, "prompt": "x", "max_tokens": 2}, timeout=60).raise_for_status()
    gateway = metrics(targets(herd, "gateway")[0])
    assert metric(gateway, "herd_requests_total") >= 1
    assert metric(gateway, "herd_replicas_ready") == 3
    engines = list(map(metrics, targets(herd, "engine")))
    assert all("vllm:num_requests_running" in text for text in engines)
    assert any(metric(text, "vllm:generation_tokens_total") >= 2 for text in engines)


def test_nobody_is_told_what_is_served(herd: Herd) -> None:
    """Ray would gather it in an actor of its own."""
    there = processes(herd)
    assert any("ServeReplica" in one for one in there)
    assert not [one for one in there if "Telemetry" in one]


@pytest.fixture
def prometheus(herd: Herd, tmp_path: Path) -> Iterator[Prometheus]:
    """The real Prometheus with our configuration, which knows nothing but the gateway's address."""
    shipped = (Path(monitoring.__file__).parent / "prometheus.yml").read_text(encoding="utf-8")
    told = shipped.replace("http://127.0.0.1:8000", herd.endpoint).replace("interval: 15s", "interval: 5s").replace("10s", "1s")
    (tmp_path / "herd-pages-key").write_text("a herd on loopback asks for none", encoding="utf-8")
    with running(tmp_path, yaml.safe_load(told)) as found:
        yield found


def test_prometheus_finds_every_process_by_itself(prometheus: Prometheus) -> None:
    def jobs() -> bool:
        return prometheus.up() == {"engine": 3, "gateway": 1, "ray": 1}

    wait_for("three engines, a gateway and a node in Prometheus", jobs, within_s=120, every_s=0.5)


def test_when_a_client_hangs_up_the_engine_stops(herd: Herd) -> None:
    replica, wanted = herd.replica(SCOUT), 8000

    def of_engine(name: str) -> float:
        return metric(metrics(replica["address"]), f"vllm:{name}")

    before = of_engine("generation_tokens_total")
    body = {"model": SCOUT, "prompt": "x", "max_tokens": wanted, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", f"{herd.endpoint}/v1/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()  # held: without it the client would hang up here
        next(lines)
        wait_for("the engine runs the request", lambda: of_engine("num_requests_running"), within_s=60)
    wait_for("the engine runs it no more", lambda: not of_engine("num_requests_running"), within_s=60)
    assert of_engine("generation_tokens_total") - before < wanted, "it has not run to its end"


def ids(herd: Herd) -> set[str]:
    return {one["id"] for model in (SMOLLM, SCOUT) for one in herd.replicas(model)}


def test_a_change_in_place_leaves_the_rest_running(herd: Herd) -> None:
    before = ids(herd)
    up = herd.run("up", str(herd.changed(lambda config: config["models"][0].update(aliases=["smollm2", "words"]))))
    assert up.returncode == 0, up.stderr
    assert herd.get("/v1/models/words")["id"] == SMOLLM
    assert ids(herd) == before
    assert herd.run("up", str(herd.config)).returncode == 0
    assert httpx.get(f"{herd.endpoint}/v1/models/words", timeout=60).status_code == 404


def test_a_wrong_config_is_refused_with_every_problem(herd: Herd) -> None:
    def spoil(config: dict[str, Any]) -> None:
        config["models"][0]["scaling"] = {"min_replicas": 3, "max_replicas": 1}
        config["models"][1] |= {"parallel": {"tensor": 16}, "context_token": 5}

    refused = herd.run("up", str(herd.changed(spoil)))
    assert refused.returncode == 3
    assert "models[0].scaling: min_replicas (3) must not be above max_replicas (1)" in refused.stderr
    assert "models[1].context_token: unknown field; did you mean 'context_tokens'?" in refused.stderr
    assert herd.get("/health")["status"] == "ok", "the running herd is as it was"


def test_a_port_in_use_is_told_before_anything_starts(herd: Herd) -> None:
    refused = herd.run("up", str(herd.changed(lambda config: config.update(name="second"))))
    assert refused.returncode == 1
    assert "Address already in use" in refused.stderr
    assert "gateway.port" in refused.stderr
