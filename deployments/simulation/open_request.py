"""A request of a simulation that has not ended: its place at a replica, and the tokens that are still to come."""

from deployments.policy.queue.slots import Slot
from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.types import Ask
from deployments.simulation.fleet import Member
from deployments.simulation.loads.traces import Client


class OpenRequest:
    """One request that has not ended."""

    __slots__ = ("ask", "client", "left", "member", "number", "slot")

    slot: Slot
    """Its place at a replica, once it has one."""
    member: Member

    def __init__(self, number: int, ask: Ask, left: int, client: Client | None) -> None:
        self.number = number
        self.ask = ask
        self.left = left
        """Tokens of its answer that are still to come, when it is sent."""
        self.client = client

    def sent(self, slot: Slot, member: Member) -> None:
        """Takes the place that it has got."""
        self.slot, self.member = slot, member

    def lost(self, generated: int, is_begun: bool) -> None:
        """Goes on behind the tokens that its replica had generated, and no more at that replica."""
        ask = self.ask
        self.left -= generated
        prompt = Prompt(ask.prompt.blocks, ask.prompt.tokens + generated)
        self.ask = ask._replace(prompt=prompt, tried=ask.tried | {self.member.name}, begun=is_begun)
