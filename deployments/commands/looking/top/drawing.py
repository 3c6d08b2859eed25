"""One frame of `herd top`, as lines that fit a terminal.

Decides what stands where. Only lines that are seen are made: a key costs the same however many replicas there are. No text that came over
the network reaches the terminal with a control character in it.
"""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from deployments.commands.looking.spans import clock
from deployments.commands.looking.status import COLOURS
from deployments.commands.looking.top.figures import Decision, Figures, Latency, Row
from deployments.commands.looking.top.keys import State, place, shown
from deployments.policy.fleet.seats import Seat
from deployments.policy.records.spans import told as span

#: Columns behind the model's name, with their widths; a name takes what is left.
COLUMNS = (
    *(("STATE", 10), ("READY", 7), ("RUN", 6), ("WAIT", 6), ("REQ/S", 7), ("TOK/S", 7)),
    *(("FIRST95", 8), ("NEXT95", 7)),
)
REPLICA_COLUMNS = (("STATE", 10), ("NODE", 16), ("GPUS", 5), ("RUNNING", 8), ("WAIT", 6), ("READY FOR", 10))
LEAST_NAME = 12
#: Lines at most of problems, and of a model's decision.
MOST_PROBLEMS, MOST_REASON = 3, 3
HELP = (
    "↑ ↓ or j k      move; PgUp PgDn, g G: far",
    "Enter           shows one model: its latencies, starts and replicas; Esc goes back",
    "s               sorts by name, running, waiting, tokens/s, first token, failed",
    "/               shows only models with these words in their id; Esc: all",
    "q or Ctrl-C     ends",
    "",
    "READY           replicas that take requests, of those that there should be",
    "RUN, WAIT       requests that engines compute; that wait, here or in engines",
    "REQ/S, TOK/S    of all gateways that answer, in the last half minute; they",
    "                count when a request ends. Tokens are those that engines",
    "                state, or the pieces of streams where these are more",
    "FIRST95, NEXT95 95 % of streams had their first token, and each further",
    "                one, within this time",
)
_WRAP_LEAST = 20


def frame(figures: Figures, state: State, decisions: Sequence[Decision], title: str, size: tuple[int, int], now: float) -> list[Text]:
    """Returns the lines of a frame, at most as many as the terminal has.

    Args:
        figures: of the last look.
        state: what the reader wants to see.
        decisions: those that are remembered, newest first.
        title: the herd's address.
        size: columns and lines of the terminal.
        now: seconds since 1970.
    """
    width, height = size
    rows = shown(figures, state)
    lines = [_title(figures, title, width, now)]
    room = max(1, height - 2)
    if state.helps:
        lines += [_fit(line, width) for line in HELP[:room]]
    elif state.detail and rows:
        lines += _detail(rows[place(rows, state)], state, (width, room), now)
    else:
        lines += _list(figures, rows, state, _decisions(decisions[: max(0, room // 3 - 1)], width, now), (width, room))
    return [*lines[: height - 1], _keys(state, width)]


def _title(figures: Figures, title: str, width: int, now: float) -> Text:
    gateways = f"{figures.answered} of {figures.asked} gateways"
    window = f"last {span(figures.window_s)}" if figures.window_s else "no rates yet"
    right = f"{gateways} · {window} · {clock(now).rpartition(' ')[2]}"
    left = f"herd top · {title}"
    return _fit(f"{set_cell_size(plain(left), max(0, width - cell_len(right) - 1))} {right}", width, "bold")


def _keys(state: State, width: int) -> Text:
    if state.types:
        return _fit(f"/{state.words}▏  Enter keeps it, Esc clears it", width, "bold")
    if state.helps:
        return _fit("any key goes back", width, "dim")
    if state.detail:
        return _fit("Esc back · ↑↓ replicas · q quit · ? help", width, "dim")
    words = f" · only '{state.words}' (Esc: all)" if state.words else ""
    return _fit(f"q quit · ↑↓ move · Enter model · s sort: {state.order_name} · / filter{words} · ? help", width, "dim")


def _list(figures: Figures, rows: Sequence[Row], state: State, below: Sequence[Text], size: tuple[int, int]) -> list[Text]:
    width, room = size
    problems = [_fit(f"! {one}", width, "yellow") for one in figures.problems[:MOST_PROBLEMS]]
    most = max(1, room - 1 - len(problems) - len(below))
    at = place(rows, state)
    first = _first(at, len(rows), most)
    lines = [_columns("MODEL", COLUMNS, width)]
    lines += [_model(row, width, first + index == at) for index, row in enumerate(rows[first : first + most])]
    if not rows:
        lines.append(_fit("No model has these words in its id." if figures.rows else "Nothing is known yet.", width, "dim"))
    free = max(0, room - len(lines) - len(problems) - len(below))
    return [*lines, *problems, *([Text()] * min(1, free) if below else []), *below]


def _first(at: int, count: int, most: int) -> int:
    """Returns the number of the first row of a window of rows that has the cursor in its middle, where there is enough on both sides."""
    return max(0, min(at - most // 2, count - most))


def _model(row: Row, width: int, chosen: bool) -> Text:
    cells = (
        row.state.value,
        f"{row.ready}/{row.target}",
        str(row.running),
        str(row.waiting),
        _rate(row.requests_s),
        _rate(row.tokens_s),
        _seconds(row.ttft.most),
        _seconds(row.itl.most),
    )
    line = _cells(row.model, cells, COLUMNS, width)
    start = _name_width(COLUMNS, width) + 1
    line.stylize(COLOURS[row.state], start, start + COLUMNS[0][1])
    if chosen:
        line.stylize("reverse")
    return line


def _decisions(decisions: Sequence[Decision], width: int, now: float) -> list[Text]:
    lines = [_fit("DECISIONS", width, "bold")] if decisions else []
    for one in decisions:
        verdict = one.verdict
        change = f"{verdict.before}→{verdict.target}" if verdict.before != verdict.target else str(verdict.target)
        lines.append(_fit(f"{one.model} {change}, {span(now - verdict.at_s)} ago: {verdict.reason}", width))
    return lines


def _detail(row: Row, state: State, size: tuple[int, int], now: float) -> list[Text]:
    width, room = size
    lines = [*_facts(row, width), *_reasons(row, width), Text(), _columns("REPLICA", REPLICA_COLUMNS, width)][:room]
    first = max(0, min(state.first, len(row.replicas) - 1))
    for seat in row.replicas[first : first + max(0, room - len(lines))]:
        lines.append(_seat(seat, width, now))
    return lines


def _facts(row: Row, width: int) -> Iterator[Text]:
    line = _fit(f"{row.model}: {row.state.value}, {row.ready} of {row.target} replicas", width, "bold")
    yield line
    yield _fit(f"requests      {row.running} running, {row.waiting} waiting", width)
    yield _fit(f"ended         {_rate(row.requests_s)}/s, of which failed {_rate(row.failed_s)}/s; {_rate(row.tokens_s)} tokens/s", width)
    yield _fit(f"first token   {_latency(row.ttft)}", width)
    yield _fit(f"next tokens   {_latency(row.itl)}", width)


def _reasons(row: Row, width: int) -> Iterator[Text]:
    if row.size is not None:
        told = f"autoscaling   {row.size.reason} Load: {row.size.demand:.1f} replicas now, {row.size.expected:.1f} expected."
        limits = "".join(f" {name}: {one}." for name, one in (("Limit", row.size.binds), ("Held", row.size.held)) if one)
        for line in wrap(plain(told + limits), max(_WRAP_LEAST, width), subsequent_indent=" " * 14)[:MOST_REASON]:
            yield _fit(line, width)
    for sentence in row.starting:
        yield _fit(f"starting      {sentence}", width, "yellow")


def _seat(seat: Seat, width: int, now: float) -> Text:
    since = "–" if seat.since is None else span(now - seat.since)
    gpus = "–" if seat.gpus is None else str(seat.gpus)
    state = "slow" if seat.slow and seat.state == "ready" else seat.state
    cells = (state, seat.node or "–", gpus, str(max(0, seat.ongoing - seat.waiting)), str(seat.waiting), since)
    return _cells(seat.replica, cells, REPLICA_COLUMNS, width)


def _columns(name: str, columns: Sequence[tuple[str, int]], width: int) -> Text:
    line = _cells(name, [called for called, _ in columns], columns, width)
    line.stylize("bold")
    return line


def _cells(name: str, cells: Sequence[str], columns: Sequence[tuple[str, int]], width: int) -> Text:
    """Returns a line of a table: the name at the left, numbers at the right of their columns."""
    pieces = [set_cell_size(_cut(name, _name_width(columns, width)), _name_width(columns, width))]
    left = 2 if columns is REPLICA_COLUMNS else 1
    for index, (cell, (_, wide)) in enumerate(zip(cells, columns, strict=True)):
        text = _cut(cell, wide - 1)
        free = " " * (wide - 1 - cell_len(text))
        pieces.append(f" {text}{free}" if index < left else f" {free}{text}")
    return _fit("".join(pieces), width)


def _name_width(columns: Sequence[tuple[str, int]], width: int) -> int:
    return max(LEAST_NAME, width - sum(wide for _, wide in columns))


def _cut(text: str, width: int) -> str:
    text = plain(text)
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _fit(text: str, width: int, style: str = "") -> Text:
    """Returns a line that is no wider than the terminal."""
    return Text(_cut(text, width), style, no_wrap=True)


def plain(text: str) -> str:
    """Returns a text without characters that a terminal would obey."""
    return "".join(one if one.isprintable() else "�" for one in text)


def _rate(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1000:.1f}k" if value >= 10_000 else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _latency(found: Latency) -> str:
    if found.half is None:
        return "no stream in this time"
    return f"half within {_seconds(found.half)}, 95 % within {_seconds(found.most)}"
