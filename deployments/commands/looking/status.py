"""`herd status`: how every model is doing, and its engines' own figures beside the plan's.

Decides what is shown of what. Numbers and sentences are `cluster.planner.started`'s, states `deployments.policy.fleet.model_state`'s, and
rows of replicas `deployments.policy.fleet.seats`'.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.planner.started.figures import NAMES, Report, as_plain, differences, rows, summary
from configs.load import environment
from deployments.commands.looking.by_http import NOTE, by_http
from deployments.commands.looking.spans import iso
from deployments.commands.terminal import STAYS, AsJson, Ca, Name, out, told
from deployments.commands.using.endpoint import no_ca
from deployments.lifecycle import herd as operate
from deployments.lifecycle import seen
from deployments.lifecycle.herd import OperationError
from deployments.policy.fleet.model_state import ModelState
from deployments.policy.fleet.seats import Seat
from deployments.policy.fleet.why import Facts
from deployments.policy.records import starts
from deployments.policy.records.spans import told as span
from deployments.policy.records.verdict import Verdict

COLOURS = {
    ModelState.RUNNING: "green",
    ModelState.STARTING: "yellow",
    ModelState.UNHEALTHY: "red",
    ModelState.AT_ZERO: "dim",
    ModelState.STOPPED: "dim",
}
Reports = Mapping[str, Sequence[Report | None]]
"""By model, one for each replica; None for one that tells nothing."""
Url = Annotated[str | None, typer.Option("--url", help="Ask this gateway by HTTP, from any machine; HERD_SECRET opens its pages.")]
Seen = tuple[str, Mapping[str, Facts], Reports]
"""The title, what is known of each model, and its engines' figures."""
#: Columns of the table of replicas: what does not fit a terminal goes on in its next line.
WIDE = 150
WATCH_S = 1.0


def status(
    name: Name = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Show a row for each replica too: its node, GPUs, release, phase.")] = False,
    url: Url = None,
    ca: Ca = None,
) -> None:
    """Show every model: its state, its replicas, their requests, and its engines' memory beside the plan.

    \b
    herd status --wide --watch
    herd status --url http://10.0.0.11:8000
    """
    with told(OperationError, interrupted=STAYS), _asking(name, url, ca) as asked:
        if watch:
            _watch(asked, wide)
        elif as_json:
            sys.stdout.write(json.dumps(as_data(*asked())) + "\n")
        else:
            _print(asked(), wide)
            if url is not None:
                out.print(NOTE, style="dim")


@contextlib.contextmanager
def _asking(name: str | None, url: str | None, ca: Path | None) -> Iterator[Callable[[], Seen]]:
    """Yields a function that asks the cluster, or one gateway."""
    if url is not None:
        address, told_by = by_http(url, ca, name, environment())
        yield lambda: (address, *told_by())
        return
    no_ca(ca)
    herd = operate.known(environment(), name)

    def ask() -> Seen:
        config, facts, reports = seen.of_cluster(herd)
        return f"{config.name} · {herd.endpoint}/v1", facts, reports

    with operate.connected(herd, lambda _: None):
        yield ask


def _watch(asked: Callable[[], Seen], wide: bool) -> None:
    """Shows a frame each second, over the one before; in a pipe one after the other."""
    with contextlib.suppress(KeyboardInterrupt):
        frames = _frames(asked, wide)
        if not out.is_terminal:
            for frame in frames:
                out.print(frame)
        with Live(next(frames), console=out, auto_refresh=False) as live:
            for frame in frames:
                live.update(frame, refresh=True)


def _frames(asked: Callable[[], Seen], wide: bool) -> Iterator[Group]:
    """Yields what is known, each second. A gateway that is made anew answers again: until then the last that was known is shown.

    Raises:
        OperationError: nothing is known at the first look.
    """
    found = asked()
    yield _shown(found, wide)
    while True:
        time.sleep(WATCH_S)
        lost = []
        try:
            found = asked()
        except OperationError as error:
            lost = [Text(f"Not as it is now: {error}", "red")]
        yield Group(_shown(found, wide), *lost)


def _print(found: Seen, wide: bool) -> None:
    title, facts, told_by = found
    now = time.time()
    out.print(Group(models_table(title, facts, now), *waiting(facts, now)))
    if wide:
        Console(width=max(WIDE, out.width), highlight=False).print(replicas_table(facts, now), *sizes(facts), sep="\n")
    out.print(_engines(told_by))


def _shown(found: Seen, wide: bool) -> Group:
    title, facts, told_by = found
    now = time.time()
    each: list[RenderableType] = [replicas_table(facts, now), *sizes(facts)] if wide else []
    return Group(models_table(title, facts, now), *waiting(facts, now), *each, _engines(told_by))


def _engines(told_by: Reports) -> Group:
    tables: list[RenderableType] = [engines_table(told_by)] if any(told_by.values()) else []
    return Group(*tables, *(Text(sentence) for sentence in sentences(told_by)))


def as_data(title: str, facts: Mapping[str, Facts], told_by: Reports) -> dict[str, Any]:
    """Returns the status for scripts. An engine that tells nothing is null, and so is what is not known of a replica."""
    models = [_model(name, one, told_by.get(name, ())) for name, one in facts.items()]
    return {"endpoint": title.rpartition(" · ")[2], "models": models}


def _model(name: str, one: Facts, told_by: Sequence[Report | None]) -> dict[str, Any]:
    return {
        "id": name,
        "state": one.standing.state.value,
        "replicas": {"running": one.standing.running, "target": one.standing.target},
        "ongoing_requests": one.standing.ongoing,
        "queue": _queue(one),
        "why": one.standing.why or None,
        "scaling": None if one.size is None else _size(one.size),
        "each": [_replica(seat) for seat in one.seats],
        "engines": [report and as_plain(report) | {"differences": list(differences(report))} for report in told_by],
    }


def _size(size: Verdict) -> dict[str, Any]:
    return {
        "at": iso(size.at_s),
        "target": size.target,
        "reason": size.reason,
        "load": {"now": size.demand, "expected": size.expected, "wanted": size.wanted},
        "limit": size.binds or None,
        "held": size.held or None,
        "notice": size.notice or None,
    }


def _replica(seat: Seat) -> dict[str, Any]:
    return {
        "id": seat.replica,
        "state": seat.state,
        "node": seat.node or None,
        "gpus": seat.gpus,
        "release": seat.release or None,
        "since": None if seat.since is None else iso(seat.since),
        "ongoing_requests": seat.ongoing,
        "waiting_requests": seat.waiting,
        "canary": seat.canary or None,
        "slow": seat.slow,
        "phase": seat.start.phase or None if seat.start else None,
    }


def models_table(title: str, facts: Mapping[str, Facts], now: float) -> Table:
    """Returns a table with a row for each model."""
    table = Table("model", "state", "replicas", "requests", "queue", "since", title=title)
    for name, one in facts.items():
        found, colour = one.standing, COLOURS[one.standing.state]
        state = f"[{colour}]{found.state.value}[/{colour}]"
        table.add_row(name, state, f"{found.running} of {found.target}", str(found.ongoing), str(_queue(one)), _since(one, now))
    return table


def _queue(one: Facts) -> int:
    """Counts the requests that no engine computes yet: at the gateway, and inside the engines."""
    return one.queue + sum(seat.waiting for seat in one.seats)


def _since(one: Facts, now: float) -> str:
    """Returns for how long a model has been running, or its oldest start goes on."""
    ready = [seat.since for seat in one.seats if seat.state == "ready" and seat.since is not None]
    known = ready or [seat.since for seat in one.seats if seat.since is not None]
    return span(now - min(known)) if known else "–"


def waiting(facts: Mapping[str, Facts], now: float) -> list[Text]:
    """Returns a line for each model that waits for a place, and for each replica that starts."""
    lines = [f"{name} waits: {one.standing.why}." for name, one in facts.items() if one.standing.why]
    lines += [
        f"{name}: replica {seat.replica} is {starts.told(seat.start, one.starts, now)}."
        for name, one in facts.items()
        for seat in one.seats
        if seat.start is not None
    ]
    lines += [f"`herd why {name}` says what it lacks." for name, one in facts.items() if one.standing.running < one.standing.target]
    return [Text(line, "yellow") for line in lines]


def replicas_table(facts: Mapping[str, Facts], now: float) -> Table:
    """Returns a table with a row for each replica. It is wider than 80 columns, and cuts nothing where it is printed so."""
    columns = ("model", "replica", "node", "GPUs", "release", "state", "since", "requests", "queue")
    table = Table(*columns, title="Replicas", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, one in facts.items():
        for seat in one.seats:
            state = f"{seat.state}: {starts.CALLED[seat.start.phase]}" if seat.start is not None and seat.start.phase else seat.state
            since = "–" if seat.since is None else span(now - seat.since)
            gpus = "–" if seat.gpus is None else str(seat.gpus)
            place, release = seat.node or "–", seat.release or "–"
            table.add_row(name, seat.replica, place, gpus, release, state, since, str(seat.ongoing), str(seat.waiting))
    return table


def sizes(facts: Mapping[str, Facts]) -> list[Text]:
    """Returns a line for each model whose number of replicas follows the load: why it is what it is."""
    return [Text(f"{name}: {one.size.reason}") for name, one in facts.items() if one.size is not None]


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
