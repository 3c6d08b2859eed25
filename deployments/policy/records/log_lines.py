"""Lines of the log files of a Ray node: of which replica a file is, when a line was written, and what of it is shown.

Decides over names and texts. Ray Serve writes a file for each replica (`serve/replica_…`). Each process of Ray's has two more, for what it
and its children write to their outputs (`worker-…`): vLLM's lines are there. The first lines of these say of whom they are.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

MOST_CHARACTERS = 4000
#: How a process of an engine says in its first lines of which replica it is a part.
MARK = "herd: a process of replica {replica} of {model}"
MODEL, GATEWAY, RAY = "model", "gateway", "ray"

_SERVE = re.compile(r"replica_(.+)_(engine|gateway)_([a-z0-9]+)\.log(?:\.\d+)?")
_OF_RAY = re.compile(
    r"(raylet|gcs_server|monitor|runtime_env_agent|dashboard_agent|dashboard|ray_client_server)\.(?:out|err|log)(?:\.\d+)?"
)
_CONTROLLER = re.compile(r"(controller)_(?:build_.*_)?\d+\.log(?:\.\d+)?")
_WORKER = re.compile(r"worker-[0-9a-f]+-[0-9a-f]+-(\d+)\.(?:out|err)")
_ACTOR = re.compile(r"^:actor_name:ServeReplica:(.+):(engine|gateway)$", re.MULTILINE)
_MARKED = re.compile(r"herd: a process of replica (\S+) of (\S+)$", re.MULTILINE)
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6}))?(Z)?")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_VARIABLES = re.compile(r"""(["']env_vars["']: )\{[^{}]*\}""")
_TOKEN = re.compile(r":(?:job_id|actor_name|task_name):")
_OF_SERVE = re.compile(r"[A-Z]+ \S+ \S+ (\S+)_(engine|gateway) (\S+) -- ")


@dataclass(frozen=True, slots=True)
class Owner:
    """Of whom the lines of a file are."""

    what: str
    """`model`, `gateway` or `ray`."""
    model: str = ""
    """The id of a model."""
    replica: str = ""
    """The id of a replica, or the name of a process of Ray's."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log."""

    when: float
    """Seconds since 1970; of a line without a time, that of the line before it."""
    node: str
    model: str
    replica: str
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """The lines that are asked for."""

    what: str
    model: str = ""
    replica: str = ""
    """The beginning of a replica's id; empty: all."""
    since: float = 0.0
    """Seconds since 1970."""
    grep: str = ""
    """A regular expression that a line has a match of; empty: all lines."""
    lines: int = 1000
    """At most so many of the newest lines of each file."""


def owner_by_name(name: str) -> Owner | None:
    """Returns the owner of a file whose name says it; None for others."""
    if found := _SERVE.fullmatch(name):
        return _replica(found[1], found[2], found[3])
    if found := _OF_RAY.fullmatch(name) or _CONTROLLER.fullmatch(name):
        return Owner(RAY, "", found[1])
    return None


def is_of_a_worker(name: str) -> bool:
    """Tells whether a file is what a process of Ray's has written to its outputs."""
    return _WORKER.fullmatch(name) is not None


def owner_by_head(name: str, head: str) -> Owner | None:
    """Returns the owner of a worker's file by its first lines; None while they do not say.

    A replica whose lines say its class and not yet its id is called by its process.
    """
    if found := _MARKED.search(head):
        return Owner(MODEL, found[2], found[1])
    if (actor := _ACTOR.search(head)) is None:
        return None
    said = next((one[3] for one in _OF_SERVE.finditer(head) if (one[1], one[2]) == (actor[1], actor[2])), None)
    process = _WORKER.fullmatch(name)
    return _replica(actor[1], actor[2], said or f"process {process[1] if process else '?'}")


def is_settled(owner: Owner | None) -> bool:
    """Tells whether more lines of a file would not tell more of its owner."""
    return owner is not None and not owner.replica.startswith("process ")


def asks_for(query: Query, owner: Owner) -> bool:
    """Tells whether a query is about an owner's lines."""
    return query.what == owner.what and query.model in ("", owner.model) and owner.replica.startswith(query.replica)


def lines_of(texts: Iterable[str], worker: bool, east_s: float, before: float) -> Iterator[tuple[float, str]]:
    """Yields the lines that are shown, each with the time at which it was written.

    Args:
        texts: lines of one file, in order.
        worker: it is what a process wrote to its outputs, where Ray Serve's lines stand a second time.
        east_s: seconds that the clocks of the node's time zone are ahead of UTC.
        before: the time of lines that stand before the first one with a time of its own.
    """
    for text in texts:
        shown = tidy(text)
        if not shown or (worker and (_TOKEN.match(shown) or _OF_SERVE.match(shown))):
            continue
        before = stamp(shown, east_s) or before
        yield before, shown


def stamp(text: str, east_s: float) -> float | None:
    """Reads the time at the beginning of a line, in seconds since 1970; None where there is none."""
    found = _STAMP.search(text[:120])
    if found is None:
        return None
    zone = UTC if found[4] else timezone(timedelta(seconds=east_s))
    try:
        when = datetime.strptime(f"{found[1]} {found[2]}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone)
    except ValueError:
        return None
    return when.timestamp() + float(f"0.{found[3] or 0}")


def tidy(text: str) -> str:
    """Returns a line without colours, control characters and the environments that Ray tells of, cut to `MOST_CHARACTERS`.

    Of a progress bar that is its last state.
    """
    states = [one for one in text.split("\r") if one.strip()]
    plain = _VARIABLES.sub(r"\1{…}", _CONTROL.sub("", _ANSI.sub("", states[-1] if states else ""))).rstrip()
    return plain if len(plain) <= MOST_CHARACTERS else f"{plain[: MOST_CHARACTERS - 1]}…"


def merged(of_nodes: Iterable[Iterable[Line]]) -> list[Line]:
    """Returns lines of several nodes, oldest first; lines of one file stay in order."""
    return sorted((line for lines in of_nodes for line in lines), key=lambda line: line.when)


def _replica(application: str, deployment: str, replica: str) -> Owner:
    if deployment == "gateway":
        return Owner(GATEWAY, "", replica)
    return Owner(MODEL, application.removeprefix("model.").replace("~", "/"), replica)
