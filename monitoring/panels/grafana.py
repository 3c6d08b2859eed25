"""Grafana's JSON of a dashboard, by Grafana's own types (`grafana-foundation-sdk`, which `llama-herd[dev]` brings).

Decides how shapes, colours, variables, annotations and links look in Grafana.
"""

import json
from itertools import count

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    FieldColorModeId,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableHide,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.panels.layout import ACROSS, ACROSS_BELOW, Place, bottom, placed
from monitoring.panels.promql import selected
from monitoring.panels.rows import BLUE, GREEN, RED, Dashboard, Panel

TAG = "llama-herd"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: Kinds of the herd's events by what they are to a reader of a chart.
MARKS = (
    ("Rollouts", "change|up|rollback|down", BLUE),
    ("Scaling", "scale", GREEN),
    ("Deaths", "death|sick|failed|drain", RED),
)
Shape = stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel


def text(board: Dashboard) -> str:
    """Returns a dashboard as the text of its file."""
    return json.dumps(built(board), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def built(board: Dashboard) -> object:
    """Returns a dashboard as Grafana's type."""
    one = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .variables(_variables(board))
        .annotations([_annotation(*mark) for mark in MARKS])
        .links([_link("Other dashboards").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True).include_vars(True)])
    )
    numbers, places = count(1), []
    for panel, place in placed(board.panels, 0, ACROSS):
        one.with_panel(_panel(panel, place).id(next(numbers)))
        places.append(place)
    top = bottom(places, 0)
    for below, section in enumerate(board.sections):
        across = ACROSS if len(section.panels) == ACROSS else ACROSS_BELOW
        row = dashboard.Row(section.title).collapsed(True).grid_pos(GridPos(x=0, y=top + below, w=24, h=1)).id(next(numbers))
        for panel, place in placed(section.panels, top + below + 1, across):
            row.with_panel(_panel(panel, place).id(next(numbers)))
        one.with_row(row)
    return one.build()


def _variables(board: Dashboard) -> list[Builder[VariableModel]]:
    model = _choice("model", "Model", f"label_values({selected('herd_replicas_ready')}, model)", several=not board.one_model)
    # Runbooks are files: where somebody publishes them, only who reads the dashboard knows.
    docs = dashboard.TextBoxVariable("docs").label("Runbooks at")
    return [
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus").hide(VariableHide.DONT_HIDE),
        _choice("cluster", "Herd", 'label_values(up{job="gateway"}, cluster)'),
        *([model] if "model" in board.variables else []),
        *([_choice("node", "Node", 'label_values(up{cluster=~"$cluster"}, node)')] if "node" in board.variables else []),
        docs,
    ]


def _choice(name: str, label: str, query: str, several: bool = True) -> dashboard.QueryVariable:
    one = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query)
    one.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    if several:
        one.multi(True).include_all(True).all_value(".*").current(VariableOption(selected=True, text="All", value="$__all"))
    return one


def _annotation(name: str, kinds: str, colour: str) -> dashboard.AnnotationQuery:
    # Every gateway counts the same events. The time is fixed: not every Grafana knows its interval here.
    matcher = f'kind=~"{kinds}"'
    expr = f"max by (kind) (changes({selected('herd_events_total', matcher)}[2m])) > 0"
    return dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(colour).expr(expr)


def _link(title: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).icon("external link").tooltip("").keep_time(True)


def _panel(panel: Panel, place: Place) -> Shape:
    one = _shape(panel)
    one.title(panel.title).description(_description(panel)).unit(panel.unit).datasource(SOURCE)
    one.grid_pos(GridPos(x=place.x, y=place.y, w=place.width, h=place.height))
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter).datasource(SOURCE)
        _timed(target, panel)
        one.with_target(target)
    steps = [Threshold(value=None, color=panel.below), *(Threshold(value=value, color=colour) for value, colour in panel.colours)]
    one.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.shape != "number":
        one.min(0)
    if panel.empty:
        one.no_value(panel.empty)
    if panel.most is not None:
        one.max(panel.most)
    return one


def _description(panel: Panel) -> str:
    return panel.description + (
        f"\n\n[Runbook: {panel.runbook}](${{docs}}/monitoring/runbooks/{panel.runbook}.md)" if panel.runbook else ""
    )


def _timed(target: prometheus.Dataquery, panel: Panel) -> None:
    if panel.shape == "table":
        target.instant().format(PromQueryFormat.TABLE)
    elif panel.shape == "number":
        target.instant()
    else:
        target.range()


def _shape(panel: Panel) -> Shape:
    by_value = dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS)
    match panel.shape:
        case "number":
            number = stat.Panel().graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.BACKGROUND).no_value("nothing yet")
            return number.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).color_scheme(by_value)
        case "states":
            return statetimeline.Panel().show_value(VisibilityMode.NEVER).line_width(0).fill_opacity(70).color_scheme(by_value)
        case "table":
            return table.Panel().show_header(True)
    lines = timeseries.Panel().line_width(2).show_points(VisibilityMode.NEVER).fill_opacity(25 if panel.shape == "stacked" else 0)
    lines.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    lines.legend(common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
    if panel.shape == "stacked":
        lines.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if panel.colours:
        lines.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    return lines
