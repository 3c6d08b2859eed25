"""Canaries over real sockets, through an engine that answers as vLLM does, or badly: the gate, the verdicts, and what follows."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from configs.schema import Canary
from deployments.engine.canary import Canaries, NotFit, Others
from deployments.engine.canary_request import Engine
from deployments.policy.fleet.canary import Told, Verdict
from deployments.policy.fleet.conformance import Check
from deployments.policy.fleet.known_answer import Token
from deployments.policy.fleet.slowness import RESTARTED_AFTER, Pace, Progress
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address
from monitoring.engine_page import CanaryMeter
from tests.path.fake_engine import WAIT_S, FakeEngine, Script, Wire, answers, streams, then_breaks, then_hangs
from tests.path.herd import SECRET, until
from tests.wire_format import COMPLETION, LAST, event

pytestmark = pytest.mark.asyncio(loop_scope="session")


def place(name: str, logprob: float = -0.1) -> bytes:
    """One event of a canary's stream."""
    logprobs = {"tokens": [name], "token_logprobs": [logprob], "top_logprobs": [{name: logprob, "rest": -9.0}]}
    return event(name, logprobs=logprobs, of=COMPLETION)


def says(*names: str, logprob: float = -0.1, pace_s: float | None = None) -> Script:
    return streams([*(place(name, logprob) for name in names), LAST], pace_s)


RIGHT = says("a", "b", "c")
WRONG = says("z", "z", "z")


class Replica:
    """A replica's canaries, and what the world beside it does."""

    def __init__(self, engine: FakeEngine, **settings: Any) -> None:
        self.engine = engine
        self.steps = 0
        self.generated = 0
        self.others: Sequence[Sequence[Token]] = ()
        self.pace = Pace("other", "10.0.0.2", 0.001, age_s=0.0)
        """Of each of the others."""
        self.ray_is_away = False
        self.registry = CollectorRegistry()
        self.engines = Engines(SECRET)
        self.canaries = Canaries(
            Canary.model_validate({"period_s": 0.02, "slow_s": WAIT_S, "slow_times": 2, "stuck_s": WAIT_S} | settings),
            Engine(
                model="llama",
                name="own",
                address=Address("127.0.0.1", engine.port),
                progress=lambda: Progress(steps=self.steps, generated=self.generated),
                step_s=lambda: 0.0,
                crowd=lambda: 0.0,
                batch_tokens=8,
                first={"priority": -1},
            ),
            self.engines,
            self._ask,
            CanaryMeter(self.registry, "llama"),
        )

    async def _ask(self) -> Others:
        if self.ray_is_away:
            raise OSError("the head is away")
        return Others([Told(tuple(known), self.pace) for known in self.others], complete=True)

    def counted(self, verdict: Verdict) -> float:
        return self.registry.get_sample_value("herd_canary_total", {"model": "llama", "verdict": verdict.value}) or 0.0

    async def refused(self, checks: Sequence[Check] = ()) -> str:
        with pytest.raises(NotFit) as told:
            await self.canaries.let_in(checks)
        return str(told.value)


Make = Callable[..., Awaitable[Replica]]


@pytest.fixture
def replica(engine: FakeEngine) -> Replica:
    engine.script = RIGHT
    return Replica(engine)


@pytest.fixture
def hasty(engine: FakeEngine) -> Replica:
    """One whose canaries are waited for as briefly as a busy machine allows."""
    engine.script = RIGHT
    return Replica(engine, slow_s=0.2, stuck_s=0.5)


def known(*names: str) -> list[Token]:
    return [Token(name, -0.1, {name: -0.1, "rest": -9.0}) for name in names]


async def test_a_replica_that_answers_is_let_in(replica: Replica, engine: FakeEngine) -> None:
    await replica.canaries.let_in(())
    assert list(replica.canaries.known) == known("a", "b", "c")
    assert replica.canaries.sick is None
    sent = engine.requests[-1]
    assert (sent.path, sent.json["temperature"], sent.json["priority"]) == ("/v1/completions", 0, -1)
    assert sent.headers["x-herd-canary"] == "1", "nobody's load"
    assert sent.headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (answers(400, {"error": {"message": "too long"}}), RIGHT, "the canary had no answer: 400"),
        (then_breaks(head=False), RIGHT, "its door broke the connection"),
        (then_hangs(), RIGHT, "no token within 0.5 s"),
        (then_hangs(place("a")), RIGHT, "came too slowly"),
        (says("a", logprob=float("nan")), RIGHT, "no numbers"),
        (RIGHT, WRONG, "its second canary is wrong"),
    ],
)
async def test_one_that_does_not_is_not_let_in(hasty: Replica, engine: FakeEngine, first: Script, second: Script, reason: str) -> None:
    engine.queue = [first, second]
    told = await hasty.refused()
    assert told.startswith("llama may not serve: ")
    assert reason in told


async def test_the_declared_answer_is_the_one_to_give(engine: FakeEngine) -> None:
    engine.script = RIGHT
    await Replica(engine, answer="ab").canaries.let_in(())
    assert "canary.answer says 'xy'" in await Replica(engine, answer="xy").refused()


async def test_a_newcomer_has_to_say_what_the_others_say(replica: Replica) -> None:
    replica.others = [known("a", "b", "c")]
    await replica.canaries.let_in(())
    replica.others = [known("z", "b", "c")]
    assert "not that of the replicas that serve" in await replica.refused()
    replica.ray_is_away = True
    await replica.canaries.let_in(())


async def test_an_app_that_answers_otherwise_is_not_let_in(hasty: Replica, engine: FakeEngine) -> None:
    check = Check("a chat", "/v1/chat/completions", {"model": "llama"}, lambda text: None if text == '"fine"' else "it is not fine")
    engine.queue = [RIGHT, RIGHT, answers(200, "fine")]
    await hasty.canaries.let_in([check])
    for script, reason in (
        (answers(200, "else"), "a chat: it is not fine"),
        (answers(500, "no"), "answered with 500"),
        (then_breaks(head=False), "a chat was not answered (EngineGone)"),
        (then_hangs(), "a chat was not answered (TimeoutError)"),
    ):
        engine.queue = [RIGHT, RIGHT, script, script]  # a kept connection that breaks is tried once more on a new one
        assert reason in await hasty.refused([check])
        engine.queue.clear()


async def let_in(replica: Replica) -> Canaries:
    await replica.canaries.let_in(())
    return replica.canaries


async def test_wrong_twice_is_sick_and_right_in_between_is_not(replica: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(replica)
    for script, sick in ((WRONG, None), (RIGHT, None), (WRONG, None), (WRONG, Verdict.WRONG)):
        engine.queue = [script]
        await canaries.once()
        assert canaries.sick is sick
    assert "nats from the known one" in canaries.why
    assert (replica.counted(Verdict.WRONG), replica.counted(Verdict.RIGHT)) == (3, 1)


def slowly(replica: Replica, pace_s: float = 0.1) -> Script:
    """The right answer, whose tokens come slowly because the engine's steps are long."""

    async def script(wire: Wire) -> None:
        await wire.open_stream()
        for name in "abc":
            replica.steps += 1
            await wire.chunk(place(name))
            await asyncio.sleep(pace_s)
        await wire.chunk(LAST)
        await wire.chunk(b"")

    return script


async def test_a_slow_replica_is_avoided_where_others_are_quick_and_restarted_after_long(hasty: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(hasty)
    hasty.others = [known("a", "b", "c")]
    engine.script = slowly(hasty)
    await canaries.once()
    assert (hasty.counted(Verdict.SLOW), canaries.slow, canaries.sick) == (1, False, None)
    await canaries.once()
    assert (canaries.slow, canaries.sick, canaries.pace.slow) == (True, None, True)
    assert 0.2 < canaries.pace.seconds < WAIT_S
    engine.script = RIGHT
    await canaries.once()
    assert not canaries.slow, "one quick canary ends it"
    engine.script = slowly(hasty)
    for _ in range(RESTARTED_AFTER):
        assert canaries.sick is None
        await canaries.once()
    assert canaries.sick is Verdict.SLOW


async def test_a_slow_replica_that_is_alone_or_as_slow_as_the_others_is_held_up(hasty: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(hasty)
    engine.script = slowly(hasty)
    await canaries.once()
    hasty.others = [known("a", "b", "c")]
    hasty.pace = Pace("other", "10.0.0.2", 0.2, age_s=0.0)
    await canaries.once()
    hasty.ray_is_away = True
    await canaries.once()
    assert (hasty.counted(Verdict.HELD_UP), canaries.slow, canaries.sick) == (3, False, None)


async def test_a_canary_that_is_slow_under_load_restarts_nothing(hasty: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(hasty)
    hasty.others = [known("a", "b", "c")]

    async def loaded(wire: Wire) -> None:
        hasty.generated += 100
        await slowly(hasty)(wire)

    engine.script = loaded
    for _ in range(RESTARTED_AFTER + 1):
        await canaries.once()
    assert (canaries.slow, canaries.sick) == (True, None), "another replica is asked first, and this one goes on"


async def test_a_canary_without_an_end_is_not_waited_for_while_the_engine_works(hasty: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(hasty)

    async def endless(wire: Wire) -> None:
        await wire.open_stream()
        while True:
            hasty.steps += 1
            await wire.chunk(place("a"))
            await asyncio.sleep(0.02)

    engine.script = endless
    await canaries.once()
    assert (hasty.counted(Verdict.HELD_UP), canaries.sick) == (1, None)


async def test_an_engine_that_stops_in_the_middle_of_a_canary_is_stuck(hasty: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(hasty)
    engine.script = then_hangs(place("a"))
    await canaries.once()
    await canaries.once()
    assert (hasty.counted(Verdict.STUCK), canaries.sick) == (2, Verdict.STUCK)


async def test_an_engine_that_is_full_is_busy_and_one_that_does_nothing_is_stuck(hasty: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(hasty)

    async def full(wire: Wire) -> None:
        hasty.steps += 1  # for somebody else
        await then_hangs()(wire)

    engine.script = full
    await canaries.once()
    await canaries.once()
    assert (hasty.counted(Verdict.BUSY), canaries.sick) == (2, None)
    engine.script = then_hangs()
    await canaries.once()
    await canaries.once()
    assert (hasty.counted(Verdict.STUCK), canaries.sick) == (2, Verdict.STUCK)
    assert "for anybody else" in canaries.why


@pytest.mark.parametrize("status", [429, 503])
async def test_an_engine_that_refuses_is_busy_while_it_works_and_has_failed_where_it_does_not(
    hasty: Replica, engine: FakeEngine, status: int
) -> None:
    canaries = await let_in(hasty)
    engine.script = answers(status, {"error": {"message": "too many requests"}})

    async def works() -> None:
        while True:
            await asyncio.sleep(0.02)
            hasty.steps += 1

    working = asyncio.create_task(works())
    for _ in range(3):
        await canaries.once()
    working.cancel()
    assert (hasty.counted(Verdict.BUSY), canaries.sick) == (3, None)
    await canaries.once()
    await canaries.once()
    assert (hasty.counted(Verdict.FAILED), canaries.sick) == (2, Verdict.FAILED)


async def test_time_in_which_the_replicas_own_loop_stood_still_does_not_count(hasty: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(hasty)

    def stands_still(script: Script) -> Script:
        async def blocked(wire: Wire) -> None:
            await wire.open_stream()
            await wire.chunk(place("a"))
            await asyncio.sleep(0.05)
            time.sleep(1.0)  # noqa: ASYNC251 (as the check of a large request does)
            await script(wire)

        return blocked

    async def rest(wire: Wire) -> None:
        for piece in (place("b"), place("c"), LAST, b""):
            await wire.chunk(piece)

    engine.script = stands_still(rest)
    for _ in range(2):
        await canaries.once()
    assert (hasty.counted(Verdict.RIGHT), canaries.sick) == (2, None)


async def test_two_that_began_wrong_together_are_found_when_a_third_comes(replica: Replica) -> None:
    canaries = await let_in(replica)
    replica.others = [known("z", "b", "c")]
    await canaries.once()
    assert canaries.sick is None, "nobody knows who is right"
    replica.others = [known("z", "b", "c")] * 2
    await canaries.once()
    assert canaries.sick is Verdict.OUTVOTED


async def test_who_was_agreed_with_asks_no_more(replica: Replica) -> None:
    replica.others = [known("a", "b", "c")]
    canaries = await let_in(replica)
    replica.others = [known("z", "b", "c")] * 2
    await canaries.once()
    assert canaries.sick is None


async def test_a_period_after_the_other_until_it_is_sick(replica: Replica, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.engine.canary.AGAIN_S", 0.01)
    canaries = await let_in(replica)
    canaries.start()
    await until(lambda: replica.counted(Verdict.RIGHT) >= 3)
    engine.script = WRONG
    await until(lambda: canaries.sick is Verdict.WRONG)
    await asyncio.sleep(0.05)
    assert replica.counted(Verdict.WRONG) == 2, "no more of them"


async def test_a_defect_does_not_end_them(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = await let_in(replica)
    good, once = canaries.once, asyncio.Event()

    async def defective() -> None:
        once.set()
        monkeypatch.setattr(canaries, "once", good)
        raise LookupError

    monkeypatch.setattr(canaries, "once", defective)
    canaries.start()
    async with asyncio.timeout(WAIT_S):
        await once.wait()
    await until(lambda: replica.counted(Verdict.RIGHT) >= 1)
    canaries.stop()


async def test_who_asks_for_a_generation_gets_one_in_turn_and_judges_nothing(replica: Replica, engine: FakeEngine) -> None:
    canaries = await let_in(replica)
    await canaries.generate(WAIT_S)
    sent = engine.requests[-1].json
    assert (sent["max_tokens"], "priority" in sent) == (1, False), "as small as can be, and before nobody"
    engine.queue = [then_hangs(), answers(500, {})]
    with pytest.raises(NotFit, match="nothing within"):
        await canaries.generate(0.05)
    with pytest.raises(NotFit, match="500"):
        await canaries.generate(WAIT_S)
    assert (canaries.sick, replica.counted(Verdict.FAILED)) == (None, 0)
    canaries.stop()
