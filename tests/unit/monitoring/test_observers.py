"""What watches a gateway's requests, and what it loads for that."""

import json
import logging
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from configs.observing import Observing, Tracing
from monitoring.export import Meter
from monitoring.labels import Outcome
from monitoring.logs import LOGGER
from monitoring.observing import observers as module
from monitoring.observing.observers import Observers
from tests.otlp_receiver import otlp_receiver


def test_gateway_without_tracing_loads_no_opentelemetry() -> None:
    """In a process of its own: others of this one may have loaded it."""
    code = (
        "import sys\n"
        "from configs.observing import Observing\n"
        "from monitoring.export import Meter\n"
        "from monitoring.observing.observers import Observers\n"
        "import deployments.gateway.pipeline\n"
        "Observers(Observing(), 'own', lambda s, f: None).journal(Meter())\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests', 'google.protobuf'))])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_traces_need_is_loaded_when_a_gateway_is_made_that_has_them() -> None:
    """What is loaded later, in the thread that sends, is walked through by each of Python's collections."""
    code = (
        "import sys\n"
        "from configs.observing import Observing, Tracing\n"
        "from monitoring.observing import observers\n"
        "observers.Traces.apply = lambda self, wanted: None\n"
        "observers.Observers(Observing(tracing=Tracing(endpoint='http://127.0.0.1:9/v1/traces')), 'own', lambda s, f: None)\n"
        "print('opentelemetry.sdk.trace' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def test_gateway_starts_without_traces_where_opentelemetry_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OTLP", "monitoring.observing.not_installed")
    with capture_logs() as logs:
        observers = Observers(Observing(tracing=Tracing(endpoint="http://127.0.0.1:9/v1/traces")), "own", lambda after_s, call: None)
        observers.stop(within_s=60)
    assert [(line["event"], line["error"]) for line in logs] == [("traces_off", "ModuleNotFoundError")]


def test_gateway_that_is_to_tell_nothing_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=LOGGER):
        observers = Observers(Observing(access_log="off"), "own", lambda after_s, call: None)
        journal = observers.journal(Meter())
        journal.ended(journal.begins("chat", journal.clock(), "req-1"), Outcome.OK, None, journal.clock())
        observers.stop(within_s=60)
    assert not caplog.records


def test_request_that_has_ended_is_told_to_the_log_and_to_the_collector(caplog: pytest.LogCaptureFixture) -> None:
    with otlp_receiver() as receiver, caplog.at_level(logging.INFO, logger=LOGGER):
        tracing = Tracing(endpoint=receiver.url, sample_ratio=1)
        observers = Observers(Observing(tracing=tracing, access_log="all"), "own", lambda after_s, call: None, batch_s=60)
        journal = observers.journal(Meter())
        journal.ended(journal.begins("chat", journal.clock(), "req-1"), Outcome.OK, None, journal.clock())
        observers.stop(within_s=60)
    assert [span.name for span in receiver.spans] == ["chat unknown"]
    assert '"id":"req-1"' in caplog.records[0].getMessage()
    assert receiver.spans[0].trace in caplog.records[0].getMessage()


def test_request_that_ended_before_a_change_is_told_as_was_said_then(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=LOGGER):
        observers = Observers(Observing(access_log="all"), "own", lambda after_s, call: None)
        journal = observers.journal(Meter())
        for number, wanted in enumerate(("off", "all", "errors")):
            journal.ended(journal.begins("chat", journal.clock(), f"req-{number}"), Outcome.OK, None, journal.clock())
            observers.apply(Observing.model_validate({"access_log": wanted}))
        observers.stop(within_s=60)
    assert [json.loads(record.getMessage())["id"] for record in caplog.records] == ["req-0", "req-2"]
