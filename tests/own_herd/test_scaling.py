"""A real model goes from one replica to three and back under a step of load, and Ray Serve's controller is killed in the middle."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import psutil
import pytest

from deployments.policy.fleet.events import Kind
from tests.bench.process import free_port
from tests.e2e.conftest import SMALL, Herd, processes_of, up, wait_for

MODEL = "smollm2-135m-instruct"
CLIENTS, TOKENS = 8, 60
#: Two engines start at a time, on two cores. A jump like this one gets room for nine to ten times as long as a start takes.
UP_S, DOWN_S = 300.0, 1800.0


def config(port: int) -> dict[str, Any]:
    """One model that carries two requests a replica, and gives replicas up soon."""
    scaling = {"min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 2, "clear_s": 10, "patience_s": 8, "start_s": 15}
    model = {
        "id": MODEL,
        "kind": "smollm2-135m",
        "checkpoint": "small:smollm2-135m-instruct",
        "context_tokens": 1024,
        "scaling": scaling,
        "stop_s": 30,
        "canary": {"answer": " 8, 9", "period_s": 30},
        "engine": SMALL | {"max_num_seqs": 4},
    }
    gateway = {"port": port, "limits": {"header_s": 120, "body_read_s": 120, "queue_s": 120}}
    return {"name": "scaling", "gateway": gateway, "models": [model]}


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    """A herd of its own: the others' tests count their replicas."""
    with up(tmp_path_factory.mktemp("scaling"), config(free_port())) as running:
        yield running


class Load:
    """Clients that ask one question after the other, until the end of a `with`."""

    def __init__(self, herd: Herd) -> None:
        self._endpoint = f"{herd.endpoint}/v1"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._asks, args=(number,), daemon=True) for number in range(CLIENTS)]
        self.answers, self.failures = 0, list[str]()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=120)

    def _asks(self, client: int) -> None:
        with openai.OpenAI(base_url=self._endpoint, api_key="none", max_retries=0, timeout=180) as asking:
            while not self._over.is_set():
                self._ask(asking, client)

    def _ask(self, asking: openai.OpenAI, client: int) -> None:
        prompt, more = f"Client {client} counts {self.answers} llamas:", {"ignore_eos": True}
        try:
            pieces = asking.completions.create(model=MODEL, prompt=prompt, max_tokens=TOKENS, stream=True, extra_body=more)
            *_, last = pieces
            assert last.choices[0].finish_reason == "length"
            self.answers += 1
        except Exception as error:  # noqa: BLE001 (whatever a client sees: the test shows it)
            self.failures.append(f"{type(error).__name__}: {error}")
            time.sleep(1)


def decisions(herd: Herd) -> list[str]:
    """Every change of the model's size, with its reason, oldest first."""
    said = herd.run("events", "--json", within_s=60)
    assert said.returncode == 0, said.stdout + said.stderr
    events = [json.loads(line) for line in said.stdout.splitlines()]
    return [f"{event['when']} {event['words']}" for event in events if event["kind"] == Kind.SCALE and event["model"] == MODEL]


def controllers(herd: Herd) -> list[psutil.Process]:
    """Ray Serve's controller of a herd."""
    return [one for one in processes_of(herd) if "ServeController" in " ".join(one.cmdline())]


def said(what: str) -> None:
    """Shows a moment in the output of the test."""
    print(f"{time.strftime('%H:%M:%S')}  {what}")


def test_model_goes_from_one_to_three_replicas_though_its_controller_dies_meanwhile(herd: Herd) -> None:
    assert len(herd.replicas(MODEL)) == 1
    with Load(herd) as load:
        wait_for("more than one replica is wanted", lambda: decisions(herd), within_s=60, every_s=2)
        said(f"wanted: {decisions(herd)[-1]}")
        (victim,) = controllers(herd)
        victim.kill()
        said("the controller is killed")
        wait_for("three replicas", lambda: len(herd.replicas(MODEL)) == 3, within_s=UP_S, every_s=1)
        said("three replicas answer")
        assert [one.pid for one in controllers(herd)] != [victim.pid]
    said(f"the load ends: {load.answers} answers")
    assert load.failures == []
    assert load.answers >= CLIENTS


@pytest.mark.timeout(DOWN_S + 300)
def test_model_goes_back_to_one_replica_when_the_load_is_over_and_the_jump_is_half_forgotten(herd: Herd) -> None:
    wait_for("one replica", lambda: len(herd.replicas(MODEL)) == 1, within_s=DOWN_S, every_s=1)
    said("one replica is left")
    log = decisions(herd)
    print("\n".join(log))
    assert all(" replicas of load now" in one for one in log), "each has its reason, and nobody else moved the number"
    assert json.loads(herd.run("status", "--json", within_s=60).stdout)["models"][0]["replicas"]["target"] == 1
