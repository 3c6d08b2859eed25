"""`herd monitor`: starts Prometheus, Alertmanager and Grafana beside a herd, shows how they are, and stops them.

Decides words and tables. What is started is `deployments.lifecycle.monitor.beside`'s.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.machine.local_node import NodeError
from configs.load import Environment, environment
from deployments.commands.changing.steps import steps
from deployments.commands.terminal import AsJson, Name, out, progress, told, warn
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import OperationError
from deployments.lifecycle.monitor import beside
from deployments.lifecycle.monitor.programs import ALERTMANAGER, GRAFANA, PROGRAMS, PROMETHEUS, Program, running, serves

commands = typer.Typer(no_args_is_help=True, help="Watch a herd with Prometheus, Alertmanager and Grafana on this machine.")
STAYS = "Programs that were started stay: `herd monitor down` stops them."
PAGE_S = 5.0


@commands.callback()
def _commands() -> None:
    """Watch a herd with Prometheus, Alertmanager and Grafana on this machine."""


@commands.command()
def up(
    name: Name = None,
    prometheus_port: Annotated[int, typer.Option(help="Prometheus listens on this port.", min=1, max=65535)] = PROMETHEUS.port,
    alertmanager_port: Annotated[int, typer.Option(help="Alertmanager listens on this port.", min=1, max=65535)] = ALERTMANAGER.port,
    grafana_port: Annotated[int, typer.Option(help="Grafana listens on this port.", min=1, max=65535)] = GRAFANA.port,
    alertmanager_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your file for Alertmanager, with those who are told. Default: alerts stand on its page only."),
    ] = None,
    keep_days: Annotated[int, typer.Option(help="Prometheus keeps what it has read for so many days.", min=1, max=3650)] = 30,
) -> None:
    """Start Prometheus, Alertmanager and Grafana, as far as they are installed, with the herd's alerts and dashboards.

    They listen on the loopback interface only. A second time it starts what has changed or ended since.

    \b
    herd monitor up
    herd monitor up --prometheus-port 9091 --keep-days 60
    """
    ports = {PROMETHEUS.name: prometheus_port, ALERTMANAGER.name: alertmanager_port, GRAFANA.name: grafana_port}
    with told(OperationError, NodeError, OSError, interrupted=STAYS), steps() as say:
        given = environment()
        herd = operate.known(given, name)
        beside.up(herd, beside.Asked(ports, keep_days, alertmanager_config), given, say)
        rows = _rows(herd.folder / beside.FOLDER)
    out.print(_table(herd.config.name, rows))
    for program in beside.missing():
        warn(f"{program.name} is not installed here, and the others do without it. {program.get}")


@commands.command()
def down(name: Name = None) -> None:
    """Stop the programs that `herd monitor up` started, and no others. Their data stay for the next time.

    \b
    herd monitor down
    herd monitor down --name prod
    """
    with told(OperationError, OSError, interrupted=STAYS), steps() as say:
        folder = _folder(environment(), name)
        ended = [] if folder is None else beside.down(folder, say)
    out.print(f"Stopped: {', '.join(ended)}." if ended else "None of its programs runs here.")


@commands.command()
def status(name: Name = None, as_json: AsJson = False) -> None:
    """Show which of the programs run, whether they serve, how many pages Prometheus reads, and which alerts fire.

    \b
    herd monitor status
    herd monitor status --json
    """
    with told(OperationError, OSError):
        folder = _folder(environment(), name)
        rows = _rows(folder)
    if as_json:
        sys.stdout.write(json.dumps({"herd": None if folder is None else folder.parent.name, "programs": rows}) + "\n")
        return
    out.print(_table("" if folder is None else folder.parent.name, rows))
    if folder is None:
        progress.print("`herd monitor up` starts them.", style="dim")


def _folder(given: Environment, name: str | None) -> Path | None:
    """Finds the herd beside which programs run; it may be down itself.

    Raises:
        OperationError: there are several.
    """
    found = beside.folders(given, name)
    if len(found) > 1:
        raise OperationError(f"Programs run beside several herds: {', '.join(one.parent.name for one in found)}. Choose one with --name.")
    return found[0] if found else None


def _rows(folder: Path | None) -> list[dict[str, Any]]:
    return [_row(folder, program) for program in PROGRAMS]


def _row(folder: Path | None, program: Program) -> dict[str, Any]:
    kept = None if folder is None else running(folder, program)
    if kept is None:
        state = "not running" if program.binary else "not installed"
        return {"name": program.name, "state": state, "address": None, "note": "" if program.binary else program.get}
    state = "serves" if serves(program, kept.port) else "does not answer"
    note = _seen(kept.address) if program is PROMETHEUS and state == "serves" else ""
    return {"name": program.name, "state": state, "address": kept.address, "note": note}


def _seen(address: str) -> str:
    """Returns how many pages Prometheus reads, and the alerts that fire."""
    import httpx

    try:
        with httpx.Client(base_url=address, timeout=PAGE_S, trust_env=False) as client:
            targets = client.get("/api/v1/targets?state=active").raise_for_status().json()["data"]["activeTargets"]
            alerts = client.get("/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
        good = sum(one["health"] == "up" for one in targets)
        names = sorted({one["labels"]["alertname"] for one in alerts if one["state"] == "firing"})
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ""
    return f"{good} of {len(targets)} pages are read; " + (f"firing: {', '.join(names)}" if names else "no alert fires")


def _table(herd: str, rows: list[dict[str, Any]]) -> Table:
    table = Table("program", "state", "address", "", title=herd or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(row["name"], row["state"], row["address"] or "", row["note"])
    return table
