"""Gateways: what they take, refuse and wait for, how they choose replicas, and how they are themselves."""

from monitoring.panels.promql import MODEL, NODE, added, mean, quantile, rate, share
from monitoring.panels.rows import BYTES, COUNT, ORANGE, RED, REQUESTS, SECONDS, SHARE, Dashboard, Panel, Query, Section

_EXPECTED = share(rate("herd_prefix_tokens_total", MODEL, 'found="hit"'), rate("herd_prefix_tokens_total", MODEL))
_FOUND = share(rate("vllm:prefix_cache_hits_total", MODEL), rate("vllm:prefix_cache_queries_total", MODEL))

WAITING = Panel(
    "Waiting requests · good: near 0",
    "Requests that wait at gateways because all replicas of their model are full.",
    COUNT,
    (Query(added("herd_queue_requests", MODEL, by="model"), "{{model}}"),),
    runbook="queue-growing",
)
TRAFFIC = (
    Panel(
        "Requests by endpoint · good: follows the day",
        "Requests that ended, a second, by endpoint, for all models together.",
        REQUESTS,
        (Query(rate("herd_endpoint_requests_total", by="endpoint"), "{{endpoint}}"),),
        shape="stacked",
    ),
    Panel(
        "Refusals by code · good: few, and clients' own",
        "Requests that were answered with an error, by its OpenAI code. `overloaded` and `unavailable` are ours; a sudden rise of "
        "another one is often one client's new release. All models together; the access log has each one's model.",
        REQUESTS,
        (Query(rate("herd_refusals_total", by="code"), "{{code}}"),),
        shape="stacked",
        runbook="error-budget",
        empty="none",
    ),
    Panel(
        "Under way · good: follows the requests",
        "Requests and streamed answers that gateways hold now.",
        COUNT,
        (Query(added("herd_requests_open", MODEL), "requests"), Query(added("herd_streams_open", MODEL), "streams")),
    ),
    WAITING,
    Panel(
        "Time in the line · good: nobody waits",
        "How long requests waited for room, of those that had to. Empty: none had to.",
        SECONDS,
        tuple(Query(quantile(part, "herd_queue_seconds", MODEL), f"p{part * 100:g}") for part in (0.5, 0.99)),
        runbook="queue-growing",
        empty="nobody has waited",
    ),
    Panel(
        "Asked again · good: 0",
        "Requests that went on to another replica. `again`: the first one failed before the client had anything. `resumed`: in the "
        "middle of a stream. `made_way`: a batch request left its place to one in a hurry. Clients notice none of them but by time.",
        REQUESTS,
        (Query(rate("herd_retries_total", MODEL, by="kind"), "{{kind}}"),),
        runbook="replica-flapping",
        empty="none",
    ),
)
ROUTING = (
    Panel(
        "Replicas picked, by reason · good: prefix, session",
        "Why a replica was picked: its cache (`prefix`), the conversation's own (`session`), room, or load. `only`: there was no choice.",
        REQUESTS,
        (Query(rate("herd_picks_total", MODEL, by="reason"), "{{reason}}"),),
        shape="stacked",
    ),
    Panel(
        "Prompts found in caches · good: both alike",
        "The part of the prompts' tokens that gateways expected in the picked replica's cache, and what engines found. Expected above "
        "found: caches are too small, and forget.",
        SHARE,
        (Query(_EXPECTED, "expected"), Query(_FOUND, "found by engines")),
        most=1,
    ),
    Panel(
        "Answered by another model · good: 0",
        "Requests that a fallback answered, because the model that they name could not.",
        REQUESTS,
        (Query(rate("herd_fallbacks_total", MODEL, by="model, answered_by"), "{{model}} by {{answered_by}}"),),
        empty="none",
    ),
)
PROCESSES = (
    Panel(
        "CPU of a gateway · good: below 80 % of a core",
        "CPU time of each gateway's process. It has one core: near 100 % every stream is late, and more gateways are needed.",
        SHARE,
        (Query(rate("herd_gateway_cpu_seconds_total", NODE, by="instance"), "{{instance}}"),),
        colours=((0.8, ORANGE), (0.95, RED)),
        runbook="gateway-busy",
    ),
    Panel(
        "Lag of the event loop, p99 · good: below 50 ms",
        "How late a gateway's event loop runs what is due. Every piece of every stream waits so long.",
        SECONDS,
        (Query(quantile(0.99, "herd_event_loop_lag_seconds", NODE, by="instance"), "{{instance}}"),),
        colours=((0.05, ORANGE), (0.25, RED)),
        runbook="gateway-busy",
    ),
    Panel(
        "Memory of a gateway · good: flat",
        "Resident memory of each gateway's process. It grows with the bodies and streams under way, and goes back.",
        BYTES,
        (Query(mean("herd_gateway_memory_bytes", NODE, by="instance"), "{{instance}}"),),
    ),
)

GATEWAYS = Dashboard(
    "herd-gateway",
    "Herd: gateway and routing",
    "What gateways take and refuse, how they choose replicas, and how they are themselves.",
    (*TRAFFIC, *ROUTING, *PROCESSES),
    (
        Section(
            "By gateway",
            (
                Panel(
                    "Requests by gateway · good: alike",
                    "Requests that ended at each gateway. One without any: the load balancer does not ask it.",
                    REQUESTS,
                    (Query(rate("herd_requests_total", MODEL, NODE, by="instance"), "{{instance}}"),),
                    width=12,
                ),
                Panel(
                    "Streams by gateway · good: alike",
                    "Streamed answers that each gateway holds. They end when it does, so drain it before.",
                    COUNT,
                    (Query(added("herd_streams_open", MODEL, NODE, by="instance"), "{{instance}}"),),
                    width=12,
                ),
            ),
        ),
    ),
    variables=("model", "node"),
)
