"""The table of every metric that the herd counts itself; dashboards and alerts cite only these and vLLM's own.

Decides names, kinds, labels, buckets and meanings. Leaves counting to `monitoring.export`. No label ever carries a prompt, a key, a
header or a client's address: `monitoring.labels` has every value that a label may have.
"""

from dataclasses import dataclass
from typing import Literal

from monitoring import labels as label
from monitoring.labels import MODEL, Label


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: seconds, tokens, bytes and ratios are its only units, and stand in its name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    by: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns the names of its labels."""
        return tuple(one.name for one in self.by)


# The objectives' defaults (`configs.scaling.Slo`) and the usual others are edges of buckets: there a share of requests is exact. Each edge
# is a series for every model on every gateway's page, so there are no more of them than percentiles need.
_TTFT_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 3.0, 5.0, 10.0, 40.0)
_ITL_S = (0.004, 0.008, 0.016, 0.024, 0.032, 0.05, 0.1, 0.25, 1.0)
_E2E_S = (0.1, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0)
_WAITED_S = (0.1, 0.5, 2.0, 10.0, 60.0)
_CANARY_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 2.5, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0)
_LAG_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

# Requests, on gateways' pages.
REQUESTS = Metric("herd_requests_total", "counter", "Requests that ended, by how they ended.", (MODEL, label.OUTCOME))
ENDPOINT_REQUESTS = Metric(
    "herd_endpoint_requests_total",
    "counter",
    "The same requests, by endpoint and for all models together.",
    (label.ENDPOINT, label.OUTCOME),
)
REFUSALS = Metric("herd_refusals_total", "counter", "Requests answered with an error, by its code, for all models together.", (label.CODE,))
TTFT = Metric(
    "herd_time_to_first_token_seconds",
    "histogram",
    "From a request's arrival at the gateway to the first piece of its streamed answer.",
    (MODEL,),
    _TTFT_S,
)
ITL = Metric(
    "herd_inter_token_latency_seconds",
    "histogram",
    "Between two pieces of a streamed answer; a piece is one token, or several where the engine was ahead of the network.",
    (MODEL,),
    _ITL_S,
)
E2E = Metric(
    "herd_request_seconds",
    "histogram",
    "From a request's arrival at the gateway to the end of its answer. Requests that only count or make tokens are left out.",
    (MODEL,),
    _E2E_S,
)
SLO_REQUESTS = Metric(
    "herd_slo_requests_total",
    "counter",
    "Requests by whether they met an objective of their model's; one that an objective says nothing of is not counted for it.",
    (MODEL, label.OBJECTIVE, label.MET),
)
SLO_OBJECTIVE = Metric(
    "herd_slo_objective_ratio", "gauge", "The share of requests that should meet an objective, by the config.", (MODEL, label.OBJECTIVE)
)
SLO_THRESHOLD = Metric(
    "herd_slo_threshold_seconds", "gauge", "The most seconds that meet an objective, by the config.", (MODEL, label.LATENCY)
)
TOKENS = Metric(
    "herd_tokens_total",
    "counter",
    "Tokens as the engine's usage states them; cached ones are a part of the prompt's. A stream whose client asked for no usage states "
    "none: vllm:generation_tokens_total has all.",
    (MODEL, label.TOKENS),
)
PREFIX_TOKENS = Metric(
    "herd_prefix_tokens_total",
    "counter",
    "Prompt tokens that the gateway expected in the picked replica's cache, or not there. Counted where it could choose a replica.",
    (MODEL, label.FOUND),
)
STREAMS_OPEN = Metric("herd_streams_open", "gauge", "Streamed answers under way.", (MODEL,))
REQUESTS_OPEN = Metric("herd_requests_open", "gauge", "Requests under way.", (MODEL,))
PICKS = Metric("herd_picks_total", "counter", "Replicas picked for a request, by reason.", (MODEL, label.REASON))
WAITING = Metric("herd_queue_requests", "gauge", "Requests that wait because all replicas of the model are full.", (MODEL,))
WAITED = Metric("herd_queue_seconds", "histogram", "How long requests waited for room, of those that had to.", (MODEL,), _WAITED_S)
RETRIES = Metric(
    "herd_retries_total", "counter", "Requests asked of a replica again: one failed, or they had made way.", (MODEL, label.RETRY)
)
FALLBACKS = Metric("herd_fallbacks_total", "counter", "Requests that another model answered than they named.", (MODEL, label.ANSWERED_BY))
PREFILLS = Metric(
    "herd_prefills_total", "counter", "Long prompts of models whose prefill is apart, by who computed them.", (MODEL, label.PREFILL_BY)
)
# The gateway's own process.
GATEWAY_CPU = Metric("herd_gateway_cpu_seconds_total", "counter", "CPU time of the gateway's process.")
GATEWAY_MEMORY = Metric("herd_gateway_memory_bytes", "gauge", "Memory of the gateway's process (resident set).")
LOOP_LAG = Metric(
    "herd_event_loop_lag_seconds", "histogram", "How late the gateway's event loop wakes a task, measured once a second.", (), _LAG_S
)
# Replicas, as each gateway sees them.
REPLICAS = Metric("herd_replicas", "gauge", "Engine replicas by state; all gateways show the same ones.", (MODEL, label.STATE))
REPLICA_PHASE = Metric(
    "herd_replica_phase_seconds",
    "gauge",
    "For how long the longest running start of a model has been in its phase; not shown while none runs.",
    (MODEL, label.PHASE),
)
REPLICAS_READY = Metric(
    "herd_replicas_ready",
    "gauge",
    "Engine replicas in this gateway's roster that take requests; each rank of data-parallel attention is one.",
    (MODEL,),
)
REPLICAS_SICK = Metric(
    "herd_replicas_sick_total",
    "counter",
    "Engine replicas that left this gateway's roster because of their canary, by what it said.",
    (MODEL, label.FAULT),
)
REPLICAS_SLOW = Metric(
    "herd_replicas_slow",
    "gauge",
    "Engine replicas in this gateway's roster that take requests only while the others are full: their canaries are far slower.",
    (MODEL,),
)
# The cluster, as each gateway reads it: all show the same.
NODES = Metric("herd_nodes", "gauge", "Nodes of the cluster by health; all gateways show the same ones.", (label.HEALTH,))
GPUS = Metric("herd_gpus", "gauge", "GPUs of living nodes, by whether Ray has given them away; all gateways show the same.", (label.USE,))
EVENTS = Metric(
    "herd_events_total",
    "counter",
    "Events of the herd's log since this gateway's start, by kind; all gateways count the same ones.",
    (label.EVENT,),
)
# Autoscaling's last decisions.
SCALING_REPLICAS = Metric(
    "herd_scaling_replicas",
    "gauge",
    "Replicas by autoscaling's last decision: the target, and what the load needs now, is expected to need, and with margin and backlog.",
    (MODEL, label.FIGURE),
)
SCALING_BOUND = Metric(
    "herd_scaling_bound",
    "gauge",
    "1 while this limit keeps a model's replicas from what the load asks for; only the limit that does is shown.",
    (MODEL, label.LIMIT),
)
SCALING_HELD = Metric(
    "herd_scaling_held",
    "gauge",
    "1 while a model's number of replicas is held without a look at its load, by why; not shown while it is not.",
    (MODEL, label.WHY),
)
SCALING_DECIDED = Metric(
    "herd_scaling_decided_timestamp_seconds", "gauge", "When autoscaling last decided on a model, in seconds since 1970.", (MODEL,)
)
# The engine replicas' own, which stand beside vLLM's on their pages.
CANARIES = Metric("herd_canary_total", "counter", "Canaries through this replica, by what they said.", (MODEL, label.VERDICT))
CANARY_SECONDS = Metric(
    "herd_canary_seconds", "histogram", "From a canary's first token to its last, where it had both.", (MODEL,), _CANARY_S
)
ENGINE_WEIGHTS = Metric(
    "herd_engine_weights_bytes",
    "gauge",
    "Weights and rope cache on one GPU, as the engine has them and as they were planned.",
    (MODEL, label.FIGURE_OF),
)
ENGINE_KV = Metric(
    "herd_engine_kv_bytes", "gauge", "KV cache on one GPU, as the engine has it and as it was planned.", (MODEL, label.FIGURE_OF)
)
ENGINE_KV_TOKENS = Metric(
    "herd_engine_kv_tokens",
    "gauge",
    "Tokens that the KV cache has room for, as the engine tells and as they were planned.",
    (MODEL, label.FIGURE_OF),
)
ENGINE_START = Metric("herd_engine_start_seconds", "gauge", "What the replica's start took, until it served.", (MODEL,))
ENGINE_START_PHASE = Metric(
    "herd_engine_start_phase_seconds", "gauge", "What each phase of the replica's start took.", (MODEL, label.STARTED_PHASE)
)
GPU_SECONDS = Metric(
    "herd_gpu_seconds_total",
    "counter",
    "Seconds since the replica's start began, times its GPUs. A replica on a CPU counts as many as its plan has.",
    (MODEL,),
)
KV_BYTE_SECONDS = Metric(
    "herd_kv_byte_seconds_total", "counter", "Bytes of the replica's KV cache that requests held, on all its GPUs, times seconds.", (MODEL,)
)

GATEWAYS = (
    *(REQUESTS, ENDPOINT_REQUESTS, REFUSALS, TTFT, ITL, E2E, SLO_REQUESTS, SLO_OBJECTIVE, SLO_THRESHOLD, TOKENS, PREFIX_TOKENS),
    *(STREAMS_OPEN, REQUESTS_OPEN, PICKS, WAITING, WAITED, RETRIES, FALLBACKS, PREFILLS),
    *(GATEWAY_CPU, GATEWAY_MEMORY, LOOP_LAG, REPLICAS, REPLICA_PHASE),
    *(REPLICAS_READY, REPLICAS_SICK, REPLICAS_SLOW, NODES, GPUS, EVENTS),
    *(SCALING_REPLICAS, SCALING_BOUND, SCALING_HELD, SCALING_DECIDED),
)
ENGINES = (
    *(CANARIES, CANARY_SECONDS, ENGINE_WEIGHTS, ENGINE_KV, ENGINE_KV_TOKENS, ENGINE_START, ENGINE_START_PHASE),
    *(GPU_SECONDS, KV_BYTE_SECONDS),
)
METRICS = (*GATEWAYS, *ENGINES)
