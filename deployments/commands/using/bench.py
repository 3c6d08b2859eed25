"""`herd bench`: a load on an endpoint by vLLM's own benchmark client, its figures beside the plan's."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from configs.load import environment
from deployments.commands.terminal import AsJson, Ca, Name, Url, out, progress, put, told
from deployments.commands.using.benchmark.load import Load
from deployments.commands.using.cards import Card, by_name, cards, chosen
from deployments.commands.using.endpoint import Endpoint, named
from deployments.commands.using.known_names import known_names
from deployments.lifecycle.herd import OperationError

#: Requests at once, if the command line says nothing of it.
AT_ONCE = 8
MOST_REQUESTS = 100_000


def bench(  # noqa: PLR0913 (an option each)
    model: Annotated[
        str | None, typer.Argument(help="A model's id or alias. Default: the first that is served.", autocompletion=known_names)
    ] = None,
    name: Name = None,
    url: Url = None,
    ca: Ca = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at once. Default: 8.", min=1, max=10_000)] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second, at random times, instead of --concurrency.", min=0.001)] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Requests and their times from a file in Mooncake's format (lines of JSON).")
    ] = None,
    requests: Annotated[int, typer.Option(help="The number of requests; of a trace, the first ones.", min=1, max=MOST_REQUESTS)] = 64,
    input_tokens: Annotated[int, typer.Option(help="The length of each prompt.", min=1)] = 256,
    output_tokens: Annotated[int, typer.Option(help="The length of each answer.", min=1)] = 128,
    tokenizer: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The model's tokenizer. Default: that of its checkpoint, if it is on this machine."),
    ] = None,
    within_s: Annotated[float, typer.Option(help="The longest time for all of it, in seconds.", min=1)] = 600,
    as_json: AsJson = False,
) -> None:
    """Put a load on a model, and show its speed beside the plan's. The client is vLLM's own (`vllm bench serve`).

    Prompts are random; answers are always as long as asked. Without the tokenizer, prompts are about as long.

    \b
    herd bench llama-4-scout --concurrency 64 --input-tokens 1000
    herd bench scout --url http://host:8000 --rate 4 --requests 200 --json
    """
    if sum(one is not None for one in (concurrency, rate, trace)) > 1:
        raise typer.BadParameter("--concurrency, --rate and --trace each say when requests are sent: give one of them")
    at_once = None if rate is not None or trace is not None else concurrency or AT_ONCE
    load = Load(requests, at_once, rate, input_tokens, output_tokens, trace)
    with told(OperationError, interrupted="The load is ended."):
        endpoint = named(url, ca, name, environment())
        card = _card(endpoint, model, load)
        words = tokenizer or _tokenizer(endpoint, card["id"])
        if trace is not None:
            _usable(trace, words)
        _measure(endpoint, card["id"], load, words, within_s, as_json)


def _measure(endpoint: Endpoint, model: str, load: Load, tokenizer: Path | None, within_s: float, as_json: bool) -> None:
    from deployments.commands.using.benchmark.beside_plan import planned
    from deployments.commands.using.benchmark.client import measured
    from deployments.commands.using.benchmark.tables import as_data, sentence, table

    with progress.status(f"{load.requests} requests to {model} …"):
        figures = measured(endpoint, model, load, tokenizer, within_s)
    plan = planned(endpoint.herd, model, load, figures)
    if as_json:
        sys.stdout.write(json.dumps(as_data(endpoint.url, model, load, figures, plan)) + "\n")
        return
    put(out, sentence(model, load, figures))
    out.print(table(figures, plan))
    beside = plan if isinstance(plan, str) else f"The plan is for {plan.on}; its first token is that of an idle replica."
    put(out, beside)


def _card(endpoint: Endpoint, model: str | None, load: Load) -> Card:
    found = cards(endpoint)
    single = [card for card in found if not card.get("chooses_from")]
    if not single:
        raise OperationError(f"{endpoint.url} serves no model.")
    card = single[0] if model is None else chosen(by_name(found), model)
    if card.get("chooses_from"):
        raise OperationError(f"'{card['id']}' stands for several models: name one of {', '.join(card['chooses_from'])}.")
    context = card.get("max_model_len")
    if context is not None and load.trace is None and load.input_tokens + load.output_tokens > context:
        raise OperationError(f"{card['id']} has room for {context:,} tokens: ask for fewer --input-tokens or --output-tokens.")
    return card


def _tokenizer(endpoint: Endpoint, model_id: str) -> Path | None:
    from deployments.commands.using.benchmark.tokenizers import tokenizer_of

    models = endpoint.herd.config.models if endpoint.herd else ()
    model = next((model for model in models if model.id == model_id), None)
    return None if model is None else tokenizer_of(model, environment())


def _usable(trace: Path, tokenizer: Path | None) -> None:
    if not trace.is_file():
        raise OperationError(f"--trace {trace} is not a file.")
    if tokenizer is None:
        raise OperationError("A trace needs the model's tokenizer, which is not on this machine: name its folder with --tokenizer.")
