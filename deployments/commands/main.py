"""`herd`: the operator's commands, with their words and colours.

Decides what a command prints. The work is done by `deployments.lifecycle.herd`; exit codes are in `deployments.commands.terminal`.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.planner.config_problems import problems
from cluster.provision.start_time import start_limit_s
from configs.cross_checks import doubts
from configs.load import ConfigError, environment, read
from deployments.commands import cluster_emit as cluster_command
from deployments.commands.doctor import doctor
from deployments.commands.plan import plan
from deployments.commands.pull import pull
from deployments.commands.secret import secret
from deployments.commands.status import status
from deployments.commands.terminal import STAYS, WRONG_CONFIG, AsJson, Name, err, interrupt, out, refuse, told, warn
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd, OperationError
from deployments.lifecycle.own_certificate import trust
from deployments.progress import Say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Serves Meta's Llama herd on your own machines: one YAML file in, one OpenAI-compatible endpoint out.\n\n"
    "A first look, without a GPU: [bold]herd up[/bold], then [bold]herd chat smollm2[/bold], then [bold]herd down[/bold].",
)
app.command()(plan)
app.command()(pull)
app.command()(doctor)
app.command()(status)
app.command()(secret)
app.add_typer(cluster_command.commands, name="cluster")
DEFAULT_CONFIG = Path(__file__).parents[2] / "configs" / "local.yaml"


def main() -> None:
    """Runs the command that the command line names."""
    try:
        app()
    except KeyboardInterrupt:
        interrupt(STAYS)


@app.command()
def up(
    config: Annotated[Path, typer.Argument(help="A herd's YAML file. Default: two small models on this machine.")] = DEFAULT_CONFIG,
    within_s: Annotated[
        float | None,
        typer.Option(
            help="The longest wait for all models to answer, and for each replica of an upgrade, in seconds. Default: 900, and what the "
            "weights take over the config's disk.",
            min=1,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Start it even if the planner expects too little memory or too few GPUs.")] = False,
) -> None:
    """Bring a herd up, or change a running one in place; returns when every model has answered.

    Only models that differ from the config are restarted, one after the other. Models that the config no longer names are removed. A
    change that does not come up is undone: the herd is then what it was before.
    """
    started = time.monotonic()
    with _steps() as say, told(OperationError, interrupted=STAYS):
        herd = operate.planned(operate.herd(environment(), read(config, problems)), force)
        for path, message in doubts(herd.config):
            warn(f"{path}: {message}")
        operate.up(herd, environment(), say, within_s or start_limit_s(herd.config))
    first = herd.config.models[0]
    out.print(f"[green]Up[/green] in {time.monotonic() - started:.0f} s: [bold]{herd.endpoint}/v1[/bold] (no key needed)")
    out.print(f"Try it:  herd chat {(*first.aliases, first.id)[0]}      or:", markup=False)
    out.print(
        f"  curl {herd.endpoint}/v1/chat/completions -H 'content-type: application/json' \\\n"
        f'    -d \'{{"model": "{first.id}", "messages": [{{"role": "user", "content": "What is a llama?"}}]}}\'',
        markup=False,
        soft_wrap=True,
    )


@app.command()
def down(name: Name = None) -> None:
    """Take a herd down. A Ray node that it started stops with it; a cluster that was there before stays."""
    started = time.monotonic()
    with _steps() as say, told(OperationError, interrupted=STAYS):
        operate.down(operate.known(environment(), name), say)
    out.print(f"[green]Down[/green] in {time.monotonic() - started:.0f} s.")


def _cards(herd: Herd) -> list[dict[str, Any]]:
    """Returns the card of each model that is served, once: its aliases stand in its card."""
    return [card for card in _get(herd, "/v1/models")["data"] if not card.get("parent")]


@app.command()
def models(name: Name = None, as_json: AsJson = False) -> None:
    """List the models that are served: names, context, images, licence."""
    with told(OperationError, interrupted=STAYS):
        herd = operate.known(environment(), name)
        cards = _cards(herd)
    if as_json:
        sys.stdout.write(json.dumps(cards) + "\n")
        return
    table = Table("model", "aliases", "context", "images", "licence", title=herd.endpoint)
    for card in cards:
        licence = f"{card['license']}{' · ' + card['attribution'] if card['attribution'] else ''}"
        images = str(card["max_images_per_prompt"] or "–")
        table.add_row(card["id"], ", ".join(card["aliases"]), f"{card['max_model_len']:,}", images, licence)
    out.print(table)


@app.command()
def validate(
    config: Annotated[Path, typer.Argument(help="A herd's YAML file.")],
    as_json: AsJson = False,
) -> None:
    """Check a config, and tell every problem at once. Needs no GPU, no Ray and no vLLM."""
    try:
        herd = read(config, problems)
    except ConfigError as error:
        if as_json:
            found = [{"path": problem.path, "message": problem.message} for problem in error.problems]
            sys.stdout.write(json.dumps({"valid": False, "problems": found}) + "\n")
            raise typer.Exit(WRONG_CONFIG) from None
        refuse(error)
    doubtful = [{"path": path, "message": message} for path, message in doubts(herd)]
    if as_json:
        sys.stdout.write(json.dumps({"valid": True, "problems": [], "warnings": doubtful}) + "\n")
    else:
        for one in doubtful:
            warn(f"{one['path']}: {one['message']}")
        served = ", ".join(f"{model.id} × {model.scale.min_replicas}" for model in herd.models)
        out.print(f"[green]{config} is well formed.[/green] It serves {served} at {herd.gateway.host}:{herd.gateway.port}.")


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="A model's id or alias; `herd models` lists them.")],
    name: Name = None,
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    temperature: Annotated[float | None, typer.Option(help="The sampling temperature.", min=0, max=2)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens of an answer.", min=1)] = None,
) -> None:
    """Talk to a model in the terminal."""
    import httpx

    from deployments.commands.chat import Conversation

    with told(OperationError, interrupted=STAYS):
        herd = operate.known(environment(), name)
        cards = _cards(herd)
        by_name = {one: card for card in cards for one in (card["id"], *card["aliases"])}
        if model not in by_name:
            raise OperationError(f"'{model}' is not served here. Served: {', '.join(sorted(by_name))}.")
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    given = {key: value for key, value in sampling.items() if value is not None}
    with httpx.Client(base_url=herd.endpoint, verify=trust(herd.config.gateway.tls), timeout=httpx.Timeout(10, read=300)) as client:
        Conversation(client, by_name[model], out, system, given).run()


@contextlib.contextmanager
def _steps() -> Iterator[Say]:
    """Tells each step with the seconds since the start; a step told again is not printed again."""
    started, last = time.monotonic(), [""]
    with err.status("") as spinner:

        def say(step: str) -> None:
            if step != last[0]:
                err.print(f"[dim]{time.monotonic() - started:5.1f} s[/dim]  {step}")
            last[0] = step
            spinner.update(f"{step} …")

        yield say


def _get(herd: Herd, path: str) -> dict[str, Any]:
    import httpx  # here, because `herd plan` answers before it would be imported

    url = f"{herd.endpoint}{path}"
    try:
        answer: dict[str, Any] = httpx.get(url, timeout=10, verify=trust(herd.config.gateway.tls)).raise_for_status().json()
    except (httpx.HTTPError, json.JSONDecodeError) as error:
        raise OperationError(f"{url} does not answer ({error}). `herd status` may tell more.") from error
    return answer
