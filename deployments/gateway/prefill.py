"""The first half of a long request where prefill and decode are apart: an engine that only computes prompts computes this one.

Decides that the second half never depends on the first. Whatever goes wrong here, the engine that answers computes the prompt itself; only
where the prefill engines are full is a request refused, as everywhere.
"""

from cluster.planner.engine_groups import prefill_of
from deployments.gateway.admission import Admission, Place
from deployments.gateway.engine_requests import Asking
from deployments.gateway.replicas.roster import Roster
from deployments.gateway.request import Asked
from deployments.gateway.suspicion import Suspicion
from deployments.policy.errors import engine_errors
from deployments.policy.errors.client_errors import EngineLost, Overloaded, Unavailable
from deployments.policy.routing import prefill
from deployments.policy.routing.availability import RETRY_AFTER_S
from deployments.wire.engine.answer import EngineGone, NeverReached
from monitoring.metrics import PrefillBy


class Prefills:
    """Has prompts computed ahead."""

    def __init__(self, roster: Roster, admission: Admission, asking: Asking) -> None:
        self._roster = roster
        self._admission = admission
        self._asking = asking

    async def ahead(self, asked: Asked, suspicion: Suspicion) -> bytes | None:
        """Has a long prompt computed, and returns what the engine that answers must be told: a field of its request. None: nothing.

        Raises:
            Overloaded: the prefill engines are full.
            KillsEngines: an engine died under it, and not for the first time.
            EnginesLost: the same, and it may be another request that the engine died of.
        """
        model = asked.chosen.model
        if not prefill.is_long(asked.ask.prompt, model.prefill_from) or not prefill.can_hand_over(asked.call.endpoint, asked.body):
            return None
        field = await self._computed(asked, suspicion)
        asked.trial.prefilled(PrefillBy.DECODE if field is None else PrefillBy.PREFILL)
        return field

    async def _computed(self, asked: Asked, suspicion: Suspicion) -> bytes | None:
        model = asked.chosen.model.id
        pool = prefill_of(model)
        try:
            place = await self._admission.place(pool, asked.ask, asked.limits)
        except Unavailable:
            return None
        except Overloaded as error:
            raise Overloaded(model, error.retry_after_s or RETRY_AFTER_S) from None
        replica = place.pick.replica
        try:
            with place:
                status, said = await self._asked(asked, pool, place)
        except EngineGone as error:
            alone, had_it = self._roster.lost(replica, place.sending), not isinstance(error, NeverReached)
            await suspicion.died(place, EngineLost(model, self._roster.retry_after_s(model), had_it=had_it, alone=alone))
            return None
        return prefill.handed_over(said) if status == 200 else None

    async def _asked(self, asked: Asked, pool: str, place: Place) -> tuple[int, bytes]:
        answer = await self._asking.ask(asked, prefill.prefilling(asked.body, pool), place.pick.replica, place.sending)
        try:
            said = await (answer.read() if answer.status < 400 else answer.read(engine_errors.MOST_BYTES))
        finally:
            answer.close()
        if answer.status >= 400 and engine_errors.said(answer.status, said).of_death:
            raise EngineGone
        return answer.status, said
