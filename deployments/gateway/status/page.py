"""The page `/status`: every model of a herd, its replicas and its last hour, in HTML of one file.

Decides what is shown and in which words. It needs no script: the one that it has only asks for the page again. Nothing is loaded from
elsewhere, and the answer's headers forbid it.
"""

import base64
import hashlib
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files

from deployments.gateway.status.charts import Series, chart
from deployments.gateway.status.figures import Model, last_hour
from deployments.gateway.status.markup import Markup, el, together
from deployments.policy.fleet.model_state import ModelState
from deployments.policy.records.history import Minute
from deployments.policy.records.spans import told as span
from deployments.policy.routing.types import ReplicaState, ReplicaView
from deployments.wire.types import Headers
from monitoring.metrics import ITL, TTFT
from monitoring.quantiles import quantile

#: Rows of a model's table; those that are not ready come first.
MOST_REPLICAS = 50
#: Headings of the table of replicas.
COLUMNS = ("Replica", "State", "Address", "GPUs", "Ready for", "Running", "Waiting")


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


STYLE, SCRIPT = _own("page.css"), _own("page.js")


def _source(text: str) -> str:
    """Returns a text's hash as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Headers = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY.encode("ascii")),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
#: A browser would ask for /favicon.ico, which is not served.
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%23356'/%3E%3Cpath d='M4 12V4h2v6h6v2z' fill='%23fff'/%3E%3C/svg%3E"
)
_BEFORE = together(
    Markup('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'),
    Markup('<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'),
    el("title", "Llama Herd: status"),
    Markup(f'<link rel="icon" href="{_ICON}"><style>{STYLE}</style></head><body>'),
    el("a", "To the models", class_="skip", href="#models"),
    el("header", el("h1", "Llama Herd"), el("p", "Built with Llama", class_="built")),
)
_BEHIND = Markup(f"<script>{SCRIPT}</script></body></html>\n")


def page(models: Sequence[Model], gateways: int, missing: bool, at: int, now_s: float) -> Iterator[Markup]:
    """Yields the page in pieces, one for each model, so that other work may come between them.

    Args:
        models: in the order in which they are shown.
        gateways: those whose figures of the last hour are among the minutes.
        missing: there are others.
        at: the number of the last minute that is over.
        now_s: seconds since 1970.
    """
    yield _BEFORE
    yield Markup('<main id="models" tabindex="-1">')
    yield _top(models, gateways, missing, now_s)
    for index, model in enumerate(models):
        yield _model(model, index, at)
    if not models:
        yield el("p", "This herd serves no model.")
    yield Markup("</main>")
    live = el("input", id="live", type="checkbox", checked="checked")
    words = el("span", el("label", live, " Ask again every 10 s"), id="again", hidden="hidden")
    yield el("footer", el("a", "Show the newest", href="/status"), words, el("span", id="told", role="status"))
    yield _BEHIND


def _top(models: Sequence[Model], gateways: int, missing: bool, now_s: float) -> Markup:
    well = sum(_is_well(model) for model in models)
    when = datetime.fromtimestamp(now_s, UTC)
    time = el("time", when.strftime("%Y-%m-%d %H:%M:%S UTC"), datetime=when.isoformat(timespec="seconds"))
    said = f"{well} of {_count(len(models), 'model')} as they should be. "
    shown = f"Load and latency are those of {_count(gateways, 'gateway')}. "
    others = el("strong", "Others could not be asked. ") if missing else ""
    return el("p", said, shown, others, "As of ", time, ".", class_="top")


def _is_well(model: Model) -> bool:
    """Tells whether a model has all that it should have: its operator, or its load, may want nothing of it."""
    if model.state is not ModelState.RUNNING:
        return model.state in (ModelState.AT_ZERO, ModelState.STOPPED)
    return model.ready >= _target(model) and not any(replica.slow for replica in model.replicas)


def _model(model: Model, index: int, at: int) -> Markup:
    name = f"model-{index}"
    heading = el("h2", el("span", model.id), " ", el("span", model.state.value, class_=f"state {model.state.name.lower()}"), id=name)
    figures = (("ready", f"{model.ready} of {_count(_target(model), 'replica')}"), ("running", str(model.ongoing - _queued(model))))
    waiting = ("waiting", str(model.waiting + _queued(model)))
    terms = el("dl", *(el("div", el("dt", term), el("dd", value)) for term, value in (*figures, waiting)))
    starts = together(*(el("p", sentence, class_="start") for sentence in model.starting))
    size = el("p", f"Autoscaling: {model.size.reason}") if model.size is not None else ""
    return el("section", heading, terms, starts, size, _charts(model, at), _replicas(model, index), aria_labelledby=name)


def _target(model: Model) -> int:
    return max(len(model.replicas), model.size.target) if model.size is not None else len(model.replicas) + len(model.starting)


def _queued(model: Model) -> int:
    """Counts the requests in engines that these have not begun."""
    return sum(replica.waiting for replica in model.replicas)


def _charts(model: Model, at: int) -> Markup:
    hour = last_hour(model.minutes, at)
    if not any(hour):
        return el("p", "Nothing of the last hour is written down yet: a gateway begins with its first whole minute.", class_="none")
    failed = Series("failed", "bad", [None if one is None else one.counted.failed for one in hour])
    requests = Series("all", "good", [None if one is None else one.counted.requests for one in hour])
    tokens = Series("written", "good", [None if one is None else one.counted.completion_tokens / 60 for one in hour])
    return el(
        "div",
        chart("Requests a minute", _plain, (requests, failed), bars=True),
        chart("Tokens a second", _plain, (tokens,), bars=True),
        chart("To the first token", _seconds, _quantiles(hour, TTFT.buckets, "ttft")),
        chart("Between tokens", _seconds, _quantiles(hour, ITL.buckets, "itl")),
        class_="charts",
    )


def _quantiles(hour: Sequence[Minute | None], bounds: Sequence[float], field: str) -> tuple[Series, Series]:
    counts: list[Sequence[int]] = [getattr(one.counted, field) if one is not None else () for one in hour]
    slow, usual = ([quantile(bounds, one, share) for one in counts] for share in (0.95, 0.5))
    return Series("95 %", "high", slow), Series("half", "good", usual)


def _replicas(model: Model, index: int) -> Markup:
    if not model.replicas:
        return Markup()
    shown = sorted(model.replicas, key=_noteworthy)[:MOST_REPLICAS]
    head = el("thead", el("tr", *(el("th", one, scope="col") for one in COLUMNS)))
    table = el("table", head, el("tbody", *map(_row, shown)))
    more = len(model.replicas) - len(shown)
    rest = el("p", f"{more} more are ready. `herd status --wide` shows all of them.") if more else ""
    label = f"Replicas of {model.id}"
    box = el("div", table, class_="wide", tabindex="0", role="region", aria_label=label)
    summary = el("summary", _count(len(model.replicas), "replica"))
    is_odd = "open" if any(_noteworthy(one)[0] == 0 for one in shown) else None
    return el("details", summary, box, rest, id=f"replicas-{index}", open=is_odd)


def _noteworthy(replica: ReplicaView) -> tuple[int, str]:
    return (int(replica.state is ReplicaState.READY and not replica.slow), replica.id)


def _row(replica: ReplicaView) -> Markup:
    words = ", ".join(filter(None, (replica.state.value, "slow" if replica.slow else "", replica.canary)))
    look = "bad" if replica.state in (ReplicaState.DEAD, ReplicaState.SICK) or replica.slow else None
    ready = span(replica.ready_s) if math.isfinite(replica.ready_s) else "–"
    cells = (f"{replica.host}:{replica.port}", str(replica.about.get("gpus", "–")), ready)
    counts = (str(replica.ongoing - replica.waiting), str(replica.waiting))
    name, state = el("th", replica.id, scope="row"), el("td", words, class_=look)
    return el("tr", name, state, *(el("td", one) for one in (*cells, *counts)))


def _count(count: int, called: str) -> str:
    return f"{count} {called}" if count == 1 else f"{count} {called}s"


def _plain(value: float) -> str:
    """Writes a count: `7`, `0.4`, `12k`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size:
            return f"{value / size:.0f}{letter}"
    return f"{value:.1f}" if 0 < value < 10 and value != round(value) else f"{value:.0f}"


def _seconds(value: float) -> str:
    """Writes a latency: `24 ms`, `1.2 s`."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
