"""The labels of the herd's metrics, and every value that each of them may have.

Decides how many series there can be. No label carries a prompt, a key, a header or a client's address: a value is from a list here, or it
is the id of a model in the config. Lists of words that other folders decide stand here a second time, because this folder imports none of
them; `tests/unit/monitoring/test_labels.py` holds each to its origin.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

from cluster.scaling.decision import Hold
from cluster.scaling.limits import Bound


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    CANCELLED = "cancelled"
    """The client hung up before it had its whole answer."""
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


class Tokens(StrEnum):
    """Kinds of tokens in an engine's usage."""

    PROMPT = "prompt"
    COMPLETION = "completion"
    CACHED = "cached"
    """Those of the prompt that the engine had in its cache."""


class Found(StrEnum):
    """Whether the gateway expects tokens of a prompt in the cache of the picked replica."""

    HIT = "hit"
    MISS = "miss"


class Objective(StrEnum):
    """An objective of a model's answers in the config (`slo`)."""

    AVAILABILITY = "availability"
    """The herd answers, or the request's own fault keeps it from that."""
    TTFT = "ttft"
    """The answer begins in time."""
    ITL = "itl"
    """Its tokens follow each other fast enough, on average."""


class Met(StrEnum):
    """Whether a request met an objective."""

    YES = "yes"
    NO = "no"


class Replica(StrEnum):
    """The state of an engine replica."""

    STARTING = "starting"
    """Ray has been asked for it, and it takes no requests yet."""
    READY = "ready"
    DRAINING = "draining"
    """It finishes what it has and takes nothing new."""
    SICK = "sick"
    """Its canary says that it must not be believed."""
    DEAD = "dead"
    """Its engine has died, and Ray has not replaced it yet."""


class Health(StrEnum):
    """The health of a node of the cluster."""

    ALIVE = "alive"
    DRAINING = "draining"
    """It gets no new work and is left."""
    DEAD = "dead"
    """It died within the last hour, was not told to, and has not come back."""


class Use(StrEnum):
    """Whether Ray has given a GPU away."""

    USED = "used"
    FREE = "free"


#: Why a replica was picked (`deployments.policy.routing.types.Reason`).
REASONS = (
    "only", "room_left", "round_robin", "least_loaded", "two_choices", "prefix", "session", "room", "kv", "warm", "balance", "trust"
)  # fmt: skip
#: What a canary said (`deployments.policy.fleet.canary.Verdict`).
VERDICTS = ("right", "wrong", "slow", "held_up", "stuck", "failed", "outvoted", "busy")
#: The short names of paths (`deployments.policy.request.calls.ENDPOINTS`).
ENDPOINTS = ("chat", "completions", "responses", "messages", "count_tokens", "embeddings", "tokenize", "detokenize")
#: Of these, those whose answers come from a model's work, and are worth their times.
WORKING = frozenset(ENDPOINTS) - {"count_tokens", "tokenize", "detokenize"}
#: Kinds of events (`deployments.policy.fleet.events.Kind`).
EVENTS = ("change", "step", "up", "rollback", "down", "scale", "start", "ready", "stop", "death", "sick", "drain", "failed")
#: Phases of a start, in order (`deployments.policy.records.starts.CALLED`). A replica for which Ray still looks for room is in the first.
PLACING = "placing"
PHASES = (PLACING, "weights", "engine", "load", "measure", "graphs", "gate")
#: The code of an error that has none of its own, and of one that no list knows.
NO_CODE, OTHER = "invalid_request", "other"
#: Codes of errors (`deployments.policy.errors` and what raises them).
CODES = (
    NO_CODE, OTHER,
    "answer_too_large", "bodies_full", "context_length_exceeded", "engine_busy", "engine_failed", "engine_gone", "engine_refused",
    "engine_starting", "engine_unavailable", "forbidden", "grammar_failed", "headers_too_large", "internal_error", "invalid_encoding",
    "invalid_http", "invalid_image", "invalid_image_url", "invalid_json", "max_tokens_too_large", "missing_required_parameter",
    "model_not_found", "model_stopped", "not_found", "overloaded", "request_kills_engines", "request_too_large", "timeout",
    "too_many_connections", "too_many_images", "unauthorized", "unknown_parameter", "unknown_url", "unsupported_endpoint",
    "unsupported_media_type", "unsupported_parameter", "unsupported_transfer_encoding", "url_too_long",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the values that it may have."""

    name: str
    values: tuple[str, ...] = ()
    """All of them. Empty: ids of the config's models."""


#: The model that a request names, or `UNKNOWN`.
MODEL = Label("model")
UNKNOWN = "unknown"
ANSWERED_BY = Label("answered_by")
ENDPOINT = Label("endpoint", ENDPOINTS)
OUTCOME = Label("outcome", tuple(Outcome))
REASON = Label("reason", REASONS)
FAULT = Label("reason", VERDICTS)
VERDICT = Label("verdict", VERDICTS)
CODE = Label("code", CODES)
TOKENS = Label("kind", tuple(Tokens))
RETRY = Label("kind", tuple(Retry))
EVENT = Label("kind", EVENTS)
PREFILL_BY = Label("by", tuple(PrefillBy))
FIGURE_OF = Label("by", tuple(FigureOf))
FOUND = Label("found", tuple(Found))
OBJECTIVE = Label("objective", tuple(Objective))
LATENCY = Label("objective", (Objective.TTFT, Objective.ITL))
MET = Label("met", tuple(Met))
STATE = Label("state", tuple(Replica))
PHASE = Label("phase", PHASES)
STARTED_PHASE = Label("phase", PHASES[1:])
HEALTH = Label("health", tuple(Health))
USE = Label("use", tuple(Use))
FIGURE = Label("figure", ("target", "now", "expected", "wanted"))
LIMIT = Label("limit", get_args(Bound))
WHY = Label("why", get_args(Hold))
