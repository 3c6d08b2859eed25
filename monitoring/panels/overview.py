"""The herd overview: whether clients are well, what is full, and what it costs."""

from monitoring.panels.promql import MODEL, added, burn, grown, most, or_zero, quantile, rate, share
from monitoring.panels.rows import (
    BYTES,
    COUNT,
    GPUS,
    GREEN,
    ORANGE,
    RED,
    REQUESTS,
    SECONDS,
    SHARE,
    TOKENS,
    Dashboard,
    Panel,
    Query,
    Section,
)

#: Outcomes that are the herd's fault. A client's own errors and hang-ups are not.
OURS = 'outcome=~"timeout|overloaded|unavailable|engine_failed|internal_error"'
COMPLETION, NOT_ALIVE = 'kind="completion"', 'health!="alive"'
_SLO = "herd_slo_requests_total"
_BUDGET = burn(grown(_SLO, MODEL, 'met="no"', by="model, objective", within="30d"), grown(_SLO, MODEL, by="model, objective", within="30d"))

NUMBERS = (
    Panel(
        "Error budget left, 30 days · good: green",
        "The part of the error budget that the last 30 days have left, of the model that has least, per objective. 100 %: no request "
        "has missed it. Below 0 %: more have than the config allows (`slo` of a model). Look at *Burn rate* for whether it goes on, and "
        "at the dashboard *Model* for why.",
        SHARE,
        (Query(f"min by (objective) (1 - {_BUDGET})", "{{objective}}"),),
        shape="number",
        below=RED,
        colours=((0, ORANGE), (0.25, GREEN)),
        width=8,
        runbook="error-budget",
    ),
    Panel(
        "Not answered · good: 0 %",
        "The part of the requests in the shown time that ended by the herd's own fault: timeout, overloaded, unavailable, "
        "engine_failed, internal_error. *Requests by outcome* shows which, and when.",
        SHARE,
        (Query(share(grown("herd_requests_total", MODEL, OURS), grown("herd_requests_total", MODEL)), "not answered"),),
        shape="number",
        colours=((0.001, ORANGE), (0.01, RED)),
        width=4,
        runbook="error-budget",
    ),
    Panel(
        "Models without a replica · good: 0",
        "Models of which no replica takes requests now. A model with `min_replicas: 0` may be one while nobody asks for it. `herd "
        "status` says what each waits for.",
        COUNT,
        (Query(or_zero(f"count({most('herd_replicas_ready', MODEL, by='model')} == 0)"), "models"),),
        shape="number",
        colours=((1, RED),),
        width=4,
        runbook="model-away",
    ),
    Panel(
        "Nodes lost or draining · good: 0",
        "Nodes of the cluster that died within the last hour and have not come back, and those that are drained. `herd events` says "
        "which and why.",
        COUNT,
        (Query(or_zero(f"sum({most('herd_nodes', NOT_ALIVE, by='health')})"), "nodes"),),
        shape="number",
        colours=((1, RED),),
        width=4,
        runbook="node-sick",
    ),
    Panel(
        "Firing alerts · good: 0",
        "Alerts that fire now. The section *Alerts* below lists them; each has a runbook.",
        COUNT,
        (Query(or_zero('count(ALERTS{alertstate="firing", cluster=~"$cluster"})'), "alerts"),),
        shape="number",
        colours=((1, RED),),
        width=4,
    ),
)

BURN_RATE = Panel(
    "Burn rate · good: below 1",
    "How many times faster than allowed the error budget is used up now, per model and objective. 1 uses up a month's budget in a "
    "month, 14.4 in two days. An alert needs it in a long and a short window, so a short peak here is no alert.",
    COUNT,
    (
        Query(
            burn(rate(_SLO, MODEL, 'met="no"', by="model, objective"), rate(_SLO, MODEL, by="model, objective")), "{{model}} {{objective}}"
        ),
    ),
    colours=((1, ORANGE), (6, RED)),
    runbook="error-budget",
)
OUTCOMES = Panel(
    "Requests by outcome · good: nearly all ok",
    "Requests that ended, a second, by how they ended. `client_error` and `cancelled` are the clients' own; all others but `ok` are ours.",
    REQUESTS,
    (Query(rate("herd_requests_total", MODEL, by="outcome"), "{{outcome}}"),),
    shape="stacked",
)
FIRST_TOKEN = Panel(
    "Time to first token, p90 · good: below the objective",
    "From a request's arrival at the gateway to the first piece of its streamed answer; nine of ten streams begin within this time. The "
    "objective is the config's. Long while *Waiting requests* is high: too few replicas. Long while nobody waits: long prompts, or slow "
    "GPUs.",
    SECONDS,
    (
        Query(quantile(0.9, "herd_time_to_first_token_seconds", MODEL, by="model"), "{{model}}"),
        Query(most("herd_slo_threshold_seconds", MODEL, 'objective="ttft"', by="model"), "{{model}} objective"),
    ),
    runbook="ttft",
)
PACE = Panel(
    "Tokens · good: follows the requests",
    "Tokens a second as engines' usage states them: prompt, of it cached, and completion. Work that waits while completion is 0 is a "
    "stuck engine.",
    TOKENS,
    (Query(rate("herd_tokens_total", MODEL, by="kind"), "{{kind}}"),),
)
WAITING = Panel(
    "Waiting requests · good: near 0",
    "Requests that wait at the gateways because all replicas of their model are full. A line that grows ends in 429 (`overloaded`). The "
    "dashboard *Autoscaling* shows why there are no more replicas.",
    COUNT,
    (Query(added("herd_queue_requests", MODEL, by="model"), "{{model}}"),),
    runbook="queue-growing",
    width=8,
)
CACHE = Panel(
    "KV cache in use, fullest replica · good: below 90 %",
    "The part of its KV cache that the fullest replica of each model uses. Near 100 % vLLM preempts requests and computes them again "
    "(*Model*, preemptions).",
    SHARE,
    (Query(most("vllm:kv_cache_usage_perc", MODEL, by="model"), "{{model}}"),),
    colours=((0.9, ORANGE), (0.97, RED)),
    most=1,
    runbook="kv-thrash",
    width=8,
)
COST = Panel(
    "GPUs held · good: falls when the load falls",
    "GPUs that a model's replicas hold, whether they work or not: GPU-seconds a second.",
    GPUS,
    (Query(rate("herd_gpu_seconds_total", MODEL, by="model"), "{{model}}"),),
    shape="stacked",
    width=8,
)

OVERVIEW = Dashboard(
    "herd-overview",
    "Herd: overview",
    "Start here. The top row is green when all is well. Then: what clients see, what is full, what it costs.",
    (*NUMBERS, BURN_RATE, OUTCOMES, FIRST_TOKEN, PACE, WAITING, CACHE, COST),
    (
        Section(
            "Cost",
            (
                Panel(
                    "GPU-seconds per 1000 tokens · good: steady or falling",
                    "What 1000 tokens of answers take: GPU-seconds held, idle ones too, over completion tokens. It rises when replicas "
                    "idle.",
                    SECONDS,
                    (
                        Query(
                            f"1000 * {rate('herd_gpu_seconds_total', MODEL, by='model')} / "
                            f"({rate('herd_tokens_total', MODEL, COMPLETION, by='model')} > 0)",
                            "{{model}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "KV memory in use · good: follows the load",
                    "Bytes of KV cache that requests hold, mean over the interval: KV-byte-seconds a second. This is what a tenant's "
                    "long contexts cost.",
                    BYTES,
                    (Query(rate("herd_kv_byte_seconds_total", MODEL, by="model"), "{{model}}"),),
                    shape="stacked",
                    width=12,
                ),
            ),
        ),
        Section(
            "Cluster",
            (
                Panel(
                    "Replicas by state · good: all ready",
                    "Replicas of all chosen models by state, as the gateways know them. The dashboard *Canaries and upgrades* has them "
                    "by model.",
                    COUNT,
                    (Query(f"sum by (state) ({most('herd_replicas', MODEL, by='model, state')})", "{{state}}"),),
                    shape="stacked",
                ),
                Panel(
                    "GPUs · good: some free before the load rises",
                    "GPUs of the cluster, held by replicas and free. Without a free one a replica that is lost cannot come back at once.",
                    GPUS,
                    (Query(most("herd_gpus", by="use"), "{{use}}"),),
                    shape="stacked",
                ),
                Panel(
                    "Nodes by health · good: all alive",
                    "Nodes of the cluster by their health.",
                    COUNT,
                    (Query(most("herd_nodes", by="health"), "{{health}}"),),
                    shape="stacked",
                    runbook="node-sick",
                ),
            ),
        ),
        Section(
            "Alerts",
            (
                Panel(
                    "Alerts that fire · good: none",
                    "Every alert that fires, with its labels. `monitoring/runbooks` has a page for each.",
                    COUNT,
                    (Query('ALERTS{alertstate="firing", cluster=~"$cluster"}', "{{alertname}} {{model}}"),),
                    shape="table",
                    width=24,
                ),
            ),
        ),
    ),
)
