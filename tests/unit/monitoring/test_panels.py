"""The dashboards: what is committed is what the rows say, Grafana's types read it, and each rule holds for each panel.

The rules are those of Grafana's dashboard linter, and the herd's own: a title says how its panel looks when all is well.
"""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard as OfGrafana

from deployments.commands.main import app
from monitoring.labels import Label
from monitoring.metrics import METRICS
from monitoring.panels.__main__ import main
from monitoring.panels.every import DASHBOARDS
from monitoring.panels.grafana import SOURCE, TAG
from monitoring.panels.layout import COLUMNS, bottom, placed
from monitoring.panels.promql import NVLINK, job, selected
from monitoring.panels.rows import BEFORE_THE_FOLD, GOOD, Panel
from tests.unit.monitoring.dashboards import FOLDER, ROOT, Shown, boards, chosen, panels, queries, selectors

BOARDS = boards()
EACH_BOARD = pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board["uid"])
EACH_PANEL = pytest.mark.parametrize(
    "panel", [pytest.param(panel, id=f"{name}: {panel['title']}") for name, board in BOARDS.items() for panel in panels(board)]
)
EACH_QUERY = pytest.mark.parametrize("query", queries(), ids=lambda query: query.name)
UNITS = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
#: Grid rows that a screen of 1080 pixels shows: a row has 38.
FOLD = 24
#: Labels that Prometheus' discovery puts on every series of a job, and Prometheus itself.
OF_TARGETS = {"job", "cluster", "node", "instance"}
#: ... and those of engines, by the contract of `/-/targets`, and of vLLM's data-parallel ranks.
OF_ENGINES = {"model", "replica", "engine"}


def test_committed_files_are_what_the_rows_say(tmp_path: Path) -> None:
    (tmp_path / "gone.json").write_text("{}", encoding="utf-8")
    main(tmp_path)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}, "run python -m monitoring.panels"


@EACH_BOARD
def test_grafanas_own_types_read_the_file_and_write_the_same(board: dict[str, Any]) -> None:
    register_default_plugins()
    assert json.loads(json.dumps(OfGrafana.from_json(board), cls=JSONEncoder)) == board


@EACH_BOARD
def test_dashboard_has_its_variables_annotations_and_links(board: dict[str, Any]) -> None:
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert list(variables)[:2] == ["datasource", "cluster"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    used = set(re.findall(r"\$(\w+)", json.dumps(board))) - {"__rate_interval", "__range", "__all"}
    assert used <= set(variables), "no query names a variable that there is not"
    assert {name for name in variables if f"${name}" not in json.dumps(board)} <= {"datasource", "docs", "model", "node"}
    assert {one["name"] for one in board["annotations"]["list"]} == {"Rollouts", "Scaling", "Deaths"}
    assert (board["tags"], [one["tags"] for one in board["links"]]) == ([TAG], [[TAG]])
    assert not board["editable"], "changes are made in monitoring/panels"
    assert board["description"]


def test_names_are_unique() -> None:
    assert len({board.uid for board in DASHBOARDS}) == len({board.title for board in DASHBOARDS}) == len(DASHBOARDS) == 7
    for board in DASHBOARDS:
        titles = [panel.title for panel in board.all_panels()]
        assert len(set(titles)) == len(titles)


@EACH_BOARD
def test_panels_do_not_overlap_and_a_dozen_at_most_stand_before_the_fold(board: dict[str, Any]) -> None:
    open_panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert len(open_panels) <= BEFORE_THE_FOLD
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in open_panels) <= FOLD
    assert all(row["collapsed"] for row in rows)
    for shown in ([*open_panels, *rows], *(row["panels"] for row in rows)):
        places = [(one["gridPos"]["x"], one["gridPos"]["y"], one["gridPos"]["w"], one["gridPos"]["h"]) for one in shown]
        assert all(x >= 0 and x + width <= COLUMNS for x, _, width, _ in places)
        assert not [pair for pair in combinations(places, 2) if _overlap(*pair)]
    numbers = [panel["id"] for panel in [*board["panels"], *(one for row in rows for one in row["panels"])]]
    assert len(set(numbers)) == len(numbers)


def _overlap(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    (x, y, width, height), (other_x, other_y, other_width, other_height) = one, other
    return x < other_x + other_width and other_x < x + width and y < other_y + other_height and other_y < y + height


def test_panel_that_does_not_fit_begins_a_line_of_its_own() -> None:
    wide, high = Panel("a", "", "s", (), width=16), Panel("b", "", "s", (), shape="number", width=16)
    places = [place for _, place in placed([high, wide, high], 5, across=4)]
    assert [(place.x, place.y) for place in places] == [(0, 5), (0, 8), (0, 15)]
    assert (bottom(places, 0), bottom([], 7)) == (18, 7)


@EACH_PANEL
def test_panel_says_what_it_shows_and_how_it_looks_when_all_is_well(panel: dict[str, Any]) -> None:
    shows, good = panel["title"].split(GOOD)
    assert shows
    assert good
    assert len(panel["title"]) <= 9.5 * panel["gridPos"]["w"], "it would be cut off"
    assert re.search(r"[.)]$", panel["description"])
    assert len(panel["description"]) > 20
    assert panel["datasource"] == {"type": SOURCE.type_val, "uid": "${datasource}"}
    unit = panel["fieldConfig"]["defaults"]["unit"]
    assert unit in UNITS or unit.startswith("suffix: ")
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert all(legends)
    assert len(set(legends)) == len(legends)
    assert len({target["refId"] for target in panel["targets"]}) == len(legends)
    assert {json.dumps(target["datasource"]) for target in panel["targets"]} == {json.dumps(panel["datasource"])}


@pytest.mark.parametrize("runbook", sorted({panel.runbook for board in DASHBOARDS for panel in board.all_panels() if panel.runbook}))
def test_runbook_of_a_panel_exists(runbook: str) -> None:
    assert (ROOT / "monitoring" / "runbooks" / f"{runbook}.md").is_file()


@EACH_QUERY
def test_query_follows_the_linters_rules(query: Shown) -> None:
    assert query.selectors
    for selector in query.selectors:
        if selector.metric not in ("up", "ALERTS"):
            assert ("job", "=", job(selector.metric)) in selector.matchers
        assert ("cluster", "=~", "$cluster") in selector.matchers
    assert not re.search(r"\birate\(", query.expr)
    assert all(window == "$__rate_interval" for window in re.findall(r"\brate\([^\[]*\[([^\]]*)\]", query.expr))
    assert all(window in ("$__rate_interval", "$__range", "30d") for window in re.findall(r"\bincrease\([^\[]*\[([^\]]*)\]", query.expr))
    counters = re.findall(r"(?:(\w+)\()?(?<![\w:])(?!ray_node_mem_total)[a-zA-Z_:][\w:]*_(?:total|bucket|sum|count)\{", query.expr)
    assert {*counters} <= {"rate", "increase"}, "a counter is only good for its growth"
    assert "$__range" not in query.expr or query.instant


@EACH_QUERY
def test_legend_names_labels_that_the_query_leaves(query: Shown) -> None:
    named = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    kept = {label for labels in re.findall(r"\bby \(([^)]*)\)", query.expr) for label in labels.split(", ")}
    assert named <= kept or query.expr.startswith("ALERTS")


def known(metric: str) -> tuple[set[str], dict[str, Label]] | None:
    """Labels of one of the herd's own metrics, and those with a list of values; None where it is another one's."""
    bare = re.sub(r"_(bucket|sum|count)$", "", metric)
    found = next((one for one in METRICS if one.name in (metric, bare)), None)
    if found is None:
        return None
    return {*found.labels, *OF_TARGETS, *(OF_ENGINES if job(metric) == "engine" else ())}, {one.name: one for one in found.by if one.values}


@EACH_QUERY
def test_labels_of_the_herds_own_metrics_and_their_values_are_in_the_table(query: Shown) -> None:
    ours = [(selector, of) for selector in query.selectors if (of := known(selector.metric)) is not None]
    for selector, (labels, listed) in ours:
        assert selector.labels <= labels
        for label, operator, value in selector.matchers:
            if label in listed:
                assert operator in ("=", "!=", "=~")
                assert set(value.split("|")) <= set(listed[label].values)
    if ours and len(ours) == len(query.selectors):
        kept = {label for labels in re.findall(r"\bby \(([^)]*)\)", query.expr) for label in labels.split(", ")} - {"le"}
        assert kept <= set().union(*(labels for _, (labels, _) in ours))


@EACH_BOARD
def test_annotations_ask_for_events_of_the_table(board: dict[str, Any]) -> None:
    for one in board["annotations"]["list"]:
        (labels, listed), (selector,) = known("herd_events_total") or (set(), {}), selectors(one["expr"])
        assert {"kind", "job", "cluster"} == selector.labels <= labels
        assert {value for label, _, values in selector.matchers if label == "kind" for value in values.split("|")} <= set(
            listed["kind"].values
        )


def test_selector_names_its_page() -> None:
    assert selected("herd_queue_seconds_bucket").startswith('herd_queue_seconds_bucket{job="gateway", ')
    assert [job(name) for name in ("herd_canary_total", "vllm:num_requests_running", "ray_node_mem_used", "DCGM_FI_DEV_GPU_TEMP")] == [
        "engine",
        "engine",
        "ray",
        "dcgm",
    ]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": chosen(query.expr)} for number, query in enumerate(queries())]
    rules += [
        {"record": f"mark:{number}", "expr": chosen(one["expr"])}
        for number, one in enumerate(one for board in BOARDS.values() for one in board["annotations"]["list"])
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", "--lint=none", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@EACH_PANEL
def test_commands_that_a_description_names_exist(panel: dict[str, Any]) -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"`herd (\w+)", panel["description"])) <= known


@EACH_PANEL
def test_panels_that_a_description_names_exist(panel: dict[str, Any]) -> None:
    titles = {one["title"].split(GOOD)[0] for board in BOARDS.values() for one in panels(board)}
    rows = {one["title"] for board in BOARDS.values() for one in board["panels"] if one["type"] == "row"}
    names = titles | rows | {board["title"].removeprefix("Herd: ").capitalize() for board in BOARDS.values()}
    assert {name for name in re.findall(r"\*([^*]+)\*", panel["description"]) if name[:1].upper() + name[1:] not in names} == set()


def test_nvlinks_traffic_is_not_taken_for_the_counter_that_its_exporter_calls_it() -> None:
    shown = [query.expr for query in queries() if NVLINK in query.expr]
    assert shown
    assert not [expr for expr in shown if re.search(rf"(rate|increase)\({NVLINK}", expr)]
