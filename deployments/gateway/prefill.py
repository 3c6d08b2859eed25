"""The first half of a long request where prefill and decode are apart: an engine that only computes prompts computes this one.

Decides that the second half never depends on the first. Whatever goes wrong here, the engine that answers computes the prompt itself; only
where the prefill engines are full is a request refused, as everywhere.
"""

from cluster.planner.engine_groups import prefill_of
from deployments.gateway.engine_requests import Inquiries, Inquiry
from deployments.gateway.request import Asked
from deployments.gateway.suspicion import Suspicion
from deployments.policy.errors.client_errors import Overloaded, Unavailable
from deployments.policy.routing import prefill
from deployments.policy.routing.availability import RETRY_AFTER_S
from monitoring.labels import PrefillBy


class Prefills:
    """Has prompts computed ahead."""

    def __init__(self, inquiries: Inquiries) -> None:
        self._inquiries = inquiries

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
        model, call = asked.chosen.model.id, asked.call
        pool = prefill_of(model)
        inquiry = Inquiry(pool, call.path, call.request_id, prefill.prefilling(asked.body, pool), asked.ask, asked.limits)
        try:
            reply = await self._inquiries.ask(inquiry)
        except Unavailable:
            return None
        except Overloaded as error:
            raise Overloaded(model, error.retry_after_s or RETRY_AFTER_S) from None
        if reply.lost is not None:
            await suspicion.died(reply.place, reply.lost)
        return prefill.handed_over(reply.body) if reply.status == 200 else None
