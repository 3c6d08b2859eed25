"""`deployments.ray_calls.ray_guard`: a Ray that asks nobody for a token is recognised, by its processes' environment and by its GCS."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from configs.site import Site
from deployments.lifecycle.changing import preflight
from deployments.lifecycle.herd import Herd, OperationError
from deployments.ray_calls import ray_guard
from deployments.ray_calls.ray_guard import OpenRay, answers_without_token, refuse_open, takes_no_token_of_ours
from tests.unit.samples import config, model


class Gcs(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every call, or refuses it as Ray's GCS does where it is asked without its token."""

    def __init__(self, guarded: bool) -> None:
        self.guarded = guarded

    def service(self, details: Any) -> Any:
        def call(_: bytes, context: Any) -> bytes:
            if self.guarded and not dict(context.invocation_metadata()).get("authorization"):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken: Authentication token is missing or incorrect")
            return b""

        return grpc.unary_unary_rpc_method_handler(call)


@contextlib.contextmanager
def gcs(guarded: bool) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Gcs(guarded)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("guarded", [True, False])
def test_gcs_that_answers_without_a_token_is_open(guarded: bool) -> None:
    with gcs(guarded) as address:
        assert answers_without_token(address) is not guarded


def test_gcs_that_is_not_there_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_guard, "ANSWER_S", 0.5)
    assert not answers_without_token("127.0.0.1:9")


def test_token_is_refused_only_by_a_gcs_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_guard, "_own_token", lambda: ())
    with gcs(True) as guarded, gcs(False) as open_:
        assert takes_no_token_of_ours(guarded)
        assert not takes_no_token_of_ours(open_)
        monkeypatch.setattr(ray_guard, "_own_token", lambda: (("authorization", "Bearer x"),))
        assert not takes_no_token_of_ours(guarded)
    monkeypatch.setattr(ray_guard, "ANSWER_S", 0.5)
    assert not takes_no_token_of_ours("127.0.0.1:9")


@pytest.mark.parametrize("mode", [None, "disabled", ""])
def test_process_of_an_open_ray_does_not_start(mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(OpenRay, match=r"herd secret.*ray\.require_token: false"):
        refuse_open(Site())
    refuse_open(Site(require_token=False))


def test_process_of_a_guarded_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    refuse_open(Site())


@pytest.mark.parametrize(("guarded", "required"), [(True, True), (True, False), (False, True), (False, False)])
def test_herd_comes_up_on_an_open_ray_only_where_the_config_takes_it(
    guarded: bool, required: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    herd, said = Herd(Path("none"), config(model(), ray={"require_token": required})), list[str]()
    with gcs(guarded) as address:
        monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(gcs_address=address))
        if guarded or not required:
            preflight.guarded(herd, said.append)
        else:
            with pytest.raises(OperationError, match=r"ray\.require_token: false"):
                preflight.guarded(herd, said.append)
    assert bool(said) is (not guarded and not required)
