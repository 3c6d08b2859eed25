"""A model that an operator has stopped: its clients are told so, its fallbacks answer, and the herd is healthy all the same."""

import pytest

from tests.path.fake_engine import FakeEngine, answers, fake_engine
from tests.path.herd import LLAMA, MODELS, SCOUT, Herd

pytestmark = pytest.mark.asyncio(loop_scope="session")

STOPPED = MODELS[0].model_copy(update={"stopped": True})


async def test_clients_of_a_stopped_model_are_told_and_the_herd_is_healthy(herd: Herd, engine: FakeEngine) -> None:
    herd.apply([STOPPED])
    refused = await herd.chat()
    assert refused.status_code == 503
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("model_stopped", "model")
    assert "retry-after" not in refused.headers, "nobody knows when an operator starts it"
    assert (await herd.http.get("/health")).json() == {"status": "ok", "ready": {}}
    assert next(one["id"] for one in (await herd.http.get("/v1/models")).json()["data"]) == LLAMA, "it stays in the config"
    assert not engine.requests
    herd.apply([MODELS[0]])
    herd.has(engine)
    assert (await herd.chat()).status_code == 200


async def test_other_models_answer_in_place_of_a_stopped_one(herd: Herd) -> None:
    async with fake_engine() as scout:
        scout.script = answers(200, {"id": "1", "choices": []})
        herd.apply([STOPPED.model_copy(update={"fallbacks": (SCOUT,)}), *MODELS[1:]], auto=(LLAMA, SCOUT))
        herd.has(scout, model=SCOUT)
        assert (await herd.chat()).headers["x-fallback-from"] == LLAMA
        assert (await herd.chat(model="auto")).status_code == 200
    assert [one.json["model"] for one in scout.requests] == [SCOUT, SCOUT]


async def test_requests_for_a_stopped_model_use_up_no_budget_of_errors(herd: Herd) -> None:
    herd.apply([STOPPED])
    assert (await herd.chat()).status_code == 503
    assert herd.count("herd_requests_total", model=LLAMA, outcome="client_error") == 1
    assert herd.count("herd_requests_total", model=LLAMA, outcome="unavailable") == 0
    assert herd.count("herd_slo_requests_total", model=LLAMA, objective="availability", met="no") == 0
