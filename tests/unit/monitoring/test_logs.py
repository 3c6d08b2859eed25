"""`monitoring.logs`: one JSON object a line, through Ray Serve's logger, and the root logger untouched."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from monitoring import logs


@pytest.fixture(autouse=True)
def _afterwards_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_event_is_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    handlers = logging.getLogger().handlers[:]
    logs.configure()
    logs.configure()
    with caplog.at_level(logging.INFO, logger=logs.LOGGER):
        structlog.get_logger("herd.test").info("replica_lost", model="scout", ready=2)
    (record,) = caplog.records
    line = json.loads(record.message)
    assert record.name == logs.LOGGER
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "replica_lost", "level": "info", "model": "scout", "ready": 2}
    assert logging.getLogger().handlers == handlers


def test_exception_stands_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    logs.configure()
    with caplog.at_level(logging.INFO, logger=logs.LOGGER):
        structlog.get_logger("herd.test").error("defect", exc_info=ValueError("why"))
    assert "ValueError: why" in json.loads(caplog.records[0].message)["exception"]


def test_details_stay_out(caplog: pytest.LogCaptureFixture) -> None:
    logs.configure()
    with caplog.at_level(logging.DEBUG, logger=logs.LOGGER):
        structlog.get_logger("herd.test").debug("piece_sent")
    assert not caplog.records
