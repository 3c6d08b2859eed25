"""`herd plan` as people read it: lines of 80 columns or fewer in which no number is broken; `plans/` holds what it says of every config.

`UPDATE_PLANS=1 pytest tests/unit/deployments/commands/test_plan_tables.py` writes the files anew: read each before you commit it.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.catalogue.hardware import GPUS
from cluster.planner.choice.record import KEYS_OF_HERDS, KEYS_OF_PLANS
from deployments.commands.plan_tables import MOST_WIDTH_OF_NAMES, columns_of_herds, columns_of_plans, sentence, table
from tests.unit.cluster.planner.test_search import KINDS
from tests.unit.deployments.commands.test_plan import CONFIGS, FLAGS, as_json, run
from tests.unit.machines import ROOT

PLANS = Path(__file__).parent / "plans"
#: Plans of models, beside those of the configs: by the name of the file.
ASKED = {
    "llama-4-scout": "llama-4-scout",
    "llama-4-maverick": "llama-4-maverick",
    "llama-4-maverick-1m-2-nodes": "llama-4-maverick --nodes 2 --context 1M --concurrency 4",
    "llama-3.3-70b": "llama-3.3-70b",
    "llama-3.1-8b-l4-priced": "llama-3.1-8b --gpu L4 --price 0.8",
    "llama-4-scout-one-gpu": "llama-4-scout --gpus 1",
    "llama-4-scout-cheapest": "llama-4-scout --cheapest --price 2",
    "llama-4-scout-int4-all": "llama-4-scout --quantization int4 --kv-dtype bf16 --all",
    "llama-4-scout-explained": "llama-4-scout --explain",
}
FILES = sorted(path.name for path in CONFIGS.glob("*.yaml"))
#: What a cell, or a word of a sentence, is that ends in a digit where the next line goes on with the number.
BROKEN = re.compile(r"\d[,.]$|[\d,.]+[KM]?\n +(?:GiB|KiB|tok/s)|(?:^| )(?:[TPD]P)\n")


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def printed(words: str) -> str:
    found = run(*words.split())
    assert found.exit_code == 0, found.stderr
    return str(found.stdout)


def held(name: str, text: str) -> None:
    path = PLANS / f"{name}.txt"
    if os.environ.get("UPDATE_PLANS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def check(text: str, width: int = 80) -> None:
    assert "\x1b" not in text
    for line in text.splitlines():
        assert len(line) <= width, line
        assert line == line.rstrip()
    assert not re.search(BROKEN, text)
    assert "…" not in text


@pytest.mark.parametrize("name", FILES)
def test_plan_of_a_config_that_we_ship_is_the_one_that_was_read(name: str) -> None:
    text = printed(str(CONFIGS / name))
    check(text)
    held(name.removesuffix(".yaml"), text)


@pytest.mark.parametrize("name", ASKED)
def test_plan_of_a_model_is_the_one_that_was_read(name: str) -> None:
    text = printed(ASKED[name])
    check(text)
    held(f"model-{name}", text)


def test_every_file_belongs_to_a_plan() -> None:
    assert {path.name for path in PLANS.iterdir()} == {f"model-{name}.txt" for name in ASKED} | {
        name.removesuffix(".yaml") + ".txt" for name in FILES
    }


def test_best_choice_is_said_first_and_what_was_asked_above_it() -> None:
    asked, best = printed("llama-4-scout --context 128K").split("\n\n")[0].split("Best: ")
    assert asked.split("; ")[1].strip() == "context 128K."
    assert " ".join(best.split()).startswith("2×H100, TP 2, FP8, holds 315K tokens, about 1,800 tok/s (±20 %) at 64 users; because ")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(list(GPUS)),
    FLAGS,
    st.sets(st.sampled_from(["--cheapest", "--expert", "--no-hybrid-kv", "--all", "--explain"])),
    st.sampled_from((80, 80, 60, 100)),
)
def test_no_line_is_too_long_and_no_number_is_broken(kind: str, gpu: str, flags: dict[str, Any], switches: set[str], width: int) -> None:
    flags = {name: value for name, value in flags.items() if name not in ("--gpu", "--node", "--engine")}
    words = [kind, "--gpu", gpu, *(word for flag, value in flags.items() for word in (flag, str(value))), *sorted(switches)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        check(run(*words).stdout, width)


@pytest.mark.parametrize("width", [20, 40, 50, 79])
def test_narrow_terminals_get_fewer_columns_and_never_broken_ones(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = printed("llama-4-maverick --price 2")
    check(text, max(width, 40))
    assert "best             8  TP8 EP      FP8" in text


def test_wide_tables_have_every_column() -> None:
    text = printed("llama-4-scout --wide --price 2")
    heading = next(line for line in text.splitlines() if line.startswith("kind"))
    assert all(one.heading in heading for one in columns_of_plans(every=False, priced=True))
    assert "--wide" not in text
    assert "every" not in heading


def test_all_shows_every_plan_those_that_do_not_fit_too() -> None:
    lines = printed("llama-4-scout --all").split("\n\n")[1].splitlines()
    assert len(lines) == 1 + len(as_json("llama-4-scout"))
    assert {line.split()[0] for line in lines[1:]} == {"yes", "no"}


def test_price_orders_the_rows_by_what_a_million_tokens_cost() -> None:
    lines = printed("llama-3.1-8b --gpu L4 --price 0.8").split("\n\n")[1].splitlines()
    costs = [float(line.split()[-1]) for line in lines[2:] if line.split()[-1].replace(".", "").isdigit()]
    assert len(costs) >= 2
    assert costs == sorted(costs)
    costs = [row["cost_per_million_tokens"] for row in as_json("llama-3.1-8b", "--price", "0.8")[1:]]
    known = [cost for cost in costs if cost is not None]
    assert known == sorted(known)
    assert costs[: len(known)] == known, "what does not fit comes last"


def test_users_that_have_no_room_are_not_told_as_served() -> None:
    row = next(line for line in printed("llama-4-scout").splitlines() if line.startswith("fewest GPUs"))
    assert "43/64" in row
    plan = as_json("llama-4-scout", "--gpus", "1", "--kv-dtype", "fp8")[0]
    assert (plan["running"], plan["load"]["concurrency"], plan["limited_by"]) == (43, 64, "KV pool")


@pytest.mark.parametrize(("columns", "keys"), [
    (columns_of_plans(every=True, priced=True), KEYS_OF_PLANS),
    (columns_of_herds(priced=True), KEYS_OF_HERDS),
])  # fmt: skip
def test_json_has_everything_that_the_table_has(columns: Any, keys: tuple[str, ...]) -> None:
    assert {key for column in columns for key in column.keys} <= set(keys)
    assert len({column.heading for column in columns}) == len(columns)


def test_json_of_a_herd_has_everything_that_its_table_has() -> None:
    for row in as_json(str(CONFIGS / "herd.yaml"), "--price", "2"):
        assert all(column.cell(row) != "–" for column in columns_of_herds(priced=True))


def test_page_shows_a_plan_as_it_is_printed_and_lists_the_keys_of_json() -> None:
    page = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
    assert f"```text\n{(PLANS / 'model-llama-4-scout.txt').read_text(encoding='utf-8')}```" in page
    assert [key for key in {*KEYS_OF_PLANS, *KEYS_OF_HERDS} if f"`{key}`" not in page] == []


def test_long_names_of_models_are_broken_behind_their_marks() -> None:
    values = dict.fromkeys(KEYS_OF_HERDS) | {"model": "our-own/llama-4-maverick-in-the-north:prefill", "verdict": "fits"}
    made = table(columns_of_herds(priced=False), [values, values | {"model": "x" * 60}], 80)
    assert [line.split("  ")[0] for line in made.lines[1:3]] == ["our-own/llama-4-", "maverick-in-the-north:"]
    assert max(len(line.split("  ")[0]) for line in made.lines) <= MOST_WIDTH_OF_NAMES


@pytest.mark.parametrize("unit", ["tok/s", "GiB", "tokens", "users"])
def test_number_and_unit_stay_on_a_line(unit: str) -> None:
    for words in range(1, 12):
        assert f"1,800 {unit}" in sentence(f"{'a bird ' * words}1,800 {unit} of it", 40)


def test_path_in_a_sentence_is_never_cut() -> None:
    path = "/srv/reports/of/the/whole/company/" + "x" * 100
    assert path in sentence(f"Written: {path} for you", 80).splitlines()
