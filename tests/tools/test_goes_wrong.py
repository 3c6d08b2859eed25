"""The table of what goes wrong in `deployments/README.md`: twenty things or more, each with a test that is there, and told in time."""

import re

import pytest

from tests.tools.documents import ROOT, text_of

SECTION = text_of("deployments/README.md").partition("## What goes wrong, and what is said\n")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in SECTION.splitlines() if line.startswith("|")][2:]
#: From when a cause is known until it is told.
TOLD_S = 30.0
NOT_MEASURED = "–"


def test_table_has_at_least_twenty_things_that_go_wrong() -> None:
    assert len({row[0] for row in ROWS}) >= 20


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_thing_that_goes_wrong_is_told_in_time_by_a_test_that_exists(row: list[str]) -> None:
    what, said, seconds, named = row
    assert what
    assert said
    assert seconds == NOT_MEASURED or 0 < float(seconds) < TOLD_S
    found = re.fullmatch(r"`(\w+/\w+\.py)::(test_\w+)(?:\[([\w-]+)\])?`", named)
    assert found is not None, named
    text = (ROOT / "tests" / found[1]).read_text(encoding="utf-8")
    assert f"def {found[2]}(" in text
    assert found[3] is None or re.search(rf'["\']{re.escape(found[3])}["\']', text), "the test has no such case"
