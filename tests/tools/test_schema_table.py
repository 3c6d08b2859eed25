"""`configs/README.md` shows every field of the config as the schema has it, and each description is plain sentences."""

import re

import pytest

from configs.schema import Config
from tests.tools.schema_table import PAGE, Row, rows, written

ROWS = rows(Config)
#: A sentence that begins so is about an unnamed thing.
RIDDLE = re.compile(r"(?:^|[.:;] )(?:Who|What|Whoever|Whatever)\b", re.IGNORECASE)


def test_page_shows_the_schema_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "run `python -m tests.tools.schema_table`"


def test_page_without_a_place_for_the_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no <!-- fields"):
        written("# A page\n")


def test_every_section_of_the_config_has_rows() -> None:
    sections = {row.path.rpartition(".")[0] for row in ROWS}
    assert {
        "",
        "gateway",
        "gateway.limits",
        "models[]",
        "models[].canary",
        "cluster.onprem",
        "engine_tls",
        "hardware.custom_gpu",
    } <= sections


def test_row_has_form_bounds_and_default() -> None:
    by_path = {row.path: (row.form, row.default) for row in ROWS}
    assert by_path["gateway.limits.queue_s"] == ("number, above 0, to 3,600", "`30`")
    assert by_path["gateway.port"] == ("whole number, from 1, to 65,535", "`8000`")
    assert by_path["models"] == ("list of sections", "required")
    assert by_path["models[].fallbacks"] == ("list of texts", "")
    assert by_path["gateway.requests.unknown_fields"] == ("`pass`, `drop`, `refuse`", "`pass`")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.path))
def test_description_is_plain_sentences(row: Row) -> None:
    assert row.description, "it has none"
    assert row.description.endswith("."), "it ends without a full stop"
    assert row.description[0].isupper() or row.description[0] == "`" or row.description.startswith("vLLM"), "it begins in the middle"
    assert not RIDDLE.search(row.description), "a sentence begins with who or what"


@pytest.mark.parametrize(
    ("text", "is_one"), [("What it needs.", True), ("A host. Who asks waits.", True), ("A user who asks waits.", False)]
)
def test_sentence_that_begins_with_who_or_what_is_noticed(text: str, is_one: bool) -> None:
    assert bool(RIDDLE.search(text)) is is_one
