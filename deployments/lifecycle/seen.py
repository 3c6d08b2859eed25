"""Gathers all that is known of every model: from a gateway's page alone, or from the cluster as well.

Decides nothing: a replica's row is `policy.fleet.seats`', reasons are `policy.fleet.why`'s.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cluster.planner.started.figures import Report, of_plain
from configs.schema import Config
from deployments.lifecycle.known import Herd, remembered
from deployments.lifecycle.operator_pages import page
from deployments.lifecycle.standings import survey
from deployments.policy.fleet.events import Event, Kind
from deployments.policy.fleet.model_state import standing
from deployments.policy.fleet.seats import seats
from deployments.policy.fleet.why import Facts
from deployments.policy.records import verdict as verdicts
from deployments.ray_calls import cluster_store, serve_api
from deployments.ray_calls.names import app_name
from deployments.records import event_log
from deployments.records.start_log import starts_of

#: Events that say that somebody wants other replicas than before.
ASKED = (Kind.CHANGE, Kind.SCALE)
#: How far back changes and sick canaries are looked for.
PAST_S = 86400.0
Reports = Mapping[str, list[Report | None]]
"""By model, what each replica tells of its engine beside the plan; None for one that tells nothing."""


def of_cluster(herd: Herd) -> tuple[Config, dict[str, Facts], Reports]:
    """Returns the config that is up, and what is known of every model and of its engines. Needs `connected`."""
    config, now = remembered(herd), time.time()
    told = page(herd.endpoint, config, herd.node)
    known, waiting = told.get("models", {}), told.get("waiting", {})
    surveyed = survey(config, known)
    models = list(surveyed)
    placed, past = serve_api.details([app_name(model) for model in models]), event_log.since(now - PAST_S)
    canaries = {event.subject: event.words for event in past if event.kind == Kind.SICK}
    sizes = cluster_store.several([verdicts.key(model) for model in models])
    found = {}
    for model in models:
        size = verdicts.read(sizes.get(verdicts.key(model))) if _is_scaled(config, model) else None
        begun, details = starts_of(model), placed.get(app_name(model), serve_api.Details())
        rows = seats(known.get(model, []), details.replicas, begun, now)
        deaths = [event for event in past if event.kind == Kind.DEATH and event.model == model]
        asked, queue = _asked(past, model), waiting.get(model, 0)
        found[model] = Facts(model, surveyed[model], rows, begun, details.said, asked, queue, canaries, deaths, size)
    return config, found, reports(known, models)


def _is_scaled(config: Config, model: str) -> bool:
    """Tells whether the load decides a model's number of replicas; what was kept before it became the operator's is not asked for."""
    return any(one.id == model and one.scale.min_replicas != one.scale.max_replicas for one in config.models)


def _asked(past: list[Event], model: str) -> float | None:
    return max((event.when for event in past if event.kind in ASKED and event.model in ("", model)), default=None)


def of_page(told: Mapping[str, Any]) -> tuple[dict[str, Facts], Reports]:
    """Returns what a gateway's page of status tells of every model."""
    known, waiting, at_zero, now = told["models"], told.get("waiting", {}), told.get("at_zero", ()), time.time()
    sizes = {model: verdicts.of_plain(one) for model, one in told.get("scaling", {}).items()}
    facts = {
        model: replace(_by_page(model, rows, waiting.get(model, 0), now, int(model not in at_zero)), size=sizes.get(model))
        for model, rows in known.items()
    }
    return facts, reports(known, list(known))


def _by_page(model: str, known: list[dict[str, Any]], queue: int, now: float, wanted: int) -> Facts:
    rows = seats(known, (), (), now)
    ready = sum(row.state == "ready" for row in rows)
    there = {"RUNNING": len(rows)} if rows else {}
    found = standing("RUNNING" if rows or not wanted else None, there, ready, wanted, sum(row.ongoing for row in rows))
    return Facts(model, found, rows, queue=queue, by_http=True)


def reports(known: Mapping[str, list[dict[str, Any]]], models: Iterable[str]) -> Reports:
    """Returns what the engines of each model tell beside their plans, by a gateway's page; None for a replica of an older release."""
    return {model: [of_plain(one.get("figures")) for one in known.get(model, [])] for model in models}
