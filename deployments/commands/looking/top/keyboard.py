"""The keyboard of a terminal, key by key.

Decides which settings of the terminal change while keys are read, and that they are as before afterwards, whatever happens in between:
Ctrl-C, a signal to end, or a defect.
"""

import contextlib
import os
import select
import signal
import termios
import tty
from collections.abc import Iterator, Sequence
from socket import socket
from types import FrameType
from typing import IO, NoReturn

from deployments.commands.looking.top import keys

_MOST_BYTES = 1024


class Keyboard:
    """A terminal that sends each key at once."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal

    def wait(self, others: Sequence[socket], within_s: float) -> bool:
        """Returns when a key was pressed, when one of the others has something, or after some seconds; tells whether it was a key."""
        watched: list[int | socket] = [self._terminal, *others]
        ready, _, _ = select.select(watched, [], [], within_s)
        return self._terminal in ready

    def read(self) -> list[str]:
        """Returns the keys that were pressed.

        Raises:
            EOFError: the terminal is gone.
        """
        told = os.read(self._terminal, _MOST_BYTES)
        if not told:
            raise EOFError
        return keys.read(told.decode("utf-8", "ignore"))


@contextlib.contextmanager
def keyboard(terminal: IO[str]) -> Iterator[Keyboard]:
    """Yields the keyboard of a terminal; its settings are as before afterwards. A signal to end (SIGTERM, SIGHUP) leaves in order as well.

    Ctrl-Z does nothing meanwhile: a shell would get back a terminal without its line editing.
    """
    number = terminal.fileno()
    before = termios.tcgetattr(number)
    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)}
    try:
        for one in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, _end)
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        tty.setcbreak(number)
        yield Keyboard(number)
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(number, termios.TCSADRAIN, before)
        for one, handler in handlers.items():
            signal.signal(one, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
