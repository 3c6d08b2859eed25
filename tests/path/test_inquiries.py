"""What the herd itself asks of a model: a whole answer and its text, with the place, the waiting and the suspicion of every request."""

import pytest
from msgspec.structs import replace

from deployments.gateway.engine_requests import Inquiry
from deployments.policy.errors.client_errors import Overloaded
from deployments.policy.routing.types import Ask, ReplicaState
from tests.path.fake_engine import FakeEngine, answers, then_breaks
from tests.path.herd import CHAT, LLAMA, Herd, limits
from tests.wire_format import vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

INQUIRY = Inquiry(LLAMA, CHAT, "req-1", b'{"model":"herd/llama"}', Ask(), limits())


async def test_inquiry_gets_the_text_of_a_model(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(200, {"choices": [{"index": 0, "message": {"content": "safe"}}]})
    reply = await herd.serving.pipeline._forwarded.inquiries.ask(INQUIRY)
    assert (reply.status, reply.text, reply.lost) == (200, "safe", None)
    (asked,) = engine.requests
    assert (asked.path, asked.headers["x-request-id"], asked.body) == (CHAT, "req-1", INQUIRY.raw)
    assert herd.roster._router(LLAMA)._flights[herd.roster.replicas(LLAMA)[0].id].requests_now == 0


async def test_refusal_has_a_status_and_no_text(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(400, vllm_error(400, "no"))
    reply = await herd.serving.pipeline._forwarded.inquiries.ask(INQUIRY)
    assert (reply.status, reply.text) == (400, "")
    assert herd.state(engine) is ReplicaState.READY


async def test_replica_that_is_lost_under_an_inquiry_is_suspect(herd: Herd, engine: FakeEngine) -> None:
    engine.script = then_breaks(head=False)
    reply = await herd.serving.pipeline._forwarded.inquiries.ask(INQUIRY)
    assert reply.lost is not None
    assert reply.lost.had_it
    assert (reply.status, reply.text) == (0, "")
    assert herd.state(engine) is ReplicaState.DEAD


async def test_inquiry_waits_for_room_as_long_as_its_limits_say(herd: Herd) -> None:
    herd.roster.update(LLAMA, [replace(view, slots=1, ongoing=1) for view in herd.roster.replicas(LLAMA)])
    with pytest.raises(Overloaded):
        await herd.serving.pipeline._forwarded.inquiries.ask(INQUIRY)
