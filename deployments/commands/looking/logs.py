"""`herd logs`: log lines of a model's replicas, of the gateways, or of Ray, from all nodes.

Decides how a line is labelled, and that lines of replicas that are gone stay readable. Nothing that a process has in its environment is
shown, and by the house's rules no line has a prompt, an answer or a key in it.
"""

import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from configs.load import environment
from deployments.commands.looking.named import of_config
from deployments.commands.looking.spans import Since, began, iso
from deployments.commands.terminal import AsJson, Name, out, tell, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.known import OperationError, remembered
from deployments.policy.records.log_lines import GATEWAY, MODEL, RAY, Line, Query
from deployments.ray_calls.nodes import gone

if TYPE_CHECKING:
    from deployments.records.cluster_logs import ClusterLogs

PERIOD_S = 1.0
MOST_LINES, MOST_NAMED = 20_000, 4
COLOURS = ("cyan", "magenta", "green", "yellow", "blue")


def logs(  # noqa: PLR0913 (an option each)
    whose: Annotated[str, typer.Argument(help="A model, by id or alias; `gateway` for the gateways; `ray` for Ray's own processes.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each line that is written, until Ctrl-C.")] = False,
    replica: Annotated[str, typer.Option(help="Only lines of the replica whose id begins so; `herd events` has ids of dead ones.")] = "",
    node: Annotated[str, typer.Option(help="Only lines of one node, by name or address.")] = "",
    since: Since = None,
    grep: Annotated[str, typer.Option(help="Only lines with a match of this regular expression.")] = "",
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="At most so many of the newest lines of each file.", min=1, max=MOST_LINES)
    ] = 1000,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Show log lines from all nodes, oldest first, also those of replicas that have died.

    vLLM's own lines are among them: weights that load, the size of the KV cache, NCCL.

    \b
    herd logs scout -f
    herd logs gateway --since 10m --grep error
    """
    first = began(since)
    _checked(grep)
    with told(OperationError):
        herd = operate.known(environment(), name)
        with operate.connected(herd, lambda _: None):
            _shown(Query(*_owner(herd, whose), replica, first, grep, lines), node, follow, as_json)


def _checked(grep: str) -> None:
    try:
        re.compile(grep)
    except re.error as error:
        raise typer.BadParameter(f"'{grep}' is no regular expression: {error}", param_hint="--grep") from None


def _owner(herd: operate.Herd, whose: str) -> tuple[str, str]:
    """Returns whose lines are asked for: of models, of gateways or of Ray, and of which model."""
    if whose in (GATEWAY, RAY):
        return whose, ""
    return MODEL, of_config(remembered(herd), whose, (GATEWAY, RAY)).id


def _shown(query: Query, node: str, follow: bool, as_json: bool) -> None:
    from deployments.records.cluster_logs import cluster_logs  # it imports Ray

    if not node and (away := gone()):
        tell(f"{_named(away)}: gone, and its log files with it.")
    with cluster_logs(node) as readers:
        if not readers.nodes:
            raise OperationError(f"No node is called '{node}'. `herd status --wide` names them.")
        shown = _print(_read(readers, query), as_json)
        if not shown and not follow:
            tell("No such line. Logs of a node that is gone are gone with it, and those of a herd on its own Ray node with that node.")
        try:
            while follow and readers.nodes:
                time.sleep(PERIOD_S)
                _print(_read(readers, query), as_json)
        except KeyboardInterrupt:
            return


def _named(nodes: Sequence[str]) -> str:
    """Names a few nodes, and counts the others: a cluster that scales has many that are gone."""
    more = f" and {len(nodes) - MOST_NAMED} more" if len(nodes) > MOST_NAMED else ""
    return ", ".join(nodes[:MOST_NAMED]) + more


def _read(readers: "ClusterLogs", query: Query) -> Sequence[Line]:
    found, silent = readers.read(query)
    for name in silent:
        tell(f"{name} does not answer: its lines are missing here.")
    return found


def _print(found: Iterable[Line], as_json: bool) -> bool:
    """Prints lines; tells whether there were any."""
    any_line = False
    for line in found:
        any_line = True
        if as_json:
            sys.stdout.write(as_line(line))
        elif out.is_terminal:
            out.print(f"[{_colour(line)}]{label(line)}[/]", end=" ")
            out.print(line.text, markup=False, soft_wrap=True)
        else:
            sys.stdout.write(f"{label(line)} {line.text}\n")
    sys.stdout.flush()
    return any_line


def label(line: Line) -> str:
    """Returns the words before a line: its node, and its replica or process."""
    return f"{line.node} {line.replica}"


def _colour(line: Line) -> str:
    return COLOURS[sum(line.replica.encode()) % len(COLOURS)]


def as_line(line: Line) -> str:
    """Returns a line of a log as a line of JSON."""
    said = {"time": iso(line.when), "node": line.node, "model": line.model or None, "replica": line.replica, "line": line.text}
    return json.dumps(said) + "\n"
