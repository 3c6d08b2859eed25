"""`herd status`: what is shown of models, and of their engines beside the plan."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType

from cluster.catalogue.hardware import GIB
from cluster.planner.started.figures import Figures, Report
from deployments.commands.looking import status
from deployments.policy.fleet.model_state import ModelState, Standing
from deployments.policy.fleet.seats import Seat
from deployments.policy.fleet.why import Facts
from deployments.policy.records import starts
from deployments.policy.records.starts import Start
from deployments.policy.records.verdict import Verdict

PLAN = Figures(15 * GIB, 50 * GIB, 400_000)
AS_PLANNED = Report("NVIDIA H100 80GB HBM3", replace(PLAN, start_s=31.4), PLAN, "H100", utilization=0.92)
SMALLER = replace(AS_PLANNED, told=replace(AS_PLANNED.told, kv_bytes=40 * GIB, kv_tokens=320_000), utilization=0.79)
ON_CPU = Report("cpu", Figures(0.5 * GIB, 0.25 * GIB, 5000, 12), Figures(0.5 * GIB, None, 5000), no_plan="no plan: this engine has no GPU")


def lines(told_by: status.Reports) -> list[list[str]]:
    """The cells of the table at 80 columns."""
    console = Console(width=80, highlight=False)
    with console.capture() as captured:
        console.print(status.engines_table(told_by))
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in captured.get().splitlines() if line.startswith("│")]


def test_engines_that_tell_the_same_share_two_rows() -> None:
    later = replace(AS_PLANNED, told=replace(AS_PLANNED.told, start_s=40.2))
    assert lines({"llama": [AS_PLANNED, later]}) == [
        ["llama", "2 engines", "15 GiB", "50 GiB", "400,000", "31 to 40 s"],
        ["", "plan, H100", "15 GiB", "50 GiB", "400,000", "–"],
    ]


def test_engines_that_differ_have_rows_of_their_own() -> None:
    shown = lines({"llama": [AS_PLANNED, SMALLER], "small": [ON_CPU]})
    assert [row[1] for row in shown] == ["1 engine", "plan, H100", "1 engine", "plan, H100", "1 engine", "plan"]
    assert shown[2] == ["llama", "1 engine", "15 GiB", "40 GiB", "320,000", "31 s"]
    assert shown[5] == ["", "plan", "0.5 GiB", "–", "5,000", "–"]


def test_readme_shows_what_is_printed() -> None:
    readme = (Path(__file__).parents[4] / "cluster/README.md").read_text(encoding="utf-8")
    console = Console(width=80, highlight=False)
    with console.capture() as captured:
        console.print(status.engines_table({"llama": [SMALLER]}))
    printed = [line.rstrip() for line in captured.get().splitlines()[1:]]
    assert "\n".join([*printed, *status.sentences({"llama": [SMALLER]})]) in readme


def test_engine_of_an_older_release_is_not_told() -> None:
    assert lines({"llama": [None]}) == [["llama", "1 engine", *["not told"] * 4]]
    silent = replace(AS_PLANNED, told=Figures())
    assert lines({"llama": [silent]})[0] == ["llama", "1 engine", *["not told"] * 4]


def test_each_sentence_is_told_once_for_a_model() -> None:
    said = status.sentences({"llama": [SMALLER, SMALLER, None], "small": [ON_CPU]})
    assert len(said) == 3
    assert said[0].startswith("llama: The KV cache is 40 GiB, 20% less than planned (50 GiB): ")
    assert said[2] == "small: No plan: this engine has no GPU."


STARTING = Start("small", "c", "10.0.0.3", "0.1.0", 940.0, ((starts.WEIGHTS, 940.0), (starts.LOAD, 959.0)))
FACTS = {
    "llama": Facts(
        "llama",
        Standing(ModelState.RUNNING, 2, 2, 3),
        (
            Seat("a", "ready", "10.0.0.1", 8, "0.1.0", since=-9800.0, ongoing=2, waiting=1),
            Seat("b", "ready", "10.0.0.2", 8, "0.1.0", since=400.0, ongoing=1, slow=True),
        ),
        queue=4,
    ),
    "small": Facts(
        "small", Standing(ModelState.STARTING, 0, 1, why="Ray is placing it"), (Seat("c", "starting", since=940.0, start=STARTING),)
    ),
}


def printed(shown: RenderableType, width: int) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(shown)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_table_of_models_fits_80_columns() -> None:
    lines = printed(Group(status.models_table("herd · http://127.0.0.1:8000/v1", FACTS, 1000.0), *status.waiting(FACTS, 1000.0)), 80)
    assert lines == [
        "             herd · http://127.0.0.1:8000/v1",
        "┏━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━┳━━━━━━━┓",
        "┃ model ┃ state    ┃ replicas ┃ requests ┃ queue ┃ since ┃",
        "┡━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━╇━━━━━━━┩",
        "│ llama │ running  │ 2 of 2   │ 3        │ 5     │ 3 h   │",
        "│ small │ starting │ 0 of 1   │ 0        │ 0     │ 60 s  │",
        "└───────┴──────────┴──────────┴──────────┴───────┴───────┘",
        "small waits: Ray is placing it.",
        "small: replica c is loading weights, 41 s (no earlier start to compare).",
        "`herd why small` says what it lacks.",
    ]


def test_wide_table_has_a_row_for_each_replica() -> None:
    assert printed(status.replicas_table(FACTS, 1000.0), status.WIDE) == [
        "Replicas",
        "model  replica  node      GPUs  release  state                      since   requests  queue",
        "llama  a        10.0.0.1  8     0.1.0    ready                      3 h     2         1",
        "llama  b        10.0.0.2  8     0.1.0    ready                      10 min  1         0",
        "small  c        –         –     –        starting: loading weights  60 s    0         0",
    ]


def test_scripts_get_numbers_and_the_sentences_of_what_differs() -> None:
    data: dict[str, Any] = json.loads(json.dumps(status.as_data("herd · http://x/v1", FACTS, {"llama": [SMALLER, None]})))
    assert data["endpoint"] == "http://x/v1"
    llama, small = data["models"]
    assert (llama["state"], llama["replicas"], llama["ongoing_requests"]) == ("running", {"running": 2, "target": 2}, 3)
    assert (llama["queue"], small["why"]) == (5, "Ray is placing it")
    assert llama["each"][1] == {
        "id": "b",
        "state": "ready",
        "node": "10.0.0.2",
        "gpus": 8,
        "release": "0.1.0",
        "since": "1970-01-01T00:06:40.000Z",
        "ongoing_requests": 1,
        "waiting_requests": 0,
        "canary": None,
        "slow": True,
        "phase": None,
    }
    assert (small["each"][0]["phase"], small["each"][0]["node"]) == ("load", None)
    engine, older = llama["engines"]
    assert older is None
    assert engine["device"] == "NVIDIA H100 80GB HBM3"
    assert engine["told"] == {"weights_bytes": 15 * GIB, "kv_bytes": 40 * GIB, "kv_tokens": 320_000, "start_s": 31.4}
    assert engine["planned"] == {"weights_bytes": 15 * GIB, "kv_bytes": 50 * GIB, "kv_tokens": 400_000}
    assert len(engine["differences"]) == 2
    assert small["engines"] == []


def test_size_by_the_load_is_told_with_its_reason() -> None:
    size = Verdict(10.0, 2, 1, "1.4 replicas of load now: 2 instead of 1.", 1.4, 1.6, 2.0, binds="gpus")
    facts = {"llama": replace(FACTS["llama"], size=size), "small": FACTS["small"]}
    llama, small = status.as_data("herd · http://x/v1", facts, {})["models"]
    assert llama["scaling"] == {
        "at": "1970-01-01T00:00:10.000Z",
        "target": 2,
        "reason": "1.4 replicas of load now: 2 instead of 1.",
        "load": {"now": 1.4, "expected": 1.6, "wanted": 2.0},
        "limit": "gpus",
        "held": None,
        "notice": None,
    }
    assert small["scaling"] is None
    assert [str(line) for line in status.sizes(facts)] == ["llama: 1.4 replicas of load now: 2 instead of 1."]
