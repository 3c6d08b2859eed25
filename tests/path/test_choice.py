"""Another model than the named one: `auto`, and the fallbacks that a config declares."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from configs.schema import Model
from tests.path.begun import chunks
from tests.path.fake_engine import FakeEngine, answers, fake_engine, streams, then_breaks
from tests.path.herd import LLAMA, MODELS, SCOUT, Herd
from tests.unit.pictures import data_url, png
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWER = {"id": "1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}


def declares(herd: Herd, *fallbacks: str, auto: tuple[str, ...] = ()) -> None:
    """The first model now has these fallbacks."""
    models: list[Model] = [MODELS[0].model_copy(update={"fallbacks": fallbacks}), *MODELS[1:]]
    herd.apply(models, auto=auto)


@pytest_asyncio.fixture(loop_scope="session")
async def scout(herd: Herd) -> AsyncIterator[FakeEngine]:
    """A replica of the second model."""
    async with fake_engine() as one:
        one.script = answers(200, ANSWER)
        herd.has(one, model=SCOUT)
        yield one


async def test_fallback_answers_while_the_model_has_no_replica_and_the_answer_says_so(herd: Herd, scout: FakeEngine) -> None:
    declares(herd, SCOUT)
    herd.has()
    answer = await herd.chat()
    assert (answer.status_code, answer.headers["x-fallback-from"]) == (200, LLAMA)
    assert scout.requests[0].json["model"] == SCOUT
    assert herd.ended("ok") == 1
    assert herd.count("herd_fallbacks_total", model=LLAMA, answered_by=SCOUT) == 1
    assert herd.count("herd_tokens_total", model=SCOUT, kind="completion") == 5
    assert herd.count("herd_requests_open", model=SCOUT) == herd.open_now[0] == 0


async def test_fallback_answers_while_all_replicas_are_full(herd: Herd, scout: FakeEngine) -> None:
    declares(herd, SCOUT)
    herd.apply_limits(queue_requests=0)
    herd.roster.update(LLAMA, [replace(view, slots=1, ongoing=1) for view in herd.roster.replicas(LLAMA)])
    assert (await herd.chat()).headers["x-fallback-from"] == LLAMA
    assert len(scout.requests) == 1


async def test_fallback_streams(herd: Herd, scout: FakeEngine) -> None:
    declares(herd, SCOUT)
    herd.has()
    scout.script = streams([event("a"), DONE])
    answer = await herd.chat(stream=True)
    assert (answer.headers["x-fallback-from"], answer.content) == (LLAMA, event("a") + DONE)


async def test_who_wants_no_fallback_is_told_what_is_wrong(herd: Herd, scout: FakeEngine) -> None:
    declares(herd, SCOUT)
    herd.has()
    answer = await herd.chat(headers={"x-fallback": "off"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_gone")
    assert not scout.requests
    assert herd.ended("unavailable") == 1


async def test_where_no_fallback_can_answer_either_the_named_model_says_why(herd: Herd, scout: FakeEngine) -> None:
    declares(herd, SCOUT)
    herd.has()
    herd.has(model=SCOUT)
    answer = await herd.chat()
    assert answer.status_code == 503
    assert f"'{LLAMA}'" in answer.json()["error"]["message"]
    assert "x-fallback-from" not in answer.headers
    assert not scout.requests


async def test_what_is_wrong_with_a_request_no_fallback_mends(herd: Herd, engine: FakeEngine, scout: FakeEngine) -> None:
    declares(herd, SCOUT)
    engine.script = answers(400, {"error": {"message": "no", "type": "BadRequestError", "param": None, "code": 400}})
    assert (await herd.chat()).status_code == 400
    assert not scout.requests


async def test_stream_that_has_begun_is_not_another_models_to_end(herd: Herd, engine: FakeEngine, scout: FakeEngine) -> None:
    declares(herd, SCOUT)
    engine.script = then_breaks(chunks([event("a")]))
    answer = await herd.chat(stream=True, n=2)
    assert answer.content.startswith(event("a") + b'data: {"type":"error","error":')
    assert not scout.requests


async def test_fallbacks_stream_that_has_begun_is_not_a_further_models_to_end(herd: Herd, scout: FakeEngine) -> None:
    declares(herd, SCOUT, SCOUT)
    herd.has()
    scout.script = then_breaks(chunks([event("a")]))
    answer = await herd.chat(stream=True, n=2)
    assert answer.content.startswith(event("a") + b'data: {"type":"error","error":')
    assert len(scout.requests) == 1


async def test_tokens_of_one_model_are_not_another_ones(herd: Herd, scout: FakeEngine) -> None:
    declares(herd, SCOUT)
    herd.has()
    assert (await herd.http.post("/tokenize", json={"model": LLAMA, "prompt": "x"})).status_code == 503
    assert not scout.requests


async def test_auto_asks_the_model_that_takes_images(herd: Herd, engine: FakeEngine, scout: FakeEngine) -> None:
    declares(herd, auto=(LLAMA, SCOUT))
    image = {"type": "image_url", "image_url": {"url": data_url(png())}}
    await herd.chat(model="auto")
    await herd.chat(model="auto", messages=[{"role": "user", "content": [image]}])
    assert [one.json["model"] for one in engine.requests] == [LLAMA]
    assert [one.json["model"] for one in scout.requests] == [SCOUT]
    assert (await herd.http.get("/v1/models/auto")).json()["chooses_from"] == [LLAMA, SCOUT]
    assert [one["id"] for one in (await herd.http.get("/v1/models")).json()["data"]] == [LLAMA, SCOUT, "auto", "llama", "gpt-4o"]


async def test_a_fallback_that_takes_smaller_images_only_does_not_answer_in_its_own_words(herd: Herd, scout: FakeEngine) -> None:
    image = {"type": "image_url", "image_url": {"url": data_url(png(4000, 4000))}}
    small = MODELS[1].model_copy(update={"image_mpx": 1})
    sees = MODELS[1].model_copy(update={"id": "sees", "fallbacks": (SCOUT,)})
    herd.apply([MODELS[0], small, sees])
    answer = await herd.chat(model="sees", messages=[{"role": "user", "content": [image]}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_starting")
    assert (await herd.chat(model=SCOUT, messages=[{"role": "user", "content": [image]}])).json()["error"]["code"] == "invalid_image"
    assert not scout.requests
