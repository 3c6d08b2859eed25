"""Lines that are written together: each handler's file looks as if the logger had been told each of them."""

import io
import json
import logging
import logging.handlers
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._common.formatters import JSONFormatter
from ray.serve._private.logging_utils import ServeContextFilter, ServeFormatter

from monitoring.observing import log_writer

LINES = ['{"event":"request","id":"100 %s"}', '{"event":"request","id":"b"}', '{"event":"request","id":"c"}']


class Records(logging.Handler):
    """Keeps records, as a handler of somebody's own does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


class Counted(io.StringIO):
    """Counts how often it is written to."""

    times = 0

    def write(self, text: str) -> int:
        self.times += 1
        return super().write(text)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    one = logging.getLogger("tests.log_writer")
    one.setLevel(logging.INFO)
    one.propagate = False
    yield one
    for handler in one.handlers[:]:
        one.removeHandler(handler)
        if isinstance(handler, logging.handlers.MemoryHandler) and handler.target is not None:
            handler.target.close()
        handler.close()
    one.propagate = True


def formatted(handler: logging.Handler, formatter: logging.Formatter) -> logging.Handler:
    handler.setFormatter(formatter)
    return handler


def as_serve(path: Path, formatter: logging.Formatter) -> logging.Handler:
    """The handler of a replica's file, as Ray Serve makes it."""
    file = formatted(logging.handlers.RotatingFileHandler(path, maxBytes=1 << 20, backupCount=1), formatter)
    handler = logging.handlers.MemoryHandler(capacity=1, target=file)
    handler.addFilter(ServeContextFilter())
    return handler


def test_text_is_written_at_once_with_the_formatters_words_before_and_behind_each_line(logger: logging.Logger) -> None:
    stream = Counted()
    logger.addHandler(formatted(logging.StreamHandler(stream), logging.Formatter("%(levelname)s %(name)s -- %(message)s (%(lineno)d)")))
    log_writer.write(logger, LINES)
    assert stream.getvalue() == "".join(f"INFO tests.log_writer -- {line} (0)\n" for line in LINES)
    assert stream.times == 1


def test_ray_serves_file_has_each_line_as_if_it_came_alone(logger: logging.Logger, tmp_path: Path) -> None:
    logger.addHandler(as_serve(tmp_path / "log", ServeFormatter("gateway_gateway", "0a1b2c3d")))
    log_writer.write(logger, LINES)
    log_writer.write(logger, LINES[:1])
    logger.info("%s", LINES[2])
    found = (tmp_path / "log").read_text().splitlines()
    heads = [re.fullmatch(r"INFO \S+ \S+ gateway_gateway 0a1b2c3d -- (.*)", line) for line in found]
    assert [head and head[1] for head in heads] == [*LINES, LINES[0], LINES[2]]


def test_formatter_that_changes_texts_gets_each_line_alone(logger: logging.Logger, tmp_path: Path) -> None:
    """As Ray Serve's for JSON does."""
    logger.addHandler(as_serve(tmp_path / "log", JSONFormatter()))
    log_writer.write(logger, LINES)
    assert [json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()] == LINES


class Indented(logging.Formatter):
    """Shows that a message has more lines than one."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\n    ")


@pytest.mark.parametrize(
    "formatter",
    [Indented("%(message)s"), *(logging.Formatter(shape) for shape in ("%(message)s %(message)s", "%(message)-90s|", "%(message).20s|"))],
)
def test_formatter_that_does_more_than_add_words_gets_each_line_alone(logger: logging.Logger, formatter: logging.Formatter) -> None:
    alone, together = io.StringIO(), io.StringIO()
    for stream, batches in ((alone, [[line] for line in LINES]), (together, [LINES])):
        logger.addHandler(handler := formatted(logging.StreamHandler(stream), formatter))
        for lines in batches:
            log_writer.write(logger, lines)
        logger.removeHandler(handler)
    assert together.getvalue() == alone.getvalue()


def test_line_ends_as_the_handler_ends_its_texts(logger: logging.Logger) -> None:
    handler = logging.StreamHandler(stream := io.StringIO())
    handler.terminator = "\r\n"
    logger.addHandler(handler)
    log_writer.write(logger, LINES)
    assert stream.getvalue() == "".join(f"{line}\r\n" for line in LINES)


def test_filter_of_the_logger_is_asked_about_each_line(logger: logging.Logger) -> None:
    logger.addHandler(logging.StreamHandler(stream := io.StringIO()))
    logger.addFilter(only := lambda record: record.getMessage() != LINES[1])
    log_writer.write(logger, LINES)
    logger.removeFilter(only)
    assert stream.getvalue().splitlines() == [LINES[0], LINES[2]]


def test_handler_of_another_kind_gets_each_line_as_a_record(logger: logging.Logger) -> None:
    one, without_target = Records(), logging.handlers.MemoryHandler(capacity=100)
    logger.addHandler(one)
    logger.addHandler(without_target)
    log_writer.write(logger, LINES)
    assert [record.getMessage() for record in one.kept] == LINES
    assert [record.getMessage() for record in without_target.buffer] == LINES
    assert (one.kept[0].name, one.kept[0].levelno) == (logger.name, logging.INFO)


def test_formatter_that_fails_is_told_as_logging_tells_it_and_nothing_is_raised(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.addHandler(formatted(logging.StreamHandler(io.StringIO()), logging.Formatter("%(nothing)s")))
    log_writer.write(logger, LINES)
    assert capsys.readouterr().err.count("Logging error") == len(LINES)


def test_levels_and_propagation_are_those_of_logging(logger: logging.Logger) -> None:
    child, own, above, deaf = logger.getChild("child"), Records(), Records(), Records()
    deaf.setLevel(logging.WARNING)
    child.addHandler(own)
    for handler in (above, deaf):
        logger.addHandler(handler)
    log_writer.write(child, LINES)
    assert [len(one.kept) for one in (own, above, deaf)] == [3, 3, 0]
    child.propagate = False
    log_writer.write(child, LINES)
    assert [len(one.kept) for one in (own, above)] == [6, 3]
    child.setLevel(logging.WARNING)
    log_writer.write(child, LINES)
    assert len(own.kept) == 6
    child.removeHandler(own)
