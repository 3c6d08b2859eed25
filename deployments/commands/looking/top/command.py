"""`herd top`: models, replicas, queues, tokens/s and latencies of a herd, live.

Decides who is asked and how it is shown: live at a terminal; once, in a pipe or where it is asked for.
"""

import contextlib
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console, Group
from rich.live import Live

from configs.addresses import on_loopback
from configs.load import Environment, environment
from deployments.commands.looking.status import Url
from deployments.commands.looking.top.asking import Gateways
from deployments.commands.looking.top.drawing import frame
from deployments.commands.looking.top.figures import Figures, Row
from deployments.commands.looking.top.keyboard import Keyboard, keyboard
from deployments.commands.looking.top.keys import State, after
from deployments.commands.looking.top.watching import Looks, Memory, Watcher, watching
from deployments.commands.terminal import INTERRUPTED, AsJson, Ca, Name, out, told
from deployments.commands.using.endpoint import SECRET, Endpoint, named
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import OperationError
from deployments.lifecycle.operator_pages import authorization

#: Longest time without a new frame, so that a terminal whose size has changed is filled soon.
REDRAW_S = 1.0
#: Seconds between the two looks of a single frame: rates need two.
BETWEEN_S = 2.0
#: Lines of a frame that goes into a pipe, at most.
MOST_LINES = 10_000
_SCHEME = "Bearer "


def top(
    name: Name = None,
    url: Url = None,
    ca: Ca = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end, as without a terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show models, replicas, queues, tokens/s, latencies and scaling decisions, live, from the gateways alone.

    \b
    herd top
    herd top --url http://10.0.0.11:8000
    herd top --once --json
    """
    with told(OperationError):
        endpoint = _endpoint(name, url, ca, environment())
        if once or as_json or not _is_interactive(out):
            with contextlib.closing(Gateways(endpoint)) as herd:
                print_once(herd, endpoint.url, as_json)
            return
    # Its connections end with this program: a gateway that does not answer must not hold up the end.
    with contextlib.suppress(EOFError):
        _live(Gateways(endpoint), endpoint.url, out)


def _is_interactive(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty()


def _endpoint(name: str | None, url: str | None, ca: Path | None, given: Environment) -> Endpoint:
    """Returns the gateway that is asked, with the key to its pages.

    Raises:
        OperationError: no such herd is up, or the words contradict each other.
    """
    endpoint = replace(named(url, ca, name, given), key=None, key_from=SECRET)
    if given.secret is not None or "pages" in given.keys:
        return replace(endpoint, key=given.key("pages"))
    return endpoint if endpoint.herd is None else replace(endpoint, key=_of_herd(endpoint.herd))


def _of_herd(herd: operate.Herd) -> SecretStr | None:
    """Returns the key to a herd's pages from its own folder or its cluster; None where the pages ask for none."""
    if on_loopback(herd.config.gateway.host):
        return None
    if herd.config.ray.address == "local":
        shown = authorization(herd.config, herd.node)
    else:
        with operate.connected(herd, lambda _: None):
            shown = authorization(herd.config, herd.node)
    return SecretStr(shown["authorization"].removeprefix(_SCHEME))


def print_once(herd: Looks, title: str, as_json: bool, between_s: float = BETWEEN_S) -> None:
    """Prints one frame, as text or as JSON, with the rates of some seconds.

    Raises:
        OperationError: no gateway tells of any model.
    """
    memory = Memory()
    memory.take(herd.look())
    if memory.figures.rows:
        time.sleep(between_s)
        memory.take(herd.look())
    figures = memory.figures
    if not figures.rows:
        raise OperationError(f"{title} tells of no model: {' '.join(figures.problems)}".rstrip(": "))
    if as_json:
        sys.stdout.write(json.dumps(as_data(title, figures)) + "\n")
        return
    lines = frame(figures, State(), memory.decisions, title, (out.width, MOST_LINES), time.time())
    for line in lines[:-1]:  # the last one is about keys
        out.print(line)


def as_data(title: str, figures: Figures) -> dict[str, Any]:
    """Returns a frame for scripts; what is not known is null."""
    gateways = {"asked": figures.asked, "answered": figures.answered}
    models = [_model(row) for row in figures.rows]
    return {"endpoint": title, "gateways": gateways, "window_s": figures.window_s, "problems": list(figures.problems), "models": models}


def _model(row: Row) -> dict[str, Any]:
    plain = asdict(replace(row, replicas=(), size=None))
    replicas = [{"id": seat.replica, "state": seat.state, "node": seat.node, "ongoing": seat.ongoing} for seat in row.replicas]
    scaling = row.size and {"target": row.size.target, "reason": row.size.reason}
    return {**{key: value for key, value in plain.items() if key != "size"}, "scaling": scaling, "replicas": replicas}


def _live(herd: Looks, title: str, console: Console) -> None:
    """Shows frames until a key ends it.

    Raises:
        EOFError: the terminal is gone.
        SystemExit: Ctrl-C.
    """
    memory = Memory()
    try:
        with keyboard(sys.stdin) as pressed, watching(herd, memory) as watcher, _screen(console) as live:
            _follow(memory, title, pressed, watcher, live)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _screen(console: Console) -> Live:
    return Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


def _follow(memory: Memory, title: str, pressed: Keyboard, watcher: Watcher, live: Live) -> None:
    state = State()
    while not state.over:
        size = (live.console.width, live.console.height)
        live.update(Group(*frame(memory.figures, state, memory.decisions, title, size, time.time())), refresh=True)
        if pressed.wait([watcher.news], REDRAW_S):
            for key in pressed.read():
                state = after(state, key, memory.figures)
        watcher.heard()
