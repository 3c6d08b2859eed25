"""One page of HTML about simulations beside each other. It needs nothing from elsewhere: no script, no font, no picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from cluster.scaling.work import Slo
from deployments.simulation.outcome import Decided
from deployments.simulation.report.series import Series, Values
from deployments.simulation.report.svg import Axes, Line, clock, plot

#: Latencies above so many times their objective are cut off.
CUT = 4.0
#: Changes of the target that are listed of one rule.
MOST_LISTED = 500
GREEN, BLUE, ORANGE, GREY, RED, BLACK = "#2a9d62", "#3b76c4", "#e59a2c", "#b0b6bd", "#c9413d", "#333a42"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;color:#1d2329;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem;border-top:1px solid #d8dde2;padding-top:1rem}h3{font-size:1rem;margin:1rem 0 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}
td,th{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #e4e8ec}td:first-child,th:first-child{text-align:left}
svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:#5a646e}
.grid{stroke:#e4e8ec}.limit{stroke:#c9413d;stroke-dasharray:5 4}polyline{fill:none;stroke-width:1.6}
.legend{margin:0;font-size:.8rem;color:#5a646e}.legend span{margin-right:1rem;white-space:nowrap}
.legend i{display:inline-block;width:.8rem;height:.5rem;margin-right:.3rem}
.legend .dashed{border-top:2px dashed #c9413d;height:0;vertical-align:middle}
details{margin-top:1rem}details td,details th{text-align:left;font-size:.85rem;vertical-align:top}
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One simulation of the page."""

    title: str
    series: Series
    decided: Sequence[Decided]
    gpu_hour_price: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The content of the page."""

    title: str
    sentences: Sequence[str]
    """The answers, most important first."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Cells of a table with one row for each simulation."""
    notes: Sequence[str]
    slo: Slo
    parts: Sequence[Part]


def html(page: Page) -> str:
    """Returns the page."""
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
            f"<title>{escape(page.title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(page.title)}</h1>",
            *(f"<p>{escape(one)}</p>" for one in page.sentences),
            _table(page.columns, page.rows),
            *(f"<p><small>{escape(one)}</small></p>" for one in page.notes),
            *(line for part in page.parts for line in _part(part, page.slo)),
            "</body></html>\n",
        )
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _part(part: Part, slo: Slo) -> Iterator[str]:
    found, spans = part.series, len(part.series.requests_s)

    def over_time(title: str, lines: Sequence[Line], unit: str = "", limit: float | None = None, most: float | None = None) -> str:
        return f"<h3>{title}</h3>{plot(lines, Axes(found.span_s, spans, unit, limit, most))}"

    yield f"<h2>{escape(part.title)}</h2>"
    yield over_time("Requests a second", [Line("requests", found.requests_s, BLUE)])
    yield over_time("Prompt tokens a second", [Line("prompt tokens", found.prompt_tokens_s, BLUE)])
    yield over_time(
        "Replicas",
        [
            Line("ready", found.ready, GREEN, True),
            Line("starting", found.starting, ORANGE, True),
            Line("draining", found.draining, GREY, True),
            Line("wanted", found.wanted, BLACK),
        ],
    )
    first = [Line("p50", found.ttft_p50_s, BLUE), Line("p90", found.ttft_p90_s, ORANGE), Line("p99", found.ttft_p99_s, RED)]
    yield over_time("Time to the first token", first, " s", slo.ttft_s, CUT * slo.ttft_s)
    between = [Line("p50", _thousand(found.itl_p50_s), BLUE), Line("p90", _thousand(found.itl_p90_s), ORANGE)]
    yield over_time("Time between tokens", between, " ms", slo.itl_s * 1000, CUT * slo.itl_s * 1000)
    share = tuple(None if one is None else one * 100 for one in found.attainment)
    yield over_time("Requests within both objectives", [Line("share", share, GREEN)], " %", slo.quantile * 100)
    yield over_time("GPU-hours", [Line("held since the begin", found.gpu_hours, BLACK)])
    if part.gpu_hour_price is not None:
        spent = tuple((one or 0.0) * part.gpu_hour_price for one in found.gpu_hours)
        yield over_time("Money", [Line("spent since the begin", spent, BLACK)])
    yield _decisions(part.decided, found.span_s * spans)


def _thousand(values: Values) -> Values:
    return tuple(None if one is None else one * 1000 for one in values)


def _decisions(decided: Sequence[Decided], until_s: float) -> str:
    if not decided:
        return "<p>The number of replicas did not change.</p>"
    rows = [(clock(one.at_s, until_s), f"{one.before} → {one.after}", one.reason) for one in decided[:MOST_LISTED]]
    more = f"<p>{len(decided) - MOST_LISTED} more are in the JSON.</p>" if len(decided) > MOST_LISTED else ""
    return f"<details><summary>{len(decided)} changes</summary>{_table(('at', 'replicas', 'why'), rows)}{more}</details>"
