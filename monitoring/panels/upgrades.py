"""Canaries and upgrades: whether replicas answer rightly, and how a change goes on."""

from monitoring.panels.promql import MODEL, NODE, added, mean, most, quantile, rate, selected, share
from monitoring.panels.rows import COUNT, ORANGE, REQUESTS, SECONDS, SHARE, Dashboard, Panel, Query, Section

_CANARY = "herd_canary_total"
_PLANNED, _TOLD = (mean("herd_engine_kv_tokens", MODEL, f'by="{by}"', by="model") for by in ("plan", "engine"))

CANARIES = (
    Panel(
        "Canaries that were right · good: 100 %",
        "The part of the canaries that got the known answer in time, per model. A canary is a small request of the herd's own through "
        "each replica.",
        SHARE,
        (
            Query(
                share(rate(_CANARY, MODEL, 'verdict="right"', by="model"), rate(_CANARY, MODEL, by="model")),
                "{{model}}",
            ),
        ),
        most=1,
        runbook="canary-wrong",
    ),
    Panel(
        "Canaries by verdict · good: right only",
        "Canaries a second by what they said. `wrong`: another answer than known. `slow`: right, and too late. `stuck`: no token at all.",
        "cps",
        (Query(rate(_CANARY, MODEL, NODE, by="verdict"), "{{verdict}}"),),
        shape="stacked",
        runbook="canary-wrong",
    ),
    Panel(
        "Time of a canary, p90 · good: flat",
        "From a canary's first token to its last. It rises with the load, and on a sick GPU without load.",
        SECONDS,
        (Query(quantile(0.9, "herd_canary_seconds", MODEL, NODE, by="model"), "{{model}}"),),
    ),
    Panel(
        "Replicas put out · good: 0",
        "Replicas that left the gateways' rosters because of their canary, a second, by what it said. A new one starts in their place.",
        "cps",
        (Query(rate("herd_replicas_sick_total", MODEL, by="model, reason"), "{{model}} {{reason}}"),),
        runbook="canary-wrong",
        empty="none",
    ),
    Panel(
        "Slow replicas · good: 0",
        "Replicas that take requests only while the others are full, as their canaries are far slower.",
        COUNT,
        (Query(most("herd_replicas_slow", MODEL, by="model"), "{{model}}"),),
        colours=((1, ORANGE),),
        runbook="replica-slow",
    ),
    Panel(
        "Room in the KV cache over its plan · good: 1",
        "Tokens that engines have room for, over what `herd plan` expected. More than a tenth away from 1: another GPU, version or "
        "setting than planned.",
        COUNT,
        (Query(f"{_TOLD} / {_PLANNED}", "{{model}}"),),
    ),
)
CHANGES = (
    Panel(
        "Events · good: what you have just done",
        "The herd's log of events, a minute: changes, starts, deaths, drains. `herd events` has them in words.",
        COUNT,
        (Query(f"60 * max by (kind) (rate({selected('herd_events_total')}[$__rate_interval]))", "{{kind}}"),),
        shape="stacked",
    ),
    Panel(
        "Replicas ready · good: never 0 while a change goes on",
        "Replicas that take requests, per model.",
        COUNT,
        (Query(most("herd_replicas_ready", MODEL, by="model"), "{{model}}"),),
        runbook="replica-flapping",
    ),
    Panel(
        "Replicas by state · good: back to ready",
        "Replicas by state: in an upgrade new ones start before old ones drain.",
        COUNT,
        (Query(most("herd_replicas", MODEL, by="model, state"), "{{model}} {{state}}"),),
        shape="stacked",
    ),
    Panel(
        "Phases of starts · good: back to 0",
        "For how long the longest running start of a model is in its phase.",
        SECONDS,
        (Query(most("herd_replica_phase_seconds", MODEL, by="model, phase"), "{{model}} {{phase}}"),),
        runbook="start-too-long",
        empty="no start runs",
    ),
    Panel(
        "Streams resumed · good: 0 but in an upgrade",
        "Requests a second that went on to another replica. In an upgrade some do, and clients notice nothing.",
        REQUESTS,
        (Query(rate("herd_retries_total", MODEL, by="model, kind"), "{{model}} {{kind}}"),),
        empty="none",
    ),
    Panel(
        "Requests by outcome · good: nearly all ok",
        "Requests that ended, a second, by how they ended. An upgrade changes nothing here.",
        REQUESTS,
        (Query(rate("herd_requests_total", MODEL, by="outcome"), "{{outcome}}"),),
        shape="stacked",
    ),
)

UPGRADES = Dashboard(
    "herd-canaries",
    "Herd: canaries and upgrades",
    "Whether replicas answer rightly, and how a change of the herd goes on.",
    (*CANARIES, *CHANGES),
    (
        Section(
            "Ray Serve",
            (
                Panel(
                    "Deployments by status · good: 6",
                    "Ray Serve's word for each deployment: 6 healthy, 5 and 4 scaling, 3 updating, 2 unhealthy, 1 failed.",
                    COUNT,
                    (Query(added("ray_serve_deployment_status", by="application, deployment"), "{{application}} {{deployment}}"),),
                    runbook="start-too-long",
                ),
                Panel(
                    "Replicas started · good: only in a change",
                    "Starts of Ray Serve's replicas, a minute. Without a change: something dies again and again.",
                    COUNT,
                    (
                        Query(
                            f"60 * {rate('ray_serve_deployment_replica_starts_total', by='application, deployment')}",
                            "{{application}} {{deployment}}",
                        ),
                    ),
                    runbook="replica-flapping",
                ),
                Panel(
                    "Pages that do not answer · good: 0",
                    "Pages of metrics that Prometheus found and could not read, by job.",
                    COUNT,
                    (
                        Query(
                            'sum by (job) (1 - up{job=~"gateway|engine|ray|dcgm|node", cluster=~"$cluster"})',
                            "{{job}}",
                        ),
                    ),
                    colours=((1, ORANGE),),
                    runbook="target-down",
                ),
            ),
        ),
    ),
    variables=("model", "node"),
)
