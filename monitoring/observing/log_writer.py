"""Many log lines at the price of one: their way to the handlers that a logger of the standard library has.

Decides what a handler gets. A record for each line costs as much as an eighth of a request, since it is formatted and flushed by itself.
A handler that only writes texts gets all lines as one record, whose message has between two lines what the handler's formatter writes
behind one message and before the next. So its file looks as if each line had been a record. Other handlers get a record for each line.
"""

import logging
from collections.abc import Iterator, Sequence
from logging.handlers import MemoryHandler, RotatingFileHandler

#: Handlers that write a record's text and the end of a line, and nothing else.
_WRITE_TEXT = (logging.StreamHandler, logging.FileHandler, RotatingFileHandler)
#: A formatter shows by this what it writes before a line and behind it.
_MARK = '{"herd"}\n'


def write(logger: logging.Logger, lines: Sequence[str]) -> None:
    """Writes lines of the level INFO, as if the logger had been told each of them."""
    if not logger.isEnabledFor(logging.INFO):
        return
    if logger.filters:  # what they let through depends on the line
        for line in lines:
            logger.handle(_record(logger, line))
        return
    for handler in _handlers(logger):
        if handler.level <= logging.INFO:
            for text in _texts(logger, handler, lines):
                handler.handle(_record(logger, text))


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """Yields the handlers that a logger's records come to."""
    above: logging.Logger | None = logger
    while above is not None:
        yield from above.handlers
        above = above.parent if above.propagate else None


def _texts(logger: logging.Logger, handler: logging.Handler, lines: Sequence[str]) -> Sequence[str]:
    """Returns the messages of the records in which a handler gets lines."""
    target = handler.target if isinstance(handler, MemoryHandler) else handler
    if len(lines) < 2 or not isinstance(target, logging.StreamHandler) or type(target) not in _WRITE_TEXT:
        return lines
    probe = _record(logger, _MARK)
    try:
        handler.filter(probe)  # Ray Serve's filters add to a record what its formatters show
        before, mark, behind = target.format(probe).partition(_MARK)
        probe.msg = f"{behind}{target.terminator}{before}".join(lines)
        alike = bool(mark) and target.format(probe) == f"{before}{probe.msg}{behind}"
    except Exception:  # noqa: BLE001 (a record of its own tells of it as logging does)
        return lines
    return (probe.msg,) if alike else lines


def _record(logger: logging.Logger, text: str) -> logging.LogRecord:
    return logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None)
