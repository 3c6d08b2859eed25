"""Plans as text: columns that fit the width of a terminal, and sentences that break between words only. Decides nothing about plans.

A column that does not fit is left out, the least needed first; a number is never broken. Nothing here is coloured.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.planner.capacity import LENGTHS
from cluster.planner.choice.numbers import rough, tokens
from cluster.planner.explain import Line
from cluster.planner.speed import SPREAD

GAP, INDENT = "  ", " " * 4
#: Values of the arithmetic stand under each other where they are not longer.
MOST_WIDTH_OF_VALUES = 18
NONE = "–"
#: Narrower terminals get lines of this width, which they break themselves; wider ones get sentences of this width at most.
LEAST_WIDTH, MOST_WIDTH_OF_SENTENCES = 40, 100
#: The first column is broken between its words where it is wider than this; it has no numbers.
MOST_WIDTH_OF_KINDS = 15
#: A model's name is broken behind its hyphens, slashes and dots where it is longer.
MOST_WIDTH_OF_NAMES = 24
#: A number and its unit stay on one line.
UNIT = re.compile(r"(?<=[\dKM]) (?=(?:GiB|KiB|tok/s|tokens|users?|%)(?![a-z]))|(?<=[TPD]P) (?=\d)|(?<=\d) (?=×)|(?<=×) (?=[TPD]P)")

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, the keys of `herd plan --json` that it shows, and how."""

    heading: str
    keys: tuple[str, ...]
    text: Callable[..., str]
    """Takes the values of the keys."""
    need: int
    """Columns of lesser need are left out first where a line is too short; 0: shown in wide tables only."""
    left: bool = False

    def cell(self, values: Values) -> str:
        """Returns the text of one row."""
        found = [values[key] for key in self.keys]
        return NONE if None in found else self.text(*found)


def brief_shape(parallel: Mapping[str, Any]) -> str:
    """Returns a shape without spaces, as lines are short: TP8, PP2×TP8, DP2×TP8 EP; EP is for whole experts."""
    sizes = {"DP": parallel["data"], "PP": parallel["pipeline"], "TP": parallel["tensor"]}
    said = "×".join(f"{name}{size}" for name, size in sizes.items() if size > 1 or name == "TP")
    return f"{said} EP" if parallel["expert"] else said


def _gib(value: float) -> str:
    return f"{value:.1f}"


def _running(running: int, load: Mapping[str, int]) -> str:
    return str(running) if running >= load["concurrency"] else f"{running}/{load['concurrency']}"


def _concurrent(length: str) -> Column:
    return Column(f"{length} each", ("concurrent",), lambda counts: f"{counts[length]:,}", 0)


_PLACE = (
    Column("GPUs", ("gpus",), str, 95),
    Column("shape", ("parallel",), brief_shape, 90, left=True),
    Column("weights", ("quantization",), str.upper, 85, left=True),
    Column("KV", ("kv_dtype",), str.upper, 60, left=True),
)
_ROOM = (
    Column("holds", ("kv_pool_tokens",), tokens, 75),
    Column("longest", ("max_context_tokens",), tokens, 70),
)
_SPEED = (
    Column("users", ("running", "load"), _running, 65),
    Column("tok/s", ("tokens_s",), rough, 80),
    Column("each", ("user_tokens_s",), rough, 50),
)
_WIDE = (
    Column("first token", ("ttft_s",), lambda seconds: f"{rough(seconds)} s", 0),
    Column("limited by", ("limited_by",), str, 0, left=True),
    Column("GiB/GPU", ("weights_gib_per_gpu",), _gib, 0),
    Column("KV GiB/GPU", ("kv_gib_per_gpu",), _gib, 0),
    Column("context", ("context_tokens",), tokens, 0),
    Column("sequences", ("max_num_seqs",), "{:,}".format, 0),
    Column("utilisation", ("gpu_memory_utilization",), "{:g}".format, 0),
    *(_concurrent(length) for length in LENGTHS),
)
#: The columns of wide tables only, and how the others tell of them.
ONLY_WIDE = frozenset(one.heading for one in _WIDE)
IN_WIDE = "first token, limits, memory, sequences"
#: What the headings mean that do not say it themselves.
MEANINGS = {
    "n": "replicas",
    "holds": "tokens of all requests together",
    "longest": "one request",
    "users": "run at once, of those asked",
    "each": "tok/s of one",
    "per 1M": "price of a million tokens",
}
_COST = Column("per 1M", ("cost_per_million_tokens",), rough, 82)
KINDS = Column("kind", ("kinds",), ", ".join, 100, left=True)
MODEL = Column("model", ("model",), str, 100, left=True)
VERDICT = Column("verdict", ("verdict",), str, 98, left=True)
REPLICAS = Column("n", ("replicas",), str, 88)
CONTEXT = Column("context", ("context_tokens",), tokens, 78)
NUMBERED = Column("fits", ("fits",), lambda fits: "yes" if fits else "no", 100, left=True)


def columns_of_plans(*, every: bool, priced: bool) -> tuple[Column, ...]:
    """Returns the columns of one model's plans."""
    cost = (_COST,) if priced else ()
    return ((NUMBERED, KINDS) if every else (KINDS,)) + (*_PLACE, *_ROOM, *_SPEED, *cost, *_WIDE)


def columns_of_herds(*, priced: bool) -> tuple[Column, ...]:
    """Returns the columns of a herd's models."""
    cost = (_COST,) if priced else ()
    wide = tuple(one for one in _WIDE if one.heading != CONTEXT.heading)
    return (MODEL, VERDICT, REPLICAS, *_PLACE[1:], CONTEXT, *_ROOM, *_SPEED, *cost, *wide)


@dataclass(frozen=True, slots=True)
class Table:
    """Lines of text, and the headings of the columns that are shown, and of those that are not."""

    lines: tuple[str, ...]
    shown: tuple[str, ...]
    left_out: tuple[str, ...]


def table(columns: Sequence[Column], rows: Sequence[Values], width: int | None) -> Table:
    """Returns rows under headings.

    Args:
        columns: what may be shown, in the order in which it is.
        rows: values by the keys of the columns.
        width: characters of a line; None: every column is shown.
    """
    kept = [one for one in columns if one.need or width is None]
    cells = {one.heading: [_broken(one, one.cell(row)) for row in rows] for one in kept}
    while width is not None and len(kept) > 1 and _width(kept, cells) > max(width, LEAST_WIDTH):
        kept.remove(min(kept, key=lambda one: one.need))
    lines = [_line(kept, cells, {one.heading: one.heading for one in kept})]
    for number in range(len(rows)):
        height = max(len(cells[one.heading][number]) for one in kept)
        lines.extend(_line(kept, cells, {one.heading: _part(cells[one.heading][number], part) for one in kept}) for part in range(height))
    shown = tuple(one.heading for one in kept)
    return Table(tuple(lines), shown, tuple(one.heading for one in columns if one.heading not in shown))


def _broken(column: Column, text: str) -> list[str]:
    """Returns a cell in lines: kinds break between words, names of models behind their marks, all others stay whole."""
    if column is KINDS:
        return textwrap.wrap(text, MOST_WIDTH_OF_KINDS, break_long_words=False, break_on_hyphens=False) or [""]
    return _name_in_lines(text) if column is MODEL else [text]


def _name_in_lines(name: str) -> list[str]:
    lines = [""]
    for piece in re.findall(rf"[^-/._:]{{0,{MOST_WIDTH_OF_NAMES - 1}}}[-/._:]?", name):
        if len(lines[-1]) + len(piece) > MOST_WIDTH_OF_NAMES:
            lines.append("")
        lines[-1] += piece
    return lines


def _part(lines: Sequence[str], part: int) -> str:
    return lines[part] if part < len(lines) else ""


def _wide(column: Column, cells: Mapping[str, Sequence[Sequence[str]]]) -> int:
    return max(len(column.heading), *(len(line) for cell in cells[column.heading] for line in cell), 0)


def _width(columns: Sequence[Column], cells: Mapping[str, Sequence[Sequence[str]]]) -> int:
    return sum(_wide(one, cells) for one in columns) + len(GAP) * (len(columns) - 1)


def _line(columns: Sequence[Column], cells: Mapping[str, Sequence[Sequence[str]]], texts: Mapping[str, str]) -> str:
    sizes = {one.heading: _wide(one, cells) for one in columns}
    padded = (f"{texts[one.heading]:{'<' if one.left else '>'}{sizes[one.heading]}}" for one in columns)
    return GAP.join(padded).rstrip()


def sentence(text: str, width: int, indent: str = "") -> str:
    """Returns a sentence in lines that break between words, and never between a number and its unit. A longer word, a path for instance,
    has a line of its own, which the terminal goes on with."""
    most = max(LEAST_WIDTH, min(width, MOST_WIDTH_OF_SENTENCES))
    joined = UNIT.sub("\u00a0", text)
    lines = textwrap.wrap(joined, most, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines).replace("\u00a0", " ")


def legend(found: Table, *, priced: bool) -> str:
    """Returns what the words of a table of plans mean, and what it leaves out."""
    prices = " and prices" if priced else ""
    near = [name for name in found.left_out if name not in ONLY_WIDE]
    hidden = f" --wide adds {', '.join([*near, IN_WIDE])}." if found.left_out else ""
    meant = [f"{name}: {meaning}" for name, meaning in MEANINGS.items() if name in found.shown]
    words = "; ".join(meant + ["EP: whole experts on each GPU"] * any(" EP " in line for line in found.lines))
    return f"Speeds{prices} are ±{SPREAD * 100:.0f} %, K is 1,024 tokens.{f' {words}.' if words else ''}{hidden}"


def arithmetic(lines: Iterable[Line], width: int) -> str:
    """Returns the arithmetic of one plan: each quantity and its value on a line, and below it how it is counted, and from where."""
    found = list(lines)
    names = max(len(one.what) for one in found)
    return "\n".join(f"{_valued(one, names, width)}\n{sentence(f'{one.how} [{one.source}]', width, INDENT)}" for one in found)


def _valued(one: Line, names: int, width: int) -> str:
    line = f"{one.what.ljust(names)}{GAP}{one.value.rjust(MOST_WIDTH_OF_VALUES)}"
    return line if len(line) <= max(width, LEAST_WIDTH) else f"{one.what}\n{INDENT}{one.value}"
