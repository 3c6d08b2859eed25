"""`tests.bench.readme`: the README says what was measured."""

import json
from pathlib import Path

import pytest

from tests.bench.readme import README, table, written


def test_readme_shows_the_figures_as_they_are_committed() -> None:
    readme = README.read_text(encoding="utf-8")
    assert written(readme) == readme, "run `python -m tests.bench.readme`"


def test_readme_without_a_place_for_figures_is_told() -> None:
    with pytest.raises(ValueError, match="the README has no <!-- figures"):
        written("# A project\n")


def test_results_that_are_not_there_have_no_row(tmp_path: Path) -> None:
    (tmp_path / "overhead.json").write_text(json.dumps({"ratio_32": 0.97, "ttft_added_ms_1": 3.5}), encoding="utf-8")
    assert table(tmp_path).splitlines()[2:] == [
        "| Tokens/s at 32 streams, as a part of the bare engine's | 0.97 | bare vLLM server: 1 |",
        "| Time to first token added, one stream | 3.5 ms |  |",
    ]
