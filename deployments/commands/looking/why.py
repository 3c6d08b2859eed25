"""`herd why`: what a model waits for, since when, and what to do."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from configs.load import environment
from deployments.commands.looking.by_http import NOTE, by_http
from deployments.commands.looking.named import of_config
from deployments.commands.looking.status import COLOURS, Url
from deployments.commands.terminal import BEHIND_A_MARK, STAYS, AsJson, Ca, Name, out, put, told
from deployments.commands.using.endpoint import no_ca
from deployments.lifecycle import herd as operate
from deployments.lifecycle import seen
from deployments.lifecycle.herd import OperationError
from deployments.policy.fleet import why as reasons
from deployments.policy.fleet.why import Facts, Finding


def why(
    model: Annotated[str, typer.Argument(help="A model, by id or alias; with --url by id.")],
    name: Name = None,
    as_json: AsJson = False,
    url: Url = None,
    ca: Ca = None,
) -> None:
    """Say what a model waits for and since when, why its last starts failed, and what to do.

    \b
    herd why scout
    herd why scout --json
    """
    with told(OperationError, interrupted=STAYS):
        facts = _facts(model, name, url, ca)
    found = reasons.why(facts, time.time())
    if as_json:
        sys.stdout.write(as_line(facts, found))
        return
    _print(facts, found)
    if url is not None:
        out.print(NOTE, style="dim")


def _facts(model: str, name: str | None, url: str | None, ca: Path | None) -> Facts:
    if url is not None:
        found, _ = by_http(url, ca, name, environment())[1]()
        if model not in found:
            raise OperationError(f"No model has the id '{model}' there. There are: {', '.join(found)}.")
        return found[model]
    no_ca(ca)
    herd = operate.known(environment(), name)
    with operate.connected(herd, lambda _: None):
        config, known, _ = seen.of_cluster(herd)
        return known[of_config(config, model).id]


def _print(facts: Facts, found: Sequence[Finding]) -> None:
    state, colour = facts.standing.state, COLOURS[facts.standing.state]
    out.print(f"[bold]{facts.model}[/bold] is [{colour}]{state.value}[/{colour}]", end="")
    out.print(f": {facts.standing.running} of {facts.standing.target} replicas take requests.")
    for finding in found:
        put(out, f"- {finding.what}", BEHIND_A_MARK)
        if finding.todo:
            put(out, f"  → {finding.todo}", BEHIND_A_MARK * 2)


def as_line(facts: Facts, found: Sequence[Finding]) -> str:
    """Returns the findings as a line of JSON."""
    replicas = {"running": facts.standing.running, "target": facts.standing.target}
    said = {"model": facts.model, "state": facts.standing.state.value, "replicas": replicas, "findings": [asdict(one) for one in found]}
    return json.dumps(said) + "\n"
