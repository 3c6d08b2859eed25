"""`tests.bench.readme` and `plots`: `tests/README.md` and the pictures say what was measured."""

import json
import re
from pathlib import Path

import pytest

from tests.bench.plots import PLOTS, draw
from tests.bench.readme import README, RESULTS, table, written


def test_page_shows_the_figures_as_they_are_committed() -> None:
    page = README.read_text(encoding="utf-8")
    assert written(page) == page, "run `python -m tests.bench.readme`"


def test_page_without_a_place_for_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no <!-- figures"):
        written("# A project\n")


def test_results_that_are_not_there_have_no_row(tmp_path: Path) -> None:
    said = {"ratio_32": 0.97, "ttft_added_ms_1": 3.5, "ttft_added_ms_32": 20.0, "vllm-router: ttft_added_ms_1": 4.0}
    (tmp_path / "overhead.json").write_text(json.dumps(said), encoding="utf-8")
    assert table(tmp_path).splitlines()[2:] == [
        "| Tokens/s at 32 streams, as a part of the bare engine's | 0.97 |  |",
        "| Time to first token added, one stream | 3.5 ms | vllm-router: 4 ms |",
        "| Time to first token added, 32 streams | 20 ms |  |",
    ]


@pytest.mark.parametrize("name", PLOTS)
def test_results_have_a_picture(name: str, tmp_path: Path) -> None:
    draw(name, RESULTS, tmp_path)
    drawn, committed = ((folder / f"{name}.svg").read_text(encoding="utf-8") for folder in (tmp_path, RESULTS))
    assert "herd" in drawn
    assert texts(drawn) == texts(committed), "run `python -m tests.bench.plots`"


def texts(svg: str) -> list[str]:
    """What is written in a picture; where, differs with the machine in the last digits."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)
