"""`herd chat`: a talk with a model in the terminal."""

import sys
from typing import Annotated

import typer

from configs.load import environment
from deployments.commands.terminal import FAILED, Ca, Name, Url, err, out, progress, told
from deployments.commands.using.cards import by_name, cards, chosen
from deployments.commands.using.endpoint import named
from deployments.commands.using.known_names import known_names
from deployments.lifecycle.herd import OperationError


def chat(  # noqa: PLR0913 (an option each)
    model: Annotated[str, typer.Argument(help="A model's id or alias; `herd models` lists them.", autocompletion=known_names)],
    name: Name = None,
    url: Url = None,
    ca: Ca = None,
    system: Annotated[str, typer.Option(help="The system prompt.")] = "",
    temperature: Annotated[float | None, typer.Option(help="The sampling temperature.", min=0, max=2)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens of an answer.", min=1)] = None,
) -> None:
    """Talk to a model in the terminal, with pictures and files; /help in the chat shows its commands.

    In a pipe, each line is a message, and only answers go to standard output.

    \b
    herd chat smollm2 --system "Answer in one sentence."
    herd chat scout --url https://llm.example.com
    """
    from deployments.commands.using.conversation import Conversation, Screen
    from deployments.commands.using.typed import reader

    with told(OperationError):
        endpoint = named(url, ca, name, environment())
        models = by_name(cards(endpoint))
        chosen(models, model)
        with endpoint.client() as client:
            screen = Screen(out, err, progress, interactive=sys.stdin.isatty())
            talk = Conversation(client, models, model, screen)
            talk.set_system(system)
            talk.set_sampling(temperature=temperature, max_tokens=max_tokens)
            if screen.interactive:
                talk.welcome()
            talk.run(reader(coloured=not out.no_color))
    if talk.failed and not screen.interactive:
        raise typer.Exit(FAILED)
