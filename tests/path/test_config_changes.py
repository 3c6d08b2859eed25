"""The config changes while a request is answered, and the time of a request holds over all models that are asked."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from configs.schema import Model
from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, Wire, answers, fake_engine
from tests.path.herd import LLAMA, MODELS, SCOUT, Herd, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

WITH_FALLBACK = [MODELS[0].model_copy(update={"fallbacks": (SCOUT,)}), MODELS[1]]


def serves(herd: Herd, *models: Model) -> None:
    """The herd has just these models from now on."""
    herd.apply(models)


def is_full(herd: Herd) -> None:
    """No replica of the first model has room."""
    herd.roster.update(LLAMA, [replace(view, slots=1, ongoing=1) for view in herd.roster.replicas(LLAMA)])


def waits(herd: Herd) -> bool:
    return herd.count("herd_queue_requests", model=LLAMA) == 1


@pytest.mark.parametrize(
    ("left", "status"), [([MODELS[0]], 429), ([MODELS[1]], 503)], ids=["the fallback is removed", "the named model is removed"]
)
async def test_request_that_waits_while_a_model_is_removed_is_refused_and_no_defect(
    limited: Start, engine: FakeEngine, left: list[Model], status: int
) -> None:
    herd = await limited(queue_s=0.3)
    serves(herd, *WITH_FALLBACK)
    is_full(herd)
    asked = asyncio.create_task(herd.chat())
    await until(lambda: waits(herd))
    serves(herd, *left)
    refused = await asked
    assert refused.status_code == status
    assert refused.json()["error"]["code"] in ("overloaded", "model_stopped", "engine_gone")
    assert not engine.requests


async def test_request_that_waits_while_its_fallback_leaves_the_config_is_refused_for_the_model_that_it_names(
    limited: Start, engine: FakeEngine
) -> None:
    herd = await limited(queue_s=0.3)
    serves(herd, *WITH_FALLBACK)
    is_full(herd)
    async with fake_engine() as scout:
        scout.script = answers(200, {"id": "1"})
        herd.has(scout, model=SCOUT)
        asked = asyncio.create_task(herd.chat())
        await until(lambda: waits(herd))
        herd.apply([MODELS[0]])
        refused = await asked
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")


@pytest.mark.parametrize("body", [{}, {"stream": True}])
async def test_fallback_gets_what_the_named_model_has_left_of_the_time(limited: Start, engine: FakeEngine, body: dict[str, Any]) -> None:
    herd = await limited(queue_s=0.6, first_byte_s=1, total_s=1)
    serves(herd, *WITH_FALLBACK)
    is_full(herd)

    async def late(wire: Wire) -> None:
        await asyncio.sleep(0.7)
        await answers(200, {"id": "1"})(wire)

    async with fake_engine() as scout:
        scout.script = late
        herd.has(scout, model=SCOUT)
        answer = await herd.chat(**body)
        assert len(scout.requests) == 1
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert herd.ended("timeout") == 1
