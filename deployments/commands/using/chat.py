"""`herd chat`: a talk with a model in the terminal."""

from typing import Annotated

import typer

from configs.load import environment
from deployments.commands.terminal import STAYS, Name, out, told
from deployments.commands.using.cards import cards
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import OperationError
from deployments.lifecycle.own_certificate import trust


def chat(
    model: Annotated[str, typer.Argument(help="A model's id or alias; `herd models` lists them.")],
    name: Name = None,
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    temperature: Annotated[float | None, typer.Option(help="The sampling temperature.", min=0, max=2)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens of an answer.", min=1)] = None,
) -> None:
    """Talk to a model in the terminal."""
    import httpx

    from deployments.commands.using.conversation import Conversation

    with told(OperationError, interrupted=STAYS):
        herd = operate.known(environment(), name)
        by_name = {one: card for card in cards(herd) for one in (card["id"], *card["aliases"])}
        if model not in by_name:
            raise OperationError(f"'{model}' is not served here. Served: {', '.join(sorted(by_name))}.")
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    given = {key: value for key, value in sampling.items() if value is not None}
    with httpx.Client(base_url=herd.endpoint, verify=trust(herd.config.gateway.tls), timeout=httpx.Timeout(10, read=300)) as client:
        Conversation(client, by_name[model], out, system, given).run()
