"""Answers for operators: `/status` for browsers, `/-/status` and `/-/history` for programs.

Decides whose figures are asked for: what waits and what was answered, each gateway counts for itself, so that the last hour of the herd is
that of all gateways together. Making a page costs more than a request, so it is made once in some seconds, however many ask.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from deployments.gateway.pipeline import Pipeline
from deployments.gateway.replicas.roster import Roster
from deployments.gateway.replicas.sizes import Sizes
from deployments.gateway.status.figures import Model, state_of, told_all
from deployments.gateway.status.page import HEADERS, page
from deployments.gateway.status.recording import Recording
from deployments.gateway.status.starting import Going, Starting
from deployments.policy.fleet.model_state import ModelState
from deployments.policy.records import history, starts
from deployments.policy.records.history import Minute, Told
from deployments.policy.records.starts import Start
from deployments.policy.request.pages import STATUS
from deployments.policy.routing.types import ReplicaView
from deployments.wire.client.exchange import JSON, Exchange
from deployments.wire.shared_answer import SharedAnswer

Histories = Callable[[], Awaitable[Sequence[bytes]]]
"""Asks every gateway, this one too, for its last hour. Raises OSError where they could not be asked."""

#: Seconds for which an answer is given again.
KEPT_S = 2.0


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the pages are made of."""

    roster: Roster
    pipeline: Pipeline
    sizes: Sizes
    starting: Starting
    recording: Recording
    histories: Histories | None
    """None: this gateway is alone."""
    minute_s: float


class StatusPages:
    """Answers exchanges for these pages."""

    def __init__(self, sources: Sources, kept_s: float = KEPT_S) -> None:
        self._its = sources
        self._page = SharedAnswer(self._made_page, kept_s)
        self._history = SharedAnswer(self._made_history, kept_s)
        self.by_path = {STATUS: self.page, "/-/status": self.status, "/-/history": self.history}

    async def stop(self) -> None:
        """Writes down no further minute."""
        await self._its.recording.stop()

    async def page(self, exchange: Exchange) -> None:
        """Answers with the page for browsers."""
        exchange.reply(200, HEADERS, await self._page.get())

    async def history(self, exchange: Exchange) -> None:
        """Answers with the minutes of the last hour."""
        exchange.reply(200, (JSON,), await self._history.get())

    async def status(self, exchange: Exchange) -> None:
        """Answers with every replica as this gateway sees it, and what is known of sizes and starts."""
        roster, pipeline = self._its.roster, self._its.pipeline
        models = {model: [_replica(one) for one in roster.replicas(model)] for model in roster.models}
        now, starting = time.time(), await self._its.starting.get()
        said = {
            "models": models,
            "waiting": {model: pipeline.waiting(model) for model in models},
            "at_zero": self._at_zero(),
            "scaling": self._its.sizes.last,
            "starting": {model: [_start(one, known, now) for one in going] for model, (going, known) in starting.items()},
        }
        exchange.reply(200, (JSON,), msgspec.json.encode(said))

    def _at_zero(self) -> list[str]:
        roster = self._its.roster
        served = self._its.pipeline.rules.catalog.models
        return [one.id for one in served if one.on_demand and one.id in roster.models and not roster.ready(one.id)]

    @property
    def told(self) -> Told:
        """Returns what this gateway tells of its models."""
        waiting = {model: self._its.pipeline.waiting(model) for model in self._its.roster.models}
        return Told(self._its.recording.history, waiting)

    def told_text(self) -> bytes:
        """Writes what this gateway tells the others."""
        return history.written(self.told)

    async def _asked(self) -> tuple[Sequence[Told], bool]:
        """Returns what the gateways tell, and whether some do not."""
        if self._its.histories is None:
            return [self.told], False
        try:
            texts = await self._its.histories()
        except OSError:  # the head is away: this gateway at least knows itself
            return [self.told], True
        found = [one for text in texts if (one := history.read(text)) is not None]
        return found or [self.told], len(found) < len(texts)

    async def _made_history(self) -> bytes:
        told, missing = await self._asked()
        models: dict[str, Any] = {}
        for model, minutes in history.merged(one.minutes for one in told).items():
            models |= told_all({model: minutes}, self._its.minute_s)
            await asyncio.sleep(0)  # a herd of many models lets requests go on in between
        gateways = {"told": len(told), "missing": missing}
        return msgspec.json.encode({"minute_s": self._its.minute_s, "gateways": gateways, "models": models})

    async def _made_page(self) -> bytes:
        told, missing = await self._asked()
        minutes, waiting, starting = history.merged(one.minutes for one in told), history.waiting(told), await self._its.starting.get()
        models = [self._model(model, minutes.get(model, ()), waiting.get(model, 0), starting) for model in self._its.roster.models]
        stopped = (one.id for one in self._its.pipeline.rules.catalog.models if one.id not in self._its.roster.models)
        models += [Model(one, ModelState.STOPPED) for one in stopped]
        now, pieces = time.time(), []
        for piece in page(models, len(told), missing, int(now // self._its.minute_s) - 1, now):
            pieces.append(piece)
            await asyncio.sleep(0)
        return "".join(pieces).encode()

    def _model(self, model: str, minutes: Sequence[Minute], waiting: int, starting: Going) -> Model:
        roster, now = self._its.roster, time.time()
        replicas, ready = roster.replicas(model), roster.ready(model)
        going, known = starting.get(model, ((), ()))
        return Model(
            model,
            state_of(ready, len(replicas), len(going), model in self._at_zero()),
            ready,
            sum(one.ongoing for one in replicas),
            waiting,
            self._its.sizes.last.get(model),
            [f"Replica {one.replica} on {one.node}: {starts.told(one, known, now)}." for one in going],
            replicas,
            minutes,
        )


def _replica(one: ReplicaView) -> dict[str, Any]:
    return {
        "id": one.id,
        "state": one.state.value,
        "ongoing": one.ongoing,
        "waiting": one.waiting,
        "ready_s": one.ready_s if math.isfinite(one.ready_s) else None,
        "about": one.about,
        "address": f"{one.host}:{one.port}",
        "canary": one.canary,
        "slow": one.slow,
        "figures": one.figures,
    }


def _start(one: Start, known: Sequence[Start], now: float) -> dict[str, Any]:
    said = starts.told(one, known, now)
    return {"replica": one.replica, "node": one.node, "phase": one.phase, "since": one.began, "told": said}
