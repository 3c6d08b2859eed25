"""Why an answer broke off decides what becomes of its replica: only an engine that is gone is suspect."""

import pytest

from deployments.policy.routing.types import ReplicaState
from tests.path.begun import FAILURE, answer, breaking, chunks, said
from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, Script, answers, fake_engine, streams, then_breaks
from tests.path.herd import Herd
from tests.wire_format import LAST, event, vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

OWN_ERROR = b'data: {"error": {"message": "Internal server error", "type": "InternalServerError", "param": null, "code": 500}}\n\n'
DEAD, READY = ReplicaState.DEAD, ReplicaState.READY


@pytest.mark.parametrize(
    ("script", "state"),
    [
        (then_breaks(chunks(answer()[:3])), DEAD),
        (streams([*answer()[:3], FAILURE, LAST]), DEAD),
        (answers(500, vllm_error(500, "EngineCore died")), DEAD),
        (streams([*answer()[:3], OWN_ERROR, LAST]), READY),
        (streams(answer()[:3]), READY),
        (answers(500, vllm_error(500, "CUDA")), READY),
        (answers(503, vllm_error(503, "full")), READY),
    ],
    ids=["connection lost", "core dead, in a stream", "core dead", "own error", "no reason for its end", "failed", "busy"],
)
async def test_only_a_lost_engine_is_suspect(herd: Herd, engine: FakeEngine, script: Script, state: ReplicaState) -> None:
    engine.script = script
    await herd.chat(stream=True)
    assert herd.state(engine) is state


async def test_engine_that_says_something_else_than_the_one_before_goes_on_serving(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        herd.has(engine, other)
        scripts = [breaking(3), streams([said(0), said(7), said(8, finish="stop"), LAST])]

        async def script(wire: object) -> None:
            await scripts.pop(0)(wire)  # type: ignore[arg-type]

        engine.script = other.script = script
        assert b'"code":"engine_gone"' in (await herd.chat(stream=True)).content
        assert {herd.state(engine), herd.state(other)} == {DEAD, READY}


async def test_answer_that_is_too_large_leaves_its_engine_alone(limited: Start, engine: FakeEngine) -> None:
    herd = await limited()
    engine.script = answers(400, b"x" * (1 << 20))
    assert (await herd.chat()).status_code == 400
    engine.script = streams([event(finish="stop"), LAST])
    assert (await herd.chat(stream=True)).status_code == 200
    assert herd.state(engine) is READY
