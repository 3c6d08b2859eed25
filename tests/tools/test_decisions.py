"""`DECISIONS.md`: its index names every entry once, and every entry says whether it still holds."""

import re
from collections import Counter

import pytest

from tests.tools.documents import text_of

PAGE = text_of("DECISIONS.md")
INDEX, _, ENTRIES = PAGE.partition("\n## 1. ")
HEADINGS = re.findall(r"^## (\d+|NN)\. (.*) \((\d{4}-\d\d-\d\d)\)$", PAGE, re.MULTILINE)
STATUS = re.compile(
    r"\*\*Status\*\*: (accepted|accepted, amended in its own text|(?:amended|superseded) by (?P<others>\d+(?:, \d+)*(?: and \d+)?))\."
)


def status_of(number: str) -> re.Match[str] | None:
    """The line below an entry's heading, if it is a status."""
    line = re.search(rf"^## {number}\. .*\n(.*)$", PAGE, re.MULTILINE)
    return STATUS.fullmatch(line[1]) if line else None


def test_entries_are_numbered_one_after_the_other() -> None:
    assert [int(number) for number, *_ in HEADINGS] == list(range(1, len(HEADINGS) + 1))
    assert len(HEADINGS) == len(re.findall(r"^## ", ENTRIES, re.MULTILINE)) + 1, "each heading is `## number. title (date)`"


def test_index_names_every_entry_once_by_its_title() -> None:
    named = Counter(re.findall(r"^- \[(.*?)\]\(#", INDEX, re.MULTILINE))
    assert named == Counter(f"{number}. {title}" for number, title, _ in HEADINGS)


@pytest.mark.parametrize("number", [number for number, *_ in HEADINGS])
def test_entry_has_a_status_and_names_later_entries_only(number: str) -> None:
    status = status_of(number)
    assert status is not None
    others = [int(other) for other in re.findall(r"\d+", status["others"] or "")]
    assert all(int(number) < other <= len(HEADINGS) for other in others)


@pytest.mark.parametrize(
    ("line", "is_one"), [("amended by 7, 8 and 9", True), ("superseded by 3", True), ("see 59", False), ("accepted", True)]
)
def test_status_is_one_of_three(line: str, is_one: bool) -> None:
    assert (STATUS.fullmatch(f"**Status**: {line}.") is not None) is is_one
