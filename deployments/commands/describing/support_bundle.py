"""`herd support-bundle`: one file for somebody who helps, with what there is to know of a herd and its machine, and no secret."""

import contextlib
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from configs.load import environment
from deployments.commands.changing.steps import steps
from deployments.commands.describing.bundle.archive import Missing, Part, gathered, write
from deployments.commands.describing.bundle.sources import (
    of_all_logs,
    of_ray,
    of_the_config,
    of_the_gateway,
    of_the_logs,
    of_the_nodes,
    of_this_machine,
    secrets_of,
)
from deployments.commands.terminal import Name, out, put, tell, told, warn
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd, OperationError
from deployments.progress import Say

LOGS_MIB = 16


def support_bundle(
    name: Name = None,
    output: Annotated[
        Path | None, typer.Option(help="The file to write; none may be there. Default: herd-support-NAME-TIME.tar.gz, in this folder.")
    ] = None,
    logs_mib: Annotated[int, typer.Option(help="The most of Ray's and the engines' logs of all nodes, in MiB.", min=0, max=512)] = LOGS_MIB,
) -> None:
    """Write versions, config, plan, status, doctor's report and logs into one file, to be sent to somebody who helps.

    Secrets are taken out. The file still names hosts, addresses and models: look through it before you send it. It works, with less in
    it, while the herd does not answer.

    \b
    herd support-bundle
    herd support-bundle --output /tmp/herd.tar.gz --logs-mib 64
    """
    with told(OperationError, OSError, interrupted="No file was written."):
        with steps() as say:
            herd, missing = _known(name)
            path = output or Path(f"herd-support-{herd.config.name if herd else 'machine'}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
            if path.exists():
                raise OperationError(f"{path} is there already. Name another file with --output.")
            parts, lacking = _gathered(herd, logs_mib << 20, say)
        secrets = secrets_of(herd, environment())
        written = write(path, parts, [*missing, *lacking], secrets, time.time())
    out.print(contents(written))
    for one in [*missing, *lacking]:
        warn(f"Not in it: {one.about} ({one.why.partition(chr(10))[0]})")
    size = path.stat().st_size
    put(out, f"{path.absolute()}: {len(written)} files, {size / 2**20:.1f} MiB, readable by you alone.")


def _known(name: str | None) -> tuple[Herd | None, list[Missing]]:
    """Finds the herd; without one there is still the machine. A name that is not known is an error."""
    try:
        return operate.known(environment(), name), []
    except OperationError as error:
        if name is not None:
            raise
        tell(str(error))
        return None, [Missing("the herd", str(error))]


def _gathered(herd: Herd | None, logs_bytes: int, say: Say) -> tuple[list[Part], list[Missing]]:
    if herd is None:
        return gathered(of_this_machine(), say)
    sources, missing = [*of_this_machine(), *of_the_config(herd)], []
    with contextlib.ExitStack() as stack:
        try:
            say("Connecting to Ray")
            stack.enter_context(operate.connected(herd, say))
        except OperationError as error:
            missing.append(Missing("Ray Serve's status, and the doctor's report", str(error)))
            sources += [*of_the_logs(herd, logs_bytes), *of_the_gateway(herd, connected=False)]
        else:
            sources += [*of_the_gateway(herd, connected=True), *of_ray(), *of_the_nodes(herd), *of_all_logs(herd, logs_bytes)]
        parts, lacking = gathered(sources, say)
    return parts, [*missing, *lacking]


def contents(parts: list[Part]) -> Table:
    """Returns a table of what is in a bundle; all logs share a row."""
    table = Table("file", "about", "KiB")
    table.columns[2].justify = "right"
    logs = [one for one in parts if one.path.startswith("logs/")]
    for one in parts:
        if one not in logs:
            table.add_row(Text(one.path), Text(one.about), f"{len(one.text) / 1024:,.0f}")
    if logs:
        table.add_row("logs/…", f"the ends of {len(logs)} logs", f"{sum(len(one.text) for one in logs) / 1024:,.0f}")
    return table
