"""`herd events`: what has happened to the herd, and who did it."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from configs.load import environment
from deployments.commands.looking.spans import Since, began, clock, iso
from deployments.commands.terminal import STAYS, AsJson, Name, err, out, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import OperationError
from deployments.policy.fleet.events import Event, Kind
from deployments.records import event_log

COLOURS: Mapping[str, str] = {
    Kind.DEATH: "red",
    Kind.SICK: "red",
    Kind.FAILED: "red",
    Kind.ROLLBACK: "yellow",
    Kind.DRAIN: "yellow",
    Kind.UP: "green",
}


def events(name: Name = None, since: Since = None, as_json: AsJson = False) -> None:
    """Show what has happened: changes, starts, stops, deaths, scalings, drains, and who did it; oldest first.

    The cluster keeps the last thousand events, for every operator. Those of a herd on a Ray node of its own end with that node.

    \b
    herd events --since 1h
    herd events --json
    """
    first = began(since)
    with told(OperationError, interrupted=STAYS):
        herd = operate.known(environment(), name)
        with operate.connected(herd, lambda _: None):
            found = event_log.since(first)
    if as_json:
        sys.stdout.writelines(as_line(event) for event in found)
    elif found:
        out.print(table(found))
    else:
        err.print("Nothing has happened in this time.")


def as_line(event: Event) -> str:
    """Returns an event as a line of JSON."""
    return json.dumps({**asdict(event), "when": iso(event.when)}) + "\n"


def table(found: Iterable[Event]) -> Table:
    """Returns a table with a row for each event."""
    shown = Table("when", "event", "what", "by", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for event in found:
        shown.add_row(clock(event.when), Text(event.kind, COLOURS.get(event.kind, "")), Text(sentence(event)), Text(event.who))
    return shown


def sentence(event: Event) -> str:
    """Returns what happened, with the model and the replica or node that it happened to."""
    about = " ".join(one for one in (event.model, event.subject) if one)
    return f"{about}: {event.words}" if about else event.words
