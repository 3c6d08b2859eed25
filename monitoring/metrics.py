"""The table of every metric that the herd counts itself; dashboards and alerts cite only these and vLLM's own.

Decides names, kinds, labels, buckets and meanings. Leaves counting to `monitoring.export`. No label ever carries a prompt, a key, a
header or a client's address: their values are models, endpoints and outcomes, all from short lists.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    CANCELLED = "cancelled"
    """The client hung up."""
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    """All replicas were full, and it had waited long enough, or would have."""
    UNAVAILABLE = "unavailable"
    """No engine could take it."""
    ENGINE_FAILED = "engine_failed"
    """An engine took it, and failed or died."""
    INTERNAL_ERROR = "internal_error"
    """A defect of the gateway's own."""


class Retry(StrEnum):
    """The question to another replica after one had failed."""

    AGAIN = "again"
    """The whole answer: the client had none of it."""
    RESUMED = "resumed"
    """To go on with a stream behind what the client had."""
    MADE_WAY = "made_way"
    """None had failed: a batch request left its place to one in a hurry, and went on later."""


class PrefillBy(StrEnum):
    """The engine that computed a long prompt of a model whose prefill is apart."""

    PREFILL = "prefill"
    """An engine that only computes prompts."""
    DECODE = "decode"
    """The one that answered: of the others none could."""


class FigureOf(StrEnum):
    """Says whose figure of an engine's memory it is."""

    ENGINE = "engine"
    PLAN = "plan"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: seconds, tokens and bytes are its only units, and stand in its name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_LATENCY_S = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_ITL_S = (0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048, 0.064, 0.096, 0.128, 0.256, 0.512, 1.024, 4.096)
_E2E_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6, 819.2, 1638.4)

REQUESTS = Metric("herd_requests_total", "counter", "Requests that ended, by how they ended.", ("model", "endpoint", "outcome"))
TTFT = Metric(
    "herd_time_to_first_token_seconds",
    "histogram",
    "From a request's arrival at the gateway to the first piece of its streamed answer.",
    ("model",),
    _LATENCY_S,
)
ITL = Metric(
    "herd_inter_token_latency_seconds",
    "histogram",
    "Between two pieces of a streamed answer; a piece is one token, or several where the engine was ahead of the network.",
    ("model",),
    _ITL_S,
)
E2E = Metric(
    "herd_request_seconds", "histogram", "From a request's arrival at the gateway to the end of its answer.", ("model", "endpoint"), _E2E_S
)
TOKENS = Metric(
    "herd_tokens_total",
    "counter",
    "Tokens as the engine's usage states them. A stream whose client asked for no usage states none: vllm:generation_tokens_total has all.",
    ("model", "kind"),
)
STREAMS_OPEN = Metric("herd_streams_open", "gauge", "Streamed answers under way.", ("model",))
REQUESTS_OPEN = Metric("herd_requests_open", "gauge", "Requests under way.", ("model",))
PICKS = Metric("herd_picks_total", "counter", "Replicas picked for a request, by reason.", ("model", "reason"))
WAITING = Metric("herd_queue_requests", "gauge", "Requests that wait because all replicas of the model are full.", ("model",))
WAITED = Metric("herd_queue_seconds", "histogram", "How long requests waited for room, of those that had to.", ("model",), _LATENCY_S)
RETRIES = Metric("herd_retries_total", "counter", "Requests asked of a replica again: one failed, or they had made way.", ("model", "kind"))
FALLBACKS = Metric("herd_fallbacks_total", "counter", "Requests that another model answered than they named.", ("model", "answered_by"))
PREFILLS = Metric("herd_prefills_total", "counter", "Long prompts of models whose prefill is apart, by who computed them.", ("model", "by"))
REPLICAS_READY = Metric("herd_replicas_ready", "gauge", "Engine replicas in this gateway's roster that take requests.", ("model",))
REPLICAS_SICK = Metric(
    "herd_replicas_sick_total",
    "counter",
    "Engine replicas that left this gateway's roster because of their canary, by what it said.",
    ("model", "reason"),
)
REPLICAS_SLOW = Metric(
    "herd_replicas_slow",
    "gauge",
    "Engine replicas in this gateway's roster that take requests only while the others are full: their canaries are far slower.",
    ("model",),
)
SCALING_REPLICAS = Metric(
    "herd_scaling_replicas",
    "gauge",
    "Replicas by autoscaling's last decision: the target, and what the load needs now, is expected to need, and with margin and backlog.",
    ("model", "figure"),
)
SCALING_BOUND = Metric(
    "herd_scaling_bound", "gauge", "1 while this limit keeps a model's replicas from what the load asks for.", ("model", "limit")
)
SCALING_HELD = Metric(
    "herd_scaling_held", "gauge", "1 while a model's number of replicas is held without a look at its load, by why.", ("model", "why")
)
SCALING_DECIDED = Metric(
    "herd_scaling_decided_timestamp_seconds", "gauge", "When autoscaling last decided on a model, in seconds since 1970.", ("model",)
)
#: From here on: the engine replicas' own, which stand beside vLLM's on their pages.
CANARIES = Metric("herd_canary_total", "counter", "Canaries through this replica, by what they said.", ("model", "verdict"))
CANARY_SECONDS = Metric(
    "herd_canary_seconds", "histogram", "From a canary's first token to its last, where it had both.", ("model",), _LATENCY_S
)
ENGINE_WEIGHTS = Metric(
    "herd_engine_weights_bytes",
    "gauge",
    "Weights and rope cache on one GPU, as the engine has them and as they were planned.",
    ("model", "by"),
)
ENGINE_KV = Metric("herd_engine_kv_bytes", "gauge", "KV cache on one GPU, as the engine has it and as it was planned.", ("model", "by"))
ENGINE_KV_TOKENS = Metric(
    "herd_engine_kv_tokens",
    "gauge",
    "Tokens that the KV cache has room for, as the engine tells and as they were planned.",
    ("model", "by"),
)
ENGINE_START = Metric("herd_engine_start_seconds", "gauge", "What the replica's start took, until it served.", ("model",))

GATEWAYS = (
    REQUESTS,
    TTFT,
    ITL,
    E2E,
    TOKENS,
    STREAMS_OPEN,
    REQUESTS_OPEN,
    PICKS,
    WAITING,
    WAITED,
    RETRIES,
    FALLBACKS,
    PREFILLS,
    REPLICAS_READY,
    REPLICAS_SICK,
    REPLICAS_SLOW,
    SCALING_REPLICAS,
    SCALING_BOUND,
    SCALING_HELD,
    SCALING_DECIDED,
)
METRICS = (*GATEWAYS, CANARIES, CANARY_SECONDS, ENGINE_WEIGHTS, ENGINE_KV, ENGINE_KV_TOKENS, ENGINE_START)
