"""Reads what the user of a chat types: a line, a line that goes on behind a backslash, or a block in triple quotes.

Lines that were typed can be called back with the arrow keys while the chat lasts. They are kept in memory only: they are prompts, and no
prompt of a herd's is written to a disk that nobody asked for.
"""

import contextlib
import sys
from collections.abc import Callable

QUOTES = '"""'
#: Escape sequences between these two have no width for the line editor.
_PROMPT, _MORE = "\x01\x1b[1;32m\x02you ›\x01\x1b[0m\x02 ", "… "
_PLAIN_PROMPT = "you › "

ReadLine = Callable[[str], str]
"""Shows a prompt and returns the line that was typed behind it. Raises EOFError at the end of the input."""


def reader(coloured: bool) -> Callable[[], str]:
    """Returns a function that reads one message from standard input. Nothing is shown where that is no terminal."""
    if not sys.stdin.isatty():
        return lambda: message(lambda _: input(), "", "")
    with contextlib.suppress(ImportError):  # some builds of Python lack it
        import readline  # noqa: F401 (importing it gives `input` its editing and its history)
    return lambda: message(input, _PROMPT if coloured else _PLAIN_PROMPT, _MORE)


def message(read: ReadLine, prompt: str, more: str) -> str:
    """Reads one message, with all of its lines.

    Args:
        read: reads a line.
        prompt: shown before the first line.
        more: shown before the others.

    Raises:
        EOFError: the input ended before a message began.
    """
    line = read(prompt).strip()
    if line.startswith(QUOTES):
        return _block(read, line.removeprefix(QUOTES), more)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1].removesuffix("\\")
        try:
            lines.append(read(more).rstrip())
        except EOFError:
            break
    return "\n".join(lines).strip()


def _block(read: ReadLine, line: str, more: str) -> str:
    """Reads up to the closing quotes, or to the end of the input."""
    lines = [line]
    while not lines[-1].rstrip().endswith(QUOTES):
        try:
            lines.append(read(more))
        except EOFError:
            return "\n".join(lines).strip()
    lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
    return "\n".join(lines).strip()
