"""`herd pull`'s words, what they ask for, and how it is told. No Ray, no Hub."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cluster.catalogue.weights import Node, Source
from deployments.commands.pull import chosen, needs, split
from deployments.commands.pull_progress import Board, Rate, line
from deployments.lifecycle.herd import OperationError
from deployments.weights.agent import Progress
from tests.unit.samples import config, model, scout

A, B, HEAD = (Node(name, name, resources) for name, resources in [("a", {"GPU": 8.0}), ("b", {"GPU": 8.0}), ("h", {"CPU": 4.0})])


@pytest.mark.parametrize(
    ("words", "path", "models"),
    [
        ([], None, ()),
        (["scout"], None, ("scout",)),
        (["herd.yaml"], Path("herd.yaml"), ()),
        (["configs/herd.yml", "scout", "llama"], Path("configs/herd.yml"), ("scout", "llama")),
    ],
)
def test_first_word_may_be_a_config(words: list[str], path: Path | None, models: tuple[str, ...]) -> None:
    assert split(words) == (path, models)


def test_models_are_chosen_by_id_or_alias() -> None:
    herd = config(scout(aliases=["small"]), model())
    assert [one.id for one in chosen(herd, [])] == ["scout", "llama"]
    assert [one.id for one in chosen(herd, ["small", "scout"])] == ["scout"]
    with pytest.raises(OperationError, match=r"'maverick' is no model of this config, and no YAML file\. Its models: scout, llama"):
        chosen(herd, ["maverick"])


def test_source_goes_to_every_node_that_may_serve_a_model_of_it() -> None:
    herd = [
        model(id="one", accelerator="gpu"),
        model(id="two", accelerator="cpu"),
        model(id="built", checkpoint="small:smollm2-135m-instruct"),
    ]
    assert needs(herd, [A, B, HEAD]) == {Source("meta-llama/Llama-3.1-8B-Instruct"): ("a", "b", "h")}
    assert needs([model(id="built", checkpoint="/models/llama")], []) == {}


@pytest.mark.parametrize(("accelerator", "kind"), [("H100", r"GPUs \(H100\)"), ("cpu", "CPUs")])
def test_model_that_no_node_may_serve_is_told(accelerator: str, kind: str) -> None:
    with pytest.raises(OperationError, match=f"No node of the cluster may serve llama: it asks for {kind}"):
        needs([model(accelerator=accelerator)], [A])


ROW = ("10.0.0.1", Source("a/b"), Progress(3 << 30, 4 << 30))


def test_line_says_how_far_and_how_fast() -> None:
    assert line(ROW, 100 << 20) == "10.0.0.1  a/b  3.0 GiB of 4.0 GiB (75 %), 100.0 MiB/s"


def test_rate_is_that_of_late() -> None:
    rate = Rate()
    assert [rate.now(at, count) for at, count in [(0, 0), (1, 100), (2, 200)]] == [0, 100, 100]
    assert rate.now(20, 200) == 0


@pytest.mark.parametrize(("terminal", "kind"), [(True, "xterm"), (True, "dumb"), (False, "xterm")])
def test_board_shows_rows_in_a_terminal_and_elsewhere(terminal: bool, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", kind)
    said = io.StringIO()
    with Board(Console(file=said, force_terminal=terminal, width=120)) as board:
        board.show([ROW])
        board.show([ROW])
    assert "4.0 GiB" in said.getvalue()
    if not terminal or kind == "dumb":
        assert said.getvalue().count("10.0.0.1") == 1  # a line now and then
