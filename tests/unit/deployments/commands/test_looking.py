"""`herd events`, `herd logs`, `herd why`: what is printed for people, and what for scripts."""

import json
import re

import pytest
import typer
from rich.console import Console

from deployments.commands.looking import events, logs, spans, why
from deployments.commands.looking.named import of_config
from deployments.lifecycle.herd import OperationError
from deployments.policy.fleet.events import Event, Kind
from deployments.policy.fleet.model_state import ModelState, Standing
from deployments.policy.fleet.why import Facts, Finding
from deployments.policy.records.log_lines import Line
from tests.unit.samples import config, model, scout

HAPPENED = [
    Event(1764349200.0, Kind.CHANGE, "a change of the herd began: scout", who="anna@head"),
    Event(1764349260.0, Kind.DEATH, "it is gone from 10.0.0.2 without a word", "scout", "btqux0sh", "gateway"),
    Event(1764349300.0, "of a later release", "[bold]words[/bold]", who="bob"),
]


def test_table_of_events_fits_80_columns_and_takes_no_markup() -> None:
    console = Console(width=80, highlight=False)
    with console.capture() as captured:
        console.print(events.table(HAPPENED))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "change a change of the herd began: anna@head scout" in text
    assert "[bold]words[/bold]" in text
    assert re.search(r"death\s+scout btqux0sh: it is gone", text)


def test_events_for_scripts_are_lines_of_json_in_utc() -> None:
    said = json.loads(events.as_line(HAPPENED[1]))
    assert said == {
        "when": "2025-11-28T17:01:00.000Z",
        "kind": "death",
        "words": "it is gone from 10.0.0.2 without a word",
        "model": "scout",
        "subject": "btqux0sh",
        "who": "gateway",
    }


def test_line_of_a_log_is_labelled_by_node_and_replica() -> None:
    line = Line(1764349200.5, "10.0.0.2", "scout", "btqux0sh", "INFO x")
    assert logs.label(line) == "10.0.0.2 btqux0sh"
    said = json.loads(logs.as_line(line))
    assert said == {"time": "2025-11-28T17:00:00.500Z", "node": "10.0.0.2", "model": "scout", "replica": "btqux0sh", "line": "INFO x"}
    assert json.loads(logs.as_line(Line(0.0, "n", "", "raylet", "x")))["model"] is None


def test_few_nodes_that_are_gone_are_named_and_the_others_counted() -> None:
    assert logs._named(["10.0.0.1", "10.0.0.2"]) == "10.0.0.1, 10.0.0.2"
    assert logs._named([f"10.0.0.{number}" for number in range(9)]) == "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3 and 5 more"


def test_model_is_found_by_id_and_alias_and_others_are_named() -> None:
    herd = config(model(aliases=["small"]), scout())
    assert of_config(herd, "small").id == "llama"
    assert of_config(herd, "scout").id == "scout"
    with pytest.raises(OperationError, match=r"No model is called 'gpt' here\. There are: llama, scout, small.*, ray\."):
        of_config(herd, "gpt", ("ray",))


def test_since_is_a_span_before_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert spans.began("10m") == 400.0
    assert spans.began(None) == 0.0
    with pytest.raises(typer.BadParameter, match="write 90s, 10m, 2h or 1d"):
        spans.began("soon")


def test_reasons_for_scripts() -> None:
    facts = Facts("scout", Standing(ModelState.STARTING, 0, 1), ())
    assert json.loads(why.as_line(facts, (Finding("It waits.", "Wait.", 5.0),))) == {
        "model": "scout",
        "state": "starting",
        "replicas": {"running": 0, "target": 1},
        "findings": [{"what": "It waits.", "todo": "Wait.", "since_s": 5.0}],
    }
