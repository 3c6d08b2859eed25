"""The state of the view, and what a key makes of it.

Decides keys, orders and filters. A model that is chosen stays chosen when the order changes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from deployments.commands.looking.top.figures import Figures, Row

#: The orders, by name; of equal models the name decides.
ORDERS: Mapping[str, Callable[[Row], float]] = MappingProxyType(
    {
        "name": lambda _: 0.0,
        "running": lambda row: -row.running,
        "waiting": lambda row: -row.waiting,
        "tokens/s": lambda row: -(row.tokens_s or 0.0),
        "first token": lambda row: -(row.ttft.most or 0.0),
        "failed": lambda row: -(row.failed_s or 0.0),
    }
)
UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = "up", "down", "page up", "page down", "home", "end"
ENTER, ESCAPE, BACKSPACE = "enter", "escape", "backspace"
_SEQUENCES = {
    "\x1b[A": UP, "\x1bOA": UP, "\x1b[B": DOWN, "\x1bOB": DOWN, "\x1b[5~": PAGE_UP, "\x1b[6~": PAGE_DOWN,
    "\x1b[H": HOME, "\x1bOH": HOME, "\x1b[1~": HOME, "\x1b[F": END, "\x1bOF": END, "\x1b[4~": END,
    "\r": ENTER, "\n": ENTER, "\x1b": ESCAPE, "\x7f": BACKSPACE, "\x08": BACKSPACE,
}  # fmt: skip
_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)
_MOVES = {"k": UP, "j": DOWN, "g": HOME, "G": END}
PAGE = 10
MOST_FILTER = 60


@dataclass(frozen=True, slots=True)
class State:
    """The content of the view, and the place of its reader in it."""

    chosen: str = ""
    """The id of the model on which the cursor is; empty: the first one."""
    order: int = 0
    words: str = ""
    """Only models are shown whose id has these words in it."""
    types: bool = False
    """The words are being typed."""
    detail: bool = False
    """The chosen model is shown alone."""
    first: int = 0
    """The number of the first replica that is shown of it."""
    helps: bool = False
    over: bool = False
    """The view ends."""

    @property
    def order_name(self) -> str:
        """Returns what models are sorted by."""
        return tuple(ORDERS)[self.order]


def read(text: str) -> list[str]:
    """Returns the keys in what a terminal has sent; a sequence that is not known is left out."""
    found = _KEY.findall(text)
    return [_SEQUENCES.get(one, one) for one in found if one in _SEQUENCES or len(one) == 1]


def shown(figures: Figures, state: State) -> list[Row]:
    """Returns the models that pass the filter, in order."""
    by = ORDERS[state.order_name]
    words = state.words.lower()
    return sorted((row for row in figures.rows if words in row.model.lower()), key=lambda row: (by(row), row.model))


def place(rows: Sequence[Row], state: State) -> int:
    """Returns the number of the row on which the cursor is."""
    return next((index for index, row in enumerate(rows) if row.model == state.chosen), 0)


def after(state: State, key: str, figures: Figures) -> State:
    """Returns the state after a key."""
    if state.types:
        return _typed(state, key)
    if state.helps:
        return replace(state, helps=False, over=key == "q")
    everywhere = {
        "q": replace(state, over=True),
        "?": replace(state, helps=True),
        "s": replace(state, order=(state.order + 1) % len(ORDERS), detail=False),
        "/": replace(state, types=True, detail=False),
    }
    if key in everywhere:
        return everywhere[key]
    rows = shown(figures, state)
    return _in_detail(state, key, rows) if state.detail else _in_list(state, key, rows)


def _typed(state: State, key: str) -> State:
    if key == ENTER:
        return replace(state, types=False)
    if key == ESCAPE:
        return replace(state, types=False, words="")
    if key == BACKSPACE:
        return replace(state, words=state.words[:-1])
    return replace(state, words=(state.words + key)[:MOST_FILTER]) if len(key) == 1 and key.isprintable() else state


def _in_list(state: State, key: str, rows: Sequence[Row]) -> State:
    if not rows:
        return replace(state, words="") if key == ESCAPE else state
    at = _moved(place(rows, state), key, len(rows))
    if key == ENTER:
        return replace(state, chosen=rows[at].model, detail=True, first=0)
    return replace(state, words="") if key == ESCAPE else replace(state, chosen=rows[at].model)


def _in_detail(state: State, key: str, rows: Sequence[Row]) -> State:
    if key in (ESCAPE, ENTER, BACKSPACE):
        return replace(state, detail=False)
    count = len(rows[place(rows, state)].replicas) if rows else 0
    return replace(state, first=_moved(state.first, key, count))


def _moved(at: int, key: str, count: int) -> int:
    """Returns a place among `count` after a key that moves; the same one after any other."""
    steps = {UP: -1, DOWN: 1, PAGE_UP: -PAGE, PAGE_DOWN: PAGE, HOME: -count, END: count}
    return max(0, min(count - 1, at + steps.get(_MOVES.get(key, key), 0)))
