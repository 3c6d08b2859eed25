"""What is told while a herd comes up, and of one that cannot: the cause, and the way out."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.schema import Config
from deployments.lifecycle import known
from deployments.lifecycle.changing import coming_up, preflight
from deployments.lifecycle.herd import Herd, OperationError
from deployments.policy.records.starts import FAILED, READY, Start
from deployments.ray_calls import ray_guard, serve_api
from tests.unit.deployments.ray_calls.test_ray_guard import gcs
from tests.unit.samples import config, model

START = Start("llama", "abc", "10.0.0.2", "0.1.0", 1.0, (), 2.0, FAILED, "OSError: [Errno 28] No space left on device")


@pytest.mark.parametrize(("kept", "told"), [((START,), True), ((Start("llama", "b", "n", "r", 1.0, outcome=READY),), False), ((), False)])
def test_engine_that_cannot_start_is_told_with_the_cause_of_its_last_start(
    kept: tuple[Start, ...], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(called: dict[str, str]) -> set[str]:
        raise serve_api.CannotStart(f"{called['model.llama']} could not start.\nEngine core initialization failed.", "model.llama")

    monkeypatch.setattr(serve_api, "running", cannot)
    monkeypatch.setattr(coming_up, "starts_of", lambda _: list(kept))
    with pytest.raises(OperationError) as refused:
        coming_up.running(["model.llama"])
    first, *rest = str(refused.value).splitlines()
    assert first == "The engine of 'llama' could not start."
    if told:
        assert rest[0] == "On 10.0.0.2: OSError: [Errno 28] No space left on device"
        assert rest[1].startswith("A disk of 10.0.0.2 is full")
        assert rest[1].endswith("`herd logs llama --replica abc` has all of it.")
    else:
        assert rest == ["Engine core initialization failed."]


def test_gateway_that_cannot_start_is_told_in_ray_serves_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(called: dict[str, str]) -> set[str]:
        raise serve_api.CannotStart(f"{called['gateway']} could not start.\nOSError: no", "gateway")

    monkeypatch.setattr(serve_api, "running", cannot)
    with pytest.raises(OperationError, match=r"^The gateway could not start\.\nOSError: no$"):
        coming_up.running(["gateway"])


class Answering(BaseHTTPRequestHandler):
    """A gateway that says one thing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        status, body = self.server.says  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def of(port: int) -> Config:
    return config(model(), gateway={"port": port})


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ((200, {"choices": [{}]}), ""),
        (
            (502, {"error": {"message": "The engine refused its gateway."}}),
            "the gateway answers 502: The engine refused its gateway. HERD_SECRET is",
        ),
        ((503, {}), "the gateway answers 503: nothing."),
        ((200, [1]), "http://127.0.0.1:"),
    ],
)
def test_answer_of_the_gateway_is_why_a_model_does_not_generate(
    gateway: Any, says: tuple[int, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.says = says
    wanted = of(8000)
    monkeypatch.setattr(Herd, "endpoint", f"http://127.0.0.1:{gateway.server_port}")
    said = coming_up._refusal(Herd(tmp_path, wanted), wanted.models[0])
    assert said.startswith(why)
    assert bool(said) == bool(why)


def test_gateway_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Herd, "endpoint", "http://127.0.0.1:9")
    wanted = of(8000)
    assert coming_up._refusal(Herd(tmp_path, wanted), wanted.models[0]) == "no gateway answers at http://127.0.0.1:9 (ConnectError)."


def test_way_into_ray_is_looked_at_before_ray_tries_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_guard, "_own_token", lambda: ())
    with pytest.raises(OperationError, match=r"No head of Ray listens at 127\.0\.0\.1:9 \(Connection refused\)\. Is the head up\?"):
        known._require_way_in("127.0.0.1:9", known.IS_IT_UP)
    with pytest.raises(OperationError, match=r"\(Connection refused\)\. `herd down` clears it away\."):
        known._require_way_in("127.0.0.1:9", "`herd down` clears it away.")
    with gcs(guarded=False) as address:
        known._require_way_in(address, "")
    with gcs(guarded=True) as address, pytest.raises(OperationError, match=r"refuses this program's token\. Set HERD_SECRET"):
        known._require_way_in(address, "")


def test_ray_that_is_to_be_found_is_looked_at_where_a_node_of_it_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "ray_here", lambda _: None)
    known._require_way_in("auto", "")
    monkeypatch.setattr(known, "ray_here", lambda _: SimpleNamespace(address="127.0.0.1:9"))
    with pytest.raises(OperationError, match=r"No head of Ray listens at 127\.0\.0\.1:9"):
        known._require_way_in("auto", "")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    known._require_way_in("auto", "")


def test_hosts_that_have_not_joined_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = config(
        model(),
        ray={"address": "auto"},
        cluster={"secret_command": "cat x", "onprem": {"head": "10.0.0.1", "workers": ["10.0.0.2", "10.0.0.3"]}},
    )
    there, said = [SimpleNamespace(address="10.0.0.1")], list[str]()

    def say(sentence: str) -> None:
        said.append(sentence)
        there.append(SimpleNamespace(address=f"10.0.0.{1 + len(there)}"))

    monkeypatch.setattr(preflight, "living", lambda: there)
    monkeypatch.setattr(preflight, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: None))
    preflight.gathered(wanted.cluster, say)
    assert [one.partition(" If it goes on")[0] for one in said] == [
        "1 of 3 hosts have joined. Missing: 10.0.0.2, 10.0.0.3.",
        "2 of 3 hosts have joined. Missing: 10.0.0.3.",
    ]
    preflight.gathered(None, said.append)
    assert len(said) == 2
