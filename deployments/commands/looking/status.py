"""`herd status`: how every model is doing, and its engines' own figures beside the plan's.

Decides what is shown of what. Numbers and sentences are `cluster.planner.started`'s, states `deployments.policy.fleet.model_state`'s.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.planner.started.figures import NAMES, Report, as_plain, differences, rows, summary
from configs.load import environment
from deployments.commands.terminal import STAYS, AsJson, Name, out, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd, OperationError
from deployments.lifecycle.standings import survey
from deployments.lifecycle.started import reports
from deployments.policy.fleet.model_state import ModelState, Standing

COLOURS = {ModelState.RUNNING: "green", ModelState.STARTING: "yellow", ModelState.UNHEALTHY: "red", ModelState.STOPPED: "dim"}
Reports = Mapping[str, Sequence[Report | None]]
"""By model, one for each replica; None for one that tells nothing."""


def status(
    name: Name = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
) -> None:
    """Show every model: its state, its replicas, their requests, and its engines' memory beside the plan."""
    with told(OperationError, interrupted=STAYS):
        herd = operate.known(environment(), name)
        with operate.connected(herd, lambda _: None):
            if watch:
                _watch(herd)
            elif as_json:
                sys.stdout.write(json.dumps(as_data(f"{herd.endpoint}/v1", *_asked(herd))) + "\n")
            else:
                out.print(_shown(herd))


def _watch(herd: Herd) -> None:
    with contextlib.suppress(KeyboardInterrupt), Live(_shown(herd), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(1)
            live.update(_shown(herd), refresh=True)


def _asked(herd: Herd) -> tuple[Mapping[str, Standing], Reports]:
    config, known = operate.replicas(herd)
    return survey(config, known), reports(config, known)


def _shown(herd: Herd) -> Group:
    surveyed, told_by = _asked(herd)
    shown: list[RenderableType] = [models_table(f"{herd.config.name} · {herd.endpoint}/v1", surveyed), *waiting(surveyed)]
    if any(told_by.values()):
        shown.append(engines_table(told_by))
    return Group(*shown, *(Text(sentence) for sentence in sentences(told_by)))


def as_data(endpoint: str, surveyed: Mapping[str, Standing], told_by: Reports) -> dict[str, Any]:
    """Returns the status for scripts. An engine that tells nothing is null."""
    return {"endpoint": endpoint, "models": [_model(name, one, told_by.get(name, ())) for name, one in surveyed.items()]}


def _model(name: str, one: Standing, told_by: Sequence[Report | None]) -> dict[str, Any]:
    return {
        "id": name,
        "state": one.state.value,
        "replicas": {"running": one.running, "target": one.target},
        "ongoing_requests": one.ongoing,
        "why": one.why or None,
        "engines": [report and as_plain(report) | {"differences": list(differences(report))} for report in told_by],
    }


def models_table(title: str, surveyed: Mapping[str, Standing]) -> Table:
    """Returns a table with a row for each model."""
    table = Table("model", "state", "replicas", "requests", title=title)
    for name, one in surveyed.items():
        colour = COLOURS[one.state]
        table.add_row(name, f"[{colour}]{one.state.value}[/{colour}]", f"{one.running} of {one.target}", str(one.ongoing))
    return table


def waiting(surveyed: Mapping[str, Standing]) -> list[Text]:
    """Returns a line for each model that waits for a place."""
    return [Text(f"{name} waits: {one.why}.", "yellow") for name, one in surveyed.items() if one.why]


def engines_table(told_by: Reports) -> Table:
    """Returns a table with two rows for each kind of engine: its own figures, and the plan's. Engines that tell the same share a row."""
    table = Table("model", "by", *(called for called, _ in NAMES.values()), title="Engines, beside the plan")
    for model, all_of_it in told_by.items():
        for count, like in _alike(all_of_it):
            engines = "1 engine" if count == 1 else f"{count} engines"
            if like[0] is None:
                table.add_row(model, engines, *["not told"] * len(NAMES))
                continue
            *sizes, _ = rows(like[0])
            table.add_row(model, engines, *(row.told for row in sizes), _starts(like))
            table.add_row("", f"plan, {like[0].gpu}" if like[0].gpu else "plan", *(row.planned for row in rows(like[0])), style="dim")
    return table


def _alike(told_by: Sequence[Report | None]) -> Iterator[tuple[int, list[Report | None]]]:
    """Yields the engines that show the same sizes, and how many they are."""
    kinds: dict[tuple[object, ...], list[Report | None]] = {}
    for report in told_by:
        *sizes, _ = rows(report) if report else (None,)
        kinds.setdefault((*sizes, report and report.gpu), []).append(report)
    yield from ((len(like), like) for like in kinds.values())


def _starts(like: Sequence[Report | None]) -> str:
    shown = sorted(report.told.start_s for report in like if report and report.told.start_s is not None)
    if not shown:
        return "not told"
    first, last = f"{shown[0]:.0f}", f"{shown[-1]:.0f}"
    return f"{last} s" if first == last else f"{first} to {last} s"


def sentences(told_by: Reports) -> list[str]:
    """Returns what there is to say of the engines' figures, each once for a model."""
    said = (f"{model}: {one}" for model, all_of_it in told_by.items() for report in all_of_it if report for one in summary(report))
    return list(dict.fromkeys(said))
