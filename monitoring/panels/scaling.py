"""Autoscaling: what it decided, why, and how far the cluster has followed."""

from monitoring.panels.gateway import WAITING
from monitoring.panels.promql import MODEL, NODE, most, quantile, rate, selected
from monitoring.panels.rows import COUNT, GPUS, ORANGE, RED, REQUESTS, SECONDS, TOKENS, Dashboard, Panel, Query, Section

SCALED, COMPLETION = 'kind="scale"', 'kind="completion"'
_DECIDED = "herd_scaling_decided_timestamp_seconds"


def _or_none(metric: str, label: str) -> str:
    """Returns a query for the label that a gauge shows for each model; for a model that has none, it is `none`, with 0."""
    nothing = f'label_replace(0 * {most(_DECIDED, MODEL, by="model")}, "{label}", "none", "", "")'
    return f"{most(metric, MODEL, by=f'model, {label}')} or on (model) {nothing}"


DECISIONS = (
    Panel(
        "Wanted and there · good: ready is at the target",
        "Replicas: the target of the last decision, and those that take requests. Ready below the target for longer than a start takes: "
        "look at *Phases of starts* and *GPUs*. Each rank of data-parallel attention takes requests, and is one of those that are ready.",
        COUNT,
        (
            Query(most("herd_scaling_replicas", MODEL, 'figure="target"', by="model"), "{{model}} target"),
            Query(most("herd_replicas_ready", MODEL, by="model"), "{{model}} ready"),
        ),
        runbook="start-too-long",
    ),
    Panel(
        "Why: what the load needs · good: wanted near target",
        "The figures behind the target, in replicas: `now` is the load of now, `expected` the one when a start would be ready, `wanted` "
        "with margin and backlog. Wanted above the target: see *Why: limits that bind*.",
        COUNT,
        (Query(most("herd_scaling_replicas", MODEL, 'figure!="target"', by="model, figure"), "{{model}} {{figure}}"),),
    ),
    Panel(
        "Why: limits that bind · good: 0",
        "1 while this limit keeps a model's replicas from what the load asks for. A limit from above (`max_replicas`, GPUs, price) with "
        "a line at the gateways costs clients time; one from below costs money.",
        COUNT,
        (Query(_or_none("herd_scaling_bound", "limit"), "{{model}}: {{limit}}"),),
        shape="states",
        colours=((1, ORANGE),),
        runbook="scaling-bound",
    ),
    Panel(
        "Why: held without a look at the load · good: 0",
        "1 while the number of a model's replicas is held as it is, and why: reports of the load are missing, or an operator holds it.",
        COUNT,
        (Query(_or_none("herd_scaling_held", "why"), "{{model}}: {{why}}"),),
        shape="states",
        colours=((1, RED),),
    ),
    Panel(
        "Since the last decision · good: below 1 min",
        "Seconds since autoscaling last decided on each model. It decides all the time: a growing line means that nobody decides, and "
        "the controller of Ray Serve is away.",
        SECONDS,
        (Query(f"time() - {most(_DECIDED, MODEL, by='model')}", "{{model}}"),),
        colours=((60, ORANGE), (300, RED)),
        runbook="scaling-silent",
    ),
    Panel(
        "Changes of size · good: few",
        "Changes of any model's number of replicas, by the herd's own log of events. `herd events` has each with its reason in words.",
        COUNT,
        (Query(f"max by (kind) (increase({selected('herd_events_total', SCALED)}[$__rate_interval]))", "{{kind}}"),),
    ),
)
FOLLOWING = (
    Panel(
        "Replicas by state · good: none starts for long",
        "Replicas by state, as the gateways know them.",
        COUNT,
        (Query(most("herd_replicas", MODEL, by="model, state"), "{{model}} {{state}}"),),
        shape="stacked",
        runbook="start-too-long",
    ),
    Panel(
        "Phases of starts · good: back to 0",
        "For how long the longest running start of a model is in its phase: nodes, weights, engine, first answer. `herd status` says "
        "what it waits for.",
        SECONDS,
        (Query(most("herd_replica_phase_seconds", MODEL, by="model, phase"), "{{model}} {{phase}}"),),
        runbook="start-too-long",
        empty="no start runs",
    ),
    Panel(
        "What starts took · good: as long as usual",
        "Seconds that the starts of the running replicas took, until they served. Autoscaling looks so far ahead.",
        SECONDS,
        (Query(most("herd_engine_start_seconds", MODEL, by="model"), "{{model}}"),),
    ),
    Panel(
        "GPUs · good: some free before the load rises",
        "GPUs of the cluster, held by replicas and free. None free: the next replica waits for a node.",
        GPUS,
        (Query(most("herd_gpus", by="use"), "{{use}}"),),
        shape="stacked",
        runbook="scaling-bound",
    ),
    WAITING,
    Panel(
        "Refused because all was full · good: 0",
        "Requests that had waited long enough, or would have: 429.",
        REQUESTS,
        (Query(rate("herd_requests_total", MODEL, 'outcome="overloaded"', by="model"), "{{model}}"),),
        runbook="queue-growing",
        empty="none",
    ),
)

SCALING = Dashboard(
    "herd-autoscaling",
    "Herd: autoscaling",
    "What autoscaling decided, why, and how far the cluster has followed.",
    (*DECISIONS, *FOLLOWING),
    (
        Section(
            "Starts",
            (
                Panel(
                    "What each phase of the starts took · good: weights are the longest",
                    "Seconds that each phase of the running replicas' starts took, the longest of each model.",
                    SECONDS,
                    (Query(most("herd_engine_start_phase_seconds", MODEL, NODE, by="model, phase"), "{{model}} {{phase}}"),),
                    shape="stacked",
                ),
                Panel(
                    "Load of one GPU · good: high, and nobody waits",
                    "Completion tokens a second of each GPU that a model's replicas hold.",
                    TOKENS,
                    (
                        Query(
                            f"{rate('herd_tokens_total', MODEL, COMPLETION, by='model')} / "
                            f"({rate('herd_gpu_seconds_total', MODEL, by='model')} > 0)",
                            "{{model}}",
                        ),
                    ),
                ),
                Panel(
                    "Time in the line, p99 · good: below `clear_s`",
                    "How long requests waited for room, of those that had to.",
                    SECONDS,
                    (Query(quantile(0.99, "herd_queue_seconds", MODEL, by="model"), "{{model}}"),),
                    empty="nobody has waited",
                ),
            ),
        ),
    ),
    variables=("model", "node"),
)
